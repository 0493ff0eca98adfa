"""Group particles by their leading components."""

import argparse
import json
from pathlib import Path

import numpy as np

from cryokin.errors import exit_on_input_error
from cryokin.files import read_json
from cryokin.pytom import cpca
from cryokin.pytom.files import save_labels


def main() -> None:
    """Cluster from many seeded starts and keep the best."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--coefficients", required=True, type=Path, help="coefficients.npy")
    add("--eigen", required=True, type=Path, help="eigen.json")
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--labels", required=True, type=Path, help="output, .npy")
    arguments = parser.parse_args()
    options = arguments.options

    method = "kmeans" if options["compat"] == "pytom" else options["clustering"]
    labels = cpca.cluster(
        np.load(arguments.coefficients)[:, : read_json(arguments.eigen)["neig"]],
        options["nclass"],
        options["rand_seed"],
        method,
        options["restarts"],
    )
    save_labels(arguments.labels, labels)
    print(f"members of the classes: {np.bincount(labels).tolist()}")


if __name__ == "__main__":
    exit_on_input_error(main)
