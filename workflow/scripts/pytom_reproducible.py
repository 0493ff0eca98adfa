"""Find the classes that independent runs agree on (an MPI program)."""

import argparse
import json
from pathlib import Path

import numpy as np

from cryokin.errors import exit_on_input_error
from cryokin.files import write_json
from cryokin.parallel import world
from cryokin.pytom import mco
from cryokin.pytom.beam import without_wedge
from cryokin.pytom.cpca import by_size
from cryokin.pytom.files import load_prepared, save_labels
from cryokin.pytom.reproducible import classify, shares


def main() -> None:
    """Run several times, match the partitions, leave out who does not agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--prepared", required=True, type=Path, help="folder of the prepared rows")
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--labels", required=True, type=Path, help="output, .npy")
    add("--report", required=True, type=Path, help="output, reproducible.json")
    add("--ranks", required=True, type=int, help="MPI ranks that were asked for")
    arguments = parser.parse_args()
    options = arguments.options

    team = world(arguments.ranks)
    prepared = load_prepared(arguments.prepared)
    model = mco.model(prepared.corrected)
    found = classify(
        model,
        options["nclass"],
        options["rand_seed"],
        options["reproducible"]["runs"],
        team=team,
    )
    # What is reproduced may be the wedge, which is no noise.
    labels, only_wedge = without_wedge(found.labels, prepared.rotations[:, 2, :])
    if (labels >= 0).any():
        labels[labels >= 0] = by_size(labels[labels >= 0])
    if team.leads:
        save_labels(arguments.labels, labels)
        accounted = float(np.mean(labels >= 0))
        write_json(
            arguments.report,
            {
                "runs": len(found.partitions),
                "agreement": found.agreement,
                "accounted": accounted,
                "only_wedge": only_wedge,
                "reproduction": shares(labels, found.partitions).round(6).tolist(),
                "counts": np.bincount(labels[labels >= 0]).tolist(),
            },
        )
        team.log(f"{accounted:.1%} of the particles are in classes that agree")
        if only_wedge:
            team.log(f"set aside as nothing but the missing wedge: {only_wedge}")


if __name__ == "__main__":
    exit_on_input_error(main)
