"""Arrays in files (.npy, .npz): read whole, mapped, or written from front to back."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cryokin.files import broken_off

_BROKEN = (ValueError, EOFError, zipfile.BadZipFile, zlib.error)


def load_array(path: str | os.PathLike[str], mapped: bool = False) -> NDArray[Any]:
    """Read an array that a rule wrote (.npy), or map its file.

    Raises
    ------
    InputError
        If the file is broken off.
    """
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None)
    except _BROKEN as error:
        raise broken_off(path, error) from error
    return array


def load_arrays(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read the arrays that a rule wrote (.npz), by their names.

    Raises
    ------
    InputError
        If the file is broken off.
    """
    try:
        with open(path, "rb") as file, np.load(file) as stored:
            return dict(stored)
    except _BROKEN as error:
        raise broken_off(path, error) from error


class NpyWriter:
    """Write an array of known shape (.npy), some rows after the others.

    A full disk is an `OSError` here; a mapped file would end the program by a signal.

    Parameters
    ----------
    path : path-like
        The file.
    dtype : dtype-like
        Of the array.
    shape : tuple of int
        Of the whole array; its first axis counts the rows.
    """

    def __init__(
        self, path: str | os.PathLike[str], dtype: DTypeLike, shape: tuple[int, ...]
    ) -> None:
        self._dtype = np.dtype(dtype)
        self._file = Path(path).open("wb")  # noqa: SIM115, closed by close()
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "shape": shape,
                "fortran_order": False,
                "descr": np.lib.format.dtype_to_descr(self._dtype),
            },
        )

    def write(self, rows: NDArray[Any]) -> None:
        """Write the rows that come next."""
        self._file.write(np.ascontiguousarray(rows, self._dtype).tobytes())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> NpyWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
