"""Close a generation: average its classes, list who is accounted for and who is not."""

import argparse
import json
from pathlib import Path

import numpy as np

from cryokin.errors import exit_on_input_error
from cryokin.files import read_ids, read_json, write_ids, write_json
from cryokin.isac.averages import write_averages
from cryokin.isac.candidates import LEAST_ACCOUNTED, n_classes
from cryokin.isac.classes import held, load_classes
from cryokin.isac.files import StackImages


def main() -> None:
    """Split the particles of the generation and say whether another is worth while."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--classes", required=True, type=Path, help="reproducible classes, .npz")
    add("--candidates", required=True, type=Path, help="candidates, .npz")
    add("--ids", required=True, type=Path, help="particles of the generation")
    add("--stack", required=True, type=Path, help="working stack")
    add("--stack-info", required=True, type=Path, help="working_stack.json")
    add("--generation", required=True, type=int)
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--averages", required=True, type=Path, help="output, .hdf")
    add("--accounted", required=True, type=Path, help="output, .txt")
    add("--unaccounted", required=True, type=Path, help="output, .txt")
    add("--status", required=True, type=Path, help="output, .json")
    arguments = parser.parse_args()

    options = arguments.options
    classes = load_classes(arguments.classes)
    ids = np.array(read_ids(arguments.ids), np.intp)
    accounted = held(classes)
    unaccounted = np.setdiff1d(ids, accounted)
    stack = StackImages(arguments.stack, read_json(arguments.stack_info)["pixel_size"])
    write_averages(arguments.averages, classes, stack, options, arguments.generation)
    write_ids(arguments.accounted, accounted)
    write_ids(arguments.unaccounted, unaccounted)
    worth_while = len(accounted) >= max(LEAST_ACCOUNTED * len(ids), 1)
    enough = n_classes(len(unaccounted), options["img_per_grp"]) > 0
    write_json(
        arguments.status,
        {
            "generation": arguments.generation,
            "candidates": len(load_classes(arguments.candidates)),
            "classes": len(classes),
            "accounted": len(accounted),
            "unaccounted": len(unaccounted),
            "stop": not worth_while or not enough,
        },
    )
    print(f"{len(accounted)} accounted for in {len(classes)} classes")


if __name__ == "__main__":
    exit_on_input_error(main)
