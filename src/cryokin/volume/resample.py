"""Moving volumes between the particle's and the common frame, and binning them.

The subtomogram is the reference, rotated by R, then shifted. Centres are n // 2;
outside the input everything is 0.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

Kernel = Literal["spline", "pytom"]

# Weights of PyTom's cubic kernel: the slope at a sample from its four neighbours.
SLOPE = (-0.1556, 0.3111, -0.0889, 0.0444)


def align(
    volume: NDArray[np.floating],
    rotation: ArrayLike,
    shift: ArrayLike = (0, 0, 0),
    kernel: Kernel = "spline",
    where: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Bring a subtomogram into the common frame: ``out(x) = in(R (x - c) + c + s)``.

    Parameters
    ----------
    volume : ndarray, shape (n_z, n_y, n_x)
        The subtomogram.
    rotation : array_like, shape (3, 3)
        R, on (x, y, z): the reference's rotation to the particle.
    shift : array_like, shape (3,)
        s = (x, y, z) of the particle's centre from the box centre [voxel].
    kernel : {"spline", "pytom"}
        Cubic B-spline, or PyTom's own four-point cubic.
    where : ndarray of bool, shape (n_z, n_y, n_x), optional
        Voxels of the result that are wanted; the others stay 0.

    Returns
    -------
    ndarray, shape (n_z, n_y, n_x)
        The particle as the reference lies.

    Notes
    -----
    Outside the input there is 0, so take the mean off a volume before it is moved.
    """
    r = np.asarray(rotation, np.float64)
    return _transform(volume, r, np.asarray(shift, np.float64), kernel, where)


def place(
    volume: NDArray[np.floating],
    rotation: ArrayLike,
    shift: ArrayLike = (0, 0, 0),
    kernel: Kernel = "spline",
) -> NDArray[np.float32]:
    """Bring a reference into the frame of a particle, the inverse of `align`."""
    r = np.asarray(rotation, np.float64).T
    return _transform(volume, r, -r @ np.asarray(shift, np.float64), kernel, None)


def centred(volume: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return a volume without its mean."""
    values = np.asarray(volume, np.float32)
    return values - np.float32(values.mean(dtype=np.float64))


def _transform(
    volume: NDArray[np.floating],
    rotation: NDArray[np.float64],
    shift: NDArray[np.float64],
    kernel: Kernel,
    where: NDArray[np.bool_] | None,
) -> NDArray[np.float32]:
    centre = np.array(volume.shape) // 2
    on_zyx = rotation[::-1, ::-1]
    offset = centre + shift[::-1] - on_zyx @ centre
    source = np.asarray(volume, np.float32)
    if kernel == "spline" and where is None:
        moved: NDArray[np.float32] = ndimage.affine_transform(
            source, on_zyx, offset, order=3, mode="constant"
        )
        return moved
    out = np.zeros(volume.shape, np.float32)
    wanted = np.ones(volume.shape, bool) if where is None else where
    points = on_zyx @ np.nonzero(wanted) + offset[:, None]
    if kernel == "spline":
        out[wanted] = ndimage.map_coordinates(source, points, order=3, mode="constant")
    else:
        out[wanted] = pytom_cubic(source, points)
    return out


def pytom_cubic(
    volume: NDArray[np.floating], points: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Interpolate as PyTom's ``transformSpline`` does.

    Inside, a separable cubic through the two nearest samples of each line, with slopes
    from four samples; next to the border a three-point Lagrange polynomial; 0 in the
    outermost cell and outside. On grid points the voxel itself.

    Parameters
    ----------
    volume : ndarray, shape (n_z, n_y, n_x)
        Samples.
    points : ndarray, shape (3, n_points)
        Positions (z, y, x) [voxel].

    Returns
    -------
    ndarray, shape (n_points,)
        Interpolated values.
    """
    # PyTom computes positions in single precision.
    p = np.asarray(points, np.float32).astype(np.float64)
    base = np.floor(p).astype(np.intp)
    t = p - base
    last = np.array(volume.shape)[:, None] - 1
    inner = ((p >= 2) & (p <= last - 2)).all(axis=0)
    rim = ((p >= 1) & (p <= last - 1)).all(axis=0) & ~inner
    lagrange = np.stack([t * (t - 1) / 2, 1 - t * t, t * (t + 1) / 2, 0 * t])
    out = np.zeros(p.shape[1])
    for weights, chosen in ((lagrange, rim), (_hermite(t), inner)):
        out[chosen] = _separable(volume, base[:, chosen], weights[:, :, chosen])
    return out


def _hermite(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of the four samples -1, 0, 1, 2 at 0 <= t < 1, shape (4, ...)."""
    f1, f2, f3, f4 = SLOPE
    differences = np.array([[-1, 1, 0, 0], [-1, 0, 1, 0], [0, -1, 0, 1], [0, 0, -1, 1]])
    left = 3 * np.array([f1, f2, f3, f4]) @ differences
    right = 3 * np.array([f4, f3, f2, f1]) @ differences
    first, second = np.array([0, 1, 0, 0]), np.array([0, 0, 1, 0])
    rise = second - first
    terms = (first, left, 3 * rise - 2 * left - right, -2 * rise + left + right)
    weights: NDArray[np.float64] = sum(
        np.multiply.outer(term, t**power) for power, term in enumerate(terms)
    )
    return weights


def pytom_kernel(n: int, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return PyTom's cubic on a line as a matrix.

    Parameters
    ----------
    n : int
        Samples of the line.
    points : ndarray, shape (n_points,)
        Positions, two samples away from either end [voxel].

    Returns
    -------
    ndarray, shape (n_points, n)
        Multiplied by the samples it gives the values at the positions.
    """
    base = np.minimum(np.floor(points).astype(np.intp), n - 3)
    matrix = np.zeros((len(points), n))
    for offset, weight in enumerate(_hermite(points - base), -1):
        matrix[np.arange(len(points)), base + offset] = weight
    return matrix


def _separable(
    volume: NDArray[np.floating],
    base: NDArray[np.intp],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Sum 4 x 4 x 4 samples; weights (4, 3, n) for offsets -1..2 along z, y, x."""
    _, n_y, n_x = volume.shape
    flat = np.asarray(volume, np.float64).ravel()
    top = flat.size - 1
    z, y, x = base
    total = np.zeros(base.shape[1])
    for i in range(4):
        for j in range(4):
            line = ((z + i - 1) * n_y + y + j - 1) * n_x + x - 1
            # A sample beyond the border has weight 0; its index only must exist.
            part = sum(
                weights[k, 2] * flat[np.clip(line + k, 0, top)] for k in range(4)
            )
            total += weights[i, 0] * weights[j, 1] * part
    return total


def binned_size(size: int, binning: float) -> int:
    """Return the number of voxels of an axis after binning, ``round(size / b)``."""
    return int(size / binning + 0.5)


def fourier_crop(
    volume: NDArray[np.floating], size: int | tuple[int, ...]
) -> NDArray[np.float32]:
    """Bin a volume: keep its low frequencies, grey values and centre.

    Voxel n // 2 of the input stays voxel m // 2 of the result, whatever n and m, so a
    mask, a particle and an average that are binned alike stay in register.

    Parameters
    ----------
    volume : ndarray
        Real voxels, any number of axes.
    size : int or tuple of int
        Voxels of each axis of the result, at most those of the input.

    Returns
    -------
    ndarray, shape (size, size, ...)
        The frequency -m/2 of an even size is left out, because its partner is.
    """
    shape = (size,) * volume.ndim if isinstance(size, int) else size
    spectrum = scipy.fft.fftn(np.fft.ifftshift(volume))
    for axis, (n, m) in enumerate(zip(volume.shape, shape, strict=True)):
        if m < n:
            kept = np.arange(-((m - 1) // 2), (m - 1) // 2 + 1)
            cropped = np.zeros(
                (*spectrum.shape[:axis], m, *spectrum.shape[axis + 1 :]),
                spectrum.dtype,
            )
            np.moveaxis(cropped, axis, 0)[kept % m] = np.moveaxis(spectrum, axis, 0)[
                kept % n
            ]
            spectrum = cropped
    real = scipy.fft.ifftn(spectrum).real * (np.prod(shape) / volume.size)
    return np.fft.fftshift(real).astype(np.float32)
