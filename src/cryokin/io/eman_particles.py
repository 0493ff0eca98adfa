"""EMAN2 and SPARX stacks as particle tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cryokin.errors import InputError
from cryokin.io.eman_hdf import read_headers

# What describes the pixels of the stack, not the particle.
_OF_THE_STACK = re.compile(
    "n[xyz]|apix_[xyz]|ctf|datatype|is_(complex|fft).*|changecount"
    "|minimum|maximum|mean(_nonzero)?|sigma(_nonzero)?|square_sum|(stored|render)_.*"
)


def eman_particles(path: Path) -> pd.DataFrame:
    """Read the headers of an EMAN2 or SPARX stack as a table in RELION's columns.

    Attributes of the particles, such as ``ptcl_source_image``, are kept as text in
    columns ``eman_<name>``; where an image lacks one that others have, as ``None``.

    Parameters
    ----------
    path : Path
        The stack.

    Returns
    -------
    pandas.DataFrame
        One row per image.

    Raises
    ------
    InputError
        If the file is no such stack, or a ``ctf`` attribute cannot be understood.
    """
    headers = read_headers(path)
    file = path.absolute()
    rows: list[dict[str, str]] = []
    for i, header in enumerate(headers):
        row = {"rlnImageName": f"{i + 1:06d}@{file}"}
        if header.get("apix_x", 1.0) != 1.0:  # 1.0 is what EMAN2 writes by default
            row["rlnImagePixelSize"] = _text(header["apix_x"])
        if "ctf" in header:
            try:
                row |= relion_ctf(str(header["ctf"]))
            except ValueError as error:
                raise InputError(
                    f"{path}: the ctf attribute of image {i} is {header['ctf']!r}"
                    f" ({error}); set it again with e2ctf.py or sxheader.py."
                ) from None
        for name, value in header.items():
            if not _OF_THE_STACK.fullmatch(name):
                row[f"eman_{name}"] = _text(value)
        rows.append(row)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    complete = [[row.get(name, "None") for name in columns] for row in rows]
    return pd.DataFrame(complete, columns=columns, dtype=object)


def relion_ctf(text: str) -> dict[str, str]:
    """Return RELION's columns of a ``ctf`` attribute.

    Parameters
    ----------
    text : str
        ``E`` and defocus [micrometre], astigmatism [micrometre] and its angle
        [degree], B-factor, amplitude contrast [percent], voltage [kV], cs [mm],
        pixel size [A], and more that is not needed.

    Returns
    -------
    dict
        Column to text.

    Raises
    ------
    ValueError
        If the text is of another form.

    Notes
    -----
    At azimuth ``a`` EMAN2 has the defocus ``z - d/2 sin(2a + 2t)``, RELION
    ``(U+V)/2 + (U-V)/2 cos(2a - 2s)``; they agree for ``U = z + d/2``, ``V = z - d/2``
    and ``s = -45 - t`` degrees, to half a turn.
    """
    if not text.startswith("E"):
        raise ValueError("only EMAN2's form, beginning with E, is understood")
    fields = text[1:].replace(",", " ").split()
    if len(fields) < 8:
        raise ValueError("fewer than eight numbers")
    numbers = [float(value) for value in fields[:8]]
    defocus, astigmatism, angle, _, contrast, voltage, cs, _ = numbers
    if not all(np.isfinite(numbers)) or abs(contrast) > 100:
        raise ValueError("amplitude contrast is a percentage, and all are finite")
    return {
        "rlnDefocusU": f"{1e4 * (defocus + astigmatism / 2):.6g}",
        "rlnDefocusV": f"{1e4 * (defocus - astigmatism / 2):.6g}",
        "rlnDefocusAngle": f"{(-45.0 - angle) % 180.0:.6g}",
        "rlnVoltage": f"{voltage:g}",
        "rlnSphericalAberration": f"{cs:g}",
        "rlnAmplitudeContrast": f"{contrast / 100:g}",
    }


def _text(value: Any) -> str:
    """Return an attribute as text; float32 values in their shortest form."""
    if isinstance(value, np.ndarray):
        return "[" + ",".join(str(part) for part in value.ravel()) + "]"
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return f"{value:.7g}"
    return str(value)
