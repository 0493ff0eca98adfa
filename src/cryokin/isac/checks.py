"""What particles a run of ISAC can use."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from cryokin.errors import InputError
from cryokin.io.particles import (
    ParticleTable,
    has_ctf,
    image_box,
    image_source,
    read_particles,
)
from cryokin.io.stacks import ImageSource, open_images
from cryokin.options import Isac

COARSEST = 4  # pixels: a high-pass from there on leaves nothing of a particle


class Checked(NamedTuple):
    """Particles of which the table and the headers of the stacks can be used.

    Attributes
    ----------
    table : ParticleTable
    images : ImageSource
        With the CTF where phases are to be flipped.
    told : dict
        What a run depends on, as in ``import.json``: ``n``, ``box``, ``pixel_size``
        [A], ``radius`` [pixel], ``flips`` (whether phases are flipped), and ``ctf``,
        which says so in words.
    """

    table: ParticleTable
    images: ImageSource
    told: dict[str, Any]


def read_checked(particles: str | os.PathLike[str], options: Isac) -> Checked:
    """Read a table of particles; of its images only the headers of the stacks.

    Parameters
    ----------
    particles : path-like
    options : Isac
        Of the run, complete.

    Raises
    ------
    InputError
        If the run cannot start from them.
    """
    convention = options.ctf_convention
    table = read_particles(
        particles,
        pixel_size=options.pixel_size,
        ctf_convention=None if convention == "auto" else convention,
    )
    box, described = image_box(table), has_ctf(table)
    flips = described if options.CTF == "auto" else options.CTF
    images = image_source(table, box, with_ctf=flips)
    for file in range(len(images.files)):
        with open_images(images.files[file]) as stack:
            stack.shape(int(images.image_index[images.file_index == file].max()))
    told = check_fit(particles, options, table.n, box, images.pixel_size)
    return Checked(
        table, images, {**told, "flips": flips, "ctf": _ctf_in_words(flips, table)}
    )


def check_fit(
    particles: str | os.PathLike[str], options: Isac, n: int, box: int, pixel: float
) -> dict[str, Any]:
    """Return what a run depends on of n images, or raise `InputError` if it cannot be.

    Parameters
    ----------
    box : int
        [pixel]
    pixel : float
        [A]
    """
    radius = options.radius
    if options.diameter:
        radius = round(options.diameter / 2 / pixel)
    check_radius(particles, radius, box, options.diameter)
    check_number(particles, n, 0, options.img_per_grp)
    if options.highpass_A and options.highpass_A < COARSEST * pixel:
        raise InputError(
            f"{particles}: highpass_A = {options.highpass_A:g} A would leave nothing of"
            f" images with {pixel:.4g} A a pixel (allowed: from {COARSEST * pixel:.3g}"
            " A); give some diameters of the particle."
        )
    return {"n": n, "box": box, "pixel_size": pixel, "radius": radius}


def _ctf_in_words(flips: bool, table: ParticleTable) -> str:
    """Return what is done about the CTF."""
    if flips:
        return "phases are flipped with the CTF that the table describes"
    if has_ctf(table):
        return "left in the images, though the table describes it (CTF: false)"
    return "nothing is flipped, the table describes none that the images still have"


def check_radius(
    particles: str | os.PathLike[str],
    radius: int,
    box: int,
    diameter: float | None = None,
) -> None:
    """Raise `InputError` where a particle does not fit its image [pixel].

    ``diameter`` [A] is what the radius follows from, where it was given.
    """
    largest = box // 2 - 1
    if not 1 <= radius <= largest:
        by = f"diameter = {diameter:g} A, a " if diameter else ""
        raise InputError(
            f"{particles}: {by}radius = {radius} pixel does not fit the box of {box}"
            f" pixel (allowed: 1 to {largest}); change it in the config or extract the"
            " particles in a larger box."
        )


def check_number(
    particles: str | os.PathLike[str], n: int, excluded: int, img_per_grp: int
) -> None:
    """Raise `InputError` where n images without the excluded make too few classes."""
    if n - excluded < 4 * img_per_grp:
        without = f" (without {excluded} constant or not finite)" if excluded else ""
        raise InputError(
            f"{particles}: {n - excluded} usable particles{without} are too few for"
            f" img_per_grp = {img_per_grp} (at least {4 * img_per_grp}, four classes);"
            " lower img_per_grp in the config or give more particles."
        )
