"""Comparing particles with class averages: all angles, both hands, a range of shifts.

All functions take spectra as `cryokin.image.polar` defines them. An image with orders
``A`` and a reference with orders ``B`` correlate, at the image's rotation ``a``, to ::

    straight  c(a) = Re sum_m A_m conj(B_m) exp(i m a)
    mirrored  c(a) = Re sum_m A_m      B_m  exp(i m a)

The shifts are tried on the side of the references, in the frame of the class average,
because there are fewer references than images.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryokin.image.geometry import Alignment
from cryokin.image.polar import Float32

# Columns (references x shifts x images) correlated at a time: small enough that the
# intermediate results stay in a core's cache.
TILE_IMAGES = 128
TILE_COLUMNS = 1152


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
    *lead, _, radii, r = references.shape
    real = references[..., 0, :, :].swapaxes(-1, -2)
    imag = references[..., 1, :, :].swapaxes(-1, -2)
    operand = np.empty((*lead, 4, r, 2, radii), np.float32)
    operand[..., 0, :, 0, :] = operand[..., 1, :, 0, :] = real
    operand[..., 3, :, 1, :] = operand[..., 2, :, 1, :] = real
    operand[..., 0, :, 1, :] = operand[..., 3, :, 0, :] = imag
    np.negative(imag, out=operand[..., 1, :, 1, :])
    np.negative(imag, out=operand[..., 2, :, 0, :])
    return operand.reshape(*lead, 4 * r, 2 * radii)


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
    _, orders, rows, columns = operand.shape
    n, n_rows = images.shape[-1], rows // 4
    parts = operand.reshape(2, orders, 4, n_rows, columns)
    flat = images.reshape(2, orders, columns, n)
    angles = _angle_matrices(orders, 2 * orders)
    tile_n = min(TILE_IMAGES, n)
    tile_r = n_shifts * max(1, TILE_COLUMNS // (tile_n * n_shifts))
    scores = np.empty((n_rows // n_shifts, n), np.float32)
    for first in range(0, n, tile_n):
        block = np.ascontiguousarray(flat[..., first : first + tile_n])
        for start in range(0, n_rows, tile_r):
            some = parts[:, :, :, start : start + tile_r]
            some = some.reshape(2, orders, -1, columns)
            terms = np.matmul(some, block).reshape(2, 2 * orders, -1)
            even, odd = np.matmul(angles, terms)
            # Half a turn changes the sign of the odd orders alone.
            np.abs(odd, out=odd)
            even += odd
            best = even.max(axis=0).reshape(2, -1, n_shifts, block.shape[-1])
            scores[
                start // n_shifts : (start + tile_r) // n_shifts,
                first : first + tile_n,
            ] = best.max(axis=(0, 2))
    return scores


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
    _, orders, rows, columns = operand.shape
    parts = operand.reshape(2, orders, 4, rows // 4, columns)
    # With the images of a coefficient far apart, taking some of them is slow.
    apart = np.ascontiguousarray(np.moveaxis(images, -1, 2))
    found = [np.empty(0, np.float32)]
    for k, row in enumerate(listed):
        some = np.flatnonzero(row)
        if not len(some):
            continue
        part = parts[:, :, :, k * n_shifts : (k + 1) * n_shifts]
        part = part.reshape(2, orders, 4 * n_shifts, columns)
        chosen = np.moveaxis(apart[:, :, some], 2, -1)
        found.append(best_scores(part, chosen, n_shifts)[0])
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
    orders, n = images.shape[1], images.shape[-1]
    cos, sin = order_phases(alignment.angle[None], orders)
    cos, sin = (part.reshape(2, orders, 1, n) for part in (cos, sin))
    real, imag = images[:, :, 0], images[:, :, 1]
    other = references[:, :, 1] * np.where(alignment.mirror, -1, 1).astype(np.float32)
    products = (real * references[:, :, 0] + imag * other) * cos
    products -= (imag * references[:, :, 0] - real * other) * sin
    summed: Float32 = products.sum(axis=(0, 1))
    return summed


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
    _, orders, _, columns = operand.shape
    n = images.shape[-1]
    terms = np.matmul(operand, images.reshape(2, orders, columns, n))
    terms = terms.reshape(2, 2 * orders, 2 * n)
    even, odd = np.matmul(_angle_matrices(orders, 2 * orders), terms)
    curve = np.concatenate([even + odd, even - odd]).reshape(-1, 2, n)
    return curve.swapaxes(0, 1)


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
    trials, _, orders, rows, columns = operand.shape
    n = images.shape[-1]
    flat = images.reshape(trials, 2, orders, columns, n)
    # One row per parity, order and part; columns: hand, shift, image.
    terms = np.matmul(operand, flat).reshape(trials, 2, 2 * orders, rows // 2 * n)
    if n_shifts == 1:
        shift = np.zeros((trials, n), np.intp)
    else:
        even, odd = np.moveaxis(
            np.matmul(_angle_matrices(orders, 2 * orders), terms), 1, 0
        )
        np.abs(odd, out=odd)
        even += odd
        peaks = even.max(axis=1).reshape(trials, 2, n_shifts, n).max(axis=1)
        shift = peaks.argmax(axis=1)
        terms = np.take_along_axis(
            terms.reshape(trials, 2, 2 * orders, 2, n_shifts, n),
            shift[:, None, None, None, None, :],
            axis=4,
        )
        terms = terms.reshape(trials, 2, 2 * orders, 2 * n)
    if own is not None:
        terms -= own.reshape(terms.shape)
    if angle_step:
        step, count = angle_step, int(np.ceil(2 * np.pi / angle_step - 1e-6))
        matrices = _coarse_matrices(orders, step, count)
        curve = np.matmul(terms[:, 0].swapaxes(1, 2), matrices[0])
        curve += np.matmul(terms[:, 1].swapaxes(1, 2), matrices[1])
    else:
        half = 3 * orders
        step, count = np.pi / half, 2 * half
        matrices = _angle_matrices(orders, half).swapaxes(1, 2)
        even, odd = np.moveaxis(np.matmul(terms.swapaxes(2, 3), matrices), 1, 0)
        curve = np.concatenate([even + odd, even - odd], axis=-1)
    curve = curve.reshape(trials, 2, n, count)
    index = curve.argmax(axis=-1)
    trial, hand, image = np.ogrid[:trials, :2, :n]
    peak = curve[trial, hand, image, index]
    mirror = peak[:, 1] > peak[:, 0]
    best, trial, image = mirror.astype(np.intp), trial[:, 0], image[0]
    index = index[trial, best, image]
    if angle_step:
        offset = np.zeros(index.shape)
    else:
        left, middle, right = (
            curve[trial, best, image, (index + d) % count] for d in (-1, 0, 1)
        )
        offset = parabola(left, middle, right)
    angle = ((index + offset) * step).astype(np.float32)
    return angle, mirror, shift


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


def parabola(
    left: ArrayLike, middle: ArrayLike, right: ArrayLike
) -> NDArray[np.float64]:
    """Return the maximum of the parabola through three points, within half a step."""
    left, middle, right = (np.asarray(v, float) for v in (left, middle, right))
    curvature = left - 2 * middle + right
    flat = curvature >= 0
    offset = 0.5 * (left - right) / np.where(flat, 1.0, curvature)
    return np.clip(np.where(flat, 0.0, offset), -0.5, 0.5)


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
    trials, _, orders, _, columns = operand.shape
    n, s = images.shape[-1], len(shifts)
    flat = images.reshape(trials, 2, orders, columns, n)
    # (trials, row, real and imaginary part, hand, shift, image)
    terms = np.matmul(operand, flat).reshape(trials, 2 * orders, 2, 2, s, n)
    cos, sin = order_phases(angle, orders)
    hands = np.stack([~mirror, mirror], axis=1).astype(np.float32)[:, None, :, :]
    weight = np.empty((trials, 2 * orders, 2, 2, 1, n), np.float32)
    flat_phases = (trials, 2 * orders, 1, n)
    np.multiply(cos.reshape(flat_phases), hands, out=weight[:, :, 0, :, 0])
    np.multiply(-sin.reshape(flat_phases), hands, out=weight[:, :, 1, :, 0])
    terms *= weight
    values = terms.sum(axis=(1, 2, 3))
    return interpolated_shift(values, shifts)


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
    values = np.moveaxis(values, -2, -1)
    best = values.argmax(axis=-1)
    found = shifts[best]
    neighbours = _neighbours(tuple(map(tuple, shifts.tolist())))
    step = np.zeros_like(found)
    peak = np.take_along_axis(values, best[..., None], axis=-1)[..., 0]
    for axis in range(2):
        low, high, width = neighbours[axis]
        inside = (low[best] >= 0) & (high[best] >= 0)
        low_value, high_value = (
            np.take_along_axis(values, side[best][..., None], axis=-1)[..., 0]
            for side in (low, high)
        )
        offset = parabola(low_value, peak, high_value)
        step[..., axis] = np.where(inside, offset * width, 0.0)
    moved: Float32 = found + step
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
    index = np.rint(angle * (_TURN / (2 * np.pi))).astype(np.intp) % _TURN
    cos, sin = _phase_table(orders)
    return np.moveaxis(cos[index], 1, -1), np.moveaxis(sin[index], 1, -1)


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
    trials, _, orders, _, radii, n = images.shape
    cos, sin = order_phases(angle, orders)
    share = np.where(mirror, -1 / n, 1 / n).astype(np.float32)[:, None, None, :]
    rows = np.empty((trials, 2, orders, 4, n), np.float32)
    np.multiply(cos, np.float32(1 / n), out=rows[:, :, :, 0])
    np.multiply(sin, np.float32(1 / n), out=rows[:, :, :, 1])
    np.multiply(sin, share, out=rows[:, :, :, 2])
    np.multiply(cos, share, out=rows[:, :, :, 3])
    flat = images.reshape(trials, 2, orders, 2 * radii, n)
    sums = np.matmul(rows, flat.swapaxes(-1, -2))
    sums = sums.reshape(trials, 2, orders, 4, 2, radii)
    mean = np.empty((trials, 2, orders, 2, radii), np.float32)
    np.subtract(sums[..., 0, 0, :], sums[..., 1, 1, :], out=mean[..., 0, :])
    np.add(sums[..., 2, 0, :], sums[..., 3, 1, :], out=mean[..., 1, :])
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
    real, imag = images[:, :, :, 0], images[:, :, :, 1]
    squares = [np.square(part) for part in (real, imag)]
    weigh = "tpmjn,tj->tpmn"
    sums = [np.einsum(weigh, square, gain) for square in squares]
    cross = np.einsum(weigh, real * imag, gain)
    return sums[0] + sums[1], sums[0] - sums[1], 2 * cross


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
    power, square_real, square_imag = products
    trials, _, orders, n = power.shape
    cos, sin = order_phases(angle, orders)
    share = np.float32(1.0 / n)
    terms = np.empty((trials, 2, orders, 2, 2, n), np.float32)
    same = np.stack([power * cos, -power * sin], axis=3)
    other = np.stack(
        [square_real * cos - square_imag * sin, square_real * sin + square_imag * cos],
        axis=3,
    )
    flipped = mirror[:, None, None, None, :]
    terms[..., 0, :] = np.where(flipped, other, same)
    terms[..., 1, :] = np.where(flipped, same, other)
    terms *= share
    return terms.reshape(trials, 2, 2 * orders, 2, n)


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
    power: Float32 = np.einsum("...pmcjn,...pmcjn->...j", images, images)
    return power / np.float32(n * n)


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
    power = np.einsum("...pmcj,...pmcj->...j", references, references)
    share = 1 - noise / np.where(power > 0, power, 1)
    return np.clip(share, 0.1, 1.0).astype(np.float32)
