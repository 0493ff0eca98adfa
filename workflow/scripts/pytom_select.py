"""Write the particles of some classes to a list of their own, and their average."""

import argparse
import json
from pathlib import Path

import numpy as np

from cryokin.errors import InputError, exit_on_input_error
from cryokin.files import read_json, write_text
from cryokin.io.volumes import write_both
from cryokin.parallel import Team
from cryokin.pytom.files import class_average, load_import, make_mask


def main() -> None:
    """Select, list, average."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--imported", required=True, type=Path, help="folder of the import")
    add("--poses", required=True, type=Path, help="poses.npz")
    add("--labels", required=True, type=Path, help="classes of the particles, .npy")
    add("--classes", required=True, type=Path, help="classes.json")
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--folder", required=True, type=Path, help="output folder")
    arguments = parser.parse_args()
    options, folder = arguments.options, arguments.folder

    labels = np.load(arguments.labels)
    known = read_json(arguments.classes)["classes"]
    by_name = {str(e["class"]): e["class"] for e in known}
    by_name |= {e["name"]: e["class"] for e in known}
    wanted = [str(name) for name in options["select"]["classes"]]
    missing = [name for name in wanted if name not in by_name]
    if missing:
        raise InputError(
            f"select: there is no class {missing[0]} (there are:"
            f" {', '.join(e['name'] for e in known)}); correct select in the config."
        )
    chosen = np.flatnonzero(np.isin(labels, [by_name[name] for name in wanted]))
    with np.load(arguments.poses) as poses:
        particles = load_import(arguments.imported).placed(
            poses["rotations"], poses["shifts"]
        )
    particles = particles.classified(labels).take(chosen.tolist())
    average = class_average(
        particles,
        list(range(len(particles))),
        make_mask(options["mask"], particles.box, 1),
        options["compat"] == "pytom",
        Team(),
    )
    write_both(folder / "filteredIniRef", average.volume, particles.pixel_size)
    rows = [f"{i + 1},{labels[i]}\n" for i in chosen]
    write_text(folder / "selected.csv", "particle_id,class\n" + "".join(rows))
    particles.write(folder / "filtered_pl")
    print(f"{len(chosen)} of {len(labels)} particles selected")


if __name__ == "__main__":
    exit_on_input_error(main)
