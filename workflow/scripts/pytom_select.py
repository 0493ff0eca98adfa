"""Write the particles of some classes to a list of their own, and their average."""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from cryokin.errors import exit_on_input_error
from cryokin.files import read_json, write_text
from cryokin.io.star import write_star
from cryokin.io.volumes import write_both
from cryokin.parallel import Team
from cryokin.pytom.files import class_average, load_import, make_mask
from cryokin.selection import (
    as_name,
    check_selection,
    read_selection,
    select_by_rule,
)


def main() -> None:
    """Select, list, average."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--imported", required=True, type=Path, help="folder of the import")
    add("--poses", required=True, type=Path, help="poses.npz")
    add("--labels", required=True, type=Path, help="classes of the particles, .npy")
    add("--classes", required=True, type=Path, help="classes.json")
    add("--run", required=True, help="name of the run")
    add("--selection", type=Path, help="the user's selection; else by rule")
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--folder", required=True, type=Path, help="output folder")
    arguments = parser.parse_args()
    options, folder = arguments.options, arguments.folder

    labels = np.load(arguments.labels)
    known = read_json(arguments.classes)["classes"]
    if arguments.selection is None:
        values = [entry | {"size": entry["n"]} for entry in known]
        selection = select_by_rule(arguments.run, options["select"], values)
    else:
        selection = read_selection(arguments.selection)
        names = [e["name"] for e in known] + [e["class"] for e in known]
        check_selection(
            selection,
            arguments.selection,
            arguments.run,
            dict.fromkeys(map(as_name, names)),
            arguments.classes,
        )
    number = {as_name(e["class"]): e["class"] for e in known}
    number |= {as_name(e["name"]): e["class"] for e in known}
    becomes = {number[a]: number[b] for a, b in selection.becomes.items()}
    chosen = np.flatnonzero(np.isin(labels, list(becomes)))
    labels = np.array([becomes.get(label, -1) for label in labels.tolist()])
    with np.load(arguments.poses) as poses:
        particles = load_import(arguments.imported).placed(
            poses["rotations"], poses["shifts"]
        )
    places = particles.ids
    particles = particles.classified(labels).take(chosen.tolist())
    average = class_average(
        particles,
        list(range(len(particles))),
        make_mask(options["mask"], particles.box, 1),
        options["compat"] == "pytom",
        Team(),
        options["symmetry"],
    )
    write_both(folder / "filteredIniRef", average.volume, particles.pixel_size)
    rows = [f"{places[i] + 1},{labels[i]}\n" for i in chosen]
    write_text(folder / "selected.csv", "particle_id,class\n" + "".join(rows))
    is_kept = [int(e["class"] in becomes) for e in known]
    write_star(
        folder / "backup_selection.star", {"": pd.DataFrame({"rlnSelected": is_kept})}
    )
    particles.write(folder / "filtered_pl")
    print(f"{len(chosen)} of {len(labels)} particles selected")


if __name__ == "__main__":
    exit_on_input_error(main)
