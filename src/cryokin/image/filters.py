"""Radial filters."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def tangent_lowpass(
    frequency: ArrayLike, cutoff: float, fall_off: float
) -> NDArray[np.float64]:
    """Return SPARX's hyperbolic-tangent low-pass filter (``filt_tanl``).

    Parameters
    ----------
    frequency : array_like
        Spatial frequency [cycles/pixel].
    cutoff : float
        Frequency at which the filter is about one half [cycles/pixel].
    fall_off : float
        Width of the fall relative to ``cutoff``; at 0 the filter is a step.

    Returns
    -------
    ndarray
        Gain in [0, 1], of the shape of ``frequency``.
    """
    f = np.asarray(frequency, float)
    if fall_off <= 0:
        return (f <= cutoff).astype(float)
    scale = np.pi / (2 * fall_off * cutoff)
    gain: NDArray[np.float64] = 0.5 * (
        np.tanh(scale * (f + cutoff)) - np.tanh(scale * (f - cutoff))
    )
    return gain


def band_end(cutoff: float, fall_off: float) -> float:
    """Frequency beyond which `tangent_lowpass` passes less than 4 % [cycles/pixel]."""
    return float(min(cutoff * (1 + max(fall_off, 0.0)), 0.5))


def filter_image(
    image: ArrayLike, cutoff: float, fall_off: float
) -> NDArray[np.float32]:
    """Return the images (..., ny, nx) after `tangent_lowpass`."""
    image = np.asarray(image, np.float32)
    ny, nx = image.shape[-2:]
    f = np.hypot(np.fft.fftfreq(ny)[:, None], np.fft.rfftfreq(nx)[None, :])
    spectrum = np.fft.rfft2(image) * tangent_lowpass(f, cutoff, fall_off)
    return np.fft.irfft2(spectrum, (ny, nx)).astype(np.float32)
