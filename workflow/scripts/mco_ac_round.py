from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryokin.npy import load_array
from cryokin.options import McoAc
from cryokin.parallel import Team
from cryokin.script import Folder
from cryokin.subtomo.chains import (
    Chain,
    anneal_chains,
    best_chain,
    load_chains,
    save_chains,
    searches,
)
from cryokin.subtomo.courses import informed, starts
from cryokin.subtomo.files import load_import
from cryokin.subtomo.prepare import load_prepared


def mco_ac_round(
    *,
    team: Team,
    imported: Folder,
    prepared: Folder,
    start: Path | None = None,
    before: Path | None = None,
    step: int,
    options: McoAc,
    state: Path,
) -> None:
    """Take all chains through one round of annealing (an MPI program)."""
    particles = load_import(imported)
    states: Sequence[Chain | NDArray[np.intp]]
    if before:
        states = load_chains(before)
    else:
        labels = particles.labels
        of_cpca = load_array(start) if start else None
        states = starts(options, len(labels), of_cpca, labels)
    by_pytom = options.compat == "pytom"
    search = searches(particles, lambda: load_prepared(prepared), options, team)
    # One chain has all ranks where these share the particles.
    of_chains = Team() if by_pytom else team
    chains = anneal_chains(search, states, step, options, of_chains)
    if team.leads:
        save_chains(state, chains)
        best = chains[best_chain(chains, informed(options))].best_objective
        team.log(f"{len(chains)} chains, best objective {best:.6g}")
