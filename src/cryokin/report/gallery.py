"""Contact sheet of class averages as one PNG.

An average is enlarged once, by a known factor, and the file holds neither a time nor a
version. The typeface is DejaVu Sans, whose Latin letters are in ``fonts``, so that a
sheet looks the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from cryokin.report.images import png, stretch

PAPER, INK, MUTED, LINE = 255, 24, 112, 205
ASPECT = 4 / 3  # of the whole sheet, width to height
SHEET_WIDTH = 2000  # aimed at, while tiles stay between the two bounds [pixel]
SMALLEST_TILE, LARGEST_TILE = 108, 220


class Caption(NamedTuple):
    """What stands below a tile, in two lines with a left and a right end."""

    name: str
    note: str
    size: str
    left: str
    right: str


def gallery(
    images: ArrayLike,
    captions: Sequence[Caption],
    *,
    title: str = "",
    note: str = "",
    radius: float | None = None,
) -> bytes:
    """Draw a contact sheet; tiles run row by row in the order given.

    Parameters
    ----------
    images : array_like, shape (n, y, x)
        Class averages, square; n may be 0.
    captions : sequence of Caption, length n
        The texts below each tile.
    title, note : str
        Heading of the sheet and the line below it.
    radius : float, optional
        Radius of the mask within which contrast is stretched [pixel].

    Returns
    -------
    bytes
        A grey PNG: the same images and texts give the same bytes.
    """
    images = np.asarray(images)
    n = len(captions)
    if n != len(images):
        raise ValueError(f"{len(images)} images but {n} captions")
    layout = Layout(n)
    sheet = Image.new("L", layout.sheet, PAPER)
    draw = ImageDraw.Draw(sheet)
    layout.draw_heading(draw, title, note)
    if n == 0:
        draw.text(
            (layout.margin, layout.top), "No class averages.", MUTED, layout.plain
        )
    else:
        for i, tile in enumerate(_enlarge(stretch(images, radius), layout.tile)):
            x, y = layout.corner(i)
            sheet.paste(tile, (x, y))
            layout.draw_caption(draw, x, y + layout.tile, captions[i])
    return png(np.asarray(sheet))


class Layout:
    """Where things stand on a sheet of ``n`` tiles; all lengths in pixels."""

    def __init__(self, n: int) -> None:
        self.columns = _columns(max(n, 1))
        tile = SHEET_WIDTH / self.columns / 1.12
        self.tile = round(min(max(tile, SMALLEST_TILE), LARGEST_TILE))
        size = max(11, round(0.092 * self.tile))
        self.plain, self.bold = _font(size), _font(size, bold=True)
        self.small = _font(max(10, round(0.85 * size)))
        self.gap = max(8, round(0.09 * self.tile))
        self.line = round(1.3 * size)
        self.pitch = self.tile + 2 * self.line + round(1.6 * self.gap)
        self.margin = 4 * self.gap
        width = self.columns * (self.tile + self.gap) - self.gap + 2 * self.margin
        width = max(width, 640)
        heading = max(24, round(width / 64))
        self.title, self.note = _font(heading, bold=True), _font(round(0.6 * heading))
        self.top = self.margin + round(3.3 * heading)
        rows = -(-n // self.columns)
        height = self.top + rows * self.pitch + self.margin // 2
        self.sheet = (width, max(height, self.top + 4 * self.margin))

    def corner(self, i: int) -> tuple[int, int]:
        """Return the left upper corner (x, y) of tile ``i``."""
        row, column = divmod(i, self.columns)
        return (
            self.margin + column * (self.tile + self.gap),
            self.top + row * self.pitch,
        )

    def draw_heading(self, draw: ImageDraw.ImageDraw, title: str, note: str) -> None:
        """Write the title, the note below it and a thin rule."""
        width = self.sheet[0] - 2 * self.margin
        x, y = self.margin, self.margin
        draw.text((x, y), _fit(title, self.title, width), INK, self.title)
        below = y + round(1.5 * self.title.size)
        draw.text((x, below), _fit(note, self.note, width), MUTED, self.note)
        rule = self.top - round(0.55 * self.title.size)
        draw.line((x, rule, self.sheet[0] - self.margin, rule), LINE, 1)

    def draw_caption(
        self, draw: ImageDraw.ImageDraw, x: int, y: int, caption: Caption
    ) -> None:
        """Write the two lines below a tile whose lower left corner is (x, y)."""
        right = x + self.tile
        base = y + self.line  # lines stand on it whatever their size
        draw.text((x, base), caption.name, INK, self.bold, anchor="ls")
        after = x + self.bold.getlength(caption.name + " ")
        draw.text((after, base), caption.note, MUTED, self.small, anchor="ls")
        draw.text((right, base), caption.size, INK, self.plain, anchor="rs")
        base += self.line
        draw.text((x, base), caption.left, MUTED, self.small, anchor="ls")
        draw.text((right, base), caption.right, MUTED, self.small, anchor="rs")


def _columns(n: int) -> int:
    """Columns that give a sheet about the aspect, a tile being 1.3 times as high."""
    columns = max(1, round(math.sqrt(1.3 * ASPECT * n)))
    return min(max(columns, 6), max(n, 5))


def _enlarge(grey: NDArray[np.uint8], width: int) -> list[Image.Image]:
    return [
        Image.fromarray(image).resize((width, width), Image.Resampling.BICUBIC)
        for image in grey
    ]


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(__file__).parent / "fonts" / name
    # The basic layout engine is part of every Pillow; the other one is optional
    # and would set text differently where it is present.
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def _fit(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Cut ``text`` with an ellipsis where it is longer than ``width`` [pixel]."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
