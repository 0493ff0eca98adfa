"""Whether independent runs see a particle the same way: reproducible by view.

Two runs that cut an even crowd of views into classes put the borders at different
places, so the same images are hardly ever together in both. What both can agree on is
what an image shows: run one puts it into class a, run two into class b, and a and b,
laid on the image as each run has it, are the same picture, beyond noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cryokin.image.geometry import centre, compose, invert, take
from cryokin.image.polar import Float32, PolarBasis
from cryokin.isac.alignment import products_at
from cryokin.isac.particles import Particles
from cryokin.isac.sac import Run
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
    labels = np.stack([_central(team, particles, run).labels(n) for run in runs])
    parts = np.stack([labels_of(run.averaged, n) for run in runs])
    items = [
        (first, second, k)
        for first, second in combinations(range(len(runs)), 2)
        for k in range(len(runs[second].members))
    ]

    def agreeing(item: tuple[int, int, int]) -> NDArray[np.intp]:
        first, second, k = item
        both = np.flatnonzero((labels[second] == k) & (labels[first] >= 0))
        if not len(both):
            return both
        pair = runs[first], runs[second]
        shared = np.bincount(
            parts[first][(parts[second] == k) & (parts[first] >= 0)],
            minlength=len(pair[0].members),
        )
        others = labels[first, both]
        alike = _likeness(particles.basis, pair, both, others, k, shared)
        return both[alike >= SAME_VIEW]

    counts = np.zeros((len(runs), n), np.intp)
    for (first, second, _), found in zip(items, team.map(agreeing, items), strict=True):
        counts[first, found] += 1
        counts[second, found] += 1
    return counts


def _central(team: Team, particles: Particles, run: Run) -> Run:
    """Return a run without the members of classes that show nothing in the middle."""

    def members(k: int) -> NDArray[np.intp]:
        average, size = run.references[..., k], len(run.averaged[k])
        central = is_central(average, size, particles.basis)
        return run.members[k] if central else run.members[k][:0]

    return replace(run, members=team.map(members, range(len(run.members))))


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
    """
    first, second = runs
    averages, target = first.references[..., others], second.references[..., k]
    # From the frame of class k to that of the other, by way of the particle.
    there = compose(invert(take(second.alignment, both)), take(first.alignment, both))
    moved = np.moveaxis(basis.shifted(target[..., None], centre(there))[..., 0], 0, -1)
    products = products_at(averages, moved, there).sum(axis=0)
    sizes = np.array([len(part) for part in first.averaged])
    size = len(second.averaged[k])
    powers = np.sum(first.references**2, axis=(0, 1, 2, 3))
    signals = np.array([signal_power(p, s) for p, s in zip(powers, sizes, strict=True)])
    signal = signal_power(float(np.sum(target**2)), size)
    scale = np.sqrt(np.maximum(signals * signal, 0))
    noise = shared / (np.maximum(sizes, 1) * size) * (1 - np.minimum(scale, 1))
    scale = np.where(scale > 0, scale, np.inf)
    corrected: NDArray[np.floating] = (products - noise[others]) / scale[others]
    return corrected
