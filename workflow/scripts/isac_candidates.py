"""Gather the candidate classes of a generation's rounds and average them."""

import argparse
import json
from pathlib import Path

from cryokin.errors import exit_on_input_error
from cryokin.files import read_json
from cryokin.isac.averages import write_averages
from cryokin.isac.classes import held, load_classes, save_classes
from cryokin.isac.files import StackImages


def main() -> None:
    """Read the rounds in their order, write all candidates."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--rounds", required=True, nargs="+", type=Path, help="classes.npz of rounds")
    add("--stack", required=True, type=Path, help="working stack")
    add("--stack-info", required=True, type=Path, help="working_stack.json")
    add("--generation", required=True, type=int)
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--classes", required=True, type=Path, help="output, .npz")
    add("--averages", required=True, type=Path, help="output, .hdf")
    arguments = parser.parse_args()

    candidates = [c for path in arguments.rounds for c in load_classes(path)]
    # Each run has candidates of the same views; those of one are enough to look at.
    of_runs = [
        [c for c in candidates if c.run == run]
        for run in sorted({c.run for c in candidates})
    ]
    shown = max(of_runs, key=lambda some: len(held(some)), default=[])
    stack = StackImages(arguments.stack, read_json(arguments.stack_info)["pixel_size"])
    write_averages(
        arguments.averages, shown, stack, arguments.options, arguments.generation
    )
    save_classes(arguments.classes, candidates)
    print(f"{len(candidates)} candidates")


if __name__ == "__main__":
    exit_on_input_error(main)
