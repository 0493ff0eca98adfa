"""Whether independent runs see a particle the same way: reproducible by view.

Two runs that cut an even crowd of views into classes put the borders at different
places, so the same images are hardly ever together in both. What both can agree on is
what an image shows: run one puts it into class a, run two into class b, and a and b are
the same view, beyond noise, with the image lying on both alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cryokin.image.geometry import Alignment, compose, take
from cryokin.image.polar import Float32, PolarBasis
from cryokin.isac.compare import laid_onto, likeness
from cryokin.isac.particles import Particles
from cryokin.isac.sac import Run
from cryokin.isac.symmetry import pose_error, signal_power, symmetry_of
from cryokin.parallel import Team
from cryokin.partition.labels import labels_of

# Least correlation of the signals of two averages that show the same view. Averages of
# particles have a twin in another run at about 1, those of noise at 0.6.
SAME_VIEW = 0.8
# Where the power of an average is centred, in radii from the middle of the disc. That
# of particles is in the middle (below 0.2), that of a neighbour's edge is not.
OFF_CENTRE = 0.3


def agreement(
    team: Team, particles: Particles, runs: Sequence[Run], thld_err: float
) -> NDArray[np.intp]:
    """Count for each particle of each run the other runs that agree with it.

    A run agrees on a particle if the particle is stable in both, in classes whose
    averages show the same view, and lies on both alike: with a pixel error below
    ``thld_err`` between the two, once the one average is laid on the other. What shows
    nothing in the middle is no view of a particle.

    Parameters
    ----------
    team : Team
    particles : Particles
    runs : sequence of Run
        With tested members.
    thld_err : float
        [pixel]

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
        others, which = np.unique(labels[first, both], return_inverse=True)
        shared = np.bincount(
            parts[first][(parts[second] == k) & (parts[first] >= 0)],
            minlength=len(pair[0].members),
        )
        alike, onto = _likeness(particles, pair, others, k, shared)
        there = compose(take(pair[0].alignment, both), take(onto, which))
        average = pair[1].references[..., k]
        symmetry = symmetry_of(average, len(pair[1].averaged[k]))
        here = take(pair[1].alignment, both)
        error = pose_error(there, here, particles.basis.radius, symmetry)
        return both[(alike[which] >= SAME_VIEW) & (error < thld_err)]

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
    particles: Particles,
    runs: tuple[Run, Run],
    others: NDArray[np.intp],
    k: int,
    shared: NDArray[np.intp],
) -> tuple[NDArray[np.floating], Alignment]:
    """Return how like classes of the first run are to class k of the second.

    What two averages have in common is the signal and, of each image that is part of
    both, its noise; the latter, and what noise adds to the length of each, are taken
    out: the correlation that is left is 1 for the same view, whatever the noise.

    Returns
    -------
    the correlation of each of ``others``, and how it is laid on class k
    """
    averages = runs[0].references[..., others]
    target = runs[1].references[..., k]
    products = likeness(target, averages, particles.basis)
    onto = laid_onto(target, averages, particles.basis)
    sizes = np.array([len(runs[0].averaged[a]) for a in others])
    size = len(runs[1].averaged[k])
    power = np.sum(averages**2, axis=(0, 1, 2, 3))
    signals = np.array([signal_power(p, s) for p, s in zip(power, sizes, strict=True)])
    signal = signal_power(float(np.sum(target**2)), size)
    scale = np.sqrt(np.maximum(signals * signal, 0))
    noise = shared[others] / (sizes * size) * (1 - np.minimum(scale, 1))
    return (products - noise) / np.where(scale > 0, scale, np.inf), onto
