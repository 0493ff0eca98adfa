"""Which classes of a run differ beyond what noise makes of them, and by what.

Clustering finds as many classes as it is asked for, and each collects what is alike by
chance: that two of their averages differ says nothing, because the members were chosen
so. What halves of the particles find again without knowing of each other is no chance.
So each half is classified on its own, classes that differ least are joined, and all
particles are assigned by what either half has learnt: as many groups are distinct as
both assignments have in common.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryokin.parallel import Team
from cryokin.partition import trees
from cryokin.partition.agreement import LEAST_AGREEMENT, least_agreement
from cryokin.random import stream
from cryokin.subtomo.beam import follows_beam
from cryokin.subtomo.mco import Model, class_sums, exmx, scores
from cryokin.subtomo.reproducible import by_components

SPLITS = 2  # of the particles into halves
HALVES = 2  # address of their random streams
MOST = 2000  # particles that one half learns from
FEWEST = 3  # particles of a half for each class that it is asked for


@dataclass(frozen=True)
class Distinct:
    """Which classes differ.

    Attributes
    ----------
    groups : ndarray of int, shape (nclass,)
        Group of every class; classes of one group do not differ.
    agreement : dict of int to float
        By number of groups, the agreement of the halves on the group on which they
        agree least: 0 as by chance, 1 complete.
    """

    groups: NDArray[np.intp]
    agreement: dict[int, float]

    @property
    def number(self) -> int:
        """How many are distinct."""
        return int(self.groups.max(initial=-1)) + 1


def class_tree(
    model: Model, labels: NDArray[np.intp], nclass: int
) -> NDArray[np.float64]:
    """Return the tree of classes by how significantly they differ.

    Parameters
    ----------
    model : Model
        The particles, by likelihood.
    labels : ndarray of int, shape (n,)
        Classes from 0, none of them empty; -1: in none.
    nclass : int
        Number of classes.

    Returns
    -------
    ndarray, shape (nclass - 1, 4)
        See `cryokin.partition.trees.significance_tree`.
    """
    signal, weight = class_sums(model, labels, nclass)
    return trees.significance_tree(
        signal / np.sqrt(model.noise), weight, model.emphasis, model.occupancy
    )


def distinct(
    model: Model,
    labels: NDArray[np.intp],
    nclass: int,
    seed: int,
    team: Team | None = None,
    directions: NDArray[np.floating] | None = None,
) -> Distinct:
    """Group the classes of a run that do not differ beyond chance.

    Parameters
    ----------
    model : Model
        The particles, by likelihood.
    labels : ndarray of int, shape (n,)
        Classes from 0, none of them empty; -1: in none.
    nclass : int
        Number of classes.
    seed : int
        The user's ``rand_seed``.
    team : Team, optional
        Shares the halves; the result does not depend on it.
    directions : ndarray, shape (n, 3), optional
        Unit vectors of the beam in the frame of each particle. Halves agree on classes
        that are only the missing wedge, too: where a group is, there are fewer groups.
    """
    if nclass < 2:
        return Distinct(np.zeros(nclass, np.intp), {})
    runs = (team or Team()).map(
        lambda run: learnt_from_half(model, nclass, seed, run), range(2 * SPLITS)
    )
    agreement = {}
    for number in range(2, nclass + 1):
        found = [
            least_agreement(one[number], other[number], number)
            if number in one and number in other
            else 0.0
            for one, other in zip(runs[::2], runs[1::2], strict=True)
        ]
        agreement[number] = float(np.mean(found))
    joined = class_tree(model, labels, nclass)
    for number in sorted(agreement, reverse=True):
        if agreement[number] < LEAST_AGREEMENT:
            continue
        groups = trees.cut_by_number(joined, number)
        if directions is None:
            return Distinct(groups, agreement)
        of_group = np.where(labels < 0, -1, groups[np.maximum(labels, 0)])
        beams = follows_beam(directions, of_group)
        if not any(beam.only for beam in beams.values()):
            return Distinct(groups, agreement)
    return Distinct(np.zeros(nclass, np.intp), agreement)


def learnt_from_half(
    model: Model, nclass: int, seed: int, run: int
) -> dict[int, NDArray[np.intp]]:
    """Return groups of all particles by the classes of a half, by number of groups.

    Parameters
    ----------
    model, nclass, seed
        See `distinct`.
    run : int
        Number of the half; two in turn have no particle in common.
    """
    n = len(model)
    order = stream(seed, run // 2, HALVES).permutation(n)
    half = np.sort(order[run % 2 :: 2][:MOST])
    asked = min(nclass, max(2, len(half) // FEWEST))
    if len(half) < asked:
        return {}
    known = model.take(half)
    classes = exmx(known, by_components(known, asked, seed), asked).labels
    names, classes = np.unique(classes, return_inverse=True)
    if len(names) < 2:
        return {}
    joined = class_tree(known, classes, len(names))
    found = {}
    for number in range(2, len(names) + 1):
        of_half = np.full(n, -1)
        of_half[half] = trees.cut_by_number(joined, number)[classes]
        assigned: NDArray[np.intp] = scores(model, of_half, number).argmax(axis=1)
        found[number] = assigned
    return found
