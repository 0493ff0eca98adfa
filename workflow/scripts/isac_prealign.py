"""Align all images to their common average, to find their centres (an MPI program)."""

import argparse
import json
from pathlib import Path

import numpy as np

from cryokin.errors import exit_on_input_error
from cryokin.files import read_json
from cryokin.io.eman_hdf import write_images
from cryokin.isac.files import open_particles, write_shifts
from cryokin.isac.prealign import prealign, unaligned_average
from cryokin.isac.stack import Shrinking, shrink
from cryokin.parallel import world


def main() -> None:
    """Read and shrink the images, align them, write average and shifts."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--images", required=True, type=Path, help="images.npz of the import")
    add("--info", required=True, type=Path, help="import.json")
    add("--flipped", type=Path, help="phase-flipped stack")
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--average", required=True, type=Path, help="output, aqfinal.hdf")
    add("--shifts", required=True, type=Path, help="output, initial2Dparams.txt")
    add("--ranks", required=True, type=int, help="MPI ranks that were asked for")
    arguments = parser.parse_args()

    team = world(arguments.ranks)
    options = arguments.options
    images = open_particles(arguments.images, arguments.flipped)
    radius = options["target_radius"]
    how = Shrinking(images.box, options["radius"], radius, images.box)
    excluded = [entry["id"] for entry in read_json(arguments.info)["excluded"]]
    usable = np.setdiff1d(np.arange(images.n), excluded)
    shifts = np.zeros((images.n, 2))

    def read(numbers: np.ndarray) -> np.ndarray:
        return shrink(images.read(usable[numbers]), how)

    if options["skip_prealignment"]:
        average = unaligned_average(team, read, len(usable))
    else:
        found = prealign(
            team, read, len(usable), how.whole, radius, options["center_method"]
        )
        average, shifts[usable] = found.reference, -found.centres / how.ratio
    if team.leads:
        pixel = images.pixel_size / how.ratio
        header = {f"apix_{axis}": pixel for axis in "xyz"} | {"n_objects": len(usable)}
        write_images(arguments.average, average[None], [header])
        write_shifts(arguments.shifts, shifts)
    team.log(f"shifts of {np.sqrt(np.mean(np.sum(shifts**2, axis=1))):.2f} pixel (rms)")


if __name__ == "__main__":
    exit_on_input_error(main)
