"""Tables of subtomograms: PyTom's ParticleList, RELION's STAR, Dynamo's table.

A particle of RELION may be a volume or a stack of tilt images.

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
from cryokin.files import portable
from cryokin.io import dynamo, pytom_xml, quantities, tilt_stacks
from cryokin.io.mrc import read_stack_header
from cryokin.io.particles import PARTICLE_BLOCKS, find_stack, folders_of
from cryokin.io.pytom_xml import UNACCOUNTED, Particle
from cryokin.io.stacks import check_unchanged
from cryokin.io.star import Block, as_table, find_block, read_star, write_star
from cryokin.io.tilt_stacks import TiltStack
from cryokin.io.volumes import read_size, read_volume
from cryokin.io.wedges import from_particle
from cryokin.partition.labels import class_numbers
from cryokin.volume import euler
from cryokin.volume.slices import Slices
from cryokin.volume.wedge import (
    Wedge,
    WeightVolume,
    centred_weight,
    halved_axis,
    unmultiplied,
)

#: Endings of the tables that can be read.
TABLE_SUFFIXES = (".xml", ".star", ".tbl")

WEIGHTS_KEPT = 16  # weight volumes kept in memory; most sets share one a tomogram
WEIGHTS_SEEN = 16  # weight volumes that tell the scale of all
ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
ORIGINS_A = ("rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst")
ORIGINS_PIXEL = ("rlnOriginX", "rlnOriginY", "rlnOriginZ")
PLACES = ("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")
# How a box that was cut out of the tomogram turned lies in it (RELION 4 and 5).
BOX_ANGLES = (
    *("rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt"),
    "rlnTomoSubtomogramPsi",
)
CENTRED_PLACE = "rlnCenteredCoordinateXAngst"
STACKS_2D = "rlnTomoSubTomosAre2DStacks"
PREMULTIPLIED = "rlnCtfDataAreCtfPremultiplied"


@dataclass(frozen=True)
class LeftOut:
    """Particles of a list that cannot be used.

    Attributes
    ----------
    ids : tuple of int
        Their places in the whole list, ascending, from 0.
    particles : tuple of Particle
    rows : DataFrame
        Their rows of the STAR table.
    """

    ids: tuple[int, ...]
    particles: tuple[Particle, ...]
    rows: pd.DataFrame


@dataclass(frozen=True)
class Subtomograms:
    """Subtomograms with their poses, wedges and classes.

    Attributes
    ----------
    particles : tuple of Particle
        In the order of the input; files in the working folder have names seen from
        there, others absolute ones.
    star : dict
        Blocks of a STAR file that says the same, with all columns of the input.
    box : int
        Voxels of an edge.
    pixel_size : float or None
        [angstrom].
    weight_scale : float
        Largest weight of a typical weight volume: they are divided by it, because a
        program may write them on any scale.
    copies : tuple of int
        A number of every particle, the same for particles of the same data; empty:
        all differ.
    left_out : LeftOut or None
        Particles of the list that are not among these.
    notes : tuple of str
        Sentences about the list that its owner should read.
    imported : float
        When they were imported [second of the epoch]; files that were changed since
        are refused.
    tomograms : str
        The table of tomograms of particles that are stacks of tilt images; empty: they
        are volumes.
    """

    particles: tuple[Particle, ...]
    star: dict[str, Block]
    box: int
    pixel_size: float | None
    weight_scale: float = 1.0
    copies: tuple[int, ...] = ()
    left_out: LeftOut | None = None
    notes: tuple[str, ...] = ()
    imported: float = np.inf
    tomograms: str = ""

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
                made[particle.wedge] = _wedge(particle.wedge, self.weight_scale)
        return [made[particle.wedge] for particle in self.particles]

    @cached_property
    def labels(self) -> NDArray[np.intp]:
        """Classes of the input, numbered from 0 in the order of their names.

        -1 for particles without a class, or of the class "-1".
        """
        names = np.array([p.label or UNACCOUNTED for p in self.particles])
        numbers = np.full(len(names), -1)
        has = names != UNACCOUNTED
        numbers[has] = np.unique(names[has], return_inverse=True)[1]
        return numbers

    @cached_property
    def ids(self) -> NDArray[np.intp]:
        """Places of the particles in the list that others were left out of."""
        out = self.left_out.ids if self.left_out else ()
        return np.setdiff1d(np.arange(len(self) + len(out)), out)

    @cached_property
    def stacks(self) -> list[TiltStack]:
        """What is known of the tilt images of every particle; empty: volumes."""
        if not self.tomograms:
            return []
        table = as_table(self.star["particles"])
        source = Path("the table of particles")
        return _stacks(source, table, self.star, self.tomograms, self.pixel_size or 1.0)

    def data(self, i: int) -> NDArray[np.float32]:
        """Return what the file of a particle shows of it: a volume, or tilt images."""
        if self.tomograms:
            return self.stacks[i].images(self.particles[i].file)
        return read_volume(self.particles[i].file, finite=False)

    def read(self, i: int) -> NDArray[np.float32] | Slices:
        """Return a particle: a subtomogram, shape (box, box, box), or its slices.

        Of CTF-premultiplied data, what they are without that.
        """
        particle = self.particles[i]
        check_unchanged([particle.file], self.imported, "pytom_import")
        if self.tomograms:
            slices = self.stacks[i].slices(particle.file, self.pixel_size or 1.0)
            return replace(slices, scale=self.weight_scale)
        volume = read_volume(particle.file)
        if getattr(particle.wedge, "premultiplied", False):
            return unmultiplied(volume, self.wedges[i])
        return volume

    def take(self, ids: Sequence[int]) -> Subtomograms:
        """Return some of the particles."""
        return replace(
            self,
            particles=tuple(self.particles[i] for i in ids),
            star=self.star | {"particles": self._rows(ids)},
            copies=tuple(self.copies[i] for i in ids) if self.copies else (),
            left_out=None,
        )

    def without(self, ids: Sequence[int]) -> Subtomograms:
        """Return all particles but some, which `whole` puts back."""
        if not ids:
            return self
        out = sorted(ids)
        rest = self.take(np.setdiff1d(np.arange(len(self)), out).tolist())
        left = tuple(self.particles[i] for i in out)
        return replace(rest, left_out=LeftOut(tuple(out), left, self._rows(out)))

    def whole(self) -> Subtomograms:
        """Return the particles and, unaccounted for, those that were left out."""
        if self.left_out is None:
            return self
        out = self.left_out
        rows = out.rows.assign(rlnClassNumber=UNACCOUNTED)
        both = pd.concat([as_table(self.star["particles"]), rows], ignore_index=True)
        # A column that came after the others were left out.
        both = both.where(both.notna(), "0")
        left = [p.classified(UNACCOUNTED) for p in out.particles]
        order = np.argsort([*self.ids, *out.ids]).tolist()
        return replace(
            self,
            particles=tuple([*self.particles, *left][i] for i in order),
            star=self.star | {"particles": both.iloc[order].reset_index(drop=True)},
            copies=(),
            left_out=None,
        )

    def _rows(self, ids: Sequence[int]) -> pd.DataFrame:
        table = as_table(self.star["particles"])
        return table.iloc[list(ids)].reset_index(drop=True)

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
        names, scale = _origins(table, self.pixel_size)
        origins = -shifts * scale
        for columns, values in ((ANGLES, relion), (names, origins)):
            for column, new in zip(columns, values.T, strict=True):
                old = table[column] if column in table else ["0"] * len(table)
                table[column] = [
                    f"{b:.6f}" if now else a
                    for a, b, now in zip(old, new, moved, strict=True)
                ]
        star = self.star | {"particles": table}
        return replace(self, particles=particles, star=star)

    def classified(
        self,
        labels: NDArray[np.integer],
        scores: NDArray[np.floating] | None = None,
    ) -> Subtomograms:
        """Return the particles in other classes (from 0; -1: unaccounted).

        List and table number them from 1, and have -1 for unaccounted particles. The
        list has the scores, where these are given.
        """
        numbers = class_numbers(labels)
        table = as_table(self.star["particles"]).copy()
        table["rlnClassNumber"] = [str(c) for c in numbers]
        star = self.star | {"particles": table}
        return replace(self, particles=self.listed(numbers, scores), star=star)

    def listed(
        self,
        names: NDArray[np.integer],
        scores: NDArray[np.floating] | None = None,
    ) -> tuple[Particle, ...]:
        """Return the list with classes of these names; PyTom's own count from 0."""
        values = [None] * len(self) if scores is None else scores.tolist()
        return tuple(
            p.classified(str(int(c)), score)
            for p, c, score in zip(self.particles, names, values, strict=True)
        )

    def with_wedges(self, angles: Sequence[float] | None) -> Subtomograms:
        """Return the particles with one wedge (90 - largest tilts); None: as it is."""
        if angles is None:
            return self
        wedges = _tilts(angles, as_table(self.star["particles"]), "wedge")
        return replace(self, particles=_with(self.particles, wedges))

    def write(self, stem: str | os.PathLike[str]) -> None:
        """Write ``<stem>.xml`` and ``<stem>.star``, atomically."""
        pytom_xml.write_particle_list(f"{stem}.xml", self.particles)
        write_star(f"{stem}.star", self.star)


def _origins(
    table: pd.DataFrame, pixel_size: float | None
) -> tuple[tuple[str, str, str], float]:
    """Return the columns of the origins of a table, and the unit that they have.

    In a table that has none yet they are in angstrom, if that is known.
    """
    if any(name in table for name in ORIGINS_A):
        return ORIGINS_A, pixel_size or 1.0
    if pixel_size and not any(name in table for name in ORIGINS_PIXEL):
        return ORIGINS_A, pixel_size
    return ORIGINS_PIXEL, 1.0


def _tilts(
    angles: Sequence[float], table: pd.DataFrame, source: str | os.PathLike[str]
) -> list[pytom_xml.Wedge]:
    """Return the wedge of every particle of a table for one tilt range.

    A box that was cut out turned sees the wedge turned.

    Parameters
    ----------
    angles : sequence of float
        90 - largest tilt on the +x and the -x side of the tomogram [degree].
    table : DataFrame
        The particles.
    source : path-like
        For messages.
    """
    first, second = (float(angle) for angle in angles)
    pytom_xml.checked(pytom_xml.SingleTiltWedge(first, second), source, "")
    turns = np.radians(_columns(source, table, BOX_ANGLES))
    # RELION's matrix takes the axes of the tomogram to those of the box.
    axes = np.degrees(euler.inverse(euler.from_relion(turns)))
    untilted = pytom_xml.SingleTiltWedge().tilt_axis
    return [
        pytom_xml.SingleTiltWedge(
            first, second, tilt_axis=_triple(axis) if turn.any() else untilted
        )
        for axis, turn in zip(axes, turns, strict=True)
    ]


def _with(
    particles: Sequence[Particle], wedges: Sequence[pytom_xml.Wedge]
) -> tuple[Particle, ...]:
    pairs = zip(particles, wedges, strict=True)
    return tuple(replace(particle, wedge=wedge) for particle, wedge in pairs)


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return (x, y, z)


@dataclass(frozen=True)
class _WeightFile:
    """A weight volume that is read when it is needed."""

    wedge: pytom_xml.GeneralWedge | pytom_xml.Wedge3dCTF
    scale: float = 1.0

    @property
    def volume(self) -> WeightVolume:
        # The same name means another file in another working folder.
        file = os.path.abspath(self.wedge.file)
        return _weight_volume(replace(self.wedge, file=file))

    @property
    def is_ctf(self) -> bool:
        return isinstance(self.wedge, pytom_xml.Wedge3dCTF)

    def weight(
        self, k: NDArray[np.float64], box: tuple[int, int, int]
    ) -> NDArray[np.float64]:
        return self.volume.weight(k, box) / self.scale


@lru_cache(maxsize=WEIGHTS_KEPT)
def _weight_volume(
    wedge: pytom_xml.GeneralWedge | pytom_xml.Wedge3dCTF,
) -> WeightVolume:
    volume = centred_weight(read_volume(wedge.file), wedge.file)
    is_ctf = isinstance(wedge, pytom_xml.Wedge3dCTF)
    if isinstance(wedge, pytom_xml.Wedge3dCTF) and wedge.premultiplied:
        volume = np.sqrt(np.maximum(volume, 0))  # of the sum of the squares
    return WeightVolume(volume, is_ctf)


def _wedge(wedge: pytom_xml.Wedge, scale: float) -> Wedge:
    if isinstance(wedge, pytom_xml.GeneralWedge | pytom_xml.Wedge3dCTF):
        return _WeightFile(wedge, scale)
    return from_particle(wedge)


def _weight_scale(source: Path, particles: Sequence[Particle]) -> float:
    """Return the largest weight of a typical weight volume; 1 where there is none.

    Raises
    ------
    InputError
        If a weight volume has the shape of none, or all of them are 0.
    """
    files = {
        p.wedge.file: p.wedge
        for p in particles
        if isinstance(p.wedge, pytom_xml.GeneralWedge | pytom_xml.Wedge3dCTF)
    }
    if not files:
        return 1.0
    for file in files:
        halved_axis(read_size(file)[0], file)
    wedges = list(files.values())
    seen = [wedges[i * len(wedges) // WEIGHTS_SEEN] for i in range(WEIGHTS_SEEN)]
    largest = [
        float(np.abs(_WeightFile(wedge).volume.volume).max())
        for wedge in dict.fromkeys(seen)
    ]
    if not any(largest):
        raise InputError(
            f"{source}: the weight volumes, such as {seen[0].file}, are 0 everywhere,"
            " as if nothing was sampled; give those that belong to the particles."
        )
    return float(np.median([value for value in largest if value]))


def read_subtomograms(
    path: str | os.PathLike[str],
    search: str | os.PathLike[str] | None = None,
    pixel_size: float | None = None,
    wedge_angles: Sequence[float] | None = None,
    tomograms: str | os.PathLike[str] | None = None,
) -> Subtomograms:
    """Read and check a table of subtomograms.

    Parameters
    ----------
    path : path-like
        A ParticleList (.xml), a STAR file or a table of Dynamo (.tbl); or RELION's
        optimisation set, which names a STAR file.
    search : path-like, optional
        Where relative names are looked for first, then beside the table; default: the
        working folder.
    pixel_size : float, optional
        [angstrom], instead of what the files say.
    wedge_angles : sequence of float, optional
        90 - largest tilt on either side [degree], for all particles of a table
        without weight volumes.
    tomograms : path-like, optional
        RELION's table of tomograms, for particles that are stacks of tilt images;
        default: that of the optimisation set.

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
    folders = folders_of(source, search)
    if tables := tilt_stacks.tables_of_set(source, search):
        source, tomograms = tables[0], tomograms or tables[1]
        folders = folders_of(source, search)
    more: pd.DataFrame | None = None
    star: dict[str, Block] | None = None
    listed: float | None = None
    notes: list[str] = []
    if source.suffix.lower() == ".xml":
        particles = pytom_xml.read_particle_list(source)
    elif source.suffix.lower() == ".tbl":
        particles, more, listed = dynamo.read_table(
            source, wedge_angles is None, folders[0]
        )
    else:
        particles, star, listed = _from_star(
            source, pixel_size, folders, wedge_angles, notes
        )
    if not particles:
        raise InputError(f"{source}: there is no particle in it; give another table.")
    if wedge_angles is not None and star is None:
        wedges = _tilts(wedge_angles, pd.DataFrame(index=range(len(particles))), source)
        particles = list(_with(particles, wedges))
    particles = [_found(source, p, folders) for p in particles]
    tilted = star is not None and _are_2d_stacks(source, star)
    box, of_file = (_box_of_stacks if tilted else _box)(source, particles)
    known = pixel_size or listed or of_file
    if of_file and known and abs(of_file / known - 1) > quantities.SAME_SIZE:
        notes.append(
            f"{particles[0].file} has voxels of {of_file:g} A by its header, where"
            f" {known:g} A are taken; see that these are right."
        )
    if star is None:
        star = _star_of(particles, box, known)
        if more is not None:
            star["particles"] = pd.concat([as_table(star["particles"]), more], axis=1)
    else:
        _check_size(source, star, box)
        table = as_table(star["particles"]).copy()
        table["rlnImageName"] = [p.file for p in particles]
        if "rlnCtfImage" in table and wedge_angles is None:
            table["rlnCtfImage"] = [
                p.wedge.file if isinstance(p.wedge, pytom_xml.Wedge3dCTF) else "None"
                for p in particles
            ]
        star = star | {"particles": table}
    found = Subtomograms(tuple(particles), star, box, known, notes=tuple(notes))
    if not tilted:
        return replace(found, weight_scale=_weight_scale(source, particles))
    found = replace(
        found, tomograms=_checked_stacks(source, found, tomograms, wedge_angles)
    )
    return replace(found, weight_scale=_scale_of_slices(found))


def load(
    stem: str | os.PathLike[str],
    box: int,
    pixel_size: float | None,
    weight_scale: float = 1.0,
    tomograms: str = "",
) -> Subtomograms:
    """Read what `Subtomograms.write` wrote."""
    particles = tuple(pytom_xml.read_particle_list(f"{stem}.xml"))
    star = read_star(f"{stem}.star")
    return Subtomograms(
        particles, star, box, pixel_size, weight_scale, tomograms=tomograms
    )


def _found(source: Path, particle: Particle, folders: Sequence[Path]) -> Particle:
    """Return a particle whose files have names seen from the working folder."""
    wedge = particle.wedge
    if isinstance(wedge, pytom_xml.GeneralWedge | pytom_xml.Wedge3dCTF):
        wedge = replace(wedge, file=portable(find_stack(source, wedge.file, folders)))
    file = portable(find_stack(source, particle.file, folders))
    return replace(particle, file=file, wedge=wedge)


def _box(source: Path, particles: Sequence[Particle]) -> tuple[int, float | None]:
    """Return the box of all particles and the pixel size of the first."""
    (n_z, n_y, n_x), pixel_size = read_size(particles[0].file)
    if not n_z == n_y == n_x:
        raise InputError(
            f"{source}: {particles[0].file} has {n_x} x {n_y} x {n_z} voxels, expected"
            " a cube; extract the particles as 3D subtomograms of equal edges."
        )
    for particle in particles:
        shape, other = read_size(particle.file)
        if other and pixel_size and abs(other / pixel_size - 1) > quantities.SAME_SIZE:
            raise InputError(
                f"{source}: {particle.file} has voxels of {other:g} A, but the first"
                f" particle of {pixel_size:g} A; bring all to one pixel size."
            )
        if shape != (n_z, n_y, n_x):
            raise InputError(
                f"{source}: {particle.file} has {' x '.join(map(str, shape[::-1]))}"
                f" voxels, but the first particle has {n_x} x {n_y} x {n_z}; extract"
                " all in one box."
            )
    return int(n_x), pixel_size


def _from_star(
    source: Path,
    pixel_size: float | None,
    folders: Sequence[Path],
    wedge_angles: Sequence[float] | None,
    notes: list[str],
) -> tuple[list[Particle], dict[str, Block], float | None]:
    """Return particles, blocks with ``particles`` and ``optics``, and pixel size."""
    blocks = read_star(source)
    name = find_block(blocks, PARTICLE_BLOCKS)
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
    if len(table) == 0:
        raise InputError(f"{source}: there is no particle in it; give another table.")
    if table["rlnImageName"].str.contains("@").any():
        raise InputError(
            f"{source}: rlnImageName tells of images in stacks, such as"
            f" {table['rlnImageName'].iloc[0]}; classify those with method isac, or"
            " give 3D subtomograms."
        )
    size = _pixel_size(source, table, blocks, pixel_size)
    if any(column in table for column in ORIGINS_A):
        # As RELION does: what an older program left there no longer holds.
        table = table.drop(columns=[c for c in ORIGINS_PIXEL if c in table])
        if size is None:
            size = read_size(find_stack(source, table["rlnImageName"][0], folders))[1]
        if size is None:
            raise InputError(
                f"{source}: origins are in angstrom, but nothing tells the pixel"
                " size; give pixel_size in the config."
            )
    columns, scale = _origins(table, size)
    origins = _columns(source, table, columns) / scale
    angles = np.degrees(euler.from_relion(np.radians(_columns(source, table, ANGLES))))
    places = _columns(source, table, PLACES)
    if not any(column in table for column in ANGLES):
        notes.append(
            f"{source} has no column of angles (rlnAngleRot, rlnAngleTilt,"
            " rlnAnglePsi), so all particles count as lying alike; give a table of"
            " aligned particles, unless they are."
        )
    if CENTRED_PLACE in table and PLACES[0] not in table:
        notes.append(
            f"{source} has places relative to the centres of the tomograms (RELION 5),"
            " which stay in the STAR tables; the lists of PyTom, whose places count"
            " from a corner, have 0 0 0."
        )
    unit = ["1"] * len(table)
    weights = _wedges(source, table, blocks, wedge_angles)
    classes = table.get("rlnClassNumber", unit)
    origin_of = table.get("rlnMicrographName", table.get("rlnTomoName", unit))
    particles = [
        Particle(
            file=file,
            rotation=_triple(angle),
            shift=_triple(-origin),
            position=_triple(place),
            origin=str(tomogram),
            wedge=wedge,
            label=str(label),
        )
        for file, angle, origin, place, tomogram, wedge, label in zip(
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
    others = {n: b for n, b in blocks.items() if n != name}
    return particles, others | {"particles": table}, size


def _wedges(
    source: Path,
    table: pd.DataFrame,
    blocks: dict[str, Block],
    angles: Sequence[float] | None,
) -> list[pytom_xml.Wedge]:
    """Return what every particle of a STAR table sampled; tilt images tell it."""
    if _are_2d_stacks(source, blocks):
        return [pytom_xml.SingleTiltWedge()] * len(table)
    told = _of_optics(source, table, blocks, PREMULTIPLIED) or [""] * len(table)
    multiplied = quantities.flags(source, PREMULTIPLIED, told)
    if any(multiplied) and (angles is not None or "rlnCtfImage" not in table):
        raise InputError(
            f"{source}: the data are CTF-premultiplied ({PREMULTIPLIED} is 1), and only"
            " their weights tell what they were; give a table with rlnCtfImage, and no"
            " 'wedge' in the config."
        )
    if angles is not None:
        return _tilts(angles, table, source)
    if "rlnCtfImage" not in table:
        raise InputError(
            f"{source}: no column rlnCtfImage tells what was sampled; give 'wedge:"
            " {angles: [30, 30]}' (90 + lowest tilt, 90 - highest tilt, in degrees) in"
            " the config."
        )
    return [
        pytom_xml.Wedge3dCTF(weight, premultiplied=squared)
        if weight not in ("", "None")
        else pytom_xml.SingleTiltWedge()
        for weight, squared in zip(table["rlnCtfImage"], multiplied, strict=True)
    ]


def _are_2d_stacks(source: Path, blocks: dict[str, Block]) -> bool:
    """Whether the particles of a STAR file are stacks of tilt images."""
    columns = (block.get(STACKS_2D, ()) for block in map(as_table, blocks.values()))
    return any(any(quantities.flags(source, STACKS_2D, told)) for told in columns)


def _box_of_stacks(
    source: Path, particles: Sequence[Particle]
) -> tuple[int, float | None]:
    """Return the box of all tilt images, and the pixel size of the first."""
    sizes = [read_stack_header(particle.file) for particle in particles]
    first = sizes[0].shape[2]
    for particle, header in zip(particles, sizes, strict=True):
        _, n_y, n_x = header.shape
        if not n_y == n_x == first:
            raise InputError(
                f"{source}: {particle.file} has images of {n_x} x {n_y} pixels,"
                f" expected {first} x {first} as of the first particle; extract all in"
                " one square box."
            )
    return first, sizes[0].pixel_size


def _stacks(
    source: Path,
    table: pd.DataFrame,
    blocks: dict[str, Block],
    tomograms: str | os.PathLike[str],
    pixel_size: float,
) -> list[TiltStack]:
    """Return what the tables say of the tilt images of every particle."""
    series = tilt_stacks.read_tilt_series(tomograms, list(table["rlnTomoName"]))
    told = _of_optics(source, table, blocks, PREMULTIPLIED) or [""] * len(table)
    flags = quantities.flags(source, PREMULTIPLIED, told)
    turns = euler.from_relion(np.radians(_columns(source, table, BOX_ANGLES)))
    # All 0 where there are none: the box lies as the tomogram does.
    return tilt_stacks.read_stacks(
        *(source, table, series, pixel_size, flags),
        euler.matrix(turns),
    )


def _checked_stacks(
    source: Path,
    found: Subtomograms,
    tomograms: str | os.PathLike[str] | None,
    wedge_angles: Sequence[float] | None,
) -> str:
    """Return the path of the table of tomograms that fits the particles.

    Raises
    ------
    InputError
        If there is none, something in it is wrong, or a wedge is given besides.
    """
    table = as_table(found.star["particles"])
    if wedge_angles is not None:
        raise InputError(
            f"{source}: holds stacks of tilt images, which tell themselves what was"
            " sampled; leave 'wedge' out of the config."
        )
    if tomograms is None:
        raise InputError(
            f"{source}: holds stacks of tilt images (rlnTomoSubTomosAre2DStacks is 1),"
            " and no table tells of the tilts; give the optimisation set as 'particles'"
            " or the table of tomograms as 'tomograms' in the config."
        )
    if found.pixel_size is None or "rlnTomoName" not in table:
        raise InputError(
            f"{source}: stacks of tilt images need a pixel size (rlnImagePixelSize) and"
            " rlnTomoName; complete the table."
        )
    stacks = _stacks(source, table, found.star, tomograms, found.pixel_size)
    for particle, stack in zip(found.particles, stacks, strict=True):
        stack.check_number(particle.file)
    return portable(tomograms)


def _scale_of_slices(found: Subtomograms) -> float:
    """Return the weight of a typical particle where it was sampled.

    Not the largest: that is of the few frequencies where all slices meet.
    """
    n = min(WEIGHTS_SEEN, len(found))
    typical = []
    for i in range(n):
        source = found.read(i * len(found) // n)
        assert isinstance(source, Slices)
        _, weight = source.placed(np.eye(3), np.zeros(3))
        typical.append(float(np.sqrt(weight.sum() / max(np.count_nonzero(weight), 1))))
    scale = float(np.median([value for value in typical if value] or [0]))
    if scale == 0:
        raise InputError(
            f"{found.tomograms}: by scale and dose of its tilts no image shows a thing;"
            " see that rlnCtfScalefactor and rlnMicrographPreExposure are right."
        )
    return scale


def _pixel_size(
    source: Path, table: pd.DataFrame, blocks: dict[str, Block], given: float | None
) -> float | None:
    """Return the pixel size of all particles [A]; None where nothing tells it.

    The user's comes first; what the table says instead may then be no size at all, but
    several are still two scales.

    Raises
    ------
    InputError
        If it is none, or not the same for all.
    """
    try:
        sizes = _told_sizes(source, table, blocks)
    except InputError:
        if given is None:
            raise
        sizes = None
    if sizes is None:
        return given
    if np.ptp(sizes) > quantities.SAME_SIZE * sizes[0]:
        other = int(np.abs(sizes - sizes[0]).argmax())
        raise InputError(
            f"{source}: particle 1 has voxels of {sizes[0]:g} A, and particle"
            f" {other + 1} of {sizes[other]:g} A, which cannot be averaged; extract all"
            " with one pixel size, or classify them apart."
        )
    return given or float(sizes[0])


def _told_sizes(
    source: Path, table: pd.DataFrame, blocks: dict[str, Block]
) -> NDArray[np.float64] | None:
    """Return the pixel size of every particle [A]; None where nothing tells it."""
    for column in ("rlnImagePixelSize", "rlnPixelSize"):
        told = _of_optics(source, table, blocks, column)
        if told is not None:
            return quantities.numbers(source, column, told)
    both = ("rlnDetectorPixelSize", "rlnMagnification")
    if not all(column in table for column in both):
        return None
    detector, magnification = (
        quantities.numbers(source, column, table[column].to_numpy()) for column in both
    )
    return detector * 1e4 / magnification


def _of_optics(
    source: Path, table: pd.DataFrame, blocks: dict[str, Block], column: str
) -> list[str] | None:
    """Return a column of the particles, or of their optics groups; None: in neither.

    Raises
    ------
    InputError
        If the group of a particle is not there, or there twice.
    """
    if column in table:
        return list(table[column])
    optics = as_table(blocks["optics"]) if "optics" in blocks else pd.DataFrame()
    if column not in optics or len(optics) == 0:
        return None
    if "rlnOpticsGroup" not in table or "rlnOpticsGroup" not in optics:
        if optics[column].nunique() > 1:
            raise InputError(
                f"{source}: there are {len(optics)} optics groups of several {column},"
                " and no column rlnOpticsGroup tells which is whose; repair the table."
            )
        return [optics[column].iloc[0]] * len(table)
    groups = [str(group) for group in optics["rlnOpticsGroup"]]
    by_group = dict(zip(groups, optics[column], strict=True))
    wanted = [str(group) for group in table["rlnOpticsGroup"]]
    twice = next((g for g in by_group if groups.count(g) > 1), None)
    absent = next((i for i, g in enumerate(wanted) if g not in by_group), None)
    if twice is not None or absent is not None:
        what = (
            f"optics group {twice} stands twice in data_optics"
            if absent is None
            else f"rlnOpticsGroup of particle {absent + 1} is {wanted[absent]},"
            f" but data_optics has {', '.join(by_group)} alone"
        )
        raise InputError(f"{source}: {what}; repair the table.")
    return [by_group[group] for group in wanted]


def _check_size(source: Path, star: dict[str, Block], box: int) -> None:
    """Raise `InputError` where the table tells another box than the volumes."""
    told = _of_optics(source, as_table(star["particles"]), star, "rlnImageSize")
    for size in dict.fromkeys(told or ()):
        if quantities.number(source, "rlnImageSize", size, quantities.BOX) != box:
            raise InputError(
                f"{source}: rlnImageSize is {size}, but the subtomograms have {box}"
                " voxels; give the table and the volumes that belong together."
            )


def _columns(
    source: str | os.PathLike[str], table: pd.DataFrame, names: Sequence[str]
) -> NDArray[np.float64]:
    """Return columns as numbers that can be, shape (n, len(names)).

    Where all are missing they are 0.
    """
    missing = [name for name in names if name not in table]
    if len(missing) == len(names):
        return np.zeros((len(table), len(names)))
    if missing:
        raise InputError(
            f"{source}: no column {missing[0]}, but {', '.join(names)} belong together;"
            " complete the table."
        )
    columns = [
        quantities.numbers(source, name, table[name].to_numpy()) for name in names
    ]
    return np.stack(columns, axis=1)


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
