"""Estimate what a run will take, and write it to estimate.json."""

import argparse
import json
import traceback
from pathlib import Path

from cryokin.errors import InputError, exit_on_input_error
from cryokin.estimate import estimate
from cryokin.files import write_json
from cryokin.io.counts import count_particles


def main() -> None:
    """Count the particles, estimate, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--run", required=True, help="name of the run")
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--particles", required=True, type=Path, help="table or stack")
    add("--estimate", required=True, type=Path, help="output, estimate.json")
    arguments = parser.parse_args()
    try:
        particles = count_particles(arguments.particles)
        made = estimate(arguments.run, arguments.options, particles).as_json()
    except Exception as error:
        # An estimate ends no run: what cannot be used is for the import to say.
        if not isinstance(error, InputError):
            traceback.print_exc()
        reason = " ".join(str(error).split()) or type(error).__name__
        made = {"run": arguments.run, "options": arguments.options, "unknown": reason}
        print(f"no estimate: {reason}")
    write_json(arguments.estimate, made)


if __name__ == "__main__":
    exit_on_input_error(main)
