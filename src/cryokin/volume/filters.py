"""Band-pass filters with radii in Fourier pixels (cycles per box)."""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray


def frequencies(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the integer frequencies (x, y, z) of the rfftn grid of a box.

    Parameters
    ----------
    shape : tuple of int
        (n_z, n_y, n_x); the last axis is the halved one.

    Returns
    -------
    ndarray, shape (n_z, n_y, n_x // 2 + 1, 3)
        [cycle per box]; an even axis has -n/2, the halved one +n/2.
    """
    axes = [scipy.fft.fftfreq(n, 1 / n) for n in shape[:-1]]
    axes.append(scipy.fft.rfftfreq(shape[-1], 1 / shape[-1]))
    return np.stack(np.meshgrid(*axes, indexing="ij")[::-1], axis=-1)


def bandpass_weight(
    radius: NDArray[np.float64], low: float, high: float, smooth: float = 0.0
) -> NDArray[np.float64]:
    """Return 1 for low <= radius < high, with Gaussian skirts outside.

    Parameters
    ----------
    radius : ndarray
        |k| [Fourier pixel].
    low, high : float
        Ends of the band; the upper one is not in it [Fourier pixel].
    smooth : float, optional
        Standard deviation of the skirts, which end after three of them.

    Returns
    -------
    ndarray
        Weights, shaped as ``radius``.
    """
    weight = ((radius >= low) & (radius < high)).astype(np.float64)
    if smooth > 0:
        distance = np.maximum(low - radius, radius - high) / smooth
        skirt = (weight == 0) & (distance <= 3)
        weight[skirt] = np.exp(-(distance[skirt] ** 2) / 2)
    return weight


def filtered(
    volume: NDArray[np.floating], weight: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Multiply the rfftn of a volume by a weight."""
    spectrum = scipy.fft.rfftn(np.asarray(volume, np.float64))
    real: NDArray[np.float64] = scipy.fft.irfftn(spectrum * weight, volume.shape)
    return real


def bandpass(
    volume: NDArray[np.floating], low: float, high: float, smooth: float = 0.0
) -> NDArray[np.float64]:
    """Band-pass a volume, see `bandpass_weight`."""
    radius = np.linalg.norm(frequencies(volume.shape), axis=-1)
    return filtered(volume, bandpass_weight(radius, low, high, smooth))


def lowpass(
    volume: NDArray[np.floating], high: float, smooth: float = 0.0
) -> NDArray[np.float64]:
    """Low-pass a volume: |k| < high, the mean kept."""
    return bandpass(volume, 0.0, high, smooth)
