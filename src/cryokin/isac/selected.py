"""The classes of an ISAC run that are kept or merged, and their particles."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryokin.errors import InputError
from cryokin.image.geometry import compose, concatenate, take
from cryokin.image.polar import PolarBasis
from cryokin.io.eman_hdf import is_hdf, read_headers
from cryokin.io.particles import ParticleTable
from cryokin.isac.classes import Class
from cryokin.isac.compare import average_spectra, laid_onto
from cryokin.selection import Selection, check_selection, read_selection

#: Column of a particle's row in the table of the first of runs that go on from each
#: other; what SPARX calls ``originalid``.
ORIGINAL_ID = "cryokinOriginalId"


class Chosen(NamedTuple):
    """A class that is kept.

    Attributes
    ----------
    number : int
        Class number from 1; of merged classes that of the first.
    sources : tuple of int
        The numbers of the classes it is made of.
    found : Class
        Its members, all aligned to the average of the first.
    generation : int
        Generation of the first.
    """

    number: int
    sources: tuple[int, ...]
    found: Class
    generation: int


def read_kept(
    path: str | os.PathLike[str],
    run: str,
    headers: Sequence[Mapping[str, Any]],
    table: str | os.PathLike[str] | None = None,
) -> Selection:
    """Read which classes are kept: a selection, or a stack of the averages to keep.

    Such a stack is what e2display.py saves after the other averages were deleted in it
    (``select1.hdf``). An average is known by its members.

    Parameters
    ----------
    path : path-like
        YAML (`cryokin.selection`), or a stack of EMAN2.
    run : str
        Name of the run.
    headers : sequence of mapping
        Attributes of all averages that there are.
    table : path-like, optional
        The table of the classes, whose checksum a selection may have.

    Raises
    ------
    InputError
        If it names a class, or holds an average, that the run does not have.
    """
    if not Path(path).is_file() or not is_hdf(path):
        selection = read_selection(path)
        check_selection(selection, path, run, range(1, len(headers) + 1), table)
        return selection
    numbers = {_members(header): k for k, header in enumerate(headers, start=1)}
    keep = []
    for i, header in enumerate(read_headers(path)):
        number = numbers.get(_members(header)) if "members" in header else None
        if number is None or number in keep:
            what = "twice" if number is not None else "not"
            raise InputError(
                f"{path}: image {i} is {what} among the {len(headers)} class averages"
                f" of run {run} by its attribute members; save the averages of this run"
                " again, or write a selection in YAML (config/README.md)."
            )
        keep.append(number)
    if not keep:
        raise InputError(f"{path}: holds no average; keep at least one.")
    return Selection(run, tuple(sorted(keep)))


def _members(header: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.ravel(header["members"]))


def class_values(headers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what the option `select` compares, from the attributes of averages."""
    return [
        {
            "class": number,
            "size": int(header["n_objects"]),
            **{k: header[k] for k in ("resolution", "pixel_error", "reproduction")},
        }
        for number, header in enumerate(headers, start=1)
    ]


def chosen_classes(
    selection: Selection,
    classes: Sequence[Class],
    headers: Sequence[Mapping[str, Any]],
    averages: NDArray[np.floating],
    basis: PolarBasis,
) -> list[Chosen]:
    """Return the classes of a selection, in the order of their numbers.

    Parameters
    ----------
    selection : Selection
        Checked against the run.
    classes : sequence of Class
        All classes of the run.
    headers : sequence of mapping
        Attributes of their averages.
    averages : ndarray, shape (k, box, box)
    basis : PolarBasis
        On which averages are compared to merge their classes.
    """
    parts: dict[int, list[int]] = {}
    for name, becomes in selection.becomes.items():
        parts.setdefault(int(becomes), []).append(int(name))
    chosen = []
    for number, sources in sorted(parts.items()):
        sources.sort(key=lambda source: (source != number, source))
        chosen.append(
            Chosen(
                number,
                tuple(sources),
                merged(
                    [classes[s - 1] for s in sources],
                    averages[[s - 1 for s in sources]],
                    basis,
                ),
                int(headers[number - 1]["generation"]),
            )
        )
    return chosen


def merged(
    parts: Sequence[Class], averages: NDArray[np.floating], basis: PolarBasis
) -> Class:
    """Return several classes as one, in the frame of the first.

    Every class has an arbitrary rotation and hand; its average is brought onto that of
    the first, and its members along with it.
    """
    if len(parts) == 1:
        return parts[0]
    spectra = average_spectra(averages, basis)
    onto = laid_onto(spectra[..., 0], spectra, basis)
    alignments = [parts[0].alignment]
    for k, part in enumerate(parts[1:], start=1):
        same = np.full(len(part.members), k)
        alignments.append(compose(part.alignment, take(onto, same)))
    members = np.concatenate([part.members for part in parts])
    order = np.argsort(members)
    return Class(
        members[order],
        take(concatenate(alignments), order),
        np.concatenate([part.errors for part in parts])[order],
        np.concatenate([part.agreement for part in parts])[order],
    )


def subset(table: ParticleTable, ids: ArrayLike, what: str) -> ParticleTable:
    """Return some rows of a table, which remember where they came from.

    The column `ORIGINAL_ID` holds the row of the particle in this table, unless the
    table has such a column, because it is itself a subset.

    Parameters
    ----------
    table : ParticleTable
    ids : array_like of int
        Rows, from 0.
    what : str
        What these particles are, for the message.

    Raises
    ------
    InputError
        If no particle is left.
    """
    ids = np.asarray(ids, np.intp)
    if len(ids) == 0:
        raise InputError(
            f"{table.source}: there is no {what} particle; change what asks for them."
        )
    rows = table.particles.iloc[ids].reset_index(drop=True)
    if ORIGINAL_ID not in rows:
        rows[ORIGINAL_ID] = [str(i) for i in ids]
    return replace(table, particles=rows)


def original_ids(table: ParticleTable) -> NDArray[np.intp]:
    """Return the row of every particle in the table of the first run, (n,)."""
    numbers = table.numbers(ORIGINAL_ID)
    return np.arange(table.n) if numbers is None else numbers.astype(np.intp)
