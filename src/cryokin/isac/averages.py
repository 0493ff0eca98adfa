"""Class averages as images with their quality, in EMAN2's HDF layout."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from cryokin.files import atomic
from cryokin.io.eman_hdf import write_pairs
from cryokin.isac.classes import Class, Image, class_average
from cryokin.isac.files import StackImages
from cryokin.npy import NpyWriter
from cryokin.options import Isac
from cryokin.parallel import Team
from cryokin.rings import resolution

#: The average of a class: ``image``, ``frc`` as of `class_average`, ``resolution`` [A].
Average = Any  # of numpy's structured arrays, as a file of them holds it


def average(found: Class, images: StackImages, options: Isac) -> Average:
    """Average the members of a class.

    Parameters
    ----------
    found : Class
    images : StackImages
        The working stack.
    options : Isac
        Options of the run: ``target_radius``, ``FH``, ``FF``.
    """
    image, frc = class_average(
        images.read, found, options.target_radius, options.FH, options.FF
    )
    frequency = np.arange(len(frc)) / images.box
    # Beyond what the particles were sampled with, halves correlate by chance.
    at = max(resolution(frequency, frc, images.pixel_size, 0.5), images.finest)
    return np.array((image, frc, at), _type(images.box))[()]


def _type(box: int) -> np.dtype[Any]:
    frc = ("frc", "<f4", (box // 2,))
    return np.dtype([("image", "<f4", (box, box)), frc, ("resolution", "<f8")])


def average_classes(
    team: Team, classes: Sequence[Class], images: StackImages, options: Isac
) -> Iterator[Average]:
    """Have ranks share the averages of classes; the leading one is given all, in order.

    It must run through them, and then has but one of each rank at a time. The others
    have made theirs when this returns.
    """
    made = team.to_leader(lambda found: average(found, images, options), classes)
    averages = (one for _, one in made)
    return averages if team.leads else iter(list(averages))


def save_averages(
    path: str | os.PathLike[str], averages: Iterable[Average], n: int, box: int
) -> None:
    """Write n averages to an ``.npy`` file as they come, atomically."""
    with atomic(path) as partial, NpyWriter(partial, _type(box), (n,)) as file:
        for one in averages:
            file.write(one)


def write_averages(
    path: str | os.PathLike[str],
    classes: Sequence[Class],
    averages: Iterable[Average],
    pixel_size: float,
    generation: int,
) -> None:
    """Write averages as they come, with what is known about their classes.

    Parameters
    ----------
    path : path-like
        ``.hdf``
    classes : sequence of Class
    averages : iterable of Average
        One a class.
    pixel_size : float
        [A]
    generation : int
    """
    pairs = zip(classes, averages, strict=True)
    write_pairs(
        path, (image_and_header(c, a, pixel_size, generation) for c, a in pairs)
    )


def image_and_header(
    found: Class, made: Average, pixel_size: float, generation: int
) -> tuple[Image, dict[str, Any]]:
    """Return the average of a class as image and attributes; see `write_averages`."""
    errors = found.errors[np.isfinite(found.errors)]
    return made["image"], {
        "members": found.members.astype(np.int32),
        "n_objects": len(found.members),
        "generation": generation,
        "pixel_error": float(errors.mean()) if len(errors) else 0.0,
        "reproduction": found.reproduction,
        "agreement": found.agreement.astype(np.float32),
        "resolution": float(made["resolution"]),
        "frc": made["frc"],
        **{f"apix_{axis}": pixel_size for axis in "xyz"},
    }
