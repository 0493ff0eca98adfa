from pathlib import Path

import numpy as np
import pandas as pd

from cryokin.files import read_json, write_text
from cryokin.io.star import write_star
from cryokin.io.volumes import read_volume, write_both
from cryokin.npy import load_array
from cryokin.options import SubtomogramOptions
from cryokin.parallel import Team
from cryokin.partition.labels import class_numbers
from cryokin.report.page import number, quantity
from cryokin.report.pytom_files import mask_radius
from cryokin.report.pytom_page import strip
from cryokin.report.selected_page import LINKS_3D, Kept
from cryokin.report.selected_page import page as page_of
from cryokin.script import Folder
from cryokin.selection import (
    as_name,
    check_selection,
    read_selection,
    select_by_rule,
)
from cryokin.subtomo.files import load_placed
from cryokin.subtomo.mask import make_mask
from cryokin.subtomo.results import class_average


def select_classes(
    *,
    run: str,
    selection: Path | None = None,
    imported: Folder,
    poses: Path,
    labels: Path,
    classes: Path,
    options: SubtomogramOptions,
    folder: Folder,
    page: Path,
) -> None:
    """Write the particles and the average of classes kept by hand, else by rule."""
    found = load_array(labels)
    known = read_json(classes)["classes"]
    if selection is None:
        values = [entry | {"size": entry["n"]} for entry in known]
        kept = select_by_rule(run, options.select or {}, values)
    else:
        kept = read_selection(selection)
        names = [e["name"] for e in known] + [e["class"] for e in known]
        check_selection(
            kept, selection, run, dict.fromkeys(map(as_name, names)), classes
        )
    label = {
        as_name(e[key]): e["class"] - 1 for key in ("class", "name") for e in known
    }
    becomes = {label[a]: label[b] for a, b in kept.becomes.items()}
    chosen = np.flatnonzero(np.isin(found, list(becomes)))
    found = np.array([becomes.get(c, -1) for c in found.tolist()])
    particles = load_placed(imported, poses)
    options = options.scaled(particles.box, particles.pixel_size)
    places = particles.ids
    particles = particles.classified(found).take(chosen.tolist())
    average = class_average(
        particles,
        list(range(len(particles))),
        make_mask(options.mask, particles.box, 1),
        options.compat == "pytom",
        Team(),
        options.symmetry,
    )
    write_both(folder / "filteredIniRef", average.volume, particles.pixel_size)
    numbers = class_numbers(found)
    rows = [f"{places[i] + 1},{numbers[i]}\n" for i in chosen]
    write_text(folder / "selected.csv", "particle_id,class\n" + "".join(rows))
    is_kept = [int(e["class"] - 1 in becomes) for e in known]
    write_star(
        folder / "backup_selection.star", {"": pd.DataFrame({"rlnSelected": is_kept})}
    )
    particles.write(folder / "filtered_pl")
    radius = mask_radius(options.mask, particles.pixel_size)
    pictures = len(becomes) + 1
    unit = "Å" if particles.pixel_size else "voxels"
    title = {entry["class"] - 1: str(entry["name"]) for entry in known}
    shown = [
        Kept(
            title[own],
            int(entry["n"]),
            quantity(number(entry["resolution"]), unit, 1),
            strip(read_volume(classes.parent / entry["mrc"]), radius, pictures),
            "" if own == becomes[own] else f"merged to class {title[becomes[own]]}",
        )
        for entry in known
        if (own := entry["class"] - 1) in becomes
    ]
    whole = Kept("", len(chosen), "", strip(average.volume, radius, pictures))
    told = (len(chosen), len(found), len(known))
    write_text(page, page_of(run, shown, told, LINKS_3D, whole))
    print(f"{len(chosen)} of {len(found)} particles selected")
