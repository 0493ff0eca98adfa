"""Find the classes that all independent runs reproduce (an MPI program)."""

import argparse
import json
from pathlib import Path

from cryokin.errors import exit_on_input_error
from cryokin.files import read_json
from cryokin.isac.classes import load_classes, save_classes
from cryokin.isac.options import isac_options
from cryokin.isac.particles import load_particles
from cryokin.isac.reproducible import reproducible_classes
from cryokin.parallel import world


def main() -> None:
    """Run phase two of a generation."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--coefficients", required=True, type=Path, help="coefficients.npy")
    add("--stack-info", required=True, type=Path, help="working_stack.json")
    add("--ids", required=True, type=Path, help="particles of the generation")
    add("--candidates", required=True, type=Path, help="candidates, .npz")
    add("--generation", required=True, type=int)
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--classes", required=True, type=Path, help="output, .npz")
    add("--ranks", required=True, type=int, help="MPI ranks that were asked for")
    arguments = parser.parse_args()

    team = world(arguments.ranks)
    options = isac_options(arguments.options, read_json(arguments.stack_info)["box"])
    particles = load_particles(arguments.coefficients, arguments.ids, arguments.options)
    candidates = load_classes(arguments.candidates)
    found = reproducible_classes(
        team, particles, candidates, arguments.generation, options
    )
    if team.leads:
        save_classes(arguments.classes, found)


if __name__ == "__main__":
    exit_on_input_error(main)
