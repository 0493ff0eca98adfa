"""The jobs that a run may have, in their order, and how much work each is.

The work is counted in the units of `cryokin.steps.SECONDS`; a number in front of one
tells how many units a thing was measured to take. Sizes are in bytes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from cryokin.config import working_box
from cryokin.files import read_json
from cryokin.image.filters import band_end
from cryokin.image.polar import Band, PolarBasis
from cryokin.image.resample import new_size
from cryokin.io.counts import Counts
from cryokin.isac.alignment import DEVICE_COLUMNS
from cryokin.isac.basis import polar_basis
from cryokin.isac.candidates import LEAST_ACCOUNTED, n_classes
from cryokin.isac.prealign import HIGHEST, PASSES, search_schedule
from cryokin.isac.sac import REFERENCES, cutoffs, number_listed
from cryokin.options import Cpca, Isac, Mco, McoAc, McoExmx, Options, SubtomogramOptions
from cryokin.steps import Case, Job
from cryokin.subtomo.schedule import number_of_starts, schedule
from cryokin.volume.symmetry import operations

MB = 1e6
IDLE, IDLE_3D = 70 * MB, 130 * MB  # memory of a rank that has done nothing yet
ROW = 600  # bytes of all tables and lists that a particle stands in
COLUMN = 3000  # bytes of a device for an image at a shift of a reference
DESCRIBING = 100  # rows that it takes as long as, of an average
LIBRARIES = 2.0  # starts, for jobs on volumes
REPORT = 4.0  # starts that it takes as long as
MATCHING = 2.5  # starts that it takes as long as, where a round does little else
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
    for path in sorted(Path(results).glob("generation_*/round_*/state.json")):
        told, generation = read_json(path), int(path.parts[-3][-4:])
        known[generation, int(told["round"])] = Told(told["left"], told["stop"])
    for path in sorted(Path(results).glob("generation_*/generation_*_status.json")):
        told, generation = read_json(path), int(path.parts[-2][-4:])
        known[generation, 0] = Told(told["accounted"], told["stop"])
    return known


def jobs_of(
    options: Options,
    particles: Counts,
    case: Case,
    known: Known | None = None,
) -> Iterator[Job]:
    """Yield the jobs of a run in some case, in the order in which they come.

    Parameters
    ----------
    options : Options
        Of the run.
    particles : Counts
    case : Case
    known : mapping, optional
        From `read_known`, in place of what is assumed.
    """
    if isinstance(options, Isac):
        return _of_images(options, particles, case, known or {})
    if isinstance(options, SubtomogramOptions):
        return _of_volumes(options, particles, case)
    raise TypeError(f"no jobs are known of {type(options).__name__}")


def _job(
    rule: str,
    name: str = "",
    /,
    *,
    each: float,
    disk: float,
    shared: float = 0.0,
    device: float = 0.0,
    **work: float,
) -> Job:
    """Return a job, with bytes of each rank, outputs, all ranks, and each device."""
    return Job(rule, name, work, each / MB, disk / MB, shared / MB, device / MB)


# -------------------------------------------------------------------------- images


def _of_images(
    options: Isac, particles: Counts, case: Case, known: Known
) -> Iterator[Job]:
    n, box = particles
    yield from _preparation(options, n, box, case.passes)
    pool, size, classes = n, options.img_per_grp, 0
    for generation in range(1, options.n_generations + 1):
        left = pool
        for number in range(1, options.max_round + 1):
            yield from _round(options, left, f"{generation:04d}_{number:04d}")
            left = int(left * case.left)
            assumed = Told(left, not n_classes(left, size))
            left, last = known.get((generation, number), assumed)
            if last:
                break
        name = f"{generation:04d}_{generation}"
        share = case.accounted if generation == 1 else case.later
        accounted = int(pool * share)
        enough = n_classes(pool - accounted, size) > 0
        assumed = Told(accounted, share < LEAST_ACCOUNTED or not enough)
        accounted, last = known.get((generation, 0), assumed)
        held, lists = pool - left, 15 * pool
        disk, pixels = _stack(options, held) + 70 * held, _pixels(options, held)
        about = {"each": IDLE, "shared": pixels / 2, "disk": disk}
        yield _job("isac_candidates", name, **about, voxel=0.6 * pixels)
        yield _reproducible(options, pool, left, case.matched, accounted, name)
        yield _job("isac_account", name, each=IDLE + 20 * lists, disk=lists)
        classes += accounted // size
        pool -= accounted
        if last:
            break
    stack = _stack(options, classes * size)
    each = 100 * MB + 2000 * n + 2 * stack
    rows = 0.9 * n + DESCRIBING * classes
    yield _job("isac_class_averages", each=each, disk=ROW * n + 2 * stack, row=rows)
    yield _job("isac_report", each=200 * MB, disk=2 * MB, start=REPORT)


def _preparation(options: Isac, n: int, box: int, passes: int) -> Iterator[Job]:
    """Yield the jobs before the first generation."""
    pixels, radius = box**2, options.target_radius
    if options.slab:
        each, disk = IDLE + 4 * n * pixels, 4 * n * pixels + 2 * ROW * n
        yield _job("slabs", each=each, disk=disk, row=3 * n)
    each, disk = 100 * MB + 2000 * n, ROW * n
    yield _job("isac_import", each=each, disk=disk, row=0.9 * n)
    if options.CTF:
        each, disk = IDLE + 100 * n, 4 * n * pixels
        yield _job("isac_phase_flip", each=each, disk=disk, voxel=n * pixels)
    whole = new_size(box, radius / options.radius)
    basis = PolarBasis(max(whole // 2 - 1, 1), HIGHEST)
    matrix, row = _analysis(basis, whole)
    products, turned = 4.0 * matrix, 0.0
    # A radius that does not fit is the import's to refuse.
    entries = search_schedule(max(whole, 2 * radius + 2), radius)
    for extent, step in () if options.skip_prealignment else entries:
        tried = 2 * min(passes, PASSES)
        products += tried * (2 * (extent // step) + 1) ** 2 * comparison(basis.whole)
        turned += tried * coefficients(basis.whole)
    each, work = IDLE + 60 * MB + 14 * matrix, {"product": n * products}
    work["coefficient"] = n * turned
    yield _job("isac_prealign", each=each, disk=50 * n, shared=n * row, **work)
    box = working_box(options.target_nx, options.xr)
    matrix, row = _analysis(polar_basis(options), box)
    size, each = n * (row + 4 * box**2), IDLE + 14 * matrix
    # Pages that were just written are in memory.
    products = 4 * n * matrix
    yield _job("isac_shrink", each=each, disk=size, shared=size / 4, product=products)


def _round(options: Isac, n: int, name: str) -> Iterator[Job]:
    """Yield the jobs of one round of candidates among n particles."""
    classes, passes = n_classes(n, options.img_per_grp), options.main_iter
    first = sac(options, n, classes, options.init_iter, False)
    then = sac(options, n, classes, passes, True)
    yield _of_sac("isac_clusters", name, options, n, [first, then])
    again = sac(options, n, classes, (options.match_first - 1) * passes, True)
    yield _of_sac("isac_candidates_round", name, options, n, [again])


def _reproducible(
    options: Isac, n: int, left: int, matched: float, accounted: int, name: str
) -> Job:
    """Return phase two among n particles, of which phase one left some over."""
    size, iterations = options.img_per_grp, options.match_second
    if options.match_by == "view":  # the second rarely brings more to agree on
        iterations = min(iterations, 2)
    passes = iterations * options.main_iter
    works = [sac(options, n, n_classes(n, size), passes, True)]
    for spare in [left, *[int(n * (1 - matched))] * (iterations - 1)]:
        if count := n_classes(spare, size):
            works.append(sac(options, spare, count, options.init_iter, False))
    return _of_sac("isac_reproducible", name, options, n, works, accounted)


def _of_sac(
    rule: str,
    name: str,
    options: Isac,
    n: int,
    works: list[dict[str, float]],
    averaged: int = 0,
) -> Job:
    """Return a job of SAC over n particles that averages some in the end."""
    basis, runs = polar_basis(options), options.indep_run
    pixels = _pixels(options, averaged)
    classes = n_classes(n, options.img_per_grp)
    row = 8 * len(basis.directions) * len(basis.radii)
    band = basis.band(options.FH)
    operand = 16 * coefficients(band) * _shifts(options) * min(classes, REFERENCES)
    # Those that runs start from, are at, and become.
    references = 12 * runs * classes * coefficients(basis.whole)
    # Averages at all shifts make room for whom the classes of a run take and refuse.
    largest = max(1.3 * operand + 10 * MB, 190 * n)
    spectra = 4 * coefficients(band)  # of an image
    return _job(
        rule,
        name,
        each=IDLE + references + 110 * runs * n + largest,
        disk=80 * n + _stack(options, averaged),
        # A score of one run is 4 bytes, and whether it is wanted one.
        shared=n * (row + spectra + 5 * classes) + pixels / 2,
        device=operand + COLUMN * DEVICE_COLUMNS,
        start=MATCHING,
        voxel=0.6 * pixels,
        **{kind: sum(work[kind] for work in works) for kind in works[0]},
    )


def sac(
    options: Isac, n: int, classes: int, passes: int, tested: bool
) -> dict[str, float]:
    """Return the work of all independent runs of SAC over n images.

    ``product`` is work on images, ``coefficient`` on classes.
    """
    basis, shifts = polar_basis(options), _shifts(options)
    few = number_listed(classes)
    tried = shifts if few == classes else 1 + shifts * few / classes
    products, turned = 0.0, coefficients(basis.whole)
    for cutoff in cutoffs(options.FL, options.FH):
        band = basis.band(band_end(cutoff, options.FF))
        products += (classes * tried + shifts) * comparison(band)
        turned += 3 * coefficients(band)
    # The alignment within a group: its low-pass rises, a search of shifts closes every
    # third of its passes, which are a third of maxit.
    aligned = options.maxit / 9 * (4 + shifts / 3) * coefficients(basis.whole)
    turned += 0.14 * (options.stab_ali if tested else 1) * aligned
    images = options.indep_run * passes * n
    return {"product": images * products, "coefficient": images * turned}


def _pixels(options: Isac, n: int) -> float:
    """Return the pixels of n working images."""
    return float(n * working_box(options.target_nx, options.xr) ** 2)


def _stack(options: Isac, members: int) -> float:
    """Return the bytes of the averages of classes with some members in all."""
    return 4 * _pixels(options, members) / options.img_per_grp


def _shifts(options: Isac) -> int:
    """Return at how many shifts an image is compared."""
    x, y = (int(reach / options.ts) for reach in (options.xr, options.yr))
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


# --------------------------------------------------------------------- subtomograms


def _of_volumes(
    options: SubtomogramOptions, particles: Counts, case: Case
) -> Iterator[Job]:
    n, box = particles
    compat = options.compat == "pytom"
    voxels, nclass = (box // options.binning) ** 3, options.nclass
    # About as many coefficients has half a shell of Fourier space.
    m = 2 / 3 * math.pi * (options.lowpass**3 - options.highpass**3)
    rows = 20 * n * m  # coefficients, residuals and weights of all particles
    exact = compat or (isinstance(options, Cpca) and options.exact)
    order = len(operations(options.symmetry))

    def expectation(rule: str, name: str, iterations: int) -> Job:
        """Return so many iterations of all starts together."""
        about = {"each": IDLE_3D, "disk": 8 * iterations * n * nclass, "shared": rows}
        # What all classes share takes longer than the products with each of them.
        compared = iterations * n * m * (3 + nclass / 12)
        return _job(rule, name, **about, start=LIBRARIES, coefficient=compared)

    def averages(rule: str, members: int, classes: int) -> Job:
        """Return the averaging of members, at the places that symmetry gives each."""
        each = 100 * MB + 40 * box**3 + 8000 * members
        disk = 8 * classes * box**3 + 2 * ROW * members
        work = {"row": 3 * members, "voxel": 1.7 * order * members * box**3}
        return _job(rule, each=each, disk=disk, start=LIBRARIES, **work)

    each = 100 * MB + 6000 * n
    yield _job("pytom_import", each=each, disk=ROW * n, start=LIBRARIES, row=n)
    passes = 1 if compat else 1 + options.pose_refinement + order * (exact or 0)
    passes += order if order > 1 and not compat else 0
    about = {"each": IDLE_3D, "disk": rows, "shared": rows, "start": LIBRARIES}
    yield _job("pytom_prepare", **about, voxel=passes * n * voxels)
    if isinstance(options, Cpca) or (
        isinstance(options, Mco) and options.start_from == "cpca" and not compat
    ):
        yield from _components(options, n, m, exact)
    if options.reproducible:
        iterations = options.reproducible["runs"] * case.iterations
        yield expectation("pytom_reproducible", "", iterations // 2)
    if isinstance(options, McoExmx):
        iterations = min(case.iterations, options.iterations)
        starts, per_job = number_of_starts(options), options.starts_per_job
        for first in range(0, 0 if compat else starts, per_job):
            every = min(per_job, starts - first) * iterations
            yield expectation("mco_exmx_starts", f"{first // per_job:04d}", every)
        yield expectation("mco_exmx", "", iterations)
    if isinstance(options, McoAc):
        rounds = len(schedule(options.temperature, options.temperature_step))
        iterations = min(case.iterations, options.local_iterations) + 1
        for number in range(rounds):
            every = number_of_starts(options) * iterations
            yield expectation("mco_ac_round", f"{number:04d}", every)
        about = {"each": 100 * MB + 8000 * n, "disk": 2 * rounds * n * ROW}
        yield _job("mco_ac", **about, start=LIBRARIES, row=4 * n * rounds)
    yield averages("pytom_class_averages", n, nclass)
    yield expectation("pytom_differences", "", 2 * case.iterations)  # 4 halves
    if options.merge:
        yield averages("hierarchical_merge", n, nclass)
    if options.select:
        wanted = options.select.get("classes") or range(nclass)  # limits: all pass
        yield averages("select_classes", max(1, n // nclass) * len(wanted), 1)
    yield _job("pytom_report", each=200 * MB, disk=3 * MB, start=REPORT)


def _components(
    options: SubtomogramOptions, n: int, m: float, exact: bool
) -> Iterator[Job]:
    """Yield the jobs of CPCA: all pairs, components, classes."""
    pairs, rows, tile = n * (n - 1) / 2, 12 * n * m, min(n, 1024)
    work = {"product": 6 * pairs * m}
    if exact:
        work = {"coefficient": 1.2 * pairs * (4 * options.lowpass) ** 3}
    each, disk = IDLE_3D + 32 * tile**2 + 24 * tile * m, 16 * n * n  # tiles, the whole
    about = {"each": each, "disk": disk, "shared": rows, "start": LIBRARIES}
    yield _job("ccc_matrix", **about, **work)
    if isinstance(options, Cpca) and options.ccc_csv:
        yield _job("ccc_csv", each=60 * MB, disk=25 * n * n, voxel=2.8 * n * n)
    neig = NEIG if options.neig == "auto" else options.neig
    # Of some particles also what the spectrum is before pose errors are taken out.
    products = 2.0 * n * n * min(n, MOST_PRODUCTS) + 3.0 * min(n, 2000) ** 2 * m
    # Of a large matrix some products are taken, without a copy.
    each = 90 * MB + rows + (24 if n <= DENSE else 9) * n * n
    yield _job(
        "eigen_projection", each=each, disk=8 * n * neig, start=3.5, product=products
    )
    each = 100 * MB + 16 * n * options.nclass * neig
    yield _job("kmeans", each=each, disk=8 * n, start=LIBRARIES)
