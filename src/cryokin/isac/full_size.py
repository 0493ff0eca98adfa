"""Class averages of the original images, at their pixel size, corrected for the CTF.

The images are modelled as the object times the CTF, plus noise. Of aligned images
``F_i`` with transfer functions ``C_i``, turned as the images are, the estimate of least
squared error is (Wiener filter; e.g. Scheres 2012, J. Struct. Biol. 180:519-530)::

    sum C_i F_i / (sum C_i^2 + 1 / r)        r = SSNR / mean(sum C_i^2)

where r is the signal-to-noise ratio of the object in one image on a ring, and that of
the average, SSNR, follows from the ring correlation F of the averages of every other
member, ``SSNR = 2 F / (1 - F)``. Without a CTF all ``C_i`` are 1.

A CTF passes little at low frequencies, and the few points of the innermost rings tell
little of F. An object has no less power there than further out, so r is taken to be at
least what it is where F is highest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryokin.image.ctf import ctf, cut, enlarged, multiply_ctf
from cryokin.image.geometry import Alignment, flip, rotate, take, transform_image
from cryokin.image.masks import normalise
from cryokin.isac.classes import half_correlation
from cryokin.rings import crossing, ring_mean, rings

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
        Where it falls below 0.143 and 0.5, seen from where it is highest [A]; twice the
        pixel size if it never does, the box's side if it is nowhere higher.
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
    size = box if optics is None else 2 * box  # a CTF spreads images beyond their box
    images = normalise(images, radius)
    sums = np.zeros((2, size, size))
    weights = np.zeros((2, size, size // 2 + 1))
    for i, image in enumerate(images):
        one = take(alignment, i)
        if optics is not None:
            image = multiply_ctf(enlarged(image), pixel_size, **optics[i])
            weights[i % 2] += turned_ctf(size, pixel_size, one, optics[i]) ** 2
        else:
            weights[i % 2] += 1.0
        sums[i % 2] += transform_image(image, one)
    spectra = np.fft.rfft2(np.fft.ifftshift(sums, axes=(1, 2)))
    halves = [
        cut(_image(spectrum / (weight + HALF_FLOOR * _ring_mean(weight))), box)
        for spectrum, weight in zip(spectra, weights, strict=True)
        if weight.any()
    ]
    frc = np.zeros(box // 2)
    if len(halves) == 2:
        frc = half_correlation(halves[0], halves[1], radius)
    weight = weights.sum(axis=0)
    gain = 1 / (weight + noise_to_signal(frc, _ring_mean(weight)))
    average = cut(_image(spectra.sum(axis=0) * gain), box)
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


def noise_to_signal(
    frc: ArrayLike, weight: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return noise over signal of the object in one image, on the grid of ``rfft2``.

    Parameters
    ----------
    frc : array_like, shape (box // 2,)
        Ring correlation of the halves; it is smoothed over three rings.
    weight : ndarray, shape (size, size // 2 + 1)
        Sum of the squared CTFs, its mean on each ring; ``size`` is a multiple of the
        box.

    Returns
    -------
    ndarray, shape (size, size // 2 + 1)
        Infinity from where the curve, beyond its maximum, first is not positive, and in
        the corners: nothing is trusted there.
    """
    curve = np.clip(np.asarray(frc, float), None, LARGEST_FRC)
    padded = np.concatenate([curve[:1], curve, curve[-1:]])
    smooth = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
    peak = _peak(smooth)
    lost = np.flatnonzero(smooth[peak:] <= 0)
    if len(lost):
        smooth[peak + lost[0] :] = 0
    smooth = np.maximum(smooth, 0)
    size, n = len(weight), len(smooth)
    finer = size // (2 * n)  # rings of the weight per ring of the curve
    per_ring = weight[0, : finer * n : finer]
    ratio = 2 * smooth / (1 - smooth) / np.where(per_ring > 0, per_ring, 1)
    ratio[:peak] = np.maximum(ratio[:peak], ratio[peak])
    ring = _rings(size)
    fine = np.interp(np.arange(ring.max() + 1) / finer, np.arange(n), ratio, right=0)
    inverse = np.full(len(fine), np.inf)
    np.divide(1, fine, out=inverse, where=fine > 0)
    grid: NDArray[np.float64] = inverse[ring]
    return grid


def _peak(curve: NDArray[np.floating]) -> int:
    """Return the ring where a curve is highest, besides the first."""
    return 1 + int(np.argmax(curve[1:]))


def _rings(box: int) -> NDArray[np.intp]:
    """Return the ring of every point of the grid of ``rfft2``."""
    return rings(np.fft.fftfreq(box) * box, np.fft.rfftfreq(box) * box)


def _ring_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over its ring at every point of the grid of ``rfft2``."""
    return ring_mean(values, _rings(values.shape[0]))


def _image(spectrum: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Return the image of a spectrum whose origin is the centre of the box."""
    size = len(spectrum)
    image: NDArray[np.float64] = np.fft.fftshift(np.fft.irfft2(spectrum, (size, size)))
    return image


def _resolution(
    frequency: NDArray[np.float64],
    frc: NDArray[np.float64],
    level: float,
    pixel_size: float,
) -> float:
    """Return where a curve falls below a level [A]."""
    peak = _peak(frc)
    at = crossing(frequency[peak:], frc[peak:], level)
    if at > 0:
        return 1 / at
    if frc[peak] < level:
        return 2 * len(frc) * pixel_size
    return 2 * pixel_size
