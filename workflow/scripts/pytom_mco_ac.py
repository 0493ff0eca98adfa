"""Take the best result of all chains and rounds of annealing."""

import argparse
import json
from pathlib import Path

import numpy as np

from cryokin.errors import exit_on_input_error
from cryokin.files import atomic_folder, write_json
from cryokin.pytom.files import load_import, save_labels, save_scores
from cryokin.pytom.runs import (
    annealing_report,
    emptied,
    informed,
    load_chains,
    write_annealing,
)
from cryokin.pytom.schedule import schedule


def main() -> None:
    """Write the rounds of the best chain under PyTom's names."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--imported", required=True, type=Path, help="folder of the import")
    add("--poses", required=True, type=Path, help="poses.npz")
    add("--rounds", required=True, nargs="+", type=Path, help="states of all rounds")
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--folder", required=True, type=Path, help="output, the lists of every round")
    add("--labels", required=True, type=Path, help="output, .npy")
    add("--scores", required=True, type=Path, help="output, .npy")
    add("--report", required=True, type=Path, help="output, annealing.json")
    arguments = parser.parse_args()
    options = arguments.options

    rounds = [load_chains(path) for path in arguments.rounds]
    with np.load(arguments.poses) as poses:
        particles = load_import(arguments.imported).placed(
            poses["rotations"], poses["shifts"]
        )
    temperatures = schedule(options["temperature"], options["temperature_step"])
    with atomic_folder(arguments.folder) as folder:
        labels, scores = write_annealing(
            folder,
            particles,
            rounds,
            options["nclass"],
            temperatures,
            informed(options),
        )
    save_labels(arguments.labels, labels)
    save_scores(arguments.scores, scores)
    report = annealing_report(rounds, informed(options))
    report["warnings"] = emptied(labels, options["nclass"])
    write_json(arguments.report, report)
    for warning in report["warnings"]:
        print(f"warning: {warning}")
    print(f"members of the classes: {np.bincount(labels).tolist()}")


if __name__ == "__main__":
    exit_on_input_error(main)
