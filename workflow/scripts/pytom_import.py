"""Read and check subtomograms; write what the later steps read."""

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

from cryokin.errors import InputError, exit_on_input_error
from cryokin.files import read_json, write_json
from cryokin.io.subtomograms import load, read_subtomograms
from cryokin.provenance import sha256
from cryokin.pytom.checks import Findings, inverted, look
from cryokin.pytom.files import make_mask


def check_number(particles: Path, n: int, found: Findings, nclass: int) -> None:
    """Raise `InputError` where there are too few usable particles for the classes."""
    without = f" (without {len(found.excluded)} left out)" if found.excluded else ""
    if n < 2:
        raise InputError(
            f"{particles}: {n} usable particle{'s' * (n != 1)}{without} cannot be"
            " classified; give a list of at least 2."
        )
    if n < nclass:
        raise InputError(
            f"{particles}: {n} usable particles{without} are too few for nclass ="
            f" {nclass} classes; lower nclass in the config."
        )


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
            info.get("weight_scale", 1.0),
        ).with_wedges(angles)
    mask = make_mask(options["mask"], table.box, options["binning"])
    found = look(table, options["compat"] == "pytom" and options["method"] != "cpca")
    n = len(table) - len(found.excluded)
    check_number(arguments.particles, n, found, arguments.nclass)
    if inverted(mask):
        found.warnings.append(
            f"{options['mask']}: the mask covers the faces of the box and leaves its"
            " middle out, as if inside and outside were exchanged; see that it is not."
        )
    table.write(arguments.folder / "particles")
    write_json(
        arguments.folder / "import.json",
        {
            "n": n,
            "box": table.box,
            "pixel_size": table.pixel_size,
            "weight_scale": table.weight_scale,
            "source": os.path.abspath(arguments.particles),
            "sha256": sha256(arguments.particles),
            **asdict(found),
        },
    )
    print(f"{n} subtomograms of {table.box} voxels")
    for warning in found.warnings:
        print(f"warning: {warning}")


if __name__ == "__main__":
    exit_on_input_error(main)
