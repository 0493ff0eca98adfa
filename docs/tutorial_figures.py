"""Draw the figures of docs/tutorial.md from the results of its runs: make tutorial.

The same results and versions of the libraries give the same bytes.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from cryokin.errors import exit_on_input_error
from cryokin.files import read_json, write_text
from cryokin.io.eman_hdf import read_images
from cryokin.io.stacks import open_images
from cryokin.io.volumes import read_volume
from cryokin.report.images import data_uri, montage, stretch
from cryokin.report.page import standalone
from cryokin.report.svg import drawing, picture, words
from cryokin.volume.filters import lowpass

SIDE, GAP, LINE = 76.0, 6.0, 18.0  # of a picture, between two, of a caption
COLUMNS = 8
MOST = 32  # pictures of a figure
LOWPASS, RADIUS = 8, 14  # of the ribosomes [Fourier pixel], [voxel]


def sheet(
    label: str,
    pictures: Sequence[NDArray[np.uint8]],
    captions: Sequence[str],
    columns: int = COLUMNS,
    wide: float = 1.0,
) -> Markup:
    """Draw pictures in rows, each with a caption; ``wide`` is their width / height."""
    parts = []
    high = SIDE + LINE * any(captions) + GAP
    for i, (image, caption) in enumerate(zip(pictures, captions, strict=True)):
        x, y = i % columns * (wide * SIDE + GAP), i // columns * high
        parts.append(picture(x, y, wide * SIDE, SIDE, data_uri(image)))
        parts.append(words(x, y + SIDE + 13, caption, "start"))
    rows = -(-len(pictures) // columns)
    width = min(columns, len(pictures)) * (wide * SIDE + GAP) - GAP
    return drawing(width, rows * high, label, *parts)


def particles(folder: Path) -> Markup:
    """Draw some particles of both sets of images, as they are."""
    shown = []
    for name in ("bgal", "apoferritin"):
        with open_images(folder / name / "particles.mrcs") as stack:
            step = len(stack) // COLUMNS
            shown += [stretch(stack[i * step]) for i in range(COLUMNS)]
    captions = ["beta-galactosidase"] + [""] * 7 + ["apoferritin"] + [""] * 7
    return sheet("Particles", shown, captions)


def classes(results: Path) -> Markup:
    """Draw the largest classes of a run, with their numbers and sizes."""
    images, headers = read_images(results / "class_averages.hdf")
    radius = read_json(results / "working_stack.json")["target_radius"]
    first = range(min(len(images), MOST))
    return sheet(
        f"Class averages of {results.name}",
        [stretch(images[k], radius) for k in first],
        [f"{k + 1}: {headers[k]['n_objects']}" for k in first],
    )


def structures(results: Path) -> Markup:
    """Draw the central slices of the classes of a run for subtomograms."""
    told = read_json(results / "classes.json")["classes"]
    volumes = [read_volume(results / one["mrc"]) for one in told]
    captions = [f"{one['n']} particles" for one in told]
    shown = [lowpass(volume, LOWPASS) for volume in volumes]
    pictures = [montage(volume, RADIUS) for volume in shown]
    return sheet("Central slices of the classes", pictures, captions, 1, 3.0)


def main() -> None:
    """Read the command line, and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--particles", type=Path, default=Path("resources/tutorial"))
    parser.add_argument("--output", type=Path, default=Path("docs/images"))
    chosen = parser.parse_args()
    figures = {
        "particles": particles(chosen.particles),
        "bgal": classes(chosen.results / "bgal"),
        "apoferritin": classes(chosen.results / "apoferritin"),
        "ribosomes": structures(chosen.results / "ribosomes"),
    }
    for name, figure in figures.items():
        path = chosen.output / f"tutorial_{name}.svg"
        write_text(path, standalone(figure))
        print(path)


if __name__ == "__main__":
    exit_on_input_error(main)
