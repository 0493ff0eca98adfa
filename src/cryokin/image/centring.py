"""Finding the centre of an average, by the methods of SPARX's ``center_2D``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryokin.image.masks import disc
from cryokin.rings import ring_mean, rings

Image = NDArray[np.float32]

PLATEAU = 0.01  # of the range: fits of the mask this near the best count as equal


def centre_of_mass(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the centre of mass of the positive pixels, ``(x, y)`` from the centre."""
    weight = np.maximum(image, 0.0).astype(float)
    total = weight.sum()
    if total == 0:
        return np.zeros(2)
    axis = np.arange(image.shape[0]) - image.shape[0] // 2
    moments = [weight.sum(axis=0) @ axis, weight.sum(axis=1) @ axis]
    mass: NDArray[np.float64] = np.array(moments) / total
    return mass


def phase_centre(image: Image) -> NDArray[np.float64]:
    """Return the centre of gravity on the torus, from the phases of order one."""
    n = image.shape[0]
    spectrum = np.fft.fft2(np.fft.ifftshift(image - image.min()))
    phases = np.angle([spectrum[0, 1], spectrum[1, 0]])
    offset: NDArray[np.float64] = -phases * n / (2 * np.pi)
    return offset


def correlation_peak(
    image: Image, template: NDArray[np.floating], plateau: float = 0.0
) -> NDArray[np.float64]:
    """Return where a centred template fits best, ``(x, y)`` from the centre [pixel].

    Parameters
    ----------
    image : ndarray, shape (box, box)
    template : ndarray, shape (box, box)
    plateau : float, default=0
        All places about the best whose correlation is within this share of the range
        below it count alike, and their mean is returned: a particle smaller than its
        mask fits it in many places.
    """
    n = image.shape[0]
    product = np.fft.fft2(image) * np.fft.fft2(template).conj()
    peaks = np.fft.fftshift(np.fft.ifft2(product).real)
    best = np.unravel_index(peaks.argmax(), peaks.shape)
    high = np.argwhere(_about(peaks >= peaks.max() - plateau * np.ptp(peaks), best))
    place: NDArray[np.float64] = high.mean(axis=0)[::-1] - n // 2
    return place


def _about(high: NDArray[np.bool_], place: tuple[np.intp, ...]) -> NDArray[np.bool_]:
    """Return the part of an area that hangs together with a place in it.

    Another place that is as high lies elsewhere; between the two there is nothing.
    """
    from scipy import ndimage  # slow to import, and few methods need it

    parts, _ = ndimage.label(high)
    connected: NDArray[np.bool_] = parts == parts[place]
    return connected


def gaussian(box: int, sigma: float) -> NDArray[np.float64]:
    """Return a Gaussian of height 1 about the centre, (box, box)."""
    axis = np.arange(box) - box // 2
    square = axis[:, None] ** 2 + axis[None, :] ** 2
    profile: NDArray[np.float64] = np.exp(-square / (2 * sigma**2))
    return profile


def rotational_average(image: Image) -> NDArray[np.float64]:
    """Return the image averaged over rotations about its centre."""
    axis = np.arange(image.shape[0]) - image.shape[0] // 2
    return ring_mean(image, rings(axis, axis))


def _own_average(image: Image) -> NDArray[np.float64]:
    from scipy import ndimage  # slow to import, and few methods need it

    found = np.zeros(2)
    for _ in range(10):
        moved = ndimage.shift(image, -found[::-1], order=1, mode="nearest")
        step = correlation_peak(moved, rotational_average(moved))
        found = found + step
        if np.all(np.abs(step) < 1):
            break
    return found


def _thresholded(image: Image) -> NDArray[np.bool_]:
    inside = image[disc(image.shape[0], image.shape[0] // 2 - 2)]
    bright: NDArray[np.bool_] = image > inside.mean() + inside.std()
    return bright & disc(image.shape[0], image.shape[0] // 2 - 2)


def _blob(image: Image, radius: float) -> NDArray[np.float64]:
    from scipy import ndimage

    bright = ndimage.uniform_filter(_thresholded(image).astype(float), 5) > 0.5
    return _fit_of_mask(bright.astype(np.float32), radius)


def _fit_of_mask(image: Image, radius: float) -> NDArray[np.float64]:
    axis = np.arange(image.shape[0]) - image.shape[0] // 2
    square = (axis[:, None] ** 2 + axis[None, :] ** 2) / radius**2
    # Highest in the middle: a flat disc would fit a smaller particle anywhere in it.
    return correlation_peak(image, np.maximum(1 - square, 0), PLATEAU)


def find_centre(image: Image, method: int, radius: float) -> NDArray[np.float64]:
    """Return the offset of an average's centre by a method of ``center_method``.

    Parameters
    ----------
    image : ndarray, shape (box, box)
    method : int
        1 phase centre of gravity; 2 correlation with a Gaussian of half the radius; 3
        with a ring (Gaussian of 7 pixel less one of 2); 4 with the mask, highest in its
        middle; 5 with the image's own rotational average, repeated; 6 centre of gravity
        above mean + sigma; 7 fit of the mask to the smoothed area above mean + sigma.
        Any other: none.
    radius : float
        Radius of the mask [pixel].

    Returns
    -------
    ndarray, shape (2,)
        ``(x, y)`` of the centre found, from that of the box [pixel].
    """
    box = image.shape[0]
    if method == 1:
        return phase_centre(image)
    if method == 2:
        return correlation_peak(image, gaussian(box, radius / 2), PLATEAU)
    if method == 3:
        return correlation_peak(image, gaussian(box, 7) - gaussian(box, 2))
    if method == 4:
        return _fit_of_mask(image, radius)
    if method == 5:
        return _own_average(image)
    if method == 6:
        return centre_of_mass(np.where(_thresholded(image), image, 0))
    if method == 7:
        return _blob(image, radius)
    return np.zeros(2)
