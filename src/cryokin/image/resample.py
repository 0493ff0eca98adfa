"""Resampling that keeps the centre of the image.

An image is taken as the periodic, band-limited function its Fourier coefficients
describe, low-passed at the new Nyquist frequency and evaluated at the new positions:
for a whole ratio this is Fourier cropping, and it holds for every other ratio too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def new_size(size: int, ratio: float) -> int:
    """Return how many pixels ``size`` pixels become, ``int(size ratio + 0.5)``."""
    return int(size * ratio + 0.5)


def _evaluation(
    size: int, ratio: float, box: int, half: bool
) -> tuple[NDArray[np.intp], NDArray[np.complex64]]:
    """Return the frequencies kept (indices) and what evaluates them (box, kept)."""
    index = np.arange(size // 2 + 1) if half else np.arange(size)
    signed = np.where(index > size // 2, index - size, index)
    keep = np.abs(signed) <= 0.5 * size * min(ratio, 1.0) + 1e-9
    # The phase of the old Nyquist frequency is unknown between the old pixels.
    keep &= (np.abs(signed) * 2 != size) | (ratio == 1.0)
    old = (np.arange(box) - box // 2) / ratio + size // 2
    matrix = np.exp(2j * np.pi * np.outer(old, signed[keep]) / size)
    if half:
        matrix *= np.where((signed[keep] == 0) | (signed[keep] * 2 == size), 1, 2)
    return index[keep], (matrix / size).astype(np.complex64)


def resample(
    images: ArrayLike, ratio: float, box: int, shifts: ArrayLike | None = None
) -> NDArray[np.float32]:
    """Shift square images and resample them about their centre.

    Parameters
    ----------
    images : array_like, shape (n, size, size)
    ratio : float
        New size over old size; below 1 shrinks.
    box : int
        Box of the result [new pixel]; positions outside the image repeat it.
    shifts : array_like, shape (n, 2), optional
        How far ``(x, y)`` the contents move first [old pixel].

    Returns
    -------
    ndarray of float32, shape (n, box, box)
    """
    images = np.asarray(images, np.float32)
    size = images.shape[-1]
    rows, to_y = _evaluation(size, ratio, box, half=False)
    columns, to_x = _evaluation(size, ratio, box, half=True)
    spectra = np.fft.rfft2(images)[:, rows][:, :, columns].astype(np.complex64)
    if shifts is not None:
        shifts = np.asarray(shifts, float)
        signed = np.where(rows > size // 2, rows - size, rows)
        along_y, along_x = (
            np.exp(-2j * np.pi * shifts[:, axis, None] * index / size)
            for axis, index in ((1, signed), (0, columns))
        )
        spectra *= along_y[:, :, None] * along_x[:, None, :]
    out: NDArray[np.float32] = (to_y @ spectra @ to_x.T).real.astype(np.float32)
    return out


def window_or_pad(images: NDArray[np.float32], box: int) -> NDArray[np.float32]:
    """Cut images (n, size, size) about their centre to ``box``, or pad with zeros."""
    size = images.shape[-1]
    offset = size // 2 - box // 2
    if offset >= 0 and size >= box:
        return images[:, offset : offset + box, offset : offset + box]
    padded = np.zeros((len(images), box, box), np.float32)
    padded[:, -offset : size - offset, -offset : size - offset] = images
    return padded
