"""How much work the steps for subtomograms are, in the units of `cryokin.estimate`.

The kinds of work of this family:

place
    one voxel of a particle interpolated into the common frame
pose
    one coefficient of a particle compared with the average of all
correlate
    one coefficient of a pair of particles
transform
    one point of a grid on which a pair of particles is correlated exactly
number
    one number of a matrix written as text
eigen
    one of the n^3 operations of an eigenvalue problem
cluster
    one component of a particle compared with one class, in one start
expect
    one coefficient of a particle compared with one class average
average_voxel
    one voxel of a particle added to an average
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from cryokin.estimate import MB, Case, JobWork
from cryokin.io.counts import Counts
from cryokin.pytom.schedule import schedule

PROCESS_MB = 90  # of a rank that has done nothing yet
CLUSTER_ITERATIONS = 100  # of a start of the clustering, about
STARTS = 10  # of a run among those that must agree, where the method has no option
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
    passes = 1 + steps + (exact and not compat)
    yield JobWork(
        "pytom_prepare",
        "",
        {"libraries": 1, "place": passes * n * size**3, "pose": (steps + 1) * n * m},
        True,
        shared_mb=rows,
        rank_mb=PROCESS_MB + 1.2 * rows,
        disk_mb=rows,
    )
    if method == "cpca" or (options.get("start_from") == "cpca" and not compat):
        yield from _components(options, n, m, exact)
    if options["reproducible"]:
        runs = options["reproducible"]["runs"]
        starts = max(options.get("starts", STARTS), 1)
        yield JobWork(
            "pytom_reproducible",
            "",
            {
                "libraries": 1,
                "expect": runs * starts * case.iterations * n * m * (nclass + 4) / 2,
            },
            True,
            shared_mb=rows,
            rank_mb=PROCESS_MB + 12 * n * m / MB,
            disk_mb=8 * n / MB,
        )
    if method == "mco_exmx":
        iterations = min(case.iterations, options["iterations"])
        starts = options["starts"] + 2  # the best once more, and that of CPCA
        yield _expectation("mco_exmx", "", options, n, m, starts * iterations)
    if method == "mco_ac":
        count = len(schedule(options["temperature"], options["temperature_step"]))
        iterations = min(case.iterations, options["local_iterations"]) + 1
        starts = options["starts"] + 1
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
    yield _averages("pytom_class_averages", n, box, nclass)
    if options["merge"]:
        yield _averages("hierarchical_merge", n, box, nclass)
    if options["select"]:
        part = max(1, n // nclass) * len(options["select"]["classes"])
        yield _averages("select_classes", part, box, 1, parallel=False)
    yield JobWork("pytom_report", "", {"report": 1}, rank_mb=200, disk_mb=3)


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
        {"libraries": 1, "number": n * n} | correlated,
        True,
        shared_mb=rows + 16 * n * n / MB,
        rank_mb=PROCESS_MB + 2 * rows + 16 * n * n / MB,
        disk_mb=33 * n * n / MB,
    )
    neig = options["neig"]
    yield JobWork(
        "eigen_projection",
        "",
        {"libraries": 1, "eigen": float(n) ** 3},
        rank_mb=60 + 24 * n * n / MB,
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
        rank_mb=PROCESS_MB + 12 * n * m / MB,
        disk_mb=(iterations if rule == "mco_exmx" else 4) * n * 100 / MB,
    )


def _averages(
    rule: str, n: int, box: int, classes: int, parallel: bool = True
) -> JobWork:
    """Return the averaging of n particles into some classes."""
    volumes = 8 * classes * box**3
    return JobWork(
        rule,
        "",
        {"libraries": 1, "row": 3 * n, "average_voxel": n * box**3},
        parallel,
        rank_mb=PROCESS_MB + 30 + (40 * box**3 + 8000 * n) / MB,
        disk_mb=(volumes + 2 * ROW_BYTES * n) / MB,
    )


def coefficients(high: float, low: float = 0.0) -> float:
    """Return about how many coefficients half a shell of Fourier space has."""
    return 2 / 3 * math.pi * (high**3 - low**3)
