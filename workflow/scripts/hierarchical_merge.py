from pathlib import Path

import numpy as np

from cryokin.files import read_json, write_json, write_text
from cryokin.io.pytom_xml import Particle, write_particle_list
from cryokin.io.volumes import read_volume
from cryokin.npy import load_array
from cryokin.options import SubtomogramOptions
from cryokin.parallel import Team
from cryokin.partition.labels import class_numbers
from cryokin.partition.trees import tree
from cryokin.script import Folder
from cryokin.subtomo.class_tree import (
    average_correlations,
    difference_tree,
    merge_classes,
)
from cryokin.subtomo.files import load_import, save_labels, write_matrix_em
from cryokin.subtomo.prepare import load_prepared
from cryokin.subtomo.results import write_results


def hierarchical_merge(
    *,
    team: Team,
    imported: Folder,
    prepared: Folder,
    labels: Path,
    classes: Path,
    differences: Path | None = None,
    options: SubtomogramOptions,
    folder: Folder,
    merged: Path,
    merge: Path,
) -> None:
    """Merge classes whose averages are alike (an MPI program)."""
    members = class_numbers(load_array(labels))
    entries = read_json(classes)["classes"]
    files = [classes.parent / entry["em"] for entry in entries]
    names = [entry["class"] for entry in entries]
    made, how = load_prepared(prepared), dict(options.merge or {})
    if differences:
        how = how | {"number": max(read_json(differences)["distinct"], 1)}
    particles = load_import(imported).placed(made.rotations, made.shifts)
    options = options.scaled(particles.box, particles.pixel_size)
    matrix = average_correlations(list(map(read_volume, files)), options)
    if len(names) < 2:  # others may have emptied: nothing is left to join
        joined = np.empty((0, 4))
    elif how["linkage"] == "significance" and not how["manual_compat"]:
        joined = difference_tree(made, members, names)
    else:
        joined = tree(matrix, how["linkage"], how["manual_compat"])
    found = merge_classes(joined, how, list(map(str, names)))
    group = dict(zip(names, found.groups.tolist(), strict=True))
    grouped = np.array([group.get(c, -1) for c in members.tolist()])
    write_results(folder, particles, grouped, options, team, found.names)
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
    save_labels(merged, grouped)
    write_json(
        merge,
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
