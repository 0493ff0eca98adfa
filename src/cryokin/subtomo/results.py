"""Class averages, and the lists and tables of a classification."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryokin.files import atomic_folder, write_json, write_text
from cryokin.io.subtomograms import Subtomograms
from cryokin.io.volumes import write_both
from cryokin.options import SubtomogramOptions
from cryokin.parallel import Team
from cryokin.partition.labels import class_numbers
from cryokin.rings import correlation, resolution
from cryokin.subtomo import compat
from cryokin.subtomo.beam import follows_beam
from cryokin.subtomo.mask import make_mask
from cryokin.subtomo.prepare import volume_reader
from cryokin.volume import averages
from cryokin.volume.symmetry import operations


@dataclass(frozen=True)
class ClassAverage:
    """The average of a class, and the correlation of its halves.

    Attributes
    ----------
    volume : ndarray, shape (box, box, box)
        The average.
    fsc : ndarray, shape (box // 2,)
        Of two halves of the members; 0 where there is one half alone.
    n : int
        Number of members.
    """

    volume: NDArray[np.float32]
    fsc: NDArray[np.float64]
    n: int


def class_average(
    particles: Subtomograms,
    members: Sequence[int],
    mask: NDArray[np.floating],
    by_pytom: bool,
    team: Team,
    symmetry: str | None = None,
) -> ClassAverage:
    """Return the unbinned average of a class."""
    turns = operations(symmetry)
    sides = halves_of(particles, members)
    if by_pytom:
        setting = compat.Setting(
            volume_reader(particles, 1),
            particles.rotations,
            particles.shifts,
            particles.wedges,
            mask,
            0,
            particles.box // 2,
            symmetry=turns,
        )
        volume = compat.class_average(setting, members, team)
        ids = [
            [i for i, h in zip(members, sides, strict=True) if h == half]
            for half in (0, 1)
        ]
        halves = [compat.class_average(setting, half, team) for half in ids if half]
    else:
        parts = averages.sums(
            particles.read,
            members,
            particles.rotations,
            particles.shifts,
            particles.wedges,
            team=team,
            sides=sides,
            symmetry=turns,
        )
        volume = averages.average(parts[0] + parts[1])
        halves = [averages.average(part) for part in parts if part.n]
    curve = np.zeros(particles.box // 2)
    if len(halves) == 2:
        curve = correlation(mask * halves[0], mask * halves[1])
        curve[0] = 1.0  # the means say nothing
    return ClassAverage(volume, curve, len(members))


def halves_of(particles: Subtomograms, members: Sequence[int]) -> list[int]:
    """Return the half, 0 or 1, of every member of a class.

    They take turns; copies of one particle, whose noise is the same, are in one half.
    """
    data = particles.copies or range(len(particles))
    turn: dict[int, int] = {}
    return [turn.setdefault(data[i], len(turn)) % 2 for i in members]


def write_results(
    folder: str | os.PathLike[str],
    particles: Subtomograms,
    labels: NDArray[np.integer],
    options: SubtomogramOptions,
    team: Team,
    names: Sequence[str] | None = None,
    scores: NDArray[np.floating] | None = None,
) -> None:
    """Average the classes and write the lists and tables of a classification.

    Writes ``classes.csv``, ``classified.xml``, ``classified.star``, ``classes.json``
    and ``class_averages/<average>_<class>.em`` and ``.mrc``, which number classes from
    1.

    Parameters
    ----------
    folder : path-like
        Where to.
    particles : Subtomograms
        At the poses at which they are averaged.
    labels : ndarray of int, shape (n,)
        Classes from 0; -1: unaccounted. Particles that were left out on import are
        unaccounted, too.
    options : SubtomogramOptions
        ``average``, ``mask``, ``compat`` and ``symmetry`` of the run.
    team : Team
        Shares the members of a class.
    names : sequence of str, optional
        Names of the classes; default: their numbers.
    scores : ndarray, shape (n,), optional
        Of the particles in their classes, for the list.
    """
    folder = Path(folder)
    options = options.scaled(particles.box, particles.pixel_size)
    mask = make_mask(options.mask, particles.box, 1)
    found = {
        int(c): class_average(
            particles,
            np.flatnonzero(labels == c).tolist(),
            mask,
            options.compat == "pytom",
            team,
            getattr(options, "symmetry", None),
        )
        for c in np.unique(labels[labels >= 0])
    }
    if not team.leads:
        return
    beams = follows_beam(particles.rotations[:, 2, :], labels)
    entries = []
    with atomic_folder(folder / "class_averages") as place:
        for c, one in found.items():
            number = c + 1
            name = f"{options.average}_{number}"
            write_both(place / name, one.volume, particles.pixel_size)
            frequency = np.arange(len(one.fsc)) / particles.box
            pixel = particles.pixel_size or 1.0
            at_half = resolution(frequency, one.fsc, pixel, 0.5)
            entries.append(
                {
                    "class": number,
                    "name": str(number) if names is None else names[c],
                    "n": one.n,
                    "em": f"class_averages/{name}.em",
                    "mrc": f"class_averages/{name}.mrc",
                    "fsc": one.fsc.round(6).tolist(),
                    # A class without halves has none.
                    "resolution": None if np.isnan(at_half) else round(at_half, 4),
                    "beam": round(beams[c].share, 4),
                    "only_wedge": beams[c].only,
                }
            )
    table = particles.classified(labels, scores).whole()
    table.write(folder / "classified")
    whole = np.full(len(table), -1)
    whole[particles.ids] = labels
    labels = whole
    write_text(folder / "classes.csv", classes_csv(labels))
    write_json(
        folder / "classes.json",
        {
            "box": particles.box,
            "pixel_size": particles.pixel_size,
            "resolution_unit": "A" if particles.pixel_size else "voxel",
            "n": len(labels),
            "unaccounted": int(np.count_nonzero(labels < 0)),
            "classes": entries,
        },
    )


def classes_csv(labels: NDArray[np.integer]) -> str:
    """Return the table of classes: particle_id and class from 1, no class is -1."""
    lines = [f"{i},{c}\n" for i, c in enumerate(class_numbers(labels), start=1)]
    return "particle_id,class\n" + "".join(lines)
