from pathlib import Path

from cryokin.isac.averages import write_averages
from cryokin.isac.classes import held, load_classes, save_classes
from cryokin.isac.files import open_working_stack
from cryokin.options import Isac


def isac_candidates(
    *,
    rounds: list[Path],
    stack: Path,
    stack_info: Path,
    generation: int,
    options: Isac,
    classes: Path,
    averages: Path,
) -> None:
    """Gather the candidate classes of a generation's rounds and average them."""
    candidates = [c for path in rounds for c in load_classes(path)]
    # Each run has candidates of the same views; those of one are enough to look at.
    of_runs = [
        [c for c in candidates if c.run == number]
        for number in sorted({c.run for c in candidates})
    ]
    shown = max(of_runs, key=lambda some: len(held(some)), default=[])
    images = open_working_stack(stack, stack_info)
    write_averages(averages, shown, images, options, generation)
    save_classes(classes, candidates)
    print(f"{len(candidates)} candidates")
