"""The polar grid on which a run's particles are analysed."""

from __future__ import annotations

from cryokin.image.filters import band_end
from cryokin.image.polar import PolarBasis
from cryokin.options import Isac


def polar_basis(options: Isac) -> PolarBasis:
    """Return the polar grid that the working stack is analysed on."""
    return PolarBasis(
        radius=options.target_radius,
        highest=band_end(options.FH, 0.0),
        inner=options.ir,
        step=options.rs,
    )
