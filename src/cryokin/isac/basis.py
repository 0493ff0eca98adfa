"""The polar grid on which a run's particles are analysed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryokin.image.filters import band_end
from cryokin.image.polar import PolarBasis


def polar_basis(options: Mapping[str, Any]) -> PolarBasis:
    """Return the polar grid that the working stack is analysed on."""
    return PolarBasis(
        radius=options["target_radius"],
        highest=band_end(options["FH"], 0.0),
        inner=options["ir"],
        step=options["rs"],
    )
