"""STAR files, with every value kept as the text that stands in the file.

A table must come out of the workflow as it went in, and must not lose a row on the
way. Tolerant readers turn ``nan`` into a missing value, cut a name at ``#``, and fill
up a line that broke off; here each line must hold one value per column.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import pandas as pd

from cryokin.errors import InputError
from cryokin.files import write_text

Block: TypeAlias = pd.DataFrame | dict[str, str]

# A quote closes a value only where the value ends, so that `it's.mrcs` is one value.
_VALUE = re.compile(r""""(.*?)"(?!\S)|'(.*?)'(?!\S)|(\S+)""")


def read_star(path: str | os.PathLike[str]) -> dict[str, Block]:
    """Read the blocks of a STAR file.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    dict
        Block name without ``data_`` to block, in the order of the file: a table of
        text (columns without leading underscore) for a ``loop_``, else a dictionary.

    Raises
    ------
    InputError
        If a line does not hold one value per column, a block or a column comes
        twice, or there is no block at all.
    """
    blocks: dict[str, Block] = {}
    name: str | None = None
    pairs: dict[str, str] = {}
    columns: list[str] = []
    rows: list[list[str]] = []
    in_loop = False

    def close() -> None:
        if name is None:
            return
        if name in blocks:
            raise InputError(
                f"{path}: the block data_{name} comes twice; merge or remove one of"
                " the two."
            )
        blocks[name] = _table(rows, columns) if in_loop else dict(pairs)

    for number, line in _lines(path):
        if line.startswith("data_"):
            close()
            name = line.split()[0].removeprefix("data_")
            pairs, columns, rows, in_loop = {}, [], [], False
        elif name is None:
            raise InputError(
                f"{path}, line {number}: expected a block name such as data_particles"
                f" before {line[:40]!r}; give a STAR file."
            )
        elif line.split()[0] == "loop_":
            in_loop = True
        elif in_loop and (rows or not line.startswith("_")):
            values = _values(line)
            if len(values) != len(columns):
                raise InputError(
                    f"{path}, line {number}: {len(values)} values for the"
                    f" {len(columns)} columns of data_{name}; the file is broken off"
                    " or a value with blanks lacks its quotes."
                )
            rows.append(values)
        elif in_loop:
            column = line.split()[0][1:]
            if column in columns:
                raise InputError(
                    f"{path}, line {number}: the column _{column} comes twice in"
                    f" data_{name}; remove one of the two."
                )
            columns.append(column)
        else:
            values = _values(line)
            if len(values) != 2 or not line.startswith("_"):
                raise InputError(
                    f"{path}, line {number}: expected a name and a value in"
                    f" data_{name}, got {line[:60]!r}; repair the line."
                )
            pairs[values[0][1:]] = values[1]
    close()
    if not blocks:
        raise InputError(
            f"{path}: no data_ block found; the file is empty or no STAR file."
        )
    return blocks


def write_star(path: str | os.PathLike[str], blocks: Mapping[str, Block]) -> None:
    """Write blocks to a STAR file: atomically, with the same bytes for same blocks.

    Parameters
    ----------
    path : path-like
        The file.
    blocks : mapping
        Block name without ``data_`` to a table or a dictionary, in order. Values
        that are no text are written with ``str``.
    """
    parts = []
    for name, block in blocks.items():
        parts.append(f"\ndata_{name}\n\n")
        if isinstance(block, dict):
            parts += [f"_{key} {_quoted(value)}\n" for key, value in block.items()]
            continue
        parts.append("loop_\n")
        parts += [f"_{key} #{i}\n" for i, key in enumerate(block.columns, start=1)]
        columns = [[_quoted(v) for v in block[key]] for key in block.columns]
        parts += [" ".join(row) + "\n" for row in zip(*columns, strict=True)]
    write_text(path, "".join(parts))


def as_table(block: Block) -> pd.DataFrame:
    """Return a block as a table; a dictionary becomes a table of one row."""
    if isinstance(block, dict):
        return pd.DataFrame([block], dtype=object)
    return block


def _lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """Yield line number and text of the lines that are not blank or a comment."""
    try:
        with Path(path).open(encoding="utf-8") as handle:
            for number, line in enumerate(handle, start=1):
                line = line.strip()
                if line and not line.startswith("#"):
                    yield number, line
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not readable as text ({error}); give a STAR file in UTF-8."
        ) from None


def _values(line: str) -> list[str]:
    """Split a line at blanks that are not inside quotes, up to a comment."""
    if '"' not in line and "'" not in line and "#" not in line:
        return line.split()
    values = []
    for match in _VALUE.finditer(line):
        if match[0].startswith("#"):
            break
        values.append(next(part for part in match.groups() if part is not None))
    return values


def _quoted(value: object) -> str:
    """Return a value as it must stand in the file to be read back unchanged."""
    text = str(value)
    if re.fullmatch(r"(?!data_|loop_)[^\s\"'#_]\S*", text):
        return text
    for quote in "\"'":
        if not re.search(rf"{quote}\s", text) and not re.search(r"[\r\n]", text):
            return f"{quote}{text}{quote}"
    raise ValueError(f"no STAR file can hold the value {text!r}")


def _table(rows: list[list[str]], columns: list[str]) -> pd.DataFrame:
    """Return a table of Python strings: no dtype that would reinterpret them."""
    return pd.DataFrame(rows, columns=columns, dtype=object)
