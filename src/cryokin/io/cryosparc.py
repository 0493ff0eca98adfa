"""Particle tables of cryoSPARC (``.cs``): NumPy structured arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryokin.errors import InputError

_CTF = {
    "rlnDefocusU": "ctf/df1_A",
    "rlnDefocusV": "ctf/df2_A",
    "rlnDefocusAngle": "ctf/df_angle_rad",
    "rlnPhaseShift": "ctf/phase_shift_rad",
    "rlnVoltage": "ctf/accel_kv",
    "rlnSphericalAberration": "ctf/cs_mm",
    "rlnAmplitudeContrast": "ctf/amp_contrast",
}


def cryosparc_particles(path: Path) -> pd.DataFrame:
    """Read a ``.cs`` file as a table in RELION's columns.

    Every field is also kept as text under its own name, ``blob/path`` as
    ``cryosparc_blob_path``; a field of several numbers as ``[1.0,2.0]``.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    pandas.DataFrame
        One row per particle.

    Raises
    ------
    InputError
        If the file is no ``.cs`` file or has no images.
    """
    try:
        with path.open("rb") as handle:
            rows = np.lib.format.read_array(handle, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(
            f"{path}: not readable as a cryoSPARC table ({error}); give the .cs file"
            " of a job."
        ) from None
    names = rows.dtype.names
    if not names or "blob/path" not in names or "blob/idx" not in names:
        raise InputError(
            f"{path}: has no fields blob/path and blob/idx; give the particles file of"
            " the job, not its passthrough file or another table."
        )
    files = [_text(value).lstrip(">") for value in rows["blob/path"]]
    columns: dict[str, list[str]] = {
        "rlnImageName": [
            f"{int(i) + 1:06d}@{file}"
            for i, file in zip(rows["blob/idx"], files, strict=True)
        ]
    }
    if "blob/psize_A" in names:
        columns["rlnImagePixelSize"] = _texts(rows["blob/psize_A"])
    for column, field in _CTF.items():
        if field in names:
            values = rows[field]
            if field.endswith("_rad"):
                values = np.degrees(values.astype(np.float64)).astype(np.float32)
            columns[column] = _texts(values)
    for field in names:
        columns["cryosparc_" + field.replace("/", "_")] = _texts(rows[field])
    return pd.DataFrame(columns, dtype=object)


def _texts(values: NDArray[Any]) -> list[str]:
    """Return each row of a field as text that gives the same number when read."""
    return [_text(value) for value in values]


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return "[" + ",".join(_text(part) for part in value.ravel()) + "]"
    return value.decode() if isinstance(value, bytes) else str(value)
