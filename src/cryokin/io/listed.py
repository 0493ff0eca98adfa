"""What a table of particles names: the files that the images are in.

Each format is read by the reader that the import uses.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cryokin.errors import InputError
from cryokin.io.cryosparc import stacks_of
from cryokin.io.dynamo import read_table
from cryokin.io.particles import PARTICLE_BLOCKS, find_stack, folders_of
from cryokin.io.pytom_xml import read_particle_list
from cryokin.io.star import read_column
from cryokin.io.tilt_stacks import files_of_tomograms, tables_of_set


class _Listed(NamedTuple):
    """What a table names: ``images`` one a particle (or a stack), ``others`` besides.

    ``table`` is that of an optimisation set's particles; ``tables`` belong to it.
    """

    table: Path
    images: Iterable[str]
    others: Iterable[str] = ()
    tables: Iterable[Path] = ()


def _listed(source: Path) -> _Listed | None:
    """Read what a table names; None where the file is a stack, not a table."""
    suffix = source.suffix.lower()
    if suffix == ".star":
        table, tomograms = tables_of_set(source) or (source, None)
        images, weights = (
            read_column(table, PARTICLE_BLOCKS, column)
            for column in ("rlnImageName", "rlnCtfImage")
        )
        tables = [table] if table != source else []
        tables += files_of_tomograms(tomograms) if tomograms else []
        return _Listed(table, images, weights, tables)
    if suffix == ".cs":
        stacks, tables = stacks_of(source)
        return _Listed(source, [f"1@{name}" for name in stacks], (), tables)
    if suffix in (".xml", ".tbl"):
        is_xml = suffix == ".xml"
        listed = read_particle_list(source) if is_xml else read_table(source)[0]
        weights = (getattr(one.wedge, "file", "") for one in listed)
        return _Listed(source, (one.file for one in listed), weights)
    return None


def files_behind(path: str | os.PathLike[str]) -> list[Path]:
    """Return the files that a table takes its images or volumes from.

    Relative names are looked for as the import does, from the working folder.

    Parameters
    ----------
    path : path-like
        STAR table, RELION's optimisation set, stack (MRC or EMAN2's HDF), table of
        cryoSPARC or Dynamo, or ParticleList.

    Returns
    -------
    list of Path
        Each once, in the order of the table; a stack stands for itself.

    Raises
    ------
    InputError
        If the table cannot be read, or a file is missing.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"{source}: no such file; give the particles of the run.")
    found = _listed(source)
    if found is None:
        return [source]
    names = {name.partition("@")[2] or name: None for name in found.images}
    names |= dict.fromkeys(found.others)
    folders = folders_of(found.table, None)
    files = [
        find_stack(found.table, n, folders) for n in names if n not in ("", "None")
    ]
    return [*found.tables, *files]
