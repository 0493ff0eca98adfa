"""Clusters of independent runs, kept so that they need not be found again.

A round of candidates clusters the particles in several independent runs, which takes
nearly all of its time, and then matches the runs. What is clustered does not depend on
how it is matched: a round that is made again with another threshold, or goes on after
it was interrupted, takes the clusters from their file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cryokin.files import atomic
from cryokin.image.geometry import Alignment
from cryokin.isac.sac import Run
from cryokin.parallel import Team
from cryokin.provenance import fingerprint

#: Options that matter from the matching on.
OF_MATCHING = (
    *("thld_grp", "match_by", "thld_rep", "last_assignment"),
    *("match_first", "match_second"),
)


def inputs_of(
    options: Mapping[str, Any], files: Sequence[Path], generation: int, number: int
) -> str:
    """Return a name for all that the clusters of a round depend on.

    Parameters
    ----------
    options : mapping
        Of the run.
    files : sequence of path
        The particles: their coefficients and their ids.
    generation, number : int
        Of the generation and the round.
    """
    used = {key: options[key] for key in options if key not in OF_MATCHING}
    return fingerprint([used, generation, number], files)


def once(
    team: Team, path: Path, inputs: str, make: Callable[[], list[Run]]
) -> list[Run]:
    """Return runs from their file if it is of these inputs; else make and keep them."""
    if team.from_leader(lambda: kept_for(path) == inputs):
        team.log("the clusters are there already")
        return load_runs(path)
    runs = make()
    if team.leads:
        save_runs(path, runs, inputs)
    return runs


def kept_for(path: Path) -> str | None:
    """Return the inputs of the runs in a file; None if there is no such file."""
    if not path.exists():
        return None
    with np.load(path) as file:
        return str(file["inputs"])


def save_runs(path: Path, runs: Sequence[Run], inputs: str) -> None:
    """Write runs to an ``.npz`` file, atomically."""
    arrays: dict[str, Any] = {"inputs": inputs, "n_runs": len(runs)}
    for i, run in enumerate(runs):
        arrays |= {
            f"{i}_references": run.references,
            f"{i}_errors": run.errors,
            **{f"{i}_{key}": part for key, part in run.alignment._asdict().items()},
        }
        for name, lists in (("members", run.members), ("averaged", run.averaged)):
            arrays[f"{i}_{name}"] = np.concatenate([np.empty(0, np.intp), *lists])
            arrays[f"{i}_{name}_sizes"] = np.array([len(one) for one in lists], np.intp)
    with atomic(path) as partial, open(partial, "wb") as handle:
        np.savez(handle, **arrays)


def load_runs(path: Path) -> list[Run]:
    """Read what `save_runs` wrote."""
    with np.load(path) as file:

        def lists(name: str) -> list[Any]:
            stops = np.cumsum(file[f"{name}_sizes"])
            return np.split(file[name], stops[:-1]) if len(stops) else []

        return [
            Run(
                file[f"{i}_references"],
                lists(f"{i}_members"),
                Alignment(*(file[f"{i}_{key}"] for key in Alignment._fields)),
                file[f"{i}_errors"],
                lists(f"{i}_averaged"),
            )
            for i in range(int(file["n_runs"]))
        ]
