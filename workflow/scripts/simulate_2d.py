"""Simulate a set of 2D images: particles.mrcs, particles.star and truth.csv."""

import argparse
from dataclasses import fields

from cryokin.errors import exit_on_input_error
from cryokin.simulate.files import write_image_set
from cryokin.simulate.images import Recipe, simulate_images


def main() -> None:
    """Read the command line, simulate, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--folder", required=True, help="where the files go")
    for field in fields(Recipe):
        option = f"--{field.name.replace('_', '-')}"
        if isinstance(field.default, bool):
            parser.add_argument(option, action="store_true", help=HELP[field.name])
        else:
            parser.add_argument(
                option,
                type=type(field.default),
                default=field.default,
                help=HELP[field.name],
            )
    chosen = vars(parser.parse_args())
    write_image_set(chosen.pop("folder"), simulate_images(Recipe(**chosen)))


HELP = {
    "n_images": "number of images",
    "box": "size of the images [pixel]",
    "pixel_size": "size of a pixel [A]",
    "snr": "signal-to-noise ratio inside the particle's circle",
    "n_views": "directions around which views gather",
    "view_share": "share of the views that gather",
    "view_spread": "spread of a gathered view [degree]",
    "shift_sd": "spread of the particle's place [pixel]",
    "ctf": "give the images a contrast transfer function",
    "junk": "share of the images without a particle",
    "seed": "of everything random",
}

if __name__ == "__main__":
    exit_on_input_error(main)
