"""How far partitions of the same items agree, and the classes on which they do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryokin.partition.matching import Match, match

LEAST_AGREEMENT = 0.5  # of a class, between chance (0) and complete (1)


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


def reproduced(
    partitions: NDArray[np.intp],
    smallest: int = 5,
    least_agreement: float = LEAST_AGREEMENT,
) -> list[Match]:
    """Return the classes that partitions agree on.

    Parameters
    ----------
    partitions : ndarray of int, shape (n_runs, n)
        Classes of every run.
    smallest : int
        Fewest members of a class.
    least_agreement : float
        How far the number of agreeing particles must come from what independent runs
        would share (0) to all particles of the smallest of the matched classes (1).
    """
    n = partitions.shape[1]
    kept = []
    for found in match(partitions, smallest):
        sizes = [
            np.mean(labels == c)
            for labels, c in zip(partitions, found.classes, strict=True)
        ]
        chance, most = float(np.prod(sizes)), float(min(sizes))
        if len(found.members) / n >= chance + least_agreement * (most - chance):
            kept.append(found)
    return kept


def shares(
    labels: NDArray[np.intp], partitions: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the part of the runs' classes that each reproducible class holds.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
        Reproducible classes from 0; -1: unaccounted.
    partitions : ndarray of int, shape (n_runs, n)
        Classes of every run; in each, members of a reproducible class are together.

    Returns
    -------
    ndarray, shape (k,)
        Members over the mean size of the runs' classes, 0 to 1.
    """
    found = []
    for k in range(int(labels.max(initial=-1)) + 1):
        members = np.flatnonzero(labels == k)
        sizes = [np.sum(run == run[members[0]]) for run in partitions]
        found.append(len(members) / float(np.mean(sizes)))
    return np.array(found)


def least_agreement(
    first: NDArray[np.intp], second: NDArray[np.intp], number: int
) -> float:
    """Return the agreement of two partitions on the group on which they agree least.

    Parameters
    ----------
    first, second : ndarray of int, shape (n,)
        Groups from 0.
    number : int
        Of groups; they are matched so that the agreement is largest in all.

    Returns
    -------
    float
        0 as by chance, 1 where the smaller of two matched groups is in the other.
    """
    from scipy.optimize import linear_sum_assignment

    table = np.zeros((number, number))
    np.add.at(table, (first, second), 1 / len(first))
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    chance, most = np.outer(rows, columns), np.minimum.outer(rows, columns)
    room = most - chance
    above = np.divide(table - chance, room, np.zeros_like(room), where=room > 0)
    return float(above[linear_sum_assignment(-above)].min())
