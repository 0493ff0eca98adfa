"""Runs of PyTom's own EXMX, by the rules in `cryokin.subtomo.compat`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryokin.io.em import write_em
from cryokin.io.pytom_xml import (
    WORST_SCORE_OF_OTHERS,
    Particle,
    write_alignment_list,
    write_particle_list,
)
from cryokin.io.subtomograms import Subtomograms
from cryokin.options import McoExmx, SubtomogramOptions
from cryokin.parallel import Team
from cryokin.partition.labels import counts
from cryokin.random import stream
from cryokin.subtomo import compat
from cryokin.subtomo.mask import make_mask
from cryokin.subtomo.mco import Classification
from cryokin.subtomo.prepare import volume_reader
from cryokin.volume.symmetry import operations

COMPAT_STREAM = 1_000_000  # address of the random classes that PyTom starts from


def compat_setting(
    particles: Subtomograms, options: SubtomogramOptions
) -> compat.Setting:
    """Return what PyTom's own EXMX works on."""
    binning = options.binning
    options = options.scaled(particles.box, particles.pixel_size)
    return compat.Setting(
        volume_reader(particles, binning),
        particles.rotations,
        particles.shifts / binning,
        particles.wedges,
        make_mask(options.mask, particles.box, binning),
        options.highpass,
        options.lowpass,
        symmetry=operations(options.symmetry),
    )


def run_compat(
    folder: Path, particles: Subtomograms, options: McoExmx, team: Team
) -> tuple[NDArray[np.intp], NDArray[np.float64], dict[str, Any]]:
    """Run PyTom's own EXMX, write its files; return classes, scores and a report."""
    setting = compat_setting(particles, options)
    generator = stream(options.rand_seed, COMPAT_STREAM)
    now, order = compat.initial_lists(
        list(particles.particles), options.nclass, generator
    )
    if team.leads:
        write_particle_list(folder / "RandomisedParticleList.xml", now)
    iterations = []
    went = _iterations(
        setting, now, order, options.iterations, options.end_threshold, team
    )
    for number, found in enumerate(went):
        place = folder / str(number)
        if team.leads:
            for c, average in enumerate(found.averages):
                name = f"class{c}/clusterCenter{number}-{c}.em"
                write_em(place / name, average)
                write_alignment_list(
                    place / f"AlignmentList{c}.xml",
                    found.before,
                    found.scores[:, c].tolist(),
                    f"{number}/{name}",
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
    labels = np.full(len(particles), -1)
    labels[order] = in_order
    scores = np.full(len(particles), WORST_SCORE_OF_OTHERS)
    scores[order] = [p.score.value or 0.0 for p in now]
    report = {
        "start": 0,
        "starts": 1,
        "objectives": [iterations[-1]["objective"]],
        "agreement": [1.0],
        "iterations": iterations,
    }
    return labels, scores, report


def compat_search(
    setting: compat.Setting,
    particles: Subtomograms,
    labels: NDArray[np.intp],
    nclass: int,
    iterations: int,
    end_threshold: float,
    team: Team,
) -> Classification:
    """Run PyTom's own EXMX from given classes; its ranks share the particles."""
    order = np.argsort(labels, kind="stable").tolist()
    listed = particles.listed(labels)
    now = [listed[i] for i in order]
    changed = []
    for found in _iterations(setting, now, order, iterations, end_threshold, team):
        now = found.particles
        changed.append(found.changed)
    after = np.empty(len(particles), np.intp)
    after[order] = [int(p.label or 0) for p in now]
    # A class that emptied has no average.
    scores = np.full((len(particles), nclass), -np.inf)
    scores[order, : found.scores.shape[1]] = found.scores
    return Classification(after, scores, scores.max(axis=1), changed)


def _iterations(
    setting: compat.Setting,
    now: Sequence[Particle],
    order: Sequence[int],
    most: int,
    end_threshold: float,
    team: Team,
) -> Iterator[compat.Iteration]:
    """Yield iterations until few enough particles change their class."""
    for _ in range(most):
        found = compat.exmx_iteration(setting, now, order, team)
        yield found
        now = found.particles
        if found.changed <= end_threshold:
            return
