"""Slabs of subtomograms: images on which junk is seen sooner than in volumes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.files import portable
from cryokin.io.mrc import write_stack
from cryokin.io.particles import PARTICLE_BLOCKS
from cryokin.io.stacks import image_name
from cryokin.io.star import read_column, write_star
from cryokin.io.subtomograms import Subtomograms, read_subtomograms
from cryokin.io.tilt_stacks import VISIBLE, tables_of_set
from cryokin.volume.slices import Slices

UNTILTED = (0.0, 0.0)  # where nothing tells the wedge: a slab shows none
TELL_SAMPLING = ("rlnCtfImage", VISIBLE)


def read_for_slabs(
    path: str | os.PathLike[str], pixel_size: float | None
) -> Subtomograms:
    """Read a table of subtomograms, of whose wedges nothing needs to be known."""
    source = Path(path)
    wedge = None
    if source.suffix.lower() == ".star":
        rows = (tables_of_set(source) or (source, None))[0]
        told = (read_column(rows, PARTICLE_BLOCKS, name) for name in TELL_SAMPLING)
        wedge = None if any(map(any, told)) else UNTILTED
    table = read_subtomograms(source, None, pixel_size, wedge)
    if table.pixel_size is None:
        raise InputError(f"{source}: gives no pixel size; set pixel_size [A].")
    return table


def check_thickness(table: Subtomograms, thickness: float) -> None:
    """Raise `InputError` if a slab [A] is less than a voxel, or more than the box."""
    size, box = table.pixel_size or 1.0, table.box
    if not 1 <= thickness / size <= box:
        raise InputError(
            f"slab = {thickness:g} A cannot be cut out of subtomograms of {box} voxels"
            f" of {size:g} A (allowed: {size:g} to {box * size:g} A); change it in the"
            " config."
        )


def slab(
    volume: NDArray[np.floating], height: float, thickness: float
) -> NDArray[np.float32]:
    """Return the mean of a volume along z between two planes.

    Parameters
    ----------
    volume : ndarray, shape (n_z, n_y, n_x)
    height : float
        Of the middle of the slab, from ``n_z // 2`` [voxel].
    thickness : float
        At least 1 [voxel]; a voxel counts by as much of it as is in the slab.

    Returns
    -------
    ndarray, shape (n_y, n_x)
    """
    z = np.arange(len(volume)) - len(volume) // 2 - height
    share = np.clip((thickness + 1) / 2 - np.abs(z), 0, 1)
    return np.tensordot(share / share.sum(), volume, 1).astype(np.float32)


def slabs(table: Subtomograms, thickness: float) -> NDArray[np.float32]:
    """Return the slabs of subtomograms about their centres, shape (n, box, box).

    They are cut as the particles lie in the tomogram, along its beam, so that the
    missing wedge does not tell them apart. Of tilt images a volume is made before.

    Parameters
    ----------
    table : Subtomograms
    thickness : float
        [A]

    Raises
    ------
    InputError
        If it is less than a voxel, or more than the box.
    """
    check_thickness(table, thickness)
    size, box = table.pixel_size or 1.0, table.box
    images = np.empty((len(table), box, box), np.float32)
    for i, (_, _, z) in enumerate(table.shifts):
        found = table.read(i)
        if isinstance(found, Slices):
            found, _ = found.aligned(np.eye(3), np.zeros(3))
        images[i] = slab(found, z, thickness / size)
    return images


def write_slabs(folder: Path, table: Subtomograms, images: NDArray[np.float32]) -> None:
    """Write ``slabs.mrcs``, ``slabs.star`` and the subtomograms behind them.

    Rows are in the same order; the list of subtomograms has the columns of the input.
    """
    size = f"{table.pixel_size:.6f}"
    stack = folder / "slabs.mrcs"
    write_stack(stack, images, table.pixel_size)
    optics = {
        "rlnOpticsGroup": ["1"],
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnImagePixelSize": [size],
        "rlnImageSize": [str(table.box)],
        "rlnImageDimensionality": ["2"],
    }
    rows = {
        "rlnImageName": [image_name(portable(stack), i) for i in range(len(table))],
        "rlnMicrographName": [particle.origin for particle in table.particles],
        "rlnOpticsGroup": ["1"] * len(table),
    }
    blocks = {"optics": pd.DataFrame(optics), "particles": pd.DataFrame(rows)}
    write_star(folder / "slabs.star", blocks)
    table.write(folder / "subtomograms")
