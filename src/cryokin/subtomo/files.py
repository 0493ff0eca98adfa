"""Files between the steps of a run for subtomograms."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryokin.files import atomic, read_json, write_json
from cryokin.io import subtomograms as tables
from cryokin.io.em import write_em
from cryokin.io.pytom_xml import WORST_SCORE_OF_OTHERS
from cryokin.io.subtomograms import Subtomograms
from cryokin.npy import load_arrays
from cryokin.parallel import Team
from cryokin.partition.labels import emptied


def load_import(folder: str | os.PathLike[str]) -> Subtomograms:
    """Read the particles that a run works on; others of the list are left out."""
    info = read_json(Path(folder) / "import.json")
    found = tables.load(
        Path(folder) / "particles",
        info["box"],
        info["pixel_size"],
        info.get("weight_scale", 1.0),
        info.get("tomograms", ""),
    )
    copies = info.get("copies", [])
    data = list(range(len(found)))
    for first, *others in copies:
        for i in others:
            data[i] = first
    found = replace(
        found,
        copies=tuple(data) if copies else (),
        imported=os.path.getmtime(Path(folder) / "import.json"),
    )
    return found.without([entry["id"] for entry in info.get("excluded", [])])


def load_placed(
    folder: str | os.PathLike[str], poses: str | os.PathLike[str]
) -> Subtomograms:
    """As `load_import`, at the poses of ``poses.npz``."""
    at = load_arrays(poses)
    return load_import(folder).placed(at["rotations"], at["shifts"])


def save_labels(path: str | os.PathLike[str], labels: NDArray[np.integer]) -> None:
    """Write the class of every particle, from 0; -1: unaccounted."""
    with atomic(path) as partial:
        np.save(partial, np.asarray(labels, np.int64))


def save_scores(path: str | os.PathLike[str], scores: NDArray[np.floating]) -> None:
    """Write the score of every particle in its class."""
    with atomic(path) as partial:
        np.save(partial, np.asarray(scores, np.float64))


def save_outcome(
    team: Team,
    files: Sequence[Path],
    labels: NDArray[np.intp],
    scores: NDArray[np.float64] | None,
    report: dict[str, Any],
    nclass: int,
) -> None:
    """Write what a run of MCO found to three files: classes, scores and report.

    The leading rank does, and it alone has the scores; it also tells what to warn of.
    """
    if not team.leads or scores is None:
        return
    save_labels(files[0], labels)
    save_scores(files[1], scores)
    warnings = emptied(labels, nclass)
    write_json(files[2], report | {"warnings": warnings})
    for warning in warnings:
        team.log(f"warning: {warning}")
    team.log(f"members of the classes: {np.bincount(labels).tolist()}")


def write_matrix_em(path: str | os.PathLike[str], matrix: NDArray[Any]) -> None:
    """Write a matrix as PyTom does, an EM volume of one slice."""
    write_em(path, np.asarray(matrix, np.float32)[None])


def own_scores(
    scores: NDArray[np.float64], labels: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the score of every particle in its class, as lists can have it."""
    return listable(scores[np.arange(len(labels)), labels])


def listable(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores with PyTom's worst instead of minus infinity."""
    return np.maximum(scores, WORST_SCORE_OF_OTHERS)
