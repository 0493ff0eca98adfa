"""How the work of a job is counted, and what a unit of each kind of work costs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cryokin.files import read_json

COSTS = Path(__file__).with_name("costs.json")
MB = 1e6

Work = dict[str, float]


@dataclass(frozen=True)
class Case:
    """What is assumed where it cannot be known before.

    Attributes
    ----------
    accounted : float
        Share of its particles that a generation of ISAC accounts for.
    left : float
        Share of its particles that a round of candidates leaves.
    matched : float
        Share of the particles that stay in classes between the iterations of phase two.
    prealign_passes : int
        Passes of an entry of the prealignment's schedule.
    iterations : int
        Iterations until the classes of subtomograms stay.
    """

    accounted: float
    left: float
    matched: float
    prealign_passes: int
    iterations: int


#: Good data (few generations); usual data; poor data.
CASES = (
    Case(0.80, 0.20, 0.85, 3, 4),
    Case(0.55, 0.35, 0.70, 6, 15),
    Case(0.25, 0.85, 0.40, 14, 50),
)


@cache
def read_costs(path: str | os.PathLike[str] = COSTS) -> dict[str, float]:
    """Return how long a unit of each kind of work takes [CPU second]."""
    return {k: float(v) for k, v in read_json(path)["seconds"].items()}


@dataclass(frozen=True)
class JobWork:
    """One job that a run may have.

    Attributes
    ----------
    rule, name : str
        ``name`` tells the job from others of its rule, as in `cryokin.jobs.Job`.
    work : dict
        Amount of each kind of work, over all ranks.
    parallel : bool
        Whether it is an MPI job.
    shared_mb, rank_mb : float
        Memory of all ranks together, and more of each rank.
    disk_mb : float
        What its outputs take.
    """

    rule: str
    name: str
    work: Work
    parallel: bool = False
    shared_mb: float = 0.0
    rank_mb: float = 0.0
    disk_mb: float = 0.0

    def cpu_seconds(
        self, ranks: int = 2, costs: Mapping[str, float] | None = None
    ) -> float:
        """Return the CPU time on a number of ranks; what starts up does so on each."""
        known = costs or read_costs()
        processes = ranks if self.parallel else 1
        amounts = self.work | {"process": processes}
        return sum(known[kind] * amount for kind, amount in amounts.items())
