"""Class averages of subtomograms, weighted by what each particle sampled.

An average is the least-squares volume behind its members: the sum of ``w x`` divided
by the sum of ``w^2``, frequency by frequency, where enough members saw the frequency.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.parallel import Team
from cryokin.volume.filters import frequencies
from cryokin.volume.resample import Kernel, align, centred
from cryokin.volume.slices import Slices
from cryokin.volume.wedge import Wedge, common_frame_weight

BLOCK = 16  # members per partial sum; a constant, so that ranks do not matter
FLOOR = 0.05  # least mean weight by which a frequency is divided
EDGE = 2  # Fourier pixels below half the box where the average ends


@dataclass(frozen=True)
class Sums:
    """What is left of the members of an average.

    Attributes
    ----------
    signal : ndarray of complex128, shape (n_z, n_y, n_x // 2 + 1)
        Sum of the weighted spectra.
    weight : ndarray of float64, shape (n_z, n_y, n_x // 2 + 1)
        Sum of the squared weights.
    n : int
        Number of members.
    box : tuple of int
        (n_z, n_y, n_x).
    """

    signal: NDArray[np.complex128]
    weight: NDArray[np.float64]
    n: int
    box: tuple[int, int, int]

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.signal + other.signal,
            self.weight + other.weight,
            self.n + other.n,
            self.box,
        )


def normalised(
    volume: NDArray[np.floating], mask: NDArray[np.floating] | None = None
) -> NDArray[np.float32]:
    """Return a volume of mean 0 and standard deviation 1 (under a mask).

    A constant volume becomes 0, so it adds nothing to an average.
    """
    weight = np.ones(volume.shape) if mask is None else np.asarray(mask, np.float64)
    total = weight.sum()
    mean = np.vdot(weight, volume) / total
    centred = np.asarray(volume, np.float64) - mean
    variance = np.vdot(weight, centred**2) / total
    scale = 1 / np.sqrt(variance) if variance > 0 else 0.0
    scaled: NDArray[np.float64] = centred * scale
    return scaled.astype(np.float32)


def sums(
    read: Callable[[int], NDArray[np.floating] | Slices],
    members: Sequence[int],
    rotations: NDArray[np.float64],
    shifts: NDArray[np.float64],
    wedges: Sequence[Wedge],
    kernel: Kernel = "spline",
    mask: NDArray[np.floating] | None = None,
    team: Team | None = None,
    sides: Sequence[int] | None = None,
    symmetry: NDArray[np.float64] | None = None,
) -> tuple[Sums, Sums]:
    """Return the sums over two halves of the members.

    Parameters
    ----------
    read : callable
        Returns a particle by its id: its subtomogram, or its slices.
    members : sequence of int
        Ids.
    rotations, shifts, wedges
        Of all particles, by id; see `cryokin.volume.bands.rows`.
    kernel : {"spline", "pytom"}
        Of the interpolation.
    mask : ndarray, optional
        Where the particles are brought to mean 0 and standard deviation 1, in the
        common frame; default: the whole box.
    team : Team, optional
        Shares the members; the result does not depend on it.
    sides : sequence of int, optional
        The half, 0 or 1, of every member; default: they take turns.
    symmetry : ndarray, shape (order, 3, 3), optional
        Rotations that leave the structure as it is: every member is added in each of
        these ways to lie.

    Raises
    ------
    InputError
        If there is no member.
    """
    if len(members) == 0:
        raise InputError(
            "a class average of 0 particles was asked for; leave empty classes out."
        )

    turns = np.eye(3)[None] if symmetry is None else symmetry
    half_of = [place % 2 for place in range(len(members))] if sides is None else sides

    def block(start: int) -> tuple[Sums, Sums]:
        halves: list[Sums | None] = [None, None]
        for place in range(start, min(start + BLOCK, len(members))):
            i, half = members[place], half_of[place]
            volume = read(i)
            for turn in turns:
                placed = rotations[i] @ turn
                one = _one(volume, placed, shifts[i], wedges[i], kernel, mask)
                before = halves[half]
                halves[half] = one if before is None else before + one
        box = next(half.box for half in halves if half is not None)
        first, second = (empty(box) if half is None else half for half in halves)
        return first, second

    parts = (team or Team()).map(block, range(0, len(members), BLOCK))
    even, odd = parts[0]
    for more_even, more_odd in parts[1:]:
        even, odd = even + more_even, odd + more_odd
    return even, odd


def empty(box: tuple[int, int, int]) -> Sums:
    """Return the sums of no members."""
    shape = (*box[:2], box[2] // 2 + 1)
    return Sums(np.zeros(shape, np.complex128), np.zeros(shape), 0, box)


def _one(
    volume: NDArray[np.floating] | Slices,
    rotation: NDArray[np.float64],
    shift: NDArray[np.float64],
    wedge: Wedge,
    kernel: Kernel,
    mask: NDArray[np.floating] | None,
) -> Sums:
    if isinstance(volume, Slices):
        moved, w = volume.aligned(rotation, shift)
        box = (volume.box,) * 3
    else:
        moved = align(centred(volume), rotation, shift, kernel)
        n_z, n_y, n_x = moved.shape
        box = (n_z, n_y, n_x)
        w = common_frame_weight(wedge, rotation, frequencies(box), box)
    aligned = normalised(moved, mask)
    spectrum: NDArray[np.complex128] = scipy.fft.rfftn(aligned.astype(np.float64))
    # A wedge still has to be applied to the data, a CTF is in them already.
    seen = w if isinstance(volume, Slices) or wedge.is_ctf else w**2
    return Sums((spectrum * seen).astype(np.complex128), w**2, 1, box)


def average(total: Sums) -> NDArray[np.float32]:
    """Return the average behind sums, shape ``total.box``.

    Frequencies that less than 5 % of the members saw are damped; beyond half the box
    less 2 Fourier pixels there are none.
    """
    radius = np.linalg.norm(frequencies(total.box), axis=-1)
    weight = np.maximum(total.weight, FLOOR * total.n)
    spectrum = np.where(radius < min(total.box) // 2 - EDGE, total.signal / weight, 0)
    volume: NDArray[np.float64] = scipy.fft.irfftn(spectrum, total.box)
    return volume.astype(np.float32)
