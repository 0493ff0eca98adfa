"""Whether independent runs see a particle the same way: reproducible by view.

Two runs that cut an even crowd of views into classes put the borders at different
places, so the same images are hardly ever together in both. What both can agree on is
what an image shows: run one puts it into class a, run two into class b, and a and b,
laid on the image as each run has it, are the same picture, beyond noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cryokin.image.geometry import centre, compose, invert, take
from cryokin.image.polar import Float32, PolarBasis
from cryokin.isac.alignment import products_at
from cryokin.isac.particles import Particles
from cryokin.isac.sac import Run, power
from cryokin.isac.symmetry import signal_power
from cryokin.parallel import Team
from cryokin.partition.labels import labels_of

# Least correlation of the signals of two pictures that are the same.
SAME_VIEW = 0.75
# Where the power of an average is centred, in radii from the middle of the disc. That
# of particles is in the middle (below 0.2), that of a neighbour's edge is not.
OFF_CENTRE = 0.3


def agreement(
    team: Team, particles: Particles, runs: Sequence[Run]
) -> NDArray[np.intp]:
    """Count for each particle of each run the other runs that agree with it.

    A run agrees on a particle if the particle is stable in both and both see the same
    picture in it: the average of its class in the one, as the particle lies on it, and
    that in the other. So a turn that leaves an average as it is makes no difference.
    What shows nothing in the middle is no view of a particle.

    Parameters
    ----------
    team : Team
    particles : Particles
    runs : sequence of Run
        With tested members.

    Returns
    -------
    ndarray of int, shape (runs, n)
        Between 0 and the number of runs less one; 0 where a particle is not stable.
    """
    n = len(particles)
    members = [_central(team, particles, run) for run in runs]
    labels = np.stack([labels_of(lists, n) for lists in members])
    parts = np.stack([labels_of(run.averaged, n) for run in runs])
    signals = [_signals(run) for run in runs]
    items = [
        (first, second, k)
        for first, second in combinations(range(len(runs)), 2)
        for k in range(len(runs[second].members))
    ]

    def agreeing(item: tuple[int, int, int]) -> NDArray[np.intp]:
        first, second, k = item
        held = members[second][k]
        both: NDArray[np.intp] = held[labels[first, held] >= 0]
        if not len(both):
            return both
        pair = runs[first], runs[second]
        holders = parts[first, pair[1].averaged[k]]
        shared = np.bincount(holders[holders >= 0], minlength=len(members[first]))
        others = labels[first, both]
        alike = _likeness(
            particles.basis, pair, both, others, k, shared, signals[first]
        )
        agreed: NDArray[np.intp] = both[alike >= SAME_VIEW]
        return agreed

    counts = np.zeros((len(runs), n), np.intp)
    for (first, second, _), found in zip(items, team.map(agreeing, items), strict=True):
        counts[first, found] += 1
        counts[second, found] += 1
    return counts


def _central(team: Team, particles: Particles, run: Run) -> list[NDArray[np.intp]]:
    """Return the members of classes; none of those that show nothing in the middle."""

    def central(k: int) -> bool:
        average, size = run.references[..., k], len(run.averaged[k])
        return is_central(average, size, particles.basis)

    found = team.map(central, range(len(run.members)))
    return [part if c else part[:0] for part, c in zip(run.members, found, strict=True)]


def _signals(run: Run) -> NDArray[np.float64]:
    """Return the power of the signal in each of the averages of a run."""
    sizes = map(len, run.averaged)
    powers = zip(power(run.references), sizes, strict=True)
    return np.array([signal_power(p, s) for p, s in powers])


def is_central(average: Float32, n: int, basis: PolarBasis) -> bool:
    """Tell whether an average of n images shows something in the middle.

    Parameters
    ----------
    average : ndarray, shape (2, orders, 2, radii)
    n : int
    basis : PolarBasis
    """
    power = float(np.sum(average**2))
    image = basis.image(average, _analysis(basis))
    off = centre_of_power(image) * power / max(signal_power(power, n), 1e-12)
    return off < OFF_CENTRE * basis.radius


@lru_cache(maxsize=2)
def _analysis(basis: PolarBasis) -> tuple[NDArray[np.bool_], Float32]:
    return basis.analysis(2 * basis.radius + 3)


def centre_of_power(image: NDArray[np.floating]) -> float:
    """Return how far the centre of an image's squares is from that of its box [pixel].

    Noise, which is the same everywhere, draws it to the middle.

    Parameters
    ----------
    image : ndarray, shape (box, box)
    """
    axis = np.arange(len(image)) - len(image) // 2
    square = np.square(image, dtype=float)
    total = max(float(square.sum()), 1e-30)
    return float(np.hypot(square.sum(0) @ axis, square.sum(1) @ axis) / total)


def _likeness(
    basis: PolarBasis,
    runs: tuple[Run, Run],
    both: NDArray[np.intp],
    others: NDArray[np.intp],
    k: int,
    shared: NDArray[np.intp],
    signals: NDArray[np.float64],
) -> NDArray[np.floating]:
    """Return how like two runs' pictures of particles are.

    What two averages have in common is the signal and, of each image that is part of
    both, its noise; the latter, and what noise adds to the length of each, are taken
    out: the correlation that is left is 1 for the same picture, whatever the noise.

    Parameters
    ----------
    both : ndarray of int, shape (m,)
        Particles in class k of the second run, and ...
    others : ndarray of int, shape (m,)
        ... their classes of the first.
    shared : ndarray of int
        Images that each class of the first run has in common with class k.
    signals : ndarray
        Power of the signal in the averages of the first run.
    """
    first, second = runs
    averages, target = first.references[..., others], second.references[..., k]
    # From the frame of class k to that of the other, by way of the particle.
    there = compose(invert(take(second.alignment, both)), take(first.alignment, both))
    moved = np.moveaxis(basis.shifted(target[..., None], centre(there))[..., 0], 0, -1)
    products = products_at(averages, moved, there).sum(axis=0)
    sizes = np.array([len(part) for part in first.averaged])
    size = len(second.averaged[k])
    signal = signal_power(float(np.sum(target**2)), size)
    scale = np.sqrt(np.maximum(signals * signal, 0))
    noise = shared / (np.maximum(sizes, 1) * size) * (1 - np.minimum(scale, 1))
    scale = np.where(scale > 0, scale, np.inf)
    corrected: NDArray[np.floating] = (products - noise[others]) / scale[others]
    return corrected
