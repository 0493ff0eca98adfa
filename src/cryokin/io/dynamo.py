"""Particle tables of Dynamo (.tbl), beside the subtomograms that it cropped.

A row is a particle; its subtomogram is ``particle_<tag>.em`` in the folder of the
table, with as many digits as there are. dynamotable reads the columns; here they take
the meaning they have in the rest of the program. Dynamo shifts a particle by (-dx, -dy,
-dz) and turns it by ``Rz(narot) Rx(tilt) Rz(tdrot)`` to lie on the reference: the
inverse of R, with the shift as PyTom has it.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from cryokin.errors import InputError
from cryokin.io import quantities
from cryokin.io.pytom_xml import DoubleTiltWedge, Particle, SingleTiltWedge, Wedge
from cryokin.io.quantities import Quantity

NEEDED = ("tag", "dx", "dy", "dz", "tdrot", "tilt", "narot")
#: The columns that are used, and what they hold.
HOLDS = {
    "tag": Quantity("number of a particle", "", 0, 2**31 - 1, whole=True),
    **dict.fromkeys(("dx", "dy", "dz"), quantities.SHIFT),
    **dict.fromkeys(("tdrot", "tilt", "narot"), quantities.ANGLE),
    **dict.fromkeys(("x", "y", "z"), quantities.POSITION),
    "tomo": Quantity("number of a tomogram", "", -(2**31), 2**31 - 1, whole=True),
    "ref": Quantity("number of a reference", "", -(2**31), 2**31 - 1, whole=True),
}
FTYPE = Quantity("kind of sampling", "", 0, 4, whole=True)
# What a particle sampled, column ftype: all, what series tilted about these axes see.
ALL, ABOUT_Y, ABOUT_X, ABOUT_BOTH = range(4)
X_AXIS = (-90.0, 0.0, 0.0)  # turn that takes the y axis to the x axis, Z1 Z2 X
SUFFIXES = (".em", ".mrc")


def read_table(
    path: Path, with_wedges: bool = True, search: Path | None = None
) -> tuple[list[Particle], pd.DataFrame, float | None]:
    """Read a table.

    Parameters
    ----------
    path : Path
    with_wedges : bool, optional
        Whether the columns of the tilt range count; else, all was sampled.
    search : Path, optional
        Where the subtomograms are if they are not beside the table, as those of a
        refined table; default: the working folder.

    Returns
    -------
    particles : list of Particle
        With file names relative to the folder of the table or to ``search``.
    columns : DataFrame
        All columns, as text, under Dynamo's names behind ``dynamo``.
    pixel_size : float or None
        [angstrom], where the table tells one.

    Raises
    ------
    InputError
        If the table lacks columns, a value in it cannot be, or it tells of a way to
        tilt that is not known here.
    """
    import dynamotable  # for these tables alone

    try:
        table = dynamotable.read(str(path))
    except (ValueError, IndexError) as error:  # pandas finds no table
        why = " ".join(str(error).split())
        raise InputError(
            f"{path}: not a table of numbers ({why}); give a Dynamo table (.tbl)."
        ) from None
    missing = [name for name in NEEDED if name not in table]
    if missing:
        raise InputError(
            f"{path}: {table.shape[1]} columns, of which {', '.join(missing)} are"
            " missing (a Dynamo table has 35 or more); give the table of the particles."
        )
    numbers = pd.DataFrame(
        {
            name: quantities.numbers(path, f"{name} (column {place})", table[name], of)
            for name, of in HOLDS.items()
            if name in table
            for place in [table.columns.get_loc(name) + 1]
        }
    )
    there = files_by_tag(path.parent) or files_by_tag(search or Path.cwd())
    wedges: list[Wedge] = [SingleTiltWedge()] * len(table)
    if with_wedges and "ftype" in table:
        wedges = _wedges(path, table)
    rows = [row for _, row in numbers.iterrows()]
    particles = [
        _particle(there, row, wedge) for row, wedge in zip(rows, wedges, strict=True)
    ]
    columns = table.astype(str)
    columns.columns = [f"dynamo{_capital(name)}" for name in table.columns]
    columns = columns.loc[:, columns.columns != "dynamo"]
    return particles, columns, _pixel_size(path, table)


def files_by_tag(folder: Path) -> dict[int, str]:
    """Return the subtomograms in a folder by their tags, written in any width."""
    names = sorted(p.name for p in folder.glob("particle_*") if p.suffix in SUFFIXES)
    found = ((re.fullmatch(r"particle_(\d+)\.\w+", name), name) for name in names)
    # EM before MRC, as Dynamo's own.
    return {int(tag[1]): name for tag, name in reversed(list(found)) if tag}


def _particle(there: dict[int, str], row: pd.Series[float], wedge: Wedge) -> Particle:
    tag = int(row["tag"])
    return Particle(
        file=there.get(tag, f"particle_{tag:06d}.em"),
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
        wedge=wedge,
        label=str(int(row.get("ref", 0))),
    )


def _wedges(path: Path, table: pd.DataFrame) -> list[Wedge]:
    """Return what every particle sampled, by the columns of the tilt ranges."""
    kinds = quantities.numbers(
        path, "ftype (column 13)", table["ftype"].to_numpy(), FTYPE
    )
    unknown = np.flatnonzero(kinds > ABOUT_BOTH)
    if len(unknown):
        raise InputError(
            f"{path}: ftype = {kinds[unknown[0]]:g} of particle {unknown[0] + 1}"
            " (known: 0, all sampled, 1, tilted about y, 2, about x, 3, about both);"
            " give 'wedge: {angles: [30, 30]}' (90 + lowest tilt, 90 - highest tilt"
            " about y, in degrees) in the config."
        )
    tilts = {}
    for name, used in (("y", (ABOUT_Y, ABOUT_BOTH)), ("x", (ABOUT_X, ABOUT_BOTH))):
        counts = np.isin(kinds, used)
        for end in ("mintilt", "maxtilt"):
            column = f"{name}{end}"
            # Where a range is not used anything may stand there.
            values = np.where(counts, table.get(column, np.nan), 0.0)
            if counts.any():
                values = quantities.numbers(path, column, values, quantities.TILT)
            tilts[column] = np.asarray(values, np.float64)
    return [
        _wedge(path, number, int(kind), {name: v[number] for name, v in tilts.items()})
        for number, kind in enumerate(kinds)
    ]


def _wedge(path: Path, number: int, kind: int, tilts: dict[str, float]) -> Wedge:
    """Return what a particle sampled [degree]."""
    if kind == ALL:
        return SingleTiltWedge()

    def series(name: str, axis: tuple[float, float, float]) -> SingleTiltWedge:
        low, high = float(tilts[f"{name}mintilt"]), float(tilts[f"{name}maxtilt"])
        if not low <= 0 <= high or low == high:
            raise InputError(
                f"{path}: particle {number + 1} was tilted about {name} from {low:g} to"
                f" {high:g} degrees ({name}mintilt, {name}maxtilt), expected a range"
                " around 0, such as -60 to 60; correct the table, or give 'wedge:"
                " {angles: [30, 30]}' in the config."
            )
        return SingleTiltWedge(90 + low, 90 - high, tilt_axis=axis)

    about_y, about_x = ("y", (0.0, 0.0, 0.0)), ("x", X_AXIS)
    if kind == ABOUT_BOTH:
        return DoubleTiltWedge(series(*about_y), series(*about_x))
    return series(*(about_y if kind == ABOUT_Y else about_x))


def _pixel_size(path: Path, table: pd.DataFrame) -> float | None:
    """Return the pixel size of all particles; None where the column has 0."""
    sizes = table.get("apix")
    if sizes is None or not (pd.to_numeric(sizes, errors="coerce") > 0).any():
        return None
    found = quantities.numbers(path, "apix", sizes.to_numpy(), quantities.PIXEL_SIZE)
    if np.ptp(found) > 0.01 * found[0]:
        raise InputError(
            f"{path}: apix is from {found.min():g} to {found.max():g} A, but particles"
            " of several pixel sizes cannot be averaged; classify them apart."
        )
    return float(found[0])


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]
