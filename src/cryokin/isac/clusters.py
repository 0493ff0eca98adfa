"""Clusters of independent runs, as the matching of a round takes them from a file.

What is clustered, which takes nearly all of the time of a round, does not depend on
how it is matched: with another threshold the round is matched again, not clustered.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cryokin.files import atomic
from cryokin.image.geometry import Alignment
from cryokin.isac.sac import Run
from cryokin.npy import load_arrays


def save_clusters(path: Path, runs: Sequence[Run]) -> None:
    """Write runs to an ``.npz`` file, atomically."""
    arrays: dict[str, Any] = {"n_runs": len(runs)}
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


def load_clusters(path: Path) -> list[Run]:
    """Read what `save_clusters` wrote."""
    file = load_arrays(path)

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
