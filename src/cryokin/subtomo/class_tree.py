"""Trees of classes, and the classes that are merged by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.options import SubtomogramOptions
from cryokin.partition import trees
from cryokin.subtomo.distinct import class_tree
from cryokin.subtomo.mask import make_mask
from cryokin.subtomo.mco import model
from cryokin.subtomo.prepare import Prepared
from cryokin.volume.filters import bandpass


def average_correlations(
    volumes: Sequence[NDArray[np.floating]], options: SubtomogramOptions
) -> NDArray[np.float64]:
    """Return the correlations of band-passed class averages under the mask.

    Parameters
    ----------
    volumes : sequence of ndarray
        Averages, unbinned.
    options : SubtomogramOptions
        ``mask``, ``lowpass`` and ``highpass`` [Fourier pixel, the same unbinned].

    Raises
    ------
    InputError
        If there is no class.
    """
    if len(volumes) == 0:
        raise InputError(
            "merge: there is no class that could be merged; take merge out of the"
            " config, or classify in another way."
        )
    mask = make_mask(options.mask, volumes[0].shape[0], 1).ravel()
    weight = mask / mask.sum(dtype=np.float64)
    inside = np.stack(
        [
            bandpass(volume, options.highpass, options.lowpass).ravel()
            for volume in volumes
        ]
    )
    inside -= (inside @ weight)[:, None]
    product = (inside * weight) @ inside.T
    power = np.sqrt(np.maximum(np.diag(product), np.finfo(np.float64).tiny))
    matrix: NDArray[np.float64] = np.clip(product / np.outer(power, power), -1, 1)
    np.fill_diagonal(matrix, 1)
    return matrix


@dataclass(frozen=True)
class Merged:
    """Which classes were merged.

    Attributes
    ----------
    tree : ndarray, shape (n - 1, 4)
        See `cryokin.partition.trees.tree`.
    groups : ndarray of int, shape (n,)
        Group of every class; -1: in none.
    names : list of str
        Of the groups.
    height : float or None
        Where the tree was cut; None: by the user's groups.
    """

    tree: NDArray[np.float64]
    groups: NDArray[np.intp]
    names: list[str]
    height: float | None


def difference_tree(
    prepared: Prepared, labels: NDArray[np.intp], classes: Sequence[int]
) -> NDArray[np.float64]:
    """Return the tree of classes by how significantly they differ.

    Parameters
    ----------
    prepared : Prepared
        The particles.
    labels : ndarray of int, shape (n,)
        Their classes.
    classes : sequence of int
        Those that are compared, in the order of the leaves.
    """
    numbers = {c: i for i, c in enumerate(classes)}
    rows = np.array([numbers.get(c, -1) for c in labels.tolist()])
    return class_tree(model(prepared.corrected), rows, len(classes))


def merge_classes(
    joined: NDArray[np.float64], how: Mapping[str, Any], labels: Sequence[str]
) -> Merged:
    """Merge classes by number, by height or by the user's groups.

    Where there are no more classes than the number, all stay as they are.

    Parameters
    ----------
    joined : ndarray, shape (n - 1, 4)
        The tree of the classes, see `cryokin.partition.trees`.
    how : mapping
        The option ``merge``.
    labels : sequence of str
        Names of the classes.
    """
    if "groups" in how:
        of_class = trees.user_groups(how["groups"], labels)
        names = [str(name) for name in how["groups"]]
        groups = np.array(
            [names.index(of_class[c]) if c in of_class else -1 for c in labels]
        )
        return Merged(joined, groups, names, None)
    if "height" in how:
        height = float(how["height"])
        groups = np.zeros(1, np.intp)
        if len(joined):
            groups = trees.cut_by_height(joined, height)
    elif how["number"] >= len(labels):
        groups, height = np.arange(len(labels)), 0.0
    else:
        groups = trees.cut_by_number(joined, how["number"])
        # Between the last join that was made and the first that was not.
        heights = [0.0, *joined[:, 2].tolist(), float(joined[-1, 2]) * 1.1]
        made = len(labels) - how["number"]
        height = (heights[made] + heights[made + 1]) / 2
    return Merged(joined, groups, [str(g + 1) for g in range(groups.max() + 1)], height)
