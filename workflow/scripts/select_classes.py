from pathlib import Path

import numpy as np
import pandas as pd

from cryokin.files import read_json, write_text
from cryokin.io.star import write_star
from cryokin.io.volumes import write_both
from cryokin.npy import load_array
from cryokin.options import SubtomogramOptions
from cryokin.parallel import Team
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
    number = {as_name(e["class"]): e["class"] for e in known}
    number |= {as_name(e["name"]): e["class"] for e in known}
    becomes = {number[a]: number[b] for a, b in kept.becomes.items()}
    chosen = np.flatnonzero(np.isin(found, list(becomes)))
    found = np.array([becomes.get(label, -1) for label in found.tolist()])
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
    rows = [f"{places[i] + 1},{found[i]}\n" for i in chosen]
    write_text(folder / "selected.csv", "particle_id,class\n" + "".join(rows))
    is_kept = [int(e["class"] in becomes) for e in known]
    write_star(
        folder / "backup_selection.star", {"": pd.DataFrame({"rlnSelected": is_kept})}
    )
    particles.write(folder / "filtered_pl")
    print(f"{len(chosen)} of {len(found)} particles selected")
