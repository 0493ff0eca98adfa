"""Write the table of some particles of a run: unaccounted ones, or those of a class."""

import argparse
from pathlib import Path

import numpy as np

from cryokin.errors import exit_on_input_error
from cryokin.io.particles import read_particles, write_particles
from cryokin.isac.selected import subset


def main() -> None:
    """Take the rows of one class number; -1 stands for the unaccounted."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--particles", required=True, type=Path, help="particles.star of the run")
    add("--class-number", required=True, type=int, help="from 1; -1: unaccounted")
    add("--table", required=True, type=Path, help="output, .star")
    arguments = parser.parse_args()

    number = arguments.class_number
    particles = read_particles(arguments.particles)
    ids = np.flatnonzero(particles.numbers("rlnClassNumber") == number)
    what = "unaccounted" if number < 0 else f"class {number}"
    write_particles(arguments.table, subset(particles, ids, what))
    print(f"{len(ids)} of {particles.n} particles")


if __name__ == "__main__":
    exit_on_input_error(main)
