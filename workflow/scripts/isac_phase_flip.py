"""Flip the phases of the images where their CTF is negative (an MPI program)."""

import argparse
from pathlib import Path

from cryokin.errors import exit_on_input_error
from cryokin.files import atomic_for_team
from cryokin.image.ctf import phase_flip
from cryokin.io.mrc import StackWriter
from cryokin.io.stacks import ImageSource
from cryokin.parallel import world


def main() -> None:
    """Each rank flips its share of the images."""
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
    with atomic_for_team(team, arguments.flipped) as partial:
        if team.leads:
            StackWriter(partial, shape, source.pixel_size).close()
        team.barrier()
        with StackWriter(partial) as stack:
            for i in team.mine(source.n):
                optics = {field: float(source.ctf[i][field]) for field in fields}
                image = source.read([i])[0]
                stack.write(i, phase_flip(image, source.pixel_size, **optics)[None])
    team.log(f"{source.n} images flipped")


if __name__ == "__main__":
    exit_on_input_error(main)
