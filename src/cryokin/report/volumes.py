"""Class averages in three dimensions: slices through them, and what differs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryokin.report.images import BLACK, WHITE, data_uri, inside_disc, reduce_to
from cryokin.report.page import TEMPLATES

Volume = NDArray[np.floating]

SLICES = 16  # through a volume, at most
MOST_CLASSES = 12  # that are shown in slices, from the largest
LARGEST = 96  # of a slice [pixel]
MOST_PIXELS = 1_500_000  # of all slices of a page
LEVEL = 2.0  # of a surface [standard deviation of all averages together]
FULL_COLOUR = 99.9  # percentile of the differences that is shown in full colour
#: From less through nothing to more.
LESS, NOTHING, MORE = (208, 98, 43), (238, 238, 236), (36, 89, 122)


class Through(NamedTuple):
    """Slices through the averages of some classes, all on the same scales.

    Attributes
    ----------
    z : list of int
        Where they lie [voxel from the centre].
    averages, differences : list of str
        Of each class its slices side by side, and what they differ by from those of
        the first, as addresses of PNGs; the first differs by nothing and has "".
    most : int
        The slice in which they differ most, from 0; of one class the middle one.
    """

    z: list[int]
    averages: list[str]
    differences: list[str]
    most: int


def through(volumes: Sequence[Volume], radius: float | None) -> Through:
    """Cut slices through volumes of one size, from their bottom to their top.

    Parameters
    ----------
    volumes : sequence of ndarray, shape (n, n, n)
        One at least.
    radius : float or None
        Of the sphere that they are looked at within [voxel]; None: the whole box.
    """
    n = len(volumes[0])
    reach = n // 2 - 1 if radius is None else min(round(radius), n // 2 - 1)
    z = np.unique(np.linspace(-reach, reach, SLICES).round().astype(int))
    pictures = len(z) * (2 * len(volumes) - 1)
    width = min(LARGEST, math.isqrt(MOST_PIXELS // pictures))
    cuts = [
        np.stack(
            [reduce_to(plane, width) for plane in volume[n // 2 + z].astype(np.float32)]
        )
        for volume in volumes
    ]
    shrink = cuts[0].shape[-1] / n
    inside = inside_disc(cuts[0].shape[1:], radius and radius * shrink)
    low, high = np.percentile(np.stack(cuts)[..., inside], [BLACK, WHITE])
    differences = [cut - cuts[0] for cut in cuts[1:]]
    full, most = 0.0, len(z) // 2
    if differences:
        apart = np.abs(np.stack(differences)[..., inside])
        full = float(np.percentile(apart, FULL_COLOUR))
        most = int(np.square(apart).sum(axis=(0, 2)).argmax())
    return Through(
        z.tolist(),
        [data_uri(_beside(_grey(cut, low, high))) for cut in cuts],
        ["", *(data_uri(_beside(_grey(d, -full, full)), COLOURS) for d in differences)],
        most,
    )


def _grey(values: Volume, low: float, high: float) -> NDArray[np.uint8]:
    part = (values - low) / (high - low) if high > low else np.full_like(values, 0.5)
    levels: NDArray[np.uint8] = np.rint(255 * np.clip(part, 0, 1)).astype(np.uint8)
    return levels


def _beside(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.concatenate(list(planes), axis=1)


def _colours() -> list[int]:
    """Return the red, green, blue of each of 256 values, from less to more."""
    at = np.linspace(-1, 1, 256)[:, None]
    to = np.where(at < 0, LESS, MORE)
    mixed = np.array(NOTHING) + np.abs(at) * (to - np.array(NOTHING))
    return [int(value) for value in mixed.round().ravel()]


COLOURS = _colours()


def surface_level(volumes: Sequence[Volume]) -> float:
    """Return the value at which all averages are shown as surfaces.

    `LEVEL` standard deviations of all voxels together away from their mean, on the
    side of the particle: where the values reach further.
    """
    values = np.stack([np.asarray(volume, np.float64) for volume in volumes])
    apart = values - values.mean()
    side = 1.0 if np.mean(apart**3) >= 0 else -1.0
    return float(values.mean() + side * LEVEL * apart.std())


def chimerax_script(
    run: str,
    files: Mapping[str, str],
    styles: Sequence[str],
    volumes: Sequence[Volume],
) -> str:
    """Return commands by which ChimeraX shows averages at one level, in their colours.

    Parameters
    ----------
    run : str
        Name of the run.
    files : mapping
        Name of each class to its file, as seen from the script.
    styles : sequence of str
        Of each class, as on the page: ``c0`` and so on.
    volumes : sequence of ndarray
        Their averages.
    """
    style = Path(TEMPLATES / "colours.css").read_text("utf-8")
    colour = dict(re.findall(r"\.(c\d) .*light-dark\((#\w+)", style))
    lines = [f"# Class averages of {_plain(run)} for ChimeraX, all at one level."]
    level = surface_level(volumes) if volumes else 0.0
    for i, ((name, file), own) in enumerate(zip(files.items(), styles, strict=True), 1):
        lines.append(f"open {json.dumps(file)} id {i} name {json.dumps(_plain(name))}")
        look = f"style surface step 1 color {colour.get(own, '#808080')}"
        lines.append(f"volume #{i} level {level:.6g} {look}")
    return "\n".join([*lines, "tile", "view", ""])


def _plain(name: str) -> str:
    """Return a name without what commands are made of."""
    return re.sub(r"[^\w .-]", "_", name)
