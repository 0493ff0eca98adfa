"""Correlate all pairs of prepared subtomograms (an MPI program)."""

import argparse
import json
from pathlib import Path

import h5py
import numpy as np

from cryokin.errors import exit_on_input_error
from cryokin.files import atomic
from cryokin.parallel import world
from cryokin.provenance import fingerprint
from cryokin.pytom import ccc
from cryokin.pytom.files import load_import, load_prepared, narrowest_mask

RESIDUALS = (
    "correlations of residuals, without the average of all and pose errors; of the"
    " particles themselves with pose_errors: keep, by PyTom's rules with compat: pytom"
)
INPUTS = ("rows.npy", "weights.npy", "residuals.npy", "corrected.npz")


def main() -> None:
    """Compute the matrix, or take and check one that is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--imported", required=True, type=Path, help="folder of the import")
    add("--prepared", required=True, type=Path, help="folder of the prepared rows")
    add("--given", type=Path, help="a matrix that is there already, .csv")
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--hdf", required=True, type=Path, help="output, correlation_matrix.h5")
    add("--ranks", required=True, type=int, help="MPI ranks that were asked for")
    arguments = parser.parse_args()
    options = arguments.options

    team = world(arguments.ranks)
    prepared = load_prepared(arguments.prepared)
    rows, corrected = prepared.rows, prepared.corrected
    if arguments.given:
        if team.leads:
            # A matrix of the whole list has those that were left out, too.
            used = load_import(arguments.imported)
            matrix = ccc.read_matrix(arguments.given, len(used.whole()))
            matrix = matrix[np.ix_(used.ids, used.ids)]
            with atomic(arguments.hdf) as partial, h5py.File(partial, "w") as out:
                out["correlation"] = matrix
        return
    of = ""
    if rows.mask is None:
        mask = narrowest_mask(options, load_import(arguments.imported).box)
        rule = "other" if options["compat"] == "pytom" else "both"
        size = ccc.EXACT_FILE

        def part(i, j):
            return ccc.exact_tiles(rows, mask, i, j, rule)

    else:
        project = options["pose_errors"] == "project"
        source = corrected if project else rows
        of = RESIDUALS if project else ""
        size = ccc.TILE

        def part(i, j):
            g_i, g_j = source.weighted(i), source.weighted(j)
            return ccc.tile(g_i, rows.w[i], g_j, rows.w[j])

    sources = [arguments.prepared / name for name in INPUTS]
    inputs = team.from_leader(lambda: fingerprint(options, sources))
    ccc.compute(arguments.hdf, len(rows), size, part, inputs, team, of)
    team.log(f"{len(rows)} x {len(rows)} correlations")


if __name__ == "__main__":
    exit_on_input_error(main)
