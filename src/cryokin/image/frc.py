"""Fourier ring correlation."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


def ring_correlation(
    a: ArrayLike, b: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the Fourier ring correlation of two images.

    Parameters
    ----------
    a, b : array_like, shape (box, box)

    Returns
    -------
    frequency, correlation : ndarray, shape (box // 2,)
        Frequencies of the rings from 0 [cycles/pixel], and the correlations; 0 where
        a ring is empty in one of the images.
    """
    first, second = np.fft.fft2(np.asarray(a, float)), np.fft.fft2(np.asarray(b, float))
    box = first.shape[0]
    f = np.fft.fftfreq(box) * box
    ring = np.rint(np.hypot(f[:, None], f[None, :])).astype(int).ravel()
    cross, power_a, power_b = (
        np.bincount(ring, values.ravel())[: box // 2]
        for values in (
            (first * second.conj()).real,
            np.abs(first) ** 2,
            np.abs(second) ** 2,
        )
    )
    scale = np.sqrt(power_a * power_b)
    correlation = np.divide(cross, scale, out=np.zeros_like(cross), where=scale > 0)
    return np.arange(box // 2) / box, correlation


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
