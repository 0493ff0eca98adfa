"""Comparing particles with class averages: all angles, both hands, a range of shifts.

All functions take spectra as `cryokin.image.polar` defines them. An image with orders
``A`` and a reference with orders ``B`` correlate, at the image's rotation ``a``, to ::

    straight  c(a) = Re sum_m A_m conj(B_m) exp(i m a)
    mirrored  c(a) = Re sum_m A_m      B_m  exp(i m a)

The shifts are tried on the side of the references, in the frame of the class average,
because there are fewer references than images.

Arrays are those of NumPy, PyTorch or CuPy, see `cryokin.device`; what is returned is of
the kind of what is given.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_namespace
from numpy.typing import NDArray

from cryokin.device import beside, write
from cryokin.image.geometry import Alignment
from cryokin.image.polar import Float32

# Columns (references x shifts x images) correlated at a time: small enough that the
# intermediate results stay in a core's cache.
TILE_IMAGES = 128
TILE_COLUMNS = 1152
# On a device, which wants more at a time; its memory for them is 3 kB a column.
DEVICE_COLUMNS = 2**18


def shift_grid(xr: float, yr: float, ts: float) -> Float32:
    """Return the trial shifts ``(x, y)`` up to ``xr, yr`` in steps of ``ts`` [pixel].

    The unshifted trial comes first, so that it wins ties.
    """
    x = ts * np.arange(-int(xr / ts), int(xr / ts) + 1)
    y = ts * np.arange(-int(yr / ts), int(yr / ts) + 1)
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    order = np.argsort(np.sum(grid**2, axis=1), kind="stable")
    return grid[order].astype(np.float32)


def correlation_operand(references: Float32) -> Float32:
    """Arrange references so that one product gives both hands' complex terms.

    Parameters
    ----------
    references : ndarray, shape (..., 2, orders, 2, radii, r)

    Returns
    -------
    ndarray, shape (..., 2, orders, 4 r, 2 radii)
        Rows: real parts of the straight and the mirrored term, then imaginary parts;
        columns: real and imaginary parts of an image.
    """
    xp = array_namespace(references)
    *lead, _, radii, r = references.shape
    real = xp.matrix_transpose(references[..., 0, :, :])
    imag = xp.matrix_transpose(references[..., 1, :, :])
    operand = xp.empty(
        (*lead, 4, r, 2, radii), dtype=xp.float32, device=device(references)
    )
    operand[..., 0, :, 0, :] = operand[..., 1, :, 0, :] = real
    operand[..., 3, :, 1, :] = operand[..., 2, :, 1, :] = real
    operand[..., 0, :, 1, :] = operand[..., 3, :, 0, :] = imag
    write(operand, np.s_[..., 1, :, 1, :], xp.negative, imag)
    write(operand, np.s_[..., 2, :, 0, :], xp.negative, imag)
    return xp.reshape(operand, (*lead, 4 * r, 2 * radii))


@lru_cache(maxsize=32)
def _angle_matrices(orders: int, n_half: int) -> Float32:
    """Matrices (2, n_half, 2 orders): even, odd orders' terms -> angles in [0, pi)."""
    angles = np.arange(n_half) * (np.pi / n_half)
    m = 2 * np.arange(orders) + np.arange(2)[:, None]
    phase = angles[None, :, None] * m[:, None, :]
    pairs = np.stack([np.cos(phase), -np.sin(phase)], axis=-1)
    return pairs.reshape(2, n_half, 2 * orders).astype(np.float32)


def best_scores(operand: Float32, images: Float32, n_shifts: int) -> Float32:
    """Return every image's best correlation with every reference.

    Parameters
    ----------
    operand : ndarray, shape (2, orders, 4 r, 2 radii)
        From `correlation_operand` of ``r = references * n_shifts`` shifted references,
        the shifts of a reference beside each other.
    images : ndarray, shape (2, orders, 2, radii, n)
    n_shifts : int

    Returns
    -------
    ndarray of float32, shape (references, n)
        Maximum over shifts, both hands and ``4 * orders`` angles; for rows of unit
        length a correlation coefficient.
    """
    xp = array_namespace(operand, images)
    _, orders, rows, columns = operand.shape
    n, n_rows = images.shape[-1], rows // 4
    parts = xp.reshape(operand, (2, orders, 4, n_rows, columns))
    flat = xp.reshape(images, (2, orders, columns, n))
    angles = beside(_angle_matrices(orders, 2 * orders), images)
    if is_numpy_namespace(xp):
        tile_n, tile_r = min(TILE_IMAGES, n), n_shifts * references_of_tile(n, n_shifts)
        starts = list(range(0, n_rows, tile_r))
    else:
        tile_n = n
        # Tiles of one shape: the last begins early enough.
        tiles = -(-n_rows * n // DEVICE_COLUMNS)
        tile_r = n_shifts * -(-n_rows // (n_shifts * tiles))
        starts = [min(row, n_rows - tile_r) for row in range(0, n_rows, tile_r)]
    scores = xp.empty((n_rows // n_shifts, n), dtype=xp.float32, device=device(images))
    for first in range(0, n, tile_n):
        last = min(first + tile_n, n)
        here = flat[..., first:last]
        block = xp.empty(here.shape, dtype=xp.float32, device=device(images))
        block[...] = here  # side by side in memory
        for start in starts:
            stop = min(start + tile_r, n_rows)
            some = parts[:, :, :, start:stop, :]
            some = xp.reshape(some, (2, orders, -1, columns))
            place = slice(start // n_shifts, stop // n_shifts), slice(first, last)
            scores[place] = _best_of_tile(xp, angles, some, block, n_shifts)
    return scores


def _best_of_tile(
    xp: Any, angles: Float32, operand: Float32, images: Float32, n_shifts: int
) -> Float32:
    """Return the best scores (references, n) of images with their orders in a row."""
    terms = xp.reshape(xp.matmul(operand, images), (2, angles.shape[-1], -1))
    curves = xp.matmul(angles, terms)
    # Half a turn changes the sign of the odd orders alone.
    write(curves, np.s_[1, ...], xp.abs, curves[1, ...])
    even = curves[0, ...]
    even += curves[1, ...]
    best = xp.reshape(xp.max(even, axis=0), (2, -1, n_shifts, images.shape[-1]))
    return xp.max(best, axis=(0, 2))


def references_of_tile(n: int, n_shifts: int) -> int:
    """Return how many references NumPy compares at a time with some of n images."""
    return max(1, TILE_COLUMNS // (min(TILE_IMAGES, n) * n_shifts))


def some_references(operand: Float32, n_shifts: int, some: slice) -> Float32:
    """Return the operand of some of the references alone, at all of their shifts."""
    _, orders, rows, columns = operand.shape
    parts = operand.reshape(2, orders, 4, rows // 4, columns)
    chosen = parts[:, :, :, some.start * n_shifts : some.stop * n_shifts]
    return chosen.reshape(2, orders, -1, columns)


def listed_scores(
    operand: Float32, images: Float32, n_shifts: int, listed: NDArray[np.bool_]
) -> Float32:
    """Return `best_scores` of some pairs of references and images alone.

    Parameters
    ----------
    operand, images, n_shifts
        As for `best_scores`.
    listed : ndarray of bool, shape (references, n)
        The pairs that are compared.

    Returns
    -------
    ndarray of float32, shape (pairs,)
        In the order of ``listed``, row by row.
    """
    # With the images of a coefficient far apart, taking some of them is slow.
    _, orders, _, columns = operand.shape
    apart = np.ascontiguousarray(np.moveaxis(images, -1, 2))
    apart = apart.reshape(2, orders, -1, columns)
    angles = _angle_matrices(orders, 2 * orders)
    found = [np.empty(0, np.float32)]
    for k, row in enumerate(listed):
        some = np.flatnonzero(row)
        part = some_references(operand, n_shifts, slice(k, k + 1))
        for first in range(0, len(some), TILE_IMAGES):
            chosen = apart[:, :, some[first : first + TILE_IMAGES]].swapaxes(2, 3)
            tile = np.ascontiguousarray(chosen)
            found.append(_best_of_tile(np, angles, part, tile, n_shifts)[0])
    return np.concatenate(found)


def products_at(references: Float32, images: Float32, alignment: Alignment) -> Float32:
    """Return the products of images with references, one of each, at given poses.

    Parameters
    ----------
    references, images : ndarray, shape (2, orders, 2, radii, n)
        The images at their centres.
    alignment : Alignment
        Shape (n,); the shifts are those of the centres.

    Returns
    -------
    ndarray, shape (radii, n)
        A sum over the radii is the product of the two.
    """
    xp = array_namespace(references, images)
    orders, n = images.shape[1], images.shape[-1]
    angle, mirror = (beside(x, images) for x in (alignment.angle, alignment.mirror))
    cos, sin = (
        xp.reshape(part, (2, orders, 1, n))
        for part in order_phases(angle[None, ...], orders)
    )
    real, imag = images[:, :, 0, ...], images[:, :, 1, ...]
    of_real, other = references[:, :, 0, ...], references[:, :, 1, ...] * _sign(mirror)
    products = (real * of_real + imag * other) * cos
    products -= (imag * of_real - real * other) * sin
    summed: Float32 = xp.sum(products, axis=(0, 1))
    return summed


def _sign(mirror: NDArray[np.bool_]) -> Float32:
    """Return -1 for the mirrored, else 1."""
    xp = array_namespace(mirror)
    return 1 - 2 * xp.astype(mirror, xp.float32)


def angular_curves(operand: Float32, images: Float32) -> Float32:
    """Return how images correlate with one reference at all angles, in both hands.

    Parameters
    ----------
    operand : ndarray, shape (2, orders, 4, 2 radii)
        From `correlation_operand` of the reference.
    images : ndarray, shape (2, orders, 2, radii, n)

    Returns
    -------
    ndarray of float32, shape (2, 4 * orders, n)
        Straight and mirrored, over a full turn from 0.
    """
    xp = array_namespace(operand, images)
    _, orders, _, columns = operand.shape
    n = images.shape[-1]
    terms = xp.matmul(operand, xp.reshape(images, (2, orders, columns, n)))
    terms = xp.reshape(terms, (2, 2 * orders, 2 * n))
    curves = xp.matmul(beside(_angle_matrices(orders, 2 * orders), images), terms)
    even, odd = curves[0, ...], curves[1, ...]
    curve = xp.reshape(xp.concat([even + odd, even - odd]), (-1, 2, n))
    return xp.moveaxis(curve, 0, 1)


def search(
    operand: Float32,
    images: Float32,
    n_shifts: int,
    angle_step: float = 0.0,
    own: Float32 | None = None,
) -> tuple[Float32, NDArray[np.bool_], NDArray[np.intp]]:
    """Find how each image lies best on one reference.

    Parameters
    ----------
    operand : ndarray, shape (trials, 2, orders, 4 n_shifts, 2 radii)
        From `correlation_operand` of the shifted reference of each trial.
    images : ndarray, shape (trials, 2, orders, 2, radii, n)
    n_shifts : int
    angle_step : float, default=0
        Try only multiples of this angle [radian]; 0: all angles, interpolated.
    own : ndarray, shape (trials, 2, 2 orders, 2, n), optional
        What each image itself contributes to the terms, from `own_terms`; it is taken
        out. For a single shift.

    Returns
    -------
    angle : ndarray of float32, shape (trials, n)
        [radian]
    mirror : ndarray of bool, shape (trials, n)
    shift : ndarray of int, shape (trials, n)
        Index of the best trial shift.
    """
    xp = array_namespace(operand, images)
    trials, _, orders, rows, columns = operand.shape
    n = images.shape[-1]
    flat = xp.reshape(images, (trials, 2, orders, columns, n))
    # One row per parity, order and part; columns: hand, shift, image.
    terms = xp.reshape(xp.matmul(operand, flat), (trials, 2, 2 * orders, rows // 2 * n))
    if n_shifts == 1:
        shift = xp.zeros((trials, n), dtype=xp.int64, device=device(images))
    else:
        curves = xp.matmul(beside(_angle_matrices(orders, 2 * orders), images), terms)
        even = curves[:, 0, ...]
        write(curves, np.s_[:, 1, ...], xp.abs, curves[:, 1, ...])
        even += curves[:, 1, ...]
        peaks = xp.reshape(xp.max(even, axis=1), (trials, 2, n_shifts, n))
        shift = xp.argmax(xp.max(peaks, axis=1), axis=1)
        terms = xp.take_along_axis(
            xp.reshape(terms, (trials, 2, 2 * orders, 2, n_shifts, n)),
            shift[:, None, None, None, None, :],
            axis=4,
        )
        terms = xp.reshape(terms, (trials, 2, 2 * orders, 2 * n))
    if own is not None:
        terms -= xp.reshape(own, terms.shape)
    if angle_step:
        step, count = angle_step, int(np.ceil(2 * np.pi / angle_step - 1e-6))
        matrices = beside(_coarse_matrices(orders, step, count), images)
        curve = xp.matmul(xp.matrix_transpose(terms[:, 0, ...]), matrices[0, ...])
        curve += xp.matmul(xp.matrix_transpose(terms[:, 1, ...]), matrices[1, ...])
    else:
        half = 3 * orders
        step, count = np.pi / half, 2 * half
        matrices = xp.matrix_transpose(beside(_angle_matrices(orders, half), images))
        halves = xp.matmul(xp.matrix_transpose(terms), matrices)
        even, odd = halves[:, 0, ...], halves[:, 1, ...]
        curve = xp.concat([even + odd, even - odd], axis=-1)
    curve = xp.reshape(curve, (trials, 2, n, count))
    index = xp.argmax(curve, axis=-1)

    def at(place: Any) -> Any:
        return xp.take_along_axis(curve, place[..., None], axis=-1)[..., 0]

    peak = at(index)
    mirror = peak[:, 1, :] > peak[:, 0, :]

    def of_best(hands: Any) -> Any:
        return xp.where(mirror, hands[:, 1, :], hands[:, 0, :])

    place = xp.astype(of_best(index), xp.float64)
    if not angle_step:
        left, right = (of_best(at((index + d) % count)) for d in (-1, 1))
        place = place + parabola(left, of_best(peak), right)
    return xp.astype(place * step, xp.float32), mirror, shift


@lru_cache(maxsize=8)
def _coarse_matrices(orders: int, step: float, count: int) -> Float32:
    """Matrices (2, 2 orders, count): terms of even, odd orders -> multiples of a step.

    The last is less than a step from a whole turn, which the step need not divide.
    """
    angles = np.arange(count) * step
    m = 2 * np.arange(orders) + np.arange(2)[:, None]
    phase = m[:, :, None] * angles
    pairs = np.stack([np.cos(phase), -np.sin(phase)], axis=2)
    return pairs.reshape(2, 2 * orders, count).astype(np.float32)


def parabola(left: Float32, middle: Float32, right: Float32) -> NDArray[np.float64]:
    """Return the maximum of the parabola through three points, within half a step."""
    xp = array_namespace(left, middle, right)
    left, middle, right = (xp.astype(v, xp.float64) for v in (left, middle, right))
    curvature = left - 2 * middle + right
    flat = curvature >= 0
    offset = 0.5 * (left - right) / xp.where(flat, xp.ones_like(left), curvature)
    return xp.clip(xp.where(flat, xp.zeros_like(left), offset), -0.5, 0.5)


def best_shift(
    operand: Float32,
    images: Float32,
    angle: Float32,
    mirror: NDArray[np.bool_],
    shifts: Float32,
) -> Float32:
    """Return the best shift of each image at a given angle and hand.

    Parameters
    ----------
    operand : ndarray, shape (trials, 2, orders, 4 s, 2 radii)
        The reference of each trial, shifted by each of ``shifts``.
    images : ndarray, shape (trials, 2, orders, 2, radii, n)
    angle, mirror : ndarray, shape (trials, n)
    shifts : ndarray, shape (s, 2)
        Trial shifts ``(x, y)`` [pixel], from `shift_grid`.

    Returns
    -------
    ndarray of float32, shape (trials, n, 2)
        Shifts in the frame of the reference [pixel], interpolated by a parabola on
        each axis where the best trial has neighbours.
    """
    xp = array_namespace(operand, images)
    trials, _, orders, _, columns = operand.shape
    n, s = images.shape[-1], len(shifts)
    flat = xp.reshape(images, (trials, 2, orders, columns, n))
    # (trials, row, real and imaginary part, hand, shift, image)
    terms = xp.reshape(xp.matmul(operand, flat), (trials, 2 * orders, 2, 2, s, n))
    cos, sin = order_phases(angle, orders)
    hands = xp.astype(xp.stack([~mirror, mirror], axis=1), xp.float32)
    weight = xp.empty(
        (trials, 2, orders, 2, 2, 1, n), dtype=xp.float32, device=device(images)
    )
    for part, phases in enumerate((cos, -sin)):
        where = np.s_[:, :, :, part, :, 0, :]
        write(
            weight, where, xp.multiply, phases[..., None, :], hands[:, None, None, ...]
        )
    terms *= xp.reshape(weight, (trials, 2 * orders, 2, 2, 1, n))
    return interpolated_shift(xp.sum(terms, axis=(1, 2, 3)), shifts)


def interpolated_shift(values: Float32, shifts: Float32) -> Float32:
    """Return where values on a grid of shifts are highest.

    Parameters
    ----------
    values : ndarray, shape (..., s, n)
    shifts : ndarray, shape (s, 2)
        From `shift_grid` [pixel].

    Returns
    -------
    ndarray of float32, shape (..., n, 2)
        Shifts [pixel], interpolated by a parabola on each axis where the best of the
        grid has neighbours.
    """
    xp = array_namespace(values)
    values = xp.moveaxis(values, -2, -1)
    best = xp.argmax(values, axis=-1)
    neighbours = _neighbours(tuple(map(tuple, shifts.tolist())))

    def taken(table: Any) -> Any:
        flat = xp.take(beside(table, values), xp.reshape(best, (-1,)), axis=0)
        return xp.reshape(flat, best.shape)

    def at(place: Any) -> Any:
        return xp.take_along_axis(values, place[..., None], axis=-1)[..., 0]

    peak, found = at(best), []
    for axis, (below, above, width) in enumerate(neighbours):
        low, high = taken(below), taken(above)
        inside = (low >= 0) & (high >= 0)
        # Where there is none, any other does.
        offset = parabola(at(xp.abs(low)), peak, at(xp.abs(high)))
        step = xp.astype(offset * width, xp.float32)
        start = taken(np.ascontiguousarray(shifts[:, axis]))
        found.append(start + xp.where(inside, step, xp.zeros_like(step)))
    moved: Float32 = xp.stack(found, axis=-1)
    return moved


@lru_cache(maxsize=8)
def _neighbours(
    shifts: tuple[tuple[float, float], ...],
) -> list[tuple[NDArray[np.intp], NDArray[np.intp], float]]:
    """For x and y: index of the trial shift one step below, above (-1: none), step."""
    places = np.array(shifts)
    found = []
    for axis in range(2):
        values = np.unique(places[:, axis])
        width = float(values[1] - values[0]) if len(values) > 1 else 1.0
        sides = []
        for direction in (-1, 1):
            target = places.copy()
            target[:, axis] += direction * width
            gap = np.abs(places[None] - target[:, None]).sum(axis=-1)
            sides.append(np.where(gap.min(axis=1) < 1e-3, gap.argmin(axis=1), -1))
        found.append((sides[0], sides[1], width))
    return found


_TURN = 2048  # steps of the table of phases; 0.18 degrees


@lru_cache(maxsize=8)
def _phase_table(orders: int) -> tuple[Float32, Float32]:
    m = 2 * np.arange(orders) + np.arange(2)[:, None]
    phase = (np.arange(_TURN) * (2 * np.pi / _TURN))[:, None, None] * m
    return np.cos(phase).astype(np.float32), np.sin(phase).astype(np.float32)


def order_phases(angle: Float32, orders: int) -> tuple[Float32, Float32]:
    """Return ``cos(m a)`` and ``sin(m a)`` for angles (trials, n) [radian].

    Returns
    -------
    two ndarrays of float32, shape (trials, 2, orders, n)
        From a table of 2048 angles, 0.18 degrees apart.
    """
    xp = array_namespace(angle)
    steps = xp.round(angle * (_TURN / (2 * np.pi)))
    index = xp.reshape(xp.astype(steps, xp.int64) % _TURN, (-1,))
    shape = (*angle.shape, 2, orders)
    cos, sin = (
        xp.moveaxis(xp.reshape(xp.take(beside(t, angle), index, axis=0), shape), 1, -1)
        for t in _phase_table(orders)
    )
    return cos, sin


def average(
    images: Float32,
    angle: Float32,
    mirror: NDArray[np.bool_],
) -> Float32:
    """Return the mean of rotated, mirrored images.

    Parameters
    ----------
    images : ndarray, shape (trials, 2, orders, 2, radii, n)
        Spectra at the images' centres.
    angle : ndarray, shape (trials, n)
        [radian]
    mirror : ndarray of bool, shape (trials, n)

    Returns
    -------
    ndarray of float32, shape (trials, 2, orders, 2, radii)
    """
    xp = array_namespace(images)
    trials, _, orders, _, radii, n = images.shape
    cos, sin = order_phases(angle, orders)
    share = 1 / n * _sign(mirror)[:, None, None, :]
    rows = xp.empty((trials, 2, orders, 4, n), dtype=xp.float32, device=device(images))
    for row, phases in enumerate((cos, sin)):
        write(rows, np.s_[:, :, :, row, :], xp.multiply, phases, 1 / n)
        write(rows, np.s_[:, :, :, 3 - row, :], xp.multiply, phases, share)
    flat = xp.reshape(images, (trials, 2, orders, 2 * radii, n))
    sums = xp.matmul(rows, xp.matrix_transpose(flat))
    sums = xp.reshape(sums, (trials, 2, orders, 4, 2, radii))
    mean: Float32 = xp.stack(
        [
            sums[..., 0, 0, :] - sums[..., 1, 1, :],
            sums[..., 2, 0, :] + sums[..., 3, 1, :],
        ],
        axis=-2,
    )
    return mean


def self_products(images: Float32, gain: Float32) -> tuple[Float32, Float32, Float32]:
    """Return what `own_terms` needs of the images, once for a set of centres.

    Parameters
    ----------
    images : ndarray, shape (trials, 2, orders, 2, radii, n)
    gain : ndarray, shape (trials, radii)
        Weight of the reference's radii.

    Returns
    -------
    three ndarrays, shape (trials, 2, orders, n)
        Sums over the radii of ``|A_m|^2`` and of the real and imaginary part of
        ``A_m^2``, weighted by ``gain``.
    """
    xp = array_namespace(images, gain)
    real, imag = images[:, :, :, 0, ...], images[:, :, :, 1, ...]
    power, square, cross = (
        xp.einsum("tpmjn,tj->tpmn", product, gain)
        for product in (real * real, imag * imag, real * imag)
    )
    return power + square, power - square, 2 * cross


def own_terms(
    products: tuple[Float32, Float32, Float32],
    angle: Float32,
    mirror: NDArray[np.bool_],
) -> Float32:
    """Return what each image contributes to its own comparison with the average.

    An average of n images holds 1/n of each of them, at the angle and hand it was
    added with. In noise that share alone would pin every image where it is.

    Parameters
    ----------
    products : tuple
        From `self_products`.
    angle, mirror : ndarray, shape (trials, n)
        How the images were added to the average.

    Returns
    -------
    ndarray, shape (trials, 2, 2 orders, 2, n)
        Per parity, order and part, hand, image; to be passed to `search`.
    """
    xp = array_namespace(*products)
    power, square_real, square_imag = products
    trials, _, orders, n = power.shape
    cos, sin = order_phases(angle, orders)
    same = xp.stack([power * cos, -power * sin], axis=3)
    other = xp.stack(
        [square_real * cos - square_imag * sin, square_real * sin + square_imag * cos],
        axis=3,
    )
    flipped = mirror[:, None, None, None, :]
    hands = xp.where(flipped, other, same), xp.where(flipped, same, other)
    terms = xp.stack(hands, axis=4) * (1.0 / n)
    return xp.reshape(terms, (trials, 2, 2 * orders, 2, n))


def noise_power(images: Float32) -> Float32:
    """Return the power of a mean of unrelated images, per radius.

    Parameters
    ----------
    images : ndarray, shape (..., 2, orders, 2, radii, n)

    Returns
    -------
    ndarray, shape (..., radii)
    """
    n = images.shape[-1]
    xp = array_namespace(images)
    power: Float32 = xp.einsum("...pmcjn,...pmcjn->...j", images, images)
    return power / float(n * n)


def signal_share(references: Float32, noise: Float32) -> Float32:
    """Return the share of signal in the power of averages, per radius (Wiener filter).

    Parameters
    ----------
    references : ndarray, shape (..., 2, orders, 2, radii)
    noise : ndarray, shape (..., radii)
        Power of the noise, from `noise_power`.

    Returns
    -------
    ndarray, shape (..., radii)
        Between 0 and 1.
    """
    xp = array_namespace(references, noise)
    power = xp.sum(references * references, axis=(-4, -3, -2))
    share = 1 - noise / xp.where(power > 0, power, xp.ones_like(power))
    return xp.clip(share, 0.1, 1.0)
