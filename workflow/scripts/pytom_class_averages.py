"""Average the classes; write lists, tables and averages (an MPI program)."""

import argparse
import json
from pathlib import Path

import numpy as np

from cryokin.errors import exit_on_input_error
from cryokin.parallel import world
from cryokin.pytom.files import load_import, write_results


def main() -> None:
    """Place the particles at their poses and write the results of the run."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--imported", required=True, type=Path, help="folder of the import")
    add("--poses", required=True, type=Path, help="poses.npz")
    add("--labels", required=True, type=Path, help="classes of the particles, .npy")
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--folder", required=True, type=Path, help="output folder")
    add("--ranks", required=True, type=int, help="MPI ranks that were asked for")
    arguments = parser.parse_args()

    team = world(arguments.ranks)
    labels = np.load(arguments.labels)
    with np.load(arguments.poses) as poses:
        particles = load_import(arguments.imported).placed(
            poses["rotations"], poses["shifts"]
        )
    # MCO leaves the scores beside its classes.
    beside = arguments.labels.with_name("scores.npy")
    scores = np.load(beside) if beside.exists() else None
    write_results(
        arguments.folder, particles, labels, arguments.options, team, scores=scores
    )
    counts = np.bincount(labels[labels >= 0]).tolist()
    team.log(f"members of the classes: {counts}; {(labels < 0).sum()} unaccounted")


if __name__ == "__main__":
    exit_on_input_error(main)
