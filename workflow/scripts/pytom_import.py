"""Read and check subtomograms; write what the later steps read."""

import argparse
import json
import os
from pathlib import Path

from cryokin.errors import InputError, exit_on_input_error
from cryokin.files import read_json, write_json
from cryokin.io.subtomograms import load, read_subtomograms
from cryokin.provenance import sha256
from cryokin.pytom.files import make_mask


def main() -> None:
    """Check first, then write: a refused input leaves no file behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--particles", required=True, type=Path, help="ParticleList or STAR file")
    add("--import-of", type=Path, help="import.json of the run that the list is of")
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--nclass", required=True, type=int, help="number of classes, for a check")
    add("--folder", required=True, type=Path, help="output folder")
    arguments = parser.parse_args()
    options = arguments.options

    angles = options["wedge"]["angles"] if options["wedge"] else None
    if arguments.import_of is None:
        table = read_subtomograms(
            arguments.particles, None, options["pixel_size"], wedge_angles=angles
        )
    else:
        info = read_json(arguments.import_of)
        table = load(
            arguments.particles.with_suffix(""),
            info["box"],
            options["pixel_size"] or info["pixel_size"],
        ).with_wedges(angles)
    if len(table) < max(2, arguments.nclass):
        raise InputError(
            f"{arguments.particles}: {len(table)} particles are too few for nclass ="
            f" {arguments.nclass} classes; lower nclass in the config."
        )
    make_mask(options["mask"], table.box, options["binning"])
    table.write(arguments.folder / "particles")
    write_json(
        arguments.folder / "import.json",
        {
            "n": len(table),
            "box": table.box,
            "pixel_size": table.pixel_size,
            "source": os.path.abspath(arguments.particles),
            "sha256": sha256(arguments.particles),
        },
    )
    print(f"{len(table)} subtomograms of {table.box} voxels")


if __name__ == "__main__":
    exit_on_input_error(main)
