"""The working stack: images shifted, shrunken, cut or padded, and normalised."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryokin.image.filters import filter_image
from cryokin.image.masks import normalise, subtract_background
from cryokin.image.polar import Complex64, PolarBasis
from cryokin.image.resample import new_size, resample, window_or_pad

BLOCK = 256  # images prepared at a time
# Of a high-pass: 10 % pass at 0.72 times the cut-off, 90 % at 1.28 times, about a
# Fourier pixel where that is a diameter of the particle. A sharper edge would ring.
HIGHPASS_FALL_OFF = 0.4
# Power at the highest frequencies, as a share of the strongest, below which images have
# been filtered. What a camera took has 0.03 or more, what a program smoothed 0.0003.
FILTERED = 0.001
HIGHEST = 3  # radii that are the highest frequencies
# What all filtered images of particles have in common when they are turned about their
# middles, as a share of the power of what each has: 0.8. Of background: below 0.05.
IN_COMMON = 0.25


class Shrinking(NamedTuple):
    """How images become working images.

    Attributes
    ----------
    size : int
        Box of the images [pixel].
    radius : int
        Radius of the particle in them [pixel].
    target_radius : int
        Radius of the particle in the working images [working pixel].
    box : int
        Box of the working images [working pixel].
    highpass : float
        Frequency of which a high-pass lets half through [cycles/pixel]; 0: none.
    """

    size: int
    radius: int
    target_radius: int
    box: int
    highpass: float = 0.0

    @property
    def ratio(self) -> float:
        """Working pixels per pixel."""
        return self.target_radius / self.radius

    @property
    def whole(self) -> int:
        """Box that the whole image shrinks to [working pixel]."""
        return new_size(self.size, self.ratio)


def highpass_cutoff(period: float | None, pixel_size: float) -> float:
    """Return the frequency [cycles/pixel] of a period [A]; 0 where there is none."""
    return pixel_size / period if period else 0.0


def _levelled(images: ArrayLike, how: Shrinking) -> NDArray[np.float32]:
    """Return images without background, and without what is coarser than asked for."""
    level = subtract_background(images, how.radius)
    if not how.highpass:
        return level
    return level - filter_image(level, how.highpass, HIGHPASS_FALL_OFF)


def shrink(images: ArrayLike, how: Shrinking) -> NDArray[np.float32]:
    """Return images (n, size, size) as prealignment sees them, (n, whole, whole)."""
    return resample(_levelled(images, how), how.ratio, how.whole)


def working_images(
    images: ArrayLike, shifts: ArrayLike, how: Shrinking
) -> NDArray[np.float32]:
    """Return images as the working stack holds them.

    Their background is taken to zero, and what is coarser than a high-pass lets through
    away; they are shifted, shrunken, cut or padded to the
    working box, and normalised: mean 0 outside the particle's disc, standard deviation
    1 inside.

    Parameters
    ----------
    images : array_like, shape (n, size, size)
    shifts : array_like, shape (n, 2)
        How far ``(x, y)`` the contents move [pixel].
    how : Shrinking

    Returns
    -------
    ndarray of float32, shape (n, box, box)
    """
    inner = min(how.whole, how.box)
    small = resample(_levelled(images, how), how.ratio, inner, shifts)
    fits = how.whole >= how.box
    radius = how.target_radius if fits else min(how.target_radius, inner // 2 - 2)
    return window_or_pad(normalise(small, radius), how.box)


def radial_power(rows: Complex64, basis: PolarBasis) -> NDArray[np.float64]:
    """Return the power of images at each radius, summed over them.

    Parameters
    ----------
    rows : ndarray, shape (n, directions, radii)
        Of `PolarBasis.grid`.
    basis : PolarBasis

    Returns
    -------
    ndarray, shape (radii,)
        Per area of Fourier space: the same at all radii for white noise.
    """
    power = np.square(rows.real, dtype=float) + np.square(rows.imag, dtype=float)
    return np.asarray(power.sum(axis=(0, 1)) / basis.radii)


class Middles:
    """What images have in common in the middle, whatever their view.

    A view of a particle, turned about its middle at all angles, leaves much the same as
    other views do; background leaves something else each time.
    """

    def __init__(self) -> None:
        self._sum: NDArray[np.float64] = np.zeros(1)
        self._power = 0.0
        self._n = 0

    def add(self, rows: Complex64) -> None:
        """Add images (n, directions, radii), from `PolarBasis.grid`."""
        turned = rows.real.mean(axis=1, dtype=float)
        self._sum = self._sum + turned.sum(axis=0)
        self._power += float(np.sum(turned**2))
        self._n += len(rows)

    @property
    def share(self) -> float:
        """Power of the mean, as a share of the mean power."""
        power = float(np.sum(self._sum**2))
        return power / max(self._n * self._power, 1e-300)


def share_of_highest(power: NDArray[np.floating]) -> float:
    """Return the power at the highest frequencies, as a share of the strongest.

    Parameters
    ----------
    power : ndarray, shape (radii,)
        Of `radial_power`.
    """
    return float(power[-HIGHEST:].mean() / max(power.max(), 1e-300))


def is_filtered(power: NDArray[np.floating]) -> bool:
    """Tell whether images hold next to nothing at high frequencies."""
    return 0 < share_of_highest(power) < FILTERED


def is_blank(power: NDArray[np.floating], in_common: float) -> bool:
    """Tell whether images are smooth and have nothing in common.

    Smoothed noise has few degrees of freedom, and some of its patterns come out again
    in every run. That they do is no evidence, then; that all images show something in
    the middle is.

    Parameters
    ----------
    power : ndarray, shape (radii,)
        Of `radial_power`.
    in_common : float
        `Middles.share`.
    """
    return is_filtered(power) and in_common < IN_COMMON


def told_of_filter(
    power: NDArray[np.floating],
    in_common: float,
    basis: PolarBasis,
    pixel_size: float,
) -> list[str]:
    """Return a sentence if images hold next to nothing at high frequencies.

    Parameters
    ----------
    power, in_common
        As for `is_blank`.
    basis : PolarBasis
    pixel_size : float
        Of the working images [A].
    """
    if not is_filtered(power):
        return []
    share = share_of_highest(power)
    beyond = pixel_size / basis.radii[-HIGHEST:][0]
    told = (
        f"beyond {beyond:.0f} A the images hold {100 * share:.1g} % of the power that"
        " they have at low frequencies (3 % or more as a camera takes them): unless"
        " there is hardly any noise, they were denoised or low-passed"
    )
    if is_blank(power, in_common):
        return [
            f"{told}, and in the middle they have nothing in common ({in_common:.0%} of"
            f" the power; {IN_COMMON:.0%} or more with particles in most of them): they"
            " cannot be told from a smooth background, and none is accounted for; give"
            " unfiltered images."
        ]
    return [
        f"{told}, and a smooth background makes classes, too; compare the averages with"
        " raw micrographs, or give unfiltered images."
    ]


def original_centres(
    working_centres: ArrayLike, shifts: ArrayLike, ratio: float
) -> NDArray[np.float64]:
    """Return where centres in working images lie in the input images [pixel].

    Parameters
    ----------
    working_centres : array_like, shape (n, 2)
        From the centre of the working image [working pixel].
    shifts : array_like, shape (n, 2)
        Of the prealignment, as for `working_images` [pixel].
    ratio : float
    """
    working = np.asarray(working_centres, float)
    centres: NDArray[np.float64] = working / ratio - np.asarray(shifts, float)
    return centres
