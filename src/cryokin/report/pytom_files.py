"""Read the files of a classification of subtomograms into the report about it."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.files import read_json
from cryokin.io.volumes import read_volume
from cryokin.provenance import provenance_of_run, sha256
from cryokin.report.isac_files import read_usage
from cryokin.report.pytom_page import (
    PytomReport,
    Start,
    SubtomogramClass,
    Tree,
    Volume,
)


@dataclass(frozen=True)
class PytomFiles:
    """The files of a run that its report is made of; `labels` or `imported` at least.

    Attributes
    ----------
    labels : Path or None
        ``classes.csv``, the class of every particle; None: not known yet.
    classes : Path or None
        ``classes.json``: per class ``class``, ``n``, ``fsc``, ``resolution`` and the
        paths ``mrc`` or ``em`` of its average, seen from the file's own folder.
    averages : sequence of Path
        Class averages whose names end in the number of the class, for a
        ``classes.json`` that tells none.
    eigen : Path or None
        ``eigen.json``: ``eigenvalues``, or more of them as ``spectrum``;
        ``eigenvalues_before``; the paths ``eigenvolumes``; ``masking``.
    coefficients : Path or None
        ``coefficients.npy``, shape (n, neig).
    exmx, annealing : Path or None
        ``exmx.json``, ``annealing.json``: a list of iterations, or a mapping that holds
        it under ``iterations`` beside ``objectives`` and ``agreement`` of the starts.
    reproducible : Path or None
        ``reproducible.json``: ``runs``, their ``agreement``, ``reproduction`` of the
        classes.
    merge : Path or None
        ``merge.json``: ``linkage``; the group of each leaf as ``groups`` (numbers of
        ``names``, -1: none) beside the names of the leaves as ``labels``, or as
        ``labels`` alone; where it was cut as ``height`` or ``cut``.
    merged : Path or None
        ``merged/classes.json``, with ``classes.csv`` beside it: the classes after
        merging, which are then those of the report.
    poses : Path or None
        ``prepared/poses.npz`` with ``rotations``, from which tilt directions follow;
        ``prepared.json`` beside it tells what was odd.
    imported : Path or None
        ``import/import.json``: ``source``, ``sha256``, ``pixel_size``, ``warnings``.
    results : Path or None
        ``results/<run>``, with ``benchmarks`` and ``logs`` of the jobs.
    """

    labels: Path | None = None
    classes: Path | None = None
    averages: Sequence[Path] = ()
    eigen: Path | None = None
    coefficients: Path | None = None
    exmx: Path | None = None
    annealing: Path | None = None
    reproducible: Path | None = None
    merge: Path | None = None
    merged: Path | None = None
    poses: Path | None = None
    imported: Path | None = None
    results: Path | None = None


def read_report(
    run: str,
    options: Mapping[str, Any],
    files: PytomFiles,
    schema: Mapping[str, Mapping[str, Any]] | None = None,
) -> PytomReport:
    """Read all that the report of a run shows.

    Parameters
    ----------
    run : str
        Name of the run.
    options : mapping
        Option of the run to its value, ``method`` among them. A spherical mask sets
        where contrast is stretched; averages are of the box of the subtomograms.
    files : PytomFiles
        Where things stand.
    schema : mapping, optional
        Option to its entry in the configuration schema.

    Raises
    ------
    InputError
        If the files contradict each other.
    OSError
        If a file cannot be read.
    """
    imported = read_json(files.imported) if files.imported else {}
    table = _mapping(files.classes, "classes")
    # Particles that were left out have no poses, components and so on.
    excluded = [entry["id"] for entry in imported.get("excluded", ())]
    if files.labels:
        labels = np.delete(read_labels(files.labels), excluded)
    else:
        labels = np.full(int(imported["n"]), -1, np.int64)
    classes = _classes(files, table["classes"], labels)
    agreed = read_json(files.reproducible) if files.reproducible else {}
    for_class = dict(enumerate(agreed.get("reproduction", ())))
    classes = [
        replace(c, reproduction=_number(for_class.get(c.number))) for c in classes
    ]
    tree = _tree(files, options, classes, labels) if files.merge else None
    if files.merged and tree:
        table_of_merged = files.merged.with_name("classes.csv")
        files = replace(
            files, classes=files.merged, labels=table_of_merged, averages=()
        )
        merged = _mapping(files.classes, "classes")
        labels = np.delete(read_labels(table_of_merged), excluded)
        classes = [
            replace(c, parts=_parts(tree, c.title))
            for c in _classes(files, merged["classes"], labels)
        ]
    eigen = read_json(files.eigen) if files.eigen else {}
    values = eigen.get("spectrum", eigen.get("eigenvalues"))
    made = files.poses and files.poses.with_name("prepared.json")
    prepared = read_json(made) if made and made.is_file() else {}
    exmx = _mapping(files.exmx, "iterations")
    annealing = _mapping(files.annealing, "iterations")
    return PytomReport(
        run=run,
        method=str(options.get("method", "")),
        options=options,
        labels=labels,
        classes=classes,
        pixel_size=_number(table.get("pixel_size", imported.get("pixel_size"))),
        radius=_radius(options.get("mask")),
        eigenvalues=_array(values),
        masking=eigen.get("masking"),
        eigenvalues_before=_array(eigen.get("eigenvalues_before")),
        used=None if values is None else len(eigen.get("eigenvalues", values)),
        coefficients=np.load(files.coefficients) if files.coefficients else None,
        eigenvolumes=_volumes(files.eigen, eigen.get("eigenvolumes", ())),
        exmx=exmx["iterations"],
        starts=_starts(exmx) or _starts(annealing),
        annealing=annealing["iterations"],
        tree=tree,
        directions=read_directions(files.poses) if files.poses else None,
        shifts=read_shifts(files.poses) if files.poses else None,
        runs=int(agreed.get("runs", 0)),
        agreement=_number(agreed.get("agreement")),
        set_aside=agreed.get("only_wedge", ()),
        checksum=sha256(files.classes) if files.classes else "",
        usage=read_usage(files.results, run, options, imported),
        provenance=provenance_of_run(options, imported),
        warnings=[
            warning
            for found in (imported, prepared, exmx, annealing)
            for warning in found.get("warnings", ())
        ],
        schema=schema or {},
    )


def read_labels(path: str | os.PathLike[str]) -> NDArray[np.int64]:
    """Read the class of every particle from ``classes.csv``, -1 for none.

    Raises
    ------
    InputError
        If the ids are not 1, 2, 3, ... in this order.
    """
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    try:
        ids = [int(row["particle_id"]) for row in rows]
        labels = [int(row["class"]) for row in rows]
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{path}: expected the columns particle_id and class, both of whole"
            " numbers; remake the table."
        ) from None
    if ids != list(range(1, len(ids) + 1)):
        raise InputError(
            f"{path}: the column particle_id does not count 1, 2, 3, ...; remake the"
            " table."
        )
    return np.array(labels, np.int64)


def read_directions(path: str | os.PathLike[str]) -> NDArray[np.float64]:
    """Return the beam at zero tilt in the frame of each particle, shape (n, 3).

    A rotation takes the particle's frame to that of the tomogram, whose z axis is the
    beam; seen from the particle, that axis is the last row of the rotation.
    """
    with np.load(path) as poses:
        rotations: NDArray[np.float64] = np.asarray(poses["rotations"], np.float64)
    return rotations[:, 2, :]


def read_shifts(path: str | os.PathLike[str]) -> NDArray[np.float64] | None:
    """Return the shifts of the particles, shape (n, 3) [voxel], if they are told."""
    with np.load(path) as poses:
        return np.asarray(poses["shifts"], np.float64) if "shifts" in poses else None


def _classes(
    files: PytomFiles, entries: Sequence[Mapping[str, Any]], labels: NDArray[np.int64]
) -> list[SubtomogramClass]:
    numbers, counts = np.unique(labels[labels >= 0], return_counts=True)
    sizes = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    if not entries:
        entries = [{"class": number} for number in sizes]
    given = _by_number(files.averages)
    classes = []
    for entry in entries:
        number = int(entry["class"])
        n = int(entry.get("n", sizes.get(number, 0)))
        if n != sizes.get(number, 0):
            raise InputError(
                f"{files.classes}: class {number} has {n} members, but {files.labels}"
                f" has {sizes.get(number, 0)}; remake the two together."
            )
        if n == 0:  # emptied on the way
            continue
        path = given.get(number)
        own = entry.get("mrc") or entry.get("em")
        if path is None and own and files.classes:
            path = files.classes.parent / own
        average = None if path is None else read_volume(path)
        fsc = np.array([_number(v) for v in entry.get("fsc") or ()], np.float64)
        # Shell i of a cubic box holds the waves from i on.
        box = 2 * len(fsc) if average is None else average.shape[0]
        frequency = entry.get("frequency") or np.arange(len(fsc)) / max(box, 1)
        name = str(entry.get("name", ""))
        classes.append(
            SubtomogramClass(
                number=number,
                average=average,
                fsc=fsc,
                frequency=np.asarray(frequency, np.float64),
                resolution=_number(entry.get("resolution")),
                name="" if name == str(number) else name,
                beam=_number(entry.get("beam")),
                only_wedge=bool(entry.get("only_wedge", False)),
            )
        )
    return classes


def _by_number(paths: Sequence[Path]) -> dict[int, Path]:
    found: dict[int, Path] = {}
    for path in paths:
        number = re.search(r"(\d+)$", path.stem)
        if number is None or int(number[1]) in found:
            raise InputError(
                f"{path}: the name of a class average must end in the number of its"
                " class, and no two in the same; rename it."
            )
        found[int(number[1])] = path
    return found


def _starts(table: Mapping[str, Any]) -> list[Start]:
    pairs = zip(table.get("objectives", ()), table.get("agreement", ()), strict=True)
    return [Start(_number(objective), _number(agreed)) for objective, agreed in pairs]


def _tree(
    files: PytomFiles,
    options: Mapping[str, Any],
    classes: Sequence[SubtomogramClass],
    labels: NDArray[np.int64],
) -> Tree:
    merge = read_json(files.merge or Path())
    groups, leaves = merge["labels"], []
    if "groups" in merge:
        names = merge["names"]
        leaves = list(map(str, merge["labels"]))
        groups = [names[group] if group >= 0 else None for group in merge["groups"]]
    tree = Tree(
        linkage=np.asarray(merge["linkage"], np.float64).reshape(-1, 4),
        groups=groups,
        cut=merge.get("height", merge.get("cut")),
        leaves=leaves,
        averages={str(c.number): c.average for c in classes if c.average is not None},
        sizes={str(c.number): int((labels == c.number).sum()) for c in classes},
    )
    how = options.get("merge") or {}
    if how.get("manual_compat"):
        return replace(tree, measure="distance of rows of |1 - correlation|")
    if how.get("linkage") == "significance":
        return replace(tree, measure="difference [standard deviations of noise]")
    return tree


def _parts(tree: Tree, name: str) -> list[str]:
    """Names of the classes that were merged to one."""
    return [
        leaf
        for leaf, group in zip(tree.leaves, tree.groups, strict=True)
        if str(group) == name
    ]


def _volumes(beside: Path | None, names: Sequence[str]) -> list[Volume]:
    return [read_volume((beside or Path()).parent / name) for name in names]


def _mapping(path: Path | None, key: str) -> Mapping[str, Any]:
    """Return a JSON file as a mapping; a bare list stands for its entry ``key``."""
    value = {} if path is None else read_json(path)
    return {key: (), **value} if isinstance(value, dict) else {key: value}


def _radius(mask: Any) -> float | None:
    """Radius of a spherical mask; a mask in a file has none."""
    if not isinstance(mask, Mapping):
        return None
    return float(mask["sphere"]["radius"])


def _array(values: Any) -> NDArray[np.float64] | None:
    return None if values is None else np.asarray(values, np.float64)


def _number(value: Any) -> float:
    """Return a number, NaN for what is none."""
    return math.nan if value is None else float(value)
