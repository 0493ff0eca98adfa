"""Write the lists of some particles of a run: unaccounted ones, or those of a class."""

import argparse
from pathlib import Path

import numpy as np

from cryokin.errors import InputError, exit_on_input_error
from cryokin.pytom.files import load_import


def main() -> None:
    """Take the particles of one class; -1 stands for the unaccounted."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--imported", required=True, type=Path, help="folder of the import")
    add("--poses", required=True, type=Path, help="poses.npz")
    add("--labels", required=True, type=Path, help="classes of the particles, .npy")
    add("--class-number", required=True, type=int, help="from 0; -1: unaccounted")
    add("--stem", required=True, type=Path, help="output, without .xml and .star")
    arguments = parser.parse_args()

    number, labels = arguments.class_number, np.load(arguments.labels)
    ids = np.flatnonzero(labels == number)
    if len(ids) == 0:
        what = "unaccounted" if number < 0 else f"class {number}"
        raise InputError(
            f"{arguments.labels}: there is no {what} particle; change what asks for"
            " them."
        )
    with np.load(arguments.poses) as poses:
        particles = load_import(arguments.imported).placed(
            poses["rotations"], poses["shifts"]
        )
    particles.classified(labels).take(ids.tolist()).write(arguments.stem)
    print(f"{len(ids)} of {len(labels)} particles")


if __name__ == "__main__":
    exit_on_input_error(main)
