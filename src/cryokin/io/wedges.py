"""Wedges as particle lists describe them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from cryokin.io import pytom_xml
from cryokin.io.em import read_em
from cryokin.volume import euler
from cryokin.volume.wedge import (
    DoubleTilt,
    TiltWedge,
    Wedge,
    WeightVolume,
    centred_weight,
)


def from_particle(
    wedge: pytom_xml.Wedge,
    folder: str | os.PathLike[str] = ".",
) -> Wedge:
    """Return the wedge that a particle list describes.

    Parameters
    ----------
    wedge : pytom_xml.Wedge
        As read, in degrees.
    folder : path-like
        Where relative names of weight volumes start.
    """
    if isinstance(wedge, pytom_xml.SingleTiltWedge):
        return _tilt_wedge(wedge)
    if isinstance(wedge, pytom_xml.DoubleTiltWedge):
        return DoubleTilt(_tilt_wedge(wedge.first), _tilt_wedge(wedge.second))
    path = Path(folder) / wedge.file
    volume = read_em(path)
    is_ctf = isinstance(wedge, pytom_xml.Wedge3dCTF)
    return WeightVolume(centred_weight(volume, path), is_ctf)


def _tilt_wedge(wedge: pytom_xml.SingleTiltWedge) -> TiltWedge:
    return TiltWedge(
        np.radians(wedge.angle1).item(),
        np.radians(wedge.angle2).item(),
        wedge.cutoff,
        wedge.smooth,
        euler.matrix(np.radians(wedge.tilt_axis)),
    )
