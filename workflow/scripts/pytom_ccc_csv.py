"""Write a correlation matrix as text."""

import argparse
from pathlib import Path

import h5py

from cryokin.errors import exit_on_input_error
from cryokin.pytom.ccc import write_matrix


def main() -> None:
    """Read some rows at a time, write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--matrix", required=True, type=Path, help="correlation_matrix.h5")
    add("--csv", required=True, type=Path, help="output, correlation_matrix.csv")
    arguments = parser.parse_args()

    with h5py.File(arguments.matrix) as file:
        matrix = file["correlation"]
        write_matrix(arguments.csv, matrix, matrix.attrs.get("of", ""))


if __name__ == "__main__":
    exit_on_input_error(main)
