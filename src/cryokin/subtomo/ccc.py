"""Constrained correlation of all pairs of subtomograms.

Two particles are compared where both were sampled (Foerster et al., J. Struct. Biol.
161 (2008) 276). With the mask multiplied once, before the Fourier transform, all pairs
are three matrix products: the numerator, and the energy of each particle inside the
other's wedge. The exact form applies the mask to every pair after both wedges, as a
weight of the correlation in real space, and costs two Fourier transforms a pair.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import scipy.fft
from array_api_compat import array_namespace
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.files import atomic
from cryokin.io.quantities import CORRELATION
from cryokin.npy import load_array
from cryokin.parallel import Team, blocks
from cryokin.volume.bands import Band, Rows
from cryokin.volume.resample import fourier_crop

TILE = 1024  # particles of a side of a tile of matrix products
EXACT_TILE = 16  # particles of a side of a tile of transforms
EXACT_FILE = 128  # particles of a side of a tile of transforms that is kept as a file
ASYMMETRY = 1e-3  # of a matrix that rounding explains
ROWS = 64  # of a matrix, read at a time
NO_ENERGY = 1e-12  # relative to a particle's energy: the two have nothing in common

WedgeRule = Literal["both", "other"]


def tile(
    g_i: NDArray[np.float32],
    w_i: NDArray[np.float32],
    g_j: NDArray[np.float32],
    w_j: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Return the constrained correlations of two sets of particles.

    On arrays of NumPy, PyTorch or CuPy, see `cryokin.device`.

    Parameters
    ----------
    g_i, g_j : array, shape (n_i, 2 m) and (n_j, 2 m)
        Weighted coefficients as reals, see `Rows.weighted`.
    w_i, w_j : array, shape (n_i, m) and (n_j, m)
        Weights of the wedges.

    Returns
    -------
    ndarray, shape (n_i, n_j)
        From -1 to 1; 0 where two particles have no coefficient in common.
    """
    xp = array_namespace(g_i, w_i, g_j, w_j)
    numerator, in_j, in_i = (
        xp.astype(xp.matmul(one, xp.matrix_transpose(other)), xp.float64)
        for one, other in (
            (g_i, g_j),
            (_energy(g_i), xp.square(w_j)),
            (xp.square(w_i), _energy(g_j)),
        )
    )
    floor = NO_ENERGY * xp.clip(xp.max(in_j) * xp.max(in_i), 1e-300)
    product = in_j * in_i
    empty = product <= floor
    correlation = numerator / xp.sqrt(xp.where(empty, xp.ones_like(product), product))
    return xp.clip(xp.where(empty, xp.zeros_like(product), correlation), -1, 1)


def _energy(g: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the energies of the coefficients of real rows, shape (n, m)."""
    xp = array_namespace(g)
    pairs = xp.reshape(xp.square(g), (g.shape[0], -1, 2))
    energy: NDArray[np.float32] = xp.sum(pairs, axis=2)
    return energy


def tiles(n: int, size: int) -> list[tuple[slice, slice]]:
    """Return the tiles on and above the diagonal of an n x n matrix."""
    parts = blocks(n, size)
    return [(a, b) for i, a in enumerate(parts) for b in parts[i:]]


def matrix(
    g: NDArray[np.float32],
    w: NDArray[np.float32],
    team: Team | None = None,
    size: int = TILE,
) -> NDArray[np.float64]:
    """Return the constrained correlation of all pairs of pre-masked particles.

    Parameters
    ----------
    g : ndarray, shape (n, 2 m)
        Weighted coefficients as reals, see `Rows.weighted`.
    w : ndarray, shape (n, m)
        Weights of the wedges.
    team : Team, optional
        Shares the tiles; the result does not depend on it.
    size : int, optional
        Particles of a side of a tile.

    Returns
    -------
    ndarray, shape (n, n)
        Symmetric, 1 on the diagonal.
    """
    places = tiles(len(g), size)
    found = (team or Team()).map(
        lambda ij: tile(g[ij[0]], w[ij[0]], g[ij[1]], w[ij[1]]), places
    )
    return assemble(len(g), zip(places, found, strict=True))


def assemble(
    n: int,
    parts: Iterable[tuple[tuple[slice, slice], NDArray[np.float64]]],
) -> NDArray[np.float64]:
    """Put tiles together to a symmetric matrix with 1 on the diagonal."""
    whole = np.empty((n, n))
    for (rows, columns), part in parts:
        _put(whole, rows, columns, part)
    return whole


def _put(
    whole: NDArray[np.float64] | h5py.Dataset,
    rows: slice,
    columns: slice,
    part: NDArray[np.float64],
) -> None:
    """Put a tile, and its mirror image, into a symmetric matrix."""
    if rows == columns:
        upper = np.triu(part, 1)
        part = upper + upper.T
        np.fill_diagonal(part, 1)
    else:
        whole[columns, rows] = part.T
    whole[rows, columns] = part


def exact_tile(
    rows: Rows,
    mask: NDArray[np.floating] | None,
    i: slice,
    j: slice,
    rule: WedgeRule = "both",
) -> NDArray[np.float64]:
    """Return masked constrained correlations, pair by pair, of two sets of particles.

    Both volumes of a pair are restricted in Fourier space, brought to real space,
    and correlated with the mask as weight (mean and variance under the mask, too).

    Parameters
    ----------
    rows : Rows
        Particles that were not multiplied by the mask.
    mask : ndarray, shape ``rows.band.box``, or None
        Weights of the voxels.
    i, j : slice
        The two sets.
    rule : {"both", "other"}
        Whether each volume gets both wedges, or, as in PyTom, only the other's (then
        the rows must have been made with ``own_wedge=False``).

    Returns
    -------
    ndarray, shape (n_i, n_j)
        From -1 to 1; 0 where a volume is constant.
    """
    band = rows.band
    grid, voxel_mask = _coarse_grid(band, mask)
    weight = voxel_mask.ravel() / voxel_mask.sum(dtype=np.float64)
    ids_j = np.arange(len(rows))[j]
    out = np.zeros((len(rows.x[i]), len(ids_j)))
    for a, particle in enumerate(np.arange(len(rows))[i]):
        x_i, w_i = rows.x[particle], rows.w[particle]
        first = rows.w[j] * x_i
        second = w_i * rows.x[j]
        if rule == "both":
            first, second = first * w_i, second * rows.w[j]
        out[a] = _weighted_correlation(
            _real_space(first, band, grid), _real_space(second, band, grid), weight
        )
    return out


def exact_tiles(
    rows: Rows,
    mask: NDArray[np.floating] | None,
    i: slice,
    j: slice,
    rule: WedgeRule = "both",
) -> NDArray[np.float64]:
    """Return what `exact_tile` does, of sets of any size; 0 below the diagonal."""
    out = np.zeros((i.stop - i.start, j.stop - j.start))
    for a in range(i.start, i.stop, EXACT_TILE):
        for b in range(j.start, j.stop, EXACT_TILE):
            if a <= b:
                one = slice(a, min(a + EXACT_TILE, i.stop))
                other = slice(b, min(b + EXACT_TILE, j.stop))
                out[
                    one.start - i.start : one.stop - i.start,
                    other.start - j.start : other.stop - j.start,
                ] = exact_tile(rows, mask, one, other, rule)
    return out


def exact_matrix(
    rows: Rows, mask: NDArray[np.floating] | None, rule: WedgeRule = "both"
) -> NDArray[np.float64]:
    """Return the masked constrained correlation of all pairs, see `exact_tile`."""
    every = slice(0, len(rows))
    whole = exact_tiles(rows, mask, every, every, rule)
    return assemble(len(rows), [((every, every), whole)])


def compute(
    path: str | os.PathLike[str],
    n: int,
    size: int,
    part: Callable[[slice, slice], NDArray[np.float64]],
    inputs: str,
    team: Team,
    of: str = "",
) -> None:
    """Compute a symmetric matrix into an HDF5 file, tile by tile.

    Finished tiles are kept as files in the folder ``ccc_tiles`` beside it until the
    whole is there: a run that was killed goes on from these. No rank holds more of the
    matrix than a tile.

    Parameters
    ----------
    path : path-like
        Output, data set ``correlation``.
    n : int
        Number of particles.
    size : int
        Particles of a side of a tile.
    part : callable
        Computes the tile of two slices of particles; of one on the diagonal, what is
        above the diagonal counts.
    inputs : str
        Names what the matrix is computed from and how; tiles of other inputs are not
        taken.
    team : Team
        Shares the tiles; the result does not depend on it.
    of : str, optional
        What is correlated, for the attribute ``of`` of the data set.
    """
    everything = Path(path).with_name("ccc_tiles")
    folder = everything / inputs
    places = tiles(n, size)
    files = [folder / f"tile_{i.start:07d}_{j.start:07d}.npy" for i, j in places]

    def missing() -> list[int]:
        for old in everything.glob("*"):
            if old != folder:
                shutil.rmtree(old)
        return [number for number, file in enumerate(files) if not file.exists()]

    def make(number: int) -> None:
        found = part(*places[number])
        with atomic(files[number]) as partial:
            np.save(partial, found)
        team.log(f"tile {wanted.index(number) + 1} of {len(wanted)}")

    wanted = team.from_leader(missing)
    if len(wanted) < len(files):
        team.log(f"{len(files) - len(wanted)} of {len(files)} tiles were there")
    team.map(make, wanted)
    if team.leads:
        with atomic(path) as partial, h5py.File(partial, "w") as out:
            whole = out.create_dataset("correlation", (n, n), np.float64)
            whole.attrs["of"] = of
            for (i, j), file in zip(places, files, strict=True):
                _put(whole, i, j, load_array(file))
        shutil.rmtree(everything, ignore_errors=True)
    team.barrier()


def _coarse_grid(
    band: Band, mask: NDArray[np.floating] | None
) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Return the smallest grid on which the masked products are exact, and its mask.

    A product of two volumes inside |k| < F and a mask inside 2 F has no frequency that
    folds back to 0 on a grid of 4 F samples.
    """
    whole = np.ones(band.box) if mask is None else np.asarray(mask, np.float64)
    n_z, n_y, n_x = (
        min(scipy.fft.next_fast_len(int(np.ceil(4 * band.high)), True), n)
        for n in band.box
    )
    grid = (n_z, n_y, n_x)
    if grid == band.box:
        return grid, whole
    return grid, fourier_crop(whole, grid).astype(np.float64)


def _real_space(
    x: NDArray[np.complex64], band: Band, grid: tuple[int, int, int]
) -> NDArray[np.float64]:
    """Return volumes on a grid, centre at n // 2, shape (n, n_voxels)."""
    n_z, n_y, n_x = grid
    k = np.rint(band.k).astype(np.intp)
    turns = (band.k / grid[::-1]) @ (np.array(grid[::-1]) // 2)
    place = ((k[:, 2] % n_z) * n_y + k[:, 1] % n_y) * (n_x // 2 + 1) + k[:, 0]
    spectrum = np.zeros((len(x), n_z * n_y * (n_x // 2 + 1)), np.complex128)
    spectrum[:, place] = x * np.exp(-2j * np.pi * turns)
    volumes: NDArray[np.float64] = scipy.fft.irfftn(
        spectrum.reshape(len(x), n_z, n_y, n_x // 2 + 1), grid, axes=(1, 2, 3)
    )
    return volumes.reshape(len(x), -1)


def _weighted_correlation(
    a: NDArray[np.float64], b: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return Pearson correlations of rows under weights that add up to 1."""
    a = a - (a @ weight)[:, None]
    b = b - (b @ weight)[:, None]
    product = (a * b) @ weight
    power = ((a * a) @ weight) * ((b * b) @ weight)
    whole = (a * a).mean(axis=1) * (b * b).mean(axis=1)
    empty = power <= NO_ENERGY * whole + np.finfo(np.float64).tiny
    correlation: NDArray[np.float64] = product / np.sqrt(np.where(empty, 1, power))
    correlation[empty] = 0
    return np.clip(correlation, -1, 1)


def write_matrix(
    path: str | os.PathLike[str],
    matrix: NDArray[np.floating] | h5py.Dataset,
    of: str = "",
) -> None:
    """Write a matrix in the layout of ``correlation_matrix.csv``, atomically.

    Parameters
    ----------
    path : path-like
    matrix : ndarray or HDF5 data set, shape (n, n)
        A data set is read row by row.
    of : str, optional
        What is correlated, for a first line behind #, which NumPy reads over.
    """
    with atomic(path) as partial, open(partial, "w") as out:
        if of:
            out.write(f"# {of}\n")
        for start in range(0, len(matrix), ROWS):
            np.savetxt(out, matrix[start : start + ROWS], delimiter=",")


def read_matrix(
    path: str | os.PathLike[str], n_particles: int | None = None
) -> NDArray[np.float64]:
    """Read ``correlation_matrix.csv``, made symmetric to the last digit.

    Raises
    ------
    InputError
        If it is not a square matrix of correlations, or not one of ``n_particles``.
    """
    try:
        values = np.loadtxt(path, delimiter=",", ndmin=2)
    except ValueError as error:
        raise InputError(
            f"{path}: not a comma-separated matrix ({error}); give the"
            " correlation_matrix.csv of these particles."
        ) from None
    n = len(values) if n_particles is None else n_particles
    if values.shape != (n, n):
        raise InputError(
            f"{path}: {values.shape[0]} x {values.shape[1]} correlations do not fit"
            f" {n} particles; give the matrix that was computed from this list."
        )
    for wrong, expected in (
        (~CORRELATION.holds(values), str(CORRELATION)),
        (np.abs(values - values.T) > ASYMMETRY, "a symmetric matrix"),
    ):
        if wrong.any():
            i, j = (int(place[0]) for place in np.nonzero(wrong))
            raise InputError(
                f"{path}: line {i + 1}, column {j + 1} is {values[i, j]:g}, and the"
                f" other way round {values[j, i]:g} ({np.count_nonzero(wrong)} such"
                f" values), expected {expected}; compute the matrix again."
            )
    return (values + values.T) / 2
