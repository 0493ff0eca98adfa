"""Masks and the statistics under them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def disc(box: int, radius: float) -> NDArray[np.bool_]:
    """Return a disc (box, box) about the centre ``box // 2``, its edge included."""
    axis = np.arange(box) - box // 2
    inside: NDArray[np.bool_] = axis[:, None] ** 2 + axis[None, :] ** 2 <= radius**2
    return inside


def subtract_background(images: ArrayLike, radius: float) -> NDArray[np.float32]:
    """Return images less the slope and saddle that fit them best outside the disc.

    A slope of the ice or of the illumination is no view of a particle, but would be
    found as one: it lies alike in all images once they are turned. So does a saddle,
    which is what a curved background has of a direction. A bowl has none, and stays:
    what lies around the disc does not tell how deep it is in the middle, and the halo
    of a particle is one.

    Parameters
    ----------
    images : array_like, shape (n, box, box)
    radius : float
        [pixel]

    Returns
    -------
    ndarray of float32, shape (n, box, box)
        With mean 0 outside the disc.
    """
    images = np.asarray(images, np.float32)
    box = images.shape[-1]
    outside = ~disc(box, radius)
    if not outside.any():
        return images
    axis = (np.arange(box) - box // 2) / box
    y, x = np.meshgrid(axis, axis, indexing="ij")
    surface = np.stack([np.ones_like(x), x, y, x**2 - y**2, x * y])
    fit = np.linalg.pinv(surface[:, outside].T)
    terms = images[:, outside].astype(np.float64) @ fit.T
    background = np.tensordot(terms, surface, axes=1)
    level: NDArray[np.float32] = images - background.astype(np.float32)
    return level


def normalise(images: ArrayLike, radius: float) -> NDArray[np.float32]:
    """Return images without background, of standard deviation 1 inside the disc.

    Parameters
    ----------
    images : array_like, shape (n, box, box)
    radius : float
        [pixel]

    Returns
    -------
    ndarray of float32, shape (n, box, box)
        A constant image gives zeros.
    """
    images = subtract_background(images, radius)
    inside = images[:, disc(images.shape[-1], radius)]
    sigma = inside.std(axis=1, ddof=1, dtype=np.float64)
    scale = 1.0 / np.where(sigma > 0, sigma, 1.0)
    return images * scale.astype(np.float32)[:, None, None]
