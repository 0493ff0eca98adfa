"""Wedges as particle lists describe them."""

from __future__ import annotations

import numpy as np

from cryokin.io import pytom_xml
from cryokin.volume import euler
from cryokin.volume.wedge import DoubleTilt, TiltWedge, Wedge


def from_particle(
    wedge: pytom_xml.SingleTiltWedge | pytom_xml.DoubleTiltWedge,
) -> Wedge:
    """Return the wedge of the tilts that a particle list tells [degree]."""
    if isinstance(wedge, pytom_xml.SingleTiltWedge):
        return _tilt_wedge(wedge)
    return DoubleTilt(_tilt_wedge(wedge.first), _tilt_wedge(wedge.second))


def _tilt_wedge(wedge: pytom_xml.SingleTiltWedge) -> TiltWedge:
    return TiltWedge(
        np.radians(wedge.angle1).item(),
        np.radians(wedge.angle2).item(),
        wedge.cutoff,
        wedge.smooth,
        euler.matrix(np.radians(wedge.tilt_axis)),
    )
