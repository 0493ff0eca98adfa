"""How many particles a table or a stack holds, without reading it into memory.

For an estimate before the run: a table of millions of rows is read once, line by line,
and of the images only the header of the first.
"""

from __future__ import annotations

import os
import re
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
        STAR table, stack (MRC or EMAN2's HDF), table of cryoSPARC or Dynamo, or
        ParticleList.

    Raises
    ------
    InputError
        If there is no particle in it, or the first image cannot be found.
    """
    source = Path(path)
    suffix = source.suffix.lower()
    if suffix == ".xml":
        return _of_list(source)
    if suffix == ".tbl":
        return _of_dynamo(source)
    if suffix == ".star":
        return _of_star(source)
    if suffix == ".cs":
        return _of_cryosparc(source)
    n, box = _of_stack(source)
    return Counts(n, box)


def _of_star(source: Path) -> Counts:
    """Count the rows of the block that holds the particles."""
    n, first, columns, wanted = 0, "", list[str](), False
    with source.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            text = line.strip()
            if text.startswith("data_"):
                wanted = text in ("data_particles", "data_images", "data_")
            elif not wanted or not text or text.startswith(("#", "loop_")):
                continue
            elif text.startswith("_"):
                columns.append(text.split()[0])
            else:
                if n == 0 and "_rlnImageName" in columns:
                    first = text.split()[columns.index("_rlnImageName")]
                n += 1
    if not n or not first:
        raise InputError(f"{source}: no particle with an rlnImageName is in it.")
    return Counts(n, _box_of(source, first))


def _of_list(source: Path) -> Counts:
    """Count the particles of a ParticleList of PyTom."""
    n, first = 0, ""
    name = re.compile(r"""Filename=["']([^"']+)["']""")
    with source.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            for part in line.split("<Particle ")[1:]:
                n += 1
                found = name.search(part) if not first else None
                first = found[1] if found else first
    if not first:
        raise InputError(f"{source}: no particle with a Filename is in it.")
    return Counts(n, _box_of(source, first))


def _of_dynamo(source: Path) -> Counts:
    """Count the lines of a table of Dynamo, whose volumes bear its tags."""
    n, first = 0, ""
    with source.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.strip():
                first = first or line.split()[0]
                n += 1
    try:
        stem = f"particle_{int(float(first)):06d}"
    except ValueError:
        raise InputError(f"{source}: no particle with a tag is in it.") from None
    names = (f"{stem}{ending}" for ending in (".em", ".mrc"))
    there = [name for name in names if (source.parent / name).is_file()]
    return Counts(n, _box_of(source, there[0] if there else f"{stem}.em"))


def _of_cryosparc(source: Path) -> Counts:
    """Read the size of the table, and one of its rows."""
    import numpy as np

    table = np.load(source, mmap_mode="r")
    names = table.dtype.names or ()
    if not len(table) or "blob/shape" not in names:
        raise InputError(f"{source}: no particle with a blob/shape is in it.")
    return Counts(len(table), int(table["blob/shape"][0][-1]))


def _of_stack(source: Path) -> Counts:
    """Read headers alone: whether all images are there is for the import to say."""
    from cryokin.io.eman_hdf import EmanStack, is_hdf
    from cryokin.io.mrc import read_stack_header

    if is_hdf(source):
        with EmanStack(source) as stack:
            return Counts(len(stack), int(stack.shape(0)[-1]))
    shape = read_stack_header(source).shape
    return Counts(int(shape[0]), int(shape[-1]))


def _box_of(source: Path, name: str) -> int:
    """Return the box of an image or a volume that a table names."""
    from cryokin.io.volumes import read_size

    file = name.partition("@")[2] or name
    for folder in (Path.cwd(), source.parent, source.parent.parent):
        if (folder / file).is_file():
            if "@" in name:
                return _of_stack(folder / file).box
            return int(read_size(folder / file)[0][-1])
    raise InputError(f"{source}: {file} is not there; give the place of the images.")
