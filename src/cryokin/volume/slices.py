"""Particles as the tilt images that show them, put straight into the common frame.

In Fourier space the image of a tilt is a central slice of the particle, times the
contrast ``c`` of that image (CTF, dose, scale), plus white noise. What images tell of a
structure F is the sum of ``c I`` and the sum of ``c^2`` at every frequency: the
log-likelihood of F needs no more. The first over the root of the second is a particle
like any other here, ``w F`` and white noise, with ``w`` the root of the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from cryokin.volume.filters import frequencies
from cryokin.volume.resample import fourier_crop

# Slices are sampled so much finer than a box needs. On the grid of the box alone the
# periodic copies of an image beside it would leak into the box when it is turned.
FINER = 2
POINTS = 2**22  # put into the grid at once, which bounds the memory
UNSAMPLED = 1e-6  # weight over the largest below which a frequency was not sampled


def fine_frequencies(box: int, pixel_size: float = 1.0) -> NDArray[np.float64]:
    """Return the frequencies (x, y) at which slices of a box are sampled.

    Returns
    -------
    ndarray, shape (2 box, 2 box, 2)
        In the order of ``fft2`` [1 / unit of the pixel size].
    """
    k = scipy.fft.fftfreq(FINER * box, pixel_size)
    return np.stack(np.meshgrid(k, k), axis=-1)


def dose_weight(
    frequency: ArrayLike, dose: float, per_dose: float = 0.0
) -> NDArray[np.float64]:
    """Return what is left of the signal after an exposure, 1 where there was none.

    As RELION 5 does: ``exp(-N / (2 Ne))`` with the critical exposure at 300 kV
    ``Ne = 0.245 k^-1.665 + 2.81`` (Grant and Grigorieff, eLife 4, e06980, 2015), or
    ``exp(-B N k^2 / 4)`` where a B-factor per dose is given.

    Parameters
    ----------
    frequency : array_like
        k [1/A].
    dose : float
        N, before the image was taken [electron / A^2].
    per_dose : float, optional
        B [A^4 / electron]; 0: the critical exposure.
    """
    k = np.asarray(frequency, np.float64)
    if per_dose > 0:
        decay = per_dose * dose * k**2 / 4
    else:
        with np.errstate(divide="ignore"):
            decay = dose / (2 * (0.245 * k**-1.665 + 2.81))
    left: NDArray[np.float64] = np.exp(-decay)
    return left


@dataclass(frozen=True)
class Slices:
    """A particle as central slices.

    Attributes
    ----------
    signal : ndarray of complex, shape (n_tilts, 2 box, 2 box)
        ``c I`` about the centre of the images, at `fine_frequencies`.
    weight : ndarray, shape (n_tilts, 2 box, 2 box)
        ``c^2``.
    rotations : ndarray, shape (n_tilts, 3, 3)
        Take the particle's frame to that of an image, whose beam runs along z.
    box : int
        Pixels of an edge of the images.
    scale : float
        What the weight in the common frame is divided by.
    """

    signal: NDArray[np.complexfloating]
    weight: NDArray[np.floating]
    rotations: NDArray[np.float64]
    box: int
    scale: float = 1.0

    def binned(self, box: int) -> Slices:
        """Return the same slices up to half of a smaller box."""
        kept = np.fft.ifftshift(np.arange(FINER * box) - FINER * box // 2)
        rows = kept[:, None]
        return replace(
            self,
            signal=self.signal[:, rows, kept],
            weight=self.weight[:, rows, kept],
            box=box,
        )

    def placed(
        self, rotation: NDArray[np.float64], shift: ArrayLike
    ) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
        """Return the sums of ``c I`` and of ``c^2`` in the common frame.

        Each point of a slice is shared by the eight frequencies around it (trilinear).

        Parameters
        ----------
        rotation : ndarray, shape (3, 3)
            R of the particle: the reference's rotation to it.
        shift : array_like, shape (3,)
            (x, y, z) of its centre from that of the images [pixel].

        Returns
        -------
        signal, weight : ndarray, shape (box, box, box // 2 + 1)
            On the grid of ``rfftn``, about the centre; 0 from half the box on.
        """
        n = self.box
        shape = (n, n, n // 2 + 1)
        sums = np.zeros((3, n * n * (n // 2 + 1)))
        k = fine_frequencies(n) * n
        inside = np.linalg.norm(k, axis=-1) < n // 2
        on_slice = np.pad(k[inside], ((0, 0), (0, 1)))
        at_once = max(POINTS // len(on_slice), 1)
        for start in range(0, len(self.rotations), at_once):
            part = slice(start, start + at_once)
            points = on_slice @ (self.rotations[part] @ rotation)
            moved = (self.rotations[part] @ np.asarray(shift)) @ on_slice.T
            signal = self.signal[part][:, inside] * np.exp(2j * np.pi * moved / n)
            # One half of Fourier space, and what it shares with the other.
            near = points[..., 0] > -1
            values = (signal.real[near], signal.imag[near])
            _share(sums, points[near], (*values, self.weight[part][:, inside][near]), n)
        sums = sums.reshape(3, *shape) / FINER**2
        sums[:, np.linalg.norm(frequencies((n, n, n)), axis=-1) >= n // 2] = 0
        return sums[0] + 1j * sums[1], sums[2]

    def aligned(
        self, rotation: NDArray[np.float64], shift: ArrayLike
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return the particle in the common frame, and its weight.

        Parameters
        ----------
        rotation, shift
            See `placed`.

        Returns
        -------
        volume : ndarray, shape (box, box, box)
            Of ``w F`` and white noise; 0 outside the sphere that all images show.
        w : ndarray, shape (box, box, box // 2 + 1)
            At the frequencies of ``rfftn``.
        """
        signal, weight = self.placed(rotation, shift)
        seen = weight > UNSAMPLED * weight.max()
        w = np.sqrt(np.where(seen, weight, 0))
        x = np.divide(signal, w, np.zeros_like(signal), where=seen)
        n = self.box
        volume = scipy.fft.fftshift(scipy.fft.irfftn(x, (n, n, n)))
        return (volume * _ungridded(n)).astype(np.float32), w / self.scale


def slices(
    images: NDArray[np.floating],
    contrast: NDArray[np.floating],
    rotations: NDArray[np.float64],
    premultiplied: bool,
) -> Slices:
    """Return the central slices of tilt images.

    Parameters
    ----------
    images : ndarray, shape (n_tilts, box, box)
        With the particle at pixel box // 2.
    contrast : ndarray, shape (n_tilts, 2 box, 2 box)
        ``c`` at `fine_frequencies`.
    rotations : ndarray, shape (n_tilts, 3, 3)
        Take the particle's frame to that of an image.
    premultiplied : bool
        Whether the images are multiplied by ``c`` already.
    """
    n_tilts, n = images.shape[:2]
    m = FINER * n
    large = np.zeros((n_tilts, m, m), np.float32)
    start = m // 2 - n // 2
    # The mean says nothing, but its edge would.
    part = slice(start, start + n)
    large[:, part, part] = images - images.mean(axis=(1, 2), keepdims=True)
    signal = scipy.fft.fft2(scipy.fft.ifftshift(large, axes=(1, 2)))
    if not premultiplied:
        signal = signal * contrast
    weight = np.square(contrast, dtype=np.float64)
    return Slices(signal.astype(np.complex64), weight.astype(np.float32), rotations, n)


def power_agreement(
    images: NDArray[np.floating], contrast: NDArray[np.floating]
) -> float:
    """Return how well the power of premultiplied images follows their contrast.

    Parameters
    ----------
    images : ndarray, shape (n_tilts, box, box)
        Multiplied by their contrast, noise and all.
    contrast : ndarray, shape (n_tilts, 2 box, 2 box)
        At `fine_frequencies`.

    Returns
    -------
    float
        Correlation of amplitudes with ``|c|``, both over their mean at a radius, from
        an eighth to half of the box.
    """
    n = images.shape[-1]
    k = fine_frequencies(n)[::FINER, ::FINER] * n
    radius = np.linalg.norm(k, axis=-1)
    inside = (radius >= n / 8) & (radius < n // 2)
    shell = np.rint(radius[inside]).astype(int)
    both = []
    for part in (np.abs(scipy.fft.fft2(images)), np.abs(contrast[:, ::FINER, ::FINER])):
        values = part[:, inside]
        sums = np.bincount(shell, values.mean(axis=0))
        means = (sums / np.maximum(np.bincount(shell), 1))[shell]
        both.append(np.divide(values, means, np.zeros_like(values), where=means > 0))
    return float(np.corrcoef(both[0].ravel(), both[1].ravel())[0, 1])


def binned(
    source: NDArray[np.floating] | Slices, box: int
) -> NDArray[np.float32] | Slices:
    """Return a particle in a smaller box: a volume, or slices."""
    if isinstance(source, Slices):
        return source.binned(box)
    return fourier_crop(source, box)


def _share(
    sums: NDArray[np.float64],
    points: NDArray[np.float64],
    values: Sequence[NDArray[np.floating]],
    n: int,
) -> None:
    """Add values at points (x, y, z) to the flat grid of ``rfftn`` around them."""
    low = np.floor(points)
    above = (points - low).T
    x, y, z = low.astype(np.intp).T
    for i, j, k in np.ndindex(2, 2, 2):
        share = (
            (above[0] if i else 1 - above[0])
            * (above[1] if j else 1 - above[1])
            * (above[2] if k else 1 - above[2])
        )
        here = (x + i >= 0) & (x + i <= n // 2)
        share[~here] = 0
        place = ((z + k) % n * n + (y + j) % n) * (n // 2 + 1)
        place += np.where(here, x + i, 0)
        for total, value in zip(sums, values, strict=True):
            total += np.bincount(place, share * value, len(total))


def _ungridded(n: int) -> NDArray[np.float64]:
    """Return what undoes sharing by trilinear weights in the sphere, 0 outside."""
    x = np.arange(n) - n // 2
    line = np.sinc(x / n) ** 2
    square = (x**2)[:, None, None] + (x**2)[:, None] + x**2
    envelope = line[:, None, None] * line[:, None] * line
    inside: NDArray[np.float64] = (square < (n / 2) ** 2) / envelope
    return inside
