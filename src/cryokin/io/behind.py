"""The files behind a table of particles: images that a run depends on, too."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from cryokin.errors import InputError
from cryokin.files import portable


def files_behind(path: str | os.PathLike[str]) -> list[Path]:
    """Return the files that a table takes its images or volumes from.

    Relative names are looked for as the import does, from the working folder.

    Parameters
    ----------
    path : path-like
        STAR table, stack (MRC or EMAN2's HDF), table of cryoSPARC or Dynamo, or
        ParticleList.

    Returns
    -------
    list of Path
        Each once, in the order of the table; a stack stands for itself.

    Raises
    ------
    InputError
        If the table cannot be read, or a file is missing.
    """
    # Only now: Snakemake itself loads this module, and needs none of them at its start.
    from cryokin.io.particles import find_stack, folders_of

    source = Path(path)
    if not source.is_file():
        raise InputError(f"{source}: no such file; give the particles of the run.")
    names, joined = _names(source)
    folders = folders_of(source, None)
    found = (find_stack(source, name, folders) for name in dict.fromkeys(names))
    return [*joined, *found]


def _names(source: Path) -> tuple[Iterable[str], list[Path]]:
    """Return the names of files in a table, and other tables that belong to it."""
    suffix = source.suffix.lower()
    if suffix == ".star":
        from cryokin.io.particles import PARTICLE_BLOCKS
        from cryokin.io.star import read_column

        images = read_column(source, PARTICLE_BLOCKS, "rlnImageName")
        weights = read_column(source, PARTICLE_BLOCKS, "rlnCtfImage")
        named = {name.partition("@")[2] or name: None for name in images}
        named |= dict.fromkeys(weights)
        named.pop("None", None)
        return named, []
    if suffix == ".cs":
        from cryokin.io.cryosparc import stacks_of

        return stacks_of(source)
    if suffix == ".xml":
        from cryokin.io.pytom_xml import read_particle_list

        listed = read_particle_list(source)
        weights_of = (getattr(p.wedge, "file", "") for p in listed)
        return [*(p.file for p in listed), *filter(None, weights_of)], []
    if suffix == ".tbl":
        from cryokin.io.dynamo import read_table

        return [p.file for p in read_table(source)[0]], []
    return [], [source]


def state_of(files: Iterable[str | os.PathLike[str]]) -> str:
    """Return a name for what files are, by their names, sizes and times.

    Files in the working folder have names from there, so that a project may be moved.

    Raises
    ------
    OSError
        If one is missing.
    """
    digest = hashlib.sha256()
    for file in files:
        known = os.stat(file)
        # Whole seconds: archives and other disks keep no more.
        digest.update(
            f"{portable(file)}\0{known.st_size}\0{int(known.st_mtime)}\n".encode()
        )
    return digest.hexdigest()
