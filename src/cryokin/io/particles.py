"""The particle table: one row per particle, whatever program wrote it.

Each dialect has a reader that returns rows in RELION's columns; `read_particles` picks
one and adds what RELION 3.1 and later expect, a table of optics groups. Values stay the
text of the input, so that columns nobody here knows come out of the workflow unchanged.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cryokin.errors import InputError
from cryokin.files import portable
from cryokin.io.cryosparc import cryosparc_particles
from cryokin.io.eman_hdf import is_hdf
from cryokin.io.eman_particles import Convention, eman_particles
from cryokin.io.mrc import read_stack_header
from cryokin.io.quantities import IMAGE_NUMBER, PIXEL_SIZE, SAME_SIZE, flags, numbers
from cryokin.io.stacks import (
    CTF_DTYPE,
    ImageReport,
    ImageSource,
    filled_sentence,
    image_name,
    inspect_images,
    left_out_sentence,
    open_images,
    square_side,
    stack_pixel_size,
)
from cryokin.io.star import Block, as_table, find_block, read_star, write_star

ACCEPTED = (
    "a RELION table (.star), a stack (.mrcs, .mrc, .st), an EMAN2 or SPARX stack"
    " (.hdf), or a cryoSPARC table (.cs)"
)
LEAST_DEFOCUS = 100  # A; of less all over it is in another unit
PARTICLE_BLOCKS = ("particles", "images", "")
# Pixel sizes that are those of the particles only if these were not binned.
_OF_MICROGRAPHS = ("rlnMicrographPixelSize", "rlnMicrographOriginalPixelSize")
# What programs write where a value is not known.
_UNKNOWN = {"None", "nan", "<NA>", ""}
# RELION's mark of the format that a file has whatever its name.
_FORMAT = re.compile(r":(mrcs?|st|map|rec)$")
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


class HoldsSubtomograms(InputError):
    """A table that was taken for one of images is of subtomograms."""


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
    joined : tuple of Path
        Other tables that rows were completed from.
    no_ctf : str
        Why there is no CTF, where the file has one that cannot be used.
    """

    particles: pd.DataFrame
    optics: pd.DataFrame
    source: Path
    others: dict[str, Block] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()
    joined: tuple[Path, ...] = ()
    no_ctf: str = ""

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
            If a value is no number, or none that can be (`cryokin.io.quantities`).
        """
        if column in self.particles:
            return numbers(self.source, column, self.particles[column].to_numpy(object))
        if (found := self._rows_with(column)) is None:
            return None
        rows = np.unique(self._group, return_inverse=True)[1]
        return numbers(self.source, column, found[0], None, *found[1:])[rows]

    @cached_property
    def pixel_size(self) -> float:
        """Angstrom per pixel: as the table says, else as the stacks do.

        Raises
        ------
        InputError
            If it is unknown, or the particles differ in pixel size or image size.
        """
        self._one_value("rlnImageSize", "image size", "pixel")
        size = self._one_value("rlnImagePixelSize", "pixel size", "A")
        if size is None:
            size = self.pixel_size_of_stacks
        if size is not None:
            return size
        of_micrographs = next((c for c in _OF_MICROGRAPHS if c in self.optics), "")
        reason = (
            f"gives only the pixel size of the micrographs ({of_micrographs}), which is"
            " not that of particles that were binned when they were extracted"
            if of_micrographs
            else "gives no pixel size"
        )
        known = self.pixel_sizes_of_stacks
        if known and max(known) > (1 + SAME_SIZE) * min(known):
            raise InputError(
                f"{self.source}: {reason}, and the headers of its stacks say from"
                f" {min(known):.4g} to {max(known):.4g} A; bring the particles to one"
                " scale, or set pixel_size [A] in the config if they have."
            )
        raise InputError(
            f"{self.source}: {reason} (0 and 1 A in the header of a stack stand for"
            " unknown); set pixel_size [A] in the config (of cryokin init and inspect:"
            " --pixel-size)."
        )

    @cached_property
    def pixel_size_of_stacks(self) -> float | None:
        """Angstrom per pixel by the headers of the stacks; None if they differ."""
        known = self.pixel_sizes_of_stacks
        same = known and max(known) - min(known) <= 1e-3 * max(known)
        return known[0] if same and len(known) == len(self.locations[0]) else None

    @cached_property
    def pixel_sizes_of_stacks(self) -> list[float]:
        """Angstrom per pixel by the headers of those stacks that tell it."""
        sizes = map(stack_pixel_size, self.locations[0])
        return [size for size in sizes if size is not None]

    @cached_property
    def locations(
        self,
    ) -> tuple[list[Path], NDArray[np.int32], NDArray[np.int32]]:
        """Stacks (absolute), and of each particle which stack and which image.

        Images are counted from 0. Relative names are looked for as RELION does, in the
        working folder, then beside the table and in the folders above it: that of the
        project is one of them.

        Raises
        ------
        InputError
            If a stack is in no such place, or an image name has no number from 1.
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
            if not (number.isdecimal() and len(number) < 20) or not (
                1 <= int(number) <= IMAGE_NUMBER.high
            ):
                raise InputError(
                    f"{self.source}: rlnImageName of particle {row + 1} is"
                    f" {str(name)[:80]!r}; give number@stack with numbers from 1."
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

        Without a column of their own, ``defocus_v`` is ``defocus_u``, and the phase
        shift, and the angle where both are equal, are 0.

        Raises
        ------
        InputError
            If columns are missing, or the images were corrected for the CTF before.
        """
        if self.no_ctf:
            raise InputError(self.no_ctf)
        if self.missing_ctf:
            where = (
                " (in cryoSPARC it is in the job's passthrough file: have that beside"
                " it)"
                if self.source.suffix.lower() == ".cs"
                else ""
            )
            raise InputError(
                f"{self.source}: no CTF, the columns {', '.join(self.missing_ctf)} are"
                " missing; set CTF: false in the config or give a table after"
                f" CTF estimation{where}."
            )
        if (done := self.corrected).any():
            column = next(c for c in _CTF_DONE if any(self._flags(c)))
            some = "" if done.all() else f"{done.sum()} of {self.n} of "
            advice = (
                "set CTF: false in the config"
                if done.all()
                else "classify them apart from the others, or set CTF: false in the"
                " config to take all as they are"
            )
            raise InputError(
                f"{self.source}: {column} says that {some}the images were corrected for"
                f" the CTF before; {advice}."
            )
        ctf = np.zeros(self.n, CTF_DTYPE)
        for name, column in _CTF_COLUMNS.items():
            values = self.numbers(column)
            if values is not None:
                ctf[name] = values
            elif name == "defocus_v":
                ctf[name] = ctf["defocus_u"]
        largest = float(np.abs(ctf["defocus_u"]).max())
        if 0 < largest < LEAST_DEFOCUS:
            raise InputError(
                f"{self.source}: rlnDefocusU is {largest:g} at most, expected defocus"
                " in A; multiply it by 10000 if it is in micrometres, or set CTF: false"
                " in the config."
            )
        astigmatism = float(np.abs(ctf["defocus_u"] - ctf["defocus_v"]).max())
        if astigmatism > 1 and self.text(_CTF_COLUMNS["defocus_angle"]) is None:
            raise InputError(
                f"{self.source}: rlnDefocusU and rlnDefocusV differ by up to"
                f" {astigmatism:.0f} A, and no column rlnDefocusAngle tells the"
                " direction; complete the table, or set CTF: false in the config."
            )
        return ctf

    @property
    def corrected(self) -> NDArray[np.bool_]:
        """Which images went through the CTF already, (n,)."""
        done = np.zeros(self.n, bool)
        for column in _CTF_DONE:
            if flags_of := self._flags(column):
                done |= np.array(flags_of)
        return done

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
        names = [str(group) for group in self.optics["rlnOpticsGroup"]]
        row_of = {name: row for row, name in enumerate(names)}
        if len(row_of) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(
                f"{self.source}: rlnOpticsGroup {twice} stands twice in data_optics;"
                " remove one of the two."
            )
        groups = self.particles["rlnOpticsGroup"]
        unknown = sorted(set(map(str, groups)) - set(row_of))
        if unknown:
            raise InputError(
                f"{self.source}: rlnOpticsGroup {', '.join(unknown)} of the particles"
                f" is not among the optics groups {', '.join(row_of)}; repair the"
                " table."
            )
        return np.array([row_of[str(g)] for g in groups], dtype=np.intp)

    def _flags(self, column: str) -> list[bool]:
        """Return which particles a column says yes of; none where there is none."""
        values = self.text(column)
        return [] if values is None else flags(self.source, column, values)

    def _rows_with(
        self, column: str
    ) -> tuple[NDArray[np.object_], str, list[str]] | None:
        """Return the texts of a column, once each, of what they are, and of which.

        They are those of the optics groups in use, else of the particles; None if
        neither has the column.
        """
        if column in self.optics:
            rows = self.optics.iloc[np.unique(self._group)]
            names = [str(group) for group in rows["rlnOpticsGroup"]]
            return rows[column].astype(str).to_numpy(object), "optics group", names
        if column in self.particles:
            texts = self.particles[column].drop_duplicates().astype(str)
            return texts.to_numpy(object), "particle", [str(i + 1) for i in texts.index]
        return None

    def _one_value(self, column: str, what: str, unit: str) -> float | None:
        """Return the value of a column that all particles must share."""
        found = self._rows_with(column)
        if found is None or set(found[0]) <= _UNKNOWN:
            return None
        values = numbers(self.source, column, found[0], None, *found[1:])
        self._refuse_several(values, found, 1e-4, f"{what} [{unit}] ({column}")
        return float(values[0])

    def refuse_scales(self) -> None:
        """Refuse several pixel sizes where the user gives one: one of them is wrong."""
        column = "rlnImagePixelSize"
        if (found := self._rows_with(column)) is None:
            return
        texts, kind, names = found
        values = pd.to_numeric(pd.Series(texts), errors="coerce").to_numpy(float)
        known = np.flatnonzero(PIXEL_SIZE.holds(values))
        some = texts[known], kind, [names[i] for i in known]
        what = f"pixel size [A] ({column}"
        self._refuse_several(values[known], some, SAME_SIZE, what)

    def _refuse_several(
        self,
        values: NDArray[np.float64],
        rows: tuple[NDArray[np.object_], str, list[str]],
        tolerance: float,
        what: str,
    ) -> None:
        """Refuse values of `_rows_with` that differ."""
        if not len(values) or np.ptp(values) <= tolerance * values.max():
            return
        texts, kind, names = rows
        ends = sorted({int(values.argmin()), int(values.argmax())})
        each = ", ".join(f"{texts[i]} in {kind} {names[i]}" for i in ends)
        raise InputError(
            f"{self.source}: several values of {what}: {each}); bring the particles to"
            " one scale or classify each optics group by itself."
        )

    def _resolved(self, file: str) -> Path:
        """Return the absolute path of a stack."""
        return find_stack(self.source, file, self.folders)


def find_stack(source: Path, file: str, folders: Sequence[Path]) -> Path:
    """Return the absolute path of a file that a table names.

    Parameters
    ----------
    source : Path
        The table, for messages.
    file : str
        The name; RELION's mark of the format, as in ``a.mrc:mrcs``, is no part of it.
    folders : sequence of Path
        Where a relative name is looked for, in order.

    Raises
    ------
    InputError
        If it is in none of them.
    """
    name = _FORMAT.sub("", file)
    tried: dict[str, None] = {}
    for folder in folders:
        # Joining an absolute name to a folder gives the absolute name.
        place = os.path.abspath(folder / name)
        if os.path.isfile(place):
            return Path(place)
        tried[place] = None
    above = " and in the folders above" if len(tried) > 2 else ""
    raise InputError(
        f"{source}: {file} is not there (looked for"
        f" {' and '.join(list(tried)[:2])}{above}); correct the name, or work in the"
        " folder where the names of the table begin (--directory)."
    )


def folders_of(source: Path, search: str | os.PathLike[str] | None) -> tuple[Path, ...]:
    """Return where relative names in a table are looked for, in order.

    Parameters
    ----------
    source : Path
        The table.
    search : path-like, optional
        The first of them; default: the working folder.
    """
    first = Path(search) if search is not None else Path.cwd()
    above = source.absolute().parent.parents
    return (first, source.parent, *above)


def read_particles(
    path: str | os.PathLike[str],
    search: str | os.PathLike[str] | None = None,
    pixel_size: float | None = None,
    ctf_convention: Convention | None = None,
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
    ctf_convention : {"eman2", "sphire"}, optional
        Whose convention the CTF of an EMAN2 stack follows; default: as the stack tells.

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
    suffix = source.suffix.lower()
    optics: pd.DataFrame | None = None
    others: dict[str, Block] = {}
    joined: tuple[Path, ...] = ()
    no_ctf = ""
    if suffix == ".star":
        particles, optics, others = _star_particles(source)
    elif suffix == ".cs":
        particles, more = cryosparc_particles(source)
        joined = tuple(more)
    elif suffix in (".hdf", ".h5", ".hdf5") and is_hdf(source):
        particles, no_ctf = eman_particles(source, ctf_convention)
    elif suffix in (".mrcs", ".mrc", ".st"):
        particles = _stack_particles(source)
    else:
        raise InputError(f"{source}: not a particle table known here; give {ACCEPTED}.")
    if len(particles) == 0:
        raise InputError(f"{source}: holds no particle; give a table that does.")
    _refuse_subtomograms(source, particles, optics, others)
    if optics is None:
        particles, optics = _with_optics(source, particles, pixel_size is not None)
    elif "rlnOpticsGroup" not in particles:
        particles = _with_only_group(source, particles, optics)
    folders = folders_of(source, search)
    table = ParticleTable(particles, optics, source, others, folders, joined, no_ctf)
    if pixel_size is None:
        return table
    table.refuse_scales()
    known = optics.assign(rlnImagePixelSize=f"{pixel_size:.6f}")
    return replace(table, optics=known)


def canonical(table: ParticleTable, box: int) -> ParticleTable:
    """Return the table as RELION 3.1 and later read it from the working folder.

    Image names are relative to the working folder where the stacks are in it, so that
    a project can be moved, else absolute; optics groups are complete; origins are in
    Angstrom.

    Parameters
    ----------
    table : ParticleTable
        Any table.
    box : int
        Side of the images [pixel], as found in the stacks.
    """
    files, file_index, image_index = table.locations
    shown = [named(file, table.folders) for file in files]
    names = [
        image_name(shown[file], int(i))
        for file, i in zip(file_index, image_index, strict=True)
    ]
    particles = table.particles.assign(rlnImageName=pd.Series(names, dtype=object))
    for axis in "XY":
        pixel, angstrom = f"rlnOrigin{axis}", f"rlnOrigin{axis}Angst"
        if pixel in particles and angstrom not in particles:
            origin = numbers(table.source, pixel, list(particles[pixel]))
            particles[angstrom] = [f"{v:.6f}" for v in origin * table.pixel_size]
        particles = particles.drop(columns=pixel, errors="ignore")
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


def named(stack: Path, folders: Sequence[Path]) -> str:
    """Return the name of a stack in a table: as RELION opens it."""
    name = portable(stack, folders[0]) if folders else str(stack)
    # RELION takes a .mrc for a volume, if it is not told otherwise.
    is_other = stack.suffix.lower() in (".mrcs", ".st") or is_hdf(stack)
    return name if is_other else f"{name}:mrcs"


def notes(table: ParticleTable, report: ImageReport) -> list[str]:
    """Return what a user should know of the particles though they can be used.

    Parameters
    ----------
    table : ParticleTable
    report : ImageReport
        Of its images.

    Returns
    -------
    list of str
        A sentence each.
    """
    found = []
    source = table.source
    if table.joined:
        names = " and ".join(path.name for path in table.joined)
        found.append(f"{source}: completed by {names} beside it, uid by uid.")
    inverted = int((table.sign < 0).sum())
    if inverted:
        found.append(
            f"{source}: blob/sign is -1 for {inverted} of {table.n} particles: their"
            " images are read with inverted contrast, while the stack itself, which"
            " output tables name, has the other contrast."
        )
    if table.no_ctf:
        found.append(f"{table.no_ctf} Its phases are not flipped.")
    given, stored = table.pixel_size, table.pixel_sizes_of_stacks
    others = sorted({f"{s:.4g} A" for s in stored if abs(given - s) > 0.02 * s})
    if others:
        found.append(
            f"{source}: the pixel size is taken as {given:.4g} A, but the headers of"
            f" the stacks say {' and '.join(others[:3])}; set pixel_size if the table"
            " is wrong."
        )
    elif table._rows_with("rlnImagePixelSize") is None:
        found.append(
            f"{source}: the pixel size, {given:.4g} A, is that of the stacks' headers."
        )
    defocus = table.numbers("rlnDefocusU") if has_ctf(table) else None
    if defocus is not None and (unknown := int((defocus == 0).sum())):
        found.append(
            f"{source}: rlnDefocusU is 0 for {unknown} of {table.n} particles, as if"
            " their CTF was not estimated; they are taken as in focus: estimate it, or"
            " leave them out."
        )
    if report.duplicates:
        first, n = report.duplicates[0], len(report.duplicates)
        found.append(
            f"{source}: {n} of {table.n} particles are the same image as another"
            f" (first: particle {first[1] + 1}, as {first[0] + 1}); the same images"
            " always agree, so that classes of them seem reproducible: remove them from"
            " the table."
        )
    found += left_out_sentence(report.excluded, table.n)
    if report.filled:
        name = table.particles["rlnImageName"].iloc[report.filled[0]]
        found += filled_sentence(report.filled, table.n, f"{name} of {source}")
    if any(is_hdf(file) for file in table.locations[0]):
        found.append(
            f"{source}: output tables name this .hdf stack, which RELION cannot read;"
            " docs/interop.md says how to take them there."
        )
    return found


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
    _check_size(table, box)
    files, file_index, image_index = table.locations
    return ImageSource(
        files=[portable(file, table.folders[0]) for file in files],
        file_index=file_index,
        image_index=image_index,
        box=box,
        pixel_size=table.pixel_size,
        sign=table.sign,
        ctf=table.ctf if with_ctf else None,
    )


def _check_size(table: ParticleTable, box: int) -> None:
    """Refuse a table that tells of images of another size than those of its stacks."""
    told = table._one_value("rlnImageSize", "image size", "pixel")
    if told is None or told == box:
        return
    stored = table.pixel_size_of_stacks
    by_stack = "" if stored is None else f" at {stored:.4g} A"
    raise InputError(
        f"{table.source}: rlnImageSize is {told:.0f} pixel at {table.pixel_size:.4g} A,"
        f" but the images of {table.locations[0][0]} are {box} x {box} pixel{by_stack};"
        " give the table that belongs to these images."
    )


def has_ctf(table: ParticleTable) -> bool:
    """Whether the CTF of the images is known and not all were corrected for it before.

    Where all defocus is 0, nobody has measured it.
    """
    done = table.corrected.all()
    if table.no_ctf or table.missing_ctf or done:
        return False
    defocus = table.numbers(_CTF_COLUMNS["defocus_u"])
    return defocus is not None and bool(defocus.any())


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


def _star_particles(
    source: Path,
) -> tuple[pd.DataFrame, pd.DataFrame | None, dict[str, Block]]:
    """Return particles, optics groups and the other blocks of a STAR file."""
    blocks = read_star(source)
    name = find_block(list(blocks), PARTICLE_BLOCKS)
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
    tables = [particles, *([] if optics is None else [optics])]
    tables += map(as_table, others.values())
    name = "rlnTomoSubTomosAre2DStacks"
    if any(any(flags(source, name, table.get(name, ()))) for table in tables):
        raise HoldsSubtomograms(
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
        raise HoldsSubtomograms(
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


def _with_optics(
    source: Path, particles: pd.DataFrame, size_is_known: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return particles with optics groups, as RELION converts a table before 3.1.

    Particles of one microscope setting and pixel size form a group; where the table
    has groups already, and only their settings are missing, these stay. Where the size
    is known otherwise, that of the table may be none.
    """
    settings = particles[[c for c in _OPTICS_COLUMNS if c in particles]].copy()
    try:
        size = _old_pixel_size(source, particles)
    except InputError:
        if not size_is_known:
            raise
        size = None
    if size is not None:
        settings["rlnImagePixelSize"] = size
    keys = [tuple(row) for row in settings.to_numpy(dtype=object)]
    if "rlnOpticsGroup" in particles:
        given = [str(group) for group in particles["rlnOpticsGroup"]]
        pairs = dict.fromkeys(zip(given, keys, strict=True))
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(
                f"{source}: particles of rlnOpticsGroup {twice} differ in voltage,"
                " aberration, contrast or pixel size, and there is no block"
                " data_optics; give each setting a group."
            )
        groups, rows = pd.Series(given, dtype=object), [key for _, key in pairs]
    else:
        number = {key: str(i) for i, key in enumerate(dict.fromkeys(keys), start=1)}
        groups = pd.Series([number[key] for key in keys], dtype=object)
        names, rows = list(number.values()), list(number)
    optics = pd.DataFrame(rows, columns=settings.columns, dtype=object)
    optics.insert(0, "rlnOpticsGroupName", [f"opticsGroup{name}" for name in names])
    optics.insert(0, "rlnOpticsGroup", names)
    optics["rlnImageDimensionality"] = "2"
    return particles.assign(rlnOpticsGroup=groups), optics


def _old_pixel_size(source: Path, particles: pd.DataFrame) -> Sequence[str] | None:
    """Return the pixel size [A] of particles without optics groups, as text.

    Before RELION 3.1 it was detector pixel [micrometre] * 1e4 / magnification.
    """
    for column in ("rlnImagePixelSize", "rlnPixelSize"):
        if column in particles:
            return [str(value) for value in particles[column]]
    both = ("rlnDetectorPixelSize", "rlnMagnification")
    if not all(column in particles for column in both):
        return None
    detector, magnification = (numbers(source, c, list(particles[c])) for c in both)
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
