"""How much work the steps for subtomograms are, in the units of `cryokin.estimate`.

The kinds of work of this family:

place
    one voxel of a particle interpolated into the common frame, and what follows there
correlate
    one coefficient of a pair of particles
transform
    one point of a grid on which a pair of particles is correlated exactly
number
    one number of a matrix written as text
eigen
    one number of a matrix in one product with a vector
cluster
    one component of a particle compared with one class, in one start
expect
    one coefficient of a particle compared with one class average
average_voxel
    one voxel of a particle added to an average
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cryokin.costs import MB, Case, JobWork
from cryokin.io.counts import Counts
from cryokin.pytom.schedule import number_of_starts, schedule
from cryokin.volume.symmetry import operations

#: A file that is there when a job is done, in the folder of the run.
MARKERS = {
    "pytom_import": "import/import.json",
    "pytom_prepare": "prepared/prepared.json",
    "ccc_matrix": "correlation_matrix.h5",
    "eigen_projection": "eigen.json",
    "kmeans": "cpca/labels.npy",
    "ccc_csv": "correlation_matrix.csv",
    "mco_exmx": "exmx.json",
    "mco_ac": "annealing.json",
    "pytom_reproducible": "reproducible.json",
    "pytom_class_averages": "classes.json",
    "pytom_differences": "differences.json",
    "hierarchical_merge": "merge.json",
    "select_classes": "selected/filtered_pl.xml",
    "pytom_report": "report/index.html",
}

PROCESS_MB = 90  # of a rank that has done nothing yet
CLUSTER_ITERATIONS = 100  # of a start of the clustering, about
DENSE = 1000  # particles up to which all of an eigenvalue problem is solved
MOST_PRODUCTS = 500  # of a large matrix with a vector, about
HALVES = 4  # of the particles that are classified on their own
NEIG = 4  # components that are used where the particles decide, about
ROW_BYTES = 600  # of all tables and lists that a particle stands in


def jobs_of(
    options: Mapping[str, Any], particles: Counts, case: Case
) -> Iterator[JobWork]:
    """Yield the jobs of a run for subtomograms, in the order in which they come."""
    n, box = particles
    method, compat = options["method"], options["compat"] == "pytom"
    size = box // options["binning"]
    m = coefficients(options["lowpass"], options["highpass"])
    nclass = options["nclass"]
    exact = compat or options.get("exact", False)
    rows = 20 * n * m / MB  # coefficients, residuals and weights of all particles
    yield JobWork(
        "pytom_import",
        "",
        {"tables": 1, "row": 3 * n},
        rank_mb=100 + n * 6000 / MB,
        disk_mb=n * ROW_BYTES / MB,
    )
    steps = 0 if compat else options["pose_refinement"]
    order = len(operations(options["symmetry"]))
    passes = 1 + steps + (exact and not compat) * order
    if order > 1 and not compat:
        passes += order
    yield JobWork(
        "pytom_prepare",
        "",
        {"libraries": 1, "place": passes * n * size**3},
        True,
        shared_mb=rows,
        rank_mb=PROCESS_MB + 40,
        disk_mb=rows,
    )
    if method == "cpca" or (options.get("start_from") == "cpca" and not compat):
        yield from _components(options, n, m, exact)
    if options["reproducible"]:
        runs = options["reproducible"]["runs"]
        yield JobWork(
            "pytom_reproducible",
            "",
            {
                "libraries": 1,
                "expect": runs * case.iterations * n * m * (nclass + 4) / 2,
            },
            True,
            shared_mb=rows,
            rank_mb=PROCESS_MB + 40 + 10 * n * m / MB,
            disk_mb=8 * n / MB,
        )
    if method == "mco_exmx":
        iterations = min(case.iterations, options["iterations"])
        starts, per_job = number_of_starts(options), options["starts_per_job"]
        for number in range(0 if compat else math.ceil(starts / per_job)):
            some = min(per_job, starts - number * per_job)
            name = f"{number:04d}"
            yield _expectation(
                "mco_exmx_starts", name, options, n, m, some * iterations
            )
        repeated = iterations if compat else 1
        last = _expectation("mco_exmx", "", options, n, m, repeated)
        last.work["row"] = 2 * iterations * n  # a list of each
        yield last
    if method == "mco_ac":
        count = len(schedule(options["temperature"], options["temperature_step"]))
        iterations = min(case.iterations, options["local_iterations"]) + 1
        starts = number_of_starts(options)
        for number in range(count):
            name = f"{number:04d}"
            yield _expectation("mco_ac_round", name, options, n, m, starts * iterations)
        yield JobWork(
            "mco_ac",
            "",
            {"libraries": 1, "row": 4 * n * count},
            rank_mb=100 + n * 8000 / MB,
            disk_mb=2 * count * n * ROW_BYTES / MB,
        )
    yield _averages("pytom_class_averages", n, box, nclass, order)
    yield JobWork(
        "pytom_differences",
        "",
        {
            "libraries": 1,
            "expect": HALVES * case.iterations * n * m * (nclass + 4) / 4,
        },
        True,
        shared_mb=rows,
        rank_mb=PROCESS_MB + 40 + 10 * n * m / MB,
    )
    if options["merge"]:
        yield _averages("hierarchical_merge", n, box, nclass, order)
    if options["select"]:
        wanted = options["select"].get("classes") or range(nclass)  # limits: all pass
        part = max(1, n // nclass) * len(wanted)
        yield _averages("select_classes", part, box, 1, order, parallel=False)
    yield JobWork("pytom_report", "", {"report": 1}, rank_mb=200, disk_mb=3)


def marker(rule: str, name: str) -> str:
    """Return a file that is there when a job is done, in the folder of the run."""
    if rule == "mco_ac_round":
        return f"mco_ac/round_{name}.npz"
    if rule == "mco_exmx_starts":
        return f"mco_exmx/starts_{name}.npz"
    return MARKERS[rule]


def share_of_pairs(results: str | os.PathLike[str], n: int) -> float:
    """Return how much of a matrix of n particles stands in the tiles that are there."""
    files = list(Path(results, "ccc_tiles").glob("*/tile_*.npy"))
    done = 0.0
    for file in files:
        _, first, second = file.stem.split("_")
        with file.open("rb") as stored:
            np.lib.format.read_magic(stored)
            rows, columns = np.lib.format.read_array_header_1_0(stored)[0]
        done += rows * columns / (2 if first == second else 1)
    return min(1.0, done / (n * n / 2))


def _components(
    options: Mapping[str, Any], n: int, m: float, exact: bool
) -> Iterator[JobWork]:
    """Yield the jobs of CPCA."""
    pairs = n * (n - 1) / 2
    correlated = {"correlate": pairs * m}
    if exact:
        side = 4 * options["lowpass"]
        correlated = {"transform": 2 * pairs * side**3}
    rows = 12 * n * m / MB
    yield JobWork(
        "ccc_matrix",
        "",
        {"libraries": 1} | correlated,
        True,
        shared_mb=rows,
        rank_mb=PROCESS_MB + (4 * 8 * min(n, 1024) ** 2 + 24 * min(n, 1024) * m) / MB,
        disk_mb=16 * n * n / MB,  # tiles, then the whole
    )
    if options.get("ccc_csv"):
        csv = 25 * n * n / MB
        yield JobWork("ccc_csv", "", {"number": n * n}, rank_mb=60, disk_mb=csv)
    neig = NEIG if options["neig"] == "auto" else options["neig"]
    # Of some particles also what the spectrum is before pose errors are taken out.
    sample = min(n, 2000)
    spectrum = {"correlate": sample * (sample - 1) / 2 * m}
    yield JobWork(
        "eigen_projection",
        "",
        {"libraries": 1, "eigen": float(n) ** 2 * min(n, MOST_PRODUCTS)} | spectrum,
        # Of a large matrix some products are taken, without a copy.
        rank_mb=90 + rows + (24 if n <= DENSE else 9) * n * n / MB,
        disk_mb=8 * n * neig / MB,
    )
    each = n * options["nclass"] * neig * CLUSTER_ITERATIONS
    yield JobWork(
        "kmeans",
        "",
        {"libraries": 1, "cluster": options["restarts"] * each},
        rank_mb=100 + 16 * n * options["nclass"] * neig / MB,
        disk_mb=8 * n / MB,
    )


def _expectation(
    rule: str, name: str, options: Mapping[str, Any], n: int, m: float, iterations: int
) -> JobWork:
    """Return a job of EXMX of so many iterations, of all its starts together."""
    rows = 20 * n * m / MB
    return JobWork(
        rule,
        name,
        {"libraries": 1, "expect": iterations * n * m * (options["nclass"] + 4)},
        True,
        shared_mb=rows,
        rank_mb=PROCESS_MB + 40,
        disk_mb=iterations * n * 8 * options["nclass"] / MB,
    )


def _averages(
    rule: str, n: int, box: int, classes: int, order: int, parallel: bool = True
) -> JobWork:
    """Return the averaging of n particles, each in some ways, into some classes."""
    volumes = 8 * classes * box**3
    return JobWork(
        rule,
        "",
        {"libraries": 1, "row": 3 * n, "average_voxel": order * n * box**3},
        parallel,
        rank_mb=PROCESS_MB + 30 + (40 * box**3 + 8000 * n) / MB,
        disk_mb=(volumes + 2 * ROW_BYTES * n) / MB,
    )


def coefficients(high: float, low: float = 0.0) -> float:
    """Return about how many coefficients half a shell of Fourier space has."""
    return 2 / 3 * math.pi * (high**3 - low**3)
