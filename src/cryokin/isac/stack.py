"""The working stack: images shifted, shrunken, cut or padded, and normalised."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryokin.image.masks import normalise, subtract_background
from cryokin.image.resample import new_size, resample, window_or_pad

BLOCK = 256  # images prepared at a time


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
    """

    size: int
    radius: int
    target_radius: int
    box: int

    @property
    def ratio(self) -> float:
        """Working pixels per pixel."""
        return self.target_radius / self.radius

    @property
    def whole(self) -> int:
        """Box that the whole image shrinks to [working pixel]."""
        return new_size(self.size, self.ratio)


def shrink(images: ArrayLike, how: Shrinking) -> NDArray[np.float32]:
    """Return images (n, size, size) as prealignment sees them, (n, whole, whole)."""
    return resample(subtract_background(images, how.radius), how.ratio, how.whole)


def working_images(
    images: ArrayLike, shifts: ArrayLike, how: Shrinking
) -> NDArray[np.float32]:
    """Return images as the working stack holds them.

    Their background is taken to zero, they are shifted, shrunken, cut or padded to the
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
    small = resample(subtract_background(images, how.radius), how.ratio, inner, shifts)
    fits = how.whole >= how.box
    radius = how.target_radius if fits else min(how.target_radius, inner // 2 - 2)
    return window_or_pad(normalise(small, radius), how.box)


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
