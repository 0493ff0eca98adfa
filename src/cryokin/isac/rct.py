"""Random conical tilt: the tilted counterparts of the members of a class.

The same specimen is imaged twice, tilted and untilted; a class of untilted particles
that differ in their rotation alone is a set of tilted views around a cone (Radermacher
et al. 1987, J. Microsc. 146:113-136). The alignment of the untilted particle gives the
azimuth of its tilted counterpart.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.image.geometry import Alignment
from cryokin.io.particles import (
    ParticleTable,
    canonical,
    image_box,
    read_particles,
)
from cryokin.isac.selected import ORIGINAL_ID, original_ids


class Pairs(NamedTuple):
    """Members of a class that have a tilted counterpart.

    Attributes
    ----------
    members : ndarray of int, shape (k,)
        Their indices among the members.
    tilted : ndarray of int, shape (k,)
        Rows of the tilted table.
    """

    members: NDArray[np.intp]
    tilted: NDArray[np.intp]


def read_tilted(path: Path, pixel_size: float) -> ParticleTable:
    """Read the tilted particles; a pixel size [A] that they lack is that of the run."""
    table = read_particles(path)
    try:
        _ = table.pixel_size
    except InputError:
        table = read_particles(path, pixel_size=pixel_size)
    return canonical(table, image_box(table))


def pairs(
    particles: ParticleTable,
    members: NDArray[np.intp],
    tilted: ParticleTable,
    match: str | None,
) -> Pairs:
    """Find the tilted counterparts of some particles.

    Parameters
    ----------
    particles : ParticleTable
        The untilted particles of the run.
    members : ndarray of int, shape (n,)
        Rows of it.
    tilted : ParticleTable
    match : str or None
        Column that has the same value for both of a pair, and a value of its own for
        each pair; None: the tables are in the same order, that of the first run where
        runs go on from each other.

    Raises
    ------
    InputError
        If the tables do not belong together, or no member has a counterpart.
    """
    if match is None:
        wanted = original_ids(particles)[members]
        same = ORIGINAL_ID in particles.particles or tilted.n == particles.n
        if not same or wanted.max(initial=-1) >= tilted.n:
            raise InputError(
                f"{tilted.source}: holds {tilted.n} tilted particles, but there are"
                f" {particles.n} in {particles.source}; give both in the same order, or"
                " tilted: {particles: ..., match: ...} with a column that pairs share."
            )
        return Pairs(np.arange(len(members)), wanted)
    row_of: dict[str, int] = {}
    for row, value in enumerate(_column(tilted, match)):
        if row_of.setdefault(value, row) != row:
            raise InputError(
                f"{tilted.source}: {match} is {value} for several particles; give a"
                " column with a value of its own for each pair as tilted: match."
            )
    values = _column(particles, match)[members]
    there = np.array([value in row_of for value in values], bool)
    if not there.any():
        raise InputError(
            f"{tilted.source}: no value of {match} is that of a member of the class;"
            " give the table of the tilted counterparts."
        )
    found = np.flatnonzero(there)
    return Pairs(found, np.array([row_of[v] for v in values[found]], np.intp))


def params_text(alignment: Alignment) -> str:
    """Return alignments as SPARX exports them: phi, sx, sy, mirror, a row an image.

    phi [degree], 0 to 360; sx, sy [pixel]: the image is turned by phi, shifted, then
    mirrored where mirror is 1.
    """
    phi = np.mod(np.degrees(alignment.angle), 360.0)
    return "".join(
        f"{angle:15.5f} {x:15.5f} {y:15.5f} {int(mirror):10d}\n"
        for angle, (x, y), mirror in zip(
            phi, alignment.shift, alignment.mirror, strict=True
        )
    )


def params_columns(alignment: Alignment) -> dict[str, list[str]]:
    """Return the same as columns of a STAR table."""
    rows = [line.split() for line in params_text(alignment).splitlines()]
    names = ("cryokinPhi", "cryokinShiftX", "cryokinShiftY", "cryokinMirror")
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def _column(table: ParticleTable, name: str) -> NDArray[np.object_]:
    values = table.text(name)
    if values is None:
        raise InputError(
            f"{table.source}: there is no column {name}, which tilted: match names;"
            " name a column of both tables."
        )
    return values
