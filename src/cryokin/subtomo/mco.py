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
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from cryokin.device import beside, on_host
from cryokin.errors import InputError
from cryokin.parallel import Team, blocks
from cryokin.partition.agreement import adjusted_rand_index
from cryokin.random import stream
from cryokin.subtomo.compat import class_difference
from cryokin.subtomo.pose_errors import Corrected
from cryokin.volume.averages import FLOOR
from cryokin.volume.bands import as_real

BLOCK = 64  # particles handled at a time
LEAST_SIGNAL = 0.5  # of a variance between classes, in standard errors
LEAST_NORM = 0.5  # of a class average's squared norm, relative to that of all particles
LEAST_ENERGY = 1e-3  # of an average's squared norm, relative to a particle's
DECISIVE = 3.0  # standard errors by which a better classification is better
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

    ``y`` and ``w`` may be arrays of PyTorch or CuPy, see `cryokin.device`: particles
    are summed and scored where they are, all else is NumPy's.
    """

    y: NDArray[np.float32]
    w: NDArray[np.float32]
    noise: NDArray[np.float32]
    shell: NDArray[np.intp]
    emphasis: NDArray[np.float32]
    occupancy: float
    score: Score

    def __len__(self) -> int:
        return int(self.y.shape[0])

    def take(self, ids: NDArray[np.intp]) -> Model:
        """Return the model of some of the particles."""
        return replace(self, y=self.y[ids], w=self.w[ids])


def model(corrected: Corrected, score: Score = "likelihood") -> Model:
    """Return the model of corrected particles.

    Parameters
    ----------
    corrected : Corrected
        Residuals, see `cryokin.subtomo.pose_errors.correct`.
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
    xp, where = array_namespace(model.y, model.w), device(model.y)
    labels = beside(labels, model.y)
    shape = (nclass, model.y.shape[1])
    signal = xp.zeros(shape, dtype=xp.float64, device=where)
    weight = xp.zeros(shape, dtype=xp.float64, device=where)
    for part in blocks(len(model), BLOCK):
        w = xp.repeat(model.w[part, ...], 2, axis=1)
        member = xp.astype(_is_own(labels[part], nclass), xp.float32)
        signal += member.T @ (w * model.y[part, ...])
        weight += member.T @ xp.square(w)
    return on_host(signal), on_host(weight)


def _is_own(labels: NDArray[np.intp], nclass: int) -> NDArray[np.bool_]:
    """Return which class is that of each particle, shape (n, nclass)."""
    xp = array_namespace(labels)
    classes = xp.arange(nclass, dtype=labels.dtype, device=device(labels))
    own: NDArray[np.bool_] = labels[:, None] == classes[None, :]
    return own


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
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the scores of particles, and what each adds to the objective.

    Parameters as of `scores`.

    Returns
    -------
    scores : ndarray, shape (n, nclass)
        See `scores`.
    fits : ndarray, shape (n,)
        The logarithm of the likelihood of each particle under the mixture of the
        classes whose parts the scores are, or its correlation with the average of its
        class; the objective of these labels is their mean.
    """
    measure = _gains if model.score == "likelihood" else _correlations
    found = measure(model, labels, nclass, leave_one_out)
    others = np.tile(
        np.bincount(labels[labels >= 0], minlength=nclass), (len(model), 1)
    )
    members = np.flatnonzero(labels >= 0)
    others[members, labels[members]] -= leave_one_out
    found = np.where(others > 0, found, -np.inf)
    if model.score == "likelihood":
        return found + np.log(proportions(found)), mixture_gains(found)
    own = found[np.arange(len(labels)), labels]
    return found, np.where(labels >= 0, own, found.max(axis=1))


def _gains(
    model: Model, labels: NDArray[np.intp], nclass: int, leave_one_out: bool
) -> NDArray[np.float64]:
    """Return how much likelier particles are in a class than among all, as logarithms.

    Class averages scatter about a common volume with a variance for each shell, that
    which the classes have beyond their noise; every average is drawn towards the
    common volume by what it is too noisy to tell (random effects). The volume of all
    that a gain is relative to is without the particle, too.
    """
    signal, weight = class_sums(model, labels, nclass)
    deviation: NDArray[np.float32] = np.sqrt(model.noise)
    signal /= deviation
    between = variance_between(model, signal, weight)
    shrunk = 1 / (1 + weight * between)
    parts, precisions = signal * shrunk, weight * shrunk
    mean = between * parts
    linear = np.concatenate([mean, shrunk], axis=1)
    square = np.concatenate([mean**2, 2 * mean * shrunk, shrunk**2], axis=1)
    single = (signal, weight, parts, precisions)

    def put(x: NDArray[np.floating]) -> NDArray[np.float32]:
        # As float32, halves of blocks fit the cache of a core.
        there: NDArray[np.float32] = beside(x.astype(np.float32), model.y)
        return there

    all_signal, all_weight, all_parts, all_precisions = (
        put(x.sum(axis=0)) for x in single
    )
    by_class, linear, square = [put(x) for x in single], put(linear), put(square)
    deviation, spread = put(deviation), put(between)
    labels = beside(labels if leave_one_out else np.full_like(labels, -1), model.y)
    xp, found = array_namespace(model.y, model.w), []
    for rows in blocks(len(model), BLOCK):
        w2 = xp.repeat(xp.square(model.w[rows, ...]), 2, axis=1)
        g = xp.repeat(model.w[rows, ...], 2, axis=1) * model.y[rows, ...] / deviation
        taken = xp.astype(labels[rows] >= 0, xp.float32)[:, None]
        own = xp.maximum(labels[rows], 0)
        of_own, left_weight, part, precision = (
            xp.take(x, own, axis=0) for x in by_class
        )
        left_signal = of_own - taken * g
        left_weight = xp.maximum(left_weight - taken * w2, 0)
        factor = 1 / (1 + left_weight * spread)
        common = (all_parts + taken * (left_signal * factor - part)) / xp.maximum(
            all_precisions + taken * (left_weight * factor - precision), FLOOR
        )
        gains = xp.astype(xp.concat([g, g * common], axis=1) @ linear.T, xp.float64)
        seen = [w2, w2 * common, w2 * xp.square(common)]
        gains -= xp.concat(seen, axis=1) @ square.T / 2
        without = factor * (common + spread * left_signal)
        inside = _log_ratio(g, w2, without)[:, None]
        gains = xp.where(_is_own(labels[rows], nclass), inside, gains)
        everything = (all_signal - taken * g) / xp.maximum(
            all_weight - taken * w2, FLOOR
        )
        found.append(gains - _log_ratio(g, w2, everything)[:, None])
    return model.occupancy * on_host(xp.concat(found))


def _log_ratio(
    g: NDArray[np.float32], w2: NDArray[np.float32], mean: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the logarithm of the likelihood at a mean, over that at 0, by rows."""
    xp = array_namespace(g)
    terms = g * mean - w2 * xp.square(mean) / 2
    ratio: NDArray[np.float64] = xp.sum(terms, axis=1, dtype=xp.float64)
    return ratio


def variance_between(
    model: Model, signal: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how much class averages vary beyond their noise, by shell, shape (2 m,).

    The estimate of DerSimonian and Laird (1986), over the coefficients of a shell; at
    least a part of its own standard error: no shell is given up, and random classes,
    which differ by noise alone, are not held for one.

    Parameters
    ----------
    model : Model
        The particles.
    signal, weight : ndarray, shape (nclass, 2 m)
        Sums over the classes, of particles whose noise has variance 1.
    """
    total = np.maximum(weight.sum(axis=0), FLOOR)
    seen = weight > 0
    squares = np.divide(signal**2, weight, np.zeros_like(signal), where=seen).sum(
        axis=0
    )
    squares -= signal.sum(axis=0) ** 2 / total
    free = np.maximum(np.count_nonzero(seen, axis=0) - 1, 0)
    room = total - (weight**2).sum(axis=0) / total
    above, degrees, weights = (
        np.bincount(model.shell, x) for x in (squares - free, free, room)
    )
    error = np.sqrt(2 * degrees / model.occupancy)
    power = np.maximum(above, LEAST_SIGNAL * error) / np.maximum(weights, FLOOR)
    by_shell: NDArray[np.float64] = power[model.shell]
    return by_shell


def _correlations(
    model: Model, labels: NDArray[np.intp], nclass: int, leave_one_out: bool
) -> NDArray[np.float64]:
    """Return the constrained correlations of particles with class averages."""
    counts = np.bincount(labels[labels >= 0], minlength=nclass)
    signal, weight = class_sums(model, labels, nclass)
    floors = FLOOR * np.maximum(counts, 1)[:, None]
    average, variance = _average(signal, weight, floors, model.noise)
    linear = (average / model.noise).astype(np.float32)
    square = (average**2 - variance) / model.noise
    pairs = square.reshape(nclass, -1, 2).sum(axis=2).astype(np.float32)
    overall, of_all = _average(
        signal.sum(axis=0), weight.sum(axis=0), floors.sum(), model.noise
    )
    common = ((overall**2 - of_all) / model.noise).reshape(-1, 2).sum(axis=1)
    signal, weight, floors, linear, pairs, common, noise, labels = (
        beside(x, model.y)
        for x in (signal, weight, floors, linear, pairs, common, model.noise, labels)
    )
    xp, found = array_namespace(model.y, model.w), []
    for rows in blocks(len(model), BLOCK):
        both = xp.repeat(model.w[rows, ...], 2, axis=1)
        g, w2 = both * model.y[rows, ...], xp.square(model.w[rows, ...])
        product = xp.astype(g @ linear.T, xp.float64)
        norm = xp.astype(w2 @ pairs.T, xp.float64)
        power = xp.sum(xp.square(model.y[rows, ...]) / noise, axis=1)
        energy = xp.astype(power, xp.float64)[:, None]
        # Of few members, the norm without its noise is itself mostly noise.
        least = xp.maximum(
            LEAST_NORM * xp.matmul(w2, common)[:, None], LEAST_ENERGY * energy
        )
        if leave_one_out:
            own, squares = xp.maximum(labels[rows], 0), xp.square(both)
            a, v = _average(
                xp.take(signal, own, axis=0) - g,
                xp.take(weight, own, axis=0) - squares,
                xp.take(floors, own, axis=0),
                noise,
            )
            is_own = _is_own(labels[rows], nclass)
            of_own = xp.sum(g * a / noise, axis=1)[:, None]
            product = xp.where(is_own, of_own, product)
            of_own = xp.sum(squares * (xp.square(a) - v) / noise, axis=1)[:, None]
            norm = xp.where(is_own, of_own, norm)
        found.append(product / xp.sqrt(energy * xp.maximum(norm, least)))
    clipped: NDArray[np.float64] = np.clip(on_host(xp.concat(found)), -1, 1)
    return clipped


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


def mixture_gains(gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm of the likelihood of each in a mixture of all classes.

    Parameters
    ----------
    gains : ndarray, shape (n, nclass)
        See `proportions`.
    """
    likely, top = _likelihoods(gains)
    of_mixture: NDArray[np.float64] = np.log(likely @ proportions(gains)) + top
    return of_mixture


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
    divisor = array_namespace(weight).maximum(weight, floor)
    return signal / divisor, noise * weight / divisor**2


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
    fits : ndarray, shape (n,)
        What each particle adds to the objective of the labels, see `compare`.
    changed : list of float
        Fraction of particles that moved, per iteration.
    """

    labels: NDArray[np.intp]
    scores: NDArray[np.float64]
    fits: NDArray[np.float64]
    changed: list[float]

    @property
    def objective(self) -> float:
        """Mean of the fits."""
        return float(self.fits.mean())


def surpasses(fits: NDArray[np.float64], others: NDArray[np.float64]) -> bool:
    """Return whether one classification explains particles decidedly better.

    Parameters
    ----------
    fits, others : ndarray, shape (n,)
        Of the same particles in two classifications, see `compare`.

    Returns
    -------
    bool
        Whether the mean difference is more than `DECISIVE` of its standard errors
        (Vuong 1989): what a search finds beyond that may be noise.
    """
    if not np.isfinite(fits).all() or not np.isfinite(others).all():
        return bool(fits.mean() > others.mean())
    gain = fits - others
    return bool(gain.sum() > DECISIVE * gain.std() * np.sqrt(len(gain)))


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
    """Yield the classification after each iteration of `exmx`.

    No iteration makes the objective lower, unless the last member leaves a class: of
    the particles that would move, only those that gain most do if all of them together
    went too far.
    """
    changed: list[float] = []
    found, fits = compare(model, labels, nclass, leave_one_out)
    for _ in range(iterations):
        before, scored = labels, found
        movers, forced = _movers(found, labels)
        moved, best = len(movers), found.argmax(axis=1)
        while moved:
            new = before.copy()
            new[movers[:moved]] = best[movers[:moved]]
            there, after = compare(model, new, nclass, leave_one_out)
            if after.mean() >= fits.mean() or moved == forced:
                labels, found, fits = new, there, after
                break
            # All at once went too far, as averages change with every move.
            moved = max(moved // 2, forced)
        names = [[str(c) for c in part] for part in (before, labels)]
        changed = [*changed, class_difference(*names) if moved else 0.0]
        yield Classification(labels, scored, fits, changed)
        if changed[-1] <= end_threshold:
            break


def _movers(
    scores: NDArray[np.float64], labels: NDArray[np.intp]
) -> tuple[NDArray[np.intp], int]:
    """Return particles that fit another class better, those first that gain most.

    Also how many of these have to move, as they are in no class, or alone in theirs.
    """
    rows = np.flatnonzero(assign(scores, labels) != labels)
    here = np.where(labels[rows] < 0, -np.inf, scores[rows, labels[rows]])
    gain = scores[rows].max(axis=1) - here
    order = np.argsort(-gain, kind="stable")
    return rows[order], int(np.count_nonzero(np.isinf(gain)))


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
        See `best_start`.
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
    informed: bool = False,
) -> BestOf:
    """Run EXMX from several starts and keep the best result, see `best_start`.

    Parameters
    ----------
    model, nclass, iterations, end_threshold, leave_one_out
        See `exmx`.
    starts : sequence of ndarray
        Classes to start from, e.g. of `random_start` and of CPCA; the first of equal
        objectives wins.
    team : Team, optional
        Shares the starts; the result does not depend on it.
    informed : bool, optional
        See `best_start`.
    """
    results = (team or Team()).map(
        lambda labels: exmx(
            model, labels, nclass, iterations, end_threshold, leave_one_out
        ),
        starts,
    )
    start = best_start([result.fits for result in results], informed)
    return BestOf(
        results[start],
        start,
        np.array([result.objective for result in results]),
        agreement_with([result.labels for result in results], start),
    )


def best_start(fits: Sequence[NDArray[np.float64]], informed: bool) -> int:
    """Return which of several results counts.

    That of the highest objective, the first of equal ones.

    Parameters
    ----------
    fits : sequence of ndarray
        Of the results, see `compare`.
    informed : bool
        Whether the first start came from what halves of the particles agree on (CPCA):
        it counts unless the best surpasses it. Random starts search for what fits
        best, and of the noise, too, some fits by chance.
    """
    best = int(np.argmax([one.mean() for one in fits]))
    return 0 if informed and not surpasses(fits[best], fits[0]) else best


def agreement_with(
    labels: Sequence[NDArray[np.intp]], start: int
) -> NDArray[np.float64]:
    """Return the adjusted Rand index of all results with one of them."""
    return np.array([adjusted_rand_index(one, labels[start]) for one in labels])
