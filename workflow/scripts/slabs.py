from pathlib import Path

from cryokin.isac.slabs import read_for_slabs, write_slabs
from cryokin.isac.slabs import slabs as slabs_of
from cryokin.options import Isac
from cryokin.script import Folder


def slabs(*, particles: Path, options: Isac, folder: Folder) -> None:
    """Write slabs of subtomograms, as images, and the list of the subtomograms."""
    table = read_for_slabs(particles, options.pixel_size)
    assert options.slab is not None
    write_slabs(folder, table, slabs_of(table, options.slab))
    print(f"{len(table)} slabs of {options.slab:g} A")
