"""Rotations and hands that leave a class average as it is, beyond noise.

A particle may be seen along an axis of symmetry, and then an image lies equally well on
the average at several angles, or in both hands. Which these are is found from the
average itself: where its correlation with itself, without the share of the noise, is
as high as at rest. No symmetry is asked of the user, and none is imposed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryokin.image.geometry import Alignment
from cryokin.image.polar import Float32
from cryokin.isac.alignment import angular_curves, correlation_operand

# A turned average is the same if turning it changes the signal by no more than so many
# times what noise does: what images were aligned to adds up their noise, too, ...
NOISE = 4.0
# ... but never if the signals correlate by less than this at an angle, ...
SAME = 0.8
# ... or, for a ring, which has no angle to be found, at any angle.
RING = 0.75


class Symmetry(NamedTuple):
    """Turns of an average that leave it as it is.

    Attributes
    ----------
    angle : ndarray, shape (s,)
        [radian]; the first is no turn at all.
    mirror : ndarray of bool, shape (s,)
        Whether the turned average is seen in the mirror as well.
    ring : bool
        Any angle will do, and if one of the turns mirrors, in either hand.
    """

    angle: NDArray[np.float64]
    mirror: NDArray[np.bool_]
    ring: bool = False


NONE = Symmetry(np.zeros(1), np.zeros(1, bool))


def signal_power(power: float, n: int) -> float:
    """Return the power of the signal in a mean of n images of unit length.

    Unrelated images have a mean of power 1 / n, equal ones of power 1.

    Parameters
    ----------
    power : float
        Of the mean.
    n : int
    """
    return (n * power - 1) / (n - 1) if n > 1 else 0.0


def symmetry_of(average: Float32, n: int) -> Symmetry:
    """Return the turns that leave an average as it is.

    Parameters
    ----------
    average : ndarray, shape (2, orders, 2, radii)
        Mean of aligned images of unit length.
    n : int
        Number of the images.
    """
    power = float(np.sum(average**2))
    signal = signal_power(power, n)
    if signal <= 0:
        return NONE
    noise = power - signal
    least = 1 - NOISE * noise / (signal + 2 * noise)
    operand = correlation_operand(average[..., None])
    straight, mirrored = angular_curves(operand, average[..., None])[..., 0] / signal
    if straight.min() >= max(RING, least):
        hands = [False, True] if mirrored.max() >= max(RING, least) else [False]
        return Symmetry(np.zeros(len(hands)), np.array(hands), ring=True)
    turns = [0.0, *(a for a in _peaks(straight, max(SAME, least)) if a > 0)]
    flips = _peaks(mirrored, max(SAME, least))
    mirror = np.arange(len(turns) + len(flips)) >= len(turns)
    return Symmetry(np.array([*turns, *flips]), mirror)


def _peaks(curve: NDArray[np.floating], least: float) -> list[float]:
    """Return the best angle of every stretch of the circle where a curve is high.

    The stretch around no turn at all is given as 0.
    """
    count = len(curve)
    high = curve >= least
    if not high.any():
        return []
    if high.all():
        return [float(curve.argmax()) * 2 * np.pi / count]
    shift = int(np.flatnonzero(~high)[0])  # begin where no stretch is cut in two
    rolled = np.roll(np.arange(count), -shift)
    ends = np.concatenate([[0], high[rolled].astype(int), [0]])
    edges = np.flatnonzero(np.diff(ends))
    found = []
    for start, stop in edges.reshape(-1, 2):
        stretch = rolled[start:stop]
        best = 0 if 0 in stretch else int(stretch[curve[stretch].argmax()])
        found.append(best * 2 * np.pi / count)
    return found


def unmirrored(
    alignment: Alignment,
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Return rotations and shifts as complex numbers in the frame after the mirror.

    An alignment sends the image's point z = x + i y to ``turn z + move``, or, with the
    mirror, to ``turn conj(z) + move``. A common transformation of a repeat multiplies
    and shifts all of them alike, whatever their hand, so no case is to be made.
    """
    angle = np.asarray(alignment.angle, float)
    shift = alignment.shift[..., 0] + 1j * alignment.shift[..., 1]
    turn = np.where(alignment.mirror, -np.exp(1j * angle), np.exp(-1j * angle))
    move = np.where(alignment.mirror, -np.conj(shift), shift)
    return turn, move


def mirrored_again(
    turn: NDArray[np.complex128],
    move: NDArray[np.complex128],
    mirror: NDArray[np.bool_],
) -> Alignment:
    """Return the alignment that `unmirrored` takes apart."""
    angle = np.where(mirror, np.angle(-turn), -np.angle(turn))
    shift = np.where(mirror, -np.conj(move), move)
    return Alignment(
        np.mod(angle, 2 * np.pi), np.stack([shift.real, shift.imag], axis=-1), mirror
    )


class _Poses(NamedTuple):
    """Alignments as `unmirrored` has them, (..., n)."""

    turn: NDArray[np.complex128]
    move: NDArray[np.complex128]
    mirror: NDArray[np.bool_]

    @classmethod
    def of(cls, alignment: Alignment) -> _Poses:
        return cls(*unmirrored(alignment), np.asarray(alignment.mirror, bool))

    def then(self, turn: NDArray[np.complex128], mirror: NDArray[np.bool_]) -> _Poses:
        """Turn, or mirror and turn, what is aligned."""
        return _Poses(
            turn * np.where(mirror, self.turn.conj(), self.turn),
            turn * np.where(mirror, self.move.conj(), self.move),
            self.mirror ^ mirror,
        )

    def apart(self, other: _Poses, radius: float) -> NDArray[np.float64]:
        """Return the mean square distance of points moved by both; inf: other hand."""
        square = np.abs(self.move - other.move) ** 2
        square = square + radius**2 / 2 * np.abs(self.turn - other.turn) ** 2
        return np.where(self.mirror == other.mirror, square, np.inf)


def _nearest(
    poses: _Poses, target: _Poses, symmetry: Symmetry, radius: float
) -> tuple[_Poses, NDArray[np.float64]]:
    """Turn poses (..., n) as the symmetry allows, each nearest to its target (n,).

    Returns
    -------
    the turned poses, and their mean square distances (..., n)
    """
    shape = (-1, *np.ones(poses.turn.ndim, int))
    turns, _ = unmirrored(
        Alignment(symmetry.angle, np.zeros((len(symmetry.angle), 2)), symmetry.mirror)
    )
    choices = _Poses(poses.turn[None], poses.move[None], poses.mirror[None]).then(
        turns.reshape(shape), symmetry.mirror.reshape(shape)
    )
    if symmetry.ring:
        choices = choices.then(target.turn / choices.turn, np.array(False))
    squares = choices.apart(target, radius)
    best = squares.argmin(axis=0)[None]
    turned = _Poses(
        np.take_along_axis(choices.turn, best, axis=0)[0],
        np.take_along_axis(choices.move, best, axis=0)[0],
        np.take_along_axis(choices.mirror, best, axis=0)[0],
    )
    return turned, np.take_along_axis(squares, best, axis=0)[0]


def modulo(alignments: Alignment, symmetry: Symmetry, radius: float) -> Alignment:
    """Return repeated alignments with each image turned as near as can be to its last.

    Each repeat has an arbitrary frame of its own. The transformation to that of the
    last, in which the symmetry is known, is the one under which most images agree.

    Parameters
    ----------
    alignments : Alignment
        Shape (repeats, n).
    symmetry : Symmetry
        Of the average of the last repeat.
    radius : float
        [pixel]
    """
    poses = _Poses.of(alignments)
    target = _Poses(*(part[-1] for part in poses))
    found = [
        _into_frame(_Poses(*(part[r] for part in poses)), target, symmetry, radius)
        for r in range(len(poses.turn) - 1)
    ]
    return mirrored_again(
        *(np.stack([*parts, last]) for *parts, last in zip(*found, target, strict=True))
    )


FRAMES = 96  # angles tried between the frames of two repeats


def _into_frame(
    poses: _Poses, target: _Poses, symmetry: Symmetry, radius: float
) -> _Poses:
    """Bring one repeat into the frame of the last, and each image near to its target.

    The angle between the frames is tried in steps, without the shifts; then angle and
    shift are fitted.
    """
    still = _Poses(poses.turn, np.zeros_like(poses.move), poses.mirror)
    there = _Poses(target.turn, np.zeros_like(target.move), target.mirror)
    count = 1 if symmetry.ring else FRAMES
    frames = np.exp(-2j * np.pi * np.arange(count) / count)[:, None]
    tried, costs = [], []
    # An image that does not fit weighs the same wherever it lies.
    most = (radius / 4) ** 2
    for flipped in (False, True):
        turned, squares = _nearest(
            still.then(frames, np.array(flipped)), there, symmetry, radius
        )
        total = np.minimum(squares, most).sum(axis=-1)
        best = int(total.argmin())
        tried.append(_Poses(*(part[best] for part in turned)))
        costs.append(total[best])
    flipped = bool(costs[1] < costs[0])
    chosen = tried[int(flipped)]
    # The turn of each image that the symmetry allows, taken off its target, leaves what
    # is common to all, which now can be fitted without steps, and with the shift.
    framed = poses.then(np.ones(1, complex), np.array(flipped))
    mirror = chosen.mirror ^ framed.mirror
    turn = chosen.turn / np.where(mirror, framed.turn.conj(), framed.turn)
    back = target.then(np.where(mirror, turn, turn.conj()), mirror)
    fits = chosen.apart(there, radius) < most
    if not fits.any():
        return poses
    common = np.sum((back.turn * framed.turn.conj())[fits])
    common /= max(abs(common), 1e-12)
    shift = np.mean((back.move - common * framed.move)[fits])
    moved = _Poses(common * framed.turn, common * framed.move + shift, framed.mirror)
    return moved.then(turn, mirror)
