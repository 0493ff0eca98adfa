"""Building blocks of figures as inline SVG, in the colours of the page.

Shapes carry classes (``mark``, ``pale``, ``axis``, ...) and no colours, so that the
style sheet of the page sets them in its light or dark scheme. Lengths are CSS pixels of
a figure at its natural width, chosen to fit a phone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 36, 40


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
    """

    def __init__(
        self, x: tuple[float, float], y: tuple[float, float], counts: bool = True
    ) -> None:
        self.x, self.y, self.counts = x, (y[0], y[1] or 1.0), counts

    def across(self, value: float) -> float:
        """Return where a value of the horizontal axis stands."""
        part = (value - self.x[0]) / (self.x[1] - self.x[0])
        return LEFT + part * (WIDTH - RIGHT - LEFT)

    def up(self, value: float) -> float:
        """Return where a value of the vertical axis stands."""
        floor = HEIGHT - BOTTOM
        part = (value - self.y[0]) / (self.y[1] - self.y[0])
        return floor + part * (TOP - floor)

    def line_at(self, value: float, text: str, top: float) -> Markup:
        """Draw an upright line that ends above the plot, with its name there."""
        x = self.across(value)
        toward, anchor = (-5, "end") if value > sum(self.x) / 2 else (5, "start")
        return stroke(x, top - 9, x, HEIGHT - BOTTOM, "limit") + words(
            x + toward, top, text, anchor
        )

    def svg(self, label: str, x_name: str, y_name: str, *parts: Markup) -> Markup:
        """Put the axes with their numbers and names around ``parts``."""
        floor = HEIGHT - BOTTOM
        axes = [stroke(LEFT, floor, WIDTH - RIGHT, floor, "axis")]
        for value in ticks(*self.x, pieces=6, counts=self.counts):
            x = self.across(value)
            axes.append(words(x, floor + 15, tick_label(value), "middle"))
        for value in ticks(*self.y, pieces=4, counts=self.counts):
            y = self.up(value)
            axes.append(stroke(LEFT, y, WIDTH - RIGHT, y, "grid"))
            axes.append(words(LEFT - 7, y + 4, tick_label(value), "end"))
        middle = (LEFT + WIDTH - RIGHT) / 2, (TOP + floor) / 2
        axes.append(words(middle[0], HEIGHT - 6, x_name, "middle", "name"))
        axes.append(upright(11, middle[1], y_name))
        return drawing(WIDTH, HEIGHT, label, *axes[1:], *parts, axes[0])


def ticks(low: float, high: float, pieces: int, counts: bool = True) -> list[float]:
    """Round values from ``low`` to ``high``, whole ones where these are far apart."""
    step = nice_step(high - low, pieces)
    if counts and high - low >= 1:
        step = max(step, 1.0)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def drawing(
    width: float, height: float, label: str, *parts: Markup, stretch: bool = False
) -> Markup:
    """Put parts into a figure that says ``label``, or is hidden from speech by ""."""
    spoken: Markup = (
        Markup('role="img" aria-label="{}"').format(label)
        if label
        else Markup('aria-hidden="true"')
    )
    ratio: str = Markup(' preserveAspectRatio="none"') if stretch else Markup("")
    return Markup('<svg viewBox="0 0 {} {}" {}{}>{}</svg>').format(
        short(width), short(height), spoken, ratio, Markup("").join(parts)
    )


def rect(
    x: float, y: float, width: float, height: float, kind: str, more: str = ""
) -> Markup:
    """Draw a rectangle with its left upper corner at (x, y)."""
    return Markup(
        f'<rect x="{short(x)}" y="{short(y)}" width="{short(width)}"'
        f' height="{short(height)}" class="{kind}"{more}/>'
    )


def stroke(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """Draw a straight line."""
    return Markup(
        f'<line x1="{short(x1)}" y1="{short(y1)}" x2="{short(x2)}" y2="{short(y2)}"'
        f' class="{kind}"/>'
    )


def polyline(points: Sequence[tuple[float, float]], kind: str) -> Markup:
    """Draw a line through points (x, y)."""
    return Markup(f'<polyline points="{_listed(points)}" class="{kind}"/>')


def polygon(points: Sequence[tuple[float, float]], kind: str) -> Markup:
    """Draw an area with the corners (x, y)."""
    return Markup(f'<polygon points="{_listed(points)}" class="{kind}"/>')


def dot(x: float, y: float, radius: float, kind: str) -> Markup:
    """Draw a disc."""
    return Markup(
        f'<circle cx="{short(x)}" cy="{short(y)}" r="{short(radius)}" class="{kind}"/>'
    )


def words(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> Markup:
    """Write a line of text; ``anchor`` is what SVG calls text-anchor."""
    return Markup(
        f'<text x="{short(x)}" y="{short(y)}" text-anchor="{anchor}" class="{kind}">'
        f"{escape(text)}</text>"
    )


def upright(x: float, y: float, text: str) -> Markup:
    """Write the name of a vertical axis."""
    return Markup(
        f'<text transform="translate({short(x)} {short(y)}) rotate(-90)"'
        f' text-anchor="middle" class="name">{escape(text)}</text>'
    )


def short(value: float) -> str:
    """Two decimals at most, without trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def tick_label(value: float) -> str:
    """Write a number beside an axis."""
    text = f"{round(value, 9):,g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return text.replace("-", "\N{MINUS SIGN}")


def _listed(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{short(x)},{short(y)}" for x, y in points)
