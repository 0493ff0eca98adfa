"""Particles as rows of band-limited Fourier coefficients in the common frame.

Everything that compares particles with one another or with averages works on these
rows: ``x``, the coefficients, which are 0 where a particle did not sample, and ``w``,
the weight of its wedge there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from cryokin.errors import InputError
from cryokin.parallel import Team, in_blocks
from cryokin.volume.filters import bandpass_weight, frequencies
from cryokin.volume.resample import Kernel, align, centred
from cryokin.volume.slices import Slices
from cryokin.volume.wedge import WEAKEST_CTF, Wedge, common_frame_weight

BLOCK = 32  # particles per piece of work; a constant, so that ranks do not matter


@dataclass(frozen=True)
class Band:
    """The frequencies low <= |k| < high of half of Fourier space, without k = 0.

    Attributes
    ----------
    box : tuple of int
        (n_z, n_y, n_x) of the volumes.
    low, high : float
        Ends [Fourier pixel].
    index : ndarray of int, shape (m,)
        Places in the flattened rfftn of a volume.
    k : ndarray, shape (m, 3)
        Frequencies (x, y, z) [cycle per box].
    multiplicity : ndarray, shape (m,)
        2 where the other half of Fourier space holds a partner, else 1.
    phase : ndarray of complex64, shape (m,)
        Factor that moves the origin to the centre of the box.
    """

    box: tuple[int, int, int]
    low: float
    high: float
    index: NDArray[np.intp]
    k: NDArray[np.float64]
    multiplicity: NDArray[np.float32]
    phase: NDArray[np.complex64]

    @property
    def shell(self) -> NDArray[np.intp]:
        """Rounded radius of every frequency, shape (m,)."""
        radius: NDArray[np.float64] = np.linalg.norm(self.k, axis=1)
        return np.rint(radius).astype(np.intp)

    def __len__(self) -> int:
        return len(self.index)


def band(box: tuple[int, int, int], high: float, low: float = 0.0) -> Band:
    """Return the band low <= |k| < high of a box.

    Raises
    ------
    InputError
        If no frequency is left.
    """
    k = frequencies(box).reshape(-1, 3)
    inside = bandpass_weight(np.linalg.norm(k, axis=1), low, high) > 0
    # The mean of a volume says nothing about its structure.
    index = np.flatnonzero(inside & (k != 0).any(axis=1))
    if len(index) == 0:
        raise InputError(
            f"lowpass = {high} Fourier pixels leaves no frequency of a box of"
            f" {box[-1]} voxels (allowed: more than 1 up to {box[-1] // 2});"
            " raise lowpass in the config."
        )
    k = k[index]
    mated = (k[:, 0] == 0) | (2 * k[:, 0] == box[-1])
    turns = (k / box[::-1]) @ (np.array(box[::-1]) // 2)
    return Band(
        box,
        low,
        high,
        index,
        k,
        np.where(mated, 1, 2).astype(np.float32),
        np.exp(2j * np.pi * turns).astype(np.complex64),
    )


def coefficients(volume: NDArray[np.floating], band: Band) -> NDArray[np.complex64]:
    """Return the band coefficients of a volume about its centre, shape (m,)."""
    spectrum: NDArray[np.complexfloating] = scipy.fft.rfftn(volume)
    return (spectrum.ravel()[band.index] * band.phase).astype(np.complex64)


def volume_of(row: NDArray[np.complexfloating], band: Band) -> NDArray[np.float64]:
    """Return the volume of band coefficients, shape ``band.box``."""
    n_z, n_y, n_x = band.box
    spectrum = np.zeros((n_z, n_y, n_x // 2 + 1), np.complex128)
    spectrum.ravel()[band.index] = row * band.phase.conj()
    volume: NDArray[np.float64] = scipy.fft.irfftn(spectrum, band.box)
    return volume


@dataclass(frozen=True)
class Rows:
    """Particles in the common frame.

    Attributes
    ----------
    band : Band
        The frequencies, m of them.
    x : ndarray of complex64, shape (n, m)
        Coefficients of the signal plus noise, 0 where the weight is.
    w : ndarray of float32, shape (n, m)
        Weights: the signal in ``x`` is ``w`` times that of an unhampered particle.
    mask : ndarray, shape ``band.box``, or None
        What the particles were multiplied by.
    """

    band: Band
    x: NDArray[np.complex64]
    w: NDArray[np.float32]
    mask: NDArray[np.floating] | None = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, ids: ArrayLike) -> Rows:
        """Return the rows of some particles."""
        return replace(self, x=self.x[np.asarray(ids)], w=self.w[np.asarray(ids)])

    @property
    def occupancy(self) -> float:
        """Mean square of the mask over the box.

        Noise inside a mask has correlated coefficients: only this fraction of them
        count as independent.
        """
        if self.mask is None:
            return 1.0
        return float(np.square(self.mask, dtype=np.float64).mean())

    def weighted(self, part: slice = slice(None)) -> NDArray[np.float32]:
        """Return ``sqrt(multiplicity) w x`` of some particles as reals, (n, 2 m).

        Their scalar product is that of the volumes.
        """
        return as_real(self.w[part] * self.x[part], self.band)


def as_real(x: NDArray[np.complexfloating], band: Band) -> NDArray[np.float32]:
    """Return complex rows as real ones of the same scalar product, shape (n, 2 m)."""
    scaled = np.ascontiguousarray(x * np.sqrt(band.multiplicity), np.complex64)
    return scaled.view(np.float32)


def as_complex(real: NDArray[np.floating], band: Band) -> NDArray[np.complex64]:
    """Return the complex rows of real ones, the inverse of `as_real`."""
    pairs = np.ascontiguousarray(real, np.float32).view(np.complex64)
    return (pairs / np.sqrt(band.multiplicity)).astype(np.complex64)


def row(
    volume: NDArray[np.floating] | Slices,
    rotation: NDArray[np.float64],
    shift: ArrayLike,
    wedge: Wedge,
    mask: NDArray[np.floating] | None,
    band: Band,
    kernel: Kernel = "spline",
    own_wedge: bool = True,
) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """Return coefficients and weights of one particle in the common frame.

    The particle is interpolated once, its mean under the mask is taken off, the mask is
    multiplied, and the energy per voxel of the mask is set to 1.

    Parameters
    ----------
    volume : ndarray, shape ``band.box``, or Slices
        The subtomogram; slices bring their own weight, so that ``wedge`` counts not.
    rotation : ndarray, shape (3, 3)
        R of the particle.
    shift : array_like, shape (3,)
        (x, y, z) [voxel].
    wedge : Wedge
        What it sampled, in its own frame.
    mask : ndarray, shape ``band.box``, or None
        In the common frame, from 0 to 1.
    band : Band
        Frequencies to keep.
    kernel : {"spline", "pytom"}
        Of the interpolation.
    own_wedge : bool, optional
        Whether ``x`` is made 0 where the particle sampled nothing: interpolation
        leaks a little into that region.

    Returns
    -------
    x : ndarray of complex64, shape (m,)
        Coefficients.
    w : ndarray of float32, shape (m,)
        Weights.
    """
    if isinstance(volume, Slices):
        aligned, all_w = volume.aligned(rotation, shift)
        w = all_w.ravel()[band.index].astype(np.float32)
    else:
        where = None if mask is None else mask > 0
        source = volume if kernel == "pytom" else centred(volume)
        aligned = align(source, rotation, shift, kernel, where)
        w = common_frame_weight(wedge, rotation, band.k, band.box).astype(np.float32)
    if mask is None:
        masked = aligned - aligned.mean(dtype=np.float64)
        total = float(aligned.size)
    else:
        total = float(np.square(mask, dtype=np.float64).sum())
        mean = np.vdot(mask, aligned) / mask.sum(dtype=np.float64)
        masked = mask * (aligned - np.float32(mean))
    power = float(np.square(masked, dtype=np.float64).sum())
    x = coefficients(masked.astype(np.float32, copy=False), band)
    scale = 1 / np.sqrt(power * total) if power > 0 else 0.0
    if (
        isinstance(volume, Slices) or wedge.is_ctf
    ):  # the microscope multiplied it already
        w[np.abs(w) < WEAKEST_CTF] = 0
        x[w == 0] = 0
    elif own_wedge:
        x *= w
    return x * np.float32(scale), w


def symmetric_row(
    volume: NDArray[np.floating] | Slices,
    rotation: NDArray[np.float64],
    shift: ArrayLike,
    wedge: Wedge,
    mask: NDArray[np.floating] | None,
    band: Band,
    symmetry: NDArray[np.float64],
) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """Return the row of one particle of a symmetric structure, see `row`.

    A particle lies in the common frame in as many ways as there are rotations that
    leave the structure as it is. A symmetric average explains all of these alike, and
    of the coefficients ``x_g`` under the weights ``w_g`` it needs to know no more than
    the sums of ``w_g x_g`` and of ``w_g^2``. So the row is the first over the root of
    the second: signal times the root of the second, and the noise of one coefficient.

    Parameters
    ----------
    symmetry : ndarray, shape (order, 3, 3)
        The rotations, see `cryokin.volume.symmetry`; the others as of `row`.
    """
    signal = np.zeros(len(band), np.complex128)
    weight = np.zeros(len(band))
    for turn in symmetry:
        x, w = row(volume, rotation @ turn, shift, wedge, mask, band)
        signal += w * x
        weight += np.square(w, dtype=np.float64)
    root = np.sqrt(weight)
    x = np.divide(signal, root, np.zeros_like(signal), where=root > 0)
    return x.astype(np.complex64), root.astype(np.float32)


def rows(
    read: Callable[[int], NDArray[np.floating] | Slices],
    rotations: NDArray[np.float64],
    shifts: NDArray[np.float64],
    wedges: Sequence[Wedge],
    mask: NDArray[np.floating] | None,
    band: Band,
    kernel: Kernel = "spline",
    own_wedge: bool = True,
    team: Team | None = None,
    files: tuple[Path, Path] | None = None,
    symmetry: NDArray[np.float64] | None = None,
) -> Rows:
    """Return the rows of many particles, see `row`.

    Parameters
    ----------
    read : callable
        Returns a particle (by its id), binned to ``band.box``.
    rotations : ndarray, shape (n, 3, 3)
        Of the particles.
    shifts : ndarray, shape (n, 3)
        (x, y, z) [voxel of the binned box].
    wedges : sequence of Wedge, length n
        Of the particles.
    mask, band, kernel, own_wedge
        See `row`.
    team : Team, optional
        Shares the particles; the result does not depend on it.
    files : tuple of two paths, optional
        Files (.npy) for ``x`` and ``w``, which are mapped then, not held in memory.
    symmetry : ndarray, shape (order, 3, 3), optional
        Rotations that leave the structure as it is, see `symmetric_row`.
    """

    def one(i: int) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
        given = (read(i), rotations[i], shifts[i], wedges[i], mask, band)
        if symmetry is not None and len(symmetry) > 1:
            return symmetric_row(*given, symmetry)
        return row(*given, kernel, own_wedge)

    def block(part: slice) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
        found = [one(i) for i in range(part.start, part.stop)]
        return np.stack([x for x, _ in found]), np.stack([w for _, w in found])

    x, w = in_blocks(block, len(rotations), BLOCK, team or Team(), files)
    return Rows(band, x, w, mask)
