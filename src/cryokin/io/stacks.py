"""Blocks of particle images from stacks of any dialect, without pandas.

The steps that run under MPI read their images here. What they need of the particle
table (files, places in them, CTF) is one small file, written once by the import.
"""

from __future__ import annotations

import itertools
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryokin.errors import InputError
from cryokin.files import atomic
from cryokin.io.eman_hdf import EmanStack, is_hdf
from cryokin.io.mrc import open_stack, read_stack_header
from cryokin.npy import load_arrays

CTF_FIELDS = (
    "defocus_u",
    "defocus_v",
    "defocus_angle",
    "voltage",
    "cs",
    "amplitude_contrast",
    "phase_shift",
)
"""Units: A, A, degree, kV, mm, fraction, degree."""

#: What the clocks of two machines may be apart [s].
CLOCKS = 2.0

FLAT = 1e-6  # range of pixels over the largest, below which they hold nothing
FILLED = 0.1  # share of a box of one and the same value that is told
ALL_FILLED = 0.9  # share of the particles of which it is not: they were masked

CTF_DTYPE = np.dtype([(field, np.float64) for field in CTF_FIELDS])


class Stack(Protocol):
    """An open stack of images, whatever its dialect."""

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        """Return one image."""
        ...

    def shape(self, index: int) -> tuple[int, ...]:
        """Return the shape of one image."""
        ...


class _MrcStack:
    """A memory-mapped MRC stack."""

    def __init__(self, path: Path) -> None:
        self._path = path
        axes = read_stack_header(path).axes
        if axes[0] != 3:
            raise InputError(
                f"{path}: its header says that images lie along axis"
                f" {'xyz'[axes[0] - 1]}, not z; write the stack anew with the axes in"
                " the order x, y, z."
            )
        images = open_stack(path)
        self._images = images if axes == (3, 2, 1) else images.swapaxes(1, 2)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> NDArray[Any]:
        image: NDArray[Any] = self._images[index]
        return image

    def shape(self, index: int) -> tuple[int, ...]:
        if not 0 <= index < len(self):
            raise InputError(
                f"{self._path}: image {index + 1} asked for, but the stack holds"
                f" {len(self)}; the table and the stack do not belong together."
            )
        return self._images.shape[1:]


@contextmanager
def open_images(path: str | os.PathLike[str]) -> Iterator[Stack]:
    """Open a stack, MRC or EMAN2 HDF by its content.

    Raises
    ------
    InputError
        If the file is neither, or broken off.
    """
    if is_hdf(path):
        with EmanStack(path) as stack:
            yield stack
    else:
        yield _MrcStack(Path(path))


def stack_pixel_size(path: str | os.PathLike[str]) -> float | None:
    """Return the pixel size [A] by the header of a stack; None where it is open."""
    if not is_hdf(path):
        return read_stack_header(path).pixel_size
    with EmanStack(path) as stack:
        size = stack.attributes(0).get("apix_x", 1.0) if len(stack) else 1.0
    # 1 is what EMAN2 writes by default.
    return float(size) if np.isfinite(size) and size > 0 and size != 1 else None


@dataclass
class ImageSource:
    """Where the images of a particle table are, and what the CTF of each is.

    Attributes
    ----------
    files : list of str
        Absolute paths of the stacks.
    file_index, image_index : array (n,) of int
        Of each particle: which of `files`, and which image in it, from 0.
    box : int
        Side of the square images [pixel].
    pixel_size : float
        Angstrom per pixel.
    sign : array (n,) float32
        Factor of the pixels: -1 where cryoSPARC says that a stack is inverted.
    ctf : structured array (n,) or None
        Fields `CTF_FIELDS`; None if the table has no CTF.
    """

    files: list[str]
    file_index: NDArray[np.int32]
    image_index: NDArray[np.int32]
    box: int
    pixel_size: float
    sign: NDArray[np.float32]
    ctf: NDArray[Any] | None = None

    @property
    def n(self) -> int:
        """Number of particles."""
        return len(self.file_index)

    @property
    def has_ctf(self) -> bool:
        """Whether the CTF of the particles is known."""
        return self.ctf is not None

    def read(self, ids: ArrayLike) -> NDArray[np.float32]:
        """Read images; each file is opened once.

        Parameters
        ----------
        ids : array-like (k,) of int
            Particle ids in any order, from 0.

        Returns
        -------
        array (k, box, box) float32

        Raises
        ------
        InputError
            If a stack changed since the import.
        """
        wanted = np.asarray(ids, dtype=np.int64).ravel()
        images = np.empty((len(wanted), self.box, self.box), np.float32)
        blocks = _by_file(self.file_index[wanted], self.image_index[wanted])
        for file, rows, places in blocks:
            with open_images(self.files[file]) as stack:
                for row, place in zip(rows, places, strict=True):
                    shape = stack.shape(place)
                    if shape != (self.box, self.box):
                        raise InputError(
                            f"{image_name(self.files[file], place)}: {_size(shape)},"
                            f" but {self.box} x {self.box} at the import; the stack"
                            " has changed, run the import again."
                        )
                    images[row] = stack[place]
        images *= self.sign[wanted, None, None]
        return images

    def optics(self, ids: ArrayLike) -> list[dict[str, float]] | None:
        """Return the `CTF_FIELDS` of particles, a mapping of each; None: unknown."""
        if self.ctf is None:
            return None
        rows = self.ctf[np.asarray(ids, np.int64)]
        return [{name: float(row[name]) for name in CTF_FIELDS} for row in rows]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to an ``.npz`` file: atomically, same content, same bytes."""
        arrays: dict[str, Any] = {
            "files": np.array(self.files, dtype=np.str_),
            "file_index": self.file_index.astype(np.int32),
            "image_index": self.image_index.astype(np.int32),
            "box": np.int64(self.box),
            "pixel_size": np.float64(self.pixel_size),
            "sign": self.sign.astype(np.float32),
        }
        if self.ctf is not None:
            arrays |= {name: self.ctf[name] for name in CTF_FIELDS}
        with atomic(path) as partial, partial.open("wb") as handle:
            np.savez(handle, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ImageSource:
        """Read what `save` wrote.

        Raises
        ------
        InputError
            If a stack is gone, or was changed since: what was found out of the images
            would be used for others.
        """
        stored = load_arrays(path)
        files = list(map(str, stored["files"]))
        check_unchanged(files, os.path.getmtime(path), "isac_import")
        ctf = None
        if "defocus_u" in stored:
            ctf = np.zeros(len(stored["file_index"]), CTF_DTYPE)
            for field in CTF_FIELDS:
                ctf[field] = stored[field]
        return cls(
            files=files,
            file_index=stored["file_index"],
            image_index=stored["image_index"],
            box=int(stored["box"]),
            pixel_size=float(stored["pixel_size"]),
            sign=stored["sign"],
            ctf=ctf,
        )


@dataclass(frozen=True)
class ImageReport:
    """What a walk over all images found.

    Attributes
    ----------
    box : int
        Side of the square images [pixel].
    excluded : list of dict
        ``id``, ``image`` (1-based name) and ``reason`` of each image that cannot be
        classified.
    duplicates : list of (int, int)
        A particle, and a later one that is the same image, by its name or its pixels;
        each later one once.
    filled : list of int
        Particles of which a part is one and the same value, as beyond the edge of a
        micrograph.
    """

    box: int
    excluded: list[dict[str, Any]]
    duplicates: list[tuple[int, int]]
    filled: list[int]


def inspect_images(
    files: Sequence[str | os.PathLike[str]],
    file_index: NDArray[np.integer[Any]],
    image_index: NDArray[np.integer[Any]],
) -> ImageReport:
    """Walk over all images once, one in memory at a time.

    Parameters
    ----------
    files : sequence of path-like
        The stacks.
    file_index, image_index : array (n,) of int
        As in `ImageSource`.

    Raises
    ------
    InputError
        If an image is missing, not square, of another size than the first particle's,
        or a stack is broken off.
    """
    box: int | None = None
    excluded: list[dict[str, Any]] = []
    seen: dict[tuple[int, float, float], int] = {}
    duplicates = []
    filled = []
    for file, rows, places in _by_file(file_index, image_index):
        with open_images(files[file]) as stack:
            for row, place in zip(rows, places, strict=True):
                name = image_name(files[file], place)
                side = square_side(stack, place, name)
                if box is None:
                    box, first = side, name
                if side != box:
                    raise InputError(
                        f"{name} (particle {row + 1}) is {side} x {side} pixel, but"
                        f" {first} is {box} x {box}; give images of one size."
                    )
                image = np.ascontiguousarray(stack[place])
                if reason := holds_nothing(image):
                    excluded.append({"id": int(row), "image": name, "reason": reason})
                    continue
                # Only together do they tell images apart.
                ends = float(image.min()), float(image.max())
                key = (zlib.crc32(image.data), *ends)
                if (before := seen.setdefault(key, int(row))) != row:
                    duplicates.append((before, int(row)))
                if one_value(image) > FILLED:
                    filled.append(int(row))
    if box is None:
        raise InputError("The particle table holds no image; give one that does.")
    excluded.sort(key=lambda entry: int(entry["id"]))
    return ImageReport(box, excluded, sorted(duplicates), sorted(filled))


def holds_nothing(pixels: NDArray[Any]) -> str:
    """Return why an image or a volume holds nothing that can be used, else ""."""
    low, high = float(pixels.min()), float(pixels.max())
    if not np.isfinite([low, high]).all():
        return "not finite"
    # Rounding leaves something of a constant.
    if high - low <= FLAT * max(abs(low), abs(high)):
        return f"all pixels are {low:g}"
    return ""


def one_value(pixels: NDArray[Any]) -> float:
    """Return the largest share of an image or a volume that has the value of corners.

    What was filled up holds at least two corners.
    """
    corners = [pixels[i] for i in itertools.product((0, -1), repeat=pixels.ndim)]
    several = {value for value in corners if corners.count(value) > 1}
    return max((float(np.mean(pixels == value)) for value in several), default=0.0)


def left_out_sentence(excluded: Sequence[dict[str, Any]], n: int) -> list[str]:
    """Return a sentence if some of n particles are left out, see `ImageReport`."""
    if not excluded:
        return []
    first = excluded[0]
    return [
        f"{len(excluded)} of {n} particles are left out, such as {first['image']}:"
        f" {first['reason']}; import.json names them all."
    ]


def filled_sentence(filled: Sequence[int], n: int, first: str) -> list[str]:
    """Return a sentence if some of n particles, but not about all, are filled up."""
    if not 0 < len(filled) < ALL_FILLED * n:
        return []
    return [
        f"{len(filled)} of {n} particles hold one and the same value in more than"
        f" {100 * FILLED:g} % of their box, such as {first}: they may reach beyond the"
        " edge of what they were cut out of."
    ]


def square_side(stack: Stack, index: int, name: str) -> int:
    """Return the side of an image [pixel].

    Parameters
    ----------
    stack : Stack
        An open stack.
    index : int
        The image.
    name : str
        Its name in messages.

    Raises
    ------
    InputError
        If the image is missing or not square.
    """
    shape = stack.shape(index)
    if len(shape) != 2 or shape[0] != shape[1]:
        raise InputError(f"{name} is {_size(shape)} in size; give square images.")
    return shape[0]


def image_name(path: str | os.PathLike[str], index: int) -> str:
    """Return RELION's name of an image: number from 1, ``@``, file."""
    return f"{index + 1:06d}@{os.fspath(path)}"


def check_unchanged(files: Iterable[str], imported: float, rule: str) -> None:
    """Refuse files that are gone or younger than their import.

    What was found out of them would be used for others.

    Parameters
    ----------
    files : iterable of str
        Stacks or volumes.
    imported : float
        When they were imported [second of the epoch].
    rule : str
        The rule that imports them.

    Raises
    ------
    InputError
    """
    for file in files:
        try:
            changed = os.path.getmtime(file)
        except OSError as error:
            raise InputError(
                f"{file}: what particles were imported from cannot be read"
                f" ({error.strerror}); bring it back, or change particles in the"
                " config."
            ) from None
        if changed > imported + CLOCKS:
            raise InputError(
                f"{file}: was changed after its particles were imported; say the same"
                f" command again with --forcerun {rule}."
            )


def _by_file(
    file_index: NDArray[np.integer[Any]], image_index: NDArray[np.integer[Any]]
) -> Iterator[tuple[int, list[int], list[int]]]:
    """Yield file, positions in the given arrays, and images; each file once.

    Files come in the order of their first particle, images in the order of the file.
    """
    order = np.lexsort((image_index, file_index))
    ends = np.flatnonzero(np.diff(file_index[order])) + 1
    groups = [rows for rows in np.split(order, ends) if len(rows)]
    for rows in sorted(groups, key=lambda rows: int(rows.min())):
        yield int(file_index[rows[0]]), rows.tolist(), image_index[rows].tolist()


def _size(shape: tuple[int, ...]) -> str:
    """Return a shape as text, x first."""
    return " x ".join(str(length) for length in reversed(shape)) + " pixel"
