"""Runs of MCO as the workflow has them: starts, iterations, lists of each iteration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.io.em import write_em
from cryokin.io.pytom_xml import write_alignment_list, write_particle_list
from cryokin.io.subtomograms import Subtomograms
from cryokin.parallel import Team
from cryokin.pytom import compat
from cryokin.pytom.cpca import by_size
from cryokin.pytom.files import Prepared, make_mask, reader
from cryokin.pytom.mco import (
    Model,
    best_of,
    exmx,
    model,
    random_start,
)
from cryokin.random import stream
from cryokin.volume.averages import FLOOR
from cryokin.volume.bands import Rows, volume_of

COMPAT_STREAM = 1_000_000  # address of the random classes that PyTom starts from


def make_model(prepared: Prepared, options: Mapping[str, Any]) -> Model:
    """Return what MCO works on, in memory."""
    return model(prepared.corrected, options["score"])


def starts(
    options: Mapping[str, Any],
    n: int,
    of_cpca: NDArray[np.intp] | None,
    of_list: NDArray[np.intp],
) -> list[NDArray[np.intp]]:
    """Return the classes to start from.

    Parameters
    ----------
    options : mapping
        ``start_from``, ``starts``, ``nclass`` and ``rand_seed``.
    n : int
        Number of particles.
    of_cpca : ndarray of int, shape (n,), or None
        Classes of CPCA, for ``start_from: cpca``.
    of_list : ndarray of int, shape (n,)
        Classes of the input.

    Raises
    ------
    InputError
        If the list has more classes than the run.
    """
    nclass, seed = options["nclass"], options["rand_seed"]
    if options["start_from"] == "labels":
        found = int(of_list.max()) + 1
        if found > nclass:
            raise InputError(
                f"start_from: labels = the list has {found} classes, more than nclass ="
                f" {nclass}; raise nclass in the config."
            )
        if found > 1:
            return [of_list]
        return [random_start(n, nclass, seed, 0)]
    random = [random_start(n, nclass, seed, i) for i in range(options["starts"])]
    return random if of_cpca is None else [of_cpca, *random]


@dataclass(frozen=True)
class Course:
    """How the best start went.

    Attributes
    ----------
    start : ndarray of int, shape (n,)
        Classes at the start.
    labels : list of ndarray
        Classes after every iteration.
    objective, changed : list of float
        Mean score and fraction of moved particles of every iteration.
    """

    start: NDArray[np.intp]
    labels: list[NDArray[np.intp]]
    objective: list[float]
    changed: list[float]


def course(
    model: Model, start: NDArray[np.intp], nclass: int, options: Mapping[str, Any]
) -> Course:
    """Go through the iterations of one start, one by one."""
    labels, found = start, Course(start, [], [], [])
    for _ in range(options["iterations"]):
        one = exmx(model, labels, nclass, 1, 0.0, options["leave_one_out"])
        labels = one.labels
        found.labels.append(labels)
        found.objective.append(one.objective)
        found.changed.append(one.changed[-1])
        if one.changed[-1] <= options["end_threshold"]:
            break
    return found


def run_exmx(
    model: Model,
    first: Sequence[NDArray[np.intp]],
    options: Mapping[str, Any],
    team: Team,
) -> tuple[Course, dict[str, Any]]:
    """Run EXMX from all starts; return the course of the best, and what to report.

    Classes are numbered by their final size, the largest 0.
    """
    nclass = options["nclass"]
    best = best_of(
        model,
        first,
        nclass,
        options["iterations"],
        options["end_threshold"],
        options["leave_one_out"],
        team,
    )
    went = course(model, first[best.start], nclass, options)
    number = rank_by_size(went.labels[-1], nclass)
    went = Course(
        number[went.start],
        [number[labels] for labels in went.labels],
        went.objective,
        went.changed,
    )
    report = {
        "start": best.start,
        "starts": len(first),
        "objectives": best.objectives.tolist(),
        "agreement": best.agreement.tolist(),
        "iterations": [
            {"objective": objective, "changed": changed, "counts": counts(labels)}
            for objective, changed, labels in zip(
                went.objective, went.changed, went.labels, strict=True
            )
        ],
    }
    return went, report


def rank_by_size(labels: NDArray[np.intp], nclass: int) -> NDArray[np.intp]:
    """Return the new number of every class, the largest 0; empty ones come last."""
    new = by_size(labels)
    number = np.full(nclass, -1)
    number[labels] = new
    number[number < 0] = np.arange(new.max() + 1, nclass)
    return number


def counts(labels: NDArray[np.integer]) -> list[int]:
    """Return the members of classes 0, 1, ..."""
    return [int(n) for n in np.bincount(labels[labels >= 0])]


def write_iteration(
    folder: Path,
    number: int,
    particles: Subtomograms,
    rows: Rows,
    before: NDArray[np.intp],
    after: NDArray[np.intp],
) -> None:
    """Write an iteration under PyTom's names.

    The class averages at its beginning (band-limited, in the common frame, under the
    mask), and the list with the classes at its end.
    """
    for c in np.unique(before[before >= 0]).tolist():
        members = np.flatnonzero(before == c)
        x, w = rows.x[members], rows.w[members]
        signal = (w * x).sum(axis=0, dtype=np.complex128)
        weight = np.square(w).sum(axis=0, dtype=np.float64)
        average = signal / np.maximum(weight, FLOOR * len(members))
        write_em(
            folder / f"class{c}" / f"clusterCenter{number}-{c}.em",
            volume_of(average, rows.band).astype(np.float32),
        )
    listed = particles.classified(after).particles
    write_particle_list(folder / "classifiedParticles.xml", listed)


def run_compat(
    folder: Path, particles: Subtomograms, options: Mapping[str, Any], team: Team
) -> tuple[NDArray[np.intp], dict[str, Any]]:
    """Run PyTom's own EXMX and write its files; return classes and what to report."""
    binning = options["binning"]
    setting = compat.Setting(
        reader(particles, binning),
        particles.rotations,
        particles.shifts / binning,
        particles.wedges,
        make_mask(options["mask"], particles.box, binning),
        options["highpass"],
        options["lowpass"],
    )
    generator = stream(options["rand_seed"], COMPAT_STREAM)
    now, order = compat.initial_lists(
        list(particles.particles), options["nclass"], generator
    )
    if team.leads:
        write_particle_list(folder / "RandomisedParticleList.xml", now)
    iterations = []
    for number in range(options["iterations"]):
        found = compat.exmx_iteration(setting, now, order, team)
        place = folder / str(number)
        if team.leads:
            for c, average in enumerate(found.averages):
                name = f"class{c}/clusterCenter{number}-{c}.em"
                write_em(place / name, average)
                write_alignment_list(
                    place / f"AlignmentList{c}.xml",
                    found.before,
                    found.scores[:, c].tolist(),
                    str(place / name),
                )
            write_particle_list(place / "classifiedParticles.xml", found.particles)
        now = found.particles
        in_order = np.array([int(p.label or 0) for p in now])
        iterations.append(
            {
                "objective": float(found.scores.max(axis=1).mean()),
                "changed": found.changed,
                "counts": counts(in_order),
            }
        )
        if found.changed <= options["end_threshold"]:
            break
    labels = np.empty(len(particles), np.intp)
    labels[order] = in_order
    report = {
        "start": 0,
        "starts": 1,
        "objectives": [iterations[-1]["objective"]],
        "agreement": [1.0],
        "iterations": iterations,
    }
    return labels, report


def write_course(
    folder: Path, particles: Subtomograms, rows: Rows, went: Course
) -> None:
    """Write the start and all iterations of a run of EXMX under PyTom's names."""
    listed = particles.classified(went.start).particles
    write_particle_list(folder / "RandomisedParticleList.xml", listed)
    before = went.start
    for number, after in enumerate(went.labels):
        write_iteration(folder / str(number), number, particles, rows, before, after)
        before = after
