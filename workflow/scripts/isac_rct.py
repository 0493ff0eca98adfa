from pathlib import Path

from cryokin.errors import InputError
from cryokin.files import read_json, write_ids, write_text
from cryokin.image.geometry import from_relion
from cryokin.io import particles as tables
from cryokin.io.eman_hdf import read_images, write_images
from cryokin.io.mrc import write_stack
from cryokin.io.stacks import image_name
from cryokin.isac.classes import load_classes
from cryokin.isac.files import read_shifts
from cryokin.isac.rct import pairs, params_columns, params_text, read_tilted
from cryokin.isac.selected import ORIGINAL_ID, original_ids
from cryokin.isac.tables import membership
from cryokin.script import Folder


def isac_rct(
    *,
    classes: list[Path],
    averages: Path,
    number: int,
    particles: Path,
    shifts: Path,
    stack_info: Path,
    tilted: Path,
    match: str | None = None,
    folder: Folder,
) -> None:
    """Write the members of a class and their tilted counterparts (random conical tilt).

    The class is known by its number among the averages, from 0; pairs share what is in
    the column ``match``, or are in the same order.
    """
    known = [c for path in classes for c in load_classes(path)]
    if number >= len(known):
        raise InputError(
            f"{averages}: there is no class {number}, they count from 0 to"
            f" {len(known) - 1}; ask for another one."
        )
    members = known[number].members
    table = tables.read_particles(particles)
    counterparts = read_tilted(tilted, table.pixel_size)
    print(f"{counterparts.n} tilted particles, {counterparts.pixel_size:.3f} A")
    found = pairs(table, members, counterparts, match)

    ratio = read_json(stack_info)["shrink_ratio"]
    of_class = membership([known[number]], [0], read_shifts(shifts), ratio)
    untilted = members[found.members]
    placed = from_relion(
        *(part[untilted] for part in (of_class.psi, of_class.centre, of_class.flip))
    )
    first = original_ids(table)

    stack = folder.absolute() / "tilted.mrcs"
    rows = counterparts.particles.iloc[found.tilted].reset_index(drop=True)
    rows["rlnImageOriginalName"] = rows["rlnImageName"]
    rows["rlnImageName"] = [image_name(stack, i) for i in range(len(rows))]
    for name, values in params_columns(placed).items():
        rows[name] = values
    rows[ORIGINAL_ID] = [str(i) for i in first[untilted]]

    images, headers = read_images(averages)
    write_images(folder / "average.hdf", images[[number]], [headers[number]])
    write_ids(folder / "members.txt", first[members])
    write_ids(folder / "tilted.txt", found.tilted)
    write_text(folder / "params.txt", params_text(placed))
    shown = tables.read_images(counterparts, found.tilted)
    write_stack(folder / stack.name, shown, counterparts.pixel_size)
    counterparts.particles = rows
    tables.write_particles(folder / "tilted.star", counterparts)
    print(f"{len(rows)} of {len(members)} members have a tilted counterpart")
