"""Read the files of an ISAC run into the report about it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.estimate import RuleUsage, estimate, usage
from cryokin.files import read_json
from cryokin.io.counts import Counts
from cryokin.io.eman_hdf import read_headers, read_images
from cryokin.io.mrc import open_stack
from cryokin.io.star import as_table, read_star
from cryokin.isac.basis import polar_basis
from cryokin.isac.compare import average_spectra, similarity
from cryokin.isac.files import read_shifts
from cryokin.options import Isac, options_from
from cryokin.partition.trees import tour
from cryokin.provenance import provenance_of_run, sha256
from cryokin.report.isac_page import Candidate, ClassAverage, IsacReport, Pose
from cryokin.report.members import read_members
from cryokin.report.page import number

#: Files of a run, as seen from its page.
LINKS = {
    "../class_averages.mrcs": "the class averages, in the order of their numbers",
    "../class_averages.hdf": "the same for EMAN2, with their members",
    "../classes.star": "a row a class: members, pixel error, reproduction, resolution",
    "../particles.star": "all particles with class and alignment, for RELION",
    "../classes.csv": "the same as plain text",
    "gallery.png": "the class averages as a picture",
    "figures": "the figures of this page",
}


@dataclass(frozen=True)
class IsacFiles:
    """The files of an ISAC run that its report is made of; None stands for no file."""

    imported: Path  # import/import.json
    working_stack: Path  # working_stack.json
    averages: Path  # class_averages.mrcs
    classes: Path  # classes.star
    members: Path  # class_averages.hdf
    frc: Path  # frc.json
    status: Sequence[Path]  # of the generations, in any order
    poses: Path | None = None  # classes.csv
    candidates: Path | None = None  # their averages in the first generation, .hdf
    rounds: Sequence[Path] = ()  # state.json of the rounds of candidates, in any order
    prealigned: Path | None = None  # 2dalignment/aqfinal.hdf
    shifts: Path | None = None  # 2dalignment/initial2Dparams.txt
    # working_stack.mrcs, for pictures of the members; needs poses and shifts.
    stack: Path | None = None
    results: Path | None = None  # results/<run>, with benchmarks and logs of the jobs
    full: Path | None = None  # class_averages_full.mrcs


def _read_candidates(path: Path | None) -> list[Candidate]:
    if path is None:
        return []
    averages, headers = read_images(path)
    return [
        Candidate(np.asarray(image), int(h["n_objects"]), float(h["reproduction"]))
        for image, h in zip(averages, headers, strict=False)
    ]


def read_report(run: str, options: Mapping[str, Any], files: IsacFiles) -> IsacReport:
    """Read all that the report of a run shows.

    Parameters
    ----------
    run : str
        Name of the run.
    options : mapping
        Option of the run to its value.
    files : IsacFiles
        Where things stand.

    Raises
    ------
    InputError
        If the files contradict each other.
    OSError
        If a file cannot be read.
    """
    imported = read_json(files.imported)
    working = read_json(files.working_stack)
    curves = read_json(files.frc)
    classes = _read_classes(files, curves["frc"])
    box = int(working["box"])
    averages = np.zeros((0, box, box), np.float32)
    if classes:  # an MRC file holds at least one image
        averages = np.asarray(open_stack(files.averages), dtype=np.float32)
    generations = sorted(map(read_json, files.status), key=lambda s: s["generation"])
    prealigned = read_prealigned(files.prealigned) if files.prealigned else None
    shifts = read_shifts(files.shifts) if files.shifts else None
    members = None
    if files.stack and files.poses and files.shifts:
        members = read_members(
            files.stack, files.working_stack, files.poses, files.shifts, imported
        )
    return IsacReport(
        run=run,
        options=options,
        imported=imported,
        generations=generations,
        averages=averages,
        classes=classes,
        frequency=np.asarray(curves["frequency"], dtype=np.float64),
        pixel_size=number(working.get("pixel_size")),
        radius=float(working["target_radius"]),
        prealigned=prealigned,
        prealigned_radius=float(working["radius"]),
        shifts=shifts,
        usage=read_usage(files.results, run, options, imported),
        provenance=provenance_of_run(options, imported),
        warnings=[*imported.get("warnings", ()), *working.get("warnings", ())],
        checksum=sha256(files.classes),
        rounds=read_rounds(files.rounds),
        candidates=[] if classes else _read_candidates(files.candidates),
        full=open_stack(files.full) if files.full and classes else None,
        likeness=_likeness(averages, options),
        members=members,
        links=LINKS if files.results else {},
    )


def _likeness(averages: NDArray[np.float32], options: Mapping[str, Any]) -> list[int]:
    """Return an order of the averages in which neighbours are alike."""
    if not len(averages) or "target_radius" not in options:
        return []
    basis = polar_basis(Isac.some(options))
    order: list[int] = tour(
        similarity(average_spectra(averages, basis), basis)
    ).tolist()
    return order


def read_prealigned(path: str | os.PathLike[str]) -> NDArray[np.float32]:
    """Read the average of the prealigned particles, shape (y, x)."""
    image: NDArray[np.float32] = read_images(path)[0][0]
    return image


def read_rounds(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Read what each round of candidates left, in their order."""
    return sorted(map(read_json, paths), key=lambda s: (s["generation"], s["round"]))


def read_usage(
    results: Path | None,
    run: str,
    options: Mapping[str, Any],
    imported: Mapping[str, Any],
) -> list[RuleUsage]:
    """Read what the rules of a run took, beside what they were estimated to take.

    Parameters
    ----------
    results : Path or None
        ``results/<run>``; None: nothing is known.
    run : str
        Name of the run.
    options : mapping
        Its options, complete.
    imported : mapping
        ``import.json``: ``n`` and ``box``.
    """
    used = usage(results) if results else []
    if all(rule.estimate is not None for rule in used):
        return used
    counts = Counts(int(imported["n"]), int(imported["box"]))
    known = {
        rule.rule: rule for rule in estimate(run, options_from(options), counts).rules
    }
    return [
        replace(rule, estimate=rule.estimate or known.get(rule.rule)) for rule in used
    ]


def read_poses(
    path: str | os.PathLike[str],
) -> dict[int, tuple[NDArray[np.intp], Pose]]:
    """Read ``classes.csv``: per class, from 1, its members and how they lie."""
    table = pd.read_csv(path)
    label = np.asarray(table["class"], np.int64)
    ids = np.asarray(table["particle_id"], np.intp) - 1
    angle = np.asarray(table["psi"], np.float64)
    centre = np.asarray(table[["sx", "sy"]], np.float64)
    mirrored = np.asarray(table["mirror"], bool)
    order = np.argsort(label, kind="stable")
    numbers, starts = np.unique(label[order], return_index=True)
    of_class = zip(numbers.tolist(), np.split(order, starts)[1:], strict=True)
    return {
        k: (ids[rows], Pose(angle[rows], centre[rows], mirrored[rows]))
        for k, rows in of_class
        if k > 0
    }


def _read_classes(
    files: IsacFiles, curves: Sequence[Sequence[float | None]]
) -> list[ClassAverage]:
    """Read the classes; `InputError` where the tables disagree on one."""
    rows = _class_table(files.classes)
    headers = read_headers(files.members)
    poses = read_poses(files.poses) if files.poses else {}
    for path, n in ((files.members, len(headers)), (files.frc, len(curves))):
        if n != len(rows):
            raise InputError(
                f"{path}: holds {n} classes, but {files.classes} holds {len(rows)};"
                " remake the two together."
            )
    classes = []
    for row, header, curve in zip(rows, headers, curves, strict=True):
        k = int(row["rlnClassNumber"])
        members = np.sort(np.atleast_1d(header["members"]).astype(np.int64))
        told = {int(row["cryokinMembers"]), int(np.ravel(header["n_objects"])[0])}
        if told != {len(members)}:
            raise InputError(
                f"{files.members}: class {k} lists {len(members)} members, but its"
                f" n_objects and the cryokinMembers of {files.classes} say"
                f" {sorted(told)}; remake the two together."
            )
        pose = poses.get(k)
        if files.poses and (pose is None or not np.array_equal(pose[0], members)):
            raise InputError(
                f"{files.poses}: the members of class {k} are not those of"
                f" {files.members}; remake the two together."
            )
        classes.append(
            ClassAverage(
                number=k,
                members=members,
                generation=int(row["cryokinGeneration"]),
                pixel_error=number(row["cryokinPixelError"]),
                reproduction=number(row["cryokinReproduction"]),
                resolution=number(row["cryokinResolution"]),
                curve=np.array([number(value) for value in curve]),
                pose=None if pose is None else pose[1],
            )
        )
    return classes


def _class_table(path: Path) -> list[dict[str, str]]:
    """Rows of the block of ``classes.star`` that numbers classes."""
    for block in read_star(path).values():
        table = as_table(block)
        if "rlnClassNumber" in table.columns:
            return [dict(row) for _, row in table.iterrows()]
    raise InputError(
        f"{path}: no block with the column rlnClassNumber; remake the class averages."
    )
