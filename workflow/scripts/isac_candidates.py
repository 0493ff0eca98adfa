from pathlib import Path

from cryokin.isac.averages import write_averages
from cryokin.isac.classes import held, load_classes, save_classes
from cryokin.isac.files import open_working_stack
from cryokin.options import Isac
from cryokin.parallel import Team


def isac_candidates(
    *,
    team: Team,
    rounds: list[Path],
    stack: Path,
    stack_info: Path,
    generation: int,
    options: Isac,
    classes: Path,
    averages: Path,
) -> None:
    """Gather the candidates of a generation's rounds, averaged (an MPI program)."""
    candidates = [c for path in rounds for c in load_classes(path)]
    # Each run has candidates of the same views; those of one are enough to look at.
    of_runs = [
        [c for c in candidates if c.run == number]
        for number in sorted({c.run for c in candidates})
    ]
    shown = max(of_runs, key=lambda some: len(held(some)), default=[])
    images = open_working_stack(stack, stack_info)
    write_averages(team, averages, shown, images, options, generation)
    if team.leads:
        save_classes(classes, candidates)
    team.log(f"{len(candidates)} candidates")
