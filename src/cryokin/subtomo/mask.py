"""The masks of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.io.volumes import read_volume
from cryokin.options import SubtomogramOptions
from cryokin.volume import masks
from cryokin.volume.resample import binned_size, fourier_crop

ROUNDING = 1e-3  # of a mask below 0, over its largest value, that filters leave


def make_mask(
    mask: str | Mapping[str, Any], box: int, binning: int, key: str = "mask"
) -> NDArray[Any]:
    """Return the mask of a run, binned as the particles are.

    Parameters
    ----------
    mask : str or mapping
        A file, or ``{"sphere": {"radius": ..., "edge": ...}}``, with the place of its
        centre relative to that of the box as ``"centre": [x, y, z]`` where it has one
        [voxel of the unbinned box].
    box : int
        Voxels of an edge, unbinned.
    binning : int
        Factor.
    key : str, optional
        Of the configuration, for messages.

    Raises
    ------
    InputError
        If the mask does not fit the box, or is 0 everywhere.
    """
    size = binned_size(box, binning)
    if not isinstance(mask, str):
        radius, edge = mask["sphere"]["radius"], mask["sphere"]["edge"]
        centre = np.array(mask["sphere"].get("centre", (0, 0, 0)), np.float64)
        room = box / 2 - float(np.abs(centre).max())
        if not radius < room:
            raise InputError(
                f"{key}: a sphere of radius {radius:g} does not fit the box of {box}"
                f" voxels (allowed: below {room:g}); lower the radius in the config."
            )
        lengths = (radius / binning, edge / binning)
        return masks.sphere((size,) * 3, *lengths, centre[::-1] / binning)
    weight = read_volume(mask)
    if weight.shape != (box,) * 3:
        raise InputError(
            f"{mask}: the mask has {' x '.join(map(str, weight.shape[::-1]))} voxels,"
            f" but the subtomograms {box} x {box} x {box}; give a mask of their box."
        )
    if weight.min() < -ROUNDING * weight.max() or weight.max() <= 0:
        raise InputError(
            f"{mask}: the mask has values from {weight.min():g} to {weight.max():g},"
            " expected 0 outside and up to 1 inside; make another mask, as float32 if"
            " a program wrote bytes."
        )
    weight = np.maximum(weight, 0) / weight.max()
    return np.clip(fourier_crop(weight, size), 0, 1) if size != box else weight


def narrowest_mask(options: SubtomogramOptions, box: int) -> NDArray[Any]:
    """Return the mask under which classes are compared, see `make_mask`."""
    key, given = "focus_mask", options.focus_mask
    if given is None:
        key, given = "mask", options.mask
    return make_mask(given, box, options.binning, key)
