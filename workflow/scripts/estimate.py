from collections.abc import Mapping
from pathlib import Path

from cryokin.errors import InputError
from cryokin.estimate import in_words, load_estimate
from cryokin.script import run


def estimate(*, estimates: list[Path], ranks: Mapping[str, int]) -> None:
    """Print what runs are estimated to take, on the MPI ranks of each rule."""
    for path in estimates:
        try:
            text = in_words(load_estimate(path), ranks)
        except InputError as error:
            text = f"{path.parent.name}: no estimate: {error}"
        print(text, end="\n\n")


if __name__ == "__main__":
    run(estimate, tell_usage=False)
