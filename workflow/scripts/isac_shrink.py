"""Make the working stack and its Fourier coefficients (an MPI program)."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryokin.config import working_box
from cryokin.errors import exit_on_input_error
from cryokin.files import (
    atomic,
    read_json,
    write_ids,
    write_json,
    write_text,
)
from cryokin.io.mrc import StackWriter
from cryokin.isac.basis import polar_basis
from cryokin.isac.files import (
    open_particles,
    read_shifts,
    shrink_readme,
    working_stack_info,
)
from cryokin.isac.stack import BLOCK, Shrinking, working_images
from cryokin.npy import NpyWriter
from cryokin.parallel import world


def main() -> None:
    """Have all ranks prepare blocks of images, and one write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--images", required=True, type=Path, help="images.npz of the import")
    add("--info", required=True, type=Path, help="import.json")
    add("--flipped", type=Path, help="phase-flipped stack")
    add("--shifts", required=True, type=Path, help="initial2Dparams.txt")
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--stack", required=True, type=Path, help="output, .mrcs")
    add("--coefficients", required=True, type=Path, help="output, .npy")
    add("--stack-info", required=True, type=Path, help="output, working_stack.json")
    add("--readme", required=True, type=Path, help="output, README_shrink_ratio.txt")
    add("--ids", required=True, type=Path, help="output, ids of all usable particles")
    add("--ranks", required=True, type=int, help="MPI ranks that were asked for")
    arguments = parser.parse_args()

    team = world(arguments.ranks)
    options = arguments.options
    images = open_particles(arguments.images, arguments.flipped)
    excluded = [entry["id"] for entry in read_json(arguments.info)["excluded"]]
    shifts = read_shifts(arguments.shifts)
    box = working_box(options["target_nx"], options["xr"])
    how = Shrinking(images.box, options["radius"], options["target_radius"], box)
    basis = polar_basis(options)
    analysis = basis.analysis(box)
    pixel = images.pixel_size / how.ratio
    blocks = [
        np.arange(first, min(first + BLOCK, images.n))
        for first in range(0, images.n, BLOCK)
    ]

    def make(ids: NDArray[np.intp]) -> tuple[NDArray[Any], NDArray[Any]]:
        pixels = images.read(ids)
        pixels[np.isin(ids, excluded)] = 0
        block = working_images(pixels, shifts[ids], how)
        return block, basis.grid(block, analysis)

    made = team.to_leader(make, blocks)
    if not team.leads:
        list(made)  # these ranks compute and write nothing
        return
    shape = (images.n, len(basis.directions), len(basis.radii))
    with (
        atomic(arguments.stack) as stack_path,
        atomic(arguments.coefficients) as coefficients_path,
        StackWriter(stack_path, (images.n, box, box), pixel) as stack,
        NpyWriter(coefficients_path, np.complex64, shape) as coefficients,
    ):
        for ids, (block, rows) in made:
            stack.write(int(ids[0]), block)
            coefficients.write(rows)
    write_text(arguments.readme, shrink_readme(how.ratio, how.target_radius))
    write_ids(arguments.ids, np.setdiff1d(np.arange(images.n), excluded))
    write_json(
        arguments.stack_info,
        working_stack_info(how, images.pixel_size, arguments.images),
    )
    team.log(f"{images.n} working images of {box} x {box} pixel, {pixel:.3f} A")


if __name__ == "__main__":
    exit_on_input_error(main)
