"""The outcome of an ISAC run as tables: one row a particle, one row a class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.files import portable
from cryokin.image.geometry import Alignment, from_centre, from_relion, to_relion
from cryokin.image.geometry import centre as centre_of
from cryokin.io.particles import ParticleTable
from cryokin.isac.classes import Class
from cryokin.isac.stack import original_centres
from cryokin.partition.labels import class_numbers


class Membership(NamedTuple):
    """What is known of every particle in the end, arrays of length n.

    Attributes
    ----------
    label : ndarray of int
        Class from 0; -1: unaccounted.
    generation : ndarray of int
        Generation of the class; 0: unaccounted.
    psi : ndarray
        Rotation as RELION has it [degree].
    centre : ndarray, shape (n, 2)
        Particle's centre ``(x, y)`` from that of its image [pixel].
    flip : ndarray of bool
        Whether the particle is mirrored.
    error : ndarray
        Pixel error [pixel of the working stack]; 0 for the unaccounted.
    agreement : ndarray
        Share of the other runs that see the particle as its class does; 0 for the
        unaccounted.
    """

    label: NDArray[np.intp]
    generation: NDArray[np.intp]
    psi: NDArray[np.floating]
    centre: NDArray[np.floating]
    flip: NDArray[np.bool_]
    error: NDArray[np.floating]
    agreement: NDArray[np.floating]


def membership(
    classes: Sequence[Class],
    generations: Sequence[int],
    shifts: NDArray[np.floating],
    ratio: float,
) -> Membership:
    """Collect the classes of all generations into arrays over the particles.

    Parameters
    ----------
    classes : sequence of Class
    generations : sequence of int
        Generation of each class.
    shifts : ndarray, shape (n, 2)
        Of the prealignment [pixel]; unaccounted particles keep them as their centres.
    ratio : float
        Working pixels per pixel.
    """
    n = len(shifts)
    table = Membership(
        np.full(n, -1, np.intp),
        np.zeros(n, np.intp),
        np.zeros(n),
        -np.asarray(shifts, float),
        np.zeros(n, bool),
        np.zeros(n),
        np.zeros(n),
    )
    for k, (found, generation) in enumerate(zip(classes, generations, strict=True)):
        ids = found.members
        centres = original_centres(centre_of(found.alignment), shifts[ids], ratio)
        angle, _, mirror = found.alignment
        psi, centre, flip = to_relion(from_centre(angle, centres, mirror))
        table.label[ids] = k
        table.generation[ids] = generation
        table.psi[ids] = psi
        table.centre[ids] = centre
        table.flip[ids] = flip
        table.error[ids] = found.errors
        table.agreement[ids] = found.agreement
    return table


def particle_columns(table: Membership, pixel_size: float) -> dict[str, list[str]]:
    """Return the columns that a run adds to its particles' STAR table, as text."""
    origin = -pixel_size * table.centre
    return {
        "rlnClassNumber": _texts(class_numbers(table.label)),
        "rlnAnglePsi": _texts(table.psi, ".4f"),
        "rlnOriginXAngst": _texts(origin[:, 0], ".4f"),
        "rlnOriginYAngst": _texts(origin[:, 1], ".4f"),
        "rlnIsFlip": _texts(table.flip.astype(int)),
        "cryokinGeneration": _texts(table.generation),
        "cryokinPixelError": _texts(table.error, ".4f"),
        "cryokinReproduction": _texts(table.agreement, ".4f"),
    }


def _texts(values: NDArray[Any], form: str = "") -> list[str]:
    """Return numbers as text; what comes again is kept once."""
    known: dict[str, str] = {}
    texts = (format(value, form) for value in values.tolist())
    return [known.setdefault(text, text) for text in texts]


def alignments(table: ParticleTable) -> Alignment:
    """Return what `particle_columns` wrote: of all particles [pixel]."""

    def column(name: str) -> NDArray[np.float64]:
        values = table.numbers(name)
        if values is None:
            raise InputError(
                f"{table.source}: there is no column {name}; give the particles.star"
                " of a run."
            )
        return values

    origin = [column(f"rlnOrigin{axis}Angst") for axis in "XY"]
    centre = -np.stack(origin, axis=-1) / table.pixel_size
    return from_relion(column("rlnAnglePsi"), centre, column("rlnIsFlip") > 0)


def classes_csv(table: Membership) -> str:
    """Return ``classes.csv``: ids and classes from 1, -1 for no class."""
    numbers = class_numbers(table.label).tolist()
    columns = (table.psi, *table.centre.T, table.flip.astype(int))
    rows = zip(numbers, *(column.tolist() for column in columns), strict=True)
    return "particle_id,class,psi,sx,sy,mirror\n" + "".join(
        f"{i},{number},{psi:.4f},{x:.4f},{y:.4f},{mirror}\n"
        for i, (number, psi, x, y, mirror) in enumerate(rows, start=1)
    )


def class_columns(
    headers: Sequence[dict[str, object]],
    stack: str | os.PathLike[str],
    numbers: Sequence[int] | None = None,
) -> dict[str, list[str]]:
    """Return the table of classes as text columns.

    Parameters
    ----------
    headers : sequence of dict
        Attributes of the class averages.
    stack : path-like
        The stack of class averages; named as seen from the working folder, which is
        the project's for RELION.
    numbers : sequence of int, optional
        Class numbers, where they are not those of the images, from 1.
    """
    numbers = range(1, len(headers) + 1) if numbers is None else numbers
    name = portable(stack)

    def column(key: str, form: str) -> list[str]:
        return [format(header[key], form) for header in headers]

    return {
        "rlnReferenceImage": [f"{k + 1:06d}@{name}" for k in range(len(headers))],
        "rlnClassNumber": [str(number) for number in numbers],
        "cryokinMembers": column("n_objects", "d"),
        "cryokinGeneration": column("generation", "d"),
        "cryokinPixelError": column("pixel_error", ".4f"),
        "cryokinReproduction": column("reproduction", ".4f"),
        "cryokinResolution": column("resolution", ".3f"),
    }
