"""MCO-AC: annealing around EXMX.

Between rounds of EXMX every particle may move to a class it fits worse, the more
readily the higher the temperature (Hrabe et al., J. Struct. Biol. 178 (2012) 177).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cryokin.random import stream
from cryokin.subtomo.compat import class_difference
from cryokin.subtomo.mco import Classification, Model, exmx, surpasses
from cryokin.subtomo.schedule import schedule

MOST_DRAWS = 10  # draws in search of one that keeps the number of classes

Criterion = Literal["metropolis", "heat_bath", "threshold", "pytom"]


@dataclass(frozen=True)
class Draw:
    """New classes, and which particles went to a worse one.

    Attributes
    ----------
    labels : ndarray of int, shape (n,)
        New classes.
    worse : ndarray of bool, shape (n,)
        Particles that moved to a class of lower score.
    random : ndarray, shape (n,)
        The random number that decided each.
    """

    labels: NDArray[np.intp]
    worse: NDArray[np.bool_]
    random: NDArray[np.float64]


def effective_temperature(scores: NDArray[np.floating], temperature: float) -> float:
    """Return a temperature in units of the spread of all scores of a round."""
    finite = scores[np.isfinite(scores)]
    return temperature * float(finite.std())


def metropolis(
    scores: NDArray[np.floating],
    labels: NDArray[np.intp],
    temperature: float,
    generator: np.random.Generator,
) -> Draw:
    """Propose another class to every particle; accept with min(1, exp(gain / T)).

    Parameters
    ----------
    scores : ndarray, shape (n, nclass)
        Of every particle against every class; ``-inf`` for a class that is none.
    labels : ndarray of int, shape (n,)
        Present classes.
    temperature : float
        In the unit of the scores.
    generator : numpy.random.Generator
        Source of chance.
    """
    n, nclass = scores.shape
    proposed = (labels + 1 + generator.integers(max(nclass - 1, 1), size=n)) % nclass
    random = generator.random((n,))
    gain = _gain(scores, labels, proposed)
    accepted = (gain >= 0) | (random < _boltzmann(gain, temperature))
    accepted &= proposed != labels
    return Draw(np.where(accepted, proposed, labels), accepted & (gain < 0), random)


def heat_bath(
    scores: NDArray[np.floating],
    labels: NDArray[np.intp],
    temperature: float,
    generator: np.random.Generator,
) -> Draw:
    """Draw the class of every particle with probability ~ exp(score / T).

    Parameters as of `metropolis`.
    """
    random = generator.random((len(scores),))
    gain = scores - scores.max(axis=1, keepdims=True)
    share = _boltzmann(gain, temperature)
    cumulative = np.cumsum(share, axis=1)
    new = (cumulative <= (random * cumulative[:, -1])[:, None]).sum(axis=1)
    new = np.minimum(new, scores.shape[1] - 1)
    return Draw(new, _gain(scores, labels, new) < 0, random)


def threshold(
    scores: NDArray[np.floating],
    labels: NDArray[np.intp],
    temperature: float,
    generator: np.random.Generator,
) -> Draw:
    """Propose another class to every particle; accept a loss below the temperature.

    Dueck and Scheuer, J. Comput. Phys. 90 (1990) 161. Parameters as of `metropolis`.
    """
    n, nclass = scores.shape
    proposed = (labels + 1 + generator.integers(max(nclass - 1, 1), size=n)) % nclass
    gain = _gain(scores, labels, proposed)
    accepted = (gain > -temperature) & (proposed != labels)
    return Draw(
        np.where(accepted, proposed, labels), accepted & (gain < 0), np.zeros(n)
    )


def pytom_scan(
    scores: NDArray[np.floating],
    labels: NDArray[np.intp],
    temperature: float,
    generator: np.random.Generator,
) -> Draw:
    """Scan the classes as PyTom does, whatever the present class.

    From class 0 on, a class that is as good or better is taken; a worse one with
    probability exp(gain / T), once per particle. Parameters as of `metropolis`.
    """
    n, nclass = scores.shape
    now = np.zeros(n, np.intp)
    jumped = np.zeros(n, bool)
    decided = np.zeros(n)
    for candidate in range(nclass):
        random = generator.random((n,))
        gain = _gain(scores, now, np.full(n, candidate))
        jump = (gain < 0) & ~jumped & (_boltzmann(gain, temperature) > random)
        now = np.where((gain >= 0) | jump, candidate, now)
        decided = np.where(jump, random, decided)
        jumped |= jump
    return Draw(now, jumped, decided)


MOVES: dict[
    Criterion,
    Callable[
        [NDArray[np.floating], NDArray[np.intp], float, np.random.Generator], Draw
    ],
] = {
    "metropolis": metropolis,
    "heat_bath": heat_bath,
    "threshold": threshold,
    "pytom": pytom_scan,
}


def _gain(
    scores: NDArray[np.floating], old: NDArray[np.intp], new: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return new score - old score; a class that is none is the worst."""
    rows = np.arange(len(scores))
    a, b = scores[rows, old], scores[rows, new]
    with np.errstate(invalid="ignore"):
        gain = np.asarray(b - a, np.float64)
    return np.where(np.isnan(gain), 0.0, gain)


def _boltzmann(gain: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Return exp(gain / T) of gains of at most 0; 0 at T = 0 unless the gain is 0."""
    if temperature <= 0:
        return (gain >= 0).astype(np.float64)
    return np.exp(np.minimum(np.asarray(gain, np.float64), 0) / temperature)


def draw(
    scores: NDArray[np.floating],
    labels: NDArray[np.intp],
    temperature: float,
    seed: int,
    address: tuple[int, ...],
    criterion: Criterion = "metropolis",
    n_classes: int | None = None,
) -> Draw:
    """Draw new classes, again while classes got lost (at most ten times).

    Parameters
    ----------
    scores, labels, temperature
        See `metropolis`.
    seed, address
        Of the random stream; the number of the draw is added.
    criterion : str
        One of `MOVES`.
    n_classes : int, optional
        Number of classes to keep; default: any.
    """
    for attempt in range(MOST_DRAWS):
        generator = stream(seed, *address, attempt)
        found = MOVES[criterion](scores, labels, temperature, generator)
        if n_classes is None or len(np.unique(found.labels)) == n_classes:
            break
    return found


@dataclass(frozen=True)
class State:
    """Where an annealing run stands after a round.

    Attributes
    ----------
    labels : ndarray of int, shape (n,)
        Classes from which the next round starts.
    best : Classification
        Best result of EXMX so far, the first of those that cannot be told apart.
    last : Classification
        That of this round.
    draw : Draw
        The moves after it.
    temperature : float
        Effective temperature of the moves.
    changed : float
        Fraction of particles in another class than at the start of the round.
    """

    labels: NDArray[np.intp]
    best: Classification
    last: Classification
    draw: Draw
    temperature: float
    changed: float


def anneal_round(
    search: Callable[[NDArray[np.intp]], Classification],
    labels: NDArray[np.intp],
    nclass: int,
    temperature: float,
    seed: int,
    round_number: int,
    best: Classification | None = None,
    criterion: Criterion = "metropolis",
    sigma: bool = True,
    allow_class_collapse: bool = False,
    chain: int = 0,
    better: Callable[[NDArray[np.float64], NDArray[np.float64]], bool] = surpasses,
) -> State:
    """Run EXMX, remember the best result, and move particles at random.

    Parameters
    ----------
    search : callable
        Runs EXMX from classes to start from.
    labels : ndarray of int, shape (n,)
        These classes.
    nclass : int
        Number of classes.
    temperature : float
        Of this round.
    seed : int
        The user's ``rand_seed``.
    round_number : int
        From 0.
    best : Classification, optional
        Best result of the rounds before.
    criterion : str
        One of `MOVES`.
    sigma : bool
        Whether the temperature counts in standard deviations of the scores.
    allow_class_collapse : bool
        Whether moves may empty a class.
    chain : int
        Number of the chain; it belongs to the address of its random streams.
    better : callable
        Tells from the fits of two results whether the first is to be remembered.
    """
    last = search(labels)
    several = len(np.unique(last.labels)) > 1
    if best is None or (several and better(last.fits, best.fits)):
        best = last
    effective = (
        effective_temperature(last.scores, temperature) if sigma else temperature
    )
    moved = draw(
        last.scores,
        last.labels,
        effective,
        seed,
        (chain, round_number),
        criterion,
        None if allow_class_collapse else nclass,
    )
    names = [[str(c) for c in part] for part in (labels, moved.labels)]
    changed = class_difference(*names)
    return State(moved.labels, best, last, moved, effective, changed)


def anneal(
    model: Model,
    labels: NDArray[np.intp],
    nclass: int,
    temperature: float,
    step: float,
    seed: int,
    end_threshold: float = 0.0,
    local_iterations: int = 5,
    criterion: Criterion = "metropolis",
    sigma: bool = True,
    allow_class_collapse: bool = False,
    leave_one_out: bool = True,
) -> list[State]:
    """Run the rounds of a whole schedule; the last state holds the best result.

    Parameters as of `anneal_round`, `schedule` and `cryokin.subtomo.mco.exmx`; the run
    ends early when a round changed at most ``end_threshold`` of the classes.
    """

    def search(start: NDArray[np.intp]) -> Classification:
        return exmx(model, start, nclass, local_iterations, 0.0, leave_one_out)

    states: list[State] = []
    for number, now in enumerate(schedule(temperature, step)):
        states.append(
            anneal_round(
                search,
                labels,
                nclass,
                now,
                seed,
                number,
                states[-1].best if states else None,
                criterion,
                sigma,
                allow_class_collapse,
            )
        )
        labels = states[-1].labels
        if states[-1].changed <= end_threshold:
            break
    return states
