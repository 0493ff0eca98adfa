"""Classes that independent runs agree on: matching of partitions.

A partition is an array of labels, one per item, -1 for none. A match names one class of
each partition; its members are the items that carry all these labels. The best matching
has the largest number of members, no class being used twice.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer]

# Classes of a partition up to which two are matched as a full table of all pairs.
MOST_DENSE = 4096


class Match(NamedTuple):
    """One class as several partitions agree on it.

    Attributes
    ----------
    classes : tuple of int
        Label in each partition.
    members : ndarray of int
        Indices of the items, ascending.
    """

    classes: tuple[int, ...]
    members: NDArray[np.intp]


def label_tuples(partitions: Labels, smallest: int) -> list[Match]:
    """Return all combinations of labels that at least ``smallest`` items carry.

    Parameters
    ----------
    partitions : ndarray, shape (n_partitions, n_items)
    smallest : int
        At least 1.
    """
    labelled = np.flatnonzero(np.all(partitions >= 0, axis=0))
    if not len(labelled):
        return []
    tuples, which, counts = np.unique(
        partitions[:, labelled], axis=1, return_inverse=True, return_counts=True
    )
    order = np.argsort(which.ravel(), kind="stable")
    members = np.split(labelled[order], np.cumsum(counts)[:-1])
    return [
        Match(tuple(int(c) for c in tuples[:, t]), np.sort(members[t]))
        for t in np.flatnonzero(counts >= max(smallest, 1))
    ]


def match(partitions: Labels, smallest: int) -> list[Match]:
    """Return the best matching of partitions.

    Two partitions are matched by linear assignment, more of them by integer
    programming over the combinations of labels that occur, one connected component
    (combinations that share classes) at a time. Both are exact.

    Parameters
    ----------
    partitions : ndarray, shape (n_partitions, n_items)
        Labels; -1: none.
    smallest : int
        ``thld_grp``: fewest members of a match.

    Returns
    -------
    list of Match
        Sorted by class of the first partition.
    """
    candidates = label_tuples(np.asarray(partitions), smallest)
    if not candidates:
        return []
    classes = np.array([c.classes for c in candidates])
    weights = np.array([len(c.members) for c in candidates])
    chosen = (
        _assignment(classes, weights)
        if len(partitions) == 2
        else _set_packing(classes, weights)
    )
    return sorted((candidates[t] for t in chosen), key=lambda m: m.classes)


def _assignment(classes: Labels, weights: Labels) -> list[int]:
    """Choose pairs of classes of largest total weight, no class twice."""
    # SciPy's parts are slow to import, and of a job's ranks only one matches.
    from scipy.optimize import linear_sum_assignment

    if classes.max() >= MOST_DENSE:
        return _sparse_assignment(classes, weights)
    table = np.zeros(classes.max(axis=0) + 1)
    index = np.full(table.shape, -1)
    table[classes[:, 0], classes[:, 1]] = weights
    index[classes[:, 0], classes[:, 1]] = np.arange(len(classes))
    pairs = index[linear_sum_assignment(table, maximize=True)]
    return [int(t) for t in pairs if t >= 0]


def _sparse_assignment(classes: Labels, weights: Labels) -> list[int]:
    """As `_assignment`, in memory that grows with the pairs that occur.

    Every class of the first partition gets a partner of its own that is worth next to
    nothing, because the algorithm leaves nobody without one.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    rows, columns = classes.max(axis=0) + 1
    alone = np.arange(rows)
    nothing = np.full(rows, 0.5 / (rows + 1))  # all together less than one item
    graph = csr_array(
        (
            np.concatenate([weights, nothing]),
            (
                np.concatenate([classes[:, 0], alone]),
                np.concatenate([classes[:, 1], columns + alone]),
            ),
        ),
        (rows, columns + rows),
    )
    first, second = min_weight_full_bipartite_matching(graph, maximize=True)
    paired = {(int(a), int(b)) for a, b in zip(first, second, strict=True)}
    return [t for t, (a, b) in enumerate(classes.tolist()) if (a, b) in paired]


def _set_packing(classes: Labels, weights: Labels) -> list[int]:
    """Choose tuples of classes of largest total weight, no class of a run twice."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n, n_partitions = classes.shape
    offsets = np.cumsum([0, *(classes.max(axis=0)[:-1] + 1)])
    constraints, rows = np.unique(classes + offsets, return_inverse=True)
    rows = rows.reshape(-1)
    columns = np.repeat(np.arange(n), n_partitions)
    uses = coo_array((np.ones(rows.size), (rows, columns)), (len(constraints), n))
    graph = (uses.T @ uses).tocsr()
    n_parts, part = connected_components(graph, directed=False)
    incidence = uses.tocsr()
    chosen: list[int] = []
    for p in range(n_parts):
        members = np.flatnonzero(part == p)
        if len(members) == 1:
            chosen.append(int(members[0]))
            continue
        table = incidence[:, members]
        table = table[np.diff(table.indptr) > 0]
        found = milp(
            -weights[members].astype(float),
            integrality=np.ones(len(members)),
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(table, ub=1),
            options={"mip_rel_gap": 0.0},  # by default it may stop 0.01 % short
        )
        if found.x is None:
            raise RuntimeError(f"matching failed: {found.message}")
        chosen.extend(int(t) for t in members[found.x > 0.5])
    return chosen


def unique(
    blocks: list[list[NDArray[np.integer]]], share: float = 0.45, fewest: int = 5
) -> list[tuple[int, int]]:
    """Choose from several lists of classes each class once.

    Classes of different lists that share more than ``share`` of their mean size are
    taken as the same. Those found in more than one list come first.

    Parameters
    ----------
    blocks : list of lists of ndarray
        Members of the classes of each list.
    share : float, default=0.45
    fewest : int, default=5
        Classes with fewer members are left out.

    Returns
    -------
    list of (block, index)
    """
    entries = [
        (b, i, members)
        for b, block in enumerate(blocks)
        for i, members in enumerate(block)
        if len(members) >= fewest
    ]
    sizes = np.array([len(members) for _, _, members in entries])
    overlap = _overlaps([members for _, _, members in entries])
    kept: set[int] = set()
    repeated: set[int] = set()
    for e, (block, _, _) in enumerate(entries):
        row = slice(overlap.indptr[e], overlap.indptr[e + 1])
        others, common = overlap.indices[row], overlap.data[row]
        alike = others[common > share * (sizes[e] + sizes[others]) / 2]
        twins = {int(k) for k in alike if k in kept and entries[k][0] != block}
        repeated |= twins
        if not twins:
            kept.add(e)
    order = sorted(kept, key=lambda e: (e not in repeated, e))
    return [entries[e][:2] for e in order]


def _overlaps(lists: list[NDArray[np.integer]]) -> Any:
    """Return how many items each two lists share, as a sparse matrix (CSR)."""
    from scipy.sparse import coo_array, csr_array

    if not lists:
        return csr_array((0, 0), dtype=np.int64)
    rows = np.repeat(np.arange(len(lists)), [len(members) for members in lists])
    items = np.concatenate(lists)
    holds = coo_array(
        (np.ones(len(items), np.int64), (rows, items)),
        (len(lists), int(items.max(initial=0)) + 1),
    ).tocsr()
    return csr_array(holds @ holds.T)
