"""Classes of subtomograms that independent runs agree on.

Every run learns its class averages from a random half of the particles, two runs in
turn from the halves of one split, and then assigns all of them. It starts from the
components of its half: of few particles, the summit that random starts find is mostly
one of their noise. The partitions are
matched as in ISAC; a matched class counts where clearly more particles agree than would
by chance, and particles that no matched class holds stay unaccounted. In noise, nothing
is reproduced.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryokin.parallel import Team
from cryokin.partition.agreement import adjusted_rand_index, reproduced
from cryokin.random import stream
from cryokin.subtomo import ccc, cpca
from cryokin.subtomo.mco import Model, exmx, scores

HALF = 0  # address of a run's random stream


@dataclass(frozen=True)
class Reproducible:
    """What several runs agree on.

    Attributes
    ----------
    labels : ndarray of int, shape (n,)
        Classes from 0; -1: unaccounted.
    partitions : ndarray of int, shape (n_runs, n)
        Classes of every run.
    agreement : float
        Mean adjusted Rand index of pairs of runs.
    """

    labels: NDArray[np.intp]
    partitions: NDArray[np.intp]
    agreement: float


def independent_run(
    model: Model,
    nclass: int,
    seed: int,
    run: int,
    iterations: int = 50,
) -> NDArray[np.intp]:
    """Return the classes of all particles by averages of a random half of them.

    Parameters
    ----------
    model : Model
        All particles.
    nclass : int
        Number of classes.
    seed : int
        The user's ``rand_seed``.
    run : int
        Number of the run; it belongs to the address of its random stream.
    iterations : int
        Most iterations of EXMX.
    """
    n = len(model)
    split = stream(seed, run // 2, HALF).permutation(n)
    half = np.sort(split[run % 2 :: 2])
    known = model.take(half)
    start = by_components(known, nclass, seed)
    learnt = exmx(known, start, nclass, iterations).labels
    labels = np.full(n, -1)
    labels[half] = learnt
    assigned: NDArray[np.intp] = scores(model, labels, nclass).argmax(axis=1)
    return assigned


def by_components(model: Model, nclass: int, seed: int) -> NDArray[np.intp]:
    """Return classes of particles by the components that their halves both find.

    Parameters as of `independent_run`.
    """
    weights = np.repeat(model.w, 2, axis=1) * np.sqrt(model.emphasis)
    matrix = ccc.matrix(model.y * weights, model.w)
    count = min(cpca.TRIED, max(1, len(model) // 4))
    leading = cpca.components(matrix, count)
    used = cpca.number_used(cpca.reproduced(matrix, leading, seed))
    return cpca.cluster(leading.coefficients[:, :used], nclass, seed)


def classify(
    model: Model,
    nclass: int,
    seed: int,
    runs: int = 4,
    smallest: int = 5,
    team: Team | None = None,
) -> Reproducible:
    """Run independently several times and keep what agrees.

    Parameters
    ----------
    model, nclass, seed
        See `independent_run`.
    runs : int
        Number of runs, at least 2.
    smallest : int
        See `reproduced`.
    team : Team, optional
        Shares the runs; the result does not depend on it.
    """
    partitions = np.array(
        (team or Team()).map(
            lambda run: independent_run(model, nclass, seed, run),
            list(range(runs)),
        )
    )
    pairs = [(a, b) for a in range(runs) for b in range(a)]
    agreement = [adjusted_rand_index(partitions[a], partitions[b]) for a, b in pairs]
    labels = np.full(len(model), -1)
    for label, found in enumerate(reproduced(partitions, smallest)):
        labels[found.members] = label
    return Reproducible(labels, partitions, float(np.mean(agreement)))
