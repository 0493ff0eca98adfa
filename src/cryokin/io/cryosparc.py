"""Particle tables of cryoSPARC (``.cs``): NumPy structured arrays."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.io import quantities
from cryokin.io.star import storable, storable_name

_CTF = {
    "rlnDefocusU": "ctf/df1_A",
    "rlnDefocusV": "ctf/df2_A",
    "rlnDefocusAngle": "ctf/df_angle_rad",
    "rlnPhaseShift": "ctf/phase_shift_rad",
    "rlnVoltage": "ctf/accel_kv",
    "rlnSphericalAberration": "ctf/cs_mm",
    "rlnAmplitudeContrast": "ctf/amp_contrast",
}
_IMAGES = ("blob/path", "blob/idx")
# NumPy's limit is for headers that might hold pickles; these may not. cryoSPARC writes
# a field a class of a job.
_MAX_HEADER = 10_000_000


class CryosparcTable(NamedTuple):
    """A ``.cs`` file as a table.

    Attributes
    ----------
    particles : pandas.DataFrame
        One row per particle, in RELION's columns.
    joined : list of Path
        Other files of the job that fields were taken from.
    """

    particles: pd.DataFrame
    joined: list[Path]


def cryosparc_particles(path: Path) -> CryosparcTable:
    """Read a ``.cs`` file as a table in RELION's columns.

    Every field is also kept as text under its own name, ``blob/path`` as
    ``cryosparc_blob_path``; a field of several numbers as ``[1.0,2.0]``. Where the file
    lacks the images or the CTF, they are taken, by the particles' uid, from the other
    files of the job beside it.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    InputError
        If the file is no ``.cs`` file or has no images, or a value cannot be.
    """
    fields, joined = _joined(path)
    if not set(fields).issuperset(_IMAGES):
        raise InputError(
            f"{path}: has no fields blob/path and blob/idx, and no .cs file beside it"
            " has them for the same uids; give the particles file of the job, and have"
            " its passthrough file beside it."
        )
    for field in (*_IMAGES, "blob/psize_A", *_CTF.values()):
        if fields.get(field, fields["blob/path"]).ndim != 1:
            raise InputError(
                f"{path}: {field} has several values a particle, expected one; give the"
                " .cs file of a job."
            )
    files = [_path(path, i, value) for i, value in enumerate(fields["blob/path"])]
    index = quantities.numbers(
        path, "blob/idx", fields["blob/idx"], quantities.IMAGE_INDEX
    ).astype(np.int64)
    columns: dict[str, list[str]] = {
        "rlnImageName": [
            f"{i + 1:06d}@{file}" for i, file in zip(index, files, strict=True)
        ]
    }
    if "blob/psize_A" in fields:
        columns["rlnImagePixelSize"] = _texts(fields["blob/psize_A"])
    for column, field in _CTF.items():
        if field in fields:
            values = fields[field]
            if field.endswith("_rad"):
                values = np.degrees(values.astype(np.float64)).astype(np.float32)
            columns[column] = _texts(values)
    for field, values in fields.items():
        columns["cryosparc_" + storable_name(field.replace("/", "_"))] = _texts(values)
    return CryosparcTable(pd.DataFrame(columns, dtype=object), joined)


def stacks_of(path: Path) -> tuple[list[str], list[Path]]:
    """Return the names of the stacks of a ``.cs`` file, and the files joined to it."""
    fields, joined = _joined(path)
    names = np.unique(fields.get("blob/path", np.zeros(0, "S1")))
    return [_path(path, i, name) for i, name in enumerate(names)], joined


def _joined(path: Path) -> tuple[dict[str, NDArray[Any]], list[Path]]:
    """Return the fields of a file, and of others of its job where it lacks some."""
    rows = _rows(path)
    names = rows.dtype.names or ()
    fields = {name: np.asarray(rows[name]) for name in names}
    joined: list[Path] = []
    needed = {*_IMAGES, "ctf/accel_kv", "ctf/df1_A"}
    if "uid" not in fields or needed <= set(fields):
        return fields, joined
    # The last iteration comes first.
    beside = sorted((p for p in path.parent.glob("*.cs") if p != path), reverse=True)
    for other in sorted(beside, key=lambda p: "passthrough" not in p.name):
        try:
            more = _rows(other)
        except InputError:
            continue
        new = [name for name in more.dtype.names or () if name not in fields]
        if "uid" not in (more.dtype.names or ()) or not needed & set(new):
            continue
        rows_of = _places(fields["uid"], np.asarray(more["uid"]))
        if rows_of is None:
            continue
        fields |= {name: np.asarray(more[name])[rows_of] for name in new}
        joined.append(other)
        if needed <= set(fields):
            break
    return fields, joined


def _places(
    wanted: NDArray[np.uint64], there: NDArray[np.uint64]
) -> NDArray[np.intp] | None:
    """Return where each uid stands in another file; None if one is not, or twice."""
    order = np.argsort(there, kind="stable")
    in_order = there[order]
    if len(there) == 0 or (in_order[1:] == in_order[:-1]).any():
        return None
    at = np.minimum(np.searchsorted(in_order, wanted), len(there) - 1)
    return order[at] if (in_order[at] == wanted).all() else None


def _rows(path: Path) -> NDArray[Any]:
    """Map the rows of a file into memory: a header may claim more than there is."""
    try:
        rows = np.lib.format.open_memmap(path, mode="r", max_header_size=_MAX_HEADER)
    except (
        *(ValueError, EOFError, SyntaxError, TypeError, OverflowError),
        *(MemoryError, RecursionError, TokenError),
    ) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{path}: not readable as a cryoSPARC table ({reason}); give the .cs file"
            " of a job."
        ) from None
    if rows.dtype.names is None or rows.ndim != 1:
        raise InputError(
            f"{path}: an array of {rows.ndim} dimensions and type"
            f" {str(rows.dtype)[:40]}, expected rows with fields such as blob/path and"
            " blob/idx; give the .cs file of a job."
        )
    return rows


def _path(path: Path, row: int, value: Any) -> str:
    """Return the name of a stack."""
    try:
        return (value.decode() if isinstance(value, bytes) else str(value)).lstrip(">")
    except UnicodeDecodeError:
        raise InputError(
            f"{path}: blob/path of particle {row + 1} is {bytes(value)[:60]!r},"
            " expected a name in UTF-8; rename the stack and export them again."
        ) from None


def _texts(values: NDArray[Any]) -> list[str]:
    """Return each row of a field as text that gives the same number when read."""
    return [_text(value) for value in values]


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return "[" + ",".join(_text(part) for part in value.ravel()) + "]"
    if isinstance(value, bytes):
        return storable(value.decode(errors="replace"))
    return storable(value) if isinstance(value, str) else str(value)
