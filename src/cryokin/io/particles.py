"""The particle table: one row per particle, whatever program wrote it.

Each dialect has a reader that returns rows in RELION's columns; `read_particles` picks
one and adds what RELION 3.1 and later expect, a table of optics groups. Values stay the
text of the input, so that columns nobody here knows come out of the workflow unchanged.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cryokin.errors import InputError
from cryokin.io.cryosparc import cryosparc_particles
from cryokin.io.eman_hdf import is_hdf
from cryokin.io.eman_particles import eman_particles
from cryokin.io.mrc import read_stack_header
from cryokin.io.stacks import (
    CTF_DTYPE,
    ImageReport,
    ImageSource,
    image_name,
    inspect_images,
    open_images,
    square_side,
)
from cryokin.io.star import Block, as_table, read_star, write_star

ACCEPTED = (
    "a RELION table (.star), a stack (.mrcs, .mrc, .st), an EMAN2 or SPARX stack"
    " (.hdf), or a cryoSPARC table (.cs)"
)

_PARTICLE_BLOCKS = ("particles", "images", "")
# Where an optics group has its pixel size, in RELION's order of preference.
_PIXEL_SIZES = (
    "rlnImagePixelSize",
    "rlnMicrographPixelSize",
    "rlnMicrographOriginalPixelSize",
)
_OPTICS_COLUMNS = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")
_CTF_COLUMNS = {
    "defocus_u": "rlnDefocusU",
    "defocus_v": "rlnDefocusV",
    "defocus_angle": "rlnDefocusAngle",
    "voltage": "rlnVoltage",
    "cs": "rlnSphericalAberration",
    "amplitude_contrast": "rlnAmplitudeContrast",
    "phase_shift": "rlnPhaseShift",
}
_CTF_NEEDED = ("defocus_u", "voltage", "cs", "amplitude_contrast")
# Columns that say that the images went through the CTF already.
_CTF_DONE = (
    "rlnCtfDataArePhaseFlipped",
    "rlnCtfDataAreCtfPremultiplied",
    "eman_ctf_applied",
)
_SIGN = "cryosparc_blob_sign"


@dataclass
class ParticleTable:
    """Particles and the optics groups they belong to.

    Attributes
    ----------
    particles : pandas.DataFrame
        One row per particle, in the order of the input; all values are text.
    optics : pandas.DataFrame
        One row per optics group.
    source : Path
        The file the table was read from.
    others : dict
        The other blocks of a STAR file.
    folders : tuple of Path
        Where relative image names are looked for, in order.
    """

    particles: pd.DataFrame
    optics: pd.DataFrame
    source: Path
    others: dict[str, Block] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()

    @property
    def n(self) -> int:
        """Number of particles."""
        return len(self.particles)

    def text(self, column: str) -> NDArray[np.object_] | None:
        """Return a column per particle, as text.

        A column of the particles comes before one of their optics groups; None if
        neither has it.
        """
        if column in self.particles:
            return self.particles[column].to_numpy(dtype=object)
        if column in self.optics:
            return self.optics[column].to_numpy(dtype=object)[self._group]
        return None

    def numbers(self, column: str) -> NDArray[np.float64] | None:
        """Return a column per particle as numbers; None if there is none.

        Raises
        ------
        InputError
            If a value is no finite number.
        """
        values = self.text(column)
        if values is None:
            return None
        numbers = pd.to_numeric(pd.Series(values), errors="coerce").to_numpy(np.float64)
        wrong = np.flatnonzero(~np.isfinite(numbers))
        if len(wrong):
            raise InputError(
                f"{self.source}: {column} of particle {wrong[0]} is"
                f" {str(values[wrong[0]])!r}, not a finite number; repair the table."
            )
        return numbers

    @property
    def pixel_size(self) -> float:
        """Angstrom per pixel.

        Raises
        ------
        InputError
            If it is unknown, or the particles differ in pixel size or image size.
        """
        self._one_value("rlnImageSize", "image size", "pixel")
        column = next((c for c in _PIXEL_SIZES if c in self.optics), _PIXEL_SIZES[0])
        size = self._one_value(column, "pixel size", "A")
        if size is None:
            raise InputError(
                f"{self.source}: gives no pixel size (0 and 1 A in the header of a"
                " stack stand for unknown); set pixel_size [A] in config/config.yaml."
            )
        if size <= 0:
            raise InputError(
                f"{self.source}: pixel size {size} A; give one above 0 as pixel_size"
                " in config/config.yaml."
            )
        return size

    @cached_property
    def locations(
        self,
    ) -> tuple[list[Path], NDArray[np.int32], NDArray[np.int32]]:
        """Stacks (absolute), and of each particle which stack and which image.

        Images are counted from 0. Relative names are looked for as RELION does, in the
        working folder, then beside the table.

        Raises
        ------
        InputError
            If a stack is in neither place, or an image name has no number from 1.
        """
        names = self.particles["rlnImageName"].to_numpy(dtype=object)
        found: dict[str, int] = {}
        files: list[Path] = []
        file_index = np.zeros(self.n, np.int32)
        image_index = np.zeros(self.n, np.int32)
        for row, name in enumerate(names):
            number, at, file = str(name).partition("@")
            if not at:
                number, file = "1", number  # a file that holds one image
            if not number.isdecimal() or int(number) < 1:
                raise InputError(
                    f"{self.source}: rlnImageName of particle {row} is {name!r}; give"
                    " number@stack with numbers from 1."
                )
            if file not in found:
                found[file] = len(files)
                files.append(self._resolved(file))
            file_index[row], image_index[row] = found[file], int(number) - 1
        return files, file_index, image_index

    @property
    def images(self) -> list[tuple[Path, int]]:
        """Stack and image in it, from 0, of each particle."""
        files, file_index, image_index = self.locations
        return [
            (files[file], int(i))
            for file, i in zip(file_index, image_index, strict=True)
        ]

    @property
    def missing_ctf(self) -> list[str]:
        """The columns that a CTF needs and the table lacks."""
        needed = [_CTF_COLUMNS[name] for name in _CTF_NEEDED]
        return [column for column in needed if self.text(column) is None]

    @property
    def ctf(self) -> NDArray[Any]:
        """CTF parameters, structured array (n,) of `stacks.CTF_FIELDS`.

        Without a column of their own, ``defocus_v`` is ``defocus_u``, and the angle and
        the phase shift are 0.

        Raises
        ------
        InputError
            If columns are missing, or the images were corrected for the CTF before.
        """
        if self.missing_ctf:
            raise InputError(
                f"{self.source}: no CTF, the columns {', '.join(self.missing_ctf)} are"
                " missing; set CTF: false in config/config.yaml or give a table after"
                " CTF estimation."
            )
        for column in _CTF_DONE:
            flags = self.text(column)
            if flags is not None and any(_is_set(flag) for flag in flags):
                raise InputError(
                    f"{self.source}: {column} says that the images were corrected for"
                    " the CTF before; set CTF: false in config/config.yaml."
                )
        ctf = np.zeros(self.n, CTF_DTYPE)
        for name, column in _CTF_COLUMNS.items():
            values = self.numbers(column)
            if values is not None:
                ctf[name] = values
            elif name == "defocus_v":
                ctf[name] = ctf["defocus_u"]
        return ctf

    @property
    def sign(self) -> NDArray[np.float32]:
        """Factor of the pixels, (n,): -1 where cryoSPARC calls a stack inverted."""
        values = self.numbers(_SIGN)
        if values is None:
            return np.ones(self.n, np.float32)
        return np.where(values < 0, -1, 1).astype(np.float32)

    @cached_property
    def _group(self) -> NDArray[np.intp]:
        """Row of `optics` of each particle."""
        row_of = {str(g): row for row, g in enumerate(self.optics["rlnOpticsGroup"])}
        groups = self.particles["rlnOpticsGroup"]
        unknown = sorted(set(map(str, groups)) - set(row_of))
        if unknown:
            raise InputError(
                f"{self.source}: rlnOpticsGroup {', '.join(unknown)} of the particles"
                f" is not among the optics groups {', '.join(row_of)}; repair the"
                " table."
            )
        return np.array([row_of[str(g)] for g in groups], dtype=np.intp)

    def _one_value(self, column: str, what: str, unit: str) -> float | None:
        """Return the value of an optics column that all particles must share."""
        if column not in self.optics:
            return None
        used = np.unique(self._group)
        texts = [str(text) for text in self.optics[column].to_numpy()[used]]
        values = pd.to_numeric(pd.Series(texts), errors="coerce").to_numpy(np.float64)
        known = values[np.isfinite(values)]
        if len(known) == 0:
            return None
        if len(known) < len(values) or known.max() - known.min() > 1e-4 * known.max():
            names = [str(g) for g in self.optics["rlnOpticsGroup"].to_numpy()[used]]
            each = ", ".join(
                f"{text} in group {name}"
                for text, name in zip(texts, names, strict=True)
            )
            raise InputError(
                f"{self.source}: several values of {what} [{unit}] ({column}: {each});"
                " bring the particles to one scale or classify each optics group by"
                " itself."
            )
        return float(known[0])

    def _resolved(self, file: str) -> Path:
        """Return the absolute path of a stack."""
        # Joining an absolute name to a folder gives the absolute name.
        tried = [os.path.abspath(folder / file) for folder in self.folders]
        for place in tried:
            if os.path.isfile(place):
                return Path(place)
        raise InputError(
            f"{self.source}: the stack {file} is not there (looked for"
            f" {' and '.join(dict.fromkeys(tried))}); run in the folder the names are"
            " relative to, or bring the stack there."
        )


def read_particles(
    path: str | os.PathLike[str],
    search: str | os.PathLike[str] | None = None,
    pixel_size: float | None = None,
) -> ParticleTable:
    """Read a particle table of any dialect, or a stack without a table.

    Parameters
    ----------
    path : path-like
        The table or stack.
    search : path-like, optional
        Where relative image names are looked for first; default: the working folder.
    pixel_size : float, optional
        Angstrom per pixel, instead of what the table says.

    Raises
    ------
    InputError
        If the file is missing, of no known kind, or holds subtomograms.
    """
    if os.fspath(path).startswith("bdb:"):
        raise InputError(
            f"{path}: a BDB database can be read by EMAN2 alone; convert it with"
            f" `e2proc2d.py {path} particles.hdf` and give particles.hdf."
        )
    source = Path(path)
    if not source.is_file():
        raise InputError(f"{source}: no such file; give {ACCEPTED}.")
    folder = Path(search) if search is not None else Path.cwd()
    suffix = source.suffix.lower()
    folders: tuple[Path, ...] = (folder, source.parent)
    optics: pd.DataFrame | None = None
    others: dict[str, Block] = {}
    if suffix == ".star":
        particles, optics, others = _star_particles(source)
    elif suffix == ".cs":
        particles = cryosparc_particles(source)
        folders = (*folders, source.absolute().parent.parent)  # project of the job
    elif suffix in (".hdf", ".h5", ".hdf5") and is_hdf(source):
        particles = eman_particles(source)
    elif suffix in (".mrcs", ".mrc", ".st"):
        particles = _stack_particles(source)
    else:
        raise InputError(f"{source}: not a particle table known here; give {ACCEPTED}.")
    if len(particles) == 0:
        raise InputError(f"{source}: holds no particle; give a table that does.")
    _refuse_subtomograms(source, particles, optics, others)
    if optics is None:
        particles, optics = _with_optics(particles)
    elif "rlnOpticsGroup" not in particles:
        particles = _with_only_group(source, particles, optics)
    if pixel_size is not None:
        optics = optics.assign(rlnImagePixelSize=f"{pixel_size:.6f}")
    return ParticleTable(particles, optics, source, others, folders)


def canonical(table: ParticleTable, box: int) -> ParticleTable:
    """Return the table with absolute image names and complete optics groups.

    Parameters
    ----------
    table : ParticleTable
        Any table.
    box : int
        Side of the images [pixel], as found in the stacks.
    """
    files, file_index, image_index = table.locations
    names = [
        image_name(files[file], int(i))
        for file, i in zip(file_index, image_index, strict=True)
    ]
    particles = table.particles.assign(rlnImageName=pd.Series(names, dtype=object))
    optics = table.optics.copy()
    known = {
        "rlnImagePixelSize": f"{table.pixel_size:.6f}",
        "rlnImageSize": str(box),
        "rlnImageDimensionality": "2",
    }
    for column, value in known.items():
        if column not in optics:
            optics[column] = value
    return replace(table, particles=particles, optics=optics)


def write_particles(path: str | os.PathLike[str], table: ParticleTable) -> None:
    """Write a table as RELION 3.1 and later read it."""
    blocks = {"optics": table.optics, "particles": table.particles, **table.others}
    write_star(path, blocks)


def check_images(table: ParticleTable) -> ImageReport:
    """Walk over all images of a table; see `stacks.inspect_images`."""
    return inspect_images(*table.locations)


def image_box(table: ParticleTable) -> int:
    """Return the side of the first image [pixel], without reading pixels."""
    files, file_index, image_index = table.locations
    with open_images(files[file_index[0]]) as stack:
        return square_side(
            stack, int(image_index[0]), image_name(files[0], int(image_index[0]))
        )


def image_source(table: ParticleTable, box: int, with_ctf: bool) -> ImageSource:
    """Return what the steps without pandas need to read the images of a table.

    Parameters
    ----------
    table : ParticleTable
        Any table.
    box : int
        Side of the images [pixel], from `check_images`.
    with_ctf : bool
        Whether the CTF will be needed.

    Raises
    ------
    InputError
        If the pixel size, or a CTF that is needed, is not known.
    """
    files, file_index, image_index = table.locations
    return ImageSource(
        files=[str(file) for file in files],
        file_index=file_index,
        image_index=image_index,
        box=box,
        pixel_size=table.pixel_size,
        sign=table.sign,
        ctf=table.ctf if with_ctf else None,
    )


def has_ctf(table: ParticleTable) -> bool:
    """Whether the CTF of the images is known and was not corrected for before."""
    done = [table.text(column) for column in _CTF_DONE]
    flags = (value for column in done if column is not None for value in column)
    return not table.missing_ctf and not any(_is_set(value) for value in flags)


def read_images(table: ParticleTable, ids: ArrayLike) -> NDArray[np.float32]:
    """Read images of a table, (k, y, x) float32, in the order of ``ids``."""
    files, file_index, image_index = table.locations
    wanted = np.asarray(ids, dtype=np.int64).ravel()
    some = (files, file_index[wanted], image_index[wanted])
    source = ImageSource(
        files=[str(file) for file in files],
        file_index=some[1],
        image_index=some[2],
        box=inspect_images(*some).box,
        pixel_size=0.0,
        sign=table.sign[wanted],
    )
    return source.read(np.arange(len(wanted)))


def _is_set(value: object) -> bool:
    """Whether a flag of a table is on."""
    return str(value).strip().lower() in ("1", "true", "1.0", "1.000000")


def _star_particles(
    source: Path,
) -> tuple[pd.DataFrame, pd.DataFrame | None, dict[str, Block]]:
    """Return particles, optics groups and the other blocks of a STAR file."""
    blocks = read_star(source)
    name = next((name for name in _PARTICLE_BLOCKS if name in blocks), None)
    if name is None:
        raise InputError(
            f"{source}: no block of particles, but"
            f" {', '.join('data_' + block for block in blocks)}; give a STAR file with"
            " data_particles, data_images or data_."
        )
    particles = as_table(blocks.pop(name))
    optics = as_table(blocks.pop("optics")) if "optics" in blocks else None
    if optics is not None and "rlnOpticsGroup" not in optics:
        raise InputError(
            f"{source}: data_optics has no column _rlnOpticsGroup; repair the table."
        )
    if "rlnImageName" not in particles and not _is_tomography(particles):
        raise InputError(
            f"{source}: data_{name} has no column _rlnImageName; give a table of"
            " extracted particles."
        )
    return particles, optics, blocks


def _is_tomography(particles: pd.DataFrame) -> bool:
    return any(
        column in particles
        for column in ("rlnTomoName", "rlnTomoParticleName", "rlnCoordinateZ")
    )


def _refuse_subtomograms(
    source: Path,
    particles: pd.DataFrame,
    optics: pd.DataFrame | None,
    others: dict[str, Block],
) -> None:
    """Refuse tables of subtomograms: a 2D run would take a slice for a particle."""
    flags = [as_table(block) for block in others.values()]
    tables = [particles, *([] if optics is None else [optics]), *flags]
    stacks = any(
        _is_set(value)
        for table in tables
        for value in table.get("rlnTomoSubTomosAre2DStacks", ())
    )
    if stacks:
        raise InputError(
            f"{source}: holds tilt-series particles of RELION 5 (rlnTomoSubTomosAre2D"
            "Stacks is 1), each a stack of tilted views of one particle; ISAC needs"
            " single-particle images."
        )
    cubes = any(
        str(value).strip() == "3"
        for table in tables
        for value in table.get("rlnImageDimensionality", ())
    )
    if cubes or "rlnCtfImage" in particles or _is_tomography(particles):
        reason = (
            "rlnImageDimensionality is 3"
            if cubes
            else "it has columns of subtomograms such as rlnCoordinateZ or rlnCtfImage"
        )
        raise InputError(
            f"{source}: holds subtomograms ({reason}); ISAC needs single-particle"
            " images, classify subtomograms with the 3D methods."
        )


def _stack_particles(source: Path) -> pd.DataFrame:
    """Return the table of a stack that has none."""
    header = read_stack_header(source)
    if source.suffix.lower() == ".mrc" and header.is_volume:
        n = header.shape[0]
        raise InputError(
            f"{source}: a volume of {n} x {n} x {n} pixel by its header; if it is a"
            f" stack of {n} images, rename it to .mrcs."
        )
    path = source.absolute()
    names = [image_name(path, i) for i in range(header.shape[0])]
    particles = pd.DataFrame({"rlnImageName": names}, dtype=object)
    if header.pixel_size is not None:
        particles["rlnImagePixelSize"] = f"{header.pixel_size:.6f}"
    return particles


def _with_optics(particles: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return particles with optics groups, as RELION converts a table before 3.1.

    Particles of one microscope setting and pixel size form a group.
    """
    settings = particles[[c for c in _OPTICS_COLUMNS if c in particles]].copy()
    pixel_size = _old_pixel_size(particles)
    if pixel_size is not None:
        settings["rlnImagePixelSize"] = pixel_size
    keys = [tuple(row) for row in settings.to_numpy(dtype=object)]
    number = {key: str(i) for i, key in enumerate(dict.fromkeys(keys), start=1)}
    groups = pd.Series([number[key] for key in keys], dtype=object)
    optics = pd.DataFrame(list(number), columns=settings.columns, dtype=object)
    optics.insert(0, "rlnOpticsGroupName", [f"opticsGroup{i}" for i in number.values()])
    optics.insert(0, "rlnOpticsGroup", list(number.values()))
    optics["rlnImageDimensionality"] = "2"
    return particles.assign(rlnOpticsGroup=groups), optics


def _old_pixel_size(particles: pd.DataFrame) -> Sequence[str] | None:
    """Return the pixel size [A] of particles without optics groups, as text.

    Before RELION 3.1 it was detector pixel [micrometre] * 1e4 / magnification.
    """
    for column in ("rlnImagePixelSize", "rlnPixelSize"):
        if column in particles:
            return [str(value) for value in particles[column]]
    both = ("rlnDetectorPixelSize", "rlnMagnification")
    if not all(column in particles for column in both):
        return None
    detector, magnification = (
        pd.to_numeric(particles[column], errors="coerce").to_numpy(np.float64)
        for column in both
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return [f"{size:.6f}" for size in detector * 1e4 / magnification]


def _with_only_group(
    source: Path, particles: pd.DataFrame, optics: pd.DataFrame
) -> pd.DataFrame:
    """Return particles that all belong to the only optics group."""
    if len(optics) != 1:
        raise InputError(
            f"{source}: data_particles has no column _rlnOpticsGroup, but there are"
            f" {len(optics)} optics groups; repair the table."
        )
    group = str(optics["rlnOpticsGroup"].iloc[0])
    return particles.assign(rlnOpticsGroup=group)
