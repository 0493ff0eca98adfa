"""Class averages with what is known about them, as the files of a generation hold."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from cryokin.io.eman_hdf import write_pairs
from cryokin.isac.classes import Class, Image, class_average
from cryokin.isac.files import StackImages
from cryokin.options import Isac
from cryokin.parallel import Team
from cryokin.rings import resolution


def write_averages(
    team: Team,
    path: str | os.PathLike[str],
    classes: Sequence[Class],
    images: StackImages,
    options: Isac,
    generation: int,
) -> None:
    """Average classes and write them with what is known about them.

    Parameters
    ----------
    team : Team
        Shares the classes; the leading rank writes, and holds one average of each rank
        at a time.
    path : path-like
        ``.hdf``
    classes : sequence of Class
    images : StackImages
        The working stack.
    options : Isac
        Options of the run: ``target_radius``, ``FH``, ``FF``.
    generation : int
    """
    made = team.to_leader(
        lambda found: average_and_header(found, images, options, generation), classes
    )
    pairs = (pair for _, pair in made)
    if team.leads:
        write_pairs(path, pairs)
    else:
        list(pairs)


def average_and_header(
    found: Class, images: StackImages, options: Isac, generation: int
) -> tuple[Image, dict[str, Any]]:
    """Return the average of a class and its attributes; see `write_averages`."""
    pixel = images.pixel_size
    average = class_average(
        images.read, found, options.target_radius, options.FH, options.FF
    )
    frequency = np.arange(len(average.frc)) / images.box
    errors = found.errors[np.isfinite(found.errors)]
    return average.image, {
        "members": found.members.astype(np.int32),
        "n_objects": len(found.members),
        "generation": generation,
        "pixel_error": float(errors.mean()) if len(errors) else 0.0,
        "reproduction": found.reproduction,
        "agreement": found.agreement.astype(np.float32),
        # Beyond what the particles were sampled with, halves correlate by chance.
        "resolution": max(
            resolution(frequency, average.frc, pixel, 0.5), images.finest
        ),
        "frc": average.frc.astype(np.float32),
        **{f"apix_{axis}": pixel for axis in "xyz"},
    }
