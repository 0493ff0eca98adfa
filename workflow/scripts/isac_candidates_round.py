"""Find candidate classes among the particles left over (an MPI program)."""

import argparse
import json
from pathlib import Path

import numpy as np

from cryokin.errors import exit_on_input_error
from cryokin.files import read_json, write_ids, write_json
from cryokin.isac.candidates import (
    LEAST_GAIN,
    candidates_round,
    clusters,
    n_classes,
)
from cryokin.isac.classes import held, save_classes
from cryokin.isac.clusters import inputs_of, once
from cryokin.isac.options import isac_options
from cryokin.isac.particles import load_particles
from cryokin.parallel import world


def main() -> None:
    """Run one round and say whether another is worth while."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--coefficients", required=True, type=Path, help="coefficients.npy")
    add("--stack-info", required=True, type=Path, help="working_stack.json")
    add("--ids", required=True, type=Path, help="particles not yet in a candidate")
    add("--generation", required=True, type=int)
    add("--round", required=True, type=int)
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--classes", required=True, type=Path, help="output, .npz")
    add("--left", required=True, type=Path, help="output, ids in no candidate")
    add("--state", required=True, type=Path, help="output, .json")
    add("--ranks", required=True, type=int, help="MPI ranks that were asked for")
    arguments = parser.parse_args()

    team = world(arguments.ranks)
    options = isac_options(arguments.options, read_json(arguments.stack_info)["box"])
    particles = load_particles(arguments.coefficients, arguments.ids, arguments.options)
    number = (arguments.generation, arguments.round)
    files = (arguments.coefficients, arguments.ids)
    inputs = team.from_leader(lambda: inputs_of(arguments.options, files, *number))
    runs = once(
        team,
        arguments.classes.with_name("clusters.npz"),
        inputs,
        lambda: clusters(team, particles, *number, options),
    )
    found = candidates_round(team, particles, runs, *number, options)
    if team.leads:
        members = [sum(map(len, run.members)) for run in runs]
        stable = sum(members) / max(len(runs) * len(particles), 1)
        left = np.setdiff1d(particles.ids, held(found))
        gained = len(particles) - len(left)
        enough = n_classes(len(left), options.img_per_grp) > 0
        save_classes(arguments.classes, found)
        write_ids(arguments.left, left)
        write_json(
            arguments.state,
            {
                "generation": arguments.generation,
                "round": arguments.round,
                "candidates": len(found),
                "stable": stable,
                "left": len(left),
                "stop": gained < LEAST_GAIN * len(particles) or not enough,
            },
        )
        team.log(
            f"{len(found)} candidates, {len(left)} of {len(particles)} particles left"
        )


if __name__ == "__main__":
    exit_on_input_error(main)
