"""Small figures as inline SVG, drawn in the colours of the page.

Shapes carry classes (``mark``, ``pale``, ``axis``, ...) and no colours, so that the
style sheet of the page sets them in its light or dark scheme. Lengths are CSS pixels of
a figure at its natural width, chosen to fit a phone.
"""

from __future__ import annotations

import math

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import ArrayLike, NDArray

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 36, 40


def generation_bar(before: int, accounted: int, total: int, label: str) -> Markup:
    """Bar of one generation: accounted before it, accounted in it, left over.

    Parameters
    ----------
    before, accounted, total : int
        Particles accounted for in earlier generations, in this one, and in all.
    label : str
        The bar in words.
    """
    scale = 100 / max(total, 1)
    start, width = before * scale, accounted * scale
    rest = max(100 - start - width, 0)
    return _svg(
        100,
        10,
        label,
        _rect(0, 0, start, 10, "past"),
        _rect(start, 0, width, 10, "mark"),
        _rect(start + width, 0, rest, 10, "pale"),
        stretch=True,
    )


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
    plot = _Axes((edges[0], edges[-1]), (0, counts.max()))
    bars = _steps(plot, edges, counts)
    limits = (smallest, "thld_grp", 26.0), (largest, "img_per_grp", 11.0)
    lines = [
        plot.line_at(value, name, top)
        for value, name, top in limits
        if value is not None
    ]
    label = f"Histogram of the sizes of {len(sizes)} classes"
    return plot.svg(label, "members of a class", "classes", *bars, *lines)


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
    parts = [_rect(left, top, side, side, "frame")]
    opacity = np.sqrt(counts / counts.max())
    for row, column in np.argwhere(counts > 0):
        # Up is +y, as on paper.
        x, y = left + column * cell, top + side - (row + 1) * cell
        shade = f' fill-opacity="{_n(0.08 + 0.92 * opacity[row, column])}"'
        parts.append(_rect(x, y, cell, cell, "mark", shade))
    for axis in (0, 1):
        margin = counts.sum(axis=axis)
        for i, length in enumerate(band * margin / margin.max()):
            at = i * cell
            if axis == 0:
                box = (left + at, top - gap - length, cell, length)
            else:
                box = (left + side + gap, top + side - at - cell, length, cell)
            parts.append(_rect(*box, "mark"))
    middle = left + side / 2, top + side / 2
    parts.append(_line(middle[0], top, middle[0], top + side, "zero"))
    parts.append(_line(left, middle[1], left + side, middle[1], "zero"))
    tick = nice_step((edges[-1] - edges[0]), 6)
    for value in np.arange(-math.floor(edges[-1] / tick), edges[-1] / tick) * tick:
        at = side * (value - edges[0]) / (edges[-1] - edges[0])
        text = _label(value)
        parts.append(_text(left + at, top + side + 15, text, "middle"))
        parts.append(_text(left - 7, top + side - at + 4, text, "end"))
    parts.append(_text(middle[0], top + side + 33, "x shift [pixel]", "middle", "name"))
    parts.append(_upright(12, middle[1], "y shift [pixel]"))
    width, height = left + side + gap + band + 8, top + side + 42
    return _svg(width, height, f"Shifts of {len(shifts)} particles", *parts)


def mask_circle(box: int, radius: float) -> Markup:
    """Draw the circle of the mask, to be laid over an image of ``box`` pixels.

    The centre of the mask is the centre of pixel ``box // 2``.
    """
    centre = box // 2 + 0.5
    circle = Markup('<circle cx="{0}" cy="{0}" r="{1}" class="mask"/>').format(
        _n(centre), _n(radius)
    )
    return _svg(box, box, "", circle)


def nice_step(span: float, pieces: int) -> float:
    """Smallest of 1, 2, 5, 10, ... (times a power of ten) cutting ``span`` so finely.

    Examples
    --------
    >>> nice_step(100, 16), nice_step(0.5, 5)
    (10.0, 0.1)
    """
    rough = span / pieces
    power = 10.0 ** math.floor(math.log10(rough))
    factor = next(f for f in (1, 2, 5, 10) if f * power >= rough * (1 - 1e-9))
    return factor * power


class _Axes:
    """A plot with a horizontal and a vertical axis from ranges of values."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self.x, self.y = x, (y[0], y[1] or 1.0)

    def across(self, value: float) -> float:
        part = (value - self.x[0]) / (self.x[1] - self.x[0])
        return LEFT + part * (WIDTH - RIGHT - LEFT)

    def up(self, value: float) -> float:
        floor = HEIGHT - BOTTOM
        part = (value - self.y[0]) / (self.y[1] - self.y[0])
        return floor + part * (TOP - floor)

    def line_at(self, value: float, text: str, top: float) -> Markup:
        """Draw an upright line that ends above the plot, with its name there."""
        x = self.across(value)
        toward, anchor = (-5, "end") if value > sum(self.x) / 2 else (5, "start")
        return _line(x, top - 9, x, HEIGHT - BOTTOM, "limit") + _text(
            x + toward, top, text, anchor
        )

    def svg(self, label: str, x_name: str, y_name: str, *parts: Markup) -> Markup:
        """Put the axes with their numbers and names around ``parts``."""
        floor = HEIGHT - BOTTOM
        axes = [_line(LEFT, floor, WIDTH - RIGHT, floor, "axis")]
        for value in _ticks(*self.x, pieces=6):
            axes.append(_text(self.across(value), floor + 15, _label(value), "middle"))
        for value in _ticks(*self.y, pieces=4):
            y = self.up(value)
            axes.append(_line(LEFT, y, WIDTH - RIGHT, y, "grid"))
            axes.append(_text(LEFT - 7, y + 4, _label(value), "end"))
        middle = (LEFT + WIDTH - RIGHT) / 2, (TOP + floor) / 2
        axes.append(_text(middle[0], HEIGHT - 6, x_name, "middle", "name"))
        axes.append(_upright(11, middle[1], y_name))
        return _svg(WIDTH, HEIGHT, label, *axes[1:], *parts, axes[0])


def _ticks(low: float, high: float, pieces: int) -> list[float]:
    step = nice_step(high - low, pieces)
    if high - low >= 1:
        step = max(step, 1.0)  # all that is counted here is whole
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def _steps(
    plot: _Axes, edges: NDArray[np.floating], counts: NDArray[np.integer]
) -> list[Markup]:
    bars = []
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        if count:
            x, width = plot.across(low), plot.across(high) - plot.across(low)
            y = plot.up(count)
            bars.append(_rect(x + 0.75, y, width - 1.5, plot.up(0) - y, "mark"))
    return bars


def _svg(
    width: float, height: float, label: str, *parts: Markup, stretch: bool = False
) -> Markup:
    spoken: Markup = (
        Markup('role="img" aria-label="{}"').format(label)
        if label
        else Markup('aria-hidden="true"')
    )
    ratio: str = Markup(' preserveAspectRatio="none"') if stretch else Markup("")
    return Markup('<svg viewBox="0 0 {} {}" {}{}>{}</svg>').format(
        _n(width), _n(height), spoken, ratio, Markup("").join(parts)
    )


def _rect(
    x: float, y: float, width: float, height: float, kind: str, more: str = ""
) -> Markup:
    return Markup(
        f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}"'
        f' class="{kind}"{more}/>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup(
        f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"'
        f' class="{kind}"/>'
    )


def _text(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> Markup:
    return Markup(
        f'<text x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}" class="{kind}">'
        f"{escape(text)}</text>"
    )


def _upright(x: float, y: float, text: str) -> Markup:
    return Markup(
        f'<text transform="translate({_n(x)} {_n(y)}) rotate(-90)"'
        f' text-anchor="middle" class="name">{escape(text)}</text>'
    )


def _n(value: float) -> str:
    """Two decimals at most, without trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _label(value: float) -> str:
    text = f"{round(value, 9):,g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return text.replace("-", "\N{MINUS SIGN}")
