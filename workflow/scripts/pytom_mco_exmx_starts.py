"""Run some of the starts of MCO-EXMX (an MPI program)."""

import argparse
import json
from pathlib import Path

import numpy as np

from cryokin.errors import exit_on_input_error
from cryokin.parallel import world
from cryokin.pytom.files import load_import, load_prepared
from cryokin.pytom.runs import course, make_model, save_courses, starts


def main() -> None:
    """Take the starts of one job, share them between the ranks."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--imported", required=True, type=Path, help="folder of the import")
    add("--prepared", required=True, type=Path, help="folder of the prepared rows")
    add("--start", type=Path, help="classes of CPCA, .npy")
    add("--batch", required=True, type=int, help="number of the job, from 0")
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--courses", required=True, type=Path, help="output, .npz")
    add("--ranks", required=True, type=int, help="MPI ranks that were asked for")
    arguments = parser.parse_args()
    options = arguments.options

    team = world(arguments.ranks)
    labels = load_import(arguments.imported).labels
    of_cpca = np.load(arguments.start) if arguments.start else None
    size = options["starts_per_job"]
    mine = slice(arguments.batch * size, (arguments.batch + 1) * size)
    first = starts(options, len(labels), of_cpca, labels)[mine]
    model = make_model(load_prepared(arguments.prepared), options)
    courses = team.map(lambda start: course(model, start, options), first)
    if team.leads:
        save_courses(arguments.courses, courses)
        best = max(float(one.objective[-1]) for one in courses)
        team.log(f"{len(courses)} starts, best objective {best:.6g}")


if __name__ == "__main__":
    exit_on_input_error(main)
