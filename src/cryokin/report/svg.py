"""Building blocks of figures as inline SVG, in the colours of the page.

Shapes carry classes (``mark``, ``pale``, ``axis``, ...) and no colours, so that the
style sheet of the page sets them in its light or dark scheme. Lengths are CSS pixels of
a figure at its natural width, chosen to fit a phone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

WIDTH, HEIGHT = 360, 230
LEFT, END, TOP, FLOOR = 44, 348, 36, 190  # edges of the plot in it


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


class Axes:
    """A plot with a horizontal and a vertical axis from ranges of values.

    Parameters
    ----------
    x, y : tuple of float
        First and last value of each axis.
    counts : bool
        The axes count something: numbers beside them are whole where these are far
        apart.
    place : tuple of float
        Left, top, right and lower edge of the plot in its drawing.
    """

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        counts: bool = True,
        place: tuple[float, float, float, float] = (LEFT, TOP, END, FLOOR),
    ) -> None:
        self.x, self.y, self.counts = x, (y[0], y[1] or 1.0), counts
        self.left, self.top, self.end, self.floor = place

    def across(self, value: float) -> float:
        """Return where a value of the horizontal axis stands."""
        part = (value - self.x[0]) / (self.x[1] - self.x[0])
        return self.left + part * (self.end - self.left)

    def up(self, value: float) -> float:
        """Return where a value of the vertical axis stands."""
        part = (value - self.y[0]) / (self.y[1] - self.y[0])
        return self.floor + part * (self.top - self.floor)

    def line_at(self, value: float, text: str, top: float) -> Markup:
        """Draw an upright line that ends above the plot, with its name there."""
        x = self.across(value)
        toward, anchor = (-5, "end") if value > sum(self.x) / 2 else (5, "start")
        line = stroke(x, top - 9, x, self.floor, "limit")
        return line + words(x + toward, top, text, anchor)

    def level(self, value: float, kind: str) -> Markup:
        """Draw a line from the left to the right at a height."""
        return stroke(self.left, self.up(value), self.end, self.up(value), kind)

    def numbers_across(self, pieces: int) -> list[Markup]:
        """Write the numbers below the horizontal axis."""
        return [
            words(self.across(value), self.floor + 15, tick_label(value), "middle")
            for value in ticks(*self.x, pieces, self.counts)
        ]

    def numbers_up(self, pieces: int) -> list[Markup]:
        """Draw the grid of the vertical axis, with its numbers."""
        return [
            self.level(value, "grid")
            + words(self.left - 7, self.up(value) + 4, tick_label(value), "end")
            for value in ticks(*self.y, pieces, self.counts)
        ]

    def svg(self, label: str, x_name: str, y_name: str, *parts: Markup) -> Markup:
        """Put the axes with their numbers and names around ``parts``."""
        middle = (LEFT + END) / 2, (TOP + FLOOR) / 2
        names = (
            words(middle[0], HEIGHT - 6, x_name, "middle", "name"),
            upright(11, middle[1], y_name),
        )
        grid = [*self.numbers_across(6), *self.numbers_up(4)]
        axis = stroke(LEFT, FLOOR, END, FLOOR, "axis")
        return drawing(WIDTH, HEIGHT, label, *grid, *names, *parts, axis)


def ticks(low: float, high: float, pieces: int, counts: bool = True) -> list[float]:
    """Round values from ``low`` to ``high``, whole ones where these are far apart."""
    step = nice_step(high - low, pieces)
    if counts and high - low >= 1:
        step = max(step, 1.0)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def drawing(width: float, height: float, label: str, *parts: Markup) -> Markup:
    """Put parts into a figure that says ``label``."""
    return Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(short(width), short(height), label, Markup("").join(parts))


def shape(name: str, kind: str, content: str = "", **attributes: Any) -> Markup:
    """Write an element of a style; of names of attributes, _ stands for a dash."""
    told = Markup("").join(
        Markup(' {}="{}"').format(
            key.replace("_", "-"), value if isinstance(value, str) else short(value)
        )
        for key, value in attributes.items()
    )
    return Markup('<{0}{1} class="{2}">{3}</{0}>').format(name, told, kind, content)


def rect(
    x: float, y: float, width: float, height: float, kind: str, **more: float
) -> Markup:
    """Draw a rectangle with its left upper corner at (x, y)."""
    return shape("rect", kind, "", x=x, y=y, width=width, height=height, **more)


def picture(x: float, y: float, width: float, height: float, uri: str) -> Markup:
    """Show an image with its left upper corner at (x, y)."""
    return shape("image", "picture", x=x, y=y, width=width, height=height, href=uri)


def stroke(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """Draw a straight line."""
    return shape("line", kind, x1=x1, y1=y1, x2=x2, y2=y2)


def polyline(points: Sequence[tuple[float, float]], kind: str) -> Markup:
    """Draw a line through points (x, y)."""
    return shape("polyline", kind, points=_listed(points))


def polygon(points: Sequence[tuple[float, float]], kind: str) -> Markup:
    """Draw an area with the corners (x, y)."""
    return shape("polygon", kind, points=_listed(points))


def dot(x: float, y: float, radius: float, kind: str) -> Markup:
    """Draw a disc."""
    return shape("circle", kind, cx=x, cy=y, r=radius)


def words(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> Markup:
    """Write a line of text; ``anchor`` is what SVG calls text-anchor."""
    return shape("text", kind, text, x=x, y=y, text_anchor=anchor)


def upright(x: float, y: float, text: str) -> Markup:
    """Write the name of a vertical axis."""
    turned = f"translate({short(x)} {short(y)}) rotate(-90)"
    return shape("text", "name", text, transform=turned, text_anchor="middle")


def cloud(
    groups: Sequence[tuple[Sequence[tuple[float, float]], str]], size: float
) -> Markup:
    """Draw points (x, y) of each group in its style, as dots of a size."""
    paths = [
        shape("path", kind, d="".join(f"M{x:.1f} {y:.1f}h0" for x, y in points))
        for points, kind in groups
    ]
    return shape("g", "cloud", Markup("").join(paths), stroke_width=size)


def short(value: float) -> str:
    """Two decimals at most, without trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def tick_label(value: float) -> str:
    """Write a number beside an axis."""
    text = f"{round(value, 9):,g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return text.replace("-", "\N{MINUS SIGN}")


def _listed(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{short(x)},{short(y)}" for x, y in points)
