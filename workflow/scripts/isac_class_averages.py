"""Join the classes of all generations: averages and tables of the whole run."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from cryokin.errors import exit_on_input_error
from cryokin.files import read_json, write_json, write_text
from cryokin.io.eman_hdf import read_images, write_images
from cryokin.io.mrc import write_stack
from cryokin.io.particles import read_particles, write_particles
from cryokin.io.star import write_star
from cryokin.isac.classes import load_classes
from cryokin.isac.files import read_shifts
from cryokin.isac.tables import (
    class_columns,
    classes_csv,
    membership,
    particle_columns,
)


def main() -> None:
    """Read what each generation found and write the results of the run."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--table", required=True, type=Path, help="particles.star of the import")
    add("--shifts", required=True, type=Path, help="initial2Dparams.txt")
    add("--stack-info", required=True, type=Path, help="working_stack.json")
    add("--classes", nargs="+", type=Path, help="classes .npz of the generations")
    add("--generations", nargs="+", type=Path, help="averages .hdf of the generations")
    add("--hdf", required=True, type=Path, help="output, class_averages.hdf")
    add("--mrcs", required=True, type=Path, help="output, class_averages.mrcs")
    add("--class-table", required=True, type=Path, help="output, classes.star")
    add("--particles", required=True, type=Path, help="output, particles.star")
    add("--csv", required=True, type=Path, help="output, classes.csv")
    add("--frc", required=True, type=Path, help="output, frc.json")
    arguments = parser.parse_args()

    working = read_json(arguments.stack_info)
    box = working["box"]
    classes = [c for path in arguments.classes for c in load_classes(path)]
    stacks = [read_images(path) for path in arguments.generations]
    headers = [header for _, part in stacks for header in part]
    images = np.concatenate(
        [np.zeros((0, box, box), np.float32), *(np.asarray(i) for i, h in stacks if h)]
    )
    table = membership(
        classes,
        [int(header["generation"]) for header in headers],
        read_shifts(arguments.shifts),
        working["shrink_ratio"],
    )
    write_images(arguments.hdf, images, headers)
    write_stack(arguments.mrcs, images, working["pixel_size"])
    columns = class_columns(headers, arguments.mrcs.name)
    write_star(arguments.class_table, {"classes": pd.DataFrame(columns)})
    particles = read_particles(arguments.table)
    for name, values in particle_columns(table, particles.pixel_size).items():
        particles.particles[name] = values
    write_particles(arguments.particles, particles)
    write_text(arguments.csv, classes_csv(table))
    curves = [np.atleast_1d(header["frc"]).round(5).tolist() for header in headers]
    frequency = (np.arange(box // 2) / box).round(6).tolist()
    write_json(arguments.frc, {"frequency": frequency, "frc": curves})
    print(f"{np.count_nonzero(table.label >= 0)} particles in {len(classes)} classes")


if __name__ == "__main__":
    exit_on_input_error(main)
