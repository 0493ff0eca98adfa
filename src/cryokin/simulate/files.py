"""The files of a simulated set."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pandas as pd

from cryokin.files import atomic
from cryokin.io.mrc import write_stack
from cryokin.io.star import write_star
from cryokin.simulate.images import (
    AMPLITUDE_CONTRAST,
    SPHERICAL_ABERRATION,
    VOLTAGE,
    ImageSet,
)

TRUTH_COLUMNS = (
    *("particle_id", "map_id", "map_name"),
    *("qx", "qy", "qz", "qw"),
    *("view_x", "view_y", "view_z"),
    *("rot", "tilt", "psi"),
    *("shift_x", "shift_y"),
    *("defocus_u", "defocus_v", "micrograph"),
)


def write_image_set(folder: str | os.PathLike[str], made: ImageSet) -> None:
    """Write ``particles.mrcs``, ``particles.star`` and ``truth.csv`` into a folder.

    The STAR file (RELION 3.1) tells nothing of the truth and names the images relative
    to its own folder, which can be moved. The truth has a row an image: what it shows,
    the orientation as quaternion, viewing direction and RELION's angles [degree], the
    place of the particle from ``box // 2`` [pixel], defocus [A] and micrograph.

    Parameters
    ----------
    folder : path-like
        Where to; made when it is missing.
    made : ImageSet
        What to write.
    """
    folder = Path(folder)
    write_stack(folder / "particles.mrcs", made.images, made.recipe.pixel_size)
    _write_truth(folder / "truth.csv", made)
    blocks = {"optics": _optics(made), "particles": _particles(made)}
    write_star(folder / "particles.star", blocks)


def _optics(made: ImageSet) -> pd.DataFrame:
    """Return the table of the one optics group."""
    return pd.DataFrame(
        {
            "rlnOpticsGroup": [1],
            "rlnOpticsGroupName": ["opticsGroup1"],
            "rlnAmplitudeContrast": [AMPLITUDE_CONTRAST],
            "rlnSphericalAberration": [SPHERICAL_ABERRATION],
            "rlnVoltage": [VOLTAGE],
            "rlnImagePixelSize": [made.recipe.pixel_size],
            "rlnImageSize": [made.recipe.box],
            "rlnImageDimensionality": [2],
        },
        dtype=object,
    )


def _particles(made: ImageSet) -> pd.DataFrame:
    """Return the table of the images, with their CTF if they have one."""
    ids = np.arange(len(made.images))
    # ten to a row, as if boxed from the micrograph on a grid
    place = ids % 100
    table = {
        "rlnImageName": [f"{i + 1:06d}@particles.mrcs" for i in ids],
        "rlnMicrographName": [f"mic{m + 1:04d}.mrc" for m in made.micrograph],
        "rlnOpticsGroup": [1] * len(ids),
        "rlnCoordinateX": [f"{100.0 * (p % 10 + 1):.1f}" for p in place],
        "rlnCoordinateY": [f"{100.0 * (p // 10 + 1):.1f}" for p in place],
    }
    if made.recipe.ctf:
        names = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
        for name, values in zip(names, made.defocus.T, strict=True):
            table[name] = [f"{value:.4f}" for value in values]
    return pd.DataFrame(table, dtype=object)


def _write_truth(path: Path, made: ImageSet) -> None:
    """Write the table of the truth."""
    views = made.orientations.apply([0.0, 0.0, 1.0])
    angles = made.orientations.as_euler("ZYZ", degrees=True)
    with atomic(path) as partial, partial.open("w", newline="") as handle:
        table = csv.writer(handle, lineterminator="\n")
        table.writerow(TRUTH_COLUMNS)
        for i, (kind, quaternion) in enumerate(
            zip(made.kind, made.orientations.as_quat(), strict=True)
        ):
            values = [*quaternion, *views[i]]
            others = [*angles[i], *made.shifts[i], *made.defocus[i, :2]]
            table.writerow(
                [i + 1, 0 if kind == "particle" else -1, kind]
                + [f"{value:.6f}" for value in values]
                + [f"{value:.4f}" for value in others]
                + [made.micrograph[i]]
            )
