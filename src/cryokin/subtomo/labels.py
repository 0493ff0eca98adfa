"""Labels of classes: their numbers, sizes and scores as lists have them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryokin.io.pytom_xml import WORST_SCORE_OF_OTHERS
from cryokin.subtomo.cpca import by_size


def renumbered(labels: NDArray[np.intp], number: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return labels with the new number of every class; -1 stays -1."""
    return np.where(labels >= 0, number[labels], -1)


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


def own_scores(
    scores: NDArray[np.float64], labels: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the score of every particle in its class, as lists can have it."""
    return listable(scores[np.arange(len(labels)), labels])


def listable(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores with PyTom's worst instead of minus infinity."""
    return np.maximum(scores, WORST_SCORE_OF_OTHERS)
