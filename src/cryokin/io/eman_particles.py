"""EMAN2 and SPARX stacks as particle tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from cryokin.errors import InputError
from cryokin.io import quantities
from cryokin.io.eman_hdf import read_headers
from cryokin.io.star import storable, storable_name

Convention = Literal["eman2", "sphire"]

# What describes the pixels of the stack, not the particle.
_OF_THE_STACK = re.compile(
    "n[xyz]|apix_[xyz]|ctf|datatype|is_(complex|fft).*|changecount"
    "|minimum|maximum|mean(_nonzero)?|sigma(_nonzero)?|square_sum|(stored|render)_.*"
)
# Attributes that SPARX and SPHIRE give to particles, and EMAN2 does not.
_OF_SPHIRE = {
    *("ctf_applied", "ptcl_source_coord_id", "ptcl_source_box_id"),
    *("resample_ratio", "chunk_id"),
}
_FIELDS = ("defocus", "astigmatism", "angle", "B-factor", "contrast", "voltage", "cs")


class EmanTable(NamedTuple):
    """An EMAN2 or SPARX stack as a table.

    Attributes
    ----------
    particles : pandas.DataFrame
        One row per image, in RELION's columns.
    no_ctf : str
        Why the CTF is not among them, though the images have one; else empty.
    """

    particles: pd.DataFrame
    no_ctf: str


def eman_particles(path: Path, convention: Convention | None = None) -> EmanTable:
    """Read the headers of an EMAN2 or SPARX stack as a table in RELION's columns.

    Attributes of the particles, such as ``ptcl_source_image``, are kept as text in
    columns ``eman_<name>``; where an image lacks one that others have, as ``None``.

    Parameters
    ----------
    path : Path
        The stack.
    convention : {"eman2", "sphire"}, optional
        Whose convention the ``ctf`` attributes follow; default: as the other
        attributes tell.

    Raises
    ------
    InputError
        If the file is no such stack, or a ``ctf`` attribute cannot be understood.
    """
    headers = read_headers(path)
    values = [
        None if "ctf" not in header else _numbers(path, i, str(header["ctf"]))
        for i, header in enumerate(headers)
    ]
    told = [value for value in values if value is not None]
    chosen = convention or written_by(headers, told)
    if chosen == "sphire" and any(abs(v[4]) > 100 for v in told):
        raise InputError(
            f"{path}: a ctf attribute has an amplitude contrast above 100 %, which only"
            " EMAN2 writes; set ctf_convention: eman2 in the config."
        )
    # Where there is no astigmatism and no phase plate, both say the same.
    clear = chosen is not None or all(v[1] == 0 and 0 <= v[4] <= 100 for v in told)
    file = path.absolute()
    rows: list[dict[str, str]] = []
    for i, (header, ctf) in enumerate(zip(headers, values, strict=True)):
        row = {"rlnImageName": f"{i + 1:06d}@{file}"}
        if header.get("apix_x", 1.0) != 1.0:  # 1.0 is what EMAN2 writes by default
            row["rlnImagePixelSize"] = _text(header["apix_x"])
        if ctf is not None and clear:
            row |= relion_ctf(ctf, chosen or "eman2")
        for name, value in header.items():
            if name == "ctf" and not clear:
                row["eman_ctf"] = _text(value)
            if not _OF_THE_STACK.fullmatch(name):
                row[f"eman_{storable_name(name)}"] = _text(value)
        rows.append(row)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    complete = [[row.get(name, "None") for name in columns] for row in rows]
    no_ctf = ""
    if not clear:
        no_ctf = (
            f"{path}: its ctf attributes tell of astigmatism or a phase plate, for"
            " which EMAN2 and SPHIRE have two conventions, and nothing in the file"
            " tells whose they are; set ctf_convention: eman2 or ctf_convention: sphire"
            " in the config."
        )
    return EmanTable(pd.DataFrame(complete, columns=columns, dtype=object), no_ctf)


def written_by(
    headers: Sequence[Mapping[str, Any]], ctf: Sequence[Sequence[float]]
) -> Convention | None:
    """Return whose convention the CTF of a stack follows; None if nothing tells.

    Parameters
    ----------
    headers : sequence of mapping
        Attributes of the images.
    ctf : sequence of sequence of float
        Numbers of their ``ctf`` attributes, as `relion_ctf` takes them.
    """
    sphire = any(_OF_SPHIRE & set(header) for header in headers)
    # SPHIRE writes no more than 100 % of contrast, and no curve of the background.
    eman2 = any(abs(v[4]) > 100 or (len(v) > 9 and v[9] > 0) for v in ctf)
    if sphire == eman2:
        return None
    return "sphire" if sphire else "eman2"


def relion_ctf(numbers: Sequence[float], convention: Convention) -> dict[str, str]:
    """Return RELION's columns of a ``ctf`` attribute.

    Parameters
    ----------
    numbers : sequence of float
        Defocus [micrometre], astigmatism [micrometre] and its angle [degree],
        B-factor, amplitude contrast [percent], voltage [kV], cs [mm], and more that is
        not needed.
    convention : {"eman2", "sphire"}

    Returns
    -------
    dict
        Column to text.

    Notes
    -----
    EMAN2 (``EMAN2Ctf`` in libEM): the angle is that of the largest defocus, as
    RELION's. A phase shift stands in the contrast: beyond 90 degrees on either side
    what is above 100 % counts back from 180 degrees.

    SPHIRE: at azimuth ``a`` the defocus is ``z - d/2 sin(2a + 2t)``, RELION has
    ``(U+V)/2 + (U-V)/2 cos(2a - 2s)``; they agree for ``U = z + d/2``, ``V = z - d/2``
    and ``s = -45 - t`` degrees, to half a turn. A negative contrast is that of a phase
    between 90 and 180 degrees, less 180.

    A phase beyond 90 degrees goes to ``rlnPhaseShift`` whole, with no contrast.
    """
    defocus, astigmatism, angle, _, contrast, voltage, cs = numbers[:7]
    azimuth = angle if convention == "eman2" else -45.0 - angle
    phase = _phase(contrast / 100, convention)
    columns = {
        "rlnDefocusU": f"{1e4 * (defocus + astigmatism / 2):.6g}",
        "rlnDefocusV": f"{1e4 * (defocus - astigmatism / 2):.6g}",
        "rlnDefocusAngle": f"{azimuth % 180.0:.6g}",
        "rlnVoltage": f"{voltage:g}",
        "rlnSphericalAberration": f"{cs:g}",
    }
    if 0 <= phase <= 90:
        return columns | {
            "rlnAmplitudeContrast": f"{contrast / 100:g}",
            "rlnPhaseShift": "0",
        }
    return columns | {"rlnAmplitudeContrast": "0", "rlnPhaseShift": f"{phase:.6g}"}


def _phase(contrast: float, convention: Convention) -> float:
    """Return the phase that a contrast (a fraction) stands for [degree]."""
    if convention == "sphire":
        phase = float(np.degrees(np.arcsin(contrast)))
        return phase + 180 if contrast < 0 else phase
    if contrast > 1:
        return 180 - float(np.degrees(np.arcsin(2 - contrast)))
    if contrast <= -1:
        return -180 - float(np.degrees(np.arcsin(-2 - contrast)))
    return float(np.degrees(np.arcsin(contrast)))


def _numbers(path: Path, image: int, text: str) -> list[float]:
    """Return the numbers of a ``ctf`` attribute, all of them possible."""
    where = f"the ctf attribute of image {image}"
    again = "set it again with e2ctf.py or sxheader.py"
    if not text.startswith("E"):
        raise InputError(
            f"{path}: {where} is {text[:60]!r}, and only EMAN2's form, beginning with"
            f" E, is understood; {again}."
        )
    fields = text[1:].replace(",", " ").split()
    if len(fields) < 8:
        raise InputError(
            f"{path}: {where} is {text[:60]!r}, fewer than eight numbers; {again}."
        )
    known = {
        "defocus": quantities.DEFOCUS_MICROMETRE,
        "astigmatism": quantities.DEFOCUS_MICROMETRE,
        "angle": quantities.ANGLE,
        "contrast": quantities.CONTRAST_PERCENT,
        "voltage": quantities.VOLTAGE,
        "cs": quantities.SPHERICAL_ABERRATION,
    }
    return [
        quantities.number(path, f"{name} in {where}", field, known.get(name))
        for name, field in zip((*_FIELDS, "apix", "dsbg", "nbg"), fields, strict=False)
    ]


def _text(value: Any) -> str:
    """Return an attribute as text; float32 values in their shortest form."""
    if isinstance(value, np.ndarray):
        return "[" + ",".join(str(part) for part in value.ravel()) + "]"
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return f"{value:.7g}"
    return storable(str(value))
