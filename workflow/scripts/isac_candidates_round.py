from pathlib import Path

import numpy as np

from cryokin.files import read_json, write_ids, write_json
from cryokin.isac.candidates import LEAST_GAIN, candidates_round, n_classes
from cryokin.isac.classes import held, save_classes
from cryokin.isac.clusters import load_clusters
from cryokin.isac.options import isac_options
from cryokin.isac.particles import load_particles
from cryokin.options import Isac
from cryokin.parallel import Team


def isac_candidates_round(
    *,
    team: Team,
    coefficients: Path,
    stack_info: Path,
    ids: Path,
    clusters: Path,
    generation: int,
    round: int,
    options: Isac,
    device: str = "cpu",
    classes: Path,
    left: Path,
    state: Path,
) -> None:
    """Find candidate classes among the particles left over (an MPI program)."""
    team.use(device)
    working = read_json(stack_info)
    chosen = isac_options(options, working["box"])
    particles = load_particles(coefficients, ids, options)
    number = (generation, round)
    runs = load_clusters(clusters)
    found = (
        []
        if working.get("blank", False)
        else candidates_round(team, particles, runs, *number, chosen)
    )
    if team.leads:
        members = [sum(map(len, one.members)) for one in runs]
        stable = sum(members) / max(len(runs) * len(particles), 1)
        in_none = np.setdiff1d(particles.ids, held(found))
        gained = len(particles) - len(in_none)
        enough = n_classes(len(in_none), chosen.img_per_grp) > 0
        save_classes(classes, found)
        write_ids(left, in_none)
        write_json(
            state,
            {
                "generation": generation,
                "round": round,
                "candidates": len(found),
                "stable": stable,
                "left": len(in_none),
                "stop": gained < LEAST_GAIN * len(particles) or not enough,
            },
        )
        of_all = f"{len(in_none)} of {len(particles)} particles left"
        team.log(f"{len(found)} candidates, {of_all}")
