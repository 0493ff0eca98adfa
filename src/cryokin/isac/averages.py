"""Class averages with what is known about them, as the files of a generation hold."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryokin.files import atomic
from cryokin.io.eman_hdf import EmanStack, read_headers, write_pairs
from cryokin.io.mrc import StackWriter, open_stack
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


def join_averages(
    path: str | os.PathLike[str],
    averages: Sequence[str | os.PathLike[str]],
    box: int,
    pixel_size: float,
) -> tuple[NDArray[np.float32], list[dict[str, Any]]]:
    """Write the averages of all generations to one MRC stack, one at a time.

    Parameters
    ----------
    path : path-like
        ``.mrcs``
    averages : sequence of path-like
        From `write_averages`.
    box : int
        Of the working images [pixel].
    pixel_size : float
        [A]

    Returns
    -------
    images : ndarray, shape (n, box, box)
        The stack, mapped.
    headers : list of dict
        What is known of each.
    """
    headers = [header for one in averages for header in read_headers(one)]
    shape, first = (len(headers), box, box), 0
    with atomic(path) as partial, StackWriter(partial, shape, pixel_size) as stack:
        for one in averages:
            with EmanStack(one) as part:
                for k in range(len(part)):
                    stack.write(first + k, part[k][None])
                first += len(part)
    return open_stack(path) if headers else np.zeros(shape, np.float32), headers


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
