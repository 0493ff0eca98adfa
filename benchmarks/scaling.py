"""How the heavy step of ISAC scales: one pass of SAC on 1 to thousands of ranks.

    python benchmarks/scaling.py                      one rank of 1, 4, 16, ... replayed
    mpiexec -n 2 python -m mpi4py benchmarks/scaling.py --mpi      real ranks, timed
    python benchmarks/scaling.py --predict            large sets, by the model

A *replay* needs no machine of that size, and not even the whole computation: the pass
is computed as the first rank of a team would, which does its own share, and what the
others would send is made up of it, in its true size. Its time is that of a rank, with
all that every rank does for itself, and without the network; what arrives is counted.

Made-up images: noisy copies of as many patterns as there are classes.
"""

from __future__ import annotations

import argparse
import math
import os
import pickle
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy starts

import numpy as np

from cryokin import plan
from cryokin.config import load_runs
from cryokin.estimate import estimate
from cryokin.io.counts import Counts
from cryokin.isac import assignment
from cryokin.isac.basis import polar_basis
from cryokin.isac.candidates import random_start
from cryokin.isac.options import isac_options
from cryokin.isac.particles import BLOCK, Particles
from cryokin.isac.sac import Run, sac
from cryokin.isac.views import agreement
from cryokin.parallel import Team
from cryokin.random import stream
from cryokin.steps import CASES, SECONDS

ROOT = Path(__file__).resolve().parents[1]
GIVEN = {"method": "isac", "particles": "none.star", "radius": 29}

ROWS = 20_000  # of coefficients that a replay has; images beyond are these again
LIKED = (8, 64)  # classes that a made-up image asks before it asks all

# What is assumed of a cluster.
BANDWIDTH = 1e9  # into a rank [byte/s]
LATENCY = 2e-5  # of a step of a collective call [s]


class Alone:
    """The communicator of the first rank of a team, whose other ranks are made up.

    Of classes, the others' results are this rank's again. Their images are its own
    images again, which see the classes in another order on each rank: they propose to
    them, are refused and propose again as images do.
    """

    rank = 0

    def __init__(self, size: int, n: int) -> None:
        self.size, self._n = size, n
        self.calls = self.bytes = 0
        self.seconds = 0.0  # CPU time of making up
        self.busy = False  # with that
        self._left: list[int] = []

    def start(self, items: int) -> None:
        """Say how many items the ranks share next."""
        self._left = [len(range(rank, items, self.size)) for rank in range(self.size)]

    def Ibarrier(self) -> Alone:
        """As of MPI."""
        return self

    def Test(self) -> bool:
        """Nobody is waited for."""
        return True

    def allgather(self, value: Any) -> list[Any]:
        """As of MPI: pickled by all, unpickled here."""
        own = pickle.dumps(value, 5)
        began, self.busy = time.process_time(), True
        parts = [own, *(self._of(rank, value, own) for rank in range(1, self.size))]
        self._left = [left - len(value) for left in self._left]
        self.seconds += time.process_time() - began
        self.calls, self.busy = self.calls + 1, False
        self.bytes += sum(map(len, parts))
        return [pickle.loads(part) for part in parts]

    def _of(self, rank: int, value: list[Any], own: bytes) -> bytes:
        """Return what another rank sends when this one sends a value."""
        if value and isinstance(value[0], assignment._Proposals):
            return pickle.dumps([Classes.latest.proposals_of(*self._share(rank))], 5)
        if value and type(value[0]) is int:  # images of the rank
            return pickle.dumps([len(self._share(rank)[1])], 5)
        left = max(self._left[rank], 0)
        return own if left >= len(value) else pickle.dumps(value[:left], 5)

    def _share(self, rank: int) -> tuple[int, range]:
        """Return a rank and its images."""
        blocks = -(-self._n // BLOCK)
        first, stop = (blocks * r // self.size * BLOCK for r in (rank, rank + 1))
        return rank, range(first, min(stop, self._n))


class Classes(assignment._Classes):
    """Classes of which made-up ranks can ask who of their images wants which."""

    latest: Classes

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._refused: Any = None
        Classes.latest = self

    def proposals(self, scores: Any, *given: Any) -> Any:
        """As of the rank itself."""
        self._scores = scores
        return super().proposals(scores, *given)

    def take(self, made: Any) -> Any:
        """Keep who is refused."""
        refused = super().take(made)
        self._refused = np.sort(refused)
        return refused

    @cached_property
    def _liked(self) -> Any:
        """The classes that each image of the rank itself likes best, the best first."""
        few = min(LIKED[-1], len(self._scores))
        liked = np.argpartition(-self._scores, few - 1, axis=0)[:few]
        order = np.argsort(-np.take_along_axis(self._scores, liked, 0), axis=0)
        return np.take_along_axis(liked, order, 0)

    def proposals_of(self, rank: int, share: range) -> Any:
        """Return what some images of another rank propose."""
        images = np.arange(share.start, share.stop)
        if self._refused is not None:
            ends = np.searchsorted(self._refused, [share.start, share.stop])
            images = self._refused[slice(*ends)]
        order = np.random.default_rng(rank).permutation(len(self._scores))
        like = (images - share.start) % self._scores.shape[1]
        wanted, values = np.zeros(len(images), np.intp), np.full(len(images), -np.inf)
        values = values.astype(self._scores.dtype)
        for few in (*LIKED, len(order)):
            waiting = np.flatnonzero(values == -np.inf)
            for first in range(0, len(waiting), BLOCK):
                some = waiting[first : first + BLOCK]
                liked = self._liked[:few, like[some]]
                if few > LIKED[-1]:
                    liked = np.arange(len(order))[:, None] + 0 * some
                wanted[some], values[some] = self._choice(
                    liked, like[some], order, images[some]
                )
        some = values > -np.inf
        return assignment._Proposals(
            images[some], wanted[some], values[some], some[some]
        )

    def _choice(self, candidates: Any, like: Any, order: Any, images: Any) -> Any:
        """Return the best of some candidates (k, n) that would take each image."""
        wanted, values = order[candidates], self._scores[candidates, like]
        last = self.last_value[wanted]
        refused = (values < last) | (
            (values == last) & (images > self.last_image[wanted])
        )
        values[refused] = -np.inf
        best = values.argmax(axis=0), np.arange(len(images))
        return wanted[best], values[best]


class Replayed(Team):
    """The first rank of a team whose other ranks are made up."""

    def each(self, function: Callable[..., Any], items: Sequence[Any]) -> Iterator[Any]:
        """As of a team."""
        self._comm.start(len(items))
        yield from super().each(function, items)


class Watch(threading.Thread):
    """Look again and again at how much memory this process has of its own [MB]."""

    def __init__(self, comm: Alone) -> None:
        super().__init__(daemon=True)
        self._comm = comm
        self._ended, self.peak = threading.Event(), 0.0
        self.start()

    def run(self) -> None:
        """Look."""
        while not self._ended.wait(0.05):
            if not self._comm.busy:
                self.peak = max(self.peak, resident()["RssAnon"])

    def end(self) -> float:
        """Return the most that was seen."""
        self._ended.set()
        self.join()
        return self.peak


def resident() -> dict[str, float]:
    """Return what is in memory [MB], by kind (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    rows = (line.split() for line in lines if line.startswith("Rss"))
    return {name.rstrip(":"): int(kb) / 1000 for name, kb, _ in rows}


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


def peak_mb() -> float:
    """Return the most memory that this process had, with what is mapped [MB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def timed(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return CPU time, wall time and result of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = call()
    return time.process_time() - cpu, time.perf_counter() - wall, result


def replay(n: int, classes: int, runs: int, sizes: Sequence[int]) -> None:
    """Print what a rank of teams of several sizes computes, holds and gets."""
    assignment._Classes = Classes  # type: ignore[misc]
    chosen = replace(options(img_per_grp=n // classes), indep_run=runs)
    print(f"{n} images, {classes} classes, {runs} runs, one pass with test")
    print(
        "| ranks | CPU s | foretold | efficiency | agreement [s] | own memory [MB]"
        " | foretold | mapped [MB] | exchanges | arrives [MB] | foretold |"
    )
    print("|---" * 11 + "|")
    whole = math.nan
    with tempfile.TemporaryDirectory() as folder:
        rows = made_up(Path(folder), min(n, ROWS), classes)
        particles = Particles(rows.basis, rows.coefficients, np.arange(n) % len(rows))
        for size in sizes:
            comm = Alone(size, n)
            team = Replayed(comm) if size > 1 else Team()
            watch = Watch(comm)
            seconds, _, made = timed(partial(one_pass, team, particles, classes, runs))
            seconds, memory = seconds - comm.seconds, watch.end()
            calls, arrived, mapped = comm.calls, comm.bytes, resident()["RssFile"]
            comm.seconds = 0.0
            agreed, _, _ = timed(partial(agreement, team, particles, made))
            agreed -= comm.seconds
            whole = seconds if size == 1 else whole
            shared, own, _ = pass_seconds(chosen, n, size)
            print(
                f"| {size:,} | {seconds:.2f} | {shared + own:.2f} |"
                f" {100 * whole / size / seconds:.0f} % | {agreed:.2f} |"
                f" {memory:.0f} | {rank_mb(chosen, n, size):.0f} | {mapped:.0f} |"
                f" {calls} | {arrived / 1e6:.1f} | {arrives(chosen, n) / 1e6:.1f} |",
                flush=True,
            )
    print(f"with what is mapped and made up, {peak_mb():.0f} MB at most")


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
    peak = team.gather([peak_mb()])
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
SECONDS_AN_IMAGE = 5e-6  # of all: whom classes take and refuse, labels, alignments
SECONDS_A_CLASS = 8e-4  # shifted copies of the references
BYTES_AN_IMAGE = 120.0  # that arrive
BYTES_A_CLASS = 21_300.0
CALLS = 50  # exchanges, mostly rounds of the assignment


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
    network = arrives(chosen, n) / BANDWIDTH
    network += runs * CALLS * LATENCY * np.log2(max(ranks, 2))
    return shared, own * (ranks > 1), network * (ranks > 1)


def arrives(chosen: Mapping[str, Any], n: int) -> float:
    """Return what arrives at every rank in a pass of all runs [byte]."""
    classes = n // chosen.img_per_grp
    return chosen.indep_run * (n * BYTES_AN_IMAGE + classes * BYTES_A_CLASS)


def rank_mb(chosen: Mapping[str, Any], n: int, ranks: int) -> float:
    """Return the memory of a rank of its own in the largest job [MB].

    Coefficients are mapped: a node has each page once, for all its ranks.
    """
    jobs = plan.jobs_of(chosen, Counts(n, 76), CASES[1])
    largest = next(job for job in jobs if job.rule == "isac_reproducible")
    basis = polar_basis(chosen)
    row = 8 * len(basis.directions) * len(basis.radii)
    return (largest.shared_mb - n * row / 1e6) / ranks + largest.rank_mb


def predict(sets: Sequence[tuple[int, int]], sizes: Sequence[int]) -> None:
    """Print time and memory of whole runs on several numbers of ranks."""
    print("| images | a class | core-hours | ranks | efficiency | hours | GB a rank |")
    print("|---|---|---|---|---|---|---|")
    for n, each in sets:
        chosen = options(img_per_grp=each)
        made = estimate("it", chosen, Counts(n, 76))
        jobs = list(plan.jobs_of(chosen, Counts(n, 76), CASES[1]))
        alone = sum(job.cpu_seconds() for job in jobs if not job.parallel) / 3600
        hours = made.total(lambda rule: rule.cpu_seconds).expected / 3600
        single = sum(pass_seconds(chosen, n, 1))
        for ranks in sizes:
            efficiency = single / ranks / sum(pass_seconds(chosen, n, ranks))
            wall = alone + (hours - alone) / ranks / efficiency
            memory = rank_mb(chosen, n, ranks)
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
    add("--images", type=int, default=20_000)
    add("--classes", type=int, default=200)
    add("--runs", type=int, default=4)
    add("--ranks", type=int, nargs="+", default=[1, 4, 16, 64])
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
        if max(chosen.ranks) * BLOCK > chosen.images:
            parser.error(f"at most images / {BLOCK} ranks have something to compare")
        replay(chosen.images, chosen.classes, chosen.runs, chosen.ranks)


if __name__ == "__main__":
    main()
