"""From where the simulated particles are seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation


def half_sphere(n: int) -> NDArray[np.float64]:
    """Return n directions spread evenly over half a sphere, by a Fibonacci spiral.

    Half a sphere holds all views that differ: from opposite directions a projection
    shows the mirror image.

    Returns
    -------
    ndarray, shape (n, 3)
        Unit vectors with z > 0.
    """
    z = 1 - (np.arange(n) + 0.5) / n
    azimuth = np.pi * (3 - np.sqrt(5)) * np.arange(n)
    ring = np.sqrt(1 - z**2)
    return np.stack([ring * np.cos(azimuth), ring * np.sin(azimuth), z], axis=1)


def seen_from(views: NDArray[np.float64], generator: np.random.Generator) -> Rotation:
    """Return orientations with the given viewing directions and random in-plane angle.

    Parameters
    ----------
    views : ndarray, shape (n, 3)
        Unit vectors: the beam in the frame of the particle.
    generator : numpy.random.Generator
        Draws the in-plane angles.
    """
    rot = np.arctan2(views[:, 1], views[:, 0])
    tilt = np.arccos(np.clip(views[:, 2], -1, 1))
    psi = generator.uniform(0, 2 * np.pi, len(views))
    return Rotation.from_euler("ZYZ", np.stack([rot, tilt, psi], axis=1))


def clustered(
    n: int,
    n_views: int,
    spread: float,
    share: float,
    generator: np.random.Generator,
) -> Rotation:
    """Return orientations of which a share gathers around a few directions.

    Parameters
    ----------
    n : int
        Number of orientations.
    n_views : int
        Number of directions, evenly spread; each is as likely as the others.
    spread : float
        Standard deviation about a direction along either axis [radian].
    share : float
        Share of the orientations that gather, 0 to 1; the others are uniform.
    generator : numpy.random.Generator
        Source of everything random here.
    """
    views = Rotation.random(n, generator).apply([0.0, 0.0, 1.0])
    gathered = generator.random(n) < share
    if gathered.any():
        directions = half_sphere(n_views)
        chosen = directions[generator.integers(n_views, size=int(gathered.sum()))]
        tilts = generator.normal(0, spread, (len(chosen), 3))
        # a turn about the direction itself would not move it: only tilts count
        tilts -= np.sum(tilts * chosen, axis=1, keepdims=True) * chosen
        views[gathered] = Rotation.from_rotvec(tilts).apply(chosen)
    return seen_from(views, generator)
