"""Particles as stacks of tilt images: RELION 5, WarpTools and M.

A table of particles names a stack of images each, another table the geometry, defocus
and dose of every tilt of each tomogram; an optimisation set names both tables.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.image.ctf import ctf
from cryokin.io import mrc, quantities
from cryokin.io.particles import find_stack, folders_of
from cryokin.io.star import Block, as_table, find_block, read_star
from cryokin.volume import euler
from cryokin.volume.slices import (
    Slices,
    dose_weight,
    fine_frequencies,
    power_agreement,
    slices,
)

SET_COLUMNS = ("rlnTomoParticlesFile", "rlnTomoTomogramsFile")
SERIES_FILE = "rlnTomoTiltSeriesStarFile"
MATRIX = ("rlnTomoProjX", "rlnTomoProjY", "rlnTomoProjZ")
TILTS = ("rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot")
SIZES = ("rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ")
CORNER = ("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")
CENTRED = tuple(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ")
VISIBLE = "rlnTomoVisibleFrames"
# Warp's own names; it counts places in pixels of the extracted images, where RELION
# counts them in pixels of the tilt series.
WARP_SUFFIX = ".tomostar"
ROTATED = 0.01  # how far rows of a projection may be from those of a rotation


@dataclass(frozen=True)
class TiltSeries:
    """What is known of the images of a tomogram.

    Attributes
    ----------
    rotations : ndarray, shape (n_tilts, 3, 3)
        Take the axes (x, y, z) of the tomogram to those of an image and its beam.
    defocus : ndarray, shape (n_tilts, 3)
        Underfocus along two directions [A] and the azimuth of the first [degree], at
        the centre of the tomogram.
    phase_shift : ndarray, shape (n_tilts,)
        [degree]
    scale, b_factor, dose : ndarray, shape (n_tilts,)
        Factor of the CTF; its envelope [A^2]; electrons per A^2 before the image.
    per_dose : float
        B-factor per dose [A^4 / electron]; 0: the critical exposure.
    optics : tuple of float
        Voltage [kV], spherical aberration [mm], amplitude contrast.
    hand : float
        1 or -1: whether defocus grows with the depth along the beam or falls.
    centre : ndarray, shape (3,)
        Of the tomogram [pixel of the tilt series].
    pixel_size : float
        Of the tilt series [A].
    """

    rotations: NDArray[np.float64]
    defocus: NDArray[np.float64]
    phase_shift: NDArray[np.float64]
    scale: NDArray[np.float64]
    b_factor: NDArray[np.float64]
    dose: NDArray[np.float64]
    per_dose: float
    optics: tuple[float, float, float]
    hand: float
    centre: NDArray[np.float64]
    pixel_size: float

    def __len__(self) -> int:
        return len(self.rotations)

    def contrast(
        self, place: NDArray[np.float64], box: int, pixel_size: float
    ) -> NDArray[np.float32]:
        """Return what the images of a particle are multiplied by.

        Parameters
        ----------
        place : ndarray, shape (3,)
            Of the particle, from the centre of the tomogram [A].
        box : int
            Of the images.
        pixel_size : float
            Of the images [A].

        Returns
        -------
        ndarray, shape (n_tilts, 2 box, 2 box)
            At `cryokin.volume.slices.fine_frequencies`.
        """
        k = fine_frequencies(box, pixel_size)
        radius = np.linalg.norm(k, axis=-1)
        voltage, aberration, amplitude = self.optics
        depths = self.hand * (self.rotations[:, 2] @ place)
        found = np.empty((len(self), *radius.shape), np.float32)
        for i, ((u, v, azimuth), depth) in enumerate(
            zip(self.defocus, depths, strict=True)
        ):
            lobes = ctf(
                *(k[..., 0], k[..., 1], u + depth, v + depth, azimuth),
                *(voltage, aberration, amplitude, self.phase_shift[i]),
            )
            left = dose_weight(radius, self.dose[i], self.per_dose)
            envelope = np.exp(-self.b_factor[i] * radius**2 / 4)
            found[i] = self.scale[i] * lobes * left * envelope
        return found


@dataclass(frozen=True)
class TiltStack:
    """The images of a particle.

    Attributes
    ----------
    series : TiltSeries
        Of its tomogram.
    visible : ndarray of bool, shape (n_tilts,)
        Images that show it.
    place : ndarray, shape (3,)
        From the centre of the tomogram [A].
    turn : ndarray, shape (3, 3)
        Takes the axes of its box to those of the tomogram.
    premultiplied : bool
        Whether the images are multiplied by their contrast.
    """

    series: TiltSeries
    visible: NDArray[np.bool_]
    place: NDArray[np.float64]
    turn: NDArray[np.float64]
    premultiplied: bool

    def images(self, path: str | os.PathLike[str]) -> NDArray[np.float32]:
        """Read the images that show the particle, shape (n_visible, box, box).

        RELION writes these alone, Warp all of the tilt series.

        Raises
        ------
        InputError
            If there are neither as many as it says, or they hold no numbers.
        """
        self.check_number(path)
        stack = mrc.open_stack(path)
        kept = stack if len(stack) == self.visible.sum() else stack[self.visible]
        images = np.asarray(kept, np.float32)
        if not np.isfinite(images).all():
            raise InputError(
                f"{path}: {np.count_nonzero(~np.isfinite(images))} of {images.size}"
                " pixels are not finite; make the stack again, or leave it out."
            )
        return images

    def check_number(self, path: str | os.PathLike[str]) -> None:
        """Raise `InputError` where a stack has not as many images as it should."""
        there = mrc.read_stack_header(path).shape[0]
        shown, n = int(self.visible.sum()), len(self.series)
        if there not in (shown, n):
            raise InputError(
                f"{path}: has {there} images, expected {shown}, those that"
                f" {VISIBLE} names, or {n}, those of the tilt series; give the tables"
                " that belong to the stack."
            )

    def hands(
        self, path: str | os.PathLike[str], pixel_size: float
    ) -> tuple[float, float]:
        """Return how well images fit the hand of their tilt series, and the other.

        See `cryokin.volume.slices.power_agreement`; of premultiplied images alone.
        """
        images = self.images(path)
        hands = (self.series, replace(self.series, hand=-self.series.hand))
        given, other = (
            power_agreement(
                images,
                series.contrast(self.place, images.shape[-1], pixel_size)[self.visible],
            )
            for series in hands
        )
        return given, other

    def slices(self, path: str | os.PathLike[str], pixel_size: float) -> Slices:
        """Read the particle as central slices.

        Parameters
        ----------
        path : path-like
            The stack.
        pixel_size : float
            Of the images [A].
        """
        images = self.images(path)
        contrast = self.series.contrast(self.place, images.shape[-1], pixel_size)
        rotations = self.series.rotations[self.visible] @ self.turn
        return slices(images, contrast[self.visible], rotations, self.premultiplied)


def tables_of_set(
    path: str | os.PathLike[str], search: str | os.PathLike[str] | None = None
) -> tuple[Path, Path | None] | None:
    """Return the tables of particles and tomograms of an optimisation set.

    Parameters
    ----------
    path : path-like
        A STAR file.
    search : path-like, optional
        Where relative names are looked for first; default: the working folder.

    Returns
    -------
    tuple of two paths, the second None where none is named; None if it is no set.

    Raises
    ------
    InputError
        If a table is missing.
    """
    source = Path(path)
    if source.suffix.lower() != ".star" or not _names_tables(source):
        return None
    tables = map(as_table, read_star(source).values())
    named = next(table for table in tables if SET_COLUMNS[0] in table)
    folders = folders_of(source, search)
    particles, tomograms = (
        find_stack(source, str(named[name].iloc[0]), folders) if name in named else None
        for name in SET_COLUMNS
    )
    assert particles is not None
    return particles, tomograms


def _names_tables(source: Path) -> bool:
    """Whether a STAR file begins as an optimisation set does: those are short."""
    with source.open("rb") as file:
        return f"_{SET_COLUMNS[0]} ".encode() in file.read(2**16)


def files_of_tomograms(path: str | os.PathLike[str]) -> list[Path]:
    """Return a table of tomograms and the tables of tilt series that it names."""
    source = Path(path)
    names = _global(source, read_star(source)).get(SERIES_FILE, ())
    folders = folders_of(source, None)
    return [source, *(find_stack(source, str(name), folders) for name in names)]


def _global(source: Path, blocks: Mapping[str, Block]) -> pd.DataFrame:
    name = find_block(blocks, ("global", "", "tomograms"))
    table = as_table(blocks[name]) if name is not None else pd.DataFrame()
    if "rlnTomoName" not in table:
        raise InputError(
            f"{source}: no column rlnTomoName in data_global; give RELION's table of"
            " tomograms."
        )
    return table


def read_tilt_series(
    path: str | os.PathLike[str], wanted: Sequence[str]
) -> dict[str, TiltSeries]:
    """Read what a table of tomograms says of some of them.

    Parameters
    ----------
    path : path-like
        RELION 5's, with a file for each tilt series, or RELION 4's and Warp's, with a
        block each.
    wanted : sequence of str
        Names of tomograms.

    Raises
    ------
    InputError
        If a tomogram is not there, or something of it is missing or cannot be.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(f"{source}: no such file; give the table of tomograms.")
    blocks = read_star(source)
    known = _global(source, blocks)
    rows = {str(name): i for i, name in enumerate(known["rlnTomoName"])}
    found = {}
    for name in dict.fromkeys(wanted):
        if name not in rows:
            raise InputError(
                f"{source}: no tomogram is named {name}, but particles are of it (there"
                f" are: {', '.join(list(rows)[:5])}); give the table of tomograms that"
                " belongs to the particles."
            )
        row = known.iloc[rows[name]]
        file, table = source, blocks.get(name)
        if SERIES_FILE in row:
            text = str(row[SERIES_FILE])
            file = find_stack(source, text, folders_of(source, None))
            series = read_star(file)
            table = series.get(name, next(iter(series.values())))
        if table is None:
            raise InputError(
                f"{source}: neither a block data_{name} nor rlnTomoTiltSeriesStarFile"
                " tells of the tilts; give RELION's table of tomograms."
            )
        found[name] = _series(source, row, file, as_table(table))
    return found


def _series(
    source: Path, row: pd.Series, file: Path, tilts: pd.DataFrame
) -> TiltSeries:
    """Return a tilt series from its row of the tomograms and its own table."""

    def one(column: str, default: float | None = None) -> float:
        if column not in row and default is not None:
            return default
        _needed(source, row.index, column)
        where = f"{column} of tomogram {row['rlnTomoName']}"
        quantity = quantities.OF_COLUMN.get(column)
        return quantities.number(source, where, row[column], quantity)

    def each(column: str, default: float | None = None) -> NDArray[np.float64]:
        if column not in tilts and default is not None:
            return np.full(len(tilts), default)
        _needed(file, tilts.columns, column)
        values = tilts[column].to_numpy()
        return quantities.numbers(file, column, values, rows="tilt")

    hand = one("rlnTomoHand")
    if abs(hand) != 1:
        raise InputError(
            f"{source}: rlnTomoHand of tomogram {row['rlnTomoName']} is {hand:g},"
            " expected 1 or -1; correct it there."
        )
    pixel = "rlnTomoTiltSeriesPixelSize"
    if pixel not in row:
        pixel = "rlnMicrographOriginalPixelSize"
    defocus = ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")
    return TiltSeries(
        _rotations(file, tilts, each),
        np.stack([each(column) for column in defocus], axis=1),
        each("rlnPhaseShift", 0.0),
        each("rlnCtfScalefactor", 1.0),
        each("rlnCtfBfactor", 0.0),
        each("rlnMicrographPreExposure"),
        one("rlnCtfBfactorPerElectronDose", 0.0),
        (one("rlnVoltage"), one("rlnSphericalAberration"), one("rlnAmplitudeContrast")),
        hand,
        np.array([one(column) for column in SIZES]) / 2,
        one(pixel),
    )


def _needed(source: Path, columns: pd.Index, column: str) -> None:
    if column not in columns:
        raise InputError(
            f"{source}: no column {column}; give RELION's tables of tomograms and tilt"
            " series with all that a reconstruction needs."
        )


def _rotations(
    file: Path, tilts: pd.DataFrame, each: Callable[[str], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Return how the tomogram is turned in each tilt.

    Matrices, where there are any, count before angles, as in RELION 5, whose angles
    turn about x first, then y, then z.
    """
    if MATRIX[0] in tilts:
        rows = [_vectors(file, column, tilts) for column in MATRIX]
        found = np.stack(rows, axis=1)[:, :, :3]
        product = found @ found.transpose(0, 2, 1)
        wrong = np.abs(product - np.eye(3)).max(axis=(1, 2)) > ROTATED
        wrong |= np.linalg.det(found) < 0
        if wrong.any():
            raise InputError(
                f"{file}: {', '.join(MATRIX)} of tilt {int(wrong.argmax()) + 1} make no"
                " rotation, expected rows of length 1 at right angles, right-handed;"
                " give projections without magnification."
            )
        return found
    x, y, z = (np.radians(each(column)) for column in TILTS)
    none = np.zeros_like(x)
    turns = [
        euler.from_vector(np.stack(vector, axis=1))
        for vector in ((none, none, z), (none, y, none), (x, none, none))
    ]
    return turns[0] @ turns[1] @ turns[2]


def _vectors(file: Path, column: str, tilts: pd.DataFrame) -> NDArray[np.float64]:
    """Return a column of vectors of four numbers, shape (n, 4)."""
    _needed(file, tilts.columns, column)
    return np.array(
        [
            _vector(file, f"{column} of tilt {i + 1}", text, 4)
            for i, text in enumerate(tilts[column])
        ]
    )


def _vector(source: Path, where: str, text: str, n: int) -> NDArray[np.float64]:
    """Return a value such as [1,0,0,1] as numbers."""
    parts = str(text).strip().removeprefix("[").removesuffix("]").split(",")
    if len(parts) != n:
        raise InputError(
            f"{source}: {where} has {len(parts)} numbers, expected {n}; give the tables"
            " that belong together."
        )
    return np.array([quantities.number(source, where, part) for part in parts])


def read_stacks(
    source: Path,
    table: pd.DataFrame,
    series: Mapping[str, TiltSeries],
    pixel_size: float,
    premultiplied: Sequence[bool],
    turns: NDArray[np.float64],
) -> list[TiltStack]:
    """Return what a table says of the images of its particles.

    Parameters
    ----------
    source : path
        The table, for messages.
    table : DataFrame
        The particles.
    series : mapping
        Tilt series by the names of tomograms.
    pixel_size : float
        Of the images [A].
    premultiplied : sequence of bool
        Whether the images of a particle are multiplied by their contrast.
    turns : ndarray, shape (n, 3, 3)
        Take the axes of the boxes to those of the tomograms.
    """
    of = [series[str(name)] for name in table["rlnTomoName"]]
    places = _places(source, table, of, pixel_size)
    found = []
    for i, known in enumerate(of):
        visible = np.ones(len(known), bool)
        if VISIBLE in table:
            where = f"{VISIBLE} of particle {i + 1}"
            visible = _vector(source, where, table[VISIBLE].iloc[i], len(known)) != 0
        if not visible.any():
            raise InputError(
                f"{source}: {VISIBLE} of particle {i + 1} names no image; leave it out."
            )
        found.append(
            TiltStack(known, visible, places[i], turns[i], bool(premultiplied[i]))
        )
    return found


def _places(
    source: Path, table: pd.DataFrame, of: Sequence[TiltSeries], pixel_size: float
) -> NDArray[np.float64]:
    """Return the places of particles from the centres of their tomograms [A], (n, 3).

    They say how deep in the specimen a particle lies, hence its defocus.
    """
    names = CENTRED if CENTRED[0] in table else CORNER
    for name in names:
        _needed(source, table.columns, name)
    values = np.stack(
        [quantities.numbers(source, name, table[name].to_numpy()) for name in names],
        axis=1,
    )
    if names is CENTRED:
        return values
    by_warp = table["rlnTomoName"].astype(str).str.endswith(WARP_SUFFIX).to_numpy()
    of_series = np.array([known.pixel_size for known in of])
    unit = np.where(by_warp, pixel_size, of_series)
    centres = np.array([known.centre * known.pixel_size for known in of])
    places: NDArray[np.float64] = values * unit[:, None] - centres
    return places
