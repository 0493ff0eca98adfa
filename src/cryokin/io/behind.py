"""The files behind a table of particles: images that a run depends on, too."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from cryokin.errors import InputError
from cryokin.io.cryosparc import stacks_of
from cryokin.io.dynamo import read_table
from cryokin.io.particles import PARTICLE_BLOCKS, find_stack, folders_of
from cryokin.io.pytom_xml import read_particle_list
from cryokin.io.star import read_column


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
    tables: list[Path] = []
    if source.suffix.lower() == ".star":
        from cryokin.io.tilt_stacks import files_of_tomograms, tables_of_set

        if named := tables_of_set(source):
            source, tomograms = named
            tables = [source, *(files_of_tomograms(tomograms) if tomograms else ())]
    names, joined = _names(source)
    folders = folders_of(source, None)
    found = (find_stack(source, name, folders) for name in dict.fromkeys(names))
    return [*tables, *joined, *found]


def _names(source: Path) -> tuple[Iterable[str], list[Path]]:
    """Return the names of files in a table, and other tables that belong to it."""
    suffix = source.suffix.lower()
    if suffix == ".star":
        images = read_column(source, PARTICLE_BLOCKS, "rlnImageName")
        weights = read_column(source, PARTICLE_BLOCKS, "rlnCtfImage")
        named = {name.partition("@")[2] or name: None for name in images}
        named |= dict.fromkeys(weights)
        named.pop("None", None)
        return named, []
    if suffix == ".cs":
        return stacks_of(source)
    if suffix == ".xml":
        listed = read_particle_list(source)
        weights_of = (getattr(p.wedge, "file", "") for p in listed)
        return [*(p.file for p in listed), *filter(None, weights_of)], []
    if suffix == ".tbl":
        return [p.file for p in read_table(source)[0]], []
    return [], [source]
