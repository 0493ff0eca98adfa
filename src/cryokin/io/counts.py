"""How many particles a table or a stack holds, without reading its images.

For an estimate before the run. Each format is read by the reader that the import uses;
of the images only the header of the first.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cryokin.errors import InputError


class Counts(NamedTuple):
    """Size of a set of particles.

    Attributes
    ----------
    n : int
        Number of particles.
    box : int
        Side of the images or volumes [pixel or voxel].
    """

    n: int
    box: int


def count_particles(path: str | os.PathLike[str]) -> Counts:
    """Return how many particles a file names or holds, and the box of the first.

    Parameters
    ----------
    path : path-like
        STAR table, RELION's optimisation set, stack (MRC or EMAN2's HDF), table of
        cryoSPARC or Dynamo, or ParticleList.

    Raises
    ------
    InputError
        If there is no particle in it, or the first image cannot be found.
    """
    # Only now: Snakemake itself loads this module, and needs none of them at its start.
    source = Path(path)
    suffix = source.suffix.lower()
    if suffix == ".xml":
        from cryokin.io.pytom_xml import read_particle_list

        return _of_names(source, (p.file for p in read_particle_list(source)))
    if suffix == ".tbl":
        from cryokin.io.dynamo import read_table

        return _of_names(source, (p.file for p in read_table(source)[0]))
    if suffix == ".star":
        from cryokin.io.particles import PARTICLE_BLOCKS
        from cryokin.io.star import read_column
        from cryokin.io.tilt_stacks import tables_of_set

        if tables := tables_of_set(source):
            source = tables[0]
        names = read_column(source, PARTICLE_BLOCKS, "rlnImageName")
        return _of_names(source, names)
    if suffix == ".cs":
        from cryokin.io.cryosparc import count_rows, stacks_of

        stacks, _ = stacks_of(source)
        first = _of_names(source, (f"1@{name}" for name in stacks))
        return Counts(count_rows(source), first.box)
    return _of_stack(source)


def _of_names(source: Path, names: Iterable[str]) -> Counts:
    """Count names of images or volumes, and look at the first."""
    n, first = 0, ""
    for name in names:
        first = first or name
        n += 1
    if not first:
        raise InputError(f"{source}: no particle with the name of an image is in it.")
    return Counts(n, _box_of(source, first))


def _of_stack(source: Path) -> Counts:
    """Read headers alone: whether all images are there is for the import to say."""
    from cryokin.io.stacks import open_images

    with open_images(source) as stack:
        return Counts(len(stack), int(stack.shape(0)[-1]))


def _box_of(source: Path, name: str) -> int:
    """Return the box of an image or a volume that a table names."""
    from cryokin.io.particles import find_stack, folders_of
    from cryokin.io.volumes import MRC_SUFFIXES, read_size

    number, at, file = name.partition("@")
    path = find_stack(source, file if at else number, folders_of(source, None))
    if at or path.suffix.lower() not in (*MRC_SUFFIXES, ".em"):
        return _of_stack(path).box
    return int(read_size(path)[0][-1])
