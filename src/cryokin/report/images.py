"""Grey values for the eye: contrast, PNG bytes, data URIs."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

# Percentiles of the pixels inside the mask that become black and white. Half a per
# cent at either end keeps a few hot pixels from dimming the particle.
BLACK, WHITE = 0.5, 99.5
MID_GREY = 128
# Pixels of all class averages of a page together. A PNG of noise takes a byte a pixel,
# its text four thirds of that; so a page of a thousand classes stays below 20 MB.
MOST_PIXELS = 13_000_000


def stretch(images: ArrayLike, radius: float | None = None) -> NDArray[np.uint8]:
    """Stretch the contrast of each image over the pixels inside its mask.

    Parameters
    ----------
    images : array_like, shape (n, y, x) or (y, x)
        Finite pixels.
    radius : float, optional
        Radius of the circular mask around pixel ``n // 2`` [pixel]; default: the
        whole image.

    Returns
    -------
    ndarray of uint8, same shape
        0 (black) to 255 (white); an image that is constant inside its mask is grey.

    Raises
    ------
    ValueError
        If a pixel is not finite.
    """
    images = np.asarray(images, dtype=np.float64)
    return _stretch(images, *levels(images, radius))


def levels(
    images: ArrayLike, radius: float | None = None, together: bool = False
) -> NDArray[np.float64]:
    """Return the values that `stretch` makes black and white.

    Parameters
    ----------
    images : array_like, shape (..., y, x)
    radius : float, optional
        See `stretch`.
    together : bool
        One pair for all images, instead of one for each.

    Returns
    -------
    ndarray, shape (2, ...)
    """
    images = np.asarray(images, dtype=np.float64)
    inside = images[..., inside_disc(images.shape[-2:], radius)]
    if together:
        inside = inside.ravel()
    ends: NDArray[np.float64] = np.percentile(inside, [BLACK, WHITE], axis=-1)
    return ends


def slices(volume: ArrayLike) -> NDArray[np.float64]:
    """Return the three central slices of a cubic volume.

    Parameters
    ----------
    volume : array_like, shape (n, n, n)
        Axes z, y, x.

    Returns
    -------
    ndarray, shape (3, n, n)
        The planes xy, xz and yz through voxel ``n // 2``. In xz, x runs to the right
        and z down, in yz z to the right and y down, so that xz below xy and yz to the
        right of it share an axis.
    """
    volume = np.asarray(volume, dtype=np.float64)
    c = volume.shape[0] // 2
    return np.stack([volume[c], volume[:, c], volume[:, :, c].T])


def montage(volume: ArrayLike, radius: float | None = None) -> NDArray[np.uint8]:
    """Lay the three central slices of a cubic volume side by side, in one contrast.

    Parameters
    ----------
    volume : array_like, shape (n, n, n)
        Finite voxels.
    radius : float, optional
        Radius of the spherical mask within which contrast is stretched [pixel].

    Returns
    -------
    ndarray of uint8, shape (n, 3 n)
        The planes xy, xz and yz, see `slices`.
    """
    planes = slices(volume)
    return np.concatenate(_stretch(planes, *levels(planes, radius, together=True)), 1)


def png(grey: NDArray[np.uint8], colours: Sequence[int] = ()) -> bytes:
    """Encode an image of shape (y, x) as PNG, with no time or software in it.

    It is grey, or has the ``colours`` of its 256 values: red, green, blue of each.
    """
    buffer = io.BytesIO()
    image = Image.fromarray(grey)
    if colours:
        image.putpalette(colours)
    image.save(buffer, "PNG", compress_level=9)
    return buffer.getvalue()


def data_uri(grey: NDArray[np.uint8], colours: Sequence[int] = ()) -> str:
    """Return an image as a ``data:`` address of a PNG, see `png`."""
    encoded = base64.b64encode(png(grey, colours))
    return "data:image/png;base64," + encoded.decode("ascii")


def width_on_page(width: int, images: int) -> int:
    """Return the width at which so many square images of a width fit on a page."""
    return min(width, math.isqrt(MOST_PIXELS // max(images, 1)))


def reduce_to(image: NDArray[Any], width: int) -> NDArray[Any]:
    """Shrink a square or a cube to at most ``width`` pixels by means of whole blocks.

    What does not fill a block at the far edges is left out.
    """
    block = -(-image.shape[-1] // width)
    if block == 1:
        return image
    n = image.shape[-1] // block
    cut = image[(slice(n * block),) * image.ndim]
    blocks = cut.reshape((n, block) * image.ndim)
    return np.asarray(blocks.mean(axis=tuple(range(1, blocks.ndim, 2))), np.float32)


def inside_disc(shape: tuple[int, ...], radius: float | None) -> NDArray[np.bool_]:
    """Return the pixels within a radius of pixel ``n // 2``, all if it is None."""
    if radius is None:
        return np.ones(shape, dtype=bool)
    y, x = np.ogrid[: shape[0], : shape[1]]
    inside: NDArray[np.bool_] = (y - shape[0] // 2) ** 2 + (
        x - shape[1] // 2
    ) ** 2 <= radius**2
    return inside


def _stretch(
    images: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.uint8]:
    if not np.isfinite(images).all():
        raise ValueError("images to show must have finite pixels")
    low, span = low[..., None, None], (high - low)[..., None, None]
    grey = np.full(images.shape, float(MID_GREY))
    np.divide(255.0 * (images - low), span, out=grey, where=span > 0)
    levels: NDArray[np.uint8] = np.rint(np.clip(grey, 0, 255)).astype(np.uint8)
    return levels
