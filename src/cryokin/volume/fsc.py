"""Fourier shell correlation and the resolution read from it."""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from cryokin.volume.filters import frequencies


def fsc(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    mask: NDArray[np.floating] | None = None,
) -> NDArray[np.float64]:
    """Return the correlation of two volumes in the shells i <= |k| < i + 1.

    Parameters
    ----------
    first, second : ndarray, shape (n_z, n_y, n_x)
        E.g. the averages of two halves of a class.
    mask : ndarray, optional
        Multiplied to both before.

    Returns
    -------
    ndarray, shape (n // 2,)
        One value a shell, the first (the mean) set to 1; 0 where a shell is empty.
    """
    factor = 1.0 if mask is None else mask
    a, b = (scipy.fft.rfftn(np.float64(factor) * v) for v in (first, second))
    k = frequencies(first.shape)
    n = first.shape[-1]
    multiplicity = np.where((k[..., 0] == 0) | (2 * k[..., 0] == n), 1.0, 2.0)
    shell = np.linalg.norm(k, axis=-1).astype(np.intp).ravel()
    n_shells = min(first.shape) // 2

    def per_shell(values: NDArray[np.floating]) -> NDArray[np.float64]:
        weighted = (values * multiplicity).ravel()
        return np.bincount(shell, weighted, n_shells)[:n_shells].astype(np.float64)

    product = per_shell((a * b.conj()).real)
    power = per_shell(np.abs(a) ** 2) * per_shell(np.abs(b) ** 2)
    curve = np.divide(product, np.sqrt(power), np.zeros(n_shells), where=power > 0)
    curve[0] = 1.0
    return curve


def crossing(curve: NDArray[np.floating], threshold: float = 0.5) -> float:
    """Return where a curve falls below a threshold for the first time.

    Parameters
    ----------
    curve : ndarray, shape (n_shells,)
        See `fsc`.
    threshold : float
        Between 0 and 1.

    Returns
    -------
    float
        Shell, linear between two of them [Fourier pixel]; ``n_shells`` where the curve
        stays above.
    """
    below = np.flatnonzero(curve < threshold)
    if len(below) == 0:
        return float(len(curve))
    last = max(int(below[0]) - 1, 0)
    return last + float((curve[last] - threshold) / (curve[last] - curve[last + 1]))


def resolution(
    curve: NDArray[np.floating], pixel_size: float, threshold: float = 0.5
) -> float:
    """Return the resolution of an average [the unit of ``pixel_size``].

    As in PyTom, shell b stands for the frequency (b + 1) / (2 n_shells pixel_size).
    """
    shell = min(crossing(curve, threshold) + 1, float(len(curve)))
    return 2 * pixel_size * len(curve) / shell
