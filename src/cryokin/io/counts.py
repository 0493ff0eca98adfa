"""The size of a set of particles; quick to import."""

from __future__ import annotations

from typing import NamedTuple


class Counts(NamedTuple):
    """Size of a set of particles.

    Attributes
    ----------
    n : int
        Number of particles.
    box : int
        Side of the images or volumes [pixel or voxel].
    """

    n: int
    box: int
