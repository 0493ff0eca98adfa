"""Trees of classes that are alike: what is merged, and the order of what is shown.

Averages of few particles are mostly noise, and so are correlations of them. What two
classes differ by is therefore measured by what the noise of both would make of it, and
the two are joined whose difference is least significant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cryokin.errors import InputError


def differences(
    signal: NDArray[np.floating],
    weight: NDArray[np.floating],
    emphasis: NDArray[np.floating],
    occupancy: float,
) -> NDArray[np.float64]:
    """Return how significantly a group differs from others.

    Parameters
    ----------
    signal, weight : ndarray, shape (n_groups, 2 m)
        Sums of ``w y`` and ``w^2`` over the members of each group, of residuals whose
        noise has variance 1; the first group is compared with the others.
    emphasis : ndarray, shape (2 m,)
        How much a coefficient counts.
    occupancy : float
        Share of the coefficients that are independent, see `Rows.occupancy`.

    Returns
    -------
    ndarray, shape (n_groups - 1,)
        ``(mean_a - mean_b)^2 / (1 / W_a + 1 / W_b)``, summed with the emphasis, less
        what noise makes of it, in standard deviations of that.
    """
    seen = weight > 0
    mean = np.divide(signal, weight, np.zeros(signal.shape), where=seen)
    both = emphasis * (seen[0] & seen[1:])
    weights = weight[0] + weight[1:]
    joint = weight[0] * weight[1:] / np.where(weights > 0, weights, 1)
    squares = (both * joint * np.square(mean[0] - mean[1:])).sum(axis=1)
    deviation = np.sqrt(2 * np.square(both).sum(axis=1) / occupancy)
    above = squares - both.sum(axis=1)
    counted: NDArray[np.float64] = np.divide(
        above, deviation, np.zeros(len(above)), where=deviation > 0
    )
    return counted


def significance_tree(
    signal: NDArray[np.floating],
    weight: NDArray[np.floating],
    emphasis: NDArray[np.floating],
    occupancy: float = 1.0,
) -> NDArray[np.float64]:
    """Return the tree in which the least significant difference is joined next.

    Parameters
    ----------
    signal, weight, emphasis, occupancy
        See `differences`; one row a class.

    Returns
    -------
    ndarray, shape (n - 1, 4)
        As `tree`; the distance is the significance of the difference [standard
        deviations], at least that of the joins before, from 0 on.

    Raises
    ------
    InputError
        If there are fewer than two classes.
    """
    n = len(signal)
    _refuse_too_few(n)
    signals, weights = np.array(signal, np.float64), np.array(weight, np.float64)
    groups = {i: (i, 1) for i in range(n)}  # row of the sums, number of classes
    apart = np.full((2 * n - 1, 2 * n - 1), np.inf)

    def compare(group: int, others: list[int]) -> None:
        rows = [groups[one][0] for one in (group, *others)]
        apart[group, others] = differences(
            signals[rows], weights[rows], emphasis, occupancy
        )

    for group in range(n - 1):
        compare(group, list(range(group + 1, n)))
    joined: list[tuple[float, float, float, float]] = []
    height = 0.0
    for new in range(n, 2 * n - 1):
        a, b = map(int, np.unravel_index(apart.argmin(), apart.shape))
        height = max(height, float(apart[a, b]))
        (row, size), (other, more) = groups.pop(a), groups.pop(b)
        apart[[a, b]] = apart[:, [a, b]] = np.inf
        joined.append((min(a, b), max(a, b), height, size + more))
        signals[row] += signals[other]
        weights[row] += weights[other]
        groups[new] = (row, size + more)
        if len(groups) > 1:
            compare(new, [one for one in groups if one != new])
    return np.array(joined)


def _refuse_too_few(n: int) -> None:
    if n < 2:
        raise InputError(
            f"merge: {n} class cannot be merged (allowed: 2 or more); take merge out of"
            " the config, or classify into more classes."
        )


def tree(
    matrix: NDArray[np.floating],
    linkage: Literal["average", "single", "complete"] = "average",
    manual_compat: bool = False,
) -> NDArray[np.float64]:
    """Return the tree of classes by the correlations of their averages.

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
    _refuse_too_few(len(matrix))
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
        Largest distance at which groups are joined.
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


def tour(alike: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return an order of averages in which neighbours are alike.

    The leaves of the tree of average linkage, turned at its nodes so that the sum of
    the distances between neighbours is as small as can be (Bar-Joseph et al. 2001,
    Bioinformatics 17:S22-S29).

    Parameters
    ----------
    alike : ndarray, shape (k, k)
        How alike averages are, at most 1.

    Returns
    -------
    ndarray of int, shape (k,)
        The end with the lower number comes first.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import squareform

    if len(alike) < 3:
        return np.arange(len(alike))
    apart = np.clip(1.0 - np.asarray(alike, float), 0.0, None)
    np.fill_diagonal(apart, 0.0)
    condensed = squareform(apart, checks=False)
    tree = optimal_leaf_ordering(linkage(condensed, "average"), condensed)
    order: NDArray[np.intp] = leaves_list(tree).astype(np.intp)
    return order if order[0] < order[-1] else order[::-1]
