"""Comparing class averages with each other: all angles, both hands, small shifts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryokin.image.geometry import Alignment, compose, concatenate, flip, identity
from cryokin.image.polar import Float32, PolarBasis
from cryokin.isac.alignment import (
    best_scores,
    best_shift,
    correlation_operand,
    search,
    shift_grid,
)

BLOCK = 32  # averages taken as references at a time


def average_spectra(averages: ArrayLike, basis: PolarBasis) -> Float32:
    """Return class averages (k, box, box) as spectra (2, orders, 2, radii, k)."""
    averages = np.asarray(averages, np.float32)
    grid = basis.grid(averages, basis.analysis(averages.shape[-1]))
    return basis.spectra(basis.images_last(grid))


def similarity(spectra: Float32, basis: PolarBasis, reach: float = 1.0) -> Float32:
    """Return how alike averages are, whatever their rotation and hand.

    Parameters
    ----------
    spectra : ndarray, shape (2, orders, 2, radii, k)
        From `average_spectra`.
    basis : PolarBasis
    reach : float
        Largest shift that is tried, in whole steps [pixel].

    Returns
    -------
    ndarray, shape (k, k)
        Best correlation coefficients, symmetric, 1 on the diagonal.
    """
    shifts = shift_grid(reach, reach, 1.0)
    k = spectra.shape[-1]
    scores = np.empty((k, k), np.float32)
    for first in range(0, k, BLOCK):
        moved = basis.shifted(spectra[..., first : first + BLOCK], shifts)
        beside = np.moveaxis(moved, 0, -1)  # the shifts of a reference side by side
        operand = correlation_operand(beside.reshape(*beside.shape[:-2], -1))
        scores[first : first + BLOCK] = best_scores(operand, spectra, len(shifts))
    alike: Float32 = np.maximum(scores, scores.T)
    np.fill_diagonal(alike, 1.0)
    return alike


def laid_onto(
    reference: Float32, spectra: Float32, basis: PolarBasis, reach: float = 2.0
) -> Alignment:
    """Return the alignments that bring averages onto another, shape (k,).

    Parameters
    ----------
    reference : ndarray, shape (2, orders, 2, radii)
    spectra : ndarray, shape (2, orders, 2, radii, k)
    basis : PolarBasis
    reach : float
        Largest shift that is tried [pixel]; the best one is interpolated.
    """
    shifts = shift_grid(reach, reach, 1.0)
    moved = basis.shifted(reference[..., None], shifts)
    operand = correlation_operand(np.moveaxis(moved, (-1, 0), (0, -1)))
    angle, mirror, _ = search(operand, spectra[None], len(shifts))
    offset = best_shift(operand, spectra[None], angle, mirror, shifts)[0]
    return Alignment(angle[0].astype(float), flip(mirror[0], offset), mirror[0])


def tour_alignment(
    spectra: Float32, order: NDArray[np.intp], basis: PolarBasis
) -> Alignment:
    """Return the alignments that turn every average of a tour onto the one before it.

    Parameters
    ----------
    spectra : ndarray, shape (2, orders, 2, radii, k)
        From `average_spectra`.
    order : ndarray of int, shape (k,)
        From `tour`.
    basis : PolarBasis

    Returns
    -------
    Alignment
        Shape (k,), in the order of the tour; the first average stays as it is.
    """
    found = [identity(1)]
    for before, here in pairwise(order):
        step = laid_onto(spectra[..., before], spectra[..., [here]], basis)
        found.append(compose(step, found[-1]))
    return concatenate(found)
