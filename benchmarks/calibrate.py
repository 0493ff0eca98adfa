"""Measure how long a unit of each kind of work takes; write src/cryokin/costs.json.

    python benchmarks/calibrate.py results/demo results/demo_3d ...

The folders hold finished runs, with their ``estimate.json``. What a job did is known
afterwards (particles of a round, iterations), what it took is in its log; the times of
the units are those that explain all jobs best. The runs must be of different sizes, so
that start and work can be told apart. With ``--compare`` nothing is written, but the
estimate of each run is set beside what it took.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from cryokin.estimate import CASES, COSTS, JobWork, jobs_of, load_estimate, usage
from cryokin.files import read_ids, read_json, write_json
from cryokin.io.counts import Counts
from cryokin.isac.work import Model
from cryokin.jobs import read_jobs

USUAL = CASES[1]


def options_of(results: Path) -> dict[str, Any]:
    """Return the options of a run, as its estimate keeps them."""
    options: dict[str, Any] = read_json(results / "estimate.json")["options"]
    return options


def isac_jobs(results: Path, options: dict[str, Any]) -> Iterator[JobWork]:
    """Yield the jobs of a run of ISAC with the numbers of particles that they had."""
    info = read_json(results / "import/import.json")
    n = info["n"]
    model = Model(options, info["box"])
    passes = (results / "logs/isac_prealign.log").read_text().count(", pass ")
    for job in jobs_of(options, Counts(n, info["box"]), USUAL):
        if job.rule == "isac_prealign":
            yield model.prealign(n, max(1, round(passes / len(model.schedule))))
        elif not job.name and job.rule != "isac_report":
            yield job
    for folder in sorted(results.glob("generation_0*[1-9]")):
        generation = int(folder.name[-4:])
        before = results / f"generation_{generation - 1:04d}"
        pool = len(read_ids(before / f"generation_{generation - 1}_unaccounted.txt"))
        left = pool
        for part in sorted(folder.glob("round_*")):
            name = f"{generation:04d}_{part.name[-4:]}"
            yield model.candidates_round(left, name)
            left = len(read_ids(part / "left.txt"))
        name = f"{generation:04d}_{generation}"
        status = read_json(folder / f"generation_{generation}_status.json")
        yield model.averages("isac_candidates", name, pool - left)
        if status["candidates"]:
            yield model.reproducible(pool, left, USUAL.matched, name)
        yield model.averages("isac_account", name, status["accounted"])


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
    work = {(job.rule, job.name): job for job in made(results, options)}
    for job in read_jobs(results):
        found = work.get((job.rule, job.name))
        if found is not None and np.isfinite(job.cpu_seconds):
            yield (
                f"{results.name} {job.rule} {job.name}",
                found.work | {"process": job.ranks},
                job.cpu_seconds,
            )


def fitted(folders: list[Path]) -> dict[str, float]:
    """Return the seconds of each unit that explain all jobs best, none negative."""
    rows = [row for results in folders for row in equations(results)]
    kinds = sorted({kind for _, work, _ in rows for kind in work})
    amounts = np.array([[work.get(kind, 0.0) for kind in kinds] for _, work, _ in rows])
    seconds = np.array([took for _, _, took in rows])
    # Relative errors count, but a long job more than a short one.
    weight = 1 / np.sqrt(seconds + 0.05)
    scale = np.maximum(amounts.max(axis=0), 1e-300)
    found, _ = nnls(amounts / scale * weight[:, None], seconds * weight)
    costs = dict(zip(kinds, (found / scale).tolist(), strict=True))
    for name, work, took in rows:
        told = sum(costs[kind] * amount for kind, amount in work.items())
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
    known = read_json(COSTS)["seconds"] if COSTS.exists() else {}
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
