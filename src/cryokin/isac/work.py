"""How much work the steps of ISAC are, in the units of `cryokin.estimate`.

The kinds of work of this family:

compare
    one floating-point operation of comparing images with references
align
    one coefficient of an image brought to its centre and added to an average
refine
    one coefficient of an image in one pass of the alignment within a group
read, flip, shrink, average
    one pixel read and checked, phase-flipped, shrunken, moved into a class average
analyse
    one operation of the transform from pixels to coefficients
row
    one row of a table read or written
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cryokin.config import working_box
from cryokin.costs import MB, Case, JobWork, Work
from cryokin.files import read_json
from cryokin.image.filters import band_end
from cryokin.image.polar import Band, PolarBasis
from cryokin.image.resample import new_size
from cryokin.io.counts import Counts
from cryokin.isac.basis import polar_basis
from cryokin.isac.candidates import n_classes
from cryokin.isac.options import isac_options
from cryokin.isac.prealign import HIGHEST, PASSES, search_schedule
from cryokin.isac.sac import CUTOFF_STEP, REFERENCES, number_listed

ROW_BYTES = 500  # of all tables and lists that a particle stands in


class Told(NamedTuple):
    """What a finished round or generation tells: a number of particles, and the end.

    ``particles`` are left over by a round, accounted for by a generation.
    """

    particles: int
    stop: bool


class Known(NamedTuple):
    """What a run has told so far, in place of what is assumed.

    Attributes
    ----------
    rounds : dict
        By generation and round.
    generations : dict
        By generation.
    """

    rounds: dict[tuple[int, int], Told]
    generations: dict[int, Told]


def read_known(results: str | os.PathLike[str]) -> Known:
    """Read what the rounds and generations of a run have told."""
    known = Known({}, {})
    for folder in sorted(Path(results).glob("generation_*")):
        generation = int(folder.name[-4:])
        for path in folder.glob("round_*/state.json"):
            state = read_json(path)
            told = Told(state["left"], state["stop"])
            known.rounds[generation, state["round"]] = told
        for path in folder.glob("generation_*_status.json"):
            status = read_json(path)
            told = Told(status["accounted"], status["stop"])
            known.generations[generation] = told
    return known


def jobs_of(
    options: Mapping[str, Any],
    particles: Counts,
    case: Case,
    known: Known | None = None,
) -> Iterator[JobWork]:
    """Yield the jobs of a run of ISAC, in the order in which they come."""
    n, box = particles
    model = Model(options, box)
    rounds, generations = known or Known({}, {})
    yield from model.preparation(n, case.prealign_passes)
    pool, size, classes = n, options["img_per_grp"], 0
    for generation in range(1, options["n_generations"] + 1):
        left = pool
        for number in range(1, options["max_round"] + 1):
            yield model.candidates_round(left, f"{generation:04d}_{number:04d}")
            left = int(left * case.left)
            left, last = rounds.get(
                (generation, number), Told(left, not n_classes(left, size))
            )
            if last:
                break
        name = f"{generation:04d}_{generation}"
        accounted = int(pool * case.accounted)
        accounted, last = generations.get(
            generation, Told(accounted, not n_classes(pool - accounted, size))
        )
        yield model.averages("isac_candidates", name, pool - left)
        yield model.reproducible(pool, left, case.matched, name)
        yield model.averages("isac_account", name, accounted)
        classes += accounted // size
        pool -= accounted
        if last:
            break
    yield model.tables(n, classes)
    yield JobWork("isac_report", "", {"report": 1}, rank_mb=200, disk_mb=2)


def marker(rule: str, name: str) -> str:
    """Return a file that is there when a job is done, in the folder of the run."""
    if rule in MARKERS:
        return MARKERS[rule]
    folder, number = name.split("_")
    path = f"generation_{folder}/"
    if rule == "isac_candidates_round":
        return f"{path}round_{number}/state.json"
    return path + {
        "isac_candidates": f"candidates_generation_{number}.npz",
        "isac_reproducible": f"classes_generation_{number}.npz",
        "isac_account": f"generation_{number}_status.json",
    }.get(rule, "")


MARKERS = {
    "isac_import": "import/import.json",
    "isac_phase_flip": "phase_flipped.mrcs",
    "isac_prealign": "2dalignment/initial2Dparams.txt",
    "isac_shrink": "working_stack.json",
    "isac_class_averages": "classes.csv",
    "isac_report": "report/index.html",
}


class Model:
    """What the steps of one run take.

    Parameters
    ----------
    options : mapping
        Options of the run, checked and complete.
    box : int
        Of the particle images [pixel].
    """

    def __init__(self, options: Mapping[str, Any], box: int) -> None:
        self.options, self.box = options, box
        self.working_box = working_box(options["target_nx"], options["xr"])
        self.basis = polar_basis(options)
        self.isac = isac_options(options, self.working_box)
        refinement = self.isac.sac.refinement
        steps = [int(r / refinement.ts) for r in (refinement.xr, refinement.yr)]
        self.shifts = (2 * steps[0] + 1) * (2 * steps[1] + 1)
        self.cutoffs = cutoffs(options["FL"], refinement.FH)
        self.whole = new_size(box, options["target_radius"] / options["radius"])
        # A radius that does not fit is the import's to refuse.
        radius = options["target_radius"]
        self.schedule = search_schedule(max(self.whole, 2 * radius + 2), radius)

    # --------------------------------------------------------------- parts of a job
    def _band(self, cutoff: float) -> Band:
        return self.basis.band(band_end(cutoff, self.options["FF"]))

    def tried(self, classes: int) -> float:
        """Return the shifts that an image is compared at with a class, on average."""
        few = number_listed(classes)
        if few == classes:
            return float(self.shifts)
        return 1 + self.shifts * few / classes

    def sac(self, n: int, classes: int, passes: int, tested: bool) -> Work:
        """Return the work of one run of SAC over n images."""
        refinement = self.isac.sac.refinement
        compare = align = 0.0
        for cutoff in self.cutoffs:
            band = self._band(cutoff)
            compare += n * classes * self.tried(classes) * comparison(band)
            compare += n * self.shifts * comparison(band)
            align += 3 * n * coefficients(band)
        repeats = self.isac.sac.stab_ali if tested else 1
        per_image = 0.0
        for stage in refinement.stages():
            band = self._band(refinement.cutoff(stage[-1]))
            per_image += (len(stage) + 1 + self.shifts / 3) * coefficients(band)
        return {
            "compare": passes * compare,
            "align": passes * (align + n * coefficients(self.basis.whole)),
            "refine": passes * n * repeats * per_image,
        }

    def _memory(self, n: int, classes: int) -> tuple[float, float]:
        """Return the memory of a job of SAC: shared, and of each rank [MB]."""
        runs = self.isac.indep_run
        row = 8 * len(self.basis.directions) * len(self.basis.radii)
        whole = 4 * coefficients(self.basis.whole)  # of one reference
        band = self._band(self.isac.sac.refinement.FH)
        at_once = min(classes, REFERENCES)
        operand = 16 * coefficients(band) * self.shifts * at_once
        shared = n * row + 4 * runs * n * classes
        each = 3 * runs * classes * whole + 2.5 * operand + 200 * runs * n
        return shared / MB, PROCESS_MB + each / MB

    # ------------------------------------------------------------------------ jobs
    def preparation(self, n: int, passes: int) -> Iterator[JobWork]:
        """Yield the jobs before the first generation."""
        options, pixels = self.options, self.box**2
        size = 4 * pixels * n / MB
        yield JobWork(
            "isac_import",
            "",
            {"tables": 1, "row": n, "read": n * pixels},
            rank_mb=100 + n * 6000 / MB,
            disk_mb=n * ROW_BYTES / MB,
        )
        if options["CTF"]:
            yield JobWork(
                "isac_phase_flip",
                "",
                {"flip": n * pixels},
                True,
                rank_mb=PROCESS_MB + n * 100 / MB,
                disk_mb=size,
            )
        yield self.prealign(n, passes)
        working = self.working_box**2
        row = 8 * len(self.basis.directions) * len(self.basis.radii)
        matrix = analysis_size(self.basis, self.working_box)
        yield JobWork(
            "isac_shrink",
            "",
            {"shrink": n * pixels, "analyse": 2 * n * matrix},
            True,
            shared_mb=n * (row + 4 * working) / MB / 4,  # pages that were just written
            rank_mb=PROCESS_MB + 14 * matrix / MB,
            disk_mb=n * (row + 4 * working) / MB,
        )

    def prealign(self, n: int, passes: int) -> JobWork:
        """Return the prealignment, of some passes of each entry of the schedule."""
        options, whole = self.options, self.whole
        basis = PolarBasis(max(whole // 2 - 1, 1), HIGHEST)
        matrix = analysis_size(basis, whole)
        work: Work = {"shrink": n * self.box**2, "analyse": 2.0 * n * matrix}
        searched = 0.0
        align = 0.0
        schedule = () if options["skip_prealignment"] else self.schedule
        for extent, step in schedule:
            shifts = (2 * (extent // step) + 1) ** 2
            searched += min(passes, PASSES) * 2 * shifts * comparison(basis.whole)
            align += 2 * min(passes, PASSES) * coefficients(basis.whole)
        row = 8 * len(basis.directions) * len(basis.radii)
        return JobWork(
            "isac_prealign",
            "",
            work | {"compare": n * searched, "align": n * align},
            True,
            shared_mb=n * row / MB,
            rank_mb=PROCESS_MB + 14 * matrix / MB + 60,
            disk_mb=50 * n / MB,
        )

    def candidates_round(self, n: int, name: str) -> JobWork:
        """Return one round of candidates among n particles."""
        classes = n_classes(n, self.isac.img_per_grp)
        first = self.sac(n, classes, self.isac.init_iter, False)
        main = self.sac(n, classes, self.isac.main_iter, True)
        runs = self.isac.indep_run
        work = added(scaled(first, runs), scaled(main, runs * self.isac.match_first))
        shared, each = self._memory(n, classes)
        return JobWork(
            "isac_candidates_round",
            name,
            work | {"match": 1},
            True,
            shared,
            each,
            disk_mb=100 * n / MB,
        )

    def reproducible(self, n: int, left: int, matched: float, name: str) -> JobWork:
        """Return phase two among n particles, of which phase one left some over."""
        isac = self.isac
        classes = n_classes(n, isac.img_per_grp)
        main = self.sac(n, classes, isac.main_iter, True)
        iterations = isac.match_second
        if isac.match_by == "view":  # the second rarely brings more to agree on
            iterations = min(iterations, 2)
        work = scaled(main, isac.indep_run * iterations)
        for iteration in range(iterations):
            spare = left if iteration == 0 else int(n * (1 - matched))
            count = n_classes(spare, isac.img_per_grp)
            if count:
                again = self.sac(spare, count, isac.init_iter, False)
                work = added(work, scaled(again, isac.indep_run))
        shared, each = self._memory(n, classes)
        return JobWork(
            "isac_reproducible",
            name,
            work | {"match": 1},
            True,
            shared,
            each,
            disk_mb=60 * n / MB,
        )

    def averages(self, rule: str, name: str, members: int) -> JobWork:
        """Return the averaging of classes with some members in all."""
        pixels = self.working_box**2
        averages = 4 * pixels * members / self.isac.img_per_grp
        return JobWork(
            rule,
            name,
            {"averages": 1, "average": members * pixels},
            rank_mb=PROCESS_MB + (members * 4 * pixels / 8 + averages) / MB,
            disk_mb=(averages + 70 * members) / MB,
        )

    def tables(self, n: int, classes: int) -> JobWork:
        """Return the tables and stacks of the whole run."""
        averages = 4 * self.working_box**2 * classes
        return JobWork(
            "isac_class_averages",
            "",
            {"tables": 1, "row": 2 * n},
            rank_mb=100 + (n * 8000 + 4 * averages) / MB,
            disk_mb=(n * ROW_BYTES + 2 * averages) / MB,
        )


PROCESS_MB = 70  # of a rank that has done nothing yet


def cutoffs(lowest: float, highest: float) -> list[float]:
    """Return the cut-offs of a pass of SAC, as `cryokin.isac.sac.sac` has them."""
    found, rising = [highest], lowest
    while rising + CUTOFF_STEP < highest - 1e-9:
        found.append(rising)
        rising += CUTOFF_STEP
    return found


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


def analysis_size(basis: PolarBasis, box: int) -> float:
    """Return the entries of the matrix from pixels to the grid."""
    pixels = float(basis.mask(box).sum())
    return pixels * 2 * len(basis.directions) * len(basis.radii)


def scaled(work: Work, factor: float) -> Work:
    """Return so many times the work."""
    return {kind: factor * amount for kind, amount in work.items()}


def added(first: Work, second: Work) -> Work:
    """Return both works together."""
    kinds = first.keys() | second.keys()
    return {kind: first.get(kind, 0) + second.get(kind, 0) for kind in sorted(kinds)}
