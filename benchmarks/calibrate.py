"""Measure how long a unit of each kind of work takes; write src/cryokin/costs.json.

    python benchmarks/calibrate.py results/demo results/demo_3d ...

The folders hold finished runs, with their ``estimate.json``. What a job did is known
afterwards (particles of a round, iterations), what it took is in its log; the times of
the units are those that explain all jobs best. The two matrix products of which large
runs are made are timed alone. The runs must be of different sizes, so that start and
work can be told apart. With ``--compare`` nothing is written, but the
estimate of each run is set beside what it took.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy starts

import numpy as np
from scipy.optimize import nnls

from cryokin.costs import CASES, COSTS, JobWork
from cryokin.estimate import jobs_of, load_estimate, usage
from cryokin.files import read_json, write_json
from cryokin.image.polar import PolarBasis
from cryokin.io.counts import Counts
from cryokin.isac import work
from cryokin.isac.alignment import best_scores, correlation_operand
from cryokin.jobs import read_jobs
from cryokin.pytom import ccc

USUAL = CASES[1]
REPORT = 1.5  # CPU time of a report, which has no benchmark [s]
# What is timed alone stands for what takes longer among other work.
SLOWER = 1.15


def compare_seconds() -> float:
    """Return the time of an operation of comparing images with references."""
    rng = np.random.default_rng(1)
    basis = PolarBasis(29, 0.36)
    shape = (2, basis.n_orders, 2, len(basis.radii))
    images = rng.standard_normal((*shape, 512), np.float32)
    references = rng.standard_normal((*shape, 9 * 100), np.float32)
    operand = correlation_operand(references)
    seconds = fastest(lambda: best_scores(operand, images, 9), 3)
    return seconds / (512 * 900 * work.comparison(basis.whole))


def correlate_seconds() -> float:
    """Return the time of a coefficient of a pair of subtomograms."""
    rng = np.random.default_rng(1)
    n, m = 1024, 2000
    g = rng.standard_normal((n, 2 * m), np.float32)
    w = np.ones((n, m), np.float32)
    return fastest(lambda: ccc.tile(g, w, g, w), 3) / (n * n * m)


def fastest(call: Callable[[], object], repeats: int) -> float:
    """Return the least CPU time of several calls [s]."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def options_of(results: Path) -> dict[str, Any]:
    """Return the options of a run, as its estimate keeps them."""
    options: dict[str, Any] = read_json(results / "estimate.json")["options"]
    return options


def isac_jobs(results: Path, options: dict[str, Any]) -> Iterator[JobWork]:
    """Yield the jobs of a run of ISAC with the numbers of particles that they had."""
    info = read_json(results / "import/import.json")
    particles = Counts(info["n"], info["box"])
    model = work.Model(options, particles.box)
    log = (results / "logs/isac_prealign.log").read_text()
    passes = max(1, round(log.count(", pass ") / len(model.schedule)))
    case = replace(USUAL, prealign_passes=passes)
    yield from work.jobs_of(options, particles, case, work.read_known(results))


def volume_jobs(results: Path, options: dict[str, Any]) -> Iterator[JobWork]:
    """Yield the jobs of a run for subtomograms, with the iterations that it took."""
    info = read_json(results / "import/import.json")
    case = USUAL
    for name in ("exmx.json", "annealing.json"):
        if (results / name).exists():
            case = replace(
                case, iterations=len(read_json(results / name)["iterations"])
            )
    yield from jobs_of(options, Counts(info["n"], info["box"]), case)


def equations(results: Path) -> Iterator[tuple[str, dict[str, float], float]]:
    """Yield a job's name, the work that it was, and the CPU time that it took [s]."""
    options = options_of(results)
    made = isac_jobs if options["method"] == "isac" else volume_jobs
    known = {(job.rule, job.name): job for job in made(results, options)}
    for job in read_jobs(results):
        found = known.get((job.rule, job.name))
        if found is not None and np.isfinite(job.cpu_seconds):
            yield (
                f"{results.name} {job.rule} {job.name}",
                found.work | {"process": job.ranks},
                job.cpu_seconds,
            )


def fitted(folders: list[Path]) -> dict[str, float]:
    """Return the seconds of each unit that explain all jobs best, none negative."""
    rows = [row for results in folders for row in equations(results)]
    kinds = sorted({kind for _, made, _ in rows for kind in made})
    timed = {
        "compare": SLOWER * compare_seconds(),
        "correlate": SLOWER * correlate_seconds(),
    }
    kinds = [kind for kind in kinds if kind not in timed]
    amounts = np.array([[made.get(kind, 0.0) for kind in kinds] for _, made, _ in rows])
    seconds = np.array(
        [
            took - sum(t * made.get(k, 0) for k, t in timed.items())
            for _, made, took in rows
        ]
    )
    # Relative errors count, but a long job more than a short one.
    weight = 1 / np.sqrt([took + 0.05 for _, _, took in rows])
    scale = np.maximum(amounts.max(axis=0), 1e-300)
    found, _ = nnls(amounts / scale * weight[:, None], seconds * weight)
    costs = dict(zip(kinds, (found / scale).tolist(), strict=True)) | timed
    for name, made, took in rows:
        told = sum(costs[kind] * amount for kind, amount in made.items())
        print(f"{name:60s} {took:8.2f} s, by the units {told:8.2f} s")
    return costs


def compare(results: Path) -> None:
    """Print what was estimated for a run beside what it took."""
    made = load_estimate(results / "estimate.json")
    print(f"{made.run}: {made.method}, {made.particles.n} particles")
    print(
        f"{'rule':24}{'jobs':>6}{'estimated':>18}{'CPU s':>9}{'estimated':>26}{'MB':>7}"
    )
    took = 0.0
    for rule in usage(results):
        if rule.estimate is None:
            continue
        took += rule.cpu_seconds
        jobs, seconds = rule.estimate.jobs, rule.estimate.cpu_seconds
        print(
            f"{rule.rule:24}{rule.jobs:6d}"
            f"{jobs.expected:8.0f} ({jobs.low:.0f}-{jobs.high:.0f})".ljust(50)
            + f"{rule.cpu_seconds:8.1f} {seconds.expected:9.1f}"
            f" ({seconds.low:.1f}-{seconds.high:.1f})".ljust(36)
            + f"{rule.memory_mb:7.0f} {rule.estimate.memory_mb(rule.ranks):7.0f}"
        )
    hours = made.core_hours
    print(
        f"all: {took:.0f} CPU s, estimated {3600 * hours.expected:.0f}"
        f" ({3600 * hours.low:.0f} to {3600 * hours.high:.0f})\n"
    )


def main() -> None:
    """Read the command line; calibrate or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, help="folders of runs")
    parser.add_argument("--compare", action="store_true")
    arguments = parser.parse_args()
    if arguments.compare:
        for results in arguments.results:
            compare(results)
        return
    costs = fitted(arguments.results)
    known = {"report": REPORT} | (read_json(COSTS)["seconds"] if COSTS.exists() else {})
    write_json(
        COSTS,
        {
            "about": "CPU seconds of a unit of each kind of work, measured by"
            " benchmarks/calibrate.py",
            "machine": platform.machine(),
            "seconds": known | {k: float(f"{v:.3g}") for k, v in costs.items()},
        },
    )


if __name__ == "__main__":
    main()
