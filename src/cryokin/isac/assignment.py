"""Equal-size assignment of images to classes.

ISAC's rule: of all (class, image) pairs take the most similar one whose class is open
and whose image is free; a class closes when it is full; the last open class takes the
rest. Without ties that is the stable matching in which images propose to classes in the
order of similarity and a full class keeps its best, which needs no sorting of all
pairs and lets every rank keep the similarities of its own images to itself.

A device beside the processor gives similarities that are only nearly right. Wherever
two are so close that they may compare the other way round, both are *in doubt*, and if
none is, the classes are those of the right ones.

The matching does not depend on the order in which images propose. So an image passes
over the classes that would refuse it, which every rank knows, and only proposals that
are taken, for the time being, travel between the ranks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryokin.parallel import Team

# A device moves the difference of two similarities, of 1 at most, by less: a hundred
# times what rounding did in products of float32.
MARGIN = 1e-5
BLOCK = 1024  # images that look for a class at a time; it only limits the memory


def assign_equal_size(
    team: Team,
    scores: NDArray[np.floating],
    n_images: int,
    sure: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Assign images to classes of equal size.

    Parameters
    ----------
    team : Team
    scores : ndarray, shape (n_classes, own images)
        Similarities of this rank's images; the images of the ranks follow each other in
        the order of the ranks.
    n_images : int
        Images of all ranks.
    sure : ndarray of bool, optional
        Of the shape of ``scores``: which are right; the others are nearly so. Default:
        all are right.

    Returns
    -------
    labels : ndarray of int, shape (n_images,)
        Class of every image: ``n_classes - 1`` classes of ``n_images // n_classes``
        images and one with the rest besides.
    doubts : ndarray of int, shape (d, 2)
        Class and image of the scores in doubt, of all ranks.
    """
    n_classes, n_own = scores.shape
    counts = team.gather([n_own])
    first = int(np.sum(counts[: team.rank]))
    margin = -1.0 if sure is None else MARGIN
    classes = _Classes(n_classes, n_images, scores.dtype, margin)
    # Where all are right one truth is enough.
    right = np.broadcast_to(True, scores.shape) if sure is None else sure
    searching = np.arange(n_own)
    while True:
        shares = team.gather([classes.proposals(scores, right, searching, first)])
        made = _Proposals(*map(np.concatenate, zip(*shares, strict=True)))
        del shares
        if not len(made.images):
            break
        refused = classes.take(made)
        own = refused[(refused >= first) & (refused < first + n_own)]
        searching = np.sort(own) - first
    labels = classes.all_labels()
    doubts = classes.doubts()
    if sure is not None:
        doubts = np.unique(np.concatenate(team.gather([doubts])), axis=0)
    return labels, doubts


class _Proposals(NamedTuple):
    """Images, the class that each wants, and how similar the two are."""

    images: NDArray[np.intp]
    wanted: NDArray[np.intp]
    values: NDArray[np.floating]
    sure: NDArray[np.bool_]


class _Classes:
    """The classes and whom they hold, the same on every rank.

    No step but the last looks at all images or all classes.
    """

    def __init__(
        self,
        n_classes: int,
        n_images: int,
        dtype: np.dtype[np.floating],
        margin: float,
    ) -> None:
        self.capacity = n_images // n_classes
        # Places of a class, best first; -1: free.
        self.images = np.full((n_classes, self.capacity), -1, np.int64)
        self.values = np.full((n_classes, self.capacity), -np.inf, dtype)
        self.sure = np.ones((n_classes, self.capacity), bool)
        # Whom a class would refuse: images worse than the last that it holds.
        nobody = -np.inf if self.capacity else np.inf
        self.last_value = np.full(n_classes, nobody, dtype)
        self.last_image = np.full(n_classes, n_images)
        self.n_images = n_images
        self.margin = margin  # less than 0: all similarities are right
        self._doubts = [np.empty((0, 2), np.intp)]

    def proposals(
        self,
        scores: NDArray[np.floating],
        sure: NDArray[np.bool_],
        own: NDArray[np.intp],
        first: int,
    ) -> _Proposals:
        """Return the best class that would take each of some images, if any would.

        Parameters
        ----------
        scores, sure : ndarray, shape (n_classes, own images)
        own : ndarray of int
            Columns of ``scores``: the images that look for a class.
        first : int
            Number of the image of the first column.
        """
        wanted, values = np.empty(len(own), np.intp), np.empty(len(own), scores.dtype)
        for start in range(0, len(own), BLOCK):
            part = slice(start, start + BLOCK)
            offered = scores[:, own[part]]
            last, image = self.last_value[:, None], self.last_image[:, None]
            refused = (offered < last) | (
                (offered == last) & (own[part] + first > image)
            )
            offered[refused] = -np.inf
            # Of equal classes the first.
            wanted[part] = offered.argmax(axis=0)
            values[part] = offered.max(axis=0)
            if self.margin >= 0:
                block = own[part]
                self._doubt_choice(
                    scores[:, block], sure[:, block], values[part], block + first
                )
        some = values > -np.inf
        images, wanted = own[some], wanted[some]
        return _Proposals(images + first, wanted, values[some], sure[wanted, images])

    def _doubt_choice(
        self,
        scores: NDArray[np.floating],
        sure: NDArray[np.bool_],
        chosen: NDArray[np.floating],
        images: NDArray[np.intp],
    ) -> None:
        """Note what may change the choice of images, given their scores (K, n)."""
        last = self.last_value[:, None]
        contends = scores >= np.maximum(chosen, last) - self.margin
        at_the_end = contends & (scores <= last + self.margin)
        doubtful = (np.count_nonzero(contends, axis=0) > 1) | at_the_end.any(axis=0)
        classes, which = np.nonzero(contends & doubtful & ~sure)
        self._doubts.append(np.stack([classes, images[which]], axis=1))
        self._doubt_last(np.flatnonzero(at_the_end.any(axis=1)))

    def _doubt_last(self, classes: NDArray[np.intp]) -> None:
        """Note which images may be the last that some classes hold."""
        near = self.values[classes] <= self.last_value[classes, None] + self.margin
        which, places = np.nonzero(near & ~self.sure[classes])
        rows = classes[which]
        self._doubts.append(np.stack([rows, self.images[rows, places]], axis=1))

    def take(self, made: _Proposals) -> NDArray[np.intp]:
        """Let each class keep its best; return the images that are without one."""
        classes, which = np.unique(made.wanted, return_inverse=True)
        which = which.ravel()
        best = np.full(len(classes), -np.inf, self.values.dtype)
        np.maximum.at(best, which, made.values)
        # Places that no proposal can reach stay as they are, which are most.
        reach = best[:, None] + max(self.margin, 0)
        rows, places = np.nonzero(self.values[classes] <= reach)
        at, rooms = (classes[rows], places), np.bincount(rows, minlength=len(classes))
        images = np.concatenate([self.images[at], made.images])
        values = np.concatenate([self.values[at], made.values])
        sure = np.concatenate([self.sure[at], made.sure])
        rows = np.concatenate([rows, which])
        # By class, then by falling value, then by image; free places come last.
        order = np.lexsort((images, -values, rows))
        starts = np.searchsorted(rows[order], rows[order], side="left")
        room = rooms[rows[order]]
        stays = np.arange(len(order)) - starts < room
        kept, refused = order[stays], images[order[~stays]]
        if self.margin >= 0:
            # A class has more proposals and places than places.
            by_value = values[order]
            end = by_value[starts + room - 1] if self.capacity else np.inf
            next_one = by_value[starts + room]
            close = np.where(
                stays,
                by_value <= next_one + self.margin,
                by_value >= end - self.margin,
            )
            close &= (next_one >= end - self.margin) & ~sure[order]
            some = order[close]
            self._doubts.append(np.stack([classes[rows[some]], images[some]], axis=1))
        self.images[at] = images[kept]
        self.values[at] = values[kept]
        self.sure[at] = sure[kept]
        full = self.images[classes, -1] >= 0
        self.last_value[classes[full]] = self.values[classes[full], -1]
        self.last_image[classes[full]] = self.images[classes[full], -1]
        return refused[refused >= 0]

    def all_labels(self) -> NDArray[np.intp]:
        """Return the class of every image.

        The images that no class kept go to the class that fills up last.
        """
        n_classes = len(self.images)
        lasts = self.last_value
        if self.margin >= 0 and self.capacity:
            self._doubt_last(np.flatnonzero(lasts <= lasts.min() + self.margin))
        labels = np.full(
            self.n_images, lasts.argmin() if self.capacity else n_classes - 1, np.intp
        )
        held = self.images >= 0
        labels[self.images[held]] = np.nonzero(held)[0]
        return labels

    def doubts(self) -> NDArray[np.intp]:
        """Return class and image of all scores that were in doubt, (d, 2)."""
        return np.unique(np.concatenate(self._doubts), axis=0)
