from pathlib import Path

from cryokin.files import read_json
from cryokin.isac.averages import write_averages
from cryokin.isac.classes import held, load_classes, save_classes
from cryokin.isac.files import open_working_stack
from cryokin.isac.join import join
from cryokin.isac.options import isac_options
from cryokin.isac.particles import load_particles
from cryokin.options import Isac
from cryokin.parallel import Team


def isac_join(
    *,
    team: Team,
    coefficients: Path,
    stack: Path,
    stack_info: Path,
    ids: Path,
    known: list[Path],
    options: Isac,
    candidates: Path,
    candidate_averages: Path,
    classes: Path,
    averages: Path,
) -> None:
    """Let new images join the classes of an earlier run (an MPI program)."""
    chosen = isac_options(options, read_json(stack_info)["box"])
    particles = load_particles(coefficients, ids, options)
    before = [c for path in known for c in load_classes(path)]
    found = join(team, particles, before, chosen)
    images = open_working_stack(stack, stack_info)
    for some, to, to_averages in (
        (before, candidates, candidate_averages),
        (found, classes, averages),
    ):
        write_averages(team, to_averages, some, images, options, 1)
        if team.leads:
            save_classes(to, some)
    team.log(
        f"{len(held(found)) - len(held(before))} images join {len(before)} classes of"
        f" {len(held(before))}"
    )
