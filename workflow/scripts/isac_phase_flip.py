"""Flip the phases of the images where their CTF is negative (an MPI program)."""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryokin.errors import exit_on_input_error
from cryokin.files import atomic
from cryokin.image.ctf import phase_flip
from cryokin.io.mrc import StackWriter
from cryokin.io.stacks import ImageSource
from cryokin.parallel import world

BLOCK = 64  # images that a rank flips at a time


def main() -> None:
    """Have all ranks flip blocks of images, and one write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--images", required=True, type=Path, help="images.npz of the import")
    add("--flipped", required=True, type=Path, help="output, .mrcs")
    add("--ranks", required=True, type=int, help="MPI ranks that were asked for")
    arguments = parser.parse_args()

    team = world(arguments.ranks)
    source = ImageSource.load(arguments.images)
    fields = source.ctf.dtype.names
    shape = (source.n, source.box, source.box)
    blocks = [
        np.arange(first, min(first + BLOCK, source.n))
        for first in range(0, source.n, BLOCK)
    ]

    def flip(ids: NDArray[np.intp]) -> NDArray[np.float32]:
        flipped = []
        for image, row in zip(source.read(ids), source.ctf[ids], strict=True):
            optics = {field: float(row[field]) for field in fields}
            flipped.append(phase_flip(image, source.pixel_size, **optics))
        return np.stack(flipped)

    made = team.to_leader(flip, blocks)
    if not team.leads:
        list(made)  # these ranks compute and write nothing
        return
    with (
        atomic(arguments.flipped) as partial,
        StackWriter(partial, shape, source.pixel_size) as stack,
    ):
        for ids, images in made:
            stack.write(int(ids[0]), images)
    team.log(f"{source.n} images flipped")


if __name__ == "__main__":
    exit_on_input_error(main)
