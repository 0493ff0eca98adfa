from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cryokin.parallel import Team
from cryokin.pytom.files import load_import, load_prepared
from cryokin.pytom.runs import (
    anneal_chains,
    as_compat,
    best_chain,
    first_states,
    load_chains,
    save_chains,
    searches,
    starts,
)
from cryokin.script import Folder, run


def mco_ac_round(
    *,
    team: Team,
    imported: Folder,
    prepared: Folder,
    start: Path | None = None,
    before: Path | None = None,
    step: int,
    options: Mapping[str, Any],
    state: Path,
) -> None:
    """Take all chains through one round of annealing (an MPI program)."""
    options = as_compat(options)
    particles = load_import(imported)
    if before:
        chains = load_chains(before)
    else:
        labels = particles.labels
        of_cpca = np.load(start) if start else None
        chains = first_states(starts(options, len(labels), of_cpca, labels))
    by_pytom = options["compat"] == "pytom"
    search = searches(particles, lambda: load_prepared(prepared), options, team)
    # One chain has all ranks where these share the particles.
    of_chains = Team() if by_pytom else team
    chains = anneal_chains(search, chains, step, options, of_chains)
    if team.leads:
        save_chains(state, chains)
        best = chains[best_chain(chains)]
        team.log(f"{len(chains)} chains, best objective {best['best_objective']:.6g}")


if __name__ == "__main__":
    run(mco_ac_round)
