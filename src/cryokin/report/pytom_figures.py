"""Small figures about a classification of subtomograms as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray
from scipy.cluster import hierarchy

from cryokin.report.figures import CorrelationPlot
from cryokin.report.svg import (
    Axes,
    cloud,
    dot,
    drawing,
    picture,
    polyline,
    rect,
    stroke,
    tick_label,
    ticks,
    upright,
    words,
)

COLOURS = 10  # classes take them in turn
TILT_BINS = 9  # of equal solid angle, from the particle's z axis to its equator
RESIDUAL = 4.0  # standard deviations that are shown in full colour
RINGS, SECTORS = 3, 4  # cells of the hemisphere in which classes are counted


def eigenvalue_plot(
    after: ArrayLike, before: ArrayLike | None = None, used: int | None = None
) -> Markup:
    """Eigenvalues of the leading components.

    Parameters
    ----------
    after : array_like, shape (n,)
        Of the correlations that were classified; n at least 1.
    before : array_like, optional
        The same before pose errors were removed; any length.
    used : int, optional
        The leading components that were used; default: all.
    """
    after = np.asarray(after, np.float64)
    earlier = np.asarray([] if before is None else before, np.float64)[: 2 * len(after)]
    n = max(len(after), len(earlier))
    both = np.concatenate([after, earlier])
    plot = Axes((0.3, n + 0.7), (min(0.0, both.min()), 1.05 * max(both.max(), 0.0)))
    zero = plot.up(0)
    parts = [
        dot(plot.across(i), plot.up(value), 5, "hollow")
        for i, value in enumerate(earlier, start=1)
    ]
    for i, value in enumerate(after, start=1):
        x, y = plot.across(i), plot.up(value)
        pale = "" if used is None or i <= used else " unused"
        parts.append(stroke(x, zero, x, y, "stem" + pale))
        parts.append(dot(x, y, 3.2, "dot" + pale))
    label = f"Eigenvalues of {len(after)} components"
    return plot.svg(label, "component", "eigenvalue", *parts)


class Strip(NamedTuple):
    """The slices of a class average and what stands below them.

    Attributes
    ----------
    uri : str
        ``data:`` address of three square slices in a row.
    name, size, resolution : str
    colour : str
        Style of the class.
    """

    uri: str
    name: str
    size: str
    resolution: str
    colour: str


def strip_sheet(strips: Sequence[Strip], columns: int = 3) -> Markup:
    """Draw the slices of class averages row by row."""
    wide, high, gap = 240.0, 80.0, 14.0
    parts = []
    for i, strip in enumerate(strips):
        row, column = divmod(i, columns)
        x, y = gap + column * (wide + gap), gap + row * (high + 32)
        parts.append(picture(x, y, wide, high, strip.uri))
        base = y + high + 14
        parts.append(dot(x + 4, base - 4, 4, f"own {strip.colour}"))
        parts.append(words(x + 13, base, strip.name, "start", "name"))
        parts.append(words(x + wide / 2, base, strip.size, "middle"))
        parts.append(words(x + wide, base, strip.resolution, "end"))
    rows = -(-len(strips) // columns)
    label = f"Averages of {len(strips)} classes"
    width = gap + min(columns, len(strips)) * (wide + gap)
    return drawing(width, gap + rows * (high + 32), label, *parts)


def sentence(text: str) -> Markup:
    """Say in words why there is nothing to draw."""
    return drawing(360, 40, text, words(12, 24, text, "start", "name"))


def shell_correlations(
    curves: Sequence[tuple[ArrayLike, str]], frequency: ArrayLike, pixel_size: float
) -> Markup | None:
    """Draw the shell correlation of the halves of each class; None if none is known.

    Parameters
    ----------
    curves : sequence of tuple
        Values and style of each class.
    frequency, pixel_size
        See `cryokin.report.figures.CorrelationPlot`.
    """
    known = [(values, style) for values, style in curves if len(np.asarray(values))]
    if not known:
        return None
    plot = CorrelationPlot(frequency, pixel_size)
    parts = [polyline(plot.points(values), f"branch {s}") for values, s in known]
    label = f"Shell correlation of {len(known)} classes"
    return plot.draw(label, "shell correlation", *parts)


def scatter(groups: Sequence[tuple[ArrayLike, str]], names: tuple[str, str]) -> Markup:
    """Draw points, those of a group in its colour.

    Parameters
    ----------
    groups : sequence of tuple
        Points, shape (n, 2), and style of each group; one point at least.
    names : tuple of str
        Names of the axes.
    """
    arrays = [(np.asarray(points, np.float64), colour) for points, colour in groups]
    every = np.concatenate([points for points, _ in arrays])
    low, high = every.min(axis=0), every.max(axis=0)
    pad = np.where(high > low, 0.04 * (high - low), 1.0)
    low, high = low - pad, high + pad
    plot = Axes((low[0], high[0]), (low[1], high[1]), counts=False)
    size = 2.2 if len(every) > 5000 else 3 if len(every) > 1000 else 4.5
    placed = [
        ([(plot.across(x), plot.up(y)) for x, y in points.tolist()], colour)
        for points, colour in arrays
    ]
    return plot.svg(f"{len(every)} particles", *names, cloud(placed, size))


@dataclass(frozen=True)
class Panel:
    """One quantity over the iterations.

    Attributes
    ----------
    name : str
        With its unit in brackets.
    lines : sequence of sequence of float
        One line per start of the method, NaN where nothing is known.
    best : int
        The line to be drawn in full; the others are thin.
    from_zero : bool
        The axis starts at 0.
    """

    name: str
    lines: Sequence[Sequence[float]]
    best: int = 0
    from_zero: bool = True


def course(panels: Sequence[Panel], x_name: str = "iteration") -> Markup:
    """Draw quantities over the same iterations (from 1), one above the other."""
    width, high, gap = 360.0, 78.0, 30.0
    longest = max(len(line) for panel in panels for line in panel.lines)
    parts = []
    for row, panel in enumerate(panels):
        top = gap * 0.75 + row * (high + gap)
        place = (52.0, top, width - 10, top + high)
        plot = Axes((1, max(longest, 2)), _range(panel), False, place)
        parts.append(words(plot.left, top - 8, panel.name, "start", "name"))
        parts += plot.numbers_up(3)
        for i in sorted(range(len(panel.lines)), key=lambda i: i == panel.best):
            line = [
                (plot.across(k), plot.up(v))
                for k, v in enumerate(panel.lines[i], start=1)
                if math.isfinite(v)
            ]
            parts.append(polyline(line, "curve" if i == panel.best else "thin"))
            if i == panel.best and len(line) <= 40:
                parts += [dot(x, y, 2.4, "dot") for x, y in line]
        parts.append(plot.level(plot.y[0], "axis"))
    plot.counts = True  # of iterations
    parts += plot.numbers_across(6)
    middle = (plot.left + plot.end) / 2
    parts.append(words(middle, plot.floor + 32, x_name, "middle"))
    names = ", ".join(panel.name for panel in panels)
    label = f"{names} over {longest} iterations"
    return drawing(width, plot.floor + 38, label, *parts)


def dendrogram(
    linkage: ArrayLike,
    groups: Sequence[object],
    cut: float | None,
    names: Sequence[str],
    thumbnails: Sequence[str | None],
    measure: str,
) -> Markup:
    """Tree of classes with its leaves one below the other.

    Parameters
    ----------
    linkage : array_like, shape (n - 1, 4)
        As SciPy makes it.
    groups : sequence, length n
        The group of each leaf, None for one in no group; branches within a group take
        its colour.
    cut : float or None
        Height at which the tree was cut, drawn as a line.
    names : sequence of str, length n
        What stands beside each leaf.
    thumbnails : sequence of str or None, length n
        A ``data:`` address of a square image of each leaf.
    measure : str
        What heights are.
    """
    tree = np.asarray(linkage, np.float64)
    n = len(tree) + 1
    pictures = any(uri is not None for uri in thumbnails)
    row = 46.0 if pictures and n <= 12 else 30.0 if pictures and n <= 40 else 20.0
    image = row - 4 if pictures else 0.0
    left, branches, top = 12.0, 210.0, 22.0
    right = left + branches
    width = right + 22 + image + 100
    floor = top + n * row
    highest = max(float(tree[:, 2].max()), cut or 0.0, 1e-12) * 1.04
    colour = _colours(groups)

    def across(height: float) -> float:
        return right - branches * height / highest

    leaves = [int(leaf) for leaf in hierarchy.leaves_list(tree)]
    y = np.zeros(2 * n - 1)
    y[leaves] = top + row * (np.arange(n) + 0.5)
    height = np.concatenate([np.zeros(n), tree[:, 2]])
    group: list[object] = [*groups, *[None] * (n - 1)]
    parts = []
    for value in ticks(0, highest, 5, counts=False):
        x = across(value)
        parts.append(stroke(x, top, x, floor, "grid"))
        parts.append(words(x, floor + 16, tick_label(value), "middle"))
    for i, (first, second) in enumerate(tree[:, :2].astype(int), start=n):
        y[i] = (y[first] + y[second]) / 2
        same = group[first] is not None and group[first] == group[second]
        group[i] = group[first] if same else None
        kind = f"branch {colour[group[i]]}" if same else "branch"
        points = [
            (across(height[first]), y[first]),
            (across(height[i]), y[first]),
            (across(height[i]), y[second]),
            (across(height[second]), y[second]),
        ]
        parts.append(polyline(points, kind))
    if cut is not None:
        x = across(cut)
        parts.append(stroke(x, top - 6, x, floor, "limit"))
        parts.append(words(x, top - 10, f"cut {cut:.3g}", "middle", "name"))
    at_images = right + 16
    for leaf in leaves:
        where = y[leaf]
        kind = f"group {colour[groups[leaf]]}"
        parts.append(
            stroke(right + 8, where - row / 2 + 1, right + 8, where + row / 2 - 1, kind)
        )
        uri = thumbnails[leaf]
        if uri is not None:
            parts.append(picture(at_images, where - image / 2, image, image, uri))
        at = at_images + image + (8 if pictures else 0)
        parts.append(words(at, where + 4, names[leaf], "start", "leaf"))
    parts.append(words(left + branches / 2, floor + 34, measure, "middle", "name"))
    label = f"Tree of {n} classes in {len(set(groups) - {None})} groups"
    return drawing(width, floor + 42, label, *parts)


def group_colour(groups: Sequence[object], name: str) -> str:
    """Return the style of a group in `dendrogram` by its number or name."""
    return _colours(groups).get(name, "none")


def tilt_table(
    directions: ArrayLike, labels: ArrayLike, numbers: Sequence[int]
) -> Markup:
    """Draw how often a class holds particles of each tilt, against all classes.

    Parameters
    ----------
    directions : array_like, shape (n, 3)
        Unit vectors of the beam at zero tilt, in the frame of each particle; n at
        least 1.
    labels : array_like of int, shape (n,)
        Class of each particle.
    numbers : sequence of int
        The classes to show, a row each.
    """
    height_of = np.abs(np.asarray(directions, np.float64)[:, 2])
    bins = np.minimum((TILT_BINS * (1 - height_of)).astype(int), TILT_BINS - 1)
    residual = _residuals(_counts(bins, labels, numbers, TILT_BINS))
    row = 22.0 if len(numbers) <= 25 else 12.0
    left, top, width = 44.0, 6.0, 300.0
    cell, floor = width / TILT_BINS, top + row * len(numbers)
    parts = []
    for i, number in enumerate(numbers):
        y = top + i * row
        if row > 14 or i % 5 == 0:
            parts.append(words(left - 8, y + row / 2 + 4, str(number), "end"))
        for j, value in enumerate(residual[i]):
            box = (left + j * cell + 0.5, y + 0.5, cell - 1, row - 1)
            parts.append(rect(*box, "cell"))
            shade = min(abs(value) / RESIDUAL, 1.0)
            if shade >= 0.05:
                kind = "own c0" if value > 0 else "own c1"
                parts.append(rect(*box, kind, fill_opacity=shade))
    for angle in (0, 30, 45, 60, 75, 90):
        x = left + width * (1 - math.cos(math.radians(angle)))
        parts.append(stroke(x, floor, x, floor + 4, "axis"))
        parts.append(words(x, floor + 17, str(angle), "middle"))
    name = "angle of beam and z axis of the particle [degree]"
    parts.append(words(left + width / 2, floor + 35, name, "middle", "name"))
    parts.append(upright(10, (top + floor) / 2, "class"))
    label = f"Tilt of the particles of {len(numbers)} classes"
    return drawing(left + width + 14, max(floor, 60) + 42, label, *parts)


def association(
    directions: ArrayLike, labels: ArrayLike, numbers: Sequence[int]
) -> float:
    """Return how far a particle's class follows from its direction of tilt.

    Cramer's V of classes and twelve cells of the hemisphere of equal solid angle, with
    the correction for chance of Bergsma (2013), J. Korean Stat. Soc. 42, 323.

    Returns
    -------
    float
        0 (not at all) to 1 (wholly); NaN with fewer than two classes.
    """
    d = np.asarray(directions, np.float64)
    d = np.where(d[:, 2:] < 0, -d, d)
    ring = np.minimum((RINGS * (1 - d[:, 2])).astype(int), RINGS - 1)
    turn = (np.arctan2(d[:, 1], d[:, 0]) / (2 * np.pi)) % 1.0
    sector = np.minimum((SECTORS * turn).astype(int), SECTORS - 1)
    counts = _counts(ring * SECTORS + sector, labels, numbers, RINGS * SECTORS)
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    n = counts.sum()
    rows, columns = counts.shape
    if min(rows, columns) < 2 or n < 2:
        return math.nan
    phi = float((_residuals(counts) ** 2).sum() / n)
    phi = max(0.0, phi - (rows - 1) * (columns - 1) / (n - 1))
    rows_left = rows - (rows - 1) ** 2 / (n - 1)
    columns_left = columns - (columns - 1) ** 2 / (n - 1)
    least = min(rows_left, columns_left) - 1
    return math.sqrt(phi / least) if least > 0 else math.nan


def equal_area(directions: ArrayLike) -> NDArray[np.float64]:
    """Map directions without sign onto the unit disc by Lambert's projection.

    Returns
    -------
    ndarray, shape (n, 2)
        The particle's z axis in the middle, its equator on the rim.
    """
    d = np.asarray(directions, np.float64)
    d = np.where(d[:, 2:] < 0, -d, d)
    return d[:, :2] / np.sqrt(1 + d[:, 2:])


def _colours(groups: Sequence[object]) -> dict[object, str]:
    """Colours of groups in the order in which they first come; grey for none."""
    first = dict.fromkeys(group for group in groups if group is not None)
    return {None: "none"} | {g: f"c{i % COLOURS}" for i, g in enumerate(first)}


def _counts(
    bins: NDArray[np.intp], labels: ArrayLike, numbers: Sequence[int], n_bins: int
) -> NDArray[np.float64]:
    labels = np.asarray(labels)
    found = [np.bincount(bins[labels == k], minlength=n_bins) for k in numbers]
    return np.array(found, np.float64).reshape(len(numbers), n_bins)


def _residuals(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(observed - expected) / sqrt(expected), were rows and columns independent."""
    total = max(counts.sum(), 1.0)
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / total
    residual: NDArray[np.float64] = np.divide(
        counts - expected,
        np.sqrt(expected),
        out=np.zeros_like(counts),
        where=expected > 0,
    )
    return residual


def _range(panel: Panel) -> tuple[float, float]:
    values = [v for line in panel.lines for v in line if math.isfinite(v)]
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    if panel.from_zero:
        low = min(low, 0.0)
    if high - low <= 1e-9 * max(abs(high), abs(low)):  # a level line, in the middle
        if panel.from_zero and high == 0:
            return 0.0, 1.0
        room = 0.1 * abs(high) or 1.0
        low, high = low - room, high + room
    room = 0.06 * (high - low)
    return (low if panel.from_zero else low - room), high + room
