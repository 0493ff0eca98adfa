"""Take the leading components of a correlation matrix."""

import argparse
from pathlib import Path

import h5py
import numpy as np

from cryokin.errors import exit_on_input_error
from cryokin.files import atomic, write_json
from cryokin.pytom import cpca


def main() -> None:
    """Decompose, write coefficients and eigenvalues."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--matrix", required=True, type=Path, help="correlation_matrix.h5")
    add("--neig", required=True, type=int, help="number of components")
    add("--compat", required=True, help="none or pytom")
    add("--coefficients", required=True, type=Path, help="output, .npy")
    add("--eigen", required=True, type=Path, help="output, .json")
    arguments = parser.parse_args()

    with h5py.File(arguments.matrix) as file:
        matrix = file["correlation"][:]
    by_size = arguments.compat == "pytom"
    found = cpca.components(matrix, arguments.neig, by_size)
    # More of the spectrum than is used shows where it flattens.
    shown = cpca.components(matrix, min(len(matrix), 4 * arguments.neig), by_size)
    with atomic(arguments.coefficients) as partial:
        np.save(partial, found.coefficients)
    write_json(
        arguments.eigen,
        {
            "neig": arguments.neig,
            "eigenvalues": found.eigenvalues.tolist(),
            "explained": found.explained.tolist(),
            "spectrum": shown.eigenvalues.tolist(),
            "total": found.total,
            "coefficients": arguments.coefficients.name,
        },
    )
    print(f"{arguments.neig} components explain {found.explained.sum():.3f}")


if __name__ == "__main__":
    exit_on_input_error(main)
