"""Correlate all pairs of prepared subtomograms (an MPI program)."""

import argparse
import json
from pathlib import Path

import h5py

from cryokin.errors import exit_on_input_error
from cryokin.files import atomic
from cryokin.parallel import world
from cryokin.pytom import ccc
from cryokin.pytom.files import load_import, load_prepared, make_mask


def main() -> None:
    """Compute the matrix, or take and check one that is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--imported", required=True, type=Path, help="folder of the import")
    add("--prepared", required=True, type=Path, help="folder of the prepared rows")
    add("--given", type=Path, help="a matrix that is there already, .csv")
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--csv", required=True, type=Path, help="output, correlation_matrix.csv")
    add("--hdf", required=True, type=Path, help="output, correlation_matrix.h5")
    add("--ranks", required=True, type=int, help="MPI ranks that were asked for")
    arguments = parser.parse_args()
    options = arguments.options

    team = world(arguments.ranks)
    prepared = load_prepared(arguments.prepared)
    if arguments.given:
        matrix = ccc.read_matrix(arguments.given, len(prepared.rows))
    elif prepared.rows.mask is None:
        box = load_import(arguments.imported).box
        mask = make_mask(options["mask"], box, options["binning"])
        rule = "other" if options["compat"] == "pytom" else "both"
        matrix = ccc.exact_matrix(prepared.rows, mask, rule, team)
    elif options["pose_errors"] == "project":
        matrix = ccc.matrix(prepared.corrected.g, prepared.corrected.w, team)
    else:
        matrix = ccc.matrix(prepared.rows.real, prepared.rows.w, team)
    if team.leads:
        ccc.write_matrix(arguments.csv, matrix)
        with atomic(arguments.hdf) as partial, h5py.File(partial, "w") as out:
            out["correlation"] = matrix
        team.log(f"{len(matrix)} x {len(matrix)} correlations")


if __name__ == "__main__":
    exit_on_input_error(main)
