"""Two-dimensional alignments: rotate, shift, then mirror.

An alignment ``(angle, shift, mirror)`` moves the point ``p = (x, y)``, measured from
the centre of the image, to ::

    q = M^mirror (R(angle) p + shift)
    R(a) = [[cos a, sin a], [-sin a, cos a]]        M = diag(-1, 1)

which is the convention of SPARX (Penczek et al.). Images are ``(y, x)`` arrays, the
centre of an n-point axis is ``n // 2``, angles are in radian, shifts are ``(x, y)`` in
pixel. Every function works on arrays of alignments of any common shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating]


class Alignment(NamedTuple):
    """Alignments of a set of images, an array each.

    Attributes
    ----------
    angle : ndarray, shape (...)
        In-plane rotation [radian].
    shift : ndarray, shape (..., 2)
        Shift ``(x, y)`` after the rotation and before the mirror [pixel].
    mirror : ndarray of bool, shape (...)
        Whether x is flipped at the end.
    """

    angle: Floats
    shift: Floats
    mirror: NDArray[np.bool_]


def identity(n: int) -> Alignment:
    """Return n alignments that change nothing."""
    return Alignment(np.zeros(n), np.zeros((n, 2)), np.zeros(n, bool))


def take(alignment: Alignment, index: Any) -> Alignment:
    """Return the alignments at ``index`` of the leading axis."""
    angle, shift, mirror = alignment
    return Alignment(angle[index], shift[index], mirror[index])


def concatenate(parts: Sequence[Alignment]) -> Alignment:
    """Return several sets of alignments, (n, ...) each, as one."""
    return Alignment(
        np.concatenate([part.angle for part in parts]),
        np.concatenate([part.shift for part in parts]),
        np.concatenate([part.mirror for part in parts]),
    )


def rotate(angle: ArrayLike, points: ArrayLike) -> Floats:
    """Return ``R(angle) p`` for points ``(..., 2)`` and angles ``(...)`` [radian]."""
    points = np.asarray(points)
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = points[..., 0], points[..., 1]
    return np.stack([cos * x + sin * y, cos * y - sin * x], axis=-1)


def flip(mirror: ArrayLike, points: ArrayLike) -> Floats:
    """Return ``M^mirror p`` for points ``(..., 2)``."""
    points = np.asarray(points)
    sign = np.where(mirror, -1, 1).astype(points.dtype)
    return np.stack(np.broadcast_arrays(sign * points[..., 0], points[..., 1]), axis=-1)


def apply(alignment: Alignment, points: ArrayLike) -> Floats:
    """Return the points ``(..., 2)`` moved by the alignments."""
    moved = rotate(alignment.angle, points) + alignment.shift
    return flip(alignment.mirror, moved)


def compose(first: Alignment, then: Alignment) -> Alignment:
    """Return the alignment that does ``first``, then ``then``."""
    sign = np.where(first.mirror, -1.0, 1.0)
    angle = np.mod(first.angle + sign * then.angle, 2 * np.pi)
    shift = rotate(sign * then.angle, first.shift) + flip(first.mirror, then.shift)
    return Alignment(angle, shift, np.logical_xor(first.mirror, then.mirror))


def invert(alignment: Alignment) -> Alignment:
    """Return the alignments that undo the given ones."""
    sign = np.where(alignment.mirror, 1.0, -1.0)
    angle = np.mod(sign * alignment.angle, 2 * np.pi)
    back = -rotate(-np.asarray(alignment.angle), alignment.shift)
    return Alignment(angle, flip(alignment.mirror, back), np.array(alignment.mirror))


def from_centre(angle: ArrayLike, centre: ArrayLike, mirror: ArrayLike) -> Alignment:
    """Return the alignments that bring the points ``centre`` (..., 2) to the origin."""
    angle = np.asarray(angle)
    return Alignment(angle, -rotate(angle, centre), np.asarray(mirror, bool))


def centre(alignment: Alignment) -> Floats:
    """Return the points (..., 2) that the alignments bring to the origin [pixel]."""
    return -rotate(-np.asarray(alignment.angle), alignment.shift)


def to_relion(alignment: Alignment) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Return the alignments as RELION writes them.

    RELION moves a particle's point to ``q = Rz(psi) diag(1, -1)^flip (p - s)``, with
    ``rlnOriginX/YAngst = -s * pixel size`` and ``rlnIsFlip = flip``.

    Returns
    -------
    psi : ndarray, shape (...)
        ``rlnAnglePsi`` [degree], in [-180, 180).
    centre : ndarray, shape (..., 2)
        The particle's centre ``s`` in the image [pixel].
    flip : ndarray of bool, shape (...)
    """
    degrees = np.degrees(alignment.angle)
    psi = np.where(alignment.mirror, 180.0 + degrees, -degrees)
    psi = np.mod(psi + 180.0, 360.0) - 180.0
    return psi, centre(alignment), np.asarray(alignment.mirror, bool)


def from_relion(psi: ArrayLike, centre: ArrayLike, flip: ArrayLike) -> Alignment:
    """Return the alignments written by `to_relion`."""
    psi, flip = np.asarray(psi, float), np.asarray(flip, bool)
    angle = np.radians(np.where(flip, psi - 180.0, -psi))
    return from_centre(np.mod(angle, 2 * np.pi), centre, flip)


def transform_image(image: ArrayLike, alignment: Alignment) -> NDArray[np.float32]:
    """Return one image (ny, nx) moved by one alignment (cubic spline, edges repeated).

    The pixel at ``q`` from the centre takes the value of the input at ``T^-1 q``.
    """
    from scipy import ndimage  # slow to import, and few steps move pixels

    image = np.asarray(image, np.float32)
    origin = np.array([n // 2 for n in image.shape])
    cos, sin = np.cos(alignment.angle), np.sin(alignment.angle)
    sign = -1.0 if alignment.mirror else 1.0
    # T^-1 q = R(angle)^T (M q - shift), written for (y, x) index order
    matrix = np.array([[cos, sin * sign], [-sin, cos * sign]])
    offset = origin + centre(alignment)[::-1] - matrix @ origin
    moved: NDArray[np.float32] = ndimage.affine_transform(
        image, matrix, offset, order=3, mode="nearest"
    )
    return moved
