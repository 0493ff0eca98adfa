"""Class averages as images with their quality, in EMAN2's HDF layout."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from cryokin.io.eman_hdf import write_images
from cryokin.isac.classes import Class, Image, class_average
from cryokin.isac.files import StackImages
from cryokin.options import Isac
from cryokin.rings import resolution


def write_averages(
    path: str | os.PathLike[str],
    classes: Sequence[Class],
    images: StackImages,
    options: Isac,
    generation: int,
) -> None:
    """Average classes and write them with what is known about them.

    Parameters
    ----------
    path : path-like
        ``.hdf``
    classes : sequence of Class
    images : Images
        The working stack.
    options : Isac
        Options of the run: ``target_radius``, ``FH``, ``FF``.
    generation : int
    """
    made = [average_and_header(c, images, options, generation) for c in classes]
    averages, attributes = [m[0] for m in made], [m[1] for m in made]
    box = images.box
    stacked = np.stack(averages) if averages else np.zeros((0, box, box), np.float32)
    write_images(path, stacked, attributes)


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
