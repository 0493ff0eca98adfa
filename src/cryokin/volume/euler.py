"""Rotations: ZXZ angles of PyTom, ZYZ angles of RELION, rotation vectors.

A particle's rotation takes the reference to the particle:
``R(Z1, Z2, X) = Rz(Z2) Rx(X) Rz(Z1)`` on column vectors (x, y, z), right-handed. Z1 is
applied first, then X, then Z2; the order in files and here is (Z1, Z2, X).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

POLE = 5e-7  # |sin X| below which Z1 and Z2 turn about the same axis


def matrix(angles: ArrayLike) -> NDArray[np.float64]:
    """Return the rotation matrices of ZXZ angles.

    Parameters
    ----------
    angles : array_like, shape (..., 3)
        (Z1, Z2, X) [radian].

    Returns
    -------
    ndarray, shape (..., 3, 3)
        They act on (x, y, z).
    """
    z1, z2, x = np.moveaxis(np.asarray(angles, np.float64), -1, 0)
    return _turn(z2, 2) @ _turn(x, 0) @ _turn(z1, 2)


def angles(rotation: ArrayLike) -> NDArray[np.float64]:
    """Return the ZXZ angles of rotation matrices, the inverse of `matrix`.

    Parameters
    ----------
    rotation : array_like, shape (..., 3, 3)
        Rotation matrices.

    Returns
    -------
    ndarray, shape (..., 3)
        (Z1, Z2, X) [radian], X in 0..pi; at the poles Z1 is 0.
    """
    r = np.asarray(rotation, np.float64)
    sin_x = np.hypot(r[..., 2, 0], r[..., 2, 1])
    pole = sin_x < POLE
    z1 = np.where(pole, 0.0, np.arctan2(r[..., 2, 0], r[..., 2, 1]))
    z2 = np.where(
        pole,
        np.arctan2(r[..., 1, 0], r[..., 0, 0]),
        np.arctan2(r[..., 0, 2], -r[..., 1, 2]),
    )
    return np.stack([z1, z2, np.arctan2(sin_x, r[..., 2, 2])], axis=-1)


def inverse(angles: ArrayLike) -> NDArray[np.float64]:
    """Return the ZXZ angles of the inverse rotations: (-Z2, -Z1, -X)."""
    z1, z2, x = np.moveaxis(np.asarray(angles, np.float64), -1, 0)
    return np.stack([-z2, -z1, -x], axis=-1)


def to_relion(angles: ArrayLike) -> NDArray[np.float64]:
    """Return RELION's (rot, tilt, psi) of ZXZ angles [radian].

    RELION's Euler matrix of the result equals ``matrix(angles)``: rot = 90 - Z1,
    tilt = X, psi = -90 - Z2 (degree), here in -pi..pi.
    """
    z1, z2, x = np.moveaxis(np.asarray(angles, np.float64), -1, 0)
    return np.stack([_wrap(np.pi / 2 - z1), x, _wrap(-np.pi / 2 - z2)], axis=-1)


def from_relion(angles: ArrayLike) -> NDArray[np.float64]:
    """Return the ZXZ angles (Z1, Z2, X) of RELION's (rot, tilt, psi) [radian]."""
    rot, tilt, psi = np.moveaxis(np.asarray(angles, np.float64), -1, 0)
    return np.stack([_wrap(np.pi / 2 - rot), _wrap(-np.pi / 2 - psi), tilt], axis=-1)


def from_vector(vector: ArrayLike) -> NDArray[np.float64]:
    """Return the rotation matrices of rotation vectors (Rodrigues' formula).

    Parameters
    ----------
    vector : array_like, shape (..., 3)
        Axis (x, y, z) times angle [radian].

    Returns
    -------
    ndarray, shape (..., 3, 3)
        Rotation matrices.
    """
    v = np.asarray(vector, np.float64)
    angle = np.linalg.norm(v, axis=-1)[..., None, None]
    cross = np.zeros((*v.shape[:-1], 3, 3))
    cross[..., 0, 1], cross[..., 0, 2], cross[..., 1, 2] = (
        -v[..., 2],
        v[..., 1],
        -v[..., 0],
    )
    cross -= np.swapaxes(cross, -1, -2)
    first = np.sinc(angle / np.pi)
    second = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    rotation: NDArray[np.float64] = np.eye(3) + first * cross + second * cross @ cross
    return rotation


def _turn(angle: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return right-handed turns about a coordinate axis."""
    a, b = (axis + 1) % 3, (axis + 2) % 3
    out = np.zeros((*angle.shape, 3, 3))
    out[..., axis, axis] = 1.0
    out[..., a, a] = out[..., b, b] = np.cos(angle)
    out[..., b, a] = np.sin(angle)
    out[..., a, b] = -out[..., b, a]
    return out


def _wrap(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    wrapped: NDArray[np.float64] = (angle + np.pi) % (2 * np.pi) - np.pi
    return wrapped
