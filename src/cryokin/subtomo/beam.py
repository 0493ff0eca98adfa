"""Classes that are only the missing wedge.

What a particle never showed lies about the direction of the beam, seen from the
particle. A class that holds particles seen from one side and none of the others may be
a class of what is missing. Such classes come out again and again, because the wedge is
no noise: how far a class follows the beam is told beside every class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryokin.parallel import blocks
from cryokin.random import stream

BLOCK = 512  # particles whose neighbours are looked for at a time
PERMUTATIONS = 199
FOLLOWS = 0.3  # share of a class's neighbours, above chance, from which on it is told
SIGNIFICANT = 0.01  # chance of as much among classes that do not know of the beam


@dataclass(frozen=True)
class Beam:
    """How far a class follows the direction of the beam.

    Attributes
    ----------
    share : float
        Of the particles seen from about the same side as a member, how many are
        members: 0 as by chance, 1 all.
    chance : float
        Part of random classes of these sizes that follow the beam as far.
    """

    share: float
    chance: float

    @property
    def only(self) -> bool:
        """Whether the class may be nothing but the missing wedge."""
        return self.share >= FOLLOWS and self.chance <= SIGNIFICANT


def neighbours(directions: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return the particles seen from most nearly the same side, shape (n, k).

    Parameters
    ----------
    directions : ndarray, shape (n, 3)
        Unit vectors of the beam in the frame of each particle; a direction and its
        opposite are the same, as their wedges are.
    """
    axes = np.asarray(directions, np.float64)
    n = len(axes)
    k = min(max(5, round(np.sqrt(n) / 2)), n - 1)
    found = np.empty((n, k), np.intp)
    for rows in blocks(n, BLOCK):
        alike = np.abs(axes[rows] @ axes.T)
        alike[np.arange(len(alike)), np.arange(n)[rows]] = -1
        found[rows] = np.argsort(-alike, axis=1, kind="stable")[:, :k]
    return found


def follows_beam(
    directions: NDArray[np.floating], labels: NDArray[np.integer], seed: int = 0
) -> dict[int, Beam]:
    """Return how far each class follows the direction of the beam.

    The test needs no cells: it asks whether particles seen from nearly the same side
    are of one class more often than after the classes were dealt out at random.

    Parameters
    ----------
    directions : ndarray, shape (n, 3)
        See `neighbours`.
    labels : ndarray of int, shape (n,)
        Classes from 0; particles of the label -1 do not count.
    seed : int
        Of the random classes.
    """
    known = np.flatnonzero(labels >= 0)
    names, own = np.unique(labels[known], return_inverse=True)
    if len(known) < 3 or len(names) < 2:
        return {int(c): Beam(0.0, 1.0) for c in names}
    near = neighbours(np.asarray(directions)[known])
    size = np.bincount(own) / len(own)

    def shares(classes: NDArray[np.intp]) -> NDArray[np.float64]:
        alike = (classes[near] == classes[:, None]).mean(axis=1)
        share = np.bincount(classes, alike) / np.bincount(classes)
        above: NDArray[np.float64] = (share - size) / (1 - size)
        return above

    found = shares(own)
    generator = stream(seed)
    as_far = np.ones(len(names))  # the classes themselves are one of the draws
    for _ in range(PERMUTATIONS):
        as_far += shares(generator.permutation(own)) >= found
    chance = as_far / (PERMUTATIONS + 1)
    return {
        int(c): Beam(float(share), float(p))
        for c, share, p in zip(names, found, chance, strict=True)
    }


def without_wedge(
    labels: NDArray[np.integer], directions: NDArray[np.floating]
) -> tuple[NDArray[np.intp], list[int]]:
    """Return labels in which classes that may be only the wedge are unaccounted.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
        Classes from 0; -1: unaccounted.
    directions : ndarray, shape (n, 3)
        See `neighbours`.

    Returns
    -------
    labels : ndarray of int, shape (n,)
        With -1 for the members of such classes.
    sizes : list of int
        How many members each of them had.
    """
    only = [c for c, beam in follows_beam(directions, labels).items() if beam.only]
    kept = np.where(np.isin(labels, only), -1, labels)
    return kept, [int(np.count_nonzero(labels == c)) for c in only]
