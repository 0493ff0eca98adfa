from pathlib import Path

from cryokin.files import read_json
from cryokin.isac.averages import write_averages
from cryokin.isac.classes import load_classes, save_classes
from cryokin.isac.files import open_working_stack
from cryokin.isac.options import isac_options
from cryokin.isac.particles import load_particles
from cryokin.isac.reproducible import reproducible_classes
from cryokin.options import Isac
from cryokin.parallel import Team


def isac_reproducible(
    *,
    team: Team,
    coefficients: Path,
    stack: Path,
    stack_info: Path,
    ids: Path,
    candidates: Path,
    generation: int,
    options: Isac,
    device: str = "cpu",
    classes: Path,
    averages: Path,
) -> None:
    """Find the classes that all independent runs reproduce (an MPI program)."""
    team.use(device)
    chosen = isac_options(options, read_json(stack_info)["box"])
    particles = load_particles(coefficients, ids, options)
    found = reproducible_classes(
        team, particles, load_classes(candidates), generation, chosen
    )
    images = open_working_stack(stack, stack_info)
    write_averages(team, averages, found, images, options, generation)
    if team.leads:
        save_classes(classes, found)
