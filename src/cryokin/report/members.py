"""Members of classes as pictures: images as they are averaged, volumes as slabs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryokin.files import read_json
from cryokin.image.geometry import Alignment, from_relion, take, transform_image
from cryokin.io.subtomograms import Subtomograms
from cryokin.isac.files import Images, open_working_stack, read_shifts
from cryokin.report.images import data_uri, reduce_to, stretch
from cryokin.volume.resample import align, centred

UNACCOUNTED = -1
SHEET = 24  # members that are shown at once
LARGEST = 96  # of a slab [pixel]
# Of the members of all classes that a page holds, which takes 2 MB for them: a PNG of
# noise has a byte a pixel, its text four thirds of that.
MOST_PIXELS = 1_450_000
FEW, SMALLEST = 8, 32  # members of a class on a page, and their least width [pixel]


@dataclass(frozen=True)
class Sheets(ABC):
    """Pictures of the particles of a run.

    Attributes
    ----------
    numbers : ndarray of int, shape (n,)
        Class of each particle, from 1; -1: unaccounted, 0: left out on import.
    """

    numbers: NDArray[np.int64]

    @abstractmethod
    def pictures(self, ids: NDArray[np.intp], aligned: bool) -> NDArray[np.uint8]:
        """Return images for the eye, shape (k, box, box)."""

    def of(self, number: int) -> NDArray[np.intp]:
        """Return the ids of the members of a class, or of the unaccounted."""
        return np.flatnonzero(self.numbers == number)

    def page(self, number: int, page: int, aligned: bool) -> NDArray[np.uint8] | None:
        """Return a sheet of members in the order of their ids; None if there is none.

        Parameters
        ----------
        number : int
            Of the class; -1: of the unaccounted.
        page : int
            From 0, of `SHEET` members each.
        aligned : bool
            As they are averaged; else as they lie in their stack or volumes.
        """
        ids = self.of(number)[page * SHEET : (page + 1) * SHEET]
        return sheet(self.pictures(ids, aligned), columns(number)) if len(ids) else None


@dataclass(frozen=True)
class SlabMembers(Sheets):
    """Central slabs of subtomograms, a tenth of the box thick.

    Attributes
    ----------
    particles : Subtomograms
        Volumes, at the poses at which they are averaged.
    """

    particles: Subtomograms

    def pictures(self, ids: NDArray[np.intp], aligned: bool) -> NDArray[np.uint8]:
        """Return slabs for the eye, shape (k, box, box)."""
        return stretch(np.stack([self._slab(int(i), aligned) for i in ids]))

    def _slab(self, i: int, aligned: bool) -> NDArray[np.float32]:
        volume = centred(self.particles.data(i))
        n = len(volume)
        inside = slice(n // 2 - n // 20, n // 2 + n // 20 + 1)
        if aligned:
            where = np.zeros(volume.shape, bool)
            where[inside] = True
            pose = self.particles.rotations[i], self.particles.shifts[i]
            volume = align(volume, *pose, "pytom", where)  # of points alone: quick
        return reduce_to(volume[inside].mean(axis=0), LARGEST)


@dataclass(frozen=True)
class Members(Sheets):
    """The particles of a run as they lie in the working stack.

    Attributes
    ----------
    images : Images
        The working stack.
    alignment : Alignment
        Shape (n,), in the working stack; the unaccounted lie as they are.
    radius : float
        Of the mask [pixel of the working image].
    """

    images: Images
    alignment: Alignment
    radius: float

    def pictures(self, ids: NDArray[np.intp], aligned: bool) -> NDArray[np.uint8]:
        """Return images for the eye, shape (k, box, box)."""
        images = self.images.read(ids)
        if aligned:
            moved = map(transform_image, images, map(self._at, ids))
            images = np.array(list(moved), np.float32).reshape(images.shape)
        return stretch(images, self.radius)

    def _at(self, i: np.intp) -> Alignment:
        return take(self.alignment, i)

    def sample(self, number: int, few: int, pixels: int) -> str | None:
        """Return a few members, evenly taken from all, as an address of a PNG.

        Parameters
        ----------
        number : int
            See `page`.
        few : int
            How many at most; fewer where they would be too small.
        pixels : int
            Of the picture, at most.
        """
        ids = self.of(number)
        shown = min(len(ids), few, pixels // SMALLEST**2)
        if shown == 0:
            return None
        width = max(SMALLEST, math.isqrt(pixels // few))
        evenly = ids[np.linspace(0, len(ids) - 1, shown).round().astype(int)]
        pictures = self.pictures(evenly, aligned=True).astype(np.float32)
        small = np.stack([reduce_to(picture, width) for picture in pictures])
        return data_uri(sheet(np.rint(small).astype(np.uint8), columns(number)))


def columns(number: int) -> int:
    """Return how many members stand in a row: of a class few, in a narrow panel."""
    return 8 if number == UNACCOUNTED else 4


def sheet(pictures: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Lay pictures (k, y, x) out in rows; what is left of the last one is white."""
    k, height, width = pictures.shape
    rows = -(-k // columns)
    whole = np.full((rows * columns, height, width), 255, np.uint8)
    whole[:k] = pictures
    laid = whole.reshape(rows, columns, height, width).swapaxes(1, 2)
    return laid.reshape(rows * height, columns * width)


def read_members(
    stack: Path, info: Path, poses: Path, shifts: Path, imported: dict[str, Any]
) -> Members:
    """Read how the particles of a run lie.

    Parameters
    ----------
    stack, info : Path
        ``working_stack.mrcs`` and ``.json``.
    poses : Path
        ``classes.csv``.
    shifts : Path
        ``2dalignment/initial2Dparams.txt``.
    imported : dict
        ``import.json``.
    """
    told, table = read_json(info), pd.read_csv(poses)
    numbers = np.array(table["class"], np.int64)
    numbers[[entry["id"] for entry in imported.get("excluded") or ()]] = 0
    # From their places in the input images to those in the working stack.
    centre = np.asarray(table[["sx", "sy"]], np.float64) + read_shifts(shifts)
    alignment = from_relion(
        np.asarray(table["psi"], np.float64),
        centre * told["shrink_ratio"],
        np.asarray(table["mirror"], bool),
    )
    images = open_working_stack(stack, info)
    return Members(numbers, images, alignment, float(told["target_radius"]))
