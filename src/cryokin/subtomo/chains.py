"""Chains of annealing: their rounds, and the lists of the best one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryokin.files import atomic
from cryokin.io.pytom_xml import (
    write_particle_list,
    write_swap_list,
)
from cryokin.io.subtomograms import Subtomograms
from cryokin.npy import load_arrays
from cryokin.options import McoAc
from cryokin.parallel import Team
from cryokin.partition.labels import counts, rank_by_size, renumbered
from cryokin.subtomo.annealing import Criterion, anneal_round
from cryokin.subtomo.compat_runs import compat_search, compat_setting
from cryokin.subtomo.courses import (
    cluster_centre,
    make_model,
    write_alignment_lists,
    write_averages,
)
from cryokin.subtomo.files import own_scores
from cryokin.subtomo.mco import (
    Classification,
    agreement_with,
    best_start,
    exmx,
    surpasses,
)
from cryokin.subtomo.prepare import Prepared
from cryokin.subtomo.schedule import schedule
from cryokin.volume.bands import Rows

Search = Callable[[NDArray[np.intp]], Classification]


@dataclass(frozen=True)
class Chain:
    """Where a chain stands after a round.

    Attributes
    ----------
    start, labels : ndarray of int, shape (n,)
        Classes before the round, and those that the next one starts from.
    best_labels, best_fits, best_scores
        Best result of EXMX so far: classes, what each particle adds to the objective,
        score of every particle in its class.
    last_labels, scores, objective
        That of this round: classes, scores against all classes, shape (n, nclass), mean
        score.
    worse : ndarray of bool, shape (n,)
        Particles that moved to a worse class.
    random : ndarray, shape (n,)
        The random number that decided each.
    temperature : float
        Of the moves, in the unit of the scores.
    changed : float
        Fraction of particles in another class than before the round.
    round : int
        The last one that was run, from 0.
    done : bool
        Whether it has come to rest.
    """

    start: NDArray[np.intp]
    labels: NDArray[np.intp]
    best_labels: NDArray[np.intp]
    best_fits: NDArray[np.float64]
    best_scores: NDArray[np.float64]
    last_labels: NDArray[np.intp]
    scores: NDArray[np.float64]
    objective: float
    worse: NDArray[np.bool_]
    random: NDArray[np.float64]
    temperature: float
    changed: float
    round: int
    done: bool

    @property
    def best_objective(self) -> float:
        """Mean of the best fits."""
        return float(self.best_fits.mean())


def searches(
    particles: Subtomograms,
    prepared: Callable[[], Prepared],
    options: McoAc,
    team: Team,
) -> Search:
    """Return what runs EXMX in a round of annealing, from classes to start from.

    Under ``compat: pytom`` it is PyTom's own, whose ranks share the particles.
    """
    nclass, iterations = options.nclass, options.local_iterations
    if options.compat != "pytom":
        of_run = make_model(prepared(), options)
        return lambda labels: exmx(
            of_run, labels, nclass, iterations, 0.0, options.leave_one_out
        )
    setting = compat_setting(particles, options)
    return lambda labels: compat_search(
        setting,
        particles,
        labels,
        nclass,
        iterations,
        options.end_threshold,
        team,
    )


def anneal_chains(
    search: Search,
    before: Sequence[Chain | NDArray[np.intp]],
    round_number: int,
    options: McoAc,
    team: Team,
) -> list[Chain]:
    """Run one round of annealing of all chains.

    Parameters
    ----------
    search : callable
        See `searches`.
    before : sequence of Chain or ndarray of int, shape (n,)
        The chains after the round before, or the classes that they start from.
    round_number : int
        From 0.
    options : McoAc
        Of the run.
    team : Team
        Shares the chains; alone where the search shares the particles.
    """
    temperatures = schedule(options.temperature, options.temperature_step)
    # By PyTom's rules its own moves are taken, too.
    by_pytom = options.compat == "pytom"
    criterion: Criterion = "pytom" if by_pytom else options.criterion

    def advance(number: int) -> Chain:
        now, best, best_scores = before[number], None, np.empty(0)
        if isinstance(now, Chain):
            if now.done:
                return now
            labels, best_scores = now.labels, now.best_scores
            best = Classification(now.best_labels, np.empty(0), now.best_fits, [])
        else:
            labels = now
        state = anneal_round(
            search,
            labels,
            options.nclass,
            temperatures[round_number],
            options.rand_seed,
            round_number,
            best,
            criterion,
            options.temperature_unit == "sigma",
            options.allow_class_collapse,
            number,
            _higher if by_pytom else surpasses,
        )
        last = state.last
        if state.best is last:
            best_scores = own_scores(last.scores, last.labels)
        return Chain(
            start=labels,
            labels=state.labels,
            best_labels=state.best.labels,
            best_fits=state.best.fits,
            best_scores=best_scores,
            last_labels=last.labels,
            scores=last.scores,
            objective=last.objective,
            worse=state.draw.worse,
            random=state.draw.random,
            temperature=state.temperature,
            changed=state.changed,
            round=round_number,
            done=state.changed <= options.end_threshold,
        )

    return team.map(advance, range(len(before)))


def _higher(fits: NDArray[np.float64], others: NDArray[np.float64]) -> bool:
    """Return whether the mean is higher, which is PyTom's rule."""
    return bool(fits.mean() > others.mean())


def save_chains(path: Path, chains: Sequence[Chain]) -> None:
    """Write the states of all chains."""
    arrays = {
        f"{i}_{k}": v for i, one in enumerate(chains) for k, v in vars(one).items()
    }
    with atomic(path) as partial:
        np.savez(partial, n_chains=len(chains), **arrays)


def load_chains(path: Path) -> list[Chain]:
    """Read what `save_chains` wrote."""
    names = [field.name for field in fields(Chain)]
    arrays = load_arrays(path)
    return [
        Chain(**{name: _plain(arrays[f"{i}_{name}"]) for name in names})
        for i in range(int(arrays["n_chains"]))
    ]


def _plain(value: NDArray[Any]) -> Any:
    """Return an array, a number as Python has it."""
    return value if value.ndim else value.item()


def best_chain(chains: Sequence[Chain], informed: bool = False) -> int:
    """Return the number of the chain that counts, see `best_start`."""
    return best_start([chain.best_fits for chain in chains], informed)


def annealing_report(
    rounds: Sequence[Sequence[Chain]], informed: bool = False
) -> dict[str, Any]:
    """Return what the chains did: objective, changed, temperature, acceptance."""
    last = rounds[-1]
    best = best_chain(last, informed)
    entries = []
    for number, chains in enumerate(rounds):
        for c, chain in enumerate(chains):
            if chain.round != number:
                continue
            entries.append(
                {
                    "round": number,
                    "start": c,
                    "objective": chain.objective,
                    "best_objective": chain.best_objective,
                    "changed": chain.changed,
                    "temperature": chain.temperature,
                    "acceptance": float(np.mean(chain.worse)),
                    "counts": counts(chain.last_labels),
                }
            )
    return {
        "start": best,
        "starts": len(last),
        "objectives": [chain.best_objective for chain in last],
        "agreement": agreement_with(
            [chain.best_labels for chain in last], best
        ).tolist(),
        "iterations": entries,
    }


def write_annealing(
    folder: Path,
    particles: Subtomograms,
    rows: Rows,
    rounds: Sequence[Sequence[Chain]],
    nclass: int,
    temperatures: Sequence[float],
    informed: bool = False,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Write the rounds of the best chain under PyTom's names.

    Per round ``classifiedParticles.xml`` (after EXMX) and the averages of its classes,
    ``swapList.xml`` (moves to a worse class) and ``currentBestParticleList.xml``, of
    the last one also the scores against all classes; classes are numbered by their
    final size, from 0 as PyTom does.

    Returns
    -------
    labels : ndarray of int, shape (n,)
        Best classes.
    scores : ndarray, shape (n,)
        Of the particles in these.
    """
    best = best_chain(rounds[-1], informed)
    final = rounds[-1][best].best_labels
    number = rank_by_size(final, nclass)
    start = renumbered(rounds[0][best].start, number)
    listed = particles.listed(start)
    write_particle_list(folder / "RandomisedParticleList.xml", listed)
    steps = [*(-np.diff(temperatures)), temperatures[-1]]
    for r, chains in enumerate(rounds):
        chain = chains[best]
        if chain.round != r:
            break
        place = folder / str(r)
        old, new = chain.last_labels, chain.labels
        scores = chain.scores
        after = particles.listed(number[old], own_scores(scores, old))
        write_particle_list(place / "classifiedParticles.xml", after)
        write_averages(place, r, rows, number[old])
        write_swap_list(
            place / "swapList.xml",
            [
                {
                    "particle": after[i],
                    "old_score": float(chain.scores[i, old[i]]),
                    "new_score": float(chain.scores[i, new[i]]),
                    "random": float(chain.random[i]),
                    "reference": cluster_centre(r, number[new[i]]),
                    "temperature": chain.temperature,
                    "step": float(steps[min(r, len(steps) - 1)]),
                }
                for i in np.flatnonzero(chain.worse)
            ],
        )
        best_now = particles.listed(number[chain.best_labels], chain.best_scores)
        write_particle_list(place / "currentBestParticleList.xml", best_now)
        last = r
    by_number = scores[:, np.argsort(number)]
    write_alignment_lists(place, last, after, by_number, np.unique(number[old]))
    classes: NDArray[np.intp] = number[final]
    own = rounds[-1][best].best_scores
    write_particle_list(
        folder / "currentBestParticleList.xml",
        particles.listed(classes, own),
    )
    return classes, own
