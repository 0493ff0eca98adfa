"""Equal-size assignment of images to classes.

ISAC's rule: of all (class, image) pairs take the most similar one whose class is open
and whose image is free; a class closes when it is full; the last open class takes the
rest. Without ties that is the stable matching in which images propose to classes in the
order of similarity and a full class keeps its best, which needs no sorting of all
pairs and lets every rank keep the similarities of its own images to itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cryokin.parallel import Team


def assign_equal_size(
    team: Team, scores: Sequence[NDArray[np.floating]], n_images: int
) -> list[NDArray[np.intp]]:
    """Assign images to classes of equal size, for several runs at once.

    Parameters
    ----------
    team : Team
    scores : sequence of ndarray, shape (n_classes, own images)
        Similarities of this rank's images, one array a run; the images of the ranks
        follow each other in the order of the ranks.
    n_images : int
        Images of all ranks.

    Returns
    -------
    list of ndarray of int, shape (n_images,)
        Class of every image, one array a run: ``n_classes - 1`` classes of
        ``n_images // n_classes`` images and one with the rest besides.
    """
    n_runs = len(scores)
    n_classes = scores[0].shape[0]
    capacity = n_images // n_classes
    counts = team.gather([scores[0].shape[1]])
    first = int(np.sum(counts[: team.rank]))
    # Every image's classes, best first; ties go to the class of lower number.
    preference = [
        np.argsort(-s, axis=0, kind="stable").astype(np.int32) for s in scores
    ]
    position = [np.zeros(s.shape[1], np.intp) for s in scores]
    labels = [np.full(n_images, -1, np.intp) for _ in scores]
    values = [np.full(n_images, -np.inf) for _ in scores]
    while True:
        proposals = []
        for run in range(n_runs):
            own = labels[run][first : first + len(position[run])]
            ready = np.flatnonzero((own < 0) & (position[run] < n_classes))
            wanted = preference[run][position[run][ready], ready]
            position[run][ready] += 1
            proposals.append((ready + first, wanted, scores[run][wanted, ready]))
        merged = [
            tuple(np.concatenate(field) for field in zip(*shares, strict=True))
            for shares in zip(*_exchange(team, proposals), strict=True)
        ]
        if all(len(images) == 0 for images, _, _ in merged):
            break
        for run, (images, wanted, value) in enumerate(merged):
            labels[run][images] = wanted
            values[run][images] = value
            _refuse_the_worst(labels[run], values[run], np.unique(wanted), capacity)
    for run in range(n_runs):
        _place_the_rest(labels[run], values[run], n_classes, capacity)
    return labels


def _exchange(team: Team, value: object) -> list:  # type: ignore[type-arg]
    return team.gather([value])


def _refuse_the_worst(
    labels: NDArray[np.intp],
    values: NDArray[np.float64],
    classes: NDArray[np.intp],
    capacity: int,
) -> None:
    """Leave the best ``capacity`` images in each of ``classes``; free the others."""
    inside = np.flatnonzero(np.isin(labels, classes))
    # By class, then by falling value, then by image: equal values keep the order.
    order = inside[np.lexsort((inside, -values[inside], labels[inside]))]
    starts = np.searchsorted(labels[order], labels[order], side="left")
    refused = order[np.arange(len(order)) - starts >= capacity]
    labels[refused] = -1
    values[refused] = -np.inf


def _place_the_rest(
    labels: NDArray[np.intp],
    values: NDArray[np.float64],
    n_classes: int,
    capacity: int,
) -> None:
    """Give the images that no class kept to the class that fills up last."""
    rest = labels < 0
    if rest.any():
        worst = [values[labels == k].min(initial=np.inf) for k in range(n_classes)]
        labels[rest] = int(np.argmin(worst)) if capacity else n_classes - 1
