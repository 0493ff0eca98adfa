from pathlib import Path

from cryokin.files import read_json
from cryokin.isac.averages import Average, write_averages
from cryokin.isac.candidates import most_complete
from cryokin.isac.classes import load_classes, save_classes
from cryokin.npy import load_array


def isac_candidates(
    *,
    rounds: list[Path],
    made: list[Path],
    stack_info: Path,
    generation: int,
    classes: Path,
    averages: Path,
) -> None:
    """Gather the candidate classes of a generation's rounds, and their averages."""
    candidates = [c for path in rounds for c in load_classes(path)]
    shown = most_complete(candidates)
    # Since the last round in which the choice of the run changed; that made all anew.
    rows: list[Average] = []
    for path in reversed(made):
        if len(rows) == len(shown):
            break
        rows = [*load_array(path, mapped=True), *rows]
    pixel_size = read_json(stack_info)["pixel_size"]
    write_averages(averages, shown, rows, pixel_size, generation)
    save_classes(classes, candidates)
    print(f"{len(candidates)} candidates")
