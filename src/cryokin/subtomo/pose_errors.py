"""Errors of the given poses, taken out of the particles before they are compared.

What varies most between copies of one structure is how well they were aligned: a
small error of the pose adds a multiple of the consensus volume's derivative to a
particle. Six derivatives (three shifts, three rotations) and the consensus itself (the
grey scale) span nearly all of that, so their share of every particle, fitted inside its
own wedge, is subtracted. The fitted amounts are also a Gauss-Newton step of alignment:
with it the particles can be interpolated again at better poses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.fft
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from cryokin.device import on_host
from cryokin.parallel import Team, blocks, in_blocks
from cryokin.volume import euler, masks
from cryokin.volume.averages import FLOOR
from cryokin.volume.bands import Band, Rows, as_real, coefficients, volume_of
from cryokin.volume.filters import frequencies

BLOCK = 64  # particles per piece of work; a constant, so that ranks do not matter
LEAST_SIGNAL = 0.05  # least part of the fitted amounts' variance that is believed
CONTINUATIONS = 20  # iterations that continue a volume beyond its band
RIDGE = 1e-6  # of the 7 x 7 normal equations, relative to their diagonal


@dataclass(frozen=True)
class Corrected:
    """Residuals of the particles from their consensus.

    Attributes
    ----------
    band : Band
        The frequencies, m of them.
    y : ndarray of float32, shape (n, 2 m)
        Whitened residuals as reals: noise has variance 1/2 of the multiplicity.
    w : ndarray of float32, shape (n, m)
        Weights: a class whose whitened volume is the consensus plus ``d`` has the
        expected residual ``w d``.
    consensus : ndarray of complex64, shape (m,)
        Common volume of all particles, not whitened.
    whitening : ndarray of float32, shape (m,)
        One over the noise amplitude of a coefficient.
    amounts : ndarray, shape (n, 7)
        Fitted shift (x, y, z) [voxel], rotation vector [radian] and scale of each
        particle relative to the consensus, in the common frame.
    errors : ndarray, shape (n, 7)
        Their standard errors from the noise.
    strength : ndarray of float32, shape (m,)
        Signal of the consensus over the noise of one particle, as amplitudes, of the
        shell of each coefficient.
    occupancy : float
        Share of the coefficients whose noise is independent, see `Rows.occupancy`.
    """

    band: Band
    y: NDArray[np.float32]
    w: NDArray[np.float32]
    consensus: NDArray[np.complex64]
    whitening: NDArray[np.float32]
    amounts: NDArray[np.float64]
    errors: NDArray[np.float64]
    strength: NDArray[np.float32]
    occupancy: float

    def weighted(self, part: slice = slice(None)) -> NDArray[np.float32]:
        """Return weighted residuals as reals, shape (n, 2 m), as `ccc.tile` takes them.

        A correlation counts each shell by its ``strength``: classes differ where there
        is signal, and shells of noise alone would only blur the matrix. (Its square
        would do for differences as strong as the consensus itself in every shell; the
        first power loses less where they are not.)
        """
        weight = self.w[part] * np.sqrt(self.strength)
        return self.y[part] * np.repeat(weight, 2, axis=1)

    @property
    def noise(self) -> NDArray[np.float32]:
        """Variance of the noise of every real coefficient, shape (2 m,)."""
        return np.repeat(self.band.multiplicity / 2, 2)


def consensus(
    rows: Rows, team: Team | None = None
) -> tuple[NDArray[np.complex64], NDArray[np.float64]]:
    """Return the least-squares volume behind all particles, and its weight.

    Parameters
    ----------
    rows : Rows
        The particles, n of them.
    team : Team, optional
        Shares the particles; the result does not depend on it.

    Returns
    -------
    volume : ndarray of complex64, shape (m,)
        Band coefficients.
    weight : ndarray of float64, shape (m,)
        Sum of the squared weights of the particles, where it is not too small.
    """
    xp, n = array_namespace(rows.x, rows.w), rows.x.shape[0]

    def part(block: slice) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
        x, w = rows.x[block, ...], rows.w[block, ...]
        return (
            on_host(xp.sum(w * x, axis=0, dtype=xp.complex128)),
            on_host(xp.sum(xp.square(w), axis=0, dtype=xp.float64)),
        )

    signal, weight = (team or Team()).total(part, blocks(n, BLOCK))
    weight = np.maximum(weight, FLOOR * n)
    return (signal / weight).astype(np.complex64), weight


def derivatives(
    volume: NDArray[np.complex64],
    band: Band,
    support: NDArray[np.bool_] | None = None,
) -> NDArray[np.complex64]:
    """Return how a volume changes with its pose and its grey scale.

    Parameters
    ----------
    volume : ndarray, shape (m,)
        Band coefficients.
    band : Band
        Its frequencies.
    support : ndarray of bool, shape ``band.box``, optional
        Where the volume is not 0; default: the largest sphere.

    Returns
    -------
    ndarray, shape (7, m)
        Change for a shift along x, y, z [per voxel], a right-handed turn about x, y, z
        through the centre [per radian], and of the scale.
    """
    size = np.array(band.box[::-1])
    along = [2j * np.pi / size[axis] * band.k[:, axis] * volume for axis in range(3)]
    if support is None:
        support = masks.sphere(band.box, min(band.box) / 2 - 1, 0) > 0
    spectrum = scipy.fft.rfftn(_compact(volume, band, support))
    k = frequencies(band.box)
    k[2 * np.abs(k) == size] = 0  # a wave of two samples has no slope
    slope = [
        scipy.fft.irfftn(2j * np.pi / size[axis] * k[..., axis] * spectrum, band.box)
        for axis in range(3)
    ]
    axes = (np.arange(n) - n // 2 for n in band.box)
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    place = (x, y, z)
    turns = []
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        turn = place[u] * slope[v] - place[v] * slope[u]
        turns.append(-coefficients(turn, band))
    return np.stack([*(-row for row in along), *turns, volume]).astype(np.complex64)


def _compact(
    volume: NDArray[np.complex64], band: Band, support: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return a volume that is 0 outside its support and has the given band.

    The sharp end of the band lets a volume ring through the whole box, where a turn
    means nothing. Its continuation beyond the band follows from its support
    (Papoulis and Gerchberg's iteration).
    """
    compact = np.zeros(band.box)
    for _ in range(CONTINUATIONS):
        missing = volume - coefficients(compact, band)
        compact = np.where(support, compact + volume_of(missing, band), 0.0)
    return compact


def whitening_of(
    residuals: Callable[[slice], NDArray[np.complexfloating]],
    w: NDArray[np.float32],
    band: Band,
    team: Team,
) -> NDArray[np.float32]:
    """Return one over the noise amplitude of a coefficient, by shell, shape (m,).

    Parameters
    ----------
    residuals : callable
        Returns those of a slice of the particles; all of them counts as noise.
    w : ndarray, shape (n, m)
        Weights; only what a particle sampled counts.
    band : Band
        The frequencies.
    team : Team
        Shares the particles; the result does not depend on it.
    """

    def part(block: slice) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        power = (np.abs(residuals(block)) ** 2).sum(axis=0, dtype=np.float64)
        return power, (w[block] != 0).sum(axis=0)

    power, weight = team.total(part, blocks(len(w), BLOCK))
    shell = band.shell
    per_shell = np.bincount(shell, band.multiplicity * power) / np.maximum(
        np.bincount(shell, band.multiplicity * weight), 1
    )
    # A shell without any data must not be divided by.
    power_of = np.where(per_shell > 0, per_shell, np.inf)
    whitening: NDArray[np.float64] = 1 / np.sqrt(power_of[shell])
    return whitening.astype(np.float32)


def correct(
    rows: Rows,
    project: bool = True,
    team: Team | None = None,
    file: Path | None = None,
) -> Corrected:
    """Return whitened residuals, without the share of pose errors.

    Parameters
    ----------
    rows : Rows
        Pre-masked particles.
    project : bool, optional
        Whether that share is taken out, or only the consensus.
    team : Team, optional
        Shares the particles; the result does not depend on it.
    file : path, optional
        File (.npy) for the residuals, which are mapped then, not held in memory.
    """
    band, team = rows.band, team or Team()
    common, weight = consensus(rows, team)

    def residuals(part: slice) -> NDArray[np.complexfloating]:
        return rows.x[part] - rows.w[part] * common

    whitening = whitening_of(residuals, rows.w, band, team)
    support = None if rows.mask is None else rows.mask > 0
    tangents = derivatives(common, band, support)
    basis = as_real(np.multiply(tangents, whitening), band)

    def block(
        part: slice,
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
        y = as_real(np.multiply(residuals(part), whitening), band)
        if not project:
            return y, *np.zeros((2, len(y), len(basis)))
        return without(y, rows.w[part], basis)

    files = (file, None, None)
    y, amounts, errors = in_blocks(block, len(rows), BLOCK, team, files)
    # A template inside the mask meets all of the noise there, in fewer coefficients.
    errors = errors / np.sqrt(rows.occupancy)
    strength = _strength(band, common * whitening, weight)
    return Corrected(
        band,
        y,
        rows.w,
        common,
        whitening,
        amounts,
        errors,
        strength,
        rows.occupancy,
    )


def _strength(
    band: Band,
    white_consensus: NDArray[np.complexfloating],
    weight: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Return the amplitude of the signal in a whitened consensus, by shell."""
    count = np.maximum(np.bincount(band.shell, band.multiplicity), 1)
    power = np.bincount(band.shell, band.multiplicity * np.abs(white_consensus) ** 2)
    noise = np.bincount(band.shell, band.multiplicity / weight)
    signal = np.maximum(power - noise, noise) / count
    strength: NDArray[np.float64] = np.sqrt(signal)[band.shell]
    return strength.astype(np.float32)


def without(
    y: NDArray[np.float32], w: NDArray[np.float32], basis: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """Return particles without their least-squares share of a basis.

    On arrays of NumPy, PyTorch or CuPy, see `cryokin.device`.

    Parameters
    ----------
    y, w : array, shape (n, 2 m) and (n, m)
        Particles as reals, and their weights.
    basis : array, shape (k, 2 m)
        A particle has it times its weights.

    Returns
    -------
    y : array of float32, shape (n, 2 m)
        What is left.
    amounts, errors : array of float64, shape (n, k)
        Of the basis in each particle, and their standard errors for noise of variance
        1.
    """
    xp = array_namespace(y, w, basis)
    k, both = basis.shape[0], xp.repeat(w, 2, axis=1)
    # Normal equations are products of squared weights with those of the basis.
    real, imag = basis[:, ::2], basis[:, 1::2]
    products = real[:, None, :] * real[None, :, :] + imag[:, None, :] * imag[None, :, :]
    normal = xp.square(w) @ xp.reshape(products, (k * k, -1)).T
    normal = xp.astype(xp.reshape(normal, (-1, k, k)), xp.float64)
    scale = xp.sqrt(xp.maximum(xp.linalg.diagonal(normal), 1e-300))
    scales = scale[:, :, None] * scale[:, None, :]
    ridge = RIDGE * xp.eye(k, dtype=xp.float64, device=device(y))
    inverse = xp.linalg.inv(normal / scales + ridge) / scales
    shares = xp.astype((both * y) @ basis.T, xp.float64)
    amounts = xp.matmul(inverse, shares[:, :, None])[:, :, 0]
    left = y - both * (xp.astype(amounts, xp.float32) @ basis)
    return left, amounts, xp.sqrt(xp.linalg.diagonal(inverse))


def believed(
    amounts: NDArray[np.float64], errors: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return fitted amounts, shrunk by how much of their spread is noise.

    The spread of the true pose errors is what the fitted ones vary more than their
    standard errors explain (empirical Bayes).
    """
    spread = np.mean(amounts**2, axis=0)
    true = np.maximum(spread - np.mean(errors**2, axis=0), LEAST_SIGNAL * spread)
    both = true + errors**2
    share: NDArray[np.float64] = np.where(both > 0, true / np.maximum(both, 1e-300), 0)
    return amounts * share


def moved(
    rotations: NDArray[np.float64],
    shifts: NDArray[np.float64],
    step: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return poses after a step found in the common frame.

    Parameters
    ----------
    rotations : ndarray, shape (n, 3, 3)
        R of the particles.
    shifts : ndarray, shape (n, 3)
        (x, y, z) [voxel].
    step : ndarray, shape (n, >= 6)
        Shift d and rotation vector of the aligned particles relative to the reference.

    Returns
    -------
    rotations, shifts
        ``R exp(turn)`` and ``shift + R d``.
    """
    new_shifts = shifts + np.einsum("nij,nj->ni", rotations, step[:, :3])
    return rotations @ euler.from_vector(step[:, 3:6]), new_shifts


def removed(
    given: tuple[NDArray[np.float64], NDArray[np.float64]],
    refined: tuple[NDArray[np.float64], NDArray[np.float64]],
    amounts: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return all that was taken for an error of the pose, shape (n, 7).

    Parameters
    ----------
    given, refined : tuple of ndarray
        Rotations and shifts [voxel] before and after refinement.
    amounts : ndarray, shape (n, 7)
        Fitted at the refined poses.
    """
    turn = np.swapaxes(given[0], 1, 2) @ refined[0]
    # Of a small turn, the antisymmetric part is the rotation vector.
    skew = (turn - np.swapaxes(turn, 1, 2)) / 2
    turns = np.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], axis=1)
    shifts = np.einsum("nji,nj->ni", given[0], refined[1] - given[1])
    steps = np.concatenate([shifts, turns, np.zeros((len(turns), 1))], axis=1)
    whole: NDArray[np.float64] = amounts + steps
    return whole


def share_in_poses(
    corrected: Corrected,
    amounts: NDArray[np.float64],
    labels: NDArray[np.intp],
    support: NDArray[np.bool_] | None = None,
) -> dict[int, float]:
    """Return how much of what each class differs by looks like errors of the poses.

    A class that differs from the others by a shift, a turn or its grey scale has
    fitted amounts of another mean; their volume is compared with what is left of the
    difference, both less what noise makes of them.

    Parameters
    ----------
    corrected : Corrected
        Residuals.
    amounts : ndarray, shape (n, 7)
        All that was taken for errors, see `removed`.
    labels : ndarray of int, shape (n,)
        Classes from 0; -1: in none.
    support : ndarray of bool, optional
        See `derivatives`.

    Returns
    -------
    dict of int to float
        By class, the share of the power of its difference from all others, from 0 to 1.
    """
    tangents = derivatives(corrected.consensus, corrected.band, support)
    basis = as_real(np.multiply(tangents, corrected.whitening), corrected.band)
    gram = (basis @ basis.T).astype(np.float64)
    noise = corrected.noise.astype(np.float64)
    found = {}
    for c in np.unique(labels[labels >= 0]).tolist():
        sides = [
            np.flatnonzero(labels == c),
            np.flatnonzero((labels != c) & (labels >= 0)),
        ]
        if min(map(len, sides)) < 2:
            found[c] = 0.0
            continue
        means = [amounts[side].mean(axis=0) for side in sides]
        scatter = sum(np.cov(amounts[side].T) / len(side) for side in sides)
        step = means[0] - means[1]
        in_poses = max(float(step @ gram @ step - np.trace(gram @ scatter)), 0.0)
        (one, weight), (other, weights) = (_sums(corrected, side) for side in sides)
        both = (weight > FLOOR) & (weights > FLOOR)
        difference = one[both] / weight[both] - other[both] / weights[both]
        variance = noise[both] * (1 / weight[both] + 1 / weights[both])
        left = max(float((difference**2 - variance).sum()), 0.0)
        found[c] = in_poses / (in_poses + left) if in_poses > 0 else 0.0
    return found


def _sums(
    corrected: Corrected, members: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sums of ``w y`` and ``w^2`` over some particles, each (2 m,)."""
    signal, weight = np.zeros((2, corrected.y.shape[1]))
    for part in blocks(len(members), BLOCK):
        w = np.repeat(corrected.w[members[part]], 2, axis=1)
        signal += (w * corrected.y[members[part]]).sum(axis=0)
        weight += np.square(w).sum(axis=0)
    return signal, weight


@dataclass(frozen=True)
class Refined:
    """Particles at refined poses.

    Attributes
    ----------
    rotations, shifts : ndarray
        The poses, shape (n, 3, 3) and (n, 3) [voxel].
    rows : Rows
        Particles interpolated at these.
    corrected : Corrected
        Their residuals.
    spread : list of ndarray
        Root mean square of the fitted amounts before each step and at the end, each of
        shape (7,): voxel, radian, 1.
    """

    rotations: NDArray[np.float64]
    shifts: NDArray[np.float64]
    rows: Rows
    corrected: Corrected
    spread: list[NDArray[np.float64]]


def refine(
    make_rows: Callable[[NDArray[np.float64], NDArray[np.float64]], Rows],
    rotations: NDArray[np.float64],
    shifts: NDArray[np.float64],
    steps: int = 2,
    team: Team | None = None,
    file: Path | None = None,
    at_first: Callable[[Rows], None] | None = None,
) -> Refined:
    """Refine poses against the consensus of all particles, and correct the rows.

    Parameters
    ----------
    make_rows : callable
        Interpolates the particles at given rotations and shifts, see
        `cryokin.volume.bands.rows`.
    rotations, shifts : ndarray, shape (n, 3, 3) and (n, 3)
        Given poses [voxel].
    steps : int
        Number of Gauss-Newton steps; each interpolates the particles once more.
    team, file
        See `correct`.
    at_first : callable, optional
        Called with the particles at the given poses.
    """
    spread = []
    for step in range(steps + 1):
        rows = make_rows(rotations, shifts)
        if step == 0 and at_first is not None:
            at_first(rows)
        corrected = correct(rows, team=team, file=file)
        amounts, errors = corrected.amounts, corrected.errors
        spread.append(np.sqrt(np.mean(amounts**2, axis=0)))
        if step < steps:
            rotations, shifts = moved(rotations, shifts, believed(amounts, errors))
    return Refined(rotations, shifts, rows, corrected, spread)
