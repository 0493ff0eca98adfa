"""Volumes in files: EM and MRC, told apart by their names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.io import em, mrc

EM_SUFFIXES = (".em",)
MRC_SUFFIXES = (".mrc", ".map", ".ccp4", ".rec", ".st")


def read_volume(
    path: str | os.PathLike[str], finite: bool = True
) -> NDArray[np.float32]:
    """Read a volume, shape (n_z, n_y, n_x).

    Raises
    ------
    InputError
        If the file is missing, no volume of a known format, or not finite where that
        is asked for.
    """
    _check(path)
    values = em.read_em(path) if _is_em(path) else _open_mrc(path)
    if values.dtype.kind not in "iuf":
        raise InputError(
            f"{path}: the voxels are of type {values.dtype}, expected real numbers;"
            " convert the volume to float32."
        )
    volume = np.asarray(values, np.float32)
    if finite and not np.isfinite(volume).all():
        n = np.count_nonzero(~np.isfinite(volume))
        raise InputError(
            f"{path}: {n} of {volume.size} voxels are not finite, expected numbers"
            " alone; make the volume again, or leave it out."
        )
    return volume


def read_size(path: str | os.PathLike[str]) -> tuple[tuple[int, ...], float | None]:
    """Return shape (n_z, n_y, n_x) and pixel size [A] as the header tells them."""
    _check(path)
    if _is_em(path):
        header = em.read_header(path)
        return header.shape, header.pixel_size or None
    stack = mrc.read_stack_header(path)
    return tuple(stack.shape[i] for i in _order(stack)), stack.pixel_size


def _open_mrc(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Map a volume whose axes the header may name in any order as (z, y, x)."""
    return mrc.open_stack(path).transpose(_order(mrc.read_stack_header(path)))


def _order(header: mrc.StackHeader) -> list[int]:
    """Return the axis of the file that is z, that is y and that is x."""
    return [header.axes.index(axis) for axis in (3, 2, 1)]


def write_both(
    stem: str | os.PathLike[str], volume: NDArray[np.floating], pixel_size: float | None
) -> None:
    """Write a volume as ``<stem>.em`` and ``<stem>.mrc``, atomically."""
    em.write_em(f"{stem}.em", np.asarray(volume, np.float32), pixel_size or 0.0)
    mrc.write_volume(f"{stem}.mrc", volume, pixel_size)


def _is_em(path: str | os.PathLike[str]) -> bool:
    return Path(path).suffix.lower() in EM_SUFFIXES


def _check(path: str | os.PathLike[str]) -> None:
    known = (*EM_SUFFIXES, *MRC_SUFFIXES)
    if Path(path).suffix.lower() not in known:
        raise InputError(
            f"{path}: not known as a volume by its name, which must end in one of"
            f" {', '.join(known)}; rename or convert it."
        )
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; give the path of a volume.")
