"""Merge classes whose averages are alike (an MPI program)."""

import argparse
import json
from pathlib import Path

import numpy as np

from cryokin.errors import exit_on_input_error
from cryokin.files import read_json, write_json, write_text
from cryokin.io.pytom_xml import Particle, write_particle_list
from cryokin.io.volumes import read_volume
from cryokin.parallel import world
from cryokin.pytom.files import (
    load_import,
    load_prepared,
    save_labels,
    write_matrix_em,
    write_results,
)
from cryokin.pytom.merge import tree
from cryokin.pytom.runs import average_correlations, difference_tree, merge_classes


def main() -> None:
    """Compare the classes, cut the tree, write the merged lists and averages."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--imported", required=True, type=Path, help="folder of the import")
    add("--prepared", required=True, type=Path, help="folder of the prepared rows")
    add("--labels", required=True, type=Path, help="classes of the particles, .npy")
    add("--classes", required=True, type=Path, help="classes.json")
    add("--differences", type=Path, help="differences.json, for number: auto")
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--folder", required=True, type=Path, help="output folder")
    add("--merged-labels", required=True, type=Path, help="output, .npy")
    add("--merge", required=True, type=Path, help="output, merge.json")
    add("--ranks", required=True, type=int, help="MPI ranks that were asked for")
    arguments = parser.parse_args()
    options, folder = arguments.options, arguments.folder

    team = world(arguments.ranks)
    labels = np.load(arguments.labels)
    entries = read_json(arguments.classes)["classes"]
    files = [arguments.classes.parent / entry["em"] for entry in entries]
    classes = [entry["class"] for entry in entries]
    prepared, how = load_prepared(arguments.prepared), options["merge"]
    if arguments.differences:
        distinct = read_json(arguments.differences)["distinct"]
        how = how | {"number": max(distinct, 1)}
    matrix = average_correlations(list(map(read_volume, files)), options)
    if len(classes) < 2:  # others may have emptied: nothing is left to join
        joined = np.empty((0, 4))
    elif how["linkage"] == "significance" and not how["manual_compat"]:
        joined = difference_tree(prepared, labels, classes)
    else:
        joined = tree(matrix, how["linkage"], how["manual_compat"])
    found = merge_classes(joined, how, list(map(str, classes)))
    group = dict(zip(classes, found.groups.tolist(), strict=True))
    merged = np.array([group.get(c, -1) for c in labels.tolist()])
    particles = load_import(arguments.imported).placed(
        prepared.rotations, prepared.shifts
    )
    write_results(folder, particles, merged, options, team, found.names)
    if not team.leads:
        return
    averages = [
        Particle(str(file), label=str(entry["class"]))
        for file, entry in zip(files, entries, strict=True)
    ]
    write_particle_list(folder / "classAverageList.xml", averages)
    write_matrix_em(folder / "correlationMatrix.em", matrix)
    lines = [" ".join(f"{value:.8g}" for value in row) + " \n" for row in matrix]
    write_text(folder / "correlationMatrix-R.txt", "".join(lines))
    save_labels(arguments.merged_labels, merged)
    write_json(
        arguments.merge,
        {
            "linkage": found.tree.tolist(),
            "labels": [str(entry["class"]) for entry in entries],
            "groups": found.groups.tolist(),
            "names": found.names,
            "height": found.height,
            "matrix": matrix.tolist(),
        },
    )
    number = how.get("number", 0)
    few = f", though {number} were asked for" if len(found.names) < number else ""
    team.log(f"{len(entries)} classes merged to {len(found.names)}{few}")


if __name__ == "__main__":
    exit_on_input_error(main)
