"""Contrast transfer function and phase flipping."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray


def wavelength(voltage: ArrayLike) -> NDArray[np.float64]:
    """Return the electron wavelength [A] at ``voltage`` [kV], relativistic."""
    v = np.asarray(voltage, float)
    lam: NDArray[np.float64] = 12.398 / np.sqrt(v * (1022.0 + v))
    return lam


def ctf(
    fx: ArrayLike,
    fy: ArrayLike,
    defocus_u: float,
    defocus_v: float,
    defocus_angle: float,
    voltage: float,
    cs: float,
    amplitude_contrast: float,
    phase_shift: float = 0.0,
) -> NDArray[np.float64]:
    """Return the contrast transfer function, positive near the origin (underfocus).

    As RELION and CTFFIND define it (Rohou and Grigorieff, J. Struct. Biol. 192, 2015):
    ``sin(pi lambda z f^2 - pi/2 Cs lambda^3 f^4 + asin(w) + phase shift)`` with
    ``z = (u + v)/2 + (u - v)/2 cos 2(azimuth - angle)``.

    Parameters
    ----------
    fx, fy : array_like
        Spatial frequency [1/A].
    defocus_u, defocus_v : float
        Largest and smallest underfocus [A].
    defocus_angle : float
        Azimuth of ``defocus_u`` from the x axis [degree].
    voltage : float
        [kV]
    cs : float
        Spherical aberration [mm].
    amplitude_contrast : float
        Fraction, 0 to 1.
    phase_shift : float, default=0
        Of a phase plate [degree].
    """
    fx, fy = np.asarray(fx, float), np.asarray(fy, float)
    square = fx**2 + fy**2
    azimuth = np.arctan2(fy, fx) - np.radians(defocus_angle)
    mean, half = 0.5 * (defocus_u + defocus_v), 0.5 * (defocus_u - defocus_v)
    lam = float(wavelength(voltage))
    phase = np.pi * lam * (mean + half * np.cos(2 * azimuth)) * square
    phase -= 0.5 * np.pi * cs * 1e7 * lam**3 * square**2
    value: NDArray[np.float64] = np.sin(
        phase + np.arcsin(amplitude_contrast) + np.radians(phase_shift)
    )
    return value


def phase_flip(
    image: ArrayLike, pixel_size: float, **optics: float
) -> NDArray[np.float32]:
    """Return an image with the phases of negative CTF lobes flipped.

    Parameters
    ----------
    image : array_like, shape (box, box)
    pixel_size : float
        [A]
    **optics : float
        As for `ctf`.
    """
    return _with_gain(
        image, pixel_size, optics, lambda value: np.where(value < 0, -1.0, 1.0)
    )


def multiply_ctf(
    image: ArrayLike, pixel_size: float, **optics: float
) -> NDArray[np.float32]:
    """Return an image multiplied by its CTF once more, for a Wiener filter.

    Parameters
    ----------
    image : array_like, shape (box, box)
    pixel_size : float
        [A]
    **optics : float
        As for `ctf`.
    """
    return _with_gain(image, pixel_size, optics, lambda value: value)


def _with_gain(
    image: ArrayLike,
    pixel_size: float,
    optics: Mapping[str, float],
    gain: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float32]:
    """Return an image filtered by a function of its CTF.

    The image is placed in a box of twice its size, filled with the mean of its border,
    so that what the filter spreads does not wrap around.
    """
    image = np.asarray(image, np.float32)
    box = image.shape[0]
    border = np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])
    padded = np.full((2 * box, 2 * box), border.mean(dtype=np.float64), np.float32)
    start = box - box // 2
    padded[start : start + box, start : start + box] = image
    fy = np.fft.fftfreq(2 * box, pixel_size)[:, None]
    fx = np.fft.rfftfreq(2 * box, pixel_size)[None, :]
    spectrum = np.fft.rfft2(padded) * gain(ctf(fx, fy, **optics))
    filtered = np.fft.irfft2(spectrum, padded.shape)
    return filtered[start : start + box, start : start + box].astype(np.float32)
