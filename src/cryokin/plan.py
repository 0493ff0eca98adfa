"""The jobs that a run may have, in their order, and how much work each is.

The work is counted in the units of `cryokin.steps.SECONDS`; a number in front of one
tells how many units a thing was measured to take.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cryokin.config import working_box
from cryokin.files import read_json
from cryokin.image.filters import band_end
from cryokin.image.polar import Band, PolarBasis
from cryokin.image.resample import new_size
from cryokin.io.counts import Counts
from cryokin.isac.basis import polar_basis
from cryokin.isac.candidates import n_classes
from cryokin.isac.prealign import HIGHEST, PASSES, search_schedule
from cryokin.isac.sac import REFERENCES, cutoffs, number_listed
from cryokin.pytom.schedule import number_of_starts, schedule
from cryokin.steps import Case, Job
from cryokin.volume.symmetry import operations

MB = 1e6
PROCESS_MB = 70  # of a rank that has done nothing yet
PROCESS_3D_MB = 130
ROW_BYTES = 600  # of all tables and lists that a particle stands in
REPORT = {"start": 4.0}
MATCHING = {"start": 2.5}  # what a round takes besides what grows with the particles
LIBRARIES = {"start": 2.0}  # that volumes need
DENSE = 1000  # particles up to which all of an eigenvalue problem is solved
MOST_PRODUCTS = 500  # of a large matrix with a vector, about
NEIG = 4  # components that are used where the particles decide, about


class Told(NamedTuple):
    """What a finished round or generation tells: a number of particles, and the end.

    ``particles`` are left over by a round, accounted for by a generation.
    """

    particles: int
    stop: bool


#: What a run has told so far, by generation and round; a generation is round 0.
Known = Mapping[tuple[int, int], Told]


def read_known(results: str | os.PathLike[str]) -> Known:
    """Read what the rounds and generations of a run have told."""
    known = {}
    for folder in sorted(Path(results).glob("generation_*")):
        generation = int(folder.name[-4:])
        for path in folder.glob("round_*/state.json"):
            state = read_json(path)
            known[generation, int(state["round"])] = Told(state["left"], state["stop"])
        for path in folder.glob("generation_*_status.json"):
            status = read_json(path)
            known[generation, 0] = Told(status["accounted"], status["stop"])
    return known


def jobs_of(
    options: Mapping[str, Any],
    particles: Counts,
    case: Case,
    known: Known | None = None,
) -> Iterator[Job]:
    """Yield the jobs of a run in some case, in the order in which they come.

    Parameters
    ----------
    options : mapping
        Of the run, checked and complete.
    particles : Counts
    case : Case
    known : mapping, optional
        From `read_known`, in place of what is assumed.
    """
    if options["method"] == "isac":
        return _of_images(options, particles, case, known or {})
    return _of_volumes(options, particles, case)


# -------------------------------------------------------------------------- images


def _of_images(
    options: Mapping[str, Any], particles: Counts, case: Case, known: Known
) -> Iterator[Job]:
    n, box = particles
    yield from _preparation(options, n, box, case.passes)
    pool, size, classes = n, options["img_per_grp"], 0
    for generation in range(1, options["n_generations"] + 1):
        left = pool
        for number in range(1, options["max_round"] + 1):
            name = f"{generation:04d}_{number:04d}"
            yield _candidates_round(options, left, name)
            left = int(left * case.left)
            assumed = Told(left, not n_classes(left, size))
            left, last = known.get((generation, number), assumed)
            if last:
                break
        name = f"{generation:04d}_{generation}"
        accounted = int(pool * case.accounted)
        assumed = Told(accounted, not n_classes(pool - accounted, size))
        accounted, last = known.get((generation, 0), assumed)
        yield _class_averages("isac_candidates", name, options, pool - left)
        yield _reproducible(options, pool, left, case.matched, name)
        yield _class_averages("isac_account", name, options, accounted)
        classes += accounted // size
        pool -= accounted
        if last:
            break
    stack = 4 * working_box(options["target_nx"], options["xr"]) ** 2 * classes
    yield Job(
        "isac_class_averages",
        "",
        {"row": 2 * n},
        rank_mb=100 + (8000 * n + 4 * stack) / MB,
        disk_mb=(ROW_BYTES * n + 2 * stack) / MB,
    )
    yield Job("isac_report", "", REPORT, rank_mb=200, disk_mb=2)


def _preparation(
    options: Mapping[str, Any], n: int, box: int, passes: int
) -> Iterator[Job]:
    """Yield the jobs before the first generation."""
    pixels, radius = box**2, options["target_radius"]
    yield _import("isac_import", n, {})
    if options["CTF"]:
        yield Job(
            "isac_phase_flip",
            "",
            {"voxel": n * pixels},
            rank_mb=PROCESS_MB + 100 * n / MB,
            disk_mb=4 * n * pixels / MB,
        )
    whole = new_size(box, radius / options["radius"])
    basis = PolarBasis(max(whole // 2 - 1, 1), HIGHEST)
    matrix, row = _analysis(basis, whole)
    products, turned = 4.0 * matrix, 0.0
    # A radius that does not fit is the import's to refuse.
    entries = search_schedule(max(whole, 2 * radius + 2), radius)
    for extent, step in () if options["skip_prealignment"] else entries:
        tried = 2 * min(passes, PASSES)
        products += tried * (2 * (extent // step) + 1) ** 2 * comparison(basis.whole)
        turned += tried * coefficients(basis.whole)
    yield Job(
        "isac_prealign",
        "",
        {"product": n * products, "coefficient": n * turned},
        rank_mb=PROCESS_MB + 60 + 14 * matrix / MB,
        disk_mb=50 * n / MB,
        shared_mb=n * row / MB,
    )
    box = working_box(options["target_nx"], options["xr"])
    matrix, row = _analysis(polar_basis(options), box)
    size = n * (row + 4 * box**2) / MB
    yield Job(
        "isac_shrink",
        "",
        {"product": 4 * n * matrix},
        rank_mb=PROCESS_MB + 14 * matrix / MB,
        disk_mb=size,
        shared_mb=size / 4,  # pages that were just written
    )


def _candidates_round(options: Mapping[str, Any], n: int, name: str) -> Job:
    """Return one round of candidates among n particles."""
    classes = n_classes(n, options["img_per_grp"])
    work = added(
        MATCHING,
        sac(options, n, classes, options["init_iter"], False),
        sac(options, n, classes, options["match_first"] * options["main_iter"], True),
    )
    return _of_sac("isac_candidates_round", name, options, n, classes, work)


def _reproducible(
    options: Mapping[str, Any], n: int, left: int, matched: float, name: str
) -> Job:
    """Return phase two among n particles, of which phase one left some over."""
    size, iterations = options["img_per_grp"], options["match_second"]
    if options["match_by"] == "view":  # the second rarely brings more to agree on
        iterations = min(iterations, 2)
    classes = n_classes(n, size)
    work = added(
        MATCHING, sac(options, n, classes, iterations * options["main_iter"], True)
    )
    for iteration in range(iterations):
        spare = left if iteration == 0 else int(n * (1 - matched))
        if count := n_classes(spare, size):
            work = added(work, sac(options, spare, count, options["init_iter"], False))
    return _of_sac("isac_reproducible", name, options, n, classes, work)


def _of_sac(
    rule: str,
    name: str,
    options: Mapping[str, Any],
    n: int,
    classes: int,
    work: dict[str, float],
) -> Job:
    """Return a job of SAC over n particles."""
    basis, runs = polar_basis(options), options["indep_run"]
    row = 8 * len(basis.directions) * len(basis.radii)
    band = basis.band(options["FH"])
    operand = 16 * coefficients(band) * _shifts(options) * min(classes, REFERENCES)
    each = 12 * runs * classes * coefficients(basis.whole) + 2.5 * operand
    return Job(
        rule,
        name,
        work,
        rank_mb=PROCESS_MB + (each + 200 * runs * n) / MB,
        disk_mb=80 * n / MB,
        shared_mb=n * (row + 4 * runs * classes) / MB,
    )


def sac(
    options: Mapping[str, Any], n: int, classes: int, passes: int, tested: bool
) -> dict[str, float]:
    """Return the work of all independent runs of SAC over n images.

    ``product`` is work on images, ``coefficient`` on classes.
    """
    basis, shifts = polar_basis(options), _shifts(options)
    few = number_listed(classes)
    tried = shifts if few == classes else 1 + shifts * few / classes
    products, turned = 0.0, float(coefficients(basis.whole))
    for cutoff in cutoffs(options["FL"], options["FH"]):
        band = basis.band(band_end(cutoff, options["FF"]))
        products += (classes * tried + shifts) * comparison(band)
        turned += 3 * coefficients(band)
    # The alignment within a group: its low-pass rises, a search of shifts closes every
    # third of its passes, which are a third of maxit.
    repeats = options["stab_ali"] if tested else 1
    aligned = options["maxit"] / 9 * (4 + shifts / 3) * coefficients(basis.whole)
    turned += 0.14 * repeats * aligned
    runs = options["indep_run"] * passes * n
    return {"product": runs * products, "coefficient": runs * turned}


def _class_averages(
    rule: str, name: str, options: Mapping[str, Any], members: int
) -> Job:
    """Return the averaging of classes with some members in all."""
    pixels = working_box(options["target_nx"], options["xr"]) ** 2
    averages = 4 * pixels * members / options["img_per_grp"]
    return Job(
        rule,
        name,
        {"voxel": 0.6 * members * pixels},
        rank_mb=PROCESS_MB + (members * pixels / 2 + averages) / MB,
        disk_mb=(averages + 70 * members) / MB,
    )


def _shifts(options: Mapping[str, Any]) -> int:
    """Return at how many shifts an image is compared."""
    x, y = (int(options[key] / options["ts"]) for key in ("xr", "yr"))
    return (2 * x + 1) * (2 * y + 1)


def comparison(band: Band) -> float:
    """Return the operations of one image with one reference at one shift.

    Products with the image, four real ones a coefficient, then the transform to half
    of the angles for the even and the odd orders of both hands.
    """
    orders = 2 * band.orders
    return 16.0 * band.radii * orders + 4.0 * orders * orders


def coefficients(band: Band) -> float:
    """Return the real numbers of a spectrum."""
    return 4.0 * band.orders * band.radii


def _analysis(basis: PolarBasis, box: int) -> tuple[float, int]:
    """Return the entries of the matrix from pixels to the grid, and a row's bytes."""
    grid = len(basis.directions) * len(basis.radii)
    return 2.0 * grid * float(basis.mask(box).sum()), 8 * grid


def added(*works: Mapping[str, float]) -> dict[str, float]:
    """Return several works together."""
    kinds = {kind: None for work in works for kind in work}  # in their order
    return {kind: sum(work.get(kind, 0.0) for work in works) for kind in kinds}


def _import(rule: str, n: int, libraries: Mapping[str, float]) -> Job:
    """Return the reading of a table of n particles."""
    each = 100 + n * 6000 / MB
    return Job(rule, "", {**libraries, "row": n}, each, n * ROW_BYTES / MB)


# --------------------------------------------------------------------- subtomograms


def _of_volumes(
    options: Mapping[str, Any], particles: Counts, case: Case
) -> Iterator[Job]:
    n, box = particles
    method, compat = options["method"], options["compat"] == "pytom"
    voxels = (box // options["binning"]) ** 3
    # About as many coefficients has half a shell of Fourier space.
    m = 2 / 3 * math.pi * (options["lowpass"] ** 3 - options["highpass"] ** 3)
    nclass = options["nclass"]
    rows = 20 * n * m / MB  # coefficients, residuals and weights of all particles
    exact = compat or options.get("exact", False)
    order = len(operations(options["symmetry"]))

    def expectation(rule: str, name: str, iterations: int) -> Job:
        """Return so many iterations of all starts together."""
        compared = iterations * n * m * (nclass + 4)
        return Job(
            rule,
            name,
            LIBRARIES | {"coefficient": compared / 4},
            rank_mb=PROCESS_3D_MB,
            disk_mb=8 * iterations * n * nclass / MB,
            shared_mb=rows,
        )

    def averages(rule: str, members: int, classes: int) -> Job:
        """Return the averaging of members, at the places that symmetry gives each."""
        return Job(
            rule,
            "",
            LIBRARIES | {"row": 3 * members, "voxel": 1.7 * order * members * box**3},
            rank_mb=PROCESS_3D_MB - 30 + (40 * box**3 + 8000 * members) / MB,
            disk_mb=(8 * classes * box**3 + 2 * ROW_BYTES * members) / MB,
        )

    yield _import("pytom_import", n, LIBRARIES)
    passes = 1 if compat else 1 + options["pose_refinement"] + order * (exact or 0)
    passes += order if order > 1 and not compat else 0
    yield Job(
        "pytom_prepare",
        "",
        LIBRARIES | {"voxel": passes * n * voxels},
        rank_mb=PROCESS_3D_MB,
        disk_mb=rows,
        shared_mb=rows,
    )
    if method == "cpca" or (options.get("start_from") == "cpca" and not compat):
        yield from _components(options, n, m, exact)
    if options["reproducible"]:
        iterations = options["reproducible"]["runs"] * case.iterations
        yield expectation("pytom_reproducible", "", iterations // 2)
    if method == "mco_exmx":
        iterations = min(case.iterations, options["iterations"])
        starts, per_job = number_of_starts(options), options["starts_per_job"]
        for first in range(0, 0 if compat else starts, per_job):
            some = min(per_job, starts - first)
            name = f"{first // per_job:04d}"
            yield expectation("mco_exmx_starts", name, some * iterations)
        yield expectation("mco_exmx", "", iterations if compat else 1)
    if method == "mco_ac":
        rounds = len(schedule(options["temperature"], options["temperature_step"]))
        iterations = min(case.iterations, options["local_iterations"]) + 1
        for number in range(rounds):
            every = number_of_starts(options) * iterations
            yield expectation("mco_ac_round", f"{number:04d}", every)
        yield Job(
            "mco_ac",
            "",
            LIBRARIES | {"row": 4 * n * rounds},
            rank_mb=100 + 8000 * n / MB,
            disk_mb=2 * rounds * n * ROW_BYTES / MB,
        )
    yield averages("pytom_class_averages", n, nclass)
    if options["merge"]:
        yield averages("hierarchical_merge", n, nclass)
    if options["select"]:
        wanted = options["select"].get("classes") or range(nclass)  # limits: all pass
        yield averages("select_classes", max(1, n // nclass) * len(wanted), 1)
    yield Job("pytom_report", "", REPORT, rank_mb=200, disk_mb=3)


def _components(
    options: Mapping[str, Any], n: int, m: float, exact: bool
) -> Iterator[Job]:
    """Yield the jobs of CPCA: all pairs, components, classes."""
    pairs, rows, nclass = n * (n - 1) / 2, 12 * n * m / MB, options["nclass"]
    correlated = {"product": 6 * pairs * m}
    if exact:
        correlated = {"coefficient": 1.2 * pairs * (4 * options["lowpass"]) ** 3}
    tile = min(n, 1024)
    yield Job(
        "ccc_matrix",
        "",
        LIBRARIES | correlated,
        rank_mb=PROCESS_3D_MB + (32 * tile**2 + 24 * tile * m) / MB,
        disk_mb=16 * n * n / MB,  # tiles, then the whole
        shared_mb=rows,
    )
    if options.get("ccc_csv"):
        yield Job("ccc_csv", "", {"voxel": 2.8 * n * n}, 60, 25 * n * n / MB)
    neig = NEIG if options["neig"] == "auto" else options["neig"]
    # Of some particles also what the spectrum is before pose errors are taken out.
    sample = 3.0 * min(n, 2000) ** 2 * m
    yield Job(
        "eigen_projection",
        "",
        {"start": 3.5, "product": 2.0 * n * n * min(n, MOST_PRODUCTS) + sample},
        # Of a large matrix some products are taken, without a copy.
        rank_mb=90 + rows + (24 if n <= DENSE else 9) * n * n / MB,
        disk_mb=8 * n * neig / MB,
    )
    yield Job("kmeans", "", LIBRARIES, 100 + 16 * n * nclass * neig / MB, 8 * n / MB)
