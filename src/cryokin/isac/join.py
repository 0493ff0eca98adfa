"""More images later: they join classes of an earlier run, which stay as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.image.geometry import Alignment, centre, concatenate, take
from cryokin.io.stacks import ImageSource
from cryokin.isac.classes import Class, held
from cryokin.isac.options import IsacOptions
from cryokin.isac.particles import Particles
from cryokin.isac.reproducible import joined
from cryokin.isac.sac import align_group, place
from cryokin.parallel import Team
from cryokin.random import stream


def check_begins_with(images: Path, known: Path) -> int:
    """Return how many images a run has of the run that it extends: its first ones.

    Parameters
    ----------
    images, known : Path
        ``images.npz`` of both.

    Raises
    ------
    InputError
        If the images of the earlier run are not the first.
    """
    now, before = ImageSource.load(images), ImageSource.load(known)
    n = before.n
    same = n <= now.n and np.array_equal(now.image_index[:n], before.image_index)
    if same:
        same = _names(now, n) == _names(before, n)
    if not same:
        raise InputError(
            f"{images}: its first {n} particles are not those of {known}, which are to"
            " be extended; append new particles to the end of the earlier table."
        )
    return n


def _names(source: ImageSource, n: int) -> list[str]:
    return [source.files[k] for k in source.file_index[:n]]


def join(
    team: Team, particles: Particles, classes: list[Class], options: IsacOptions
) -> list[Class]:
    """Let particles join classes by the test that members have passed.

    A particle joins the class whose average it is most similar to, if it is as similar
    as all but a few of the members are, and if repeated alignments of members and
    joining particles together place it alike.

    Parameters
    ----------
    team : Team
    particles : Particles
        The members of the classes, and all that may join.
    classes : list of Class

    Returns
    -------
    list of Class
        In the same order; the members that were there are as they were. Those that
        joined count as reproduced like the others of their class.
    """
    if not classes:
        return []
    groups, run = joined(team, particles, classes, options)
    is_member = np.isin(particles.ids, held(classes))
    position = particles.positions()

    def extended(k: int) -> Class:
        known = position[classes[k].members]
        new = groups[k][~is_member[groups[k]]]
        if not len(new):
            return classes[k]
        together = np.concatenate([known, new])
        _, stable, errors = align_group(
            particles,
            together,
            centre(take(run.alignment, together)),
            max(options.sac.stab_ali, 2),
            options.sac,
            stream(options.rand_seed, 0, k),
        )
        kept = stable[stable >= len(known)]
        members = together[kept]
        placed = place(particles, run, k, members, options.sac)
        return _with(classes[k], particles.ids[members], placed, errors[kept])

    return list(team.map(extended, range(len(classes))))


def _with(
    known: Class,
    members: NDArray[np.intp],
    alignment: Alignment,
    errors: NDArray[np.float64],
) -> Class:
    """Return a class with more members, in the order of their ids."""
    agreement = np.full(len(members), known.reproduction)
    ids = np.concatenate([known.members, members])
    order = np.argsort(ids)
    return Class(
        ids[order],
        take(concatenate([known.alignment, alignment]), order),
        np.concatenate([known.errors, errors])[order],
        np.concatenate([known.agreement, agreement])[order],
    )
