from pathlib import Path

import numpy as np

from cryokin.io.particles import read_particles, write_particles
from cryokin.isac.selected import subset


def isac_subset(*, particles: Path, class_number: int, table: Path) -> None:
    """Write the table of the particles of a class, from 1; -1: of the unaccounted."""
    known = read_particles(particles)
    ids = np.flatnonzero(known.numbers("rlnClassNumber") == class_number)
    what = "unaccounted" if class_number < 0 else f"class {class_number}"
    write_particles(table, subset(known, ids, what))
    print(f"{len(ids)} of {known.n} particles")
