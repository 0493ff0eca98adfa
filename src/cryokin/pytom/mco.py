"""Multiple correlation optimisation by expectation maximisation (MCO-EXMX).

Every particle goes to the class average that explains it best; averages and
assignments take turns until nothing moves. What makes that work at low signal:

- A particle is compared with the average of its class *without itself*, because its
  own noise would hold it where it is.
- The averages' own noise is accounted for, because it would push every particle into
  the largest class.
- How far a shell is to be trusted is asked of all classes together, so that none is
  weighted otherwise than its rivals.
- Classes are as large as makes all particles likeliest, not as they happen to be: sizes
  that are counted feed on themselves, and the larger class swallows the smaller.
- Noise inside a mask is correlated; only part of the coefficients count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.parallel import Team
from cryokin.pytom.compat import class_difference
from cryokin.pytom.pose_errors import Corrected
from cryokin.random import stream
from cryokin.volume.averages import FLOOR
from cryokin.volume.bands import as_real

BLOCK = 64  # particles handled at a time
LEAST_SIGNAL = 0.1  # least part of the power between classes that is taken for signal
LEAST_NORM = 0.5  # of a class average's squared norm, relative to that of all particles
LEAST_ENERGY = 1e-3  # of an average's squared norm, relative to a particle's
PROPORTIONS = 200  # most iterations for the sizes of the classes

Score = Literal["likelihood", "correlation"]


@dataclass(frozen=True)
class Model:
    """What EXMX works on.

    Attributes
    ----------
    y : ndarray of float32, shape (n, 2 m)
        Whitened particles (correlation) or residuals from the consensus (likelihood).
    w : ndarray of float32, shape (n, m)
        Weights of the wedges.
    noise : ndarray of float32, shape (2 m,)
        Variance of the noise in ``y``.
    shell : ndarray of int, shape (2 m,)
        Shell of every coefficient.
    emphasis : ndarray of float32, shape (2 m,)
        Weights of the coefficients in the objective, from 0 to 1.
    occupancy : float
        Share of the coefficients whose noise is independent.
    score : {"likelihood", "correlation"}
        How a particle is compared with an average.
    """

    y: NDArray[np.float32]
    w: NDArray[np.float32]
    noise: NDArray[np.float32]
    shell: NDArray[np.intp]
    emphasis: NDArray[np.float32]
    occupancy: float
    score: Score

    def __len__(self) -> int:
        return len(self.y)

    def take(self, ids: NDArray[np.intp]) -> Model:
        """Return the model of some of the particles."""
        return replace(self, y=self.y[ids], w=self.w[ids])


def model(corrected: Corrected, score: Score = "likelihood") -> Model:
    """Return the model of corrected particles.

    Parameters
    ----------
    corrected : Corrected
        Residuals, see `cryokin.pytom.pose_errors.correct`.
    score : {"likelihood", "correlation"}
        Gain in the logarithm of the likelihood over the consensus, each shell counted
        by the signal between the classes, and classes of any size; or PyTom's
        constrained correlation with the average.
    """
    band = corrected.band
    y = corrected.y
    if score == "correlation":
        common = corrected.consensus * corrected.whitening
        y = y + as_real((corrected.w * common).astype(np.complex64), band)
    strength = np.repeat(corrected.strength, 2)
    return Model(
        y,
        corrected.w,
        corrected.noise,
        np.repeat(band.shell, 2),
        strength / strength.max(),
        corrected.occupancy,
        score,
    )


def class_sums(
    model: Model, labels: NDArray[np.intp], nclass: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sums of ``w y`` and ``w^2`` over the classes, each (nclass, 2 m).

    Particles of the label -1 are in no class.
    """
    signal, weight = np.zeros((2, nclass, model.y.shape[1]))
    for start in range(0, len(model), BLOCK):
        part = slice(start, start + BLOCK)
        w = np.repeat(model.w[part], 2, axis=1)
        member = (labels[part, None] == np.arange(nclass)).astype(np.float32)
        signal += member.T @ (w * model.y[part])
        weight += member.T @ np.square(w)
    return signal, weight


def scores(
    model: Model, labels: NDArray[np.intp], nclass: int, leave_one_out: bool = True
) -> NDArray[np.float64]:
    """Return the score of every particle against every class average.

    Parameters
    ----------
    model : Model
        The particles.
    labels : ndarray of int, shape (n,)
        Classes from 0; particles of the label -1 are scored, but are in no average.
    nclass : int
        Number of classes; some may be empty.
    leave_one_out : bool, optional
        Whether a particle's own share is taken out of its class.

    Returns
    -------
    ndarray, shape (n, nclass)
        ``-inf`` where a class has no (other) member.
    """
    return compare(model, labels, nclass, leave_one_out)[0]


def compare(
    model: Model, labels: NDArray[np.intp], nclass: int, leave_one_out: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return scores, and the gains in log-likelihood that the objective is made of.

    The scores trust a shell by what these very classes differ there, which makes the
    most of it, but is no measure of how good other classes are. The gains weight every
    shell by `Model.emphasis`, whatever the classes are.

    Parameters as of `scores`.

    Returns
    -------
    scores : ndarray, shape (n, nclass)
        See `scores`.
    gains : ndarray, shape (n, nclass), or None
        None for correlations.
    """
    n = len(model)
    counts = np.bincount(labels[labels >= 0], minlength=nclass)
    signal, weight = class_sums(model, labels, nclass)
    floors = FLOOR * np.maximum(counts, 1)[:, None]
    average, variance = _average(signal, weight, floors, model.noise)
    by_likelihood = model.score == "likelihood"
    if by_likelihood:
        trust = np.stack([_trust(model, average, weight), model.emphasis])
    else:
        trust = np.ones((1, len(model.noise)))
    scale = trust / model.noise
    linear = (scale[:, None] * average).astype(np.float32)
    square = scale[:, None] * (average**2 - variance)
    pairs = square.reshape(len(trust), nclass, -1, 2).sum(axis=3).astype(np.float32)
    overall, of_all = _average(
        signal.sum(axis=0), weight.sum(axis=0), floors.sum(), model.noise
    )
    common = ((overall**2 - of_all) / model.noise).reshape(-1, 2).sum(axis=1)
    product, norm = np.empty((2, len(trust), n, nclass))
    energy, least = np.empty((2, n))
    for start in range(0, n, BLOCK):
        part = slice(start, start + BLOCK)
        w = np.repeat(model.w[part], 2, axis=1)
        g, w2 = w * model.y[part], np.square(model.w[part])
        for which in range(len(trust)):
            product[which, part] = g @ linear[which].T
            norm[which, part] = w2 @ pairs[which].T
        energy[part] = (np.square(model.y[part]) / model.noise).sum(axis=1)
        least[part] = w2 @ common
        if leave_one_out:
            members = np.flatnonzero(labels[part] >= 0)
            own, g, w = labels[part][members], g[members], w[members]
            a, v = _average(
                signal[own] - g,
                weight[own] - np.square(w),
                floors[own],
                model.noise,
            )
            rows = start + members
            product[:, rows, own] = scale @ (g * a).T
            norm[:, rows, own] = scale @ (np.square(w) * (a**2 - v)).T
    others = np.tile(counts, (n, 1))
    members = np.flatnonzero(labels >= 0)
    others[members, labels[members]] -= leave_one_out
    if by_likelihood:
        gains = np.where(others > 0, model.occupancy * (product - norm / 2), -np.inf)
        return gains[0] + np.log(proportions(gains[0])), gains[1]
    # Of few members, the norm without its noise is itself mostly noise.
    least = np.maximum(LEAST_NORM * least, LEAST_ENERGY * energy)[:, None]
    correlation = product[0] / np.sqrt(energy[:, None] * np.maximum(norm[0], least))
    return np.where(others > 0, np.clip(correlation, -1, 1), -np.inf), None


def proportions(gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sizes of the classes that make all particles likeliest.

    Parameters
    ----------
    gains : ndarray, shape (n, nclass)
        Logarithms of the likelihood of every particle in every class; ``-inf`` where a
        class is none.

    Returns
    -------
    ndarray, shape (nclass,)
        Shares of the classes, of sum 1 (expectation maximisation); each counts one
        particle more than it has, so that none is lost before it was tried.
    """
    likely = _likelihoods(gains)[0]
    share = np.full(gains.shape[1], 1 / gains.shape[1])
    for _ in range(PROPORTIONS):
        parts = likely * share
        members = (parts / parts.sum(axis=1, keepdims=True)).sum(axis=0)
        new = (members + 1) / (members.sum() + len(members))
        settled = np.abs(new - share).max() < 1e-6
        share = new
        if settled:
            break
    return share


def mixture_gain(gains: NDArray[np.float64]) -> float:
    """Return the mean logarithm of the likelihood of a mixture of all classes.

    Parameters
    ----------
    gains : ndarray, shape (n, nclass)
        See `proportions`.
    """
    likely, top = _likelihoods(gains)
    return float((np.log(likely @ proportions(gains)) + top).mean())


def _likelihoods(
    gains: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return likelihoods relative to each particle's best, and the log of the best."""
    top = gains.max(axis=1)
    top = np.where(np.isfinite(top), top, 0)  # of a particle in the only class
    likely = np.exp(gains - top[:, None])
    likely[~likely.any(axis=1)] = 1
    return likely, top


def _average(
    signal: NDArray[np.float64],
    weight: NDArray[np.float64],
    floor: NDArray[np.float64],
    noise: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return averages of sums, and the variance of the noise in them."""
    divisor = np.maximum(weight, floor)
    return signal / divisor, noise * weight / divisor**2


def _trust(
    model: Model, average: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the part of the power between the classes that is signal, shape (2 m,).

    It is the factor by which noisy averages predict best (Wiener). Averages of k
    classes about the average of all have the noise of k - 1: it is the more that a
    class would be taken to have, the more of the particles it holds.
    """
    free = np.count_nonzero(weight.any(axis=1)) - 1
    between = (weight * average**2).sum(axis=0) / model.noise
    power = np.bincount(model.shell, between)
    noise = free * np.bincount(model.shell)
    part = 1 - np.divide(noise, power, np.ones_like(power), where=power > 0)
    trusted: NDArray[np.float64] = np.clip(part, LEAST_SIGNAL, 1)[model.shell]
    return trusted


def assign(scores: NDArray[np.floating], labels: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the class of the highest score; in a tie a particle stays, or goes first.

    Parameters
    ----------
    scores : ndarray, shape (n, nclass)
        See `scores`.
    labels : ndarray of int, shape (n,)
        Present classes; -1: in none.
    """
    best: NDArray[np.intp] = scores.argmax(axis=1)
    rows = np.arange(len(scores))
    stays = (labels >= 0) & (scores[rows, labels] >= scores[rows, best])
    return np.where(stays, labels, best)


@dataclass(frozen=True)
class Classification:
    """A partition and how it came about.

    Attributes
    ----------
    labels : ndarray of int, shape (n,)
        Classes from 0; classes may have emptied.
    scores : ndarray, shape (n, nclass)
        Of the last iteration.
    objective : float
        Mean gain in the logarithm of the likelihood of the particles, or their mean
        correlation with the averages of their classes.
    changed : list of float
        Fraction of particles that moved, per iteration.
    """

    labels: NDArray[np.intp]
    scores: NDArray[np.float64]
    objective: float
    changed: list[float]


def exmx(
    model: Model,
    labels: NDArray[np.intp],
    nclass: int,
    iterations: int = 50,
    end_threshold: float = 0.0,
    leave_one_out: bool = True,
) -> Classification:
    """Assign particles to class averages until hardly any moves.

    Parameters
    ----------
    model : Model
        The particles.
    labels : ndarray of int, shape (n,)
        Classes to start from.
    nclass : int
        Number of classes.
    iterations : int
        At most so many.
    end_threshold : float
        Stop when at most this fraction of the particles changed class.
    leave_one_out : bool
        See `scores`.
    """
    course = exmx_iterations(
        model, labels, nclass, iterations, end_threshold, leave_one_out
    )
    return deque(course, maxlen=1).pop()  # the scores of one iteration at a time


def exmx_iterations(
    model: Model,
    labels: NDArray[np.intp],
    nclass: int,
    iterations: int,
    end_threshold: float,
    leave_one_out: bool,
) -> Iterator[Classification]:
    """Yield the classification after each iteration of `exmx`."""
    changed: list[float] = []
    for _ in range(iterations):
        found, gains = compare(model, labels, nclass, leave_one_out)
        new = assign(found, labels)
        if gains is None:
            objective = float(found[np.arange(len(new)), new].mean())
        else:
            objective = mixture_gain(gains)
        moved = np.count_nonzero(new != labels)
        names = [[str(c) for c in part] for part in (labels, new)]
        changed = [*changed, class_difference(*names) if moved else 0.0]
        labels = new
        yield Classification(labels, found, objective, changed)
        if changed[-1] <= end_threshold:
            break


def random_start(n: int, nclass: int, seed: int, start: int) -> NDArray[np.intp]:
    """Return classes of equal size at random, from stream (seed, start)."""
    if not 1 <= nclass <= n:
        raise InputError(
            f"nclass = {nclass} classes cannot be made of {n} particles (allowed: 1 to"
            f" {n}); lower nclass in the config."
        )
    return stream(seed, start).permutation(np.arange(n) % nclass)


@dataclass(frozen=True)
class BestOf:
    """The best of several starts.

    Attributes
    ----------
    best : Classification
        That of the highest objective.
    start : int
        Which start it came from.
    objectives : ndarray, shape (n_starts,)
        Of all starts.
    agreement : ndarray, shape (n_starts,)
        Adjusted Rand index of every start's result with the best one.
    """

    best: Classification
    start: int
    objectives: NDArray[np.float64]
    agreement: NDArray[np.float64]


def best_of(
    model: Model,
    starts: Sequence[NDArray[np.intp]],
    nclass: int,
    iterations: int = 50,
    end_threshold: float = 0.0,
    leave_one_out: bool = True,
    team: Team | None = None,
) -> BestOf:
    """Run EXMX from several starts and keep the result of the highest objective.

    Parameters
    ----------
    model, nclass, iterations, end_threshold, leave_one_out
        See `exmx`.
    starts : sequence of ndarray
        Classes to start from, e.g. of `random_start` and of CPCA; the first of equal
        objectives wins.
    team : Team, optional
        Shares the starts; the result does not depend on it.
    """
    results = (team or Team()).map(
        lambda labels: exmx(
            model, labels, nclass, iterations, end_threshold, leave_one_out
        ),
        starts,
    )
    return choose(results)


def choose(results: Sequence[Classification]) -> BestOf:
    """Return the classification of the highest objective among several."""
    objectives = np.array([result.objective for result in results])
    start, agreement = with_best(objectives, [result.labels for result in results])
    return BestOf(results[start], start, objectives, agreement)


def with_best(
    objectives: NDArray[np.float64], labels: Sequence[NDArray[np.intp]]
) -> tuple[int, NDArray[np.float64]]:
    """Return which result is best, the first of equal ones, and all others' agreement.

    Parameters
    ----------
    objectives : ndarray, shape (n_starts,)
        Of the results.
    labels : sequence of ndarray
        Their classes.
    """
    start = int(objectives.argmax())
    agreement = [adjusted_rand_index(one, labels[start]) for one in labels]
    return start, np.array(agreement)


def adjusted_rand_index(first: NDArray[np.intp], second: NDArray[np.intp]) -> float:
    """Return the agreement of two partitions: 1 the same, 0 as by chance.

    Hubert and Arabie, J. Classification 2 (1985) 193.
    """
    _, a = np.unique(first, return_inverse=True)
    _, b = np.unique(second, return_inverse=True)
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1)

    def pairs(counts: NDArray[np.float64]) -> float:
        return float((counts * (counts - 1) / 2).sum())

    together, rows, columns = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    chance = rows * columns / max(pairs(np.array([float(len(a))])), 1)
    most = (rows + columns) / 2
    return 1.0 if most == chance else (together - chance) / (most - chance)
