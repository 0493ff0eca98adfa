"""Point groups: the rotations that leave a structure as it is.

The axes lie as RELION and PyTom have them: the main one along z; of a dihedral group a
twofold one along x; tetrahedra, octahedra and icosahedra with their twofold axes along
x, y and z.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.volume import euler

PATTERN = r"C[1-9][0-9]?|D[1-9][0-9]?|T|O|I"
SAME = 1e-6  # largest difference of the entries of equal rotations
GOLDEN = (1 + 5**0.5) / 2


def operations(name: str | None) -> NDArray[np.float64]:
    """Return the rotations of a point group, the identity first.

    Parameters
    ----------
    name : str or None
        C1 to C99, D1 to D99, T, O or I; None: C1.

    Returns
    -------
    ndarray, shape (order, 3, 3)
        They act on (x, y, z).

    Raises
    ------
    InputError
        If there is no such group.
    """
    name = name or "C1"
    if not re.fullmatch(PATTERN, name):
        raise InputError(
            f"symmetry = {name!r} is no point group (allowed: C1 to C99, D1 to D99, T,"
            " O, I); correct it in the config."
        )
    kind, fold = name[0], int(name[1:] or 1)
    about_z = _turn([0, 0, 1], fold)
    if kind == "C":
        return _group([about_z])
    if kind == "D":
        return _group([about_z, _turn([1, 0, 0], 2)])
    twofold, threefold = _turn([0, 0, 1], 2), _turn([1, 1, 1], 3)
    third = {"T": [], "O": [_turn([0, 0, 1], 4)], "I": [_turn([1, GOLDEN, 0], 5)]}
    return _group([twofold, threefold, *third[kind]])


def _turn(axis: list[float], fold: int) -> NDArray[np.float64]:
    direction = np.array(axis) / np.linalg.norm(axis)
    return euler.from_vector(2 * np.pi / fold * direction)


def _group(generators: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return all products of some rotations, in the order in which they come."""
    found = [np.eye(3)]
    for known in found:  # grows on the way
        for generator in generators:
            new = generator @ known
            if all(np.abs(new - old).max() > SAME for old in found):
                found.append(new)
    return np.array(found)
