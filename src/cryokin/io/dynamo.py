"""Particle tables of Dynamo (.tbl), beside the subtomograms that it cropped.

A row is a particle; its subtomogram is ``particle_<tag>.em`` in the folder of the
table. dynamotable reads the columns; here they take the meaning they have in the rest
of the program. Dynamo shifts a particle by (-dx, -dy, -dz) and turns it by
``Rz(narot) Rx(tilt) Rz(tdrot)`` to lie on the reference: the inverse of R, with the
shift as PyTom has it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from cryokin.errors import InputError
from cryokin.io.pytom_xml import Particle, SingleTiltWedge

NEEDED = ("tag", "dx", "dy", "dz", "tdrot", "tilt", "narot")
NOT_TILTED, TILTED_ABOUT_Y = 0, 1  # what a particle sampled, column ftype
SUFFIXES = (".em", ".mrc")


def read_table(path: Path) -> tuple[list[Particle], pd.DataFrame]:
    """Read a table.

    Returns
    -------
    particles : list of Particle
        With file names relative to the folder of the table.
    columns : DataFrame
        All columns, as text, under Dynamo's names behind ``dynamo``.

    Raises
    ------
    InputError
        If the table lacks columns, or tells of a tilt scheme other than one axis.
    """
    import dynamotable  # for these tables alone

    try:
        table = dynamotable.read(str(path))
    except ValueError as error:  # pandas finds no table
        raise InputError(
            f"{path}: not a table of numbers ({error}); give a Dynamo table (.tbl)."
        ) from None
    missing = [name for name in NEEDED if name not in table]
    if missing:
        raise InputError(
            f"{path}: {table.shape[1]} columns, of which {', '.join(missing)} are"
            " missing (a Dynamo table has 35 or more); give the table of the particles."
        )
    numbers = table.apply(pd.to_numeric, errors="coerce")
    if not np.isfinite(numbers[list(NEEDED)]).all(axis=None):
        raise InputError(
            f"{path}: a value of {', '.join(NEEDED)} is no number; correct the table."
        )
    particles = [_particle(path, row) for _, row in numbers.iterrows()]
    columns = table.astype(str)
    columns.columns = [f"dynamo{_capital(name)}" for name in table.columns]
    return particles, columns.loc[:, columns.columns != "dynamo"]


def _particle(path: Path, row: pd.Series[float]) -> Particle:
    stem = f"particle_{int(row['tag']):06d}"
    names = [stem + suffix for suffix in SUFFIXES]
    file = next((n for n in names if (path.parent / n).is_file()), names[0])
    return Particle(
        file=file,
        # The inverse of Rz(narot) Rx(tilt) Rz(tdrot), in the order Z1, Z2, X; half a
        # turn about z on either side turns the sign of the tilt.
        rotation=(
            180 - float(row["narot"]),
            180 - float(row["tdrot"]),
            float(row["tilt"]),
        ),
        shift=(float(row["dx"]), float(row["dy"]), float(row["dz"])),
        position=(
            float(row.get("x", 0)),
            float(row.get("y", 0)),
            float(row.get("z", 0)),
        ),
        origin=str(int(row.get("tomo", 0))),
        wedge=_wedge(path, row),
        label=str(int(row.get("ref", 0))),
    )


def _wedge(path: Path, row: pd.Series[float]) -> SingleTiltWedge:
    """Return what a particle sampled, by the columns of the tilt range [degree]."""
    kind = int(row.get("ftype", NOT_TILTED))
    if kind == NOT_TILTED:
        return SingleTiltWedge(0.0, 0.0)
    if kind != TILTED_ABOUT_Y:
        raise InputError(
            f"{path}: ftype = {kind} of particle {int(row['tag'])} (allowed: 0, all"
            " sampled, or 1, tilted about y); give 'wedge: {angles: [30, 30]}' (90 -"
            " largest tilt on either side, in degrees) in the config."
        )
    return SingleTiltWedge(90 + float(row["ymintilt"]), 90 - float(row["ymaxtilt"]))


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]
