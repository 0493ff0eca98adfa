"""Tell which classes differ beyond chance, and by what (an MPI program)."""

import argparse
import json
from pathlib import Path

import numpy as np

from cryokin.errors import exit_on_input_error
from cryokin.files import write_json
from cryokin.parallel import world
from cryokin.pytom import mco
from cryokin.pytom.distinct import distinct, sentences
from cryokin.pytom.files import load_import, load_prepared
from cryokin.pytom.pose_errors import removed, share_in_poses


def main() -> None:
    """Classify halves of the particles, compare; look at what poses took away."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--imported", required=True, type=Path, help="folder of the import")
    add("--prepared", required=True, type=Path, help="folder of the prepared rows")
    add("--labels", required=True, type=Path, help="classes of the particles, .npy")
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--differences", required=True, type=Path, help="output, differences.json")
    add("--ranks", required=True, type=int, help="MPI ranks that were asked for")
    arguments = parser.parse_args()
    options = arguments.options

    team = world(arguments.ranks)
    labels = np.load(arguments.labels)
    prepared = load_prepared(arguments.prepared)
    names = np.unique(labels[labels >= 0])
    known = labels >= 0
    rows = np.full(len(labels), -1)
    rows[known] = np.searchsorted(names, labels[known])
    model = mco.model(prepared.corrected)
    beam = prepared.rotations[:, 2, :]
    found = distinct(model, rows, len(names), options["rand_seed"], team, beam)
    if not team.leads:
        return
    given, binning = load_import(arguments.imported), options["binning"]
    amounts = removed(
        (given.rotations, given.shifts / binning),
        (prepared.rotations, prepared.shifts / binning),
        prepared.corrected.amounts,
    )
    mask = prepared.rows.mask
    shares = share_in_poses(
        prepared.corrected, amounts, rows, None if mask is None else mask > 0
    )
    told = {
        "classes": names.tolist(),
        "groups": found.groups.tolist(),
        "distinct": found.number,
        "agreement": {str(k): round(a, 4) for k, a in found.agreement.items()},
        "pose_share": [round(shares[c], 4) for c in range(len(names))],
    }
    write_json(arguments.differences, told)
    for sentence in sentences(told):
        team.log(sentence)


if __name__ == "__main__":
    exit_on_input_error(main)
