"""Class averages of the original images, at their pixel size, corrected for the CTF.

The images are modelled as the object times the CTF, plus noise. Of aligned images
``F_i`` with transfer functions ``C_i``, turned as the images are, the estimate of least
squared error is (Wiener filter; e.g. Scheres 2012, J. Struct. Biol. 180:519-530)::

    sum C_i F_i / (sum C_i^2 + mean(sum C_i^2) / SSNR)

where the signal-to-noise ratio SSNR of the average on a ring follows from the ring
correlation F of the averages of every other member, ``SSNR = 2 F / (1 - F)``. Without a
CTF all ``C_i`` are 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryokin.image.ctf import ctf, multiply_ctf
from cryokin.image.frc import crossing
from cryokin.image.geometry import Alignment, flip, rotate, take, transform_image
from cryokin.image.masks import normalise
from cryokin.isac.classes import half_correlation

LARGEST_FRC = 0.999  # of a ring; where halves agree fully the filter still is finite
HALF_FLOOR = 0.1  # what is added to sum C^2 of a half, in units of its mean on the ring


class FullAverage(NamedTuple):
    """A class average at the pixel size of the input.

    Attributes
    ----------
    image : ndarray of float32, shape (box, box)
        In units of the standard deviation of the images inside the particle.
    frc : ndarray, shape (box // 2,)
        Ring correlation of the averages of every other member, under the mask.
    resolution, resolution_half : float
        Where it falls below 0.143 and 0.5 [A]; twice the pixel size if it never does,
        the box's side if it is below from the start.
    """

    image: NDArray[np.float32]
    frc: NDArray[np.float64]
    resolution: float
    resolution_half: float


def full_average(
    images: NDArray[np.float32],
    alignment: Alignment,
    radius: float,
    pixel_size: float,
    optics: Sequence[Mapping[str, float]] | None = None,
) -> FullAverage:
    """Average the members of a class.

    Parameters
    ----------
    images : ndarray, shape (k, box, box)
        As they came, with their CTF.
    alignment : Alignment
        Shape (k,) [pixel of these images].
    radius : float
        Radius of the particle [pixel].
    pixel_size : float
        [A]
    optics : sequence of mapping, optional
        CTF parameters of each image, as for `cryokin.image.ctf.ctf`.
    """
    box = images.shape[-1]
    images = normalise(images, radius)
    sums = np.zeros((2, box, box))
    weights = np.zeros((2, box, box // 2 + 1))
    for i, image in enumerate(images):
        one = take(alignment, i)
        if optics is not None:
            image = multiply_ctf(image, pixel_size, **optics[i])
            weights[i % 2] += turned_ctf(box, pixel_size, one, optics[i]) ** 2
        else:
            weights[i % 2] += 1.0
        sums[i % 2] += transform_image(image, one)
    spectra = np.fft.rfft2(np.fft.ifftshift(sums, axes=(1, 2)))
    halves = [
        _image(spectrum / (weight + HALF_FLOOR * _ring_mean(weight)), box)
        for spectrum, weight in zip(spectra, weights, strict=True)
        if weight.any()
    ]
    frc = np.zeros(box // 2)
    if len(halves) == 2:
        frc = half_correlation(halves[0], halves[1], radius)
    weight = weights.sum(axis=0)
    gain = 1 / (weight + _ring_mean(weight) * noise_to_signal(frc, box))
    average = _image(spectra.sum(axis=0) * gain, box)
    frequency = np.arange(len(frc)) / (box * pixel_size)
    at = [_resolution(frequency, frc, level, pixel_size) for level in (0.143, 0.5)]
    return FullAverage(average.astype(np.float32), frc, *at)


def turned_ctf(
    box: int, pixel_size: float, alignment: Alignment, optics: Mapping[str, float]
) -> NDArray[np.float64]:
    """Return the CTF of an image after its alignment, on the grid of ``rfft2``."""
    fy = np.fft.fftfreq(box, pixel_size)[:, None]
    fx = np.fft.rfftfreq(box, pixel_size)[None, :]
    points = np.stack(np.broadcast_arrays(fx, fy), axis=-1)
    # The image's frequency that the alignment moves to this one.
    before = rotate(-alignment.angle, flip(alignment.mirror, points))
    return ctf(before[..., 0], before[..., 1], **optics)


def noise_to_signal(frc: ArrayLike, box: int) -> NDArray[np.float64]:
    """Return 1 / SSNR of the whole average on the grid of ``rfft2``, (box, box//2 + 1).

    The curve is smoothed over three rings; from where it first is not positive, and
    in the corners, nothing is trusted (infinity).
    """
    curve = np.clip(np.asarray(frc, float), None, LARGEST_FRC)
    padded = np.concatenate([curve[:1], curve, curve[-1:]])
    smooth = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
    none = np.flatnonzero(smooth <= 0)
    if len(none):
        smooth[none[0] :] = 0
    ratio = np.full(len(smooth) + 1, np.inf)
    np.divide(1 - smooth, 2 * smooth, out=ratio[:-1], where=smooth > 0)
    grid: NDArray[np.float64] = ratio[np.minimum(_rings(box), len(smooth))]
    return grid


def _rings(box: int) -> NDArray[np.intp]:
    """Return the ring of every point of the grid of ``rfft2``."""
    fy, fx = np.fft.fftfreq(box)[:, None], np.fft.rfftfreq(box)[None, :]
    rings: NDArray[np.intp] = np.rint(np.hypot(fy, fx) * box).astype(np.intp)
    return rings


def _ring_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over its ring at every point of the grid of ``rfft2``."""
    rings = _rings(values.shape[0])
    total = np.bincount(rings.ravel(), values.ravel())
    mean: NDArray[np.float64] = (total / np.bincount(rings.ravel()))[rings]
    return mean


def _image(spectrum: NDArray[np.complex128], box: int) -> NDArray[np.float64]:
    """Return the image of a spectrum whose origin is the centre of the box."""
    image: NDArray[np.float64] = np.fft.fftshift(np.fft.irfft2(spectrum, (box, box)))
    return image


def _resolution(
    frequency: NDArray[np.float64],
    frc: NDArray[np.float64],
    level: float,
    pixel_size: float,
) -> float:
    """Return where a curve falls below a level [A]."""
    at = crossing(frequency, frc, level)
    if at > 0:
        return 1 / at
    return 2 * pixel_size if frc.min() >= level else 2 * len(frc) * pixel_size
