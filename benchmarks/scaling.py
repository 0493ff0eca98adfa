"""How the heavy step of ISAC scales: one pass of SAC on 1 to thousands of ranks.

    python benchmarks/scaling.py                      one rank of 1, 2, 16, ... replayed
    mpiexec -n 2 python -m mpi4py benchmarks/scaling.py --mpi      real ranks, timed
    python benchmarks/scaling.py --predict            large sets, by the model

A *replay* needs no machine of that size: the pass is computed once and what the ranks
exchange is kept; then it is computed again as the first rank of a team would, which
does its own share and takes the others' from what was kept. Its time is that of a rank,
with all that every rank does for itself, and without the network; the size of what
arrives is counted.

Made-up images: noisy copies of as many patterns as there are classes.
"""

from __future__ import annotations

import argparse
import os
import pickle
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy starts

import numpy as np

from cryokin import plan
from cryokin.config import load_runs
from cryokin.estimate import estimate
from cryokin.io.counts import Counts
from cryokin.isac.basis import polar_basis
from cryokin.isac.candidates import random_start
from cryokin.isac.options import isac_options
from cryokin.isac.particles import BLOCK, Particles
from cryokin.isac.sac import Run, sac
from cryokin.parallel import Team
from cryokin.random import stream
from cryokin.steps import CASES, SECONDS

ROOT = Path(__file__).resolve().parents[1]
GIVEN = {"method": "isac", "particles": "none.star", "radius": 29}

# What is assumed of a cluster.
BANDWIDTH = 1e9  # into a rank [byte/s]
LATENCY = 2e-5  # of a step of a collective call [s]


class Keeping(Team):
    """A team of one that keeps what it would have exchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Any] = []
        self.sizes: list[int] = []

    def _keep(self, value: Any) -> Any:
        self.kept.append(value)
        self.sizes.append(len(pickle.dumps(value, 5)))
        return value

    def map(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        """As of a team."""
        return self._keep(super().map(function, items))

    def gather(self, share: Iterable[Any]) -> list[Any]:
        """As of a team."""
        return self._keep(super().gather(share))

    def from_leader(self, make: Callable[[], Any]) -> Any:
        """As of a team."""
        return self._keep(super().from_leader(make))


class First(Team):
    """The first rank of a team whose other ranks' results are known."""

    def __init__(self, size: int, kept: list[Any]) -> None:
        super().__init__()
        self.size, self._results = size, iter(kept)

    def map(self, function: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        """Compute the own items alone."""
        for item in items[:: self.size]:
            function(item)
        return next(self._results)

    def gather(self, share: Iterable[Any]) -> list[Any]:
        """Compute the own share alone."""
        list(share)
        return next(self._results)

    def from_leader(self, make: Callable[[], Any]) -> Any:
        """Compute, as the first rank leads."""
        make()
        return next(self._results)

    def barrier(self) -> None:
        """Wait for nobody."""


class Counting:
    """A communicator that counts what arrives."""

    def __init__(self, comm: Any) -> None:
        self._comm, self.rank, self.size = comm, comm.rank, comm.size
        self.calls = self.bytes = 0

    def _counted(self, value: Any) -> Any:
        self.calls += 1
        self.bytes += len(pickle.dumps(value, 5))
        return value

    def allgather(self, value: Any) -> Any:
        """As of MPI."""
        return self._counted(self._comm.allgather(value))

    def bcast(self, value: Any, root: int) -> Any:
        """As of MPI."""
        return self._counted(self._comm.bcast(value, root))

    def Ibarrier(self) -> Any:
        """As of MPI."""
        return self._comm.Ibarrier()


def options(**changes: Any) -> dict[str, Any]:
    """Return the options of a run with all defaults."""
    return load_runs({"runs": {"it": GIVEN | changes}})["it"]


def made_up(folder: Path, n: int, patterns: int) -> Particles:
    """Write coefficients of noisy copies of some patterns; return them, mapped."""
    rng = np.random.default_rng(0)
    basis = polar_basis(options())
    shape = (len(basis.directions), len(basis.radii))
    path = folder / "coefficients.npy"
    if not path.exists():
        out = np.lib.format.open_memmap(path, "w+", np.complex64, (n, *shape))
        models = rng.standard_normal((patterns, *shape, 2), np.float32)
        for first in range(0, n, BLOCK):
            size = min(BLOCK, n - first)
            rows = models[rng.integers(patterns, size=size)]
            rows = rows + 2 * rng.standard_normal(rows.shape, np.float32)
            block = rows[..., 0] + 1j * rows[..., 1]
            length = np.sqrt(np.sum(np.abs(block) ** 2, axis=(1, 2)) / shape[0])
            out[first : first + size] = block / length[:, None, None]
        out.flush()
    return Particles(basis, np.load(path, mmap_mode="r"), np.arange(n))


def one_pass(team: Team, particles: Particles, classes: int, runs: int) -> list[Run]:
    """Run one pass of SAC with its test of stability."""
    chosen = isac_options(options(), 76)
    starts = [random_start(particles, classes, stream(0, r)) for r in range(runs)]
    return sac(
        team, particles, starts, 1, True, chosen.sac, lambda *work: stream(1, *work)
    )


def timed(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return CPU time, wall time and result of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = call()
    return time.process_time() - cpu, time.perf_counter() - wall, result


def replay(n: int, classes: int, runs: int, sizes: Sequence[int]) -> None:
    """Print what a rank of teams of several sizes computes and gets."""
    with tempfile.TemporaryDirectory() as folder:
        particles = made_up(Path(folder), n, classes)
        keeping = Keeping()
        whole, _, _ = timed(lambda: one_pass(keeping, particles, classes, runs))
        arrived, calls = sum(keeping.sizes), len(keeping.sizes)
        print(f"{n} images, {classes} classes, {runs} runs, one pass with test:")
        print(
            f"{calls} exchanges, {arrived / 1e6:.1f} MB arrive at every rank"
            f" ({arrived / n / runs:.0f} bytes an image and run)"
        )
        print("| ranks | CPU s of a rank | efficiency |\n|---|---|---|")
        for size in sizes:
            first = First(size, keeping.kept)
            seconds, _, _ = timed(
                lambda team=first: one_pass(team, particles, classes, runs)
            )
            efficiency = whole / size / seconds
            print(f"| {size} | {seconds:.2f} | {100 * efficiency:.0f} % |", flush=True)


def on_mpi(n: int, classes: int, runs: int) -> None:
    """Time the pass on the ranks that were started."""
    from mpi4py import MPI

    counted = Counting(MPI.COMM_WORLD)
    team = Team(counted)
    folder = Path(tempfile.gettempdir(), f"cryokin_scaling_{n}_{classes}")
    if team.leads:
        folder.mkdir(exist_ok=True)
        made_up(folder, n, classes)
    team.barrier()
    particles = made_up(folder, n, classes)
    counted.calls = counted.bytes = 0
    cpu, wall, made = timed(lambda: one_pass(team, particles, classes, runs))
    calls, arrived = counted.calls, counted.bytes
    every = team.gather([cpu])
    peak = team.gather([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024])
    members = [len(part) for run in made for part in run.members]
    team.log(
        f"| {team.size} | {n} | {classes} | {wall:.1f} | {sum(every):.1f} |"
        f" {max(every):.1f} | {calls} | {arrived / 1e6:.1f} | {max(peak):.0f} |"
        f" {sum(members)} stable |"
    )
    if team.leads:
        shutil.rmtree(folder)


# ------------------------------------------------------------------------- the model

# Of one run of one pass, measured by the replays: what every rank does for itself.
SECONDS_AN_IMAGE = 1e-6  # labels and alignments of all images
SECONDS_A_CLASS = 8e-4  # shifted copies of the references
BYTES_AN_IMAGE = 120.0  # that arrive
BYTES_A_CLASS = 21_300.0
CALLS = 30  # exchanges, mostly rounds of the assignment


def pass_seconds(
    chosen: Mapping[str, Any], n: int, ranks: int
) -> tuple[float, float, float]:
    """Return what a rank takes for a pass of all runs: shared, own, network [s]."""
    runs, classes = chosen.indep_run, n // chosen.img_per_grp
    work = plan.sac(chosen, n, classes, 1, True)
    by_block, by_class = (SECONDS[k] * work[k] for k in ("product", "coefficient"))
    blocks, items = -(-n // BLOCK), runs * classes
    shared = by_block * -(-blocks // ranks) / blocks
    shared += by_class * -(-items // ranks) / items
    own = runs * (n * SECONDS_AN_IMAGE + classes * SECONDS_A_CLASS)
    arrived = runs * (n * BYTES_AN_IMAGE + classes * BYTES_A_CLASS)
    network = arrived / BANDWIDTH + CALLS * LATENCY * np.log2(max(ranks, 2))
    return shared, own * (ranks > 1), network * (ranks > 1)


def predict(sets: Sequence[tuple[int, int]], sizes: Sequence[int]) -> None:
    """Print time and memory of whole runs on several numbers of ranks."""
    print("| images | a class | core-hours | ranks | efficiency | hours | GB a rank |")
    print("|---|---|---|---|---|---|---|")
    for n, each in sets:
        chosen = options(img_per_grp=each)
        basis = polar_basis(chosen)
        made = estimate("it", chosen, Counts(n, 76))
        jobs = list(plan.jobs_of(chosen, Counts(n, 76), CASES[1]))
        alone = sum(job.cpu_seconds() for job in jobs if not job.parallel) / 3600
        hours = made.total(lambda rule: rule.cpu_seconds).expected / 3600
        largest = next(job for job in jobs if job.rule == "isac_reproducible")
        single = sum(pass_seconds(chosen, n, 1))
        for ranks in sizes:
            efficiency = single / ranks / sum(pass_seconds(chosen, n, ranks))
            wall = alone + (hours - alone) / ranks / efficiency
            row = 8 * len(basis.directions) * len(basis.radii)
            # Coefficients are mapped: a node has each page once, for all its ranks.
            memory = (largest.shared_mb - n * row / 1e6) / ranks + largest.rank_mb
            print(
                f"| {n:,} | {each} | {hours:,.0f} | {ranks:,} |"
                f" {100 * efficiency:.0f} % | {wall:,.1f} | {memory / 1000:.1f} |"
            )


def predict_3d(sizes: Sequence[int]) -> None:
    """Print what runs for subtomograms take, and what of it on a single process."""
    given = {
        "particles": "none.star",
        "mask": {"sphere": {"radius": 24, "edge": 3}},
        "lowpass": 16,
        "nclass": 4,
    }
    print("| subtomograms | method | core-hours | not shared | largest job |")
    print("|---|---|---|---|---|")
    for n in sizes:
        for method in ("cpca", "mco_exmx"):
            start = {"start_from": "random"} if method == "mco_exmx" else {}
            runs = {"it": given | {"method": method} | start}
            chosen = load_runs({"runs": runs})["it"]
            made = estimate("it", chosen, Counts(n, 64))
            alone = sum(r.cpu_seconds.expected for r in made.rules if not r.parallel)
            largest = max(made.rules, key=lambda rule: rule.memory_mb(16))
            hours = made.total(lambda rule: rule.cpu_seconds).expected / 3600
            print(
                f"| {n:,} | {method} | {hours:,.1f} |"
                f" {alone / 3600:,.1f} h | {largest.rule},"
                f" {largest.memory_mb(16) / 1000:,.0f} GB on 16 ranks |"
            )


def main() -> None:
    """Read the command line; replay, time or predict."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--images", type=int, default=10_000)
    add("--classes", type=int, default=100)
    add("--runs", type=int, default=1)
    add("--ranks", type=int, nargs="+", default=[2, 4, 16, 64, 256])
    add("--mpi", action="store_true", help="time the ranks that were started")
    add("--predict", action="store_true", help="large sets, by the model")
    chosen = parser.parse_args()
    if chosen.predict:
        sets = [(50_000, 100), (1_000_000, 100), (1_000_000, 1000), (10_000_000, 1000)]
        predict(sets, (1, 16, 256, 4096))
        print()
        predict_3d((10_000, 100_000))
    elif chosen.mpi:
        on_mpi(chosen.images, chosen.classes, chosen.runs)
    else:
        replay(chosen.images, chosen.classes, chosen.runs, chosen.ranks)


if __name__ == "__main__":
    main()
