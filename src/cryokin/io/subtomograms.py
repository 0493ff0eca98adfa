"""Tables of subtomograms: PyTom's ParticleList, RELION's STAR, Dynamo's table.

Whatever the input, particles become those of `cryokin.io.pytom_xml` (degree, voxel),
and a STAR table with all columns of the input goes along.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.io import dynamo, pytom_xml
from cryokin.io.pytom_xml import Particle
from cryokin.io.star import Block, as_table, read_star, write_star
from cryokin.io.volumes import read_size, read_volume
from cryokin.volume import euler
from cryokin.volume.wedge import Wedge, WeightVolume, centred_weight, from_particle

#: Endings of the tables that can be read.
TABLE_SUFFIXES = (".xml", ".star", ".tbl")

WEIGHTS_KEPT = 16  # weight volumes kept in memory; most sets share one a tomogram
ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
ORIGINS_A = ("rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst")
ORIGINS_PIXEL = ("rlnOriginX", "rlnOriginY", "rlnOriginZ")
PLACES = ("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")


@dataclass(frozen=True)
class Subtomograms:
    """Subtomograms with their poses, wedges and classes.

    Attributes
    ----------
    particles : tuple of Particle
        In the order of the input; file names are absolute.
    star : dict
        Blocks of a STAR file that says the same, with all columns of the input.
    box : int
        Voxels of an edge.
    pixel_size : float or None
        [angstrom].
    """

    particles: tuple[Particle, ...]
    star: dict[str, Block]
    box: int
    pixel_size: float | None

    def __len__(self) -> int:
        return len(self.particles)

    @cached_property
    def rotations(self) -> NDArray[np.float64]:
        """R of every particle, shape (n, 3, 3)."""
        angles = [p.rotation for p in self.particles]
        return euler.matrix(np.radians(np.array(angles, np.float64)))

    @cached_property
    def shifts(self) -> NDArray[np.float64]:
        """Shift (x, y, z) of every particle, shape (n, 3) [voxel]."""
        return np.array([p.shift for p in self.particles], np.float64)

    @cached_property
    def wedges(self) -> list[Wedge]:
        """Wedge of every particle; weight volumes are read when they are asked for."""
        made: dict[pytom_xml.Wedge, Wedge] = {}
        for particle in self.particles:
            if particle.wedge not in made:
                made[particle.wedge] = _wedge(particle.wedge)
        return [made[particle.wedge] for particle in self.particles]

    @cached_property
    def labels(self) -> NDArray[np.intp]:
        """Classes of the input, numbered from 0 in the order of their names."""
        names = np.array([str(p.label) for p in self.particles])
        numbers: NDArray[np.intp] = np.unique(names, return_inverse=True)[1]
        return numbers

    def read(self, i: int) -> NDArray[np.float32]:
        """Return the subtomogram of a particle, shape (box, box, box)."""
        return read_volume(self.particles[i].file)

    def take(self, ids: Sequence[int]) -> Subtomograms:
        """Return some of the particles."""
        star = dict(self.star)
        table = as_table(star["particles"])
        star["particles"] = table.iloc[list(ids)].reset_index(drop=True)
        return replace(self, particles=tuple(self.particles[i] for i in ids), star=star)

    def placed(
        self, rotations: NDArray[np.float64], shifts: NDArray[np.float64]
    ) -> Subtomograms:
        """Return the particles at other poses; equal ones keep their text."""
        angles = np.degrees(euler.angles(rotations))
        relion = np.degrees(euler.to_relion(np.radians(angles)))
        turned = ~np.isclose(rotations, self.rotations, atol=1e-9).all(axis=(1, 2))
        shifted = ~np.isclose(shifts, self.shifts, atol=1e-9).all(axis=1)
        moved = np.logical_or(turned, shifted).tolist()
        particles = tuple(
            replace(p, rotation=_triple(a), shift=_triple(s)) if now else p
            for p, a, s, now in zip(self.particles, angles, shifts, moved, strict=True)
        )
        table = as_table(self.star["particles"]).copy()
        names = ORIGINS_A if self.pixel_size else ORIGINS_PIXEL
        origins = -shifts * (self.pixel_size or 1.0)
        for columns, values in ((ANGLES, relion), (names, origins)):
            for column, new in zip(columns, values.T, strict=True):
                old = table[column] if column in table else ["0"] * len(table)
                table[column] = [
                    f"{b:.6f}" if now else a
                    for a, b, now in zip(old, new, moved, strict=True)
                ]
        star = self.star | {"particles": table}
        return replace(self, particles=particles, star=star)

    def classified(self, labels: NDArray[np.integer]) -> Subtomograms:
        """Return the particles in other classes (from 0; -1: unaccounted).

        The STAR table counts classes from 1, and has -1 for unaccounted particles.
        """
        particles = tuple(
            p.classified(str(int(c)))
            for p, c in zip(self.particles, labels, strict=True)
        )
        table = as_table(self.star["particles"]).copy()
        table["rlnClassNumber"] = [str(c + 1 if c >= 0 else -1) for c in labels]
        star = self.star | {"particles": table}
        return replace(self, particles=particles, star=star)

    def with_wedges(self, angles: Sequence[float] | None) -> Subtomograms:
        """Return the particles with one wedge (90 - largest tilts); None: as it is."""
        if angles is None:
            return self
        particles = tuple(replace(p, wedge=_tilts(angles)) for p in self.particles)
        return replace(self, particles=particles)

    def write(self, stem: str | os.PathLike[str]) -> None:
        """Write ``<stem>.xml`` and ``<stem>.star``, atomically."""
        pytom_xml.write_particle_list(f"{stem}.xml", self.particles)
        write_star(f"{stem}.star", self.star)


def _tilts(angles: Sequence[float]) -> pytom_xml.SingleTiltWedge:
    """Return the wedge of a tilt range, 90 - largest tilt on either side [degree]."""
    first, second = angles
    return pytom_xml.SingleTiltWedge(float(first), float(second))


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return (x, y, z)


@dataclass(frozen=True)
class _WeightFile:
    """A weight volume that is read when it is needed."""

    path: str
    is_ctf: bool

    def weight(
        self, k: NDArray[np.float64], box: tuple[int, int, int]
    ) -> NDArray[np.float64]:
        return _weight_volume(self.path, self.is_ctf).weight(k, box)


@lru_cache(maxsize=WEIGHTS_KEPT)
def _weight_volume(path: str, is_ctf: bool) -> WeightVolume:
    return WeightVolume(centred_weight(read_volume(path), path), is_ctf)


def _wedge(wedge: pytom_xml.Wedge) -> Wedge:
    if isinstance(wedge, pytom_xml.GeneralWedge | pytom_xml.Wedge3dCTF):
        return _WeightFile(wedge.file, isinstance(wedge, pytom_xml.Wedge3dCTF))
    return from_particle(wedge)


def read_subtomograms(
    path: str | os.PathLike[str],
    search: str | os.PathLike[str] | None = None,
    pixel_size: float | None = None,
    wedge_angles: Sequence[float] | None = None,
) -> Subtomograms:
    """Read and check a table of subtomograms.

    Parameters
    ----------
    path : path-like
        A ParticleList (.xml), a STAR file or a table of Dynamo (.tbl).
    search : path-like, optional
        Where relative names are looked for first, then beside the table; default: the
        working folder.
    pixel_size : float, optional
        [angstrom], instead of what the files say.
    wedge_angles : sequence of float, optional
        90 - largest tilt on either side [degree], for all particles of a table
        without weight volumes.

    Raises
    ------
    InputError
        If the table or a volume cannot be used.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError(
            f"{source}: no such file; give a ParticleList, a STAR file or a table of"
            " Dynamo."
        )
    folders = (Path(search) if search is not None else Path.cwd(), source.parent)
    more: pd.DataFrame | None = None
    star: dict[str, Block] | None = None
    listed: float | None = None
    if source.suffix.lower() == ".xml":
        particles = pytom_xml.read_particle_list(source)
    elif source.suffix.lower() == ".tbl":
        particles, more = dynamo.read_table(source)
    else:
        particles, star, listed = _from_star(source, pixel_size)
    if not particles:
        raise InputError(f"{source}: there is no particle in it; give another table.")
    if wedge_angles is not None:
        particles = [replace(p, wedge=_tilts(wedge_angles)) for p in particles]
    elif star is not None and "rlnCtfImage" not in as_table(star["particles"]):
        raise InputError(
            f"{source}: no column rlnCtfImage tells what was sampled; give 'wedge:"
            " {angles: [30, 30]}' (90 - largest tilt on either side, in degrees) in"
            " the config."
        )
    particles = [_found(source, p, folders) for p in particles]
    box, of_file = _box(source, particles)
    known = pixel_size or listed or of_file
    if star is None:
        star = _star_of(particles, box, known)
        if more is not None:
            star["particles"] = pd.concat([as_table(star["particles"]), more], axis=1)
    else:
        table = as_table(star["particles"]).copy()
        table["rlnImageName"] = [p.file for p in particles]
        if "rlnCtfImage" in table and wedge_angles is None:
            table["rlnCtfImage"] = [
                p.wedge.file if isinstance(p.wedge, pytom_xml.Wedge3dCTF) else "None"
                for p in particles
            ]
        star = star | {"particles": table}
    return Subtomograms(tuple(particles), star, box, known)


def load(
    stem: str | os.PathLike[str], box: int, pixel_size: float | None
) -> Subtomograms:
    """Read what `Subtomograms.write` wrote."""
    particles = pytom_xml.read_particle_list(f"{stem}.xml")
    return Subtomograms(tuple(particles), read_star(f"{stem}.star"), box, pixel_size)


def _found(source: Path, particle: Particle, folders: Sequence[Path]) -> Particle:
    """Return a particle whose files have absolute names."""
    wedge = particle.wedge
    if isinstance(wedge, pytom_xml.GeneralWedge | pytom_xml.Wedge3dCTF):
        wedge = replace(wedge, file=_absolute(source, wedge.file, folders))
    file = _absolute(source, particle.file, folders)
    return replace(particle, file=file, wedge=wedge)


def _absolute(source: Path, name: str, folders: Sequence[Path]) -> str:
    for folder in folders:
        if (folder / name).is_file():
            return os.path.abspath(folder / name)
    raise InputError(
        f"{source}: {name} is not there, seen from"
        f" {' or '.join(dict.fromkeys(str(f.absolute()) for f in folders))};"
        " correct the name, or work in the folder where the table belongs."
    )


def _box(source: Path, particles: Sequence[Particle]) -> tuple[int, float | None]:
    """Return the box of all particles and the pixel size of the first."""
    (n_z, n_y, n_x), pixel_size = read_size(particles[0].file)
    if not n_z == n_y == n_x:
        raise InputError(
            f"{source}: {particles[0].file} has {n_x} x {n_y} x {n_z} voxels, expected"
            " a cube; extract the particles as 3D subtomograms of equal edges."
        )
    for particle in particles:
        shape, _ = read_size(particle.file)
        if shape != (n_z, n_y, n_x):
            raise InputError(
                f"{source}: {particle.file} has {' x '.join(map(str, shape[::-1]))}"
                f" voxels, but the first particle has {n_x} x {n_y} x {n_z}; extract"
                " all in one box."
            )
    return int(n_x), pixel_size


def _from_star(
    source: Path, pixel_size: float | None
) -> tuple[list[Particle], dict[str, Block], float | None]:
    """Return particles, blocks with ``particles`` and ``optics``, and pixel size."""
    blocks = read_star(source)
    _refuse_2d_stacks(source, blocks)
    name = next((n for n in ("particles", "images", "") if n in blocks), None)
    if name is None:
        raise InputError(
            f"{source}: there is no block data_particles (there are:"
            f" {', '.join(blocks)}); give a particle table."
        )
    table = as_table(blocks[name])
    if "rlnImageName" not in table:
        raise InputError(
            f"{source}: no column rlnImageName; give a table of extracted subtomograms."
        )
    if table["rlnImageName"].str.contains("@").any():
        raise InputError(
            f"{source}: rlnImageName tells of images in stacks, such as"
            f" {table['rlnImageName'].iloc[0]}; classify those with method isac, or"
            " give 3D subtomograms."
        )
    sizes = _pixel_sizes(table, blocks, pixel_size)
    origins = np.zeros((len(table), 3))
    if any(column in table for column in ORIGINS_A):
        if sizes is None:
            raise InputError(
                f"{source}: origins are in angstrom, but nothing tells the pixel"
                " size; give pixel_size in the config."
            )
        origins = _columns(source, table, ORIGINS_A) / sizes[:, None]
    elif any(column in table for column in ORIGINS_PIXEL):
        origins = _columns(source, table, ORIGINS_PIXEL)
    angles = np.degrees(euler.from_relion(np.radians(_columns(source, table, ANGLES))))
    places = _columns(source, table, PLACES)
    unit = ["1"] * len(table)
    weights = table["rlnCtfImage"] if "rlnCtfImage" in table else [""] * len(table)
    classes = table.get("rlnClassNumber", unit)
    origin_of = table.get("rlnMicrographName", table.get("rlnTomoName", unit))
    particles = [
        Particle(
            file=file,
            rotation=_triple(angle),
            shift=_triple(-origin),
            position=_triple(place),
            origin=str(tomogram),
            wedge=pytom_xml.Wedge3dCTF(weight)
            if weight not in ("", "None")
            else pytom_xml.SingleTiltWedge(),
            label=str(label),
        )
        for file, angle, origin, place, tomogram, weight, label in zip(
            table["rlnImageName"],
            angles,
            origins,
            places,
            origin_of,
            weights,
            classes,
            strict=True,
        )
    ]
    known = None if sizes is None else float(sizes[0])
    others = {n: b for n, b in blocks.items() if n != name}
    return particles, others | {"particles": table}, known


def _refuse_2d_stacks(source: Path, blocks: dict[str, Block]) -> None:
    for block in map(as_table, blocks.values()):
        flags = block.get("rlnTomoSubTomosAre2DStacks", ())
        if any(str(value).strip() in ("1", "True", "true") for value in flags):
            raise InputError(
                f"{source}: holds RELION 5's stacks of tilted 2D images"
                " (rlnTomoSubTomosAre2DStacks is 1), expected volumes; extract the"
                " particles again as 3D subtomograms ('Write output as 2D stacks? No')."
            )


def _pixel_sizes(
    table: pd.DataFrame, blocks: dict[str, Block], given: float | None
) -> NDArray[np.float64] | None:
    """Return the pixel size of every particle [A]; None where nothing tells it."""
    if given is not None:
        return np.full(len(table), given)
    columns = ("rlnImagePixelSize", "rlnPixelSize")
    optics = as_table(blocks["optics"]) if "optics" in blocks else None
    for column in columns:
        if column in table:
            return table[column].to_numpy(np.float64)
        if optics is not None and column in optics:
            if "rlnOpticsGroup" in table and "rlnOpticsGroup" in optics:
                by_group = dict(
                    zip(optics["rlnOpticsGroup"], optics[column], strict=True)
                )
                return table["rlnOpticsGroup"].map(by_group).to_numpy(np.float64)
            return np.full(len(table), float(optics[column].iloc[0]))
    both = ("rlnDetectorPixelSize", "rlnMagnification")
    if all(column in table for column in both):
        detector, magnification = (table[c].to_numpy(np.float64) for c in both)
        return np.asarray(detector * 1e4 / magnification)
    return None


def _columns(
    source: Path, table: pd.DataFrame, names: Sequence[str]
) -> NDArray[np.float64]:
    """Return columns as numbers, shape (n, len(names)); missing ones are 0."""
    values = np.zeros((len(table), len(names)))
    for i, name in enumerate(names):
        if name in table:
            try:
                values[:, i] = table[name].to_numpy(np.float64)
            except ValueError:
                raise InputError(
                    f"{source}: a value of {name} is no number; correct the table."
                ) from None
    return values


def _star_of(
    particles: Sequence[Particle], box: int, pixel_size: float | None
) -> dict[str, Block]:
    """Return the STAR blocks of a particle list."""
    angles = np.degrees(euler.to_relion(np.radians([p.rotation for p in particles])))
    origins = -np.array([p.shift for p in particles]) * (pixel_size or 1.0)
    names = ORIGINS_A if pixel_size else ORIGINS_PIXEL
    columns: dict[str, list[str]] = {
        "rlnImageName": [p.file for p in particles],
        "rlnMicrographName": [p.origin or "None" for p in particles],
        "rlnOpticsGroup": ["1"] * len(particles),
    }
    for places, values in (
        (PLACES, np.array([p.position for p in particles])),
        (ANGLES, angles),
        (names, origins),
    ):
        for name, column in zip(places, values.T, strict=True):
            columns[name] = [f"{value:.6f}" for value in column]
    files = [getattr(p.wedge, "file", "") for p in particles]
    if any(files):
        columns["rlnCtfImage"] = [file or "None" for file in files]
    optics = {
        "rlnOpticsGroup": ["1"],
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnImageSize": [str(box)],
        "rlnImageDimensionality": ["3"],
    }
    if pixel_size:
        optics["rlnImagePixelSize"] = [f"{pixel_size:.6f}"]
    return {"optics": pd.DataFrame(optics), "particles": pd.DataFrame(columns)}
