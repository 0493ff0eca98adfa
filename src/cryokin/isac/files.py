"""The files that ISAC's steps pass on: images, coefficients, shifts, working stack."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.files import read_json, write_text
from cryokin.io.mrc import open_stack
from cryokin.io.stacks import ImageSource

Image = NDArray[np.float32]


class Images(Protocol):
    """Images that can be read by id."""

    @property
    def n(self) -> int:
        """Number of images."""
        ...

    @property
    def box(self) -> int:
        """Side of the images [pixel]."""
        ...

    @property
    def pixel_size(self) -> float:
        """[A]."""
        ...

    def read(self, ids: NDArray[np.intp]) -> Image:
        """Return images (k, box, box)."""
        ...


class StackImages:
    """A stack on disk, image i for particle i.

    Parameters
    ----------
    path : path-like
        ``.mrcs``
    pixel_size : float
        [A]
    finest : float, optional
        The finest detail that the images can hold [A]: two pixels, where they were not
        interpolated to smaller ones.
    """

    def __init__(
        self, path: str | os.PathLike[str], pixel_size: float, finest: float = 0.0
    ) -> None:
        self._stack = open_stack(path)
        self.n, self.box, _ = self._stack.shape
        self.pixel_size, self.finest = pixel_size, max(finest, 2 * pixel_size)

    def read(self, ids: NDArray[np.intp]) -> Image:
        """Return images (k, box, box)."""
        return np.asarray(self._stack[ids], np.float32)


def open_particles(source: Path, flipped: Path | None) -> Images:
    """Return the images of a run: phase-flipped ones if there are such.

    Parameters
    ----------
    source : Path
        ``images.npz`` of the import.
    flipped : Path or None
        ``phase_flipped.mrcs``
    """
    images = ImageSource.load(source)
    return images if flipped is None else StackImages(flipped, images.pixel_size)


def open_working_stack(stack: Path, info: Path) -> StackImages:
    """Return the images of ``working_stack.mrcs`` and ``working_stack.json``."""
    made = read_json(info)
    pixel = made["pixel_size"]
    return StackImages(stack, pixel, 2 * pixel * made["shrink_ratio"])


def write_shifts(path: str | os.PathLike[str], shifts: NDArray[np.floating]) -> None:
    """Write ``initial2Dparams.txt``: angle, shifts [pixel], mirror; a row an image."""
    rows = (f"{0.0:12.5f} {x:12.5f} {y:12.5f} {0:12d}\n" for x, y in shifts.tolist())
    write_text(path, "".join(rows))


def read_shifts(path: str | os.PathLike[str]) -> NDArray[np.float64]:
    """Read the shifts (x, y) of ``initial2Dparams.txt``, shape (n, 2) [pixel]."""
    table = np.loadtxt(path, ndmin=2)
    if table.shape[1] < 3:
        raise InputError(
            f"{path}: {table.shape[1]} columns, expected the four of angle, x shift,"
            " y shift, mirror; remake the prealignment."
        )
    return table[:, 1:3]


def shrink_readme(ratio: float, radius: int) -> str:
    """Return ``README_shrink_ratio.txt``, whose 6th and 7th lines other tools read."""
    return (
        "----------------------------------------------------------------------\n"
        "The images were shrunken and shifted before they were classified. To use\n"
        "shifts of the working images on the input images, divide them by the\n"
        "ratio; the second number is the radius in the working images [pixel].\n"
        "----------------------------------------------------------------------\n"
        f"{ratio:.5f}\n"
        f"{radius:.5f}\n"
        "----------------------------------------------------------------------\n"
    )


def working_stack_info(how: Any, pixel_size: float, source: Path) -> dict[str, Any]:
    """Return what ``working_stack.json`` says."""
    return {
        "shrink_ratio": how.ratio,
        "radius": how.radius,
        "target_radius": how.target_radius,
        "box": how.box,
        "pixel_size": pixel_size / how.ratio,
        "source": str(source),
    }
