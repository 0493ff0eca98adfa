from pathlib import Path

import pandas as pd

from cryokin.io.particles import read_particles
from cryokin.io.pytom_xml import read_particle_list, write_particle_list
from cryokin.io.star import as_table, read_star, write_star
from cryokin.isac.selected import original_ids


def slab_subtomograms(
    *, slabs: Path, of_star: Path, of_xml: Path, star: Path, xml: Path
) -> None:
    """List the subtomograms behind some slabs, with the columns that they came with."""
    ids = original_ids(read_particles(slabs))
    blocks = read_star(of_star)
    rows: pd.DataFrame = as_table(blocks["particles"]).iloc[ids]
    listed = read_particle_list(of_xml)
    write_particle_list(xml, [listed[i] for i in ids])
    write_star(star, blocks | {"particles": rows})
    print(f"{len(ids)} of {len(listed)} subtomograms")
