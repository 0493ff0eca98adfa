"""Bring subtomograms into the common frame, as rows of coefficients (MPI program)."""

import argparse
import json
from pathlib import Path

from cryokin.errors import exit_on_input_error
from cryokin.files import atomic_folder_for_team
from cryokin.parallel import world
from cryokin.pytom.files import (
    contrast_warnings,
    load_import,
    prepare,
    save_prepared,
)


def main() -> None:
    """Interpolate, mask, transform; refine the poses where the run asks for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--imported", required=True, type=Path, help="folder of the import")
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--folder", required=True, type=Path, help="output folder")
    add("--ranks", required=True, type=int, help="MPI ranks that were asked for")
    arguments = parser.parse_args()

    team = world(arguments.ranks)
    particles = load_import(arguments.imported)
    with atomic_folder_for_team(team, arguments.folder) as folder:
        prepared = prepare(particles, arguments.options, team, folder)
        if team.leads:
            pixel = particles.pixel_size
            voxel = pixel * arguments.options["binning"] if pixel else None
            warnings = contrast_warnings(particles, prepared.inverted)
            save_prepared(folder, prepared, voxel, warnings)
            for warning in warnings:
                team.log(f"warning: {warning}")
    n, m = prepared.rows.x.shape
    team.log(f"{n} particles, {m} coefficients each")


if __name__ == "__main__":
    exit_on_input_error(main)
