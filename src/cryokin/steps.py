"""The steps of a run: one record each, for all who tell of them or reckon with them.

A step is a rule of the workflow. `STEPS` says what it does, in words, and what it
leaves; `cryokin.plan` which jobs a run has of it, and how much work they are; here
stands what a unit of work takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

#: CPU seconds of a unit of work, measured by ``benchmarks/calibrate.py``.
SECONDS = {
    "start": 0.39,  # a process, with the libraries that images need
    "row": 4.5e-5,  # of a table, read or written
    "product": 2.2e-11,  # an operation of a matrix product
    "coefficient": 1.9e-8,  # of a spectrum, moved to a centre or transformed
    "voxel": 1.8e-7,  # or pixel: interpolated, flipped, averaged or written as text
}


class Step(NamedTuple):
    """What people are told of a rule.

    Attributes
    ----------
    words : str
        What it does; ``{generation}`` and ``{round}`` are those of the job.
    leaves : str
        Pattern of a file that it leaves in the folder of the run, where the report is
        made from it.
    parallel : bool
        Whether its jobs run on MPI ranks.
    warns : bool
        Whether that file holds ``warnings`` for the user.
    """

    words: str
    leaves: str = ""
    parallel: bool = False
    warns: bool = False


MPI, WARNS = True, True
#: By rule, in the order in which they come.
STEPS = {
    "slabs": Step("slabs of the subtomograms", "slabs/slabs.star"),
    "isac_import": Step("reading the particles", "import/import.json", False, WARNS),
    "isac_phase_flip": Step("flipping phases", "phase_flipped.mrcs", MPI),
    "isac_prealign": Step("prealignment", "2dalignment/initial2Dparams.txt", MPI),
    "isac_shrink": Step("working images", "working_stack.json", MPI, WARNS),
    "isac_clusters": Step("generation {generation}, round {round}, clusters", "", MPI),
    "isac_candidates_round": Step(
        "generation {generation}, round {round}", "generation_*/round_*/state.json", MPI
    ),
    "isac_candidates": Step(
        "generation {generation}, averages of the candidates", "", MPI
    ),
    "isac_reproducible": Step(
        "generation {generation}, reproducible classes",
        "generation_*/classes_generation_*.npz",
        MPI,
    ),
    "isac_join": Step("new images join the classes of an earlier run", "", MPI),
    "isac_account": Step(
        "generation {generation}, accounting",
        "generation_*/generation_*_status.json",
    ),
    "isac_class_averages": Step("tables of all classes", "frc.json"),
    "isac_report": Step("report"),
    "select_particles": Step("selecting particles"),
    "isac_select_averages": Step("members of the selected averages"),
    "isac_subset": Step("particles of a class"),
    "slab_subtomograms": Step("subtomograms behind slabs"),
    "isac_full_averages": Step("averages of the original images", "", MPI),
    "isac_ordered_averages": Step("class averages in order of likeness"),
    "isac_rct": Step("tilted counterparts"),
    "pytom_import": Step("reading the particles", "import/import.json", False, WARNS),
    "pytom_prepare": Step(
        "bringing particles into the common frame", "prepared/prepared.json", MPI, WARNS
    ),
    "ccc_matrix": Step("correlation matrix", "", MPI),
    "ccc_csv": Step("correlation matrix as text"),
    "eigen_projection": Step("leading components", "eigen.json"),
    "kmeans": Step("grouping particles by components", "cpca/labels.npy"),
    "mco_exmx_starts": Step("expectation maximisation, starts of job {round}", "", MPI),
    "mco_exmx": Step(
        "expectation maximisation, the best start", "exmx.json", MPI, WARNS
    ),
    "mco_ac_round": Step("annealing, round {round}", "mco_ac/round_*.npz", MPI),
    "mco_ac": Step("best of all chains of annealing", "annealing.json", False, WARNS),
    "pytom_reproducible": Step(
        "classes that independent runs agree on", "reproducible.json", MPI
    ),
    "pytom_class_averages": Step("class averages", "classes.json", MPI),
    "pytom_differences": Step(
        "which classes differ beyond chance", "differences.json", MPI
    ),
    "hierarchical_merge": Step("merging classes", "merge.json", MPI),
    "select_classes": Step("selecting classes"),
    "pytom_subset": Step("particles of a class"),
    "pytom_report": Step("report"),
}


class Case(NamedTuple):
    """What is assumed where it cannot be known before.

    Attributes
    ----------
    accounted : float
        Share of all particles that the first generation of ISAC accounts for.
    later : float
        Share of its particles that any later one accounts for.
    left : float
        Share of its particles that a round of candidates leaves.
    matched : float
        Share of the particles that stay in classes between the iterations of phase two.
    passes : int
        Passes of an entry of the prealignment's schedule.
    iterations : int
        Iterations until the classes of subtomograms stay.
    """

    accounted: float
    later: float
    left: float
    matched: float
    passes: int
    iterations: int


#: Good data (few generations); usual data; poor data.
CASES = (
    Case(0.97, 0.03, 0.02, 0.95, 3, 4),
    Case(0.80, 0.03, 0.25, 0.80, 6, 15),
    Case(0.25, 0.25, 0.85, 0.40, 14, 50),
)


@dataclass(frozen=True)
class Job:
    """One job that a run may have.

    Attributes
    ----------
    rule, name : str
        ``name`` tells the job from others of its rule, as its log does; may be empty.
    work : dict
        Amount of each kind of work of `SECONDS`, over all ranks; ``start`` is of each.
    shared_mb, rank_mb : float
        Memory of all ranks together, and more of each rank.
    disk_mb : float
        What its outputs take.
    device_mb : float
        Memory of the device of each rank, if the profile names one.
    """

    rule: str
    name: str
    work: dict[str, float]
    rank_mb: float
    disk_mb: float
    shared_mb: float = 0.0
    device_mb: float = 0.0

    @property
    def parallel(self) -> bool:
        """Whether it runs on MPI ranks."""
        return STEPS[self.rule].parallel

    def amounts(self, ranks: int = 2) -> dict[str, float]:
        """Return its work on a number of ranks; what starts up does so on each."""
        starts = self.work.get("start", 1.0) * (ranks if self.parallel else 1)
        return self.work | {"start": starts}

    def cpu_seconds(self, ranks: int = 2) -> float:
        """Return its CPU time on a number of ranks."""
        work = self.amounts(ranks)
        return sum(SECONDS[kind] * amount for kind, amount in work.items())

    def wall_seconds(self, ranks: int | None = None) -> float:
        """Return its time on a number of ranks, 2 unless it is known."""
        count = (ranks or 2) if self.parallel else 1
        return self.cpu_seconds(count) / count
