"""Read the files of a classification of subtomograms into the report about it."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.files import read_json
from cryokin.io.volumes import read_volume
from cryokin.npy import load_array, load_arrays
from cryokin.provenance import provenance_of_run, sha256
from cryokin.report.isac_files import read_usage
from cryokin.report.page import number
from cryokin.report.pytom_page import PytomReport, Start, SubtomogramClass, Tree
from cryokin.subtomo import told

#: Files of a run, as seen from its page, below the folder of the classes that it shows.
LINKS = {
    "class_averages": "the class averages, as MRC and EM",
    "classes.json": "of each class: members, files, correlation of halves, resolution",
    "classified.star": "all particles with class and pose, for RELION",
    "classified.xml": "the same for PyTom",
    "classes.csv": "the classes as plain text",
}
LINKS_HERE = {
    "classes.cxc": "the class averages as surfaces at one level, for ChimeraX",
    "figures": "the figures of this page",
}


@dataclass(frozen=True)
class PytomFiles:
    """The files of a run that its report is made of; `labels` or `imported` at least.

    None stands for one that is not there, or not yet.
    """

    labels: Path | None = None  # classes.csv, the class of every particle
    classes: Path | None = None  # classes.json
    eigen: Path | None = None  # eigen.json
    coefficients: Path | None = None  # coefficients.npy, shape (n, neig)
    exmx: Path | None = None  # exmx.json
    annealing: Path | None = None  # annealing.json
    reproducible: Path | None = None  # reproducible.json
    differences: Path | None = None  # differences.json
    merge: Path | None = None  # merge.json
    # merged/classes.json, with classes.csv beside it: the classes after merging, which
    # are then those of the report.
    merged: Path | None = None
    # prepared/poses.npz, from which tilt directions follow; prepared.json beside it
    # tells what was odd.
    poses: Path | None = None
    imported: Path | None = None  # import/import.json
    results: Path | None = None  # results/<run>, with benchmarks and logs of the jobs


def read_report(run: str, options: Mapping[str, Any], files: PytomFiles) -> PytomReport:
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

    Raises
    ------
    InputError
        If the files contradict each other.
    OSError
        If a file cannot be read.
    """
    imported, table, agreed, eigen, exmx, annealing, merge = map(
        _content,
        (
            *(files.imported, files.classes, files.reproducible, files.eigen),
            *(files.exmx, files.annealing, files.merge),
        ),
    )
    # Particles that were left out have no poses, components and so on.
    excluded = [entry["id"] for entry in imported.get("excluded", ())]
    if files.labels:
        labels = np.delete(read_labels(files.labels), excluded)
    else:
        labels = np.full(int(imported["n"]), -1, np.int64)
    classes = _classes(files, labels)
    shares = dict(enumerate(agreed.get("reproduction", ()), start=1))
    classes = [replace(c, reproduction=number(shares.get(c.number))) for c in classes]
    differ = _content(files.differences)
    same = told.same_as(differ) if differ else {}
    classes = [replace(c, same_as=same.get(c.number, ())) for c in classes]
    tree = _tree(merge, options, classes, labels) if merge else None
    if files.merged and tree:
        table_of_merged = files.merged.with_name("classes.csv")
        files = replace(files, classes=files.merged, labels=table_of_merged)
        labels = np.delete(read_labels(table_of_merged), excluded)
        classes = [
            replace(c, parts=_parts(tree, c.title)) for c in _classes(files, labels)
        ]
    poses = load_arrays(files.poses) if files.poses else {}
    beside = files.poses and files.poses.with_name("prepared.json")
    prepared = _content(beside if beside and beside.is_file() else None)
    boxes = [len(c.average) for c in classes if c.average is not None]
    return PytomReport(
        run=run,
        method=str(options.get("method", "")),
        options=options,
        labels=labels,
        classes=classes,
        excluded=excluded,
        frequency=np.arange(boxes[0] // 2) / boxes[0] if boxes else np.zeros(0),
        pixel_size=number(table.get("pixel_size", imported.get("pixel_size"))),
        radius=mask_radius(options.get("mask"), imported.get("pixel_size")),
        eigenvalues=_array(eigen.get("spectrum")),
        masking=eigen.get("masking"),
        eigenvalues_before=_array(eigen.get("eigenvalues_before")),
        used=len(eigen["eigenvalues"]) if eigen else None,
        coefficients=load_array(files.coefficients) if files.coefficients else None,
        eigenvolumes=[
            read_volume((files.eigen or Path()).parent / name)
            for name in eigen.get("eigenvolumes", ())
        ],
        exmx=exmx.get("iterations", ()),
        starts=_starts(exmx) or _starts(annealing),
        annealing=annealing.get("iterations", ()),
        tree=tree,
        directions=beam_of(poses["rotations"]) if poses else None,
        shifts=poses.get("shifts"),
        runs=int(agreed.get("runs", 0)),
        agreement=number(agreed.get("agreement")),
        set_aside=agreed.get("only_wedge", ()),
        differences=told.differences(differ) if differ else (),
        checksum=sha256(files.classes) if files.classes else "",
        links=_links(files),
        usage=read_usage(files.results, run, options, imported),
        provenance=provenance_of_run(options, imported),
        warnings=[
            warning
            for found in (imported, prepared, exmx, annealing)
            for warning in found.get("warnings", ())
        ],
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


def beam_of(rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the beam at zero tilt in the frame of each particle, shape (n, 3).

    A rotation takes the particle's frame to that of the tomogram, whose z axis is the
    beam; seen from the particle, that axis is the last row of the rotation.
    """
    return rotations[:, 2]


def _classes(files: PytomFiles, labels: NDArray[np.int64]) -> list[SubtomogramClass]:
    sizes = dict(zip(*np.unique(labels[labels >= 0], return_counts=True), strict=True))
    if files.classes is None:
        return [SubtomogramClass(number=int(k)) for k in sizes]
    classes = []
    for entry in read_json(files.classes)["classes"]:
        k, n = int(entry["class"]), int(entry["n"])
        if n != sizes.get(k, 0):
            raise InputError(
                f"{files.classes}: class {k} has {n} members, but {files.labels}"
                f" has {sizes.get(k, 0)}; remake the two together."
            )
        name, average = str(entry["name"]), files.classes.parent / entry["mrc"]
        classes.append(
            SubtomogramClass(
                number=k,
                average=read_volume(average),
                curve=np.array([number(value) for value in entry["fsc"]]),
                resolution=number(entry["resolution"]),
                name="" if name == str(k) else name,
                only_wedge=bool(entry.get("only_wedge", False)),
                file=os.path.relpath(average, files.results / "report")
                if files.results
                else "",
            )
        )
    return classes


def _links(files: PytomFiles) -> dict[str, str]:
    """Return the files that the page leads to; none where the run has no folder."""
    if not files.results or not files.classes:
        return {}
    folder = os.path.relpath(files.classes.parent, files.results / "report")
    return {f"{folder}/{name}": what for name, what in LINKS.items()} | LINKS_HERE


def _starts(table: Mapping[str, Any]) -> list[Start]:
    pairs = zip(table.get("objectives", ()), table.get("agreement", ()), strict=True)
    return [Start(number(objective), number(agreed)) for objective, agreed in pairs]


def _tree(
    merge: Mapping[str, Any],
    options: Mapping[str, Any],
    classes: Sequence[SubtomogramClass],
    labels: NDArray[np.int64],
) -> Tree:
    names = merge["names"]
    tree = Tree(
        linkage=np.asarray(merge["linkage"], np.float64).reshape(-1, 4),
        groups=[names[group] if group >= 0 else None for group in merge["groups"]],
        cut=merge["height"],
        leaves=merge["labels"],
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
    pairs = zip(tree.leaves, tree.groups, strict=True)
    return [leaf for leaf, group in pairs if group == name]


def _content(path: Path | None) -> dict[str, Any]:
    """Return what a JSON file holds; nothing where there is none."""
    return read_json(path) if path else {}


def mask_radius(mask: Any, pixel_size: float | None = None) -> float | None:
    """Return the radius of a spherical mask [voxel]; a mask in a file has none."""
    sphere = mask["sphere"] if isinstance(mask, Mapping) else {}
    if pixel_size and "diameter" in sphere:
        return float(sphere["diameter"] / 2 / pixel_size)
    return float(sphere["radius"]) if "radius" in sphere else None


def _array(values: Any) -> NDArray[np.float64] | None:
    return None if values is None else np.asarray(values, np.float64)
