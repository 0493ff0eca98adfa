"""EM volumes, the format of TOM, AV3 and PyTom.

512 bytes of header (machine, data type, three dimensions, comment, 40 user values),
then the voxels with x running fastest, in the byte order of the writing machine.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.files import atomic

HEADER_BYTES = 512
COMMENT = slice(16, 96)
PIXEL_SIZE_OFFSET = 96 + 4 * 6  # user value 7: pixel size [milli-angstrom]

VAX, PC = 1, 6
LITTLE_ENDIAN = (VAX, PC)  # OS-9 (0), Convex (2), SGI (3), Sun (4), Mac (5): big endian

ByteOrder = Literal["<", ">"]

COMPLEX_INT16 = 3
TYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("i1"),
    2: np.dtype("i2"),
    COMPLEX_INT16: np.dtype([("real", "i2"), ("imag", "i2")]),
    4: np.dtype("i4"),
    5: np.dtype("f4"),
    6: np.dtype("u2"),
    8: np.dtype("c8"),
    9: np.dtype("f8"),
    10: np.dtype("c16"),
    11: np.dtype("i8"),
}
CODES = {dtype: code for code, dtype in TYPES.items()}


@dataclass(frozen=True)
class EmHeader:
    """What the header of an EM file says.

    Attributes
    ----------
    shape : tuple of int
        ``(n_z, n_y, n_x)``.
    dtype : numpy.dtype
        Type of a voxel in the file, with its byte order.
    pixel_size : float
        [angstrom]; 0 where the file does not say.
    comment : str
        Up to 80 characters.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    pixel_size: float
    comment: str


def read_header(path: str | os.PathLike[str]) -> EmHeader:
    """Read the header of an EM file.

    Raises
    ------
    InputError
        If the file is not an EM volume of a known type and of the right length.
    """
    with open(path, "rb") as handle:
        raw = handle.read(HEADER_BYTES)
    if len(raw) < HEADER_BYTES:
        raise InputError(
            f"{path}: {len(raw)} bytes are no EM volume (its header alone has"
            f" {HEADER_BYTES} bytes); give a volume in EM format."
        )
    machine, code = raw[0], raw[3]
    if code not in TYPES:
        raise InputError(
            f"{path}: EM data type {code} is unknown (known: {sorted(TYPES)});"
            " convert the volume to float32 (type 5) or to MRC."
        )
    if machine == VAX and TYPES[code].kind in "fc":
        raise InputError(
            f"{path}: floating-point numbers of a VAX (machine code {VAX}) cannot be"
            " read; convert the volume to machine code 6 (PC) or to MRC."
        )
    size = os.path.getsize(path)
    likely: ByteOrder
    unlikely: ByteOrder
    likely, unlikely = ("<", ">") if machine in LITTLE_ENDIAN else (">", "<")
    # Some writers leave the machine code unset, so the file's length decides.
    for order in (likely, unlikely):
        n_x, n_y, n_z = np.frombuffer(raw, f"{order}i4", 3, 4).tolist()
        dtype = TYPES[code].newbyteorder(order)
        if min(n_x, n_y, n_z) > 0 and (
            size >= HEADER_BYTES + n_x * n_y * n_z * dtype.itemsize
        ):
            user = int(np.frombuffer(raw, f"{order}i4", 1, PIXEL_SIZE_OFFSET)[0])
            comment = raw[COMMENT].split(b"\0")[0].decode("latin-1").strip()
            return EmHeader((n_z, n_y, n_x), dtype, max(user, 0) / 1000, comment)
    n_x, n_y, n_z = np.frombuffer(raw, f"{likely}i4", 3, 4).tolist()
    raise InputError(
        f"{path}: the EM header announces {n_x} x {n_y} x {n_z} voxels of type {code},"
        f" but the file has {size} bytes; it is damaged or not an EM volume."
    )


def read_em(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an EM volume.

    Returns
    -------
    ndarray, shape (n_z, n_y, n_x)
        Voxels in the type of the file (complex int16 as complex64) and the byte order
        of this machine.

    Raises
    ------
    InputError
        See `read_header`.
    """
    header = read_header(path)
    count = int(np.prod(header.shape))
    voxels = np.fromfile(path, header.dtype, count, offset=HEADER_BYTES)
    voxels = voxels.reshape(header.shape)
    if header.dtype.names:
        return (voxels["real"] + 1j * voxels["imag"]).astype(np.complex64)
    return voxels.astype(header.dtype.newbyteorder("="), copy=False)


def write_em(
    path: str | os.PathLike[str], volume: NDArray[Any], pixel_size: float = 0.0
) -> None:
    """Write a volume as EM (machine code PC, little endian), atomically.

    Parameters
    ----------
    path : path-like
        Name of the file.
    volume : ndarray, shape (n_z, n_y, n_x) or (n_y, n_x)
        Real or complex voxels; types that EM lacks become float32.
    pixel_size : float, optional
        [angstrom]; 0 is "not said".
    """
    voxels = np.asarray(volume)
    if voxels.dtype not in CODES:
        voxels = voxels.astype(np.float32)
    n_z, n_y, n_x = (1,) * (3 - voxels.ndim) + voxels.shape
    header = np.zeros(HEADER_BYTES, np.uint8)
    header[0], header[3] = PC, CODES[voxels.dtype]
    header[4:16] = np.array([n_x, n_y, n_z], "<i4").view(np.uint8)
    header[PIXEL_SIZE_OFFSET : PIXEL_SIZE_OFFSET + 4] = np.array(
        [round(pixel_size * 1000)], "<i4"
    ).view(np.uint8)
    with atomic(path) as partial, Path(partial).open("wb") as handle:
        handle.write(header.tobytes())
        handle.write(voxels.astype(voxels.dtype.newbyteorder("<")).tobytes())
