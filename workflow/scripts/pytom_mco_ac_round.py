"""Run one round of annealing of all chains (an MPI program)."""

import argparse
import json
from pathlib import Path

import numpy as np

from cryokin.errors import exit_on_input_error
from cryokin.parallel import Team, world
from cryokin.pytom.files import load_import, load_prepared
from cryokin.pytom.runs import (
    anneal_chains,
    as_compat,
    best_chain,
    first_states,
    informed,
    load_chains,
    save_chains,
    searches,
    starts,
)


def main() -> None:
    """Take up the chains where the round before left them."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--imported", required=True, type=Path, help="folder of the import")
    add("--prepared", required=True, type=Path, help="folder of the prepared rows")
    add("--start", type=Path, help="classes of CPCA, .npy")
    add("--before", type=Path, help="state after the round before, .npz")
    add("--round", required=True, type=int, help="from 0")
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--state", required=True, type=Path, help="output, .npz")
    add("--ranks", required=True, type=int, help="MPI ranks that were asked for")
    arguments = parser.parse_args()
    options = as_compat(arguments.options)

    team = world(arguments.ranks)
    particles = load_import(arguments.imported)
    if arguments.before:
        chains = load_chains(arguments.before)
    else:
        labels = particles.labels
        of_cpca = np.load(arguments.start) if arguments.start else None
        chains = first_states(starts(options, len(labels), of_cpca, labels))
    by_pytom = options["compat"] == "pytom"
    search = searches(
        particles, lambda: load_prepared(arguments.prepared), options, team
    )
    # One chain has all ranks where these share the particles.
    of_chains = Team() if by_pytom else team
    chains = anneal_chains(search, chains, arguments.round, options, of_chains)
    if team.leads:
        save_chains(arguments.state, chains)
        best = chains[best_chain(chains, informed(options))]
        team.log(f"{len(chains)} chains, best objective {best['best_objective']:.6g}")


if __name__ == "__main__":
    exit_on_input_error(main)
