"""Image stacks of EMAN2 and SPARX in HDF5.

The layout: group ``/MDF/images`` with the attribute ``imageid_max`` (number of the
last image), in it one group per image, named by its number, with the dataset ``image``
and the attributes of the image, prefixed ``EMAN.``. EMAN2 knows attributes of four
bytes per number, a one-byte ``T`` or ``F`` for a truth value, and text of fixed length.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.files import atomic
from cryokin.io import quantities

_IMAGES = "/MDF/images"
_PREFIX = "EMAN."
_EM_FLOAT = 7  # EMAN2's number of the pixel type float32
_LAST = quantities.Quantity("number of the last image", "", -1, 2**31 - 2, whole=True)
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def is_hdf(path: str | os.PathLike[str]) -> bool:
    """Whether the file begins as an HDF5 file does."""
    with Path(path).open("rb") as handle:
        return handle.read(len(_SIGNATURE)) == _SIGNATURE


class EmanStack:
    """An open stack; ``len(stack)`` images, ``stack[i]`` is one, (y, x) float32.

    Parameters
    ----------
    path : path-like
        The file.

    Raises
    ------
    InputError
        If the file is no EMAN2 stack, or lacks or breaks off an image.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        with _told(path, "the file is"):
            self._file = h5py.File(path, "r")
        try:
            with _told(path, f"the group {_IMAGES} is"):
                self._images = self._file.get(_IMAGES)
                if not isinstance(self._images, h5py.Group):
                    raise InputError(
                        f"{path}: an HDF5 file without the group {_IMAGES} of EMAN2 and"
                        " SPARX; give a stack of these programs."
                    )
                last = self._images.attrs.get("imageid_max", len(self._images) - 1)
                number = np.ravel(last)[0] if np.size(last) == 1 else last
            name = "imageid_max"
            self._n = int(quantities.number(path, name, number, _LAST)) + 1
        except InputError:
            self._file.close()
            raise

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        self.shape(index)  # before memory is taken for what is no image
        with _told(self._path, f"image {index} of {self._n} is"):
            group = self._group(index)
            stored = group["image"][()]
            if stored.ndim == 3 and stored.shape[0] == 1:
                stored = stored[0]
            return _decoded(stored, group.attrs)

    def shape(self, index: int) -> tuple[int, ...]:
        """Return the shape of an image: (y, x), or (z, y, x) of a volume."""
        with _told(self._path, f"image {index} of {self._n} is"):
            stored = self._group(index)["image"]
            _check_pixels(stored, f"{self._path}: image {index} of {self._n}")
            shape: tuple[int, ...] = stored.shape
        return shape[1:] if len(shape) == 3 and shape[0] == 1 else shape

    def attributes(self, index: int) -> dict[str, Any]:
        """Return the attributes of an image, without their prefix, sorted by name."""
        with _told(self._path, f"an attribute of image {index} of {self._n}"):
            attributes = self._group(index).attrs
            return {
                name.removeprefix(_PREFIX): _from_hdf(attributes[name])
                for name in sorted(attributes)
                if name.startswith(_PREFIX)
            }

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> EmanStack:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _group(self, index: int) -> Any:
        if not 0 <= index < self._n:
            raise InputError(
                f"{self._path}: image {index + 1} asked for, but the stack holds"
                f" {self._n}; the table and the stack do not belong together."
            )
        link = self._images.get(str(index), getlink=True)
        group = None
        if not isinstance(link, h5py.ExternalLink):  # pixels of another file
            group = self._images.get(str(index))
        if not isinstance(group, h5py.Group) or "image" not in group:
            raise InputError(
                f"{self._path}: image {index} of {self._n} is missing in the stack;"
                " remake it with e2proc2d.py."
            )
        return group


@contextmanager
def _told(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Tell in a sentence what a file cannot give: anything may stand in HDF5.

    A broken or foreign file makes h5py raise whatever its parts raise.
    """
    try:
        yield
    except InputError:
        raise
    except (
        *(OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError),
        *(OverflowError, MemoryError, NotImplementedError),
    ) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{path}: {what} not readable as HDF5 ({reason}); copy the file again or"
            " remake it."
        ) from None


def _check_pixels(stored: Any, what: str) -> None:
    """Refuse what stands for an image and is none, by its description alone."""
    if not isinstance(stored, h5py.Dataset):
        raise InputError(f"{what} is no data set; remake the stack with e2proc2d.py.")
    if stored.external or stored.is_virtual:
        raise InputError(
            f"{what} has its pixels in another file; copy the stack with e2proc2d.py."
        )
    sides = stored.shape or ()
    fits = len(sides) in (2, 3) and all(1 <= n <= quantities.BOX.high for n in sides)
    small = fits and stored.size <= quantities.BOX.high**2
    if stored.dtype.kind not in "iuf" or not small:
        raise InputError(
            f"{what} is of type {stored.dtype} and size"
            f" {' x '.join(map(str, reversed(sides))) or 'none'}, expected real"
            f" numbers, at most {quantities.BOX.high:.0f} x {quantities.BOX.high:.0f}"
            " pixel; remake it with e2proc2d.py."
        )


def read_images(
    path: str | os.PathLike[str],
) -> tuple[NDArray[np.float32], list[dict[str, Any]]]:
    """Read a stack of images of one size.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    images : array (n, y, x) float32
        Integers that EMAN2 compressed are scaled back.
    attributes : list of dict
        Of each image, without the prefix ``EMAN.``. Arrays of numbers are NumPy
        arrays; as in EMAN2, an array of one number comes back as that number.

    Raises
    ------
    InputError
        If the file is no EMAN2 stack or the images differ in size.
    """
    with EmanStack(path) as stack:
        images = [stack[i] for i in range(len(stack))]
        attributes = [stack.attributes(i) for i in range(len(stack))]
    for i, image in enumerate(images):
        if image.shape != images[0].shape:
            raise InputError(
                f"{path}: image {i} is {image.shape[-1]} x {image.shape[-2]} pixel,"
                f" image 0 is {images[0].shape[-1]} x {images[0].shape[-2]}; give"
                " images of one size."
            )
    if not images:
        return np.zeros((0, 0, 0), np.float32), []
    return np.stack(images), attributes


def read_headers(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read the attributes of every image of a stack, without the pixels."""
    with EmanStack(path) as stack:
        return [stack.attributes(i) for i in range(len(stack))]


def write_images(
    path: str | os.PathLike[str],
    images: NDArray[Any],
    attributes: Sequence[Mapping[str, Any]],
) -> None:
    """Write a stack that EMAN2 and SPARX read: atomically, same content, same bytes.

    Parameters
    ----------
    path : path-like
        The file.
    images : array (n, y, x)
        Written as float32. An empty stack gives a file without images.
    attributes : sequence of mapping
        One per image: int, float, bool, str, or a sequence of int or float, such as
        ``members``. Size, pixel type and statistics are added.

    Raises
    ------
    ValueError
        If the numbers of images and of attributes differ.
    """
    if len(images) != len(attributes):
        raise ValueError(f"{len(images)} images, {len(attributes)} sets of attributes")
    write_pairs(path, zip(images, attributes, strict=True))


def write_pairs(
    path: str | os.PathLike[str],
    pairs: Iterable[tuple[NDArray[Any], Mapping[str, Any]]],
) -> None:
    """Write images (y, x) and their attributes as they come; see `write_images`."""
    with atomic(path) as partial, h5py.File(partial, "w", libver="earliest") as file:
        top = file.create_group(_IMAGES)
        top.attrs.create("imageid_max", np.int32(-1))
        for i, (image, given) in enumerate(pairs):
            pixels = np.ascontiguousarray(image, dtype=np.float32)
            group = top.create_group(str(i))
            for name, value in (_description(pixels) | dict(given)).items():
                group.attrs.create(_PREFIX + name, _to_hdf(value))
            group.create_dataset("image", data=pixels, track_times=False)
            top.attrs.modify("imageid_max", np.int32(i))


def _description(image: NDArray[np.float32]) -> dict[str, Any]:
    """Return the attributes that EMAN2 itself gives every image."""
    wide = image.astype(np.float64)
    return {
        "nx": image.shape[1],
        "ny": image.shape[0],
        "nz": 1,
        "datatype": _EM_FLOAT,
        "is_complex": 0,
        "apix_x": 1.0,
        "apix_y": 1.0,
        "apix_z": 1.0,
        "minimum": float(wide.min()),
        "maximum": float(wide.max()),
        "mean": float(wide.mean()),
        "sigma": float(wide.std()),
    }


def _decoded(stored: NDArray[Any], attributes: Any) -> NDArray[np.float32]:
    """Scale integers of a compressed image back.

    EMAN2 maps [rendermin, rendermax] onto the integers 0 .. 2**renderbits - 1.
    """
    names = [f"{_PREFIX}stored_render{part}" for part in ("bits", "min", "max")]
    if not all(name in attributes for name in names):
        return np.asarray(stored, dtype=np.float32)
    bits, low, high = (float(np.ravel(attributes[name])[0]) for name in names)
    if not np.isfinite([bits, low, high]).all() or bits > 64:
        raise ValueError(f"stored in {bits} bits from {low} to {high}")
    if bits <= 0:
        return np.asarray(stored, dtype=np.float32)
    scaled = stored.astype(np.float64) / (2.0**bits - 1) * (high - low) + low
    return np.asarray(scaled, dtype=np.float32)


def _to_hdf(value: Any) -> Any:
    """Return a value in a type that EMAN2 reads."""
    if isinstance(value, bool | np.bool_):
        return np.int8(ord("T" if value else "F"))
    if isinstance(value, str):
        return np.bytes_(value.encode() + b"\0")
    array = np.asarray(value)
    if array.size == 0 and array.dtype.kind == "f":
        array = array.astype(np.int32)
    if array.dtype.kind in "iu":
        small = array.astype(np.int32)
        if not np.array_equal(small, array):
            raise ValueError(f"{value} does not fit the 32-bit integers of EMAN2")
        return small
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    raise TypeError(f"EMAN2 has no attribute of the type of {value!r}")


def _from_hdf(value: Any) -> Any:
    """Return an attribute as bool, int, float, str or array."""
    if isinstance(value, bytes | np.bytes_):
        return value.decode(errors="replace").rstrip("\0")
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    if array.dtype.names:  # a transform: 3 rows of 4 numbers
        flat = [np.ravel(array[name])[0] for name in array.dtype.names]
        return np.array(flat, dtype=np.float32)
    if array.dtype == np.int8 and array.size == 1:
        return int(array.ravel()[0]) == ord("T")
    return array.ravel()[0].item() if array.size == 1 else array
