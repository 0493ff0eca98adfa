"""Take the best of all starts of MCO-EXMX, or run PyTom's own (an MPI program)."""

import argparse
import json
from pathlib import Path

import numpy as np

from cryokin.errors import exit_on_input_error
from cryokin.files import atomic_folder_for_team, write_json
from cryokin.parallel import world
from cryokin.pytom.files import (
    load_import,
    load_prepared,
    save_labels,
    save_scores,
)
from cryokin.pytom.runs import (
    best_course,
    emptied,
    informed,
    load_courses,
    run_compat,
    scorer,
    write_course,
)


def main() -> None:
    """Keep the best start and write its iterations."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--imported", required=True, type=Path, help="folder of the import")
    add("--prepared", required=True, type=Path, help="folder of the prepared rows")
    add("--courses", type=Path, nargs="*", default=[], help="of the starts, .npz")
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--folder", required=True, type=Path, help="output, the iterations")
    add("--labels", required=True, type=Path, help="output, .npy")
    add("--scores", required=True, type=Path, help="output, .npy")
    add("--report", required=True, type=Path, help="output, exmx.json")
    add("--ranks", required=True, type=int, help="MPI ranks that were asked for")
    arguments = parser.parse_args()
    options = arguments.options

    team = world(arguments.ranks)
    particles = load_import(arguments.imported)
    with atomic_folder_for_team(team, arguments.folder) as folder:
        if options["compat"] == "pytom":
            labels, scores, report = run_compat(folder, particles, options, team)
        else:
            prepared = load_prepared(arguments.prepared)
            courses = [one for path in arguments.courses for one in load_courses(path)]
            went, report = best_course(courses, options["nclass"], informed(options))
            labels = went.labels[-1]
            if team.leads:
                placed = particles.placed(prepared.rotations, prepared.shifts)
                score = scorer(prepared, options)
                scores = write_course(folder, placed, prepared.rows, went, score)
    if team.leads:
        save_labels(arguments.labels, labels)
        save_scores(arguments.scores, scores)
        report["warnings"] = emptied(labels, options["nclass"])
        write_json(arguments.report, report)
        for warning in report["warnings"]:
            team.log(f"warning: {warning}")
        team.log(f"members of the classes: {np.bincount(labels).tolist()}")


if __name__ == "__main__":
    exit_on_input_error(main)
