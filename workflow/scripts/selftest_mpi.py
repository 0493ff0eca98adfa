"""Prove that the MPI of a profile works, before anything long is started with it."""

import argparse
import sys
import time
from pathlib import Path

from cryokin.errors import InputError, exit_on_input_error
from cryokin.files import write_json, write_text
from cryokin.parallel import world
from cryokin.selftest import selftest, summary


def main() -> None:
    """Run the test on all ranks; write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--found", required=True, type=Path, help="output, .json")
    add("--summary", required=True, type=Path, help="output, for people")
    add("--ranks", required=True, type=int, help="MPI ranks that were asked for")
    arguments = parser.parse_args()

    start = time.monotonic()
    team = world(arguments.ranks)
    try:
        found = selftest(team, arguments.found.parent)
    except InputError as error:  # the same on all ranks: told once
        team.log(f"error: {error}")
        team.barrier()
        sys.exit(1)
    if team.leads:
        write_json(arguments.found, found)
        write_text(arguments.summary, summary(found, time.monotonic() - start))


if __name__ == "__main__":
    exit_on_input_error(main)
