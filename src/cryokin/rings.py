"""Rings of a plane and shells of space; how far two images or volumes agree in each.

One convention for both: ring (or shell) i holds what rounds to the distance i from the
origin. Of a Fourier transform it is at the frequency i / box [1/pixel].
"""

from __future__ import annotations

import math
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike, NDArray


def rings(*axes: NDArray[np.floating] | NDArray[np.integer]) -> NDArray[np.intp]:
    """Return the ring of every point of a grid from the coordinates along its axes."""
    distance = reduce(np.hypot, np.ix_(*axes))
    rounded: NDArray[np.intp] = np.rint(distance).astype(np.intp)
    return rounded


def ring_mean(
    values: NDArray[np.floating], ring: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return, at every point of a grid, the mean of the values on its ring."""
    total = np.bincount(ring.ravel(), values.ravel())
    mean: NDArray[np.float64] = (total / np.bincount(ring.ravel()))[ring]
    return mean


def correlation(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Return the Fourier ring correlation of images, or shell correlation of volumes.

    Parameters
    ----------
    a, b : array_like, shape (box, box) or (box, box, box)

    Returns
    -------
    ndarray, shape (box // 2,)
        One value a ring, from the mean on; 0 where a ring is empty in one of the two.
    """
    first, second = (np.fft.fftn(np.asarray(image, float)) for image in (a, b))
    n = first.shape[-1] // 2
    ring = rings(*(np.fft.fftfreq(size) * size for size in first.shape)).ravel()
    cross, power_a, power_b = (
        np.bincount(ring, values.ravel())[:n]
        for values in (
            (first * second.conj()).real,
            np.abs(first) ** 2,
            np.abs(second) ** 2,
        )
    )
    scale = np.sqrt(power_a * power_b)
    curve: NDArray[np.float64] = np.divide(
        cross, scale, out=np.zeros_like(cross), where=scale > 0
    )
    return curve


def full_set(correlation: ArrayLike) -> NDArray[np.float64]:
    """Return the correlation of the full average from that of its halves, 2F/(1+F)."""
    halves = np.maximum(np.asarray(correlation, float), 0.0)
    full: NDArray[np.float64] = 2 * halves / (1 + halves)
    return full


def crossing(frequency: ArrayLike, correlation: ArrayLike, level: float) -> float:
    """Return the frequency at which a correlation first falls below ``level``.

    Parameters
    ----------
    frequency : array_like, shape (m,)
        Ascending, any unit.
    correlation : array_like, shape (m,)
    level : float
        E.g. 0.143 or 0.5.

    Returns
    -------
    float
        Interpolated between the two neighbours; NaN if the curve never falls below
        the level, or lies below it from the start.
    """
    f, c = np.asarray(frequency, float), np.asarray(correlation, float)
    below = np.flatnonzero(c < level)
    if below.size == 0 or below[0] == 0:
        return math.nan
    i = int(below[0])
    part = (c[i - 1] - level) / (c[i - 1] - c[i])
    return float(f[i - 1] + part * (f[i] - f[i - 1]))


def resolution(
    frequency: ArrayLike, correlation: ArrayLike, pixel_size: float, level: float
) -> float:
    """Return the resolution at which a correlation first falls below ``level``.

    Parameters
    ----------
    frequency : array_like, shape (m,)
        Ascending from 0 [1/pixel].
    correlation : array_like, shape (m,)
    pixel_size : float
        Its unit is that of the result.
    level : float
        See `crossing`.

    Returns
    -------
    float
        Two pixels where the curve stays above the level; NaN where there is no curve,
        or it lies below from the start.
    """
    values = np.asarray(correlation, float)
    if len(values) and (values >= level).all():
        return 2 * pixel_size
    return pixel_size / crossing(frequency, values, level)
