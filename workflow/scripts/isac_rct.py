"""Write the members of a class and their tilted counterparts (random conical tilt)."""

import argparse
from pathlib import Path

from cryokin.errors import InputError, exit_on_input_error
from cryokin.files import read_json, write_ids, write_text
from cryokin.image.geometry import from_relion
from cryokin.io.eman_hdf import read_images, write_images
from cryokin.io.mrc import write_stack
from cryokin.io.particles import (
    ParticleTable,
    canonical,
    image_box,
    read_particles,
    write_particles,
)
from cryokin.io.particles import (
    read_images as read_particle_images,
)
from cryokin.io.stacks import image_name
from cryokin.isac.classes import load_classes
from cryokin.isac.files import read_shifts
from cryokin.isac.rct import pairs, params_columns, params_text
from cryokin.isac.selected import ORIGINAL_ID, original_ids
from cryokin.isac.tables import membership


def read_tilted(path: Path, pixel_size: float) -> ParticleTable:
    """Read the tilted particles; a pixel size they lack is that of the run."""
    table = read_particles(path)
    try:
        known = table.pixel_size
    except InputError:
        table = read_particles(path, pixel_size=pixel_size)
        known = pixel_size
    print(f"{table.n} tilted particles, {known:.3f} A")
    return canonical(table, image_box(table))


def main() -> None:
    """List members, find their counterparts, write both with the alignment."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--classes", nargs="+", type=Path, help="classes, .npz")
    add("--averages", required=True, type=Path, help="their averages, .hdf")
    add("--number", required=True, type=int, help="of the class in them, from 0")
    add("--particles", required=True, type=Path, help="particles.star of the import")
    add("--shifts", required=True, type=Path, help="initial2Dparams.txt")
    add("--stack-info", required=True, type=Path, help="working_stack.json")
    add("--tilted", required=True, type=Path, help="tilted particles")
    add("--match", help="column that pairs share; default: the same order")
    add("--folder", required=True, type=Path, help="output folder")
    arguments = parser.parse_args()
    folder, number = arguments.folder, arguments.number

    classes = [c for path in arguments.classes for c in load_classes(path)]
    if number >= len(classes):
        raise InputError(
            f"{arguments.averages}: there is no class {number}, they count from 0 to"
            f" {len(classes) - 1}; ask for another one."
        )
    members = classes[number].members
    particles = read_particles(arguments.particles)
    tilted = read_tilted(arguments.tilted, particles.pixel_size)
    found = pairs(particles, members, tilted, arguments.match)

    ratio = read_json(arguments.stack_info)["shrink_ratio"]
    table = membership([classes[number]], [0], read_shifts(arguments.shifts), ratio)
    untilted = members[found.members]
    placed = from_relion(
        *(part[untilted] for part in (table.psi, table.centre, table.flip))
    )
    first = original_ids(particles)

    stack = folder.absolute() / "tilted.mrcs"
    rows = tilted.particles.iloc[found.tilted].reset_index(drop=True)
    rows["rlnImageOriginalName"] = rows["rlnImageName"]
    rows["rlnImageName"] = [image_name(stack, i) for i in range(len(rows))]
    for name, values in params_columns(placed).items():
        rows[name] = values
    rows[ORIGINAL_ID] = [str(i) for i in first[untilted]]

    averages, headers = read_images(arguments.averages)
    write_images(folder / "average.hdf", averages[[number]], [headers[number]])
    write_ids(folder / "members.txt", first[members])
    write_ids(folder / "tilted.txt", found.tilted)
    write_text(folder / "params.txt", params_text(placed))
    images = read_particle_images(tilted, found.tilted)
    write_stack(folder / stack.name, images, tilted.pixel_size)
    tilted.particles = rows
    write_particles(folder / "tilted.star", tilted)
    print(f"{len(rows)} of {len(members)} members have a tilted counterpart")


if __name__ == "__main__":
    exit_on_input_error(main)
