"""Merging classes that are alike, by hierarchical clustering of their averages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cryokin.errors import InputError

Linkage = Literal["average", "single", "complete"]


def tree(
    matrix: NDArray[np.floating],
    linkage: Linkage = "average",
    manual_compat: bool = False,
) -> NDArray[np.float64]:
    """Return the tree of classes.

    Parameters
    ----------
    matrix : ndarray, shape (n, n)
        Correlations of the class averages.
    linkage : {"average", "single", "complete"}
        How the distance of two groups follows from those of their members.
    manual_compat : bool
        Do what the recipe of PyTom's manual does: take each row of |1 - correlation|
        for a point, and join the nearest points (single linkage, Euclidean).

    Returns
    -------
    ndarray, shape (n - 1, 4)
        SciPy's linkage: the two groups that are joined, their distance 1 - correlation
        and the number of classes in both.

    Raises
    ------
    InputError
        If there are fewer than two classes.
    """
    n = len(matrix)
    if n < 2:
        raise InputError(
            f"{n} class cannot be merged (allowed: 2 or more); classify into more"
            " classes first."
        )
    distance = np.abs(1 - np.asarray(matrix, np.float64))
    # Slow to import, and every job for subtomograms reads this module.
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import pdist, squareform

    if manual_compat:
        joined: NDArray[np.float64] = hierarchy.linkage(pdist(distance), "single")
        return joined
    symmetric = (distance + distance.T) / 2
    np.fill_diagonal(symmetric, 0)
    joined = hierarchy.linkage(squareform(symmetric, checks=False), linkage)
    return joined


def cut_by_number(tree: NDArray[np.float64], n_groups: int) -> NDArray[np.intp]:
    """Return the group of every class when the tree is cut into ``n_groups``.

    Raises
    ------
    InputError
        If the number is not from 1 to the number of classes.
    """
    n = len(tree) + 1
    if not 1 <= n_groups <= n:
        raise InputError(
            f"merge: {n_groups} groups cannot be made of {n} classes (allowed: 1 to"
            f" {n}); correct the number in the config."
        )
    from scipy.cluster import hierarchy

    return _in_order(hierarchy.cut_tree(tree, n_groups).ravel())


def cut_by_height(tree: NDArray[np.float64], height: float) -> NDArray[np.intp]:
    """Return the group of every class when groups farther apart stay separate.

    Parameters
    ----------
    tree : ndarray
        See `tree`.
    height : float
        Largest distance, 1 - correlation, at which groups are joined.
    """
    from scipy.cluster import hierarchy

    return _in_order(hierarchy.fcluster(tree, height, "distance"))


def _in_order(groups: NDArray[np.integer]) -> NDArray[np.intp]:
    """Return groups numbered from 0 in the order of their first class."""
    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    ordered: NDArray[np.intp] = rank[number]
    return ordered


def user_groups(
    groups: Mapping[str, Sequence[int | str]], labels: Sequence[str]
) -> dict[str, str]:
    """Return the group's name of every class that the user put into one.

    Parameters
    ----------
    groups : mapping of str to sequence
        Names of groups and the labels of their classes, e.g.
        ``{state1: [0, 2, 3], state2: [1, 4]}``.
    labels : sequence of str
        Labels that exist.

    Returns
    -------
    dict of str to str
        Group by label; classes in no group are missing.

    Raises
    ------
    InputError
        If a class does not exist or stands in two groups.
    """
    found: dict[str, str] = {}
    for name, members in groups.items():
        for member in map(str, members):
            if member not in labels:
                raise InputError(
                    f"groups: class {member} of {name} does not exist (there are:"
                    f" {', '.join(labels)}); correct groups in the config."
                )
            if member in found:
                raise InputError(
                    f"groups: class {member} stands in {found[member]} and in {name};"
                    " leave it in one of them."
                )
            found[member] = name
    return found


def merged(labels: NDArray[np.intp], groups: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the group of every particle; particles without a class (-1) keep none.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
        Classes from 0.
    groups : ndarray of int, shape (n_classes,)
        Group of every class.
    """
    chosen: NDArray[np.intp] = np.where(labels < 0, -1, groups[np.maximum(labels, 0)])
    return chosen
