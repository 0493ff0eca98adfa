from pathlib import Path

import numpy as np
import pandas as pd

from cryokin.files import atomic_folder, read_json, write_ids, write_text
from cryokin.io.eman_hdf import read_images, write_images
from cryokin.io.mrc import write_stack
from cryokin.io.particles import read_particles, write_particles
from cryokin.io.star import write_star
from cryokin.isac.averages import average_and_header
from cryokin.isac.basis import polar_basis
from cryokin.isac.classes import load_classes
from cryokin.isac.files import open_working_stack, read_shifts
from cryokin.isac.selected import (
    chosen_classes,
    class_values,
    original_ids,
    read_kept,
    subset,
)
from cryokin.isac.tables import class_columns, membership, particle_columns
from cryokin.options import Isac
from cryokin.report.isac_page import pictures
from cryokin.report.page import quantity
from cryokin.report.selected_page import LINKS_2D, Kept
from cryokin.report.selected_page import page as page_of
from cryokin.script import Folder
from cryokin.selection import select_by_rule


def select_particles(
    *,
    run: str,
    selection: Path | None = None,
    particles: Path,
    shifts: Path,
    hdf: Path,
    class_table: Path,
    classes: list[Path],
    stack: Path,
    stack_info: Path,
    options: Isac,
    folder: Folder,
    groups: Path,
    page: Path,
) -> None:
    """Write the particles and averages of the classes kept by hand, else by rule."""
    averages, headers = read_images(hdf)
    if selection is None:
        kept = select_by_rule(run, options.select or {}, class_values(headers))
    else:
        kept = read_kept(selection, run, headers, class_table)
    known = [c for path in classes for c in load_classes(path)]
    chosen = chosen_classes(kept, known, headers, averages, polar_basis(options))
    numbers = [one.number for one in chosen]

    working = read_json(stack_info)
    source = open_working_stack(stack, stack_info)
    made = [
        (averages[one.number - 1], headers[one.number - 1])
        if len(one.sources) == 1
        else average_and_header(one.found, source, options, one.generation)
        for one in chosen
    ]
    images = np.stack([image for image, _ in made])
    headers = [
        header | {"class_number": n}
        for (_, header), n in zip(made, numbers, strict=True)
    ]

    members = membership(
        [one.found for one in chosen],
        [one.generation for one in chosen],
        read_shifts(shifts),
        working["shrink_ratio"],
    )
    ids = np.flatnonzero(members.label >= 0)
    label = np.where(members.label >= 0, np.array(numbers)[members.label] - 1, -1)
    table = read_particles(particles)
    columns = particle_columns(members._replace(label=label), table.pixel_size)
    for name, values in columns.items():
        table.particles[name] = values
    selected = subset(table, ids, "selected")

    write_images(folder / "class_averages_selected.hdf", images, headers)
    name = "class_averages_selected.mrcs"
    write_stack(folder / name, images, working["pixel_size"])
    described = class_columns(headers, folder / name, numbers)
    described["cryokinMergedFrom"] = [",".join(map(str, one.sources)) for one in chosen]
    write_star(folder / "classes_selected.star", {"classes": pd.DataFrame(described)})
    is_kept = [int(n in kept.keep) for n in range(1, len(known) + 1)]
    write_star(
        folder / "backup_selection.star", {"": pd.DataFrame({"rlnSelected": is_kept})}
    )
    write_ids(folder / "isacselect.txt", ids)
    first = original_ids(table)
    with atomic_folder(groups) as place:
        for one in chosen:
            path = place / f"class_{one.number:04d}.txt"
            write_ids(path, first[one.found.members])
    write_particles(folder / "particles_selected.star", selected)
    shown = [
        Kept(
            str(one.number),
            len(one.found.members),
            quantity(float(header["resolution"]), "Å", 1),
            picture,
            f"of {', '.join(map(str, one.sources))}" if len(one.sources) > 1 else "",
        )
        for one, header, picture in zip(
            chosen, headers, pictures(images, options.target_radius), strict=True
        )
    ]
    told = (len(ids), table.n, len(known))
    write_text(page, page_of(run, shown, told, LINKS_2D))
    print(f"{len(ids)} of {table.n} particles, in {len(chosen)} classes")
