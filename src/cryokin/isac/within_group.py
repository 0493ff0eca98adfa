"""Ab-initio, reference-free alignment of one group of images.

Started from random angles and hands again and again, a homogeneous group ends in the
same relative alignment every time; a mixed one does not. That is what the stability
test (`cryokin.isac.stability`) measures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace

from cryokin.device import beside, on_host
from cryokin.image.filters import band_end, tangent_lowpass
from cryokin.image.geometry import Alignment, centre, flip, from_centre
from cryokin.image.polar import Float32, PolarBasis
from cryokin.isac.alignment import (
    average,
    best_shift,
    correlation_operand,
    noise_power,
    own_terms,
    search,
    self_products,
    shift_grid,
    signal_share,
)

# A stage is a few passes over the angles and hands at fixed shifts and a fixed
# low-pass, then a search of the shifts at the angles found.
PASSES_PER_STAGE = 3
# One pass here does the work of three of sxisac's: angles are interpolated, shifts are
# not whole pixels, averages are weighted by their signal, and no image is compared
# with itself, which would hold it where it is.
ITERATIONS_PER_PASS = 3
LOWEST_CUTOFF = 0.1  # where the ramp of the low-pass starts [cycles/pixel]


@dataclass(frozen=True)
class Refinement:
    """Options of the within-group alignment, under the manual's names.

    Attributes
    ----------
    xr, yr, ts : float
        Range and step of the shift search [pixel].
    maxit : int
        Number of averages; one less alignment passes.
    dst : float
        Step of the discrete angles of every fourth early pass [degree]; 0: none.
    FH, FF : float
        Cut-off at the end of the low-pass ramp [cycles/pixel] and its fall-off.
    max_shift : float
        Largest distance of a particle's centre from the centre of its box [pixel].
    """

    xr: float
    yr: float
    ts: float
    maxit: int
    dst: float
    FH: float
    FF: float
    max_shift: float

    def cutoff(self, iteration: int) -> float:
        """Return the cut-off of the average of one iteration [cycles/pixel]."""
        share = iteration / max(self.maxit - 1, 1)
        return LOWEST_CUTOFF + (self.FH - LOWEST_CUTOFF) * share

    def stages(self) -> list[list[int]]:
        """Return the iterations of each stage; together one in three of ``maxit``."""
        iterations = list(range(0, max(self.maxit - 1, 1), ITERATIONS_PER_PASS))
        return [
            iterations[first : first + PASSES_PER_STAGE]
            for first in range(0, len(iterations), PASSES_PER_STAGE)
        ]

    def is_discrete(self, iteration: int) -> bool:
        """Whether a pass tries multiples of ``dst`` alone."""
        early = iteration + 1 <= self.maxit - 10
        return self.dst > 0 and iteration % 4 == 0 and early


def refine(
    basis: PolarBasis,
    parts: Float32,
    centres: Float32,
    angle: Float32,
    mirror: np.ndarray,
    options: Refinement,
) -> Alignment:
    """Align a group to its own average, several trials side by side.

    Parameters
    ----------
    basis : PolarBasis
    parts : array, shape (2, directions, radii, n)
        The group's images, from `PolarBasis.images_last`, on any device.
    centres : ndarray, shape (trials, n, 2)
        Where each trial starts: centres [pixel], ...
    angle, mirror : ndarray, shape (trials, n)
        ... random angles [radian] and hands.
    options : Refinement

    Returns
    -------
    Alignment
        Of shape (trials, n); each trial has its own, arbitrary frame.
    """
    xp = array_namespace(parts)
    shifts = shift_grid(options.xr, options.yr, options.ts)
    turn, hand = beside(angle, parts), beside(mirror, parts)
    for stage in options.stages():
        cutoff = options.cutoff(stage[-1])
        band = basis.band(band_end(cutoff, options.FF))
        gain = tangent_lowpass(basis.radii[: band.radii], cutoff, options.FF)
        low = beside(gain.astype(np.float32), parts)
        images = basis.spectra(parts, centres, band)
        noise = noise_power(images)
        for iteration in stage:
            reference = average(images, turn, hand)
            weight = low * signal_share(reference, noise)
            products = self_products(images, weight)
            reference = reference * weight[:, None, None, None, :]
            own = own_terms(products, turn, hand)
            step = np.radians(options.dst) if options.is_discrete(iteration) else 0.0
            operand = correlation_operand(reference[..., None])
            turn, hand, _ = search(operand, images, 1, step, own)
        moved = basis.shifted(xp.moveaxis(reference, 0, -1), shifts)
        operand = correlation_operand(xp.moveaxis(moved, (-1, 0), (0, -1)))
        offset = on_host(best_shift(operand, images, turn, hand, shifts))
        angle, mirror = on_host(turn), on_host(hand)
        centres = _limit(_move(angle, mirror, centres, offset), options.max_shift)
    return from_centre(angle, centres, mirror)


def _move(
    angle: Float32, mirror: np.ndarray, centres: Float32, offset: Float32
) -> Float32:
    """Return the centres after shifts ``offset`` in the frame of the reference."""
    start = from_centre(angle, centres, mirror)
    moved = Alignment(angle, start.shift + flip(mirror, offset), mirror)
    return centre(moved).astype(np.float32)


def _limit(centres: Float32, largest: float) -> Float32:
    return np.clip(centres, -largest, largest)
