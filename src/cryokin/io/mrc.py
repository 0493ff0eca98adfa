"""MRC stacks, read through a memory map and written with the same bytes every time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mrcfile import dtypes
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.files import atomic

HEADER_BYTES = 1024
LABEL = b"cryokin"

# Type of the pixels by mode; the other modes are known, but no real images.
_PIXELS: dict[int, type[np.generic]] = {
    0: np.int8,
    1: np.int16,
    2: np.float32,
    6: np.uint16,
    12: np.float16,
}
_OTHER_MODES = (3, 4, 101)


@dataclass(frozen=True)
class StackHeader:
    """What the header of an MRC file says.

    Attributes
    ----------
    shape : tuple of int
        Images, rows, columns.
    dtype : numpy.dtype
        Type of the pixels in the file, byte order included.
    pixel_size : float or None
        Angstrom per pixel; None where the header leaves it open, with 0 or with the
        1 that RELION writes into its stacks.
    offset : int
        Bytes before the first pixel.
    is_volume : bool
        The header marks the data as a volume of equal sides. Many programs mark
        stacks so as well; only the name can tell then.
    axes : tuple of int
        Which of x, y, z (1, 2, 3) runs along sections, rows and columns of the file.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    pixel_size: float | None
    offset: int
    is_volume: bool
    axes: tuple[int, int, int] = (3, 2, 1)


def read_stack_header(path: str | os.PathLike[str]) -> StackHeader:
    """Read the header of an MRC file, and see that the file is as long as it says.

    Parameters
    ----------
    path : path-like
        The file; modes 0, 1, 2, 6 and 12. A missing ``MAP`` mark or machine stamp is
        accepted, RELION writes neither.

    Raises
    ------
    InputError
        If the file is no MRC file, holds complex or packed pixels, or fewer images
        than its header promises.
    """
    header = _raw_header(path)
    shape = (int(header["nz"]), int(header["ny"]), int(header["nx"]))
    mode = int(header["mode"])
    if mode not in _PIXELS or min(shape) < 1:
        raise InputError(
            f"{path}: MRC mode {mode}, {shape[2]} x {shape[1]} x {shape[0]}"
            " pixel; give a stack of mode 0, 1, 2, 6 or 12."
        )
    dtype = np.dtype(_PIXELS[mode]).newbyteorder(header.dtype["nx"].byteorder)
    if mode == 0 and _unsigned(header):
        dtype = np.dtype(np.uint8)
    n, ny, nx = shape
    offset = HEADER_BYTES + max(0, int(header["nsymbt"]))
    there = max(0, os.path.getsize(path) - offset) // (ny * nx * dtype.itemsize)
    if there < n:
        raise InputError(
            f"{path}: broken off, {there} whole images are there and the header"
            f" promises {n}; copy the file again or remake it."
        )
    mx = int(header["mx"])
    step = float(header["cella"]["x"]) / mx if mx > 0 else 0.0
    return StackHeader(
        shape=shape,
        dtype=dtype,
        pixel_size=step if np.isfinite(step) and step > 0 and step != 1 else None,
        offset=offset,
        is_volume=int(header["ispg"]) == 1 and n == ny == nx > 1,
        axes=_axes(header),
    )


def open_stack(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Map an MRC stack into memory.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    numpy.memmap
        Images (n, y, x), read-only, in the pixel type of the file.

    Raises
    ------
    InputError
        If the file holds fewer images than its header promises.
    """
    header = read_stack_header(path)
    return np.memmap(
        path, dtype=header.dtype, mode="r", offset=header.offset, shape=header.shape
    )


def _raw_header(path: str | os.PathLike[str]) -> Any:
    """Return the fixed part of a header, in the byte order in which it makes sense.

    Nothing else of the file is read: an extended header may claim any length.
    """
    with open(path, "rb") as handle:
        raw = handle.read(HEADER_BYTES)
    if len(raw) == HEADER_BYTES:
        # The machine stamp is missing in many files, and wrong in some.
        for order in "><" if raw[212] == 0x11 else "<>":
            header = np.frombuffer(raw, dtypes.HEADER_DTYPE.newbyteorder(order))[0]
            if int(header["mode"]) in (*_PIXELS, *_OTHER_MODES):
                return header
    raise InputError(
        f"{path}: no MRC stack (its first {len(raw)} bytes are no header of one); give"
        " another file."
    )


def _axes(header: Any) -> tuple[int, int, int]:
    """Return the axes of sections, rows and columns; z, y, x where none are told."""
    told = tuple(int(header[name]) for name in ("maps", "mapr", "mapc"))
    z, y, x = told if sorted(told) == [1, 2, 3] else (3, 2, 1)
    return z, y, x


def _unsigned(header: Any) -> bool:
    """Whether bytes count from 0 to 255, where MRC2014 has them from -128 to 127.

    IMOD says so by a flag of its own; of others the greatest pixel tells.
    """
    own = header["extra2"].tobytes()
    stamp, flags = own[40:44], own[44:48]  # bytes 153 to 160 of the file
    if stamp in (b"IMOD", b"DOMI"):  # a number, written by either kind of machine
        return not int.from_bytes(flags, "little" if stamp == b"IMOD" else "big") & 1
    low, high = float(header["dmin"]), float(header["dmax"])
    return low >= 0 and 127 < high <= 255


class StackWriter:
    """Write a float32 stack block by block.

    The file has its full size from the start. To let it appear whole or not at all,
    write to the temporary name of `cryokin.files.atomic`.

    Parameters
    ----------
    path : path-like
        The file.
    shape : tuple of int
        Images, rows, columns.
    pixel_size : float or None
        Angstrom per pixel.

    Examples
    --------
    >>> with StackWriter("s.mrcs", (100, 64, 64), 1.5) as stack:  # doctest: +SKIP
    ...     stack.write(0, images)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        shape: tuple[int, int, int],
        pixel_size: float | None,
    ) -> None:
        self.shape = shape
        self._handle = Path(path).open("wb")  # noqa: SIM115, closed by close()
        self._handle.write(_header(shape, pixel_size or 0.0))
        self._handle.truncate(HEADER_BYTES + 4 * int(np.prod(shape, dtype=np.int64)))

    def write(self, first: int, images: NDArray[Any]) -> None:
        """Write images (n, y, x) to places ``first``, ``first + 1``, ... of the stack.

        Raises
        ------
        ValueError
            If an image has another size or a place lies outside the stack.
        """
        n, ny, nx = self.shape
        if images.shape[1:] != (ny, nx) or not 0 <= first <= n - len(images):
            raise ValueError(
                f"images {images.shape} at {first} do not fit the stack {self.shape}"
            )
        self._handle.seek(HEADER_BYTES + 4 * first * ny * nx)
        self._handle.write(np.ascontiguousarray(images, dtype="<f4").tobytes())

    def close(self) -> None:
        """Close the file."""
        self._handle.close()

    def __enter__(self) -> StackWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def write_stack(
    path: str | os.PathLike[str], images: NDArray[Any], pixel_size: float | None
) -> None:
    """Write a stack as float32: atomically, with the same bytes for same images.

    Parameters
    ----------
    path : path-like
        The file.
    images : array (n, y, x)
        The images.
    pixel_size : float or None
        Angstrom per pixel; None leaves it open.
    """
    n, ny, nx = images.shape
    with atomic(path) as partial, StackWriter(partial, (n, ny, nx), pixel_size) as out:
        out.write(0, images)


def write_volume(
    path: str | os.PathLike[str], volume: NDArray[Any], pixel_size: float | None
) -> None:
    """Write a volume as float32: atomically, with the same bytes for same voxels.

    Parameters
    ----------
    path : path-like
        The file.
    volume : array (n_z, n_y, n_x)
        The voxels.
    pixel_size : float or None
        Angstrom per voxel; None leaves it open.
    """
    n_z, n_y, n_x = volume.shape
    voxels = np.ascontiguousarray(volume, "<f4")
    header = _header((n_z, n_y, n_x), pixel_size or 0.0, is_volume=True)
    with atomic(path) as partial:
        partial.write_bytes(header + voxels.tobytes())


def _header(
    shape: tuple[int, int, int], pixel_size: float, is_volume: bool = False
) -> bytes:
    """Return the header of float32 images or voxels (MRC2014) without a date in it."""
    n, ny, nx = shape
    header = np.zeros((), dtype=dtypes.HEADER_DTYPE.newbyteorder("<"))
    header["nx"], header["ny"], header["nz"] = nx, ny, n
    header["mode"] = 2
    header["mx"], header["my"], header["mz"] = nx, ny, 1
    header["cella"] = (nx * pixel_size, ny * pixel_size, pixel_size)
    if is_volume:
        header["mz"], header["ispg"] = n, 1
        header["cella"]["z"] = n * pixel_size
    header["cellb"] = (90.0, 90.0, 90.0)
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    # MRC2014: max < min, mean < both and rms < 0 say "not determined".
    header["dmin"], header["dmax"], header["dmean"], header["rms"] = 0, -1, -2, -1
    header["nversion"] = 20140
    header["map"] = b"MAP "
    header["machst"] = (0x44, 0x44, 0, 0)
    header["nlabl"] = 1
    header["label"][0] = LABEL
    return header.tobytes()
