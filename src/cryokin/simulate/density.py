"""A particle that exists on paper only, and its exact projections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation


@dataclass(frozen=True)
class Density:
    """A sum of round Gaussians.

    Attributes
    ----------
    centres : ndarray, shape (k, 3)
        Where they are, ``(x, y, z)`` [A].
    widths : ndarray, shape (k,)
        Their standard deviations [A].
    masses : ndarray, shape (k,)
        Their integrals over space.
    """

    centres: NDArray[np.float64]
    widths: NDArray[np.float64]
    masses: NDArray[np.float64]

    @property
    def radius(self) -> float:
        """Distance from the origin within which (nearly) all of it lies [A]."""
        reach = np.linalg.norm(self.centres, axis=1) + 2 * self.widths
        return float(reach.max())


def chiral_density() -> Density:
    """Return a particle without symmetry that differs from its mirror image.

    A heavy body with a head beside it, a right-handed spiral around both, and an arm:
    within 125 A of its centre of mass, which is the origin.
    """
    turn = np.radians(40.0 * np.arange(8))
    spiral = np.stack(
        [70 * np.cos(turn), 70 * np.sin(turn), np.linspace(-55, 55, 8)], axis=1
    )
    arm = np.array([[35.0, -25.0, -50.0], [55.0, -42.0, -58.0], [71.0, -58.0, -63.0]])
    body = np.array([[-10.0, 8.0, -38.0], [0.0, -14.0, 0.0], [-28.0, -20.0, 58.0]])
    centres = np.concatenate([body, spiral, arm])
    widths = np.concatenate([[24.0, 20.0, 17.0], np.linspace(13, 9, 8), [10.0] * 3])
    masses = np.concatenate([[4.5, 3.0, 2.2], np.linspace(1.2, 0.6, 8), [0.8] * 3])
    centres -= np.average(centres, axis=0, weights=masses)
    return Density(centres, widths, masses)


def project(
    density: Density,
    orientations: Rotation,
    shifts: ArrayLike,
    box: int,
    pixel_size: float,
) -> NDArray[np.float32]:
    """Return projections of a particle; nothing is interpolated.

    The projection of a Gaussian is a Gaussian; its pixels take the value at their
    centres. An orientation ``R`` means: the point ``r`` of the image's frame lies at
    ``R r`` of the particle's frame, with ``R = Rz(rot) Ry(tilt) Rz(psi)`` in RELION's
    angles, and the beam runs along z.

    Parameters
    ----------
    density : Density
        The particle.
    orientations : Rotation
        One for each of n images.
    shifts : array_like, shape (n, 2)
        Where the origin of the particle lies, ``(x, y)`` from ``box // 2`` [pixel].
    box : int
        Size of the images [pixel].
    pixel_size : float
        Size of a pixel [A].

    Returns
    -------
    ndarray, shape (n, box, box), float32
        Mass per area [1 / A^2].
    """
    seen = np.swapaxes(orientations.as_matrix(), -1, -2) @ density.centres.T
    places = seen[:, :2] + pixel_size * np.asarray(shifts, np.float64)[:, :, None]
    axis = (np.arange(box) - box // 2) * pixel_size
    height = density.masses / (2 * np.pi * density.widths**2)
    images = np.empty((len(places), box, box), np.float32)
    for image, (x, y) in zip(images, places, strict=True):
        along_x, along_y = (
            np.exp(-0.5 * ((axis - place[:, None]) / density.widths[:, None]) ** 2)
            for place in (x, y)
        )
        image[:] = (along_y * height[:, None]).T @ along_x
    return images
