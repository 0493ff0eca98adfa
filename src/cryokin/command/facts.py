"""What a file of particles holds, as far as a configuration depends on it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cryokin.errors import InputError
from cryokin.io.particles import (
    HoldsSubtomograms,
    ParticleTable,
    has_ctf,
    image_box,
    image_source,
    read_particles,
)
from cryokin.io.subtomograms import read_subtomograms

LOOKED_AT = 500  # images that tell the size of the particle
SMOOTH = 1.5  # against their noise, standard deviation of a Gaussian [pixel]
EDGE = 0.1  # of the power's height: where the particle seems to end
MORE = 1.25  # times that is its radius
WEDGE = (30.0, 30.0)  # proposed where no table tells it [degree]


@dataclass(frozen=True)
class Facts:
    """Facts of a file of particles.

    Attributes
    ----------
    path : str
    volumes : bool
        Whether they are subtomograms.
    n : int
    box : int
        [pixel or voxel]
    pixel_size : float or None
        [angstrom]
    size_is_given : bool
        Whether the user says so, and not the files.
    ctf : bool
        Whether their table describes a CTF that the images still have.
    wedge : bool
        Whether the table tells what was sampled.
    radius : int
        Of the particle [pixel or voxel].
    radius_by : str
        Where the radius is from.
    diameter : float or None
        Of the particle, as it was given [angstrom].
    bright : bool or None
        Whether particles are brighter than what is around; None if not looked at.
    notes : list of str
    """

    path: str
    volumes: bool
    n: int
    box: int
    pixel_size: float | None
    size_is_given: bool
    ctf: bool
    wedge: bool
    radius: int
    radius_by: str
    diameter: float | None
    bright: bool | None = None
    notes: list[str] = field(default_factory=list)

    def sentences(self) -> list[str]:
        """Return them in sentences, a line each."""
        kind = "subtomograms" if self.volumes else "images"
        size = f"{self.pixel_size:.4g} A" if self.pixel_size else "no pixel size"
        told = [f"{self.path}: {self.n} {kind}, box {self.box}, {size}"]
        if self.volumes:
            told.append(f"missing wedge: {'told' if self.wedge else 'not told'}")
        else:
            told.append(f"CTF: {'described' if self.ctf else 'not described'}")
            told.append(f"contrast: particles are {contrast(self.bright)}")
        told.append(f"radius: {self.radius} ({self.radius_by})")
        return told + self.notes


def contrast(bright: bool | None) -> str:
    """Return the contrast in words."""
    return {None: "not looked at", True: "bright", False: "dark"}[bright]


def facts_of(
    path: str, diameter: float | None, pixel_size: float | None = None
) -> Facts:
    """Return what a file of images or of subtomograms holds.

    Parameters
    ----------
    path : str
    diameter : float, optional
        Of the particle [angstrom]; default: as seen in the images, a third of the
        box for subtomograms.
    pixel_size : float, optional
        [angstrom], instead of what the files say.

    Raises
    ------
    InputError
        If it can be read as neither, or the diameter does not fit.
    """
    if Path(path).suffix.lower() in (".xml", ".tbl"):
        return _of_subtomograms(path, diameter, pixel_size)
    try:
        table = read_particles(path, pixel_size=pixel_size)
    except HoldsSubtomograms:
        return _of_subtomograms(path, diameter, pixel_size)
    except InputError as of_images:
        try:
            return _of_subtomograms(path, diameter, pixel_size)
        except InputError:
            raise of_images from None
    return _of_images(path, table, diameter, pixel_size is not None)


def _of_images(
    path: str, table: ParticleTable, diameter: float | None, size_is_given: bool
) -> Facts:
    box = image_box(table)
    source = image_source(table, box, with_ctf=False)
    chosen = np.linspace(0, table.n - 1, min(table.n, LOOKED_AT)).astype(np.intp)
    seen, bright = seen_radius(source.read(np.unique(chosen)))
    by = f"as seen in {len(np.unique(chosen))} images, give --diameter to be sure"
    radius, by = _radius(path, diameter, table.pixel_size, box, seen, by)
    ctf = has_ctf(table)
    notes = [table.no_ctf] if table.no_ctf else []
    return Facts(
        os.fspath(path),
        *(False, table.n, box, table.pixel_size, size_is_given, ctf, False),
        *(radius, by, diameter, bright, notes),
    )


def _of_subtomograms(
    path: str, diameter: float | None, pixel_size: float | None
) -> Facts:
    wedge = True
    try:
        particles = read_subtomograms(path, pixel_size=pixel_size)
    except InputError as without:
        wedge = False
        try:
            particles = read_subtomograms(path, None, pixel_size, WEDGE)
        except InputError:
            raise without from None
    box, known = particles.box, particles.pixel_size
    radius, by = _radius(path, diameter, known, box, box // 3, "a third of the box")
    return Facts(
        os.fspath(path),
        *(True, len(particles), box, known, pixel_size is not None, False, wedge),
        *(radius, by, diameter, None, list(particles.notes)),
    )


def _radius(
    path: str,
    diameter: float | None,
    pixel_size: float | None,
    box: int,
    otherwise: int,
    by: str,
) -> tuple[int, str]:
    """Return the radius of the particle [pixel], and where it is from."""
    if diameter is None:
        return otherwise, by
    if not pixel_size:
        raise InputError(
            f"{path}: says no pixel size, without which --diameter {diameter:g} A"
            " tells no radius; give --pixel-size, or leave both out and set radius in"
            " the configuration."
        )
    radius = round(diameter / 2 / pixel_size)
    if not 1 <= radius < box // 2:
        raise InputError(
            f"--diameter {diameter:g}: is {2 * radius} pixel of {pixel_size:.4g} A, and"
            f" the box of {path} is {box} pixel; give one of"
            f" {2 * pixel_size:.3g} to {(box - 4) * pixel_size:.4g} A."
        )
    return radius, f"half of {diameter:g} A"


def seen_radius(images: NDArray[np.floating]) -> tuple[int, bool]:
    """Return the radius of what stands out in images, and whether it is bright.

    Where the mean power over rings, above that of the outermost, has fallen to a tenth
    of its height, and a quarter more, since particles fade towards their edge. CTF
    fringes and neighbours make it no more than a proposal.

    Parameters
    ----------
    images : ndarray, shape (n, box, box)

    Returns
    -------
    radius : int
        [pixel], within the box.
    bright : bool
    """
    box = images.shape[-1]
    axis = np.arange(box) - box // 2
    ring = np.rint(np.hypot(axis[:, None], axis[None, :])).astype(int)
    inside = ring < box // 2

    def profile(image: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the means over rings, from that of the outermost three."""
        sums = np.bincount(ring[inside], image[inside])
        means = sums / np.bincount(ring[inside])
        above: NDArray[np.float64] = means - means[-3:].mean()
        return above

    smooth = gaussian_filter(images, (0, SMOOTH, SMOOTH))
    smooth -= np.median(smooth[:, ~inside], axis=1)[:, None, None]
    power = profile((smooth.astype(np.float64) ** 2).mean(axis=0))
    end = np.flatnonzero(power > EDGE * power[: box // 4].max())[-1] + 1
    mean = profile(images.mean(axis=0, dtype=np.float64))
    radius = int(np.clip(round(MORE * end), 4, box // 2 - 2))
    return radius, bool(mean[np.abs(mean).argmax()] > 0)
