"""Simulate subtomograms of two structures: particles.star, subtomograms/, truth.csv."""

import argparse
from dataclasses import fields

from cryokin.errors import exit_on_input_error
from cryokin.simulate.volumes import VolumeRecipe, simulate_volumes, write_volume_set


def main() -> None:
    """Read the command line, simulate, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--folder", required=True, help="where the files go")
    for field in fields(VolumeRecipe):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=type(field.default),
            default=field.default,
            help=HELP[field.name],
        )
    chosen = vars(parser.parse_args())
    write_volume_set(chosen.pop("folder"), simulate_volumes(VolumeRecipe(**chosen)))


HELP = {
    "n_particles": "number of subtomograms",
    "share": "share of the particles that lack an arm",
    "box": "size of the subtomograms [voxel]",
    "pixel_size": "size of a voxel [A]",
    "snr": "signal-to-noise ratio in the box",
    "wedge": "90 - largest tilt on both sides [degree]",
    "turn_sd": "error of the given orientation about each axis [degree]",
    "shift_sd": "error of the given place along each axis [voxel]",
    "seed": "of everything random",
}

if __name__ == "__main__":
    exit_on_input_error(main)
