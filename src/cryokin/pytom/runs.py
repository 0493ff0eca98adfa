"""Runs of MCO as the workflow has them: starts, iterations, lists of each iteration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.files import atomic, write_json
from cryokin.io.em import write_em
from cryokin.io.pytom_xml import (
    WORST_SCORE_OF_OTHERS,
    Particle,
    write_alignment_list,
    write_particle_list,
    write_swap_list,
)
from cryokin.io.subtomograms import Subtomograms
from cryokin.parallel import Team
from cryokin.pytom import compat, merge
from cryokin.pytom.annealing import anneal_round
from cryokin.pytom.cpca import by_size
from cryokin.pytom.files import (
    Prepared,
    make_mask,
    reader,
    save_labels,
    save_scores,
)
from cryokin.pytom.mco import (
    Classification,
    Model,
    adjusted_rand_index,
    class_sums,
    exmx,
    exmx_iterations,
    model,
    random_start,
    scores,
    with_best,
)
from cryokin.pytom.schedule import schedule
from cryokin.random import stream
from cryokin.volume.averages import FLOOR
from cryokin.volume.bands import Rows, volume_of
from cryokin.volume.filters import bandpass
from cryokin.volume.symmetry import operations

COMPAT_STREAM = 1_000_000  # address of the random classes that PyTom starts from


def make_model(prepared: Prepared, options: Mapping[str, Any]) -> Model:
    """Return what MCO works on, in memory."""
    return model(prepared.corrected, options["score"])


def scorer(
    prepared: Prepared, options: Mapping[str, Any]
) -> Callable[[NDArray[np.intp]], NDArray[np.float64]]:
    """Return what scores all particles against the averages of given classes."""
    of_run = make_model(prepared, options)
    nclass, leave_one_out = options["nclass"], options["leave_one_out"]
    return lambda labels: scores(of_run, labels, nclass, leave_one_out)


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
        Classes of the input; where they are several, a start from CPCA has them in the
        place of its last random one.

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
        # Of one class alone, no start can tell which of several it is.
        if found > 1:
            return [of_list]
        return [random_start(n, nclass, seed, 0)]
    random = [random_start(n, nclass, seed, i) for i in range(options["starts"])]
    if of_cpca is None:
        return random
    # Several classes of the list are one more way to start, as in PyTom.
    if 1 < int(of_list.max()) + 1 <= nclass and random:
        random[-1] = of_list
    return [of_cpca, *random]


@dataclass(frozen=True)
class Course:
    """How EXMX went from one start.

    Attributes
    ----------
    labels : ndarray of int, shape (n_iterations + 1, n)
        Classes at the start and after every iteration.
    objective, changed : ndarray, shape (n_iterations,)
        Mean score and fraction of moved particles of every iteration.
    """

    labels: NDArray[np.intp]
    objective: NDArray[np.float64]
    changed: NDArray[np.float64]


def course(model: Model, start: NDArray[np.intp], options: Mapping[str, Any]) -> Course:
    """Run EXMX from one start, and keep all iterations."""
    labels: list[NDArray[np.intp]] = [start]
    objective: list[float] = []
    for one in exmx_iterations(
        model,
        start,
        options["nclass"],
        options["iterations"],
        options["end_threshold"],
        options["leave_one_out"],
    ):
        labels.append(one.labels)
        objective.append(one.objective)
    return Course(np.array(labels), np.array(objective), np.array(one.changed))


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
    with np.load(path) as arrays:
        n = len(arrays.files) // len(fields(Course))
        names = [field.name for field in fields(Course)]
        return [Course(**{k: arrays[f"{i}_{k}"] for k in names}) for i in range(n)]


def best_course(
    courses: Sequence[Course], nclass: int
) -> tuple[Course, dict[str, Any]]:
    """Return the course of the highest final objective, and what to report.

    Classes are numbered by their final size, the largest 0; the first of equal
    objectives wins.
    """
    objectives = np.array([one.objective[-1] for one in courses])
    start, agreement = with_best(objectives, [one.labels[-1] for one in courses])
    best = courses[start]
    number = rank_by_size(best.labels[-1], nclass)
    best = Course(renumbered(best.labels, number), best.objective, best.changed)
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


def renumbered(labels: NDArray[np.intp], number: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return labels with the new number of every class; -1 stays -1."""
    return np.where(labels >= 0, number[labels], -1)


def rank_by_size(labels: NDArray[np.intp], nclass: int) -> NDArray[np.intp]:
    """Return the new number of every class, the largest 0; empty ones come last."""
    new = by_size(labels)
    number = np.full(nclass, -1)
    number[labels] = new
    number[number < 0] = np.arange(new.max() + 1, nclass)
    return number


def emptied(labels: NDArray[np.integer], nclass: int) -> list[str]:
    """Return a sentence if fewer classes are left than the run was to find."""
    left = len(np.unique(labels[labels >= 0]))
    if left == nclass:
        return []
    return [
        f"{left} of nclass = {nclass} classes are left: the others lost all their"
        " particles, as there was nothing that these had in common."
    ]


def save_outcome(
    team: Team,
    files: Sequence[Path],
    labels: NDArray[np.intp],
    scores: NDArray[np.float64] | None,
    report: dict[str, Any],
    nclass: int,
) -> None:
    """Write what a run of MCO found to three files: classes, scores and report.

    The leading rank does, and it alone has the scores; it also tells what to warn of.
    """
    if not team.leads or scores is None:
        return
    save_labels(files[0], labels)
    save_scores(files[1], scores)
    warnings = emptied(labels, nclass)
    write_json(files[2], report | {"warnings": warnings})
    for warning in warnings:
        team.log(f"warning: {warning}")
    team.log(f"members of the classes: {np.bincount(labels).tolist()}")


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
        compared = particles.classified(before).particles
        write_alignment_lists(folder, number, compared, scores, np.unique(before))
    listed = particles.classified(after, own_scores(scores, after)).particles
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
            _cluster_centre(number, c),
        )


def _cluster_centre(number: int, c: int) -> str:
    return f"{number}/class{c}/clusterCenter{number}-{c}.em"


def own_scores(
    scores: NDArray[np.float64], labels: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the score of every particle in its class, as lists can have it."""
    return listable(scores[np.arange(len(labels)), labels])


def listable(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores with PyTom's worst instead of minus infinity."""
    return np.maximum(scores, WORST_SCORE_OF_OTHERS)


def compat_setting(
    particles: Subtomograms, options: Mapping[str, Any]
) -> compat.Setting:
    """Return what PyTom's own EXMX works on."""
    binning = options["binning"]
    return compat.Setting(
        reader(particles, binning),
        particles.rotations,
        particles.shifts / binning,
        particles.wedges,
        make_mask(options["mask"], particles.box, binning),
        options["highpass"],
        options["lowpass"],
        symmetry=operations(options["symmetry"]),
    )


def run_compat(
    folder: Path, particles: Subtomograms, options: Mapping[str, Any], team: Team
) -> tuple[NDArray[np.intp], NDArray[np.float64], dict[str, Any]]:
    """Run PyTom's own EXMX, write its files; return classes, scores and a report."""
    setting = compat_setting(particles, options)
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
        if found.changed <= options["end_threshold"]:
            break
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
    listed = particles.classified(went.labels[0]).particles
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


def searches(
    particles: Subtomograms,
    prepared: Callable[[], Prepared],
    options: Mapping[str, Any],
    team: Team,
) -> Callable[[NDArray[np.intp]], Classification]:
    """Return what runs EXMX in a round of annealing, from classes to start from.

    Under ``compat: pytom`` it is PyTom's own, whose ranks share the particles.
    """
    nclass, iterations = options["nclass"], options["local_iterations"]
    if options["compat"] != "pytom":
        of_run = make_model(prepared(), options)
        return lambda labels: exmx(
            of_run, labels, nclass, iterations, 0.0, options["leave_one_out"]
        )
    setting = compat_setting(particles, options)

    def by_pytom(labels: NDArray[np.intp]) -> Classification:
        order = np.argsort(labels, kind="stable").tolist()
        now = list(particles.classified(labels).particles)
        now = [now[i] for i in order]
        changed = []
        for _ in range(iterations):
            found = compat.exmx_iteration(setting, now, order, team)
            now = found.particles
            changed.append(found.changed)
            if found.changed <= options["end_threshold"]:
                break
        after = np.empty(len(particles), np.intp)
        after[order] = [int(p.label or 0) for p in now]
        # A class that emptied has no average.
        scores = np.full((len(particles), nclass), -np.inf)
        scores[order, : found.scores.shape[1]] = found.scores
        objective = float(found.scores.max(axis=1).mean())
        return Classification(after, scores, objective, changed)

    return by_pytom


def as_compat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of annealing in which ``compat: pytom`` chose PyTom's moves."""
    chosen = dict(options)
    if options["compat"] == "pytom":
        chosen["criterion"] = "pytom"
    return chosen


def first_states(first: Sequence[NDArray[np.intp]]) -> list[dict[str, Any]]:
    """Return the states of the chains before the first round."""
    return [{"labels": labels, "done": False} for labels in first]


def anneal_chains(
    search: Callable[[NDArray[np.intp]], Classification],
    chains: Sequence[Mapping[str, Any]],
    round_number: int,
    options: Mapping[str, Any],
    team: Team,
) -> list[dict[str, Any]]:
    """Run one round of annealing of all chains.

    Parameters
    ----------
    search : callable
        See `searches`.
    chains : sequence of mapping
        States after the round before, or of `first_states`.
    round_number : int
        From 0.
    options : mapping
        Of the run.
    team : Team
        Shares the chains; alone where the search shares the particles.
    """
    temperatures = schedule(options["temperature"], options["temperature_step"])

    def advance(number: int) -> dict[str, Any]:
        chain = chains[number]
        if chain["done"]:
            return dict(chain)
        best = None
        if "best_labels" in chain:
            best = Classification(
                chain["best_labels"], np.empty(0), float(chain["best_objective"]), []
            )
        state = anneal_round(
            search,
            chain["labels"],
            options["nclass"],
            temperatures[round_number],
            options["rand_seed"],
            round_number,
            best,
            options["criterion"],
            options["temperature_unit"] == "sigma",
            options["allow_class_collapse"],
            number,
        )
        return {
            "start": chain["labels"],
            "labels": state.labels,
            "best_labels": state.best.labels,
            "best_objective": state.best.objective,
            # Of a best that came before this round only these are left.
            "best_scores": own_scores(state.best.scores, state.best.labels)
            if state.best.scores.size
            else chain["best_scores"],
            "last_labels": state.last.labels,
            "scores": state.last.scores,
            "objective": state.last.objective,
            "worse": state.draw.worse,
            "random": state.draw.random,
            "temperature": state.temperature,
            "changed": state.changed,
            "round": round_number,
            "done": state.changed <= options["end_threshold"],
        }

    return team.map(advance, range(len(chains)))


def save_chains(path: Path, chains: Sequence[Mapping[str, Any]]) -> None:
    """Write the states of all chains."""
    arrays = {f"{i}_{key}": v for i, one in enumerate(chains) for key, v in one.items()}
    with atomic(path) as partial:
        np.savez(partial, n_chains=len(chains), **arrays)


def load_chains(path: Path) -> list[dict[str, Any]]:
    """Read what `save_chains` wrote."""
    with np.load(path) as arrays:
        chains: list[dict[str, Any]] = [{} for _ in range(int(arrays["n_chains"]))]
        for name in arrays.files:
            number, _, key = name.partition("_")
            if number.isdigit():
                chains[int(number)][key] = arrays[name]
    return chains


def best_chain(chains: Sequence[Mapping[str, Any]]) -> int:
    """Return the number of the chain whose best result has the highest objective."""
    return int(np.argmax([float(chain["best_objective"]) for chain in chains]))


def annealing_report(
    rounds: Sequence[Sequence[Mapping[str, Any]]],
) -> dict[str, Any]:
    """Return what the chains did: objective, changed, temperature, acceptance."""
    last = rounds[-1]
    best = best_chain(last)
    entries = []
    for number, chains in enumerate(rounds):
        for c, chain in enumerate(chains):
            if int(chain["round"]) != number:
                continue
            entries.append(
                {
                    "round": number,
                    "start": c,
                    "objective": float(chain["objective"]),
                    "best_objective": float(chain["best_objective"]),
                    "changed": float(chain["changed"]),
                    "temperature": float(chain["temperature"]),
                    "acceptance": float(np.mean(chain["worse"])),
                    "counts": counts(chain["last_labels"]),
                }
            )
    return {
        "start": best,
        "starts": len(last),
        "objectives": [float(chain["best_objective"]) for chain in last],
        "agreement": [
            adjusted_rand_index(chain["best_labels"], last[best]["best_labels"])
            for chain in last
        ],
        "iterations": entries,
    }


def write_annealing(
    folder: Path,
    particles: Subtomograms,
    rows: Rows,
    rounds: Sequence[Sequence[Mapping[str, Any]]],
    nclass: int,
    temperatures: Sequence[float],
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Write the rounds of the best chain under PyTom's names.

    Per round ``classifiedParticles.xml`` (after EXMX) and the averages of its classes,
    ``swapList.xml`` (moves to a worse class) and ``currentBestParticleList.xml``, of
    the last one also the scores against all classes; classes are numbered by their
    final size.

    Returns
    -------
    labels : ndarray of int, shape (n,)
        Best classes.
    scores : ndarray, shape (n,)
        Of the particles in these.
    """
    best = best_chain(rounds[-1])
    final = np.asarray(rounds[-1][best]["best_labels"])
    number = rank_by_size(final, nclass)
    start = renumbered(np.asarray(rounds[0][best]["start"]), number)
    listed = particles.classified(start).particles
    write_particle_list(folder / "RandomisedParticleList.xml", listed)
    steps = [*(-np.diff(temperatures)), temperatures[-1]]
    for r, chains in enumerate(rounds):
        chain = chains[best]
        if int(chain["round"]) != r:
            break
        place = folder / str(r)
        old, new = chain["last_labels"], chain["labels"]
        scores = np.asarray(chain["scores"])
        after = particles.classified(number[old], own_scores(scores, old)).particles
        write_particle_list(place / "classifiedParticles.xml", after)
        write_averages(place, r, rows, number[old])
        write_swap_list(
            place / "swapList.xml",
            [
                {
                    "particle": after[i],
                    "old_score": float(chain["scores"][i, old[i]]),
                    "new_score": float(chain["scores"][i, new[i]]),
                    "random": float(chain["random"][i]),
                    "reference": _cluster_centre(r, number[new[i]]),
                    "temperature": float(chain["temperature"]),
                    "step": float(steps[min(r, len(steps) - 1)]),
                }
                for i in np.flatnonzero(chain["worse"])
            ],
        )
        best_now = particles.classified(
            number[chain["best_labels"]], np.asarray(chain["best_scores"])
        )
        write_particle_list(place / "currentBestParticleList.xml", best_now.particles)
        last = r
    by_number = scores[:, np.argsort(number)]
    write_alignment_lists(place, last, after, by_number, np.unique(number[old]))
    classes: NDArray[np.intp] = number[final]
    own = np.asarray(rounds[-1][best]["best_scores"])
    write_particle_list(
        folder / "currentBestParticleList.xml",
        particles.classified(classes, own).particles,
    )
    return classes, own


def average_correlations(
    volumes: Sequence[NDArray[np.floating]], options: Mapping[str, Any]
) -> NDArray[np.float64]:
    """Return the correlations of band-passed class averages under the mask.

    Parameters
    ----------
    volumes : sequence of ndarray
        Averages, unbinned.
    options : mapping
        ``mask``, ``lowpass`` and ``highpass`` [Fourier pixel, the same unbinned].

    Raises
    ------
    InputError
        If there is no class.
    """
    if len(volumes) == 0:
        raise InputError(
            "merge: there is no class that could be merged; take merge out of the"
            " config, or classify in another way."
        )
    mask = make_mask(options["mask"], volumes[0].shape[0], 1).ravel()
    weight = mask / mask.sum(dtype=np.float64)
    inside = np.stack(
        [
            bandpass(volume, options["highpass"], options["lowpass"]).ravel()
            for volume in volumes
        ]
    )
    inside -= (inside @ weight)[:, None]
    product = (inside * weight) @ inside.T
    power = np.sqrt(np.maximum(np.diag(product), np.finfo(np.float64).tiny))
    matrix: NDArray[np.float64] = np.clip(product / np.outer(power, power), -1, 1)
    np.fill_diagonal(matrix, 1)
    return matrix


@dataclass(frozen=True)
class Merged:
    """Which classes were merged.

    Attributes
    ----------
    tree : ndarray, shape (n - 1, 4)
        See `cryokin.pytom.merge.tree`.
    groups : ndarray of int, shape (n,)
        Group of every class; -1: in none.
    names : list of str
        Of the groups.
    height : float or None
        Where the tree was cut; None: by the user's groups.
    """

    tree: NDArray[np.float64]
    groups: NDArray[np.intp]
    names: list[str]
    height: float | None


def difference_tree(
    prepared: Prepared, labels: NDArray[np.intp], classes: Sequence[int]
) -> NDArray[np.float64]:
    """Return the tree of classes by how significantly they differ.

    Parameters
    ----------
    prepared : Prepared
        The particles.
    labels : ndarray of int, shape (n,)
        Their classes.
    classes : sequence of int
        Those that are compared, in the order of the leaves.
    """
    corrected = prepared.corrected
    of_run = model(corrected)
    numbers = {c: i for i, c in enumerate(classes)}
    rows = np.array([numbers.get(c, -1) for c in labels.tolist()])
    signal, weight = class_sums(of_run, rows, len(classes))
    return merge.significance_tree(
        signal / np.sqrt(of_run.noise),
        weight,
        np.repeat(corrected.strength, 2),
        corrected.occupancy,
    )


def merge_classes(
    joined: NDArray[np.float64], how: Mapping[str, Any], labels: Sequence[str]
) -> Merged:
    """Merge classes by number, by height or by the user's groups.

    Where there are no more classes than the number, all stay as they are.

    Parameters
    ----------
    joined : ndarray, shape (n - 1, 4)
        The tree of the classes, see `cryokin.pytom.merge`.
    how : mapping
        The option ``merge``.
    labels : sequence of str
        Names of the classes.
    """
    if "groups" in how:
        of_class = merge.user_groups(how["groups"], labels)
        names = [str(name) for name in how["groups"]]
        groups = np.array(
            [names.index(of_class[c]) if c in of_class else -1 for c in labels]
        )
        return Merged(joined, groups, names, None)
    if "height" in how:
        height = float(how["height"])
        groups = np.zeros(1, np.intp)
        if len(joined):
            groups = merge.cut_by_height(joined, height)
    elif how["number"] >= len(labels):
        groups, height = np.arange(len(labels)), 0.0
    else:
        groups = merge.cut_by_number(joined, how["number"])
        # Between the last join that was made and the first that was not.
        heights = [0.0, *joined[:, 2].tolist(), float(joined[-1, 2]) * 1.1]
        made = len(labels) - how["number"]
        height = (heights[made] + heights[made + 1]) / 2
    return Merged(joined, groups, [str(g) for g in range(groups.max() + 1)], height)
