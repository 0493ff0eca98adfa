"""Print what runs are estimated to take."""

import argparse
import json
from pathlib import Path

from cryokin.errors import InputError
from cryokin.estimate import in_words, load_estimate


def main() -> None:
    """Read the estimates, print a table of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--estimates", nargs="+", required=True, type=Path, help="estimate.json")
    add("--ranks", default={}, type=json.loads, help="MPI ranks by rule as JSON")
    arguments = parser.parse_args()
    for path in arguments.estimates:
        try:
            text = in_words(load_estimate(path), arguments.ranks)
        except InputError as error:
            text = f"{path.parent.name}: no estimate: {error}"
        print(text, end="\n\n")


if __name__ == "__main__":
    main()
