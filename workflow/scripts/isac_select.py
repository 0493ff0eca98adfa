"""Write the particles and averages of the classes that are kept."""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from cryokin.errors import exit_on_input_error
from cryokin.files import atomic_folder, read_json, write_ids
from cryokin.io.eman_hdf import read_images, write_images
from cryokin.io.mrc import write_stack
from cryokin.io.particles import read_particles, write_particles
from cryokin.io.star import write_star
from cryokin.isac.averages import average_and_header
from cryokin.isac.basis import polar_basis
from cryokin.isac.classes import load_classes
from cryokin.isac.files import StackImages, read_shifts
from cryokin.isac.selected import (
    chosen_classes,
    class_values,
    original_ids,
    read_kept,
    subset,
)
from cryokin.isac.tables import class_columns, membership, particle_columns
from cryokin.selection import select_by_rule


def main() -> None:
    """Choose by hand or by rule, merge, then list, average and tabulate."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--run", required=True, help="name of the run")
    add("--selection", type=Path, help="the user's selection; else by rule")
    add("--particles", required=True, type=Path, help="particles.star of the run")
    add("--shifts", required=True, type=Path, help="initial2Dparams.txt")
    add("--hdf", required=True, type=Path, help="class_averages.hdf")
    add("--class-table", required=True, type=Path, help="classes.star")
    add("--classes", nargs="+", type=Path, help="classes .npz of the generations")
    add("--stack", required=True, type=Path, help="working stack")
    add("--stack-info", required=True, type=Path, help="working_stack.json")
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--folder", required=True, type=Path, help="output folder")
    arguments = parser.parse_args()
    options, folder = arguments.options, arguments.folder

    averages, headers = read_images(arguments.hdf)
    if arguments.selection is None:
        values = class_values(headers)
        selection = select_by_rule(arguments.run, options["select"], values)
    else:
        selection = read_kept(
            arguments.selection, arguments.run, headers, arguments.class_table
        )
    classes = [c for path in arguments.classes for c in load_classes(path)]
    basis = polar_basis(options)
    chosen = chosen_classes(selection, classes, headers, averages, basis)
    numbers = [one.number for one in chosen]

    working = read_json(arguments.stack_info)
    stack = StackImages(arguments.stack, working["pixel_size"])
    kept = [
        (averages[one.number - 1], headers[one.number - 1])
        if len(one.sources) == 1
        else average_and_header(one.found, stack, options, one.generation)
        for one in chosen
    ]
    images = np.stack([image for image, _ in kept])
    headers = [
        header | {"class_number": n}
        for (_, header), n in zip(kept, numbers, strict=True)
    ]

    shifts = read_shifts(arguments.shifts)
    table = membership(
        [one.found for one in chosen],
        [one.generation for one in chosen],
        shifts,
        working["shrink_ratio"],
    )
    ids = np.flatnonzero(table.label >= 0)
    label = np.where(table.label >= 0, np.array(numbers)[table.label] - 1, -1)
    particles = read_particles(arguments.particles)
    columns = particle_columns(table._replace(label=label), particles.pixel_size)
    for name, values in columns.items():
        particles.particles[name] = values
    selected = subset(particles, ids, "selected")

    write_images(folder / "class_averages_selected.hdf", images, headers)
    name = "class_averages_selected.mrcs"
    write_stack(folder / name, images, working["pixel_size"])
    described = class_columns(headers, name, numbers)
    described["cryokinMergedFrom"] = [",".join(map(str, one.sources)) for one in chosen]
    write_star(folder / "classes_selected.star", {"classes": pd.DataFrame(described)})
    is_kept = [int(n in selection.keep) for n in range(1, len(classes) + 1)]
    write_star(
        folder / "backup_selection.star", {"": pd.DataFrame({"rlnSelected": is_kept})}
    )
    write_ids(folder / "isacselect.txt", ids)
    first = original_ids(particles)
    with atomic_folder(folder / "isacgroup") as place:
        for one in chosen:
            path = place / f"class_{one.number:04d}.txt"
            write_ids(path, first[one.found.members])
    write_particles(folder / "particles_selected.star", selected)
    print(f"{len(ids)} of {particles.n} particles, in {len(chosen)} classes")


if __name__ == "__main__":
    exit_on_input_error(main)
