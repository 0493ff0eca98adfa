"""Masks around the centre n // 2."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def distance(
    shape: tuple[int, ...], centre: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Return the distance of every voxel from the centre [voxel].

    Parameters
    ----------
    shape : tuple of int
        Of the box.
    centre : array_like, optional
        Place along each axis relative to n // 2, in the order of ``shape`` [voxel].
    """
    places = np.zeros(len(shape)) if centre is None else np.asarray(centre, np.float64)
    axes = [np.arange(n) - n // 2 - c for n, c in zip(shape, places, strict=True)]
    mesh = np.meshgrid(*axes, indexing="ij", sparse=True)
    result: NDArray[np.float64] = np.sqrt(sum(axis**2 for axis in mesh))
    return result


def sphere(
    shape: tuple[int, ...],
    radius: float,
    edge: float = 3.0,
    centre: ArrayLike | None = None,
) -> NDArray[np.float32]:
    """Return a sphere with a raised-cosine edge.

    Parameters
    ----------
    shape : tuple of int
        Of the box.
    radius : float
        Up to here the mask is 1 [voxel].
    edge : float
        Width over which it falls to 0 [voxel]; 0: a hard edge.
    centre : array_like, optional
        See `distance`.

    Returns
    -------
    ndarray of float32
        Weights from 0 to 1.
    """
    beyond = distance(shape, centre) - radius
    if edge <= 0:
        return (beyond <= 0).astype(np.float32)
    ramp = np.clip(beyond / edge, 0, 1)
    return (0.5 + 0.5 * np.cos(np.pi * ramp)).astype(np.float32)
