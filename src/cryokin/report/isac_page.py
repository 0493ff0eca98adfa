"""The page of an ISAC run: one HTML file that needs no server and no network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from cryokin.report import figures, members
from cryokin.report.gallery import Caption, gallery
from cryokin.report.images import data_uri, levels, reduce_to, stretch, width_on_page
from cryokin.report.members import Members
from cryokin.report.page import (
    Report,
    ReportedClass,
    finite,
    quantity,
    render,
    standalone,
)

LARGEST_IMAGE = 512  # an image that only has to be looked at [pixel]


@dataclass(frozen=True)
class Pose:
    """How the members of a class lie in their images.

    Attributes
    ----------
    angle : ndarray, shape (n,)
        In-plane rotation [degree].
    centre : ndarray, shape (n, 2)
        Place (x, y) of the particle from the middle of its image [pixel].
    mirrored : ndarray of bool, shape (n,)
        Whether the particle is seen from behind.
    """

    angle: NDArray[np.float64]
    centre: NDArray[np.float64]
    mirrored: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class ClassAverage(ReportedClass):
    """What is known of one class beside its image; numbers are from 1.

    Attributes
    ----------
    members : ndarray of int, shape (n,)
        Rows of the input table, from 0, ascending.
    generation : int
        The generation that found the class, from 1.
    pixel_error : float
        Mean over the members [pixel of the working image]; NaN if unknown.
    pose : Pose or None
        How the members lie in their images.
    """

    members: NDArray[np.int64]
    generation: int
    pixel_error: float
    pose: Pose | None = None

    @property
    def size(self) -> int:
        """Number of members."""
        return len(self.members)


class Candidate(NamedTuple):
    """A candidate class that was not confirmed.

    Attributes
    ----------
    average : ndarray, shape (y, x)
    size : int
        Number of members.
    reproduction : float
        Mean share of the other runs that agree on a member.
    """

    average: NDArray[np.float32]
    size: int
    reproduction: float


@dataclass(frozen=True, kw_only=True)
class IsacReport(Report):
    """Everything that the page of an ISAC run shows.

    Attributes
    ----------
    imported : mapping
        ``import.json``: n, box, pixel_size, has_ctf, source, sha256, excluded.
    generations : sequence of mapping
        ``status.json`` of each generation: generation, accounted, unaccounted,
        classes, candidates, stop.
    averages : ndarray, shape (n, y, x)
        Class averages at the working size; with n = 0 the size must still be told.
    classes : sequence of ClassAverage, length n
        In the order of the averages.
    radius : float
        Of the mask in the working images [pixel].
    prealigned : ndarray, shape (y, x), or None
        Average of the prealigned particles at the input size.
    prealigned_radius : float
        Of the mask in that image [pixel].
    shifts : ndarray, shape (k, 2), or None
        Shifts (x, y) of the prealignment [pixel of the input image].
    rounds : sequence of mapping
        ``state.json`` of each round of candidates: generation, round, candidates, left.
    candidates : sequence of Candidate
        Of the first generation, for a run that found no class.
    full : ndarray, shape (n, y, x), or None
        Averages of the original images, at the input size.
    likeness : sequence of int, length n
        Positions of the classes in an order in which neighbours are alike; may be
        empty.
    members : Members or None
        The particles as pictures.
    """

    imported: Mapping[str, Any]
    generations: Sequence[Mapping[str, Any]]
    averages: NDArray[np.float32]
    classes: Sequence[ClassAverage]
    radius: float
    prealigned: NDArray[np.float32] | None = None
    prealigned_radius: float = 0.0
    shifts: NDArray[np.float64] | None = None
    rounds: Sequence[Mapping[str, Any]] = ()
    candidates: Sequence[Candidate] = ()
    full: NDArray[np.float32] | None = None
    likeness: Sequence[int] = ()
    members: Members | None = None

    def __post_init__(self) -> None:
        self._check_counts()
        for image, c in zip(self.averages, self.classes, strict=True):
            self.must(
                bool(np.isfinite(image).all()),
                f"the average of class {c.number} (generation {c.generation}) holds"
                " pixels that are not finite; remake class_averages.mrcs.",
            )

    def _check_counts(self) -> None:
        """Refuse images, members and status that disagree."""
        n = len(self.classes)
        self.must(
            len(self.averages) == n,
            f"{len(self.averages)} class averages, but {n} classes in the table; remake"
            " class_averages.mrcs and classes.star together.",
        )
        members = np.concatenate([np.empty(0, int), *(c.members for c in self.classes)])
        self.must(
            len(np.unique(members)) == len(members),
            "a particle is a member of two classes, it must be of one at most; remake"
            " class_averages.hdf.",
        )
        accounted = sum(int(status["accounted"]) for status in self.generations)
        self.must(
            accounted == len(members),
            f"the classes have {len(members)} members, but the generations account for"
            f" {accounted} particles; remake class_averages.hdf and the status.json of"
            " the generations.",
        )
        left = self.particles
        for status in self.generations:
            given, left = left, int(status["unaccounted"])
            self.must(
                int(status["accounted"]) + left == given,
                f"generation {status['generation']} accounts for"
                f" {status['accounted']} particles and leaves {left}, together they"
                f" must be the {given} that it was given; remake its status.json.",
            )

    @property
    def particles(self) -> int:
        """Number of particles that took part: all but those left out on import."""
        if not self.generations:
            return int(self.imported["n"])
        first = self.generations[0]
        return int(first["accounted"]) + int(first["unaccounted"])

    @property
    def accounted(self) -> int:
        """Number of particles that are members of a class."""
        return sum(c.size for c in self.classes)

    @property
    def box(self) -> int:
        """Width of the class averages [pixel]."""
        return int(self.averages.shape[-1])

    def by_size(self) -> list[int]:
        """Return positions of the classes from the largest; ties as numbered."""
        return sorted(
            range(len(self.classes)), key=lambda i: (-self.classes[i].size, i)
        )


def contact_sheet(report: IsacReport) -> bytes:
    """Draw the class averages of a run, from the largest class, as PNG."""
    order = report.by_size()
    n = len(order)
    note = (
        f"{n:,} class averages, {report.accounted:,} of {report.particles:,} particles."
        " Below each: number, generation g, members n, pixel error, resolution"
        " (FRC 0.5)."
    )
    return gallery(
        report.averages[order],
        [_caption(report.classes[i]) for i in order],
        title=report.run,
        note=note,
        radius=report.radius,
    )


def page(report: IsacReport) -> str:
    """Return the page of a run as HTML, see `cryokin.report.page.render`."""
    images, radius = _shown(report)
    shown = pictures(images, radius)
    ends = [[float(f"{v:.4g}") for v in levels(image, radius)] for image in images]
    return render(
        "isac.html",
        report,
        {
            "shift": "centre in the image [pixel]",
            "classes": [
                {
                    **report.class_data(c, c.members),
                    "g": c.generation,
                    "e": finite(c.pixel_error, 4),
                    "b": ends[i],
                    **({"o": report.likeness.index(i)} if report.likeness else {}),
                    **_pose_data(c.pose),
                    "p": _sample(report, c.number, len(report.classes), members.FEW),
                }
                for i, c in enumerate(report.classes)
            ],
            "sheet": members.SHEET if report.members else 0,
            "unaccounted": report.particles - report.accounted,
        },
        tiles=[(report.classes[i], shown[i]) for i in report.by_size()],
        box=images.shape[-1],
        radius=radius,
        refused=_refused(report),
        figures=_figures(report),
        sample=_sample(report, members.UNACCOUNTED, 8, members.SHEET),
    )


def _shown(report: IsacReport) -> tuple[NDArray[np.float32], float]:
    """Return the averages to look at, shape (n, y, x), and the radius of their mask.

    Those of the original images, where there are any, cut to what the others show.
    """
    if report.full is None:
        return report.averages, report.radius
    radius = report.prealigned_radius
    box = report.full.shape[-1]
    width = min(box, round(report.box * radius / report.radius))
    first = box // 2 - width // 2
    cut = slice(first, first + width)
    return report.full[:, cut, cut], radius


def pictures(averages: NDArray[np.floating], radius: float) -> list[str]:
    """Return class averages as addresses of PNGs; the more, the smaller they are."""
    width = width_on_page(averages.shape[-1], len(averages))
    return [  # one by one: they may be large
        data_uri(np.rint(reduce_to(stretch(image, radius), width)).astype(np.uint8))
        for image in averages
    ]


def figure_files(report: IsacReport) -> dict[str, str]:
    """Return the figures of the page as SVG, by name; those there are."""
    drawn = {
        "accounted": figures.generations_figure(report.generations, report.particles),
        **_figures(report),
    }
    return {name: standalone(svg) for name, svg in drawn.items() if svg is not None}


def _figures(report: IsacReport) -> dict[str, Markup | None]:
    """Draw the figures by name; None where there is nothing to tell."""
    drawn: dict[str, Markup | None] = dict.fromkeys(
        ("sizes", "rounds", "frc", "shifts", "prealigned")
    )
    if report.classes:
        limits = (report.options.get(key) for key in ("thld_grp", "img_per_grp"))
        drawn["sizes"] = figures.size_histogram(
            [c.size for c in report.classes], *limits
        )
    # One point tells nothing of convergence.
    if max((int(state["round"]) for state in report.rounds), default=0) > 1:
        given = {1: report.particles} | {
            int(status["generation"]) + 1: int(status["unaccounted"])
            for status in report.generations
        }
        drawn["rounds"] = figures.rounds_figure(
            [{**s, "given": given[int(s["generation"])]} for s in report.rounds]
        )
    if curves := [c.curve for c in report.classes if len(c.curve)]:
        drawn["frc"] = figures.frc_band(curves, report.frequency, report.pixel_size)
    if report.shifts is not None:
        drawn["shifts"] = figures.shift_figure(report.shifts)
    if report.prealigned is not None:
        box, radius = report.prealigned.shape[-1], report.prealigned_radius
        shown = reduce_to(report.prealigned, LARGEST_IMAGE)
        uri = data_uri(stretch(shown, radius * shown.shape[-1] / box))
        drawn["prealigned"] = figures.masked_image(uri, box, radius)
    return drawn


def _caption(c: ClassAverage) -> Caption:
    return Caption(
        str(c.number),
        f"g{c.generation}",
        f"n = {c.size:,}",
        quantity(c.pixel_error, "px", 2),
        quantity(c.resolution, "Å", 1),
    )


def _pose_data(pose: Pose | None) -> dict[str, Any]:
    """Return the angles in whole degrees and the centres in tenths of a pixel."""
    if pose is None:
        return {}
    return {
        "a": np.rint(pose.angle).astype(int).tolist(),
        "s": pose.centre.round(1).tolist(),
        "w": int(pose.mirrored.sum()),
    }


def _sample(report: IsacReport, number: int, parts: int, few: int) -> str | None:
    """Return a few members in a part of the room that a page has for them."""
    if report.members is None:
        return None
    return report.members.sample(number, few, members.MOST_PIXELS // parts)


def _refused(report: IsacReport) -> dict[str, Any]:
    """Return what a page without classes says: what there was, what was asked for."""
    best = sorted(report.candidates, key=lambda c: (-c.reproduction, -c.size))
    others = int(report.options.get("indep_run", 4)) - 1
    share = float(report.options.get("thld_rep", 0))
    first = next((s for s in report.rounds if "stable" in s), None)
    return {
        "candidates": [
            (c, data_uri(stretch(c.average[None], report.radius)[0])) for c in best
        ],
        "others": others,
        "asked": max(1, math.ceil(share * others - 1e-9)),
        "stable": None if first is None else 100 * float(first["stable"]),
    }
