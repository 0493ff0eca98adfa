"""Runs of EXMX from several starts: where they begin, how each goes, which is best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.files import atomic
from cryokin.io.em import write_em
from cryokin.io.pytom_xml import (
    Particle,
    write_alignment_list,
    write_particle_list,
)
from cryokin.io.subtomograms import Subtomograms
from cryokin.npy import load_arrays
from cryokin.options import Mco, McoExmx
from cryokin.parallel import Team
from cryokin.partition.labels import counts, rank_by_size, renumbered
from cryokin.subtomo.files import listable, own_scores
from cryokin.subtomo.mco import (
    Model,
    agreement_with,
    best_start,
    compare,
    exmx_iterations,
    model,
    random_start,
    scores,
    surpasses,
)
from cryokin.subtomo.prepare import Prepared
from cryokin.subtomo.splitting import split
from cryokin.volume.averages import FLOOR
from cryokin.volume.bands import Rows, volume_of


def make_model(prepared: Prepared, options: Mco) -> Model:
    """Return what MCO works on, in memory."""
    return model(prepared.corrected, options.score)


def scorer(
    prepared: Prepared, options: Mco
) -> Callable[[NDArray[np.intp]], NDArray[np.float64]]:
    """Return what scores all particles against the averages of given classes."""
    of_run = make_model(prepared, options)
    nclass, leave_one_out = options.nclass, options.leave_one_out
    return lambda labels: scores(of_run, labels, nclass, leave_one_out)


def starts(
    options: Mco,
    n: int,
    of_cpca: NDArray[np.intp] | None,
    of_list: NDArray[np.intp],
) -> list[NDArray[np.intp]]:
    """Return the classes to start from.

    Parameters
    ----------
    options : Mco
        ``start_from``, ``starts``, ``nclass`` and ``rand_seed``.
    n : int
        Number of particles.
    of_cpca : ndarray of int, shape (n,), or None
        Classes of CPCA, for ``start_from: cpca``.
    of_list : ndarray of int, shape (n,)
        Classes of the input; where they are several, a start from CPCA has them in the
        place of its last random one.

    Raises
    ------
    InputError
        If the list has more classes than the run.
    """
    nclass, seed = options.nclass, options.rand_seed
    if options.start_from == "labels":
        found = int(of_list.max()) + 1
        if found > nclass:
            raise InputError(
                f"start_from: labels = the list has {found} classes, more than nclass ="
                f" {nclass}; raise nclass in the config."
            )
        # Of one class alone, no start can tell which of several it is.
        if found > 1:
            return [of_list]
        return [random_start(n, nclass, seed, 0)]
    random = [random_start(n, nclass, seed, i) for i in range(options.starts)]
    if of_cpca is None:
        return random
    # Several classes of the list are one more way to start, as in PyTom.
    if 1 < int(of_list.max()) + 1 <= nclass and random:
        random[-1] = of_list
    return [of_cpca, *random]


def informed(options: Mco) -> bool:
    """Return whether the first of the starts is that of CPCA."""
    return bool(options.start_from == "cpca" and options.compat != "pytom")


@dataclass(frozen=True)
class Course:
    """How EXMX went from one start.

    Attributes
    ----------
    labels : ndarray of int, shape (n_iterations + 1, n)
        Classes at the start and after every iteration.
    objective, changed : ndarray, shape (n_iterations,)
        Mean fit and fraction of moved particles of every iteration.
    fits : ndarray, shape (n,)
        Of the final labels, see `cryokin.subtomo.mco.compare`.
    """

    labels: NDArray[np.intp]
    objective: NDArray[np.float64]
    changed: NDArray[np.float64]
    fits: NDArray[np.float64]


def course(model: Model, start: NDArray[np.intp], options: McoExmx) -> Course:
    """Run EXMX from one start, and keep all iterations."""
    labels: list[NDArray[np.intp]] = [start]
    objective: list[float] = []
    for one in exmx_iterations(
        model,
        start,
        options.nclass,
        options.iterations,
        options.end_threshold,
        options.leave_one_out,
    ):
        labels.append(one.labels)
        objective.append(one.objective)
    return Course(
        np.array(labels), np.array(objective), np.array(one.changed), one.fits
    )


def refilled(
    model: Model, went: Course, options: McoExmx, team: Team | None = None
) -> Course:
    """Go on where classes have emptied: from halves of others, see `split`.

    As long as a half raises the objective by moving; as it was unless all particles
    are explained decidedly better in the end. Only by the likelihood, without the
    particle itself, is a class no better for having fewer members.

    Parameters
    ----------
    model, options
        See `course`.
    went : Course
        From one start.
    team : Team, optional
        Shares the classes; the result does not depend on it.
    """
    if model.score != "likelihood" or not options.leave_one_out:
        return went
    nclass, known, on, team = options.nclass, set[bytes](), went, team or Team()
    for _ in range(nclass):
        before = on.labels[-1]
        start = split(model, before, nclass, known, team)
        if np.array_equal(start, before):
            break

        def climb(start: NDArray[np.intp] = start) -> tuple[float, Course]:
            placed = compare(model, start, nclass)[1].mean()
            return float(placed), course(model, start, options)

        # From one rank, as all have to agree on what follows.
        placed, more = team.from_leader(climb)
        on = Course(
            np.concatenate([on.labels, more.labels]),
            np.concatenate([on.objective, [placed], more.objective]),
            np.concatenate([on.changed, [np.mean(start != before)], more.changed]),
            more.fits,
        )
    return on if surpasses(on.fits, went.fits) else went


def save_courses(path: Path, courses: Sequence[Course]) -> None:
    """Write the courses of some starts."""
    with atomic(path) as partial:
        np.savez_compressed(
            partial,
            **{
                f"{i}_{k}": v for i, c in enumerate(courses) for k, v in vars(c).items()
            },
        )


def load_courses(path: Path) -> list[Course]:
    """Read what `save_courses` wrote."""
    arrays, names = load_arrays(path), [field.name for field in fields(Course)]
    n = len(arrays) // len(names)
    return [Course(**{k: arrays[f"{i}_{k}"] for k in names}) for i in range(n)]


def best_course(
    courses: Sequence[Course],
    nclass: int,
    informed: bool = False,
    further: Callable[[Course], Course] = lambda went: went,
) -> tuple[Course, dict[str, Any]]:
    """Return the course that counts, and what to report.

    Classes are numbered by their final size, the largest 0.

    Parameters
    ----------
    courses : sequence of Course
        Of all starts.
    nclass : int
        Number of classes.
    informed : bool
        See `cryokin.subtomo.mco.best_start`.
    further : callable, optional
        Returns how the best course goes on, see `refilled`.
    """
    start = best_start([one.fits for one in courses], informed)
    best = further(courses[start])
    courses = [*courses[:start], best, *courses[start + 1 :]]
    objectives = np.array([one.objective[-1] for one in courses])
    agreement = agreement_with([one.labels[-1] for one in courses], start)
    number = rank_by_size(best.labels[-1], nclass)
    best = replace(best, labels=renumbered(best.labels, number))
    report = {
        "start": start,
        "starts": len(courses),
        "objectives": objectives.tolist(),
        "agreement": agreement.tolist(),
        "iterations": [
            {"objective": objective, "changed": changed, "counts": counts(labels)}
            for objective, changed, labels in zip(
                best.objective.tolist(),
                best.changed.tolist(),
                best.labels[1:],
                strict=True,
            )
        ],
    }
    return best, report


def write_course(
    folder: Path,
    particles: Subtomograms,
    rows: Rows,
    went: Course,
    score: Callable[[NDArray[np.intp]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Write the start and all iterations of a run of EXMX under PyTom's names.

    Parameters
    ----------
    folder, particles, rows
        See `write_iteration`.
    went : Course
        The iterations.
    score : callable
        Returns the scores of all particles against the averages of given classes.

    Returns
    -------
    ndarray, shape (n,)
        Scores of the particles in their final classes.
    """
    listed = particles.listed(went.labels[0])
    write_particle_list(folder / "RandomisedParticleList.xml", listed)
    last = len(went.labels) - 2
    for number, (before, after) in enumerate(pairwise(went.labels)):
        scores = score(before)
        write_iteration(
            folder / str(number),
            number,
            particles,
            rows,
            before,
            after,
            scores,
            number == last,
        )
    return own_scores(scores, went.labels[-1])


def write_iteration(
    folder: Path,
    number: int,
    particles: Subtomograms,
    rows: Rows,
    before: NDArray[np.intp],
    after: NDArray[np.intp],
    scores: NDArray[np.float64],
    is_last: bool,
) -> None:
    """Write an iteration under PyTom's names.

    The class averages at its beginning (band-limited, in the common frame, under the
    mask), and the list with the classes and the scores at its end; of the last one
    also the scores against all averages.
    """
    write_averages(folder, number, rows, before)
    if is_last:
        compared = particles.listed(before)
        write_alignment_lists(folder, number, compared, scores, np.unique(before))
    listed = particles.listed(after, own_scores(scores, after))
    write_particle_list(folder / "classifiedParticles.xml", listed)


def write_averages(
    folder: Path, number: int, rows: Rows, labels: NDArray[np.intp]
) -> None:
    """Write averages of rows, ``class<c>/clusterCenter<number>-<c>.em``."""
    for c in np.unique(labels[labels >= 0]).tolist():
        members = np.flatnonzero(labels == c)
        x, w = rows.x[members], rows.w[members]
        signal = (w * x).sum(axis=0, dtype=np.complex128)
        weight = np.square(w).sum(axis=0, dtype=np.float64)
        average = signal / np.maximum(weight, FLOOR * len(members))
        write_em(
            folder / f"class{c}" / f"clusterCenter{number}-{c}.em",
            volume_of(average, rows.band).astype(np.float32),
        )


def write_alignment_lists(
    folder: Path,
    number: int,
    particles: Sequence[Particle],
    scores: NDArray[np.float64],
    classes: NDArray[np.intp],
) -> None:
    """Write ``AlignmentList<c>.xml``, the scores of all particles against class c."""
    for c in classes[classes >= 0].tolist():
        write_alignment_list(
            folder / f"AlignmentList{c}.xml",
            particles,
            listable(scores[:, c]).tolist(),
            cluster_centre(number, c),
        )


def cluster_centre(number: int, c: int) -> str:
    """Return the name of a class average of an iteration."""
    return f"{number}/class{c}/clusterCenter{number}-{c}.em"
