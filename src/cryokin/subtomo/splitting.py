"""Classes that emptied, filled again by halves of others.

Where EXMX ends, no particle alone fits another class better. Yet a class may hold
several structures while another is empty, which no single particle can leave for: its
average would be mostly noise. So halves of a class move together, and stay where that
raises the objective of all particles (Ueda et al., Neural Comput. 12 (2000) 2109).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryokin.parallel import Team, blocks
from cryokin.random import stream
from cryokin.subtomo.mco import BLOCK, Model, class_sums, compare, exmx
from cryokin.volume.averages import FLOOR

FEWEST = 4  # members of a class that is split
POWERS = 20  # iterations for the leading component


def split(
    model: Model,
    labels: NDArray[np.intp],
    nclass: int,
    known: set[bytes] | None = None,
    team: Team | None = None,
) -> NDArray[np.intp]:
    """Return classes of which halves have moved to empty ones, the best first.

    Parameters
    ----------
    model : Model
        The particles.
    labels : ndarray of int, shape (n,)
        Classes from 0; particles of the label -1 are in none.
    nclass : int
        Number of classes.
    known : set of bytes, optional
        Members of classes that were tried before, and are not again; those that are
        tried now are added.
    team : Team, optional
        Shares the classes; the result does not depend on it.

    Returns
    -------
    ndarray of int, shape (n,)
        The given classes where no half that moves raises the objective.
    """
    sizes = np.bincount(labels[labels >= 0], minlength=nclass)
    empty, known = np.flatnonzero(sizes == 0), set() if known is None else known
    if not len(empty):
        return labels
    every = [np.flatnonzero(labels == c) for c in np.flatnonzero(sizes >= FEWEST)]
    tried = [members for members in every if members.tobytes() not in known]
    known.update(members.tobytes() for members in tried)
    before = compare(model, labels, nclass)[1].mean()

    def half(members: NDArray[np.intp]) -> tuple[float, NDArray[np.intp]]:
        moving = members[halves(model.take(members)) == 1]
        if not 0 < len(moving) < len(members):
            return 0.0, moving
        there = labels.copy()
        there[moving] = empty[0]
        return float(compare(model, there, nclass)[1].mean() - before), moving

    gains = [one for one in (team or Team()).map(half, tried) if one[0] > 0]
    new = labels.copy()
    by_gain = sorted(gains, key=lambda one: -one[0])
    for c, (_, moving) in zip(empty, by_gain, strict=False):
        new[moving] = c
    return new


def halves(model: Model) -> NDArray[np.intp]:
    """Return two classes of the members of one, of EXMX from their main component.

    Parameters
    ----------
    model : Model
        The members.

    Returns
    -------
    ndarray of int, shape (n,)
        0 or 1, by which side of the median of the leading component of what the
        members differ by from their average each began.
    """
    signal, weight = class_sums(model, np.zeros(len(model), np.intp), 1)
    average = (signal / np.maximum(weight, FLOOR * len(model)))[0].astype(np.float32)
    emphasis = np.sqrt(model.emphasis / model.noise)
    # The vector to start from is fixed.
    component = stream(0).standard_normal(len(average)).astype(np.float32)
    for _ in range(POWERS):
        places, following = np.empty(len(model)), np.zeros(len(average))
        for part in blocks(len(model), BLOCK):
            w = np.repeat(model.w[part], 2, axis=1)
            rest = emphasis * (model.y[part] - w * average)
            places[part] = rest @ component
            following += places[part] @ rest
        component = (following / np.linalg.norm(following)).astype(np.float32)
    return exmx(model, (places > np.median(places)).astype(np.intp), 2).labels
