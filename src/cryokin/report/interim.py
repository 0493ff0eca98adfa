"""The report of a run that goes on, from the files that are there.

Files appear whole or not at all, and each step adds its own; so what is there can be
read at any time, beside a call of Snakemake that is at work.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cryokin.errors import InputError
from cryokin.files import read_json
from cryokin.io.eman_hdf import read_images
from cryokin.isac.classes import load_classes
from cryokin.isac.files import read_shifts
from cryokin.isac.tables import membership
from cryokin.options import SubtomogramOptions, options_from
from cryokin.progress import words
from cryokin.provenance import provenance_of_run
from cryokin.report import isac_page, pytom_page
from cryokin.report.isac_files import read_prealigned, read_rounds, read_usage
from cryokin.report.isac_page import ClassAverage, IsacReport, Pose
from cryokin.report.pytom_files import PytomFiles, read_report
from cryokin.steps import STEPS
from cryokin.subtomo.chains import annealing_report, load_chains
from cryokin.workflow import report_files


def interim_page(run: str, options: Mapping[str, Any], results: Path) -> str:
    """Return the page of a run with what it has done so far.

    Parameters
    ----------
    run : str
        Name of the run.
    options : mapping
        Option of the run to its value.
    results : Path
        ``results/<run>``.

    Raises
    ------
    InputError
        If not even the particles have been read.
    """
    if not (results / "import/import.json").is_file():
        raise InputError(
            f"{results}: nothing is there to report yet; start the run by snakemake,"
            " and ask again when its particles have been read."
        )
    if options["method"] == "isac":
        return isac_page.page(_isac(run, options, results))
    return pytom_page.page(_pytom(run, options, results))


def is_finished(results: Path) -> bool:
    """Whether a run has a report that is younger than all that it is made of."""
    page = results / "report/index.html"
    if not page.is_file():
        return False
    made = page.stat().st_mtime
    return all(
        path.stat().st_mtime <= made
        for step in STEPS.values()
        if step.leaves
        for path in results.glob(step.leaves)
    )


def _isac(run: str, options: Mapping[str, Any], results: Path) -> IsacReport:
    imported = read_json(results / "import/import.json")
    shown = _there(results / "working_stack.json")
    working = read_json(shown) if shown else {}
    shift_file = _there(results / "2dalignment/initial2Dparams.txt")
    shifts = read_shifts(shift_file) if shift_file else None
    prealigned = _there(results / "2dalignment/aqfinal.hdf")
    generations, images = [], []
    classes: list[ClassAverage] = []
    for number, folder in _finished(results):
        generations.append(read_json(folder / f"generation_{number}_status.json"))
        averages, headers = read_images(
            folder / f"class_averages_generation_{number}.hdf"
        )
        found = load_classes(folder / f"classes_generation_{number}.npz")
        images += list(averages[: len(headers)])
        assert shifts is not None  # no generation without a prealignment
        table = membership(
            found, [number] * len(found), shifts, working["shrink_ratio"]
        )
        for c, header in zip(found, headers, strict=True):
            classes.append(
                ClassAverage(
                    number=len(classes) + 1,
                    members=np.asarray(c.members, np.int64),
                    generation=number,
                    pixel_error=float(header["pixel_error"]),
                    reproduction=float(header["reproduction"]),
                    resolution=float(header["resolution"]),
                    curve=np.atleast_1d(header["frc"]).astype(np.float64),
                    pose=Pose(
                        np.asarray(table.psi[c.members], np.float64),
                        np.asarray(table.centre[c.members], np.float64),
                        table.flip[c.members],
                    ),
                )
            )
    box = int(working.get("box", imported["box"]))
    pixel_size = working.get("pixel_size", imported["pixel_size"])
    return IsacReport(
        run=run,
        options=options,
        imported=imported,
        generations=generations,
        averages=np.array(images, np.float32).reshape(-1, box, box),
        classes=classes,
        frequency=np.arange(box // 2) / box,
        pixel_size=np.nan if pixel_size is None else float(pixel_size),
        radius=float(working.get("target_radius", imported["radius"])),
        prealigned=read_prealigned(prealigned) if prealigned else None,
        prealigned_radius=float(imported["radius"]),
        shifts=shifts,
        usage=read_usage(results, run, options, imported),
        provenance=provenance_of_run(options, imported),
        warnings=[*imported.get("warnings", ()), *working.get("warnings", ())],
        rounds=read_rounds(_rounds(results, len(generations) + 1)),
        unfinished=_done_last(results),
    )


def _finished(results: Path) -> Iterator[tuple[int, Path]]:
    """Yield number and folder of each generation that is closed.

    A generation that is older than the one before it is left from an earlier call.
    """
    number, before = 1, 0.0
    while True:
        folder = results / f"generation_{number:04d}"
        status = folder / f"generation_{number}_status.json"
        averages = folder / f"class_averages_generation_{number}.hdf"
        if not status.is_file() or not averages.is_file():
            return
        if status.stat().st_mtime < before:
            return
        yield number, folder
        number, before = number + 1, status.stat().st_mtime


def _rounds(results: Path, last: int) -> list[Path]:
    """Return the states of all rounds up to a generation."""
    return [
        path
        for number in range(1, last + 1)
        for path in results.glob(f"generation_{number:04d}/round_*/state.json")
    ]


def _pytom(
    run: str,
    options: Mapping[str, Any],
    results: Path,
) -> pytom_page.PytomReport:
    chosen = options_from(options)
    assert isinstance(chosen, SubtomogramOptions)
    names = report_files(run, chosen).items()
    paths = {key: _there(results / Path(*Path(name).parts[2:])) for key, name in names}
    report = read_report(run, options, PytomFiles(**paths, results=results))
    rounds = sorted(results.glob("mco_ac/round_[0-9]*.npz"))
    if rounds and not report.annealing:
        chains = annealing_report([load_chains(path) for path in rounds])
        report = replace(report, annealing=chains["iterations"])
    return replace(report, unfinished=_done_last(results), links={})


def _done_last(results: Path) -> str:
    """Say which step has left something last."""
    _, rule, path = max(
        (path.stat().st_mtime_ns, rule, path)
        for rule, step in STEPS.items()
        if step.leaves
        for path in results.glob(step.leaves)
    )
    numbers = re.findall(r"\d+", str(path.relative_to(results)))
    return f"Done last: {words((rule, '_'.join(numbers)))}."


def _there(path: Path) -> Path | None:
    return path if path.is_file() else None
