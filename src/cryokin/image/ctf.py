"""Contrast transfer function and phase flipping."""

from __future__ import annotations

from collections.abc import Mapping

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

    It is done in a larger box, so that what the flip spreads does not wrap around.

    Parameters
    ----------
    image : array_like, shape (box, box)
    pixel_size : float
        [A]
    **optics : float
        As for `ctf`.
    """
    image = np.asarray(image, np.float32)
    large = enlarged(image)
    spectrum = np.fft.rfft2(large)
    spectrum[_of_image(large, pixel_size, optics) < 0] *= -1
    return cut(np.fft.irfft2(spectrum, large.shape), len(image)).astype(np.float32)


def multiply_ctf(
    image: ArrayLike, pixel_size: float, **optics: float
) -> NDArray[np.float32]:
    """Return an image multiplied by its CTF once more, as a Wiener filter needs it.

    Parameters
    ----------
    image : array_like, shape (box, box)
        Its surroundings should be empty (`enlarged`): the CTF spreads what is in it.
    pixel_size : float
        [A]
    **optics : float
        As for `ctf`.
    """
    image = np.asarray(image, np.float32)
    spectrum = np.fft.rfft2(image) * _of_image(image, pixel_size, optics)
    return np.fft.irfft2(spectrum, image.shape).astype(np.float32)


def enlarged(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an image in a box of twice its size, filled with its border's mean."""
    box = image.shape[0]
    border = np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])
    large = np.full((2 * box, 2 * box), border.mean(dtype=np.float64), np.float32)
    start = box - box // 2
    large[start : start + box, start : start + box] = image
    return large


def cut(image: NDArray[np.floating], box: int) -> NDArray[np.floating]:
    """Return the middle of an image, of ``box`` pixels; `enlarged` undone."""
    start = image.shape[0] // 2 - box // 2
    return image[start : start + box, start : start + box]


def _of_image(
    image: NDArray[np.floating], pixel_size: float, optics: Mapping[str, float]
) -> NDArray[np.float64]:
    """Return the CTF on the grid of ``rfft2`` of an image."""
    box = image.shape[0]
    fy = np.fft.fftfreq(box, pixel_size)[:, None]
    fx = np.fft.rfftfreq(box, pixel_size)[None, :]
    return ctf(fx, fy, **optics)
