"""Labels of classes: their numbers and sizes, and the members of each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray


def labels_of(classes: Sequence[NDArray[np.intp]], n: int) -> NDArray[np.intp]:
    """Return for n items the number of the list that each is in, -1 for none."""
    labels = np.full(n, -1, np.intp)
    for k, members in enumerate(classes):
        labels[members] = k
    return labels


def class_numbers(labels: ArrayLike) -> NDArray[np.intp]:
    """Return the numbers by which users know classes: from 1, -1 for no class.

    Parameters
    ----------
    labels : array_like of int
        Classes from 0; negative: in no class.
    """
    labels = np.asarray(labels, np.intp)
    return np.where(labels >= 0, labels + 1, -1)


def members_of(labels: NDArray[np.intp], count: int) -> list[NDArray[np.intp]]:
    """Return the items of each of ``count`` classes, ascending."""
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(count + 1))
    return [order[a:b] for a, b in pairwise(bounds)]


def renumbered(labels: NDArray[np.intp], number: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return labels with the new number of every class; -1 stays -1."""
    return np.where(labels >= 0, number[labels], -1)


def by_size(labels: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the same partition with classes numbered by size, the largest 0."""
    names, first, counts = np.unique(labels, return_index=True, return_counts=True)
    order = np.lexsort((first, -counts))
    rank = np.empty(len(names), np.intp)
    rank[order] = np.arange(len(names))
    return rank[np.searchsorted(names, labels)]


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


def counts(labels: NDArray[np.integer]) -> list[int]:
    """Return the members of classes 0, 1, ..."""
    return [int(n) for n in np.bincount(labels[labels >= 0])]
