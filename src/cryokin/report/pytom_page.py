"""The page of a classification of subtomograms: one HTML file that needs no server."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from cryokin.report import pytom_figures as figures
from cryokin.report.images import (
    data_uri,
    levels,
    montage,
    reduce_to,
    slices,
    stretch,
    width_on_page,
)
from cryokin.report.members import SHEET
from cryokin.report.page import (
    Report,
    ReportedClass,
    number,
    quantity,
    render,
    standalone,
)
from cryokin.report.volumes import MOST_CLASSES, chimerax_script, through
from cryokin.subtomo import told

METHODS = {
    "cpca": "constrained principal component analysis",
    "mco_exmx": "multiple correlation optimisation, expectation maximisation",
    "mco_ac": "multiple correlation optimisation, simulated annealing",
}
NO_AVERAGES = "There are no class averages."
LARGEST_SLICE = 128  # of a class average or an eigenvolume [pixel]
LARGEST_THUMBNAIL = 48  # of a leaf of the tree [pixel]
COMPONENTS = 12  # leading ones that can be plotted against each other
STEPS = 999  # coordinates of points are whole parts of their range

Volume = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class SubtomogramClass(ReportedClass):
    """What is known of one class; numbers are those of ``classes.csv``, from 1.

    Attributes
    ----------
    average : ndarray, shape (n, n, n), or None
        Class average.
    name : str
        The user's name of the class; empty if it has none but its number.
    parts : sequence of str
        Names of the classes that were merged to it; empty if it was not merged.
    only_wedge : bool
        Whether it may be nothing but the missing wedge, see `cryokin.subtomo.beam`.
    same_as : sequence of str
        Classes from which it differs by no more than chance makes of it.
    file : str
        Of the average, as seen from the page; empty if it is not told.
    """

    average: Volume | None = None
    name: str = ""
    parts: Sequence[str] = ()
    only_wedge: bool = False
    same_as: Sequence[str] = ()
    file: str = ""

    @property
    def title(self) -> str:
        """What to call the class."""
        return self.name or str(self.number)


class Start(NamedTuple):
    """Where one of several starts of the method ended.

    Attributes
    ----------
    objective : float
        Mean score at its end.
    agreement : float
        Adjusted Rand index of its classes with those of the best start.
    """

    objective: float
    agreement: float


@dataclass(frozen=True)
class Tree:
    """How classes were merged.

    Attributes
    ----------
    linkage : ndarray, shape (k - 1, 4)
        As SciPy makes it, of k classes.
    groups : sequence, length k
        Name of the group of each class; None: in no group.
    cut : float or None
        Height at which the tree was cut, if it was.
    leaves : sequence of str, length k
        Names of the classes.
    averages : mapping
        Name of a leaf to its class average; may be empty.
    sizes : mapping
        Name of a leaf to its number of members; may be empty.
    measure : str
        What the heights are.
    """

    linkage: NDArray[np.float64]
    groups: Sequence[str | None]
    cut: float | None
    leaves: Sequence[str]
    averages: Mapping[str, Volume] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    measure: str = "1 \N{MINUS SIGN} correlation"


@dataclass(frozen=True, kw_only=True)
class PytomReport(Report):
    """Everything that the page of a classification shows; most of it may be missing.

    Attributes
    ----------
    method : str
        ``cpca``, ``mco_exmx`` or ``mco_ac``.
    labels : ndarray of int, shape (n,)
        Class of each particle, from 1; -1 for those that belong to none.
    excluded : sequence of int
        Rows of the input that were left out on import, and are not counted.
    classes : sequence of SubtomogramClass
        Those that have members, in any order.
    radius : float or None
        Of the sphere within which contrast is stretched [pixel of the averages].
    masking : mapping or None
        See `cryokin.subtomo.prepare.Masking`.
    eigenvalues, eigenvalues_before : ndarray or None
        Of the leading components, in falling order, also of such that were not used;
        those before pose errors were removed.
    used : int or None
        How many components classification used; default: all that are told.
    coefficients : ndarray, shape (n, neig), or None
        Of each particle in each component.
    eigenvolumes : sequence of ndarray, shape (n, n, n)
        Of the leading components.
    exmx, annealing : sequence of mapping
        An entry per iteration: ``objective``, ``changed`` (fraction of particles that
        changed class), ``temperature``, ``acceptance`` (fraction that moved to a worse
        class), ``best_objective``, any of them missing or None. Entries of several
        starts tell theirs by ``start``.
    starts : sequence of Start
        Where each start of EXMX ended.
    tree : Tree or None
        How classes were merged.
    directions : ndarray, shape (n, 3), or None
        Unit vectors (x, y, z) of the beam at zero tilt, in the frame of each particle.
    shifts : ndarray, shape (n, 3), or None
        Shifts (x, y, z) of the particles [voxel].
    runs : int
        Independent runs that the classes had to come out of; 0: there were none.
    agreement : float
        Mean adjusted Rand index of pairs of these runs; NaN if unknown.
    set_aside : sequence of int
        Sizes of reproducible classes that were set aside as nothing but the wedge.
    differences : sequence of str
        What is said of the differences of the classes.
    """

    method: str
    labels: NDArray[np.int64]
    classes: Sequence[SubtomogramClass]
    excluded: Sequence[int] = ()
    radius: float | None = None
    masking: Mapping[str, float] | None = None
    eigenvalues: NDArray[np.float64] | None = None
    eigenvalues_before: NDArray[np.float64] | None = None
    used: int | None = None
    coefficients: NDArray[np.float64] | None = None
    eigenvolumes: Sequence[Volume] = ()
    exmx: Sequence[Mapping[str, Any]] = ()
    annealing: Sequence[Mapping[str, Any]] = ()
    starts: Sequence[Start] = ()
    tree: Tree | None = None
    directions: NDArray[np.float64] | None = None
    shifts: NDArray[np.float64] | None = None
    runs: int = 0
    agreement: float = math.nan
    set_aside: Sequence[int] = ()
    differences: Sequence[str] = ()

    def __post_init__(self) -> None:
        self._check_classes()
        self._check_particles()
        if self.tree is not None:
            leaves = len(self.tree.linkage) + 1
            self.must(
                len(self.tree.groups) == len(self.tree.leaves) == leaves,
                f"the tree has {leaves} classes, but {len(self.tree.leaves)} names of"
                f" them and {len(self.tree.groups)} groups; remake merge.json.",
            )

    def _check_classes(self) -> None:
        """Refuse classes that the particles are not in, and volumes that are none."""
        numbers, found = sorted(c.number for c in self.classes), sorted(self.sizes)
        self.must(
            numbers == found,
            f"the report is of the classes {_few(numbers)}, but the particles are in"
            f" {_few(found)}; remake classes.json and classes.csv together.",
        )
        averages = {c.number: c.average for c in self.classes if c.average is not None}
        shapes = {average.shape for average in averages.values()}
        self.must(
            len(shapes) < 2 and all(len(s) == 3 and len(set(s)) == 1 for s in shapes),
            f"the class averages have the shapes {sorted(shapes)}, they must be cubes"
            " of one size; remake the class averages.",
        )
        named = {f"the average of class {k}": v for k, v in averages.items()}
        for i, volume in enumerate(self.eigenvolumes, start=1):
            named[f"eigenvolume {i}"] = volume
        for name, volume in named.items():
            self.must(
                bool(np.isfinite(volume).all()),
                f"{name} holds voxels that are not finite; remake it.",
            )

    def _check_particles(self) -> None:
        """Refuse values that are not those of the particles."""
        for name, values in (
            ("coefficients", self.coefficients),
            ("tilt directions", self.directions),
            ("shifts", self.shifts),
        ):
            if values is None:
                continue
            self.must(
                len(values) == self.particles,
                f"{name} of {len(values)} particles, but the classes are of"
                f" {self.particles}; remake the two together.",
            )
            self.must(
                bool(np.isfinite(values).all()),
                f"the {name} are not all finite; remake them.",
            )

    @property
    def particles(self) -> int:
        """Number of particles, whether they belong to a class or not."""
        return len(self.labels)

    @property
    def unit(self) -> str:
        """Unit of all resolutions: voxels where the pixel size is not known."""
        return "Å" if self.pixel_size > 0 else "voxels"

    @property
    def accounted(self) -> int:
        """Number of particles that belong to a class."""
        return int((self.labels >= 0).sum())

    @property
    def sizes(self) -> dict[int, int]:
        """Number of members of each class."""
        numbers, counts = np.unique(self.labels[self.labels >= 0], return_counts=True)
        return dict(zip(numbers.tolist(), counts.tolist(), strict=True))

    @property
    def association(self) -> float:
        """How far a particle's class follows from its direction of tilt, 0 to 1."""
        if self.directions is None:
            return math.nan
        numbers = sorted(c.number for c in self.classes)
        return figures.association(self.directions, self.labels, numbers)

    def members(self, number: int) -> NDArray[np.intp]:
        """Return the particles of a class, from 0, ascending."""
        return np.flatnonzero(self.labels == number)

    def by_size(self) -> list[SubtomogramClass]:
        """Return the classes from the largest; ties as numbered."""
        return sorted(self.classes, key=lambda c: (-self.sizes[c.number], c.number))


def page(report: PytomReport) -> str:
    """Return the page of a classification, see `cryokin.report.page.render`."""
    ordered = sorted(report.classes, key=lambda c: c.number)
    colours = _colours(report, ordered)
    averages = [c.average for c in report.classes if c.average is not None]
    return render(
        "pytom.html",
        report,
        {
            "shift": "shift x, y [voxel]",
            "particles": report.particles,
            "unit": report.unit,
            "sheet": SHEET,
            "excluded": list(report.excluded),
            "classes": [
                {
                    **report.class_data(c, report.members(c.number)),
                    "t": c.title,
                    "c": colours[c.number],
                    **_black_white(c.average, report.radius),
                    **_shifts(report, c.number),
                }
                for c in ordered
            ],
            "points": _points(report),
        },
        method=METHODS.get(report.method, report.method),
        box=len(averages[0]) if averages else 0,
        tiles=_tiles(report, colours),
        slices=_slices(report, colours),
        wedge=told.sentence([c.title for c in ordered if c.only_wedge]),
        eigenvolumes=[strip(v, report.radius) for v in report.eigenvolumes],
        components=_components(report),
        exmx=_course(report.exmx),
        annealing=_course(report.annealing, "round"),
        starts=sorted(
            enumerate(report.starts, start=1), key=lambda s: (-s[1].objective, s[0])
        ),
        figures=_figures(report),
    )


def figure_files(report: PytomReport) -> dict[str, str]:
    """Return the figures of the page as SVG, by name; those there are."""
    ordered = sorted(report.classes, key=lambda c: c.number)
    colours = _colours(report, ordered)
    courses = {
        "expectation_maximisation": _course(report.exmx),
        "annealing": _course(report.annealing, "round"),
    }
    drawn: dict[str, Markup | None] = {
        "averages": _averages(report, colours),
        "fsc": figures.shell_correlations(
            [(c.curve, colours[c.number]) for c in ordered],
            report.frequency,
            report.pixel_size,
        ),
        "components": _scatter(report, ordered, colours),
        **_figures(report),
        **{name: one["figure"] for name, one in courses.items() if one},
    }
    return {name: standalone(svg) for name, svg in drawn.items() if svg is not None}


def _figures(report: PytomReport) -> dict[str, Markup | None]:
    """Draw the figures by name; None where there is nothing to tell."""
    drawn: dict[str, Markup | None] = dict.fromkeys(("eigenvalues", "tree", "tilt"))
    if report.eigenvalues is not None and len(report.eigenvalues):
        drawn["eigenvalues"] = figures.eigenvalue_plot(
            report.eigenvalues, report.eigenvalues_before, report.used
        )
    tree = report.tree
    if tree is not None and len(tree.linkage):
        titles = [
            f"{k} ({tree.sizes[k]:,})" if k in tree.sizes else k for k in tree.leaves
        ]
        averages = [tree.averages.get(k) for k in tree.leaves]
        thumbnails = [
            a if a is None else _thumbnail(a, report.radius) for a in averages
        ]
        drawn["tree"] = figures.dendrogram(
            tree.linkage, tree.groups, tree.cut, titles, thumbnails, tree.measure
        )
    if report.directions is not None and report.classes:
        numbers = sorted(c.number for c in report.classes)
        drawn["tilt"] = figures.tilt_table(report.directions, report.labels, numbers)
    return drawn


def chimerax(report: PytomReport) -> str:
    """Return the commands that show the class averages in ChimeraX."""
    ordered = sorted(report.classes, key=lambda c: c.number)
    colours = _colours(report, ordered)
    shown = [c for c in ordered if c.average is not None and c.file]
    return chimerax_script(
        report.run,
        {f"class {c.title}": c.file for c in shown},
        [colours[c.number] for c in shown],
        [c.average for c in shown if c.average is not None],
    )


def _slices(report: PytomReport, colours: Mapping[int, str]) -> dict[str, Any] | None:
    """Return slices through the averages of the largest classes."""
    shown = [c for c in report.by_size() if c.average is not None][:MOST_CLASSES]
    volumes = [c.average for c in shown if c.average is not None]
    if not volumes:
        return None
    cut = through(volumes, report.radius)
    rows = zip(shown, cut.averages, cut.differences, strict=True)
    return {
        "z": cut.z,
        "most": cut.most,
        "first": shown[0].title,
        "rows": [(c, colours[c.number], one, other) for c, one, other in rows],
    }


def _tiles(
    report: PytomReport, colours: Mapping[int, str]
) -> list[tuple[SubtomogramClass, str, str | None]]:
    """Return classes from the largest, with their colours and central slices."""
    shown = report.by_size()
    return [
        (c, colours[c.number], strip(c.average, report.radius, len(shown)))
        for c in shown
    ]


def _averages(report: PytomReport, colours: Mapping[int, str]) -> Markup:
    """Draw the central slices of all class averages, from the largest class."""
    strips = [
        figures.Strip(
            uri,
            c.title,
            f"{report.sizes[c.number]:,}",
            quantity(c.resolution, report.unit, 1),
            colour,
        )
        for c, colour, uri in _tiles(report, colours)
        if uri is not None
    ]
    return figures.strip_sheet(strips) if strips else figures.sentence(NO_AVERAGES)


def _scatter(
    report: PytomReport,
    ordered: Sequence[SubtomogramClass],
    colours: Mapping[int, str],
) -> Markup | None:
    """Draw the two leading components of all particles."""
    if not _components(report) or report.coefficients is None:
        return None
    names = [(-1, "none"), *((c.number, colours[c.number]) for c in ordered)]
    groups = [
        (report.coefficients[report.labels == number, :2], colour)
        for number, colour in names
    ]
    return figures.scatter(groups, ("component 1", "component 2"))


def _colours(
    report: PytomReport, ordered: Sequence[SubtomogramClass]
) -> dict[int, str]:
    """Return the colour of each class: its own, or that of its group in the tree."""
    if report.tree is not None and any(c.parts for c in ordered):
        groups = report.tree.groups
        return {c.number: figures.group_colour(groups, c.title) for c in ordered}
    return {c.number: f"c{i % figures.COLOURS}" for i, c in enumerate(ordered)}


def _few(numbers: Sequence[int]) -> str:
    listed = ", ".join(map(str, numbers[:8]))
    return f"({listed}, ... {len(numbers)} in all)" if len(numbers) > 8 else listed


def _black_white(average: Volume | None, radius: float | None) -> dict[str, Any]:
    """Return the values that are black and white in the slices of a class."""
    if average is None:
        return {}
    ends = levels(slices(average), radius, together=True)
    return {"b": [float(f"{v:.4g}") for v in ends]}


def _shifts(report: PytomReport, number: int) -> dict[str, Any]:
    """Return how each member is shifted, where the beam is known, too."""
    if report.directions is None or report.shifts is None:
        return {}
    return {"s": report.shifts[report.members(number), :2].round(1).tolist()}


def _points(report: PytomReport) -> dict[str, Any]:
    """Return the points of the figures, their coordinates as parts of their range."""
    points: dict[str, Any] = {}
    if _components(report):
        leading = np.asarray(report.coefficients, np.float64)[:, :COMPONENTS]
        low, high = leading.min(axis=0), leading.max(axis=0)
        room = 0.04 * np.where(high > low, high - low, 1.0)
        names = [f"component {i}" for i in _components(report)]
        points["coefficients"] = _columns(names, leading, low - room, high + room)
    if report.directions is not None and report.particles:
        xy = figures.equal_area(report.directions)
        points["directions"] = _columns("xy", xy, -np.ones(2), np.ones(2))
    return points


def _columns(
    names: Iterable[str],
    values: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> list[dict[str, Any]]:
    parts = np.rint(STEPS * (values - low) / (high - low)).astype(int)
    columns = zip(names, low.tolist(), high.tolist(), parts.T.tolist(), strict=True)
    return [
        dict(zip(("name", "low", "high", "parts"), c, strict=True)) for c in columns
    ]


def strip(volume: Volume | None, radius: float | None, volumes: int = 1) -> str | None:
    """Return the central slices of a volume side by side, as an address of a PNG.

    Parameters
    ----------
    volume : ndarray, shape (n, n, n), or None
        None gives None.
    radius : float or None
        Of the sphere within which contrast is stretched [voxel].
    volumes : int
        How many such pictures the page holds; the more, the smaller they are.
    """
    if volume is None:
        return None
    size = volume.shape[0]
    small = reduce_to(volume, min(LARGEST_SLICE, width_on_page(size, 3 * volumes)))
    return data_uri(montage(small, radius and radius * len(small) / size))


def _thumbnail(volume: Volume, radius: float | None) -> str:
    plane = slices(volume)[0].astype(np.float32)
    small = reduce_to(plane, LARGEST_THUMBNAIL)
    scale = small.shape[-1] / plane.shape[-1]
    return data_uri(stretch(small, radius and radius * scale))


def _components(report: PytomReport) -> list[int]:
    """Numbers of the components that can be plotted, from 1."""
    if report.coefficients is None or not report.particles:
        return []
    shown = min(report.coefficients.shape[1], COMPONENTS)
    return list(range(1, shown + 1)) if shown > 1 else []


def _course(
    entries: Sequence[Mapping[str, Any]], counted: str = "iteration"
) -> dict[str, Any] | None:
    """Draw what is known of the iterations, the start that ends best in full."""
    if not entries:
        return None
    starts: dict[Any, list[Mapping[str, Any]]] = {}
    for entry in entries:
        starts.setdefault(entry.get("start"), []).append(entry)
    runs = list(starts.values())
    ends = [
        number(run[-1].get("best_objective", run[-1].get("objective"))) for run in runs
    ]
    best = int(np.argmax(np.nan_to_num(ends, nan=-math.inf)))
    panels = []
    for key, name, factor, from_zero in (
        ("objective", "objective (mean score)", 1, False),
        ("changed", "particles that changed class [%]", 100, True),
        ("temperature", "temperature", 1, True),
        ("acceptance", "particles moved to a worse class [%]", 100, True),
    ):
        lines = [[factor * number(entry.get(key)) for entry in run] for run in runs]
        if any(math.isfinite(value) for line in lines for value in line):
            panels.append(figures.Panel(name, lines, best, from_zero))
    if not panels:
        return None
    return {
        # One point tells nothing of a course.
        "figure": figures.course(panels, counted) if len(runs[best]) > 1 else None,
        "iterations": len(runs[best]),
        "starts": len(runs),
        "objective": quantity(ends[best], "", 4),
    }
