"""How well repeated alignments of one group agree: the pixel error.

Repeated alignments of the same images agree at best up to a common transformation of
each whole set. It is found here, and what is left is the error of each image: the root
mean square distance, over the particle's disc and over the repeats, between where the
repeats move a point and where their mean does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryokin.image.geometry import Alignment
from cryokin.isac.symmetry import NONE, Symmetry, mirrored_again, modulo, unmirrored

OUTLIER = 3.0  # images beyond this multiple of the threshold do not steer the fit
TOLERANCE = 1e-9
MAX_STEPS = 200


class Stability(NamedTuple):
    """Outcome of the test of one group of n images.

    Attributes
    ----------
    stable : ndarray of int
        Indices of the stable images, ascending.
    error : ndarray, shape (n,)
        Pixel error of each image [pixel]; inf where the hand is not reproduced or the
        image was set aside as an outlier.
    mean : Alignment
        Mean alignment of each image over the repeats, shape (n,), in the frame of the
        last repeat.
    """

    stable: NDArray[np.intp]
    error: NDArray[np.float64]
    mean: Alignment


def consistent_hands(
    mirror: NDArray[np.bool_],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Choose a flip of each repeat so that most images keep their hand throughout.

    Parameters
    ----------
    mirror : ndarray of bool, shape (repeats, n)

    Returns
    -------
    flips : ndarray of bool, shape (repeats,)
        Whether the hands of a repeat are to be flipped; never for the last.
    same : ndarray of bool, shape (n,)
        Images whose hand then agrees in all repeats.
    """
    # An image agrees with the flips that equal its own pattern of hands, so the best
    # flips are the most frequent pattern.
    patterns, which, counts = np.unique(
        mirror ^ mirror[-1], axis=1, return_inverse=True, return_counts=True
    )
    best = int(counts.argmax())
    return patterns[:, best], which.ravel() == best


def _fit(
    turn: NDArray[np.complex128],
    move: NDArray[np.complex128],
    use: NDArray[np.bool_],
    radius: float,
    common: NDArray[np.complex128],
) -> NDArray[np.complex128]:
    """Find the common transformation of each repeat that makes the repeats agree best.

    The mean over the used images of ``radius^2 (1 - rho) + Var(move)`` is minimised by
    turns: given the images' means, each repeat's rotation is a Procrustes problem with
    a closed solution, and shifts are differences of means.

    Parameters
    ----------
    turn, move : ndarray, shape (repeats, n)
    use : ndarray of bool, shape (n,)
    radius : float
    common : ndarray, shape (repeats, 2)
        Start: rotation and shift of each repeat.

    Returns
    -------
    ndarray, shape (repeats, 2)
        The last repeat's is the identity.
    """
    turn, move = turn[:, use], move[:, use]
    rotation, shift = common[:, 0], common[:, 1]
    centred = move - move.mean(axis=1, keepdims=True)
    previous = np.inf
    for _ in range(MAX_STEPS):
        mean_turn = (rotation[:, None] * turn).mean(axis=0)
        moved = rotation[:, None] * move + shift[:, None]
        mean_move = moved.mean(axis=0)
        length = np.abs(mean_turn)
        spread = np.mean(np.abs(moved - mean_move) ** 2)
        value = radius**2 * (1 - length.mean()) + spread
        if previous - value < TOLERANCE:
            break
        previous = value
        direction = mean_turn / np.maximum(length, 1e-12)
        target = mean_move - mean_move.mean()
        pull = radius**2 * (turn.conj() @ direction) + 2 * (centred.conj() @ target)
        rotation = pull / np.maximum(np.abs(pull), 1e-12)
        shift = mean_move.mean() - rotation * move.mean(axis=1)
    back = rotation[-1].conj()
    return np.stack([back * rotation, back * (shift - shift[-1])], axis=1)


def _errors(
    turn: NDArray[np.complex128],
    move: NDArray[np.complex128],
    radius: float,
    common: NDArray[np.complex128],
) -> tuple[NDArray[np.float64], NDArray[np.complex128], NDArray[np.complex128]]:
    """Return pixel errors, mean rotations (not of unit length), mean shifts, (n,)."""
    rotation, shift = common[:, :1], common[:, 1:]
    mean_turn = (rotation * turn).mean(axis=0)
    moved = rotation * move + shift
    mean_move = moved.mean(axis=0)
    spread = np.mean(np.abs(moved - mean_move) ** 2, axis=0)
    square = radius**2 * np.maximum(1 - np.abs(mean_turn), 0.0) + spread
    return np.sqrt(square), mean_turn, mean_move


def stability(
    alignments: Alignment, radius: float, threshold: float, symmetry: Symmetry = NONE
) -> Stability:
    """Test which images of a group are aligned alike in all repeats.

    Parameters
    ----------
    alignments : Alignment
        Of shape (repeats, n); each repeat has an arbitrary frame of its own.
    radius : float
        Radius of the particle [pixel].
    threshold : float
        ``thld_err``: an image is stable if its error is below this [pixel].
    symmetry : Symmetry, optional
        Of the average of the last repeat: turns that count as no error.

    Returns
    -------
    Stability
    """
    plain = _stability(alignments, radius, threshold)
    if len(symmetry.angle) == 1 and not symmetry.ring:
        return plain
    # An average that is only nearly symmetric may explain fewer images.
    turned = _stability(modulo(alignments, symmetry, radius), radius, threshold)
    return max(plain, turned, key=lambda outcome: len(outcome.stable))


def _stability(alignments: Alignment, radius: float, threshold: float) -> Stability:
    """Test images whose every turn counts."""
    mirror = np.asarray(alignments.mirror, bool)
    flips, same = consistent_hands(mirror)
    turn, move = unmirrored(alignments)
    turn = np.where(flips[:, None], -turn.conj(), turn)
    move = np.where(flips[:, None], -move.conj(), move)
    error = np.full(mirror.shape[1], np.inf)
    hand = mirror[-1]
    nobody = Stability(
        np.empty(0, np.intp), error, mirrored_again(turn[-1], move[-1], hand)
    )
    if same.sum() < 2:
        return nobody
    rotation = np.sum(turn[:, same].conj() * turn[-1, same], axis=1)
    rotation /= np.maximum(np.abs(rotation), 1e-12)
    shift = np.mean(move[-1, same] - rotation[:, None] * move[:, same], axis=1)
    common = np.stack([rotation, shift], axis=1)
    first, _, _ = _errors(turn, move, radius, common)
    use = same & (first <= OUTLIER * threshold)
    if use.sum() < 2:
        return nobody
    common = _fit(turn, move, use, radius, common)
    found, mean_turn, mean_move = _errors(turn, move, radius, common)
    error[use] = found[use]
    return Stability(
        np.flatnonzero(error < threshold),
        error,
        mirrored_again(mean_turn, mean_move, hand),
    )
