"""Prealignment: all images into one average, to find the centre of each.

Only the centres are kept. The images are compared with the masked average at a grid of
shifts that narrows, at all angles and both hands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.image.centring import find_centre
from cryokin.image.filters import filter_image, tangent_lowpass
from cryokin.image.geometry import (
    Alignment,
    centre,
    concatenate,
    flip,
    from_centre,
    identity,
    take,
)
from cryokin.image.masks import disc, subtract_background
from cryokin.image.polar import Complex64, Float32, PolarBasis
from cryokin.isac.alignment import (
    average,
    best_shift,
    correlation_operand,
    search,
    shift_grid,
)
from cryokin.parallel import Team
from cryokin.rings import correlation, full_set

PASSES = 14  # for each entry of the search schedule
HIGHEST = 0.25  # centres need no finer detail [cycles/pixel]
CONVERGED = 0.25  # rms move of the centres that ends an entry of the schedule [step]
BLOCK = 64  # images compared at a time, with all shifts
BLOCKS_PER_SUM = 32  # blocks whose averages are added up before they travel


class Prealignment(NamedTuple):
    """Outcome of the prealignment.

    Attributes
    ----------
    centres : ndarray, shape (n, 2)
        Centre ``(x, y)`` of each particle, from that of its box [pixel of the images].
    reference : ndarray of float32, shape (box, box)
        The final average, low-passed and centred.
    frc : ndarray
        Fourier ring correlation of the halves of the last average.
    """

    centres: NDArray[np.floating]
    reference: Float32
    frc: NDArray[np.float64]


def search_schedule(box: int, radius: int) -> list[tuple[int, int]]:
    """Return (range, step) of the shift search of each entry of the schedule [pixel].

    Parameters
    ----------
    box : int
        Box of the shrunken images.
    radius : int
        ``target_radius``.

    Raises
    ------
    InputError
        If the particle does not fit the box.
    """
    room = (box - 2 * (radius + 1)) // 2
    if room < 0:
        raise InputError(
            f"a particle of radius {radius} pixel does not fit the shrunken box of"
            f" {box} pixel; lower radius in the config or extract a larger box."
        )
    if room // 4 == 0:
        return [(room, 1)]
    schedule = []
    while room // 4 > 0:
        schedule.append((4 * (room // 4), room // 4))
        room //= 2
    return schedule


def fit_lowpass(correlation: NDArray[np.floating]) -> tuple[float, float]:
    """Return cut-off and fall-off of the low-pass that follows a ring correlation.

    Parameters
    ----------
    correlation : ndarray
        Of the halves, on rings from frequency 0 up to 0.5.

    Returns
    -------
    cutoff : float
        Between 0.12 and 0.4 [cycles/pixel].
    fall_off : float
        At most 0.2.
    """
    target = full_set(correlation)
    frequency = np.arange(len(target)) / (2 * len(target))
    low = np.flatnonzero(target[1:] < 0.1)
    if len(low):
        target[low[0] + 1 :] = 0
    below = np.flatnonzero(target[1:] < 0.5)
    if not len(below):
        return 0.4, 0.2
    start = max(frequency[below[0]], 0.05)

    def misfit(values: NDArray[np.floating]) -> float:
        cutoff, fall_off = np.clip(values, [0.01, 0.01], [0.5, 2.0])
        gain = tangent_lowpass(frequency[1:], cutoff, fall_off)
        return float(np.sum((gain - target[1:]) ** 2))

    from scipy.optimize import minimize  # slow to import, and only this step needs it

    found = minimize(misfit, [start, 0.1], method="Nelder-Mead").x
    return float(np.clip(found[0], 0.12, 0.4)), float(np.clip(found[1], 0.01, 0.2))


class _Data(NamedTuple):
    """The coefficients of all images, shared by the ranks.

    Attributes
    ----------
    basis : PolarBasis
    analysis : tuple
        Of `PolarBasis.analysis`.
    spans : list of ndarray
        Ids of the images of each span.
    grids : dict
        The coefficients of this rank's spans, in blocks.
    limit : int
        How far from the middle a centre may be [pixel].
    """

    basis: PolarBasis
    analysis: tuple[NDArray[np.bool_], Float32]
    spans: list[NDArray[np.intp]]
    grids: dict[int, list[Complex64]]
    limit: int

    @property
    def n(self) -> int:
        """Number of images."""
        return sum(map(len, self.spans))


class _Halves(NamedTuple):
    """Sums of the aligned images of even and of odd id, and their numbers."""

    sums: Float32  # (2 halves, 2, orders, 2, radii)
    counts: NDArray[np.intp]


def prealign(
    team: Team,
    read: Callable[[NDArray[np.intp]], Float32],
    n_images: int,
    box: int,
    radius: int,
    center_method: int,
) -> Prealignment:
    """Align all images to their common average.

    Parameters
    ----------
    team : Team
    read : callable
        ``read(ids)`` returns images (k, box, box), shrunken to ``radius``.
    n_images : int
    box, radius : int
        Box and particle radius of the shrunken images [pixel].
    center_method : int
        -1: the mean shift is kept at zero; 0: none; 1 to 7: see `find_centre`.

    Returns
    -------
    Prealignment
        The same on every rank.
    """
    schedule = search_schedule(box, radius)
    data = _gridded(team, read, n_images, box, max(schedule[0][0], radius // 4))
    basis, analysis, spans, grids, _ = data
    alignment = identity(n_images)
    for extent, step in schedule:
        shifts = shift_grid(extent, extent, step)
        moved_by, last = np.inf, centre(alignment)
        for iteration in range(PASSES + 1):
            halves = _gathered(
                team,
                [_halves(basis, spans[s], own, alignment) for s, own in grids.items()],
            )
            even, odd = (
                basis.image(half / np.float32(max(size, 1)), analysis)
                for half, size in zip(halves.sums, halves.counts, strict=True)
            )
            frc = _masked_frc(even, odd, radius)
            reference, whole = _reference(even, odd, halves.counts, frc, radius)
            alignment, reference = _centred(
                alignment, reference, whole, center_method, radius
            )
            if iteration == PASSES or moved_by < CONVERGED * step:
                break
            alignment = _all_aligned(team, data, alignment, reference, shifts)
            # With what the centring of the average moved all images by.
            moved_by, last = _rms(centre(alignment) - last), centre(alignment)
            team.log(
                f"shifts up to {extent} pixel in steps of {step}, pass {iteration + 1}:"
                f" centres move by {moved_by:.2f} pixel, halves correlate"
                f" {frc[1 : box // 8].mean():.3f}"
            )
    share = _reliability(team, data, reference, shifts)
    return Prealignment(share * centre(alignment), reference, frc)


def centres_by(
    team: Team,
    read: Callable[[NDArray[np.intp]], Float32],
    n_images: int,
    reference: Float32,
    radius: int,
) -> NDArray[np.floating]:
    """Find the centres of images by an average that is known, see `prealign`.

    Parameters
    ----------
    reference : ndarray of float32, shape (box, box)
        Of an earlier prealignment.

    Returns
    -------
    ndarray, shape (n, 2)
        [pixel of the images]
    """
    box = len(reference)
    schedule = search_schedule(box, radius)
    data = _gridded(team, read, n_images, box, max(schedule[0][0], radius // 4))
    alignment = identity(n_images)
    for extent, step in schedule:
        shifts = shift_grid(extent, extent, step)
        alignment = _all_aligned(team, data, alignment, reference, shifts)
    return _reliability(team, data, reference, shifts) * centre(alignment)


def _gridded(
    team: Team,
    read: Callable[[NDArray[np.intp]], Float32],
    n_images: int,
    box: int,
    limit: int,
) -> _Data:
    """Return the coefficients of images.

    The images keep what lies around the particle, so that it can come to the centre
    from anywhere in the search range; the mask goes on the average.
    """
    basis = PolarBasis(box // 2 - 1, HIGHEST)
    analysis = basis.analysis(box)
    spans = [
        np.arange(first, min(first + BLOCK * BLOCKS_PER_SUM, n_images))
        for first in range(0, n_images, BLOCK * BLOCKS_PER_SUM)
    ]
    grids = {
        s: [
            basis.grid(read(spans[s][b : b + BLOCK]), analysis)
            for b in range(0, len(spans[s]), BLOCK)
        ]
        for s in team.mine(len(spans))
    }
    return _Data(basis, analysis, spans, grids, limit)


def _reliability(team: Team, data: _Data, reference: Float32, shifts: Float32) -> float:
    """Return the `reliability` of centres that one search finds from the middle."""
    first, second = (
        centre(
            _all_aligned(
                team, data, identity(data.n), reference, shifts, slice(half, None, 2)
            )
        )
        for half in range(2)
    )
    share = reliability(first, second)
    team.log(f"share of the centres' variance that is not noise: {share:.2f}")
    return share


def reliability(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Return the share of the variance of estimated centres that is not noise.

    Times this share, estimates are closest to the truth on average (empirical Bayes):
    where single images say little about their centres, they had better stay.

    Parameters
    ----------
    first, second : ndarray, shape (n, 2)
        Centres estimated from either half of the data; their noise is independent,
        so that what they have in common is signal.

    Returns
    -------
    float
        Between 0 and 1.
    """
    common = float(np.mean(np.sum(first * second, axis=1)))
    each = float(np.mean(np.sum(first**2 + second**2, axis=1))) / 2
    of_half = max(common / each, 0.0) if each > 0 else 0.0
    # Twice the data: Spearman and Brown's formula for a test of double length.
    return 2 * of_half / (1 + of_half)


def _halves(
    basis: PolarBasis,
    ids: NDArray[np.intp],
    grids: list[Complex64],
    alignment: Alignment,
) -> _Halves:
    """Add up the aligned images of one span, even and odd ids apart."""
    sums: Float32 | None = None
    counts = np.zeros(2, np.intp)
    for b, grid in enumerate(grids):
        block = ids[b * BLOCK : (b + 1) * BLOCK]
        for half in range(2):
            some = np.flatnonzero(block % 2 == half)
            if not len(some):
                continue
            part = take(alignment, block[some])
            images = basis.spectra(basis.images_last(grid[some]), centre(part)[None])
            mean = average(images, part.angle[None], part.mirror[None])[0]
            if sums is None:
                sums = np.zeros((2, *mean.shape), np.float32)
            sums[half] += mean * np.float32(len(some))
            counts[half] += len(some)
    assert sums is not None  # a span holds at least one image
    return _Halves(sums, counts)


def _gathered(team: Team, own: list[_Halves]) -> _Halves:
    """Add the spans' sums in their order, the same on every rank."""
    parts = team.gather(own)
    sums = np.zeros(parts[0].sums.shape, np.float64)
    for part in parts:
        sums += part.sums
    return _Halves(sums.astype(np.float32), np.sum([p.counts for p in parts], axis=0))


def _masked(image: Float32, radius: int) -> Float32:
    inside = disc(image.shape[0], radius)
    return np.where(inside, image - image[inside].mean(), 0).astype(np.float32)


def _masked_frc(even: Float32, odd: Float32, radius: int) -> NDArray[np.float64]:
    return correlation(_masked(even, radius), _masked(odd, radius))


def _reference(
    even: Float32,
    odd: Float32,
    counts: NDArray[np.intp],
    frc: NDArray[np.float64],
    radius: int,
) -> tuple[Float32, Float32]:
    """Return the average with the low-pass that its halves support.

    Masked with mean 0, to compare images with; and whole, its background at 0, to find
    its centre: what has no mass has no centre of mass.
    """
    mean = (even * counts[0] + odd * counts[1]) / counts.sum()
    cutoff, fall_off = fit_lowpass(frc)
    masked, whole = (
        filter_image(image, min(cutoff, HIGHEST), fall_off)
        for image in (
            _masked(mean, radius),
            subtract_background(mean[None], radius)[0],
        )
    )
    return masked, whole


def _centred(
    alignment: Alignment,
    reference: Float32,
    whole: Float32,
    center_method: int,
    radius: int,
) -> tuple[Alignment, Float32]:
    """Move the average, centred by its ``whole``, and all images with it."""
    if center_method == -1:
        offset = flip(alignment.mirror, alignment.shift).mean(axis=0)
    elif center_method > 0:
        offset = find_centre(whole, center_method, radius)
    else:
        return alignment, reference
    box = reference.shape[0]
    phase = (
        offset[0] * np.fft.rfftfreq(box)[None]
        + offset[1] * np.fft.fftfreq(box)[:, None]
    )
    spectrum = np.fft.rfft2(reference) * np.exp(2j * np.pi * phase)
    moved = np.fft.irfft2(spectrum, (box, box)).astype(np.float32)
    shift = alignment.shift - flip(alignment.mirror, offset[None])
    return alignment._replace(shift=shift), moved


def _rms(vectors: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.sum(vectors**2, axis=-1))))


class _Search(NamedTuple):
    """A reference at all trial shifts, ready for `search`."""

    operand: Float32
    shifts: Float32


def _operand(
    basis: PolarBasis,
    reference: Float32,
    analysis: tuple[NDArray[np.bool_], Float32],
    shifts: Float32,
    radii: slice = slice(None),
) -> _Search:
    """Prepare a reference, or some radii of its transform, for the search."""
    spectra = basis.spectra(basis.images_last(basis.grid(reference[None], analysis)))
    kept = np.zeros_like(spectra)
    kept[..., radii, :] = spectra[..., radii, :]
    trials = np.moveaxis(basis.shifted(kept, shifts), 0, -1)[..., 0, :]
    return _Search(correlation_operand(trials)[None], shifts)


def _all_aligned(
    team: Team,
    data: _Data,
    alignment: Alignment,
    reference: Float32,
    shifts: Float32,
    radii: slice = slice(None),
) -> Alignment:
    """Align all images to the average, or by some radii, each around its centre."""
    search_at = _operand(data.basis, reference, data.analysis, shifts, radii)
    parts = team.gather(
        [
            _aligned(data.basis, data.spans[s], own, alignment, search_at, data.limit)
            for s, own in data.grids.items()
        ]
    )
    return concatenate(parts)


def _aligned(
    basis: PolarBasis,
    ids: NDArray[np.intp],
    grids: list[Complex64],
    alignment: Alignment,
    search_at: _Search,
    limit: float,
) -> Alignment:
    """Align the images of one span, see `_all_aligned`."""
    operand, shifts = search_at
    found = []
    for b, grid in enumerate(grids):
        block = ids[b * BLOCK : (b + 1) * BLOCK]
        start = centre(take(alignment, block))
        images = basis.spectra(basis.images_last(grid), start[None])
        angle, mirror, _ = search(operand, images, len(shifts))
        offset = best_shift(operand, images, angle, mirror, shifts)
        turned = from_centre(angle[0], start, mirror[0])
        moved = turned._replace(shift=turned.shift + flip(mirror[0], offset[0]))
        within = np.clip(centre(moved), -limit, limit)
        found.append(from_centre(angle[0], within, mirror[0]))
    return concatenate(found)


def unaligned_average(
    team: Team, read: Callable[[NDArray[np.intp]], Float32], n_images: int
) -> Float32:
    """Return the plain mean of all images (box, box), the same on every rank."""
    span = BLOCK * BLOCKS_PER_SUM
    starts = range(0, n_images, span)
    sums = [
        read(np.arange(starts[s], min(starts[s] + span, n_images))).sum(
            axis=0, dtype=np.float64
        )
        for s in team.mine(len(starts))
    ]
    mean: Float32 = np.sum(team.gather(sums), axis=0).astype(np.float32)
    return mean / np.float32(n_images)
