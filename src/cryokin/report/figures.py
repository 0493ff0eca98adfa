"""Small figures about an ISAC run as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike

from cryokin.report.page import LEVELS
from cryokin.report.svg import (
    LEFT,
    Axes,
    dot,
    drawing,
    nice_step,
    picture,
    polygon,
    polyline,
    rect,
    stroke,
    upright,
    words,
)


def generations_figure(
    generations: Sequence[Mapping[str, Any]], total: int
) -> Markup | None:
    """Draw the bars of all generations with their numbers; None if there are none.

    Parameters
    ----------
    generations : sequence of mapping
        ``generation``, ``accounted``, ``unaccounted``, ``classes`` of each.
    total : int
        Particles in all.
    """
    if not generations:
        return None
    left, width, row = 24.0, 200.0, 24.0
    columns = {"accounted": 300.0, "unaccounted": 360.0, "classes": 410.0}
    parts = [words(left, 14, "particles", "start", "name")]
    for key, x in columns.items():
        parts.append(words(x, 14, "left" if key == "unaccounted" else key, "end"))
    before = 0
    for i, status in enumerate(generations):
        y = 26 + i * row
        found = int(status["accounted"])
        shares = np.array([before, found, max(total - before - found, 0)])
        ends = left + np.insert(np.cumsum(shares), 0, 0) * width / max(total, 1)
        for kind, start, end in zip(
            ("past", "mark", "pale"), ends[:-1], ends[1:], strict=True
        ):
            parts.append(rect(start, y, end - start, 12, kind))
        parts.append(words(left - 8, y + 10, str(status["generation"]), "end", "name"))
        for key, x in columns.items():
            parts.append(words(x, y + 10, f"{int(status[key]):,}", "end"))
        before += found
    label = f"Particles accounted for in {len(generations)} generations"
    return drawing(420, 32 + len(generations) * row, label, *parts)


def size_histogram(
    sizes: ArrayLike, smallest: float | None, largest: float | None
) -> Markup:
    """Histogram of class sizes.

    Parameters
    ----------
    sizes : array_like of int, shape (n,)
        Members of each class; n at least 1.
    smallest, largest : float or None
        Limits set by the user, drawn as lines (``thld_grp`` and ``img_per_grp``).
    """
    sizes = np.asarray(sizes)
    end = max(float(sizes.max()), largest or 0.0)
    step = max(nice_step(end, 16), 1.0)
    edges = step * np.arange(math.floor(end / step) + 2)
    counts = np.histogram(sizes, edges)[0]
    plot = Axes((edges[0], edges[-1]), (0, counts.max()))
    bars = []
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        if count:
            x, width = plot.across(low), plot.across(high) - plot.across(low)
            y = plot.up(count)
            bars.append(rect(x + 0.75, y, width - 1.5, plot.up(0) - y, "mark"))
    limits = (smallest, "thld_grp", 26.0), (largest, "img_per_grp", 11.0)
    lines = [
        plot.line_at(value, name, top)
        for value, name, top in limits
        if value is not None
    ]
    label = f"Histogram of the sizes of {len(sizes)} classes"
    return plot.svg(label, "members of a class", "classes", *bars, *lines)


def rounds_figure(rounds: Sequence[Mapping[str, Any]]) -> Markup:
    """Draw what part of each generation's particles is in a candidate, by round.

    Parameters
    ----------
    rounds : sequence of mapping
        ``generation``, ``round`` (from 1), ``given`` (particles that the generation
        starts from) and ``left`` (those in no candidate after the round); at least one.
    """
    last = max(max(int(state["round"]) for state in rounds), 2)
    plot = Axes((0, last), (0, 100))
    parts, ends = [], {}
    numbers = sorted({int(state["generation"]) for state in rounds})
    for number in numbers:
        line = [(0.0, 0.0)] + [
            (float(s["round"]), 100 * (1 - s["left"] / max(s["given"], 1)))
            for s in rounds
            if int(s["generation"]) == number
        ]
        kind = "curve" if number == numbers[0] else "thin"
        points = [(plot.across(x), plot.up(y)) for x, y in line]
        parts.append(polyline(points, kind))
        parts += [dot(x, y, 2.6, f"dot {kind}") for x, y in points[1:]]
        ends[number] = points[-1]
    # Numbers of curves that end together stand one below the other.
    lowest = -math.inf
    for number, (x, y) in sorted(ends.items(), key=lambda end: end[1][1]):
        lowest = max(y, lowest + 12)
        parts.append(words(x + 7, lowest + 4, str(number), "start", "name"))
    label = f"Particles in candidates in {len(numbers)} generations, by round"
    return plot.svg(label, "round", "in candidates [%]", *reversed(parts))


class CorrelationPlot(Axes):
    """Axes of correlations of halves, with lines where a resolution is read.

    Parameters
    ----------
    frequency : array_like, shape (m,)
        [1/pixel]
    pixel_size : float
        [A]; NaN: the axis counts 1/pixel.
    """

    def __init__(self, frequency: ArrayLike, pixel_size: float) -> None:
        self.unit = "Å" if pixel_size > 0 else "pixel"
        scale = pixel_size if pixel_size > 0 else 1.0
        self.frequency = np.asarray(frequency, np.float64) / scale
        super().__init__((0.0, self.frequency[-1]), (0, 1))

    def points(self, values: ArrayLike) -> list[tuple[float, float]]:
        """Return where the known values of a curve stand."""
        pairs = zip(self.frequency, np.asarray(values, np.float64), strict=True)
        return [
            (self.across(f), self.up(max(v, 0.0))) for f, v in pairs if math.isfinite(v)
        ]

    def draw(self, label: str, y_name: str, *parts: Markup) -> Markup:
        """Put the axes and the lines around parts."""
        lines = [
            self.level(level, "zero")
            + words(LEFT + 4, self.up(level) - 4, str(level), "start")
            for level in LEVELS
        ]
        return self.svg(label, f"frequency [1/{self.unit}]", y_name, *parts, *lines)


def frc_band(
    curves: Sequence[ArrayLike], frequency: ArrayLike, pixel_size: float
) -> Markup:
    """Draw the ring correlation of all classes: median, half and nine tenths of them.

    Parameters
    ----------
    curves : sequence of array_like, shape (m,)
        Of the classes; at least one.
    frequency, pixel_size
        See `CorrelationPlot`.
    """
    stacked = np.array([np.asarray(curve, np.float64) for curve in curves])
    levels = np.nanquantile(stacked, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
    plot = CorrelationPlot(frequency, pixel_size)
    lines = [plot.points(level) for level in levels]
    parts = [
        polygon([*lines[low], *reversed(lines[high])], kind)
        for low, high, kind in ((0, 4, "band wide"), (1, 3, "band"))
    ]
    label = f"Ring correlation of {len(stacked)} classes"
    return plot.draw(label, "ring correlation", *parts, polyline(lines[2], "curve"))


def shift_figure(shifts: ArrayLike) -> Markup:
    """Density of shifts in the plane, with the histogram of each axis beside it.

    Parameters
    ----------
    shifts : array_like, shape (n, 2)
        Shifts (x, y) that centre the particles [pixel of the input image]; n at
        least 1.
    """
    shifts = np.asarray(shifts, dtype=np.float64)
    reach = max(float(np.abs(shifts).max()), 1.0)
    step = max(1.0, nice_step(2 * reach, 33))
    half = math.floor(reach / step) + 1
    edges = (np.arange(-half, half + 2) - 0.5) * step
    counts = np.histogram2d(shifts[:, 1], shifts[:, 0], [edges, edges])[0]
    side, gap, band = 210.0, 6.0, 44.0
    left, top = 44.0, band + gap + 6
    cell = side / len(counts)
    span = edges[0], edges[-1]
    plot = Axes(span, span, place=(left, top, left + side, top + side))
    parts = [rect(left, top, side, side, "frame"), *plot.numbers_across(6)]
    parts += plot.numbers_up(6)
    opacity = np.sqrt(counts / counts.max())
    for row, column in np.argwhere(counts > 0):
        # Up is +y, as on paper.
        x, y = plot.across(edges[column]), plot.up(edges[row + 1])
        shade = 0.08 + 0.92 * opacity[row, column]
        parts.append(rect(x, y, cell, cell, "mark", fill_opacity=shade))
    for i, edge in enumerate(edges[:-1]):
        below = band * counts[:, i].sum() / counts.sum(axis=0).max()
        beside = band * counts[i].sum() / counts.sum(axis=1).max()
        across, up = plot.across(edge), plot.up(edge) - cell
        parts.append(rect(across, top - gap - below, cell, below, "mark"))
        parts.append(rect(left + side + gap, up, beside, cell, "mark"))
    middle = plot.across(0), plot.up(0)
    parts.append(stroke(middle[0], top, middle[0], top + side, "zero"))
    parts.append(plot.level(0, "zero"))
    parts.append(words(middle[0], top + side + 33, "x shift [pixel]", "middle", "name"))
    parts.append(upright(12, middle[1], "y shift [pixel]"))
    width, height = left + side + gap + band + 8, top + side + 42
    return drawing(width, height, f"Shifts of {len(shifts)} particles", *parts)


def masked_image(uri: str, box: int, radius: float) -> Markup:
    """Draw a square image of ``box`` pixels with the circle of its mask."""
    centre = box // 2 + 0.5  # the middle of a pixel
    circle = dot(centre, centre, radius, "mask")
    label = "Average of the prealigned particles"
    return drawing(box, box, label, picture(0, 0, box, box, uri), circle)
