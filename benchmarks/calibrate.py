"""Measure how long a unit of each kind of work takes: `cryokin.steps.SECONDS`.

    python benchmarks/calibrate.py results/demo results/demo_3d ...

The folders hold finished runs, with their ``estimate.json``. What a job did is known
afterwards (particles of a round, iterations), what it took is in its log; the times of
the units are those that explain all jobs best, those of matrix products are timed
alone. The runs must be of different sizes, so that start and work can be told apart.
With ``--compare`` the estimate of each run is set beside what it took.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy starts

import numpy as np
from scipy.optimize import nnls

from cryokin.estimate import estimate, load_estimate, usage
from cryokin.files import read_json
from cryokin.image.polar import PolarBasis
from cryokin.io.counts import Counts
from cryokin.isac.alignment import best_scores, correlation_operand
from cryokin.options import options_from
from cryokin.plan import comparison, jobs_of, read_known
from cryokin.steps import CASES, SECONDS
from cryokin.usage import read_jobs

# What is timed alone stands for what takes longer among other work.
SLOWER = 1.15


def product_seconds() -> float:
    """Return the least time of an operation of comparing images with references."""
    rng = np.random.default_rng(1)
    basis = PolarBasis(29, 0.36)
    shape = (2, basis.n_orders, 2, len(basis.radii))
    images = rng.standard_normal((*shape, 512), np.float32)
    operand = correlation_operand(rng.standard_normal((*shape, 9 * 100), np.float32))
    times = []
    for _ in range(3):
        start = time.process_time()
        best_scores(operand, images, 9)
        times.append(time.process_time() - start)
    return min(times) / (512 * 900 * comparison(basis.whole))


def equations(results: Path) -> Iterator[tuple[str, dict[str, float], float]]:
    """Yield a job's name, the work that it was, and the CPU time that it took [s]."""
    options = options_from(read_json(results / "estimate.json")["options"])
    info, case = read_json(results / "import/import.json"), CASES[1]
    for name in ("exmx.json", "annealing.json"):
        if (results / name).exists():
            iterations = len(read_json(results / name)["iterations"])
            case = case._replace(iterations=iterations)
    counts = Counts(info["n"], info["box"])
    plan = jobs_of(options, counts, case, read_known(results))
    known = {(job.rule, job.name): job for job in plan}
    for used in read_jobs(results):
        job = known.get((used.rule, used.name))
        if job is not None and np.isfinite(used.cpu_seconds):
            name = f"{results.name} {used.rule} {used.name}"
            yield name, job.amounts(used.ranks), used.cpu_seconds


def fitted(folders: list[Path]) -> dict[str, float]:
    """Return the seconds of each unit that explain all jobs best, none negative."""
    names, works, took = zip(*(e for r in folders for e in equations(r)), strict=True)
    kinds = [kind for kind in SECONDS if kind != "product"]
    amounts = np.array([[work.get(kind, 0.0) for kind in kinds] for work in works])
    products = SLOWER * product_seconds()
    seconds = np.array(took) - [products * work.get("product", 0) for work in works]
    # Relative errors count, but a long job more than a short one.
    weight = 1 / np.sqrt(np.array(took) + 0.05)
    scale = np.maximum(amounts.max(axis=0), 1e-300)
    found, _ = nnls(amounts / scale * weight[:, None], seconds * weight)
    costs = dict(zip(kinds, (found / scale).tolist(), strict=True))
    costs["product"] = products
    for name, work, measured in zip(names, works, took, strict=True):
        told, now = (
            sum(of[kind] * amount for kind, amount in work.items())
            for of in (costs, SECONDS)
        )
        print(f"{name:50s} took {measured:8.2f} s, {told:8.2f} fitted, {now:8.2f} now")
    return costs


def compare(results: Path) -> None:
    """Print what is estimated for a run beside what it took."""
    stored = load_estimate(results / "estimate.json")
    made = estimate(stored.run, options_from(stored.options), stored.particles)
    of_rule = {rule.rule: rule for rule in made.rules}
    print(f"{made.run}: {made.method}, {made.particles.n} particles")
    took = 0.0
    for used in usage(results):
        if used.rule in of_rule:
            told = of_rule[used.rule]
            took += used.cpu_seconds
            print(
                f"{used.rule:24}{used.jobs:4d} jobs, {told.jobs.expected:3.0f} told;"
                f"{used.cpu_seconds:9.1f} s, {told.cpu_seconds.expected:9.1f}"
                f" ({told.cpu_seconds.low:.1f} to {told.cpu_seconds.high:.1f});"
                f"{used.memory_mb:7.0f} MB, {told.memory_mb(used.ranks):7.0f}"
            )
    low, expected, high = made.total(lambda rule: rule.cpu_seconds)
    print(f"all: {took:.0f} CPU s, {expected:.0f} ({low:.0f} to {high:.0f})\n")


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
    for kind, seconds in fitted(arguments.results).items():
        print(f'    "{kind}": {seconds:.2g},')


if __name__ == "__main__":
    main()
