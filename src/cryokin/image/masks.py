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
    """Return images (n, box, box) less their mean outside the disc of ``radius``."""
    images = np.asarray(images, np.float32)
    outside = ~disc(images.shape[-1], radius)
    if not outside.any():
        return images
    mean = images[:, outside].mean(axis=1, dtype=np.float64)
    level: NDArray[np.float32] = images - mean.astype(np.float32)[:, None, None]
    return level


def normalise(images: ArrayLike, radius: float) -> NDArray[np.float32]:
    """Return images with mean 0 outside the disc and standard deviation 1 inside.

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
