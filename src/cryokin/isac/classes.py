"""Classes and their averages, as they travel between the steps."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryokin.files import atomic
from cryokin.image.filters import filter_image
from cryokin.image.geometry import Alignment, take, transform_image
from cryokin.image.masks import disc
from cryokin.npy import load_arrays
from cryokin.rings import correlation

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Class:
    """A class: its members' ids and how they are aligned.

    Attributes
    ----------
    members : ndarray of int, shape (k,)
        Ids of the members, ascending.
    alignment : Alignment
        Shape (k,), in the working stack.
    errors : ndarray, shape (k,)
        Pixel error of each member [pixel of the working stack].
    agreement : ndarray, shape (k,)
        Share of the other runs that agree on each member; where runs are matched by
        members, the share of their classes that they agree on.
    run : int, default=-1
        The independent run whose class it is; -1: of all.
    """

    members: NDArray[np.intp]
    alignment: Alignment
    errors: NDArray[np.float64]
    agreement: NDArray[np.float64]
    run: int = -1

    @property
    def reproduction(self) -> float:
        """Mean agreement of the members."""
        return float(self.agreement.mean()) if len(self.agreement) else 0.0

    def subset(self, keep: NDArray[np.bool_]) -> Class:
        """Return the class with some of its members."""
        return Class(
            self.members[keep],
            take(self.alignment, keep),
            self.errors[keep],
            self.agreement[keep],
            self.run,
        )


def save_classes(path: str | os.PathLike[str], classes: Sequence[Class]) -> None:
    """Write classes to an ``.npz`` file, atomically."""

    def joined(parts: list[NDArray[Any]], empty: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([empty, *parts])

    with atomic(path) as partial, open(partial, "wb") as handle:
        np.savez(
            handle,
            sizes=np.array([len(c.members) for c in classes], np.int64),
            members=joined([c.members for c in classes], np.empty(0, np.int64)),
            angle=joined([c.alignment.angle for c in classes], np.empty(0)),
            shift=joined([c.alignment.shift for c in classes], np.empty((0, 2))),
            mirror=joined([c.alignment.mirror for c in classes], np.empty(0, bool)),
            errors=joined([c.errors for c in classes], np.empty(0)),
            agreement=joined([c.agreement for c in classes], np.empty(0)),
            run=np.array([c.run for c in classes], np.int64),
        )


def load_classes(path: str | os.PathLike[str]) -> list[Class]:
    """Read classes written by `save_classes`."""
    file = load_arrays(path)
    stops = np.cumsum(file["sizes"])
    fields = [
        np.split(file[name], stops[:-1]) if len(stops) else []
        for name in ("members", "angle", "shift", "mirror", "errors", "agreement")
    ]
    return [
        Class(members, Alignment(angle, shift, mirror), errors, agreement, int(run))
        for members, angle, shift, mirror, errors, agreement, run in zip(
            *fields, file["run"], strict=True
        )
    ]


def held(classes: Sequence[Class]) -> NDArray[np.intp]:
    """Return the ids of the members of some classes, ascending, each once."""
    members = [np.empty(0, np.intp), *(c.members for c in classes)]
    return np.unique(np.concatenate(members))


class ClassAverage(NamedTuple):
    """The average of a class.

    Attributes
    ----------
    image : ndarray of float32, shape (box, box)
        Mean of the aligned members, low-passed.
    frc : ndarray, shape (box // 2,)
        Ring correlation of the averages of every other member, under the mask, before
        the low-pass.
    """

    image: Image
    frc: NDArray[np.float64]


def class_average(
    read: Callable[[NDArray[np.intp]], Image],
    found: Class,
    radius: float,
    cutoff: float,
    fall_off: float,
) -> ClassAverage:
    """Average the members of a class.

    Parameters
    ----------
    read : callable
        ``read(ids)`` returns images (k, box, box).
    found : Class
    radius : float
        Radius of the mask of the ring correlation [pixel].
    cutoff, fall_off : float
        Low-pass of the average [cycles/pixel], and relative to it.

    Returns
    -------
    ClassAverage
    """
    images = read(found.members)
    halves = np.zeros((2, *images.shape[1:]), np.float64)
    for k, image in enumerate(images):
        halves[k % 2] += transform_image(image, take(found.alignment, k))
    n = len(images)
    mean = halves.sum(axis=0) / n
    frc = half_correlation(
        halves[0] / max(n - n // 2, 1), halves[1] / max(n // 2, 1), radius
    )
    return ClassAverage(filter_image(mean, cutoff, fall_off), frc)


def half_correlation(
    first: NDArray[np.floating], second: NDArray[np.floating], radius: float
) -> NDArray[np.float64]:
    """Return the ring correlation of two averages under a disc, (box // 2,).

    Parameters
    ----------
    first, second : ndarray, shape (box, box)
    radius : float
        Radius of the disc [pixel].
    """
    inside = disc(first.shape[-1], radius)
    masked = [np.where(inside, h - h[inside].mean(), 0) for h in (first, second)]
    frc = correlation(*masked)
    frc[0] = 1.0  # the means are taken out of both halves, so their ring says nothing
    return frc
