"""STAR files, with every value kept as the text that stands in the file.

A table must come out of the workflow as it went in, and must not lose a row on the
way. Tolerant readers turn ``nan`` into a missing value, cut a name at ``#``, and fill
up a line that broke off; here each line must hold one value per column.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd

from cryokin.errors import InputError
from cryokin.files import atomic

Block: TypeAlias = pd.DataFrame | dict[str, str]

# RELION's mark of the dialect with optics groups, before every block.
_VERSION = "# version 30001"

# Rows that are brought from lines to columns, or back, at a time: they fit a cache.
_ROWS = 500

# What a value cannot begin with unless it is quoted.
_MARKS = ('"', "'", "#", "_", "data_", "loop_")

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
    for (_, name), numbered in itertools.groupby(_lines(path), lambda line: line[0]):
        lines = ((number, line) for _, number, line in numbered)
        if name is None:
            number, line = next(lines)
            raise InputError(
                f"{path}, line {number}: expected a block name such as data_particles"
                f" before {line[:40]!r}; give a STAR file."
            )
        if name in blocks:
            raise InputError(
                f"{path}: the block data_{name} comes twice; merge or remove one of"
                " the two."
            )
        blocks[name] = _block(str(path), name, lines)
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
    for key in itertools.chain.from_iterable(blocks.values()):
        if not re.fullmatch(r"\S+", str(key)):
            raise ValueError(f"no STAR file can hold the column {key!r}")
    with atomic(path) as partial, partial.open("w", encoding="utf-8") as file:
        for name, block in blocks.items():
            file.write(f"\n{_VERSION}\n\ndata_{name}\n\n")
            if isinstance(block, dict):
                values = _quoted(list(block.values()))
                pairs = zip(block, values, strict=True)
                file.writelines(f"_{key} {value}\n" for key, value in pairs)
                continue
            file.write("loop_\n")
            heads = enumerate(block.columns, start=1)
            file.writelines(f"_{key} #{i}\n" for i, key in heads)
            for start in range(0, len(block), _ROWS):
                some = block.iloc[start : start + _ROWS]
                columns = [_quoted(some[key].to_numpy(object)) for key in some]
                rows = zip(*columns, strict=True)
                file.writelines(" ".join(row) + "\n" for row in rows)


def read_column(
    path: str | os.PathLike[str], blocks: Sequence[str], column: str
) -> Iterator[str]:
    """Yield the values of one column, line by line: a table of any size.

    Parameters
    ----------
    path : path-like
        The file.
    blocks : sequence of str
        Names without ``data_``; the first of them that is in the file counts. Large
        and small letters are the same.
    column : str
        Its name, without underscore. Nothing is yielded where there is none.

    Raises
    ------
    InputError
        As `read_star`, as far as the lines of the block go.
    """
    there = {name for (_, name), _, _ in _lines(path) if name is not None}
    name = find_block(there, blocks)
    columns: list[str] = []
    for (_, block), number, line in _lines(path):
        if block is None or block != name or line.startswith("data_"):
            continue
        if line.startswith("_"):
            values = _values(line)
            if values[0][1:] == column and len(values) == 2:
                yield values[1]  # no loop, but a name and its value
            columns.append(values[0][1:])
        elif columns and column not in columns:
            return
        elif columns:
            values = _values(line)
            if len(values) != len(columns):
                raise _ragged(path, number, len(values), len(columns), block)
            yield values[columns.index(column)]


def storable(text: str) -> str:
    """Return text of another program as a value that a STAR file can hold."""
    line = re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]+", " ", text)
    return line if _quotable(line) else line.replace('"', "'")


def storable_name(text: str) -> str:
    """Return a name of another program as a column that a STAR file can have."""
    return re.sub(r"[^\w./:+-]+", "_", text)


def find_block(names: Collection[str], wanted: Sequence[str]) -> str | None:
    """Return the first of the wanted blocks that is there, large and small alike."""
    by_lower = {name.lower(): name for name in names}
    return next((by_lower[name] for name in wanted if name in by_lower), None)


def as_table(block: Block) -> pd.DataFrame:
    """Return a block as a table; a dictionary becomes a table of one row."""
    if isinstance(block, dict):
        return pd.DataFrame([block], dtype=object)
    return block


def _lines(
    path: str | os.PathLike[str],
) -> Iterator[tuple[tuple[int, str | None], int, str]]:
    """Yield the block (its number, its name), line number and text of each line.

    Blank lines and comments are left out. The line that names a block belongs to it.
    """
    block: tuple[int, str | None] = (0, None)
    try:
        # Editors of Windows begin a file with a byte order mark.
        with Path(path).open(encoding="utf-8-sig") as handle:
            for number, line in enumerate(handle, start=1):
                line = line.strip()
                if not line or line.startswith("#"):
                    continue
                if line.startswith("data_"):
                    block = (block[0] + 1, line.split()[0].removeprefix("data_"))
                yield block, number, line
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not readable as text ({error}); give a STAR file in UTF-8."
        ) from None


def _block(path: str, name: str, numbered: Iterator[tuple[int, str]]) -> Block:
    """Return a block from its lines, of which the first is its name."""
    next(numbered)
    first = next(numbered, None)
    if first is None:
        return {}
    if first[1].split()[0] == "loop_":
        return _loop(path, name, numbered)
    pairs = {}
    for number, line in itertools.chain([first], numbered):
        values = _values(line)
        if len(values) != 2 or not line.startswith("_"):
            raise InputError(
                f"{path}, line {number}: expected a name and a value in data_{name},"
                f" got {line[:60]!r}; repair the line."
            )
        pairs[values[0][1:]] = values[1]
    return pairs


def _loop(path: str, name: str, numbered: Iterator[tuple[int, str]]) -> pd.DataFrame:
    """Return the table of a loop from the lines after ``loop_``."""
    columns: dict[str, list[str]] = {}
    rows: list[list[str]] = []
    begun = False
    for number, line in numbered:
        values = _values(line)
        if line.startswith("_") and not begun:
            if values[0][1:] in columns:
                raise InputError(
                    f"{path}, line {number}: the column {values[0]} comes twice in"
                    f" data_{name}; remove one of the two."
                )
            columns[values[0][1:]] = []
            continue
        begun = True
        if len(values) != len(columns):
            raise _ragged(path, number, len(values), len(columns), name)
        rows.append(values)
        if len(rows) == _ROWS:
            _move(rows, columns)
    _move(rows, columns)
    # Python strings, not a dtype of pandas that would reinterpret them.
    arrays = {key: np.array(texts, object) for key, texts in columns.items()}
    return pd.DataFrame(arrays, columns=list(columns), dtype=object, copy=False)


def _move(rows: list[list[str]], columns: Mapping[str, list[str]]) -> None:
    """Move rows to the columns, where text that comes again is kept once."""
    for texts, values in zip(columns.values(), zip(*rows, strict=True), strict=False):
        known: dict[str, str] = {}
        texts.extend(map(known.setdefault, values, values))
    rows.clear()


def _ragged(
    path: str | os.PathLike[str], number: int, n_values: int, n: int, name: str
) -> InputError:
    return InputError(
        f"{path}, line {number}: {n_values} values for the {n} columns of data_{name};"
        " the file is broken off or a value with blanks lacks its quotes."
    )


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


def _quoted(values: Iterable[object]) -> list[str]:
    """Return values as they must stand in the file to be read back unchanged."""
    texts = list(map(str, values))
    line = " ".join(["", *texts])
    if line.split() == texts and not any(f" {mark}" in line for mark in _MARKS):
        return texts
    return [_quoted_one(text) for text in texts]


def _quoted_one(text: str) -> str:
    if text.split() == [text] and not text.startswith(_MARKS):
        return text
    for quote in "\"'":
        if _quotable(text, quote):
            return f"{quote}{text}{quote}"
    raise InputError(
        f"a STAR file cannot hold the value {text[:60]!r} (a line break, or quotes of"
        " both kinds); give the file or the label another name."
    )


def _quotable(text: str, quotes: str = "\"'") -> bool:
    """Whether text can stand between quotes of some kind."""
    return text.splitlines() in ([text], []) and any(
        not re.search(rf"{quote}\s", text) for quote in quotes
    )
