from pathlib import Path

import numpy as np
import pandas as pd

from cryokin.files import read_json, write_json, write_text
from cryokin.io.eman_hdf import write_images
from cryokin.io.particles import read_particles, write_particles
from cryokin.io.star import write_star
from cryokin.isac.averages import join_averages
from cryokin.isac.classes import load_classes
from cryokin.isac.files import read_shifts
from cryokin.isac.relion import classification
from cryokin.isac.tables import (
    class_columns,
    classes_csv,
    membership,
    particle_columns,
)
from cryokin.script import Folder


def isac_class_averages(
    *,
    table: Path,
    flipped: Path | None = None,
    shifts: Path,
    stack_info: Path,
    classes: list[Path],
    averages: list[Path],
    hdf: Path,
    mrcs: Path,
    class_table: Path,
    particles: Path,
    csv: Path,
    frc: Path,
    relion: Folder,
) -> None:
    """Join the classes of all generations: averages and tables of the whole run."""
    working = read_json(stack_info)
    box = working["box"]
    found = [c for path in classes for c in load_classes(path)]
    images, headers = join_averages(mrcs, averages, box, working["pixel_size"])
    members = membership(
        found,
        [int(header["generation"]) for header in headers],
        read_shifts(shifts),
        working["shrink_ratio"],
    )
    write_text(csv, classes_csv(members))
    write_images(hdf, images, headers)
    columns = class_columns(headers, mrcs)
    write_star(class_table, {"classes": pd.DataFrame(columns)})
    rows = read_particles(table)
    for name, values in particle_columns(members, rows.pixel_size).items():
        rows.particles[name] = values
    write_particles(particles, rows)
    tables = classification(
        relion, mrcs, images, headers, working, rows, flipped is not None
    )
    for name, blocks in tables.items():
        write_star(relion / name, blocks)
    curves = [np.atleast_1d(header["frc"]).round(5).tolist() for header in headers]
    frequency = (np.arange(box // 2) / box).round(6).tolist()
    write_json(frc, {"frequency": frequency, "frc": curves})
    print(f"{np.count_nonzero(members.label >= 0)} particles in {len(found)} classes")
