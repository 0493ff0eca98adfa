"""The particles of one job: rows of coefficients on disk, shared by all ranks."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryokin.image.geometry import Alignment, centre
from cryokin.image.polar import Complex64, Float32, PolarBasis
from cryokin.isac.alignment import average
from cryokin.isac.basis import polar_basis
from cryokin.npy import load_array
from cryokin.options import Isac
from cryokin.parallel import Team

BLOCK = 256  # images compared at a time; fixed, so that results do not see the ranks


@dataclass(frozen=True)
class Particles:
    """Some of the particles of a run.

    Attributes
    ----------
    basis : PolarBasis
    coefficients : ndarray of complex64, shape (all particles, directions, radii)
        Grid rows of the whole run; a memory map, so that the ranks of a node share one
        copy and only the rows in use are read.
    ids : ndarray of int, shape (n,)
        Ids (rows of the run) of the particles at hand. Everywhere else in this package
        particles are named by their index in this array.
    """

    basis: PolarBasis
    coefficients: Complex64
    ids: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.ids)

    def parts(self, indices: NDArray[np.intp]) -> Float32:
        """Return the images as `PolarBasis.images_last` gives them."""
        return self.basis.images_last(self.coefficients[self.ids[indices]])

    def subset(self, indices: NDArray[np.intp]) -> Particles:
        """Return some of the particles."""
        return Particles(self.basis, self.coefficients, self.ids[indices])

    def positions(self) -> NDArray[np.intp]:
        """Return the index of every particle of the run; -1: not at hand."""
        position = np.full(len(self.coefficients), -1, np.intp)
        position[self.ids] = np.arange(len(self))
        return position

    def blocks(self, team: Team) -> list[NDArray[np.intp]]:
        """Return this rank's blocks; all ranks' together hold each particle once."""
        n = len(self)
        starts = range(0, n, BLOCK)
        return [
            np.arange(starts[b], min(starts[b] + BLOCK, n))
            for b in team.mine(len(starts))
        ]

    def images(self, indices: NDArray[np.intp]) -> Float32:
        """Return particles as references, shape (2, orders, 2, radii, n)."""
        return self.basis.spectra(self.parts(indices))

    def average(self, indices: NDArray[np.intp], alignment: Alignment) -> Float32:
        """Return the mean of aligned particles, shape (2, orders, 2, radii).

        Parameters
        ----------
        indices : ndarray of int, shape (k,)
        alignment : Alignment
            Of these particles, shape (k,).
        """
        spectra = self.basis.spectra(self.parts(indices), centre(alignment)[None])
        angle, mirror = alignment.angle[None], alignment.mirror[None]
        mean: Float32 = average(spectra, angle, mirror)[0]
        return mean


def load_particles(
    coefficients: str | os.PathLike[str],
    ids: str | os.PathLike[str],
    options: Isac,
) -> Particles:
    """Return some particles of a run from its files.

    Parameters
    ----------
    coefficients : path-like
        ``coefficients.npy``; it is mapped, not read.
    ids : path-like
        List of the particles' ids.
    options : Isac
        Options of the run, as for `polar_basis`.
    """
    chosen = np.fromfile(ids, np.intp, sep=" ")
    return Particles(
        polar_basis(options), load_array(coefficients, mapped=True), chosen
    )
