"""How well classes of subtomograms are found: a table of sets and methods.

Each set is a folder with ``particles.star`` and the truth: ``truth.csv`` with a column
``map_id``, or volumes of two kinds in ``sub/`` and ``mir/`` (mirrored) of which random
halves are taken. Prints a Markdown table of adjusted Rand indices, means over the
seeds, and of the CPU seconds that MCO-EXMX took with a seed. Example::

    python benchmarks/classes.py bench/3d-easy bench/3d-medium --seeds 3
"""

import argparse
import csv
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryokin.io.subtomograms import Subtomograms, read_subtomograms
from cryokin.options import Cpca, McoExmx
from cryokin.parallel import Team
from cryokin.partition.agreement import adjusted_rand_index
from cryokin.random import stream
from cryokin.subtomo import annealing, ccc, cpca, mco
from cryokin.subtomo.courses import best_course, course, refilled
from cryokin.subtomo.distinct import distinct
from cryokin.subtomo.prepare import Prepared, prepare, save_prepared

OPTIONS = {
    "focus_mask": None,
    "highpass": 0.0,
    "binning": 1,
    "compat": "none",
    "pose_errors": "project",
    "pose_refinement": 2,
    "symmetry": "C1",
}
EXMX = {"iterations": 50, "end_threshold": 0.0, "leave_one_out": True}
KEPT = {"pose_errors": "keep", "pose_refinement": 0}
PYTOM = {"compat": "pytom"}
COLUMNS = (
    *("CPCA", "MCO-EXMX", "MCO-AC", "by correlation"),
    *("poses kept: CPCA", "EXMX", "PyTom's CPCA", "averages known"),
    *("distinct of 6", "CPU [s]"),
)


def splits(folder: Path, seed: int) -> tuple[Path, NDArray[np.intp]]:
    """Return a list of which a random half is mirrored, and which half that is."""
    lines = (folder / "particles.star").read_text().splitlines(keepends=True)
    rows = [i for i, line in enumerate(lines) if "sub/" in line]
    truth = np.zeros(len(rows), np.intp)
    truth[stream(seed, 0).permutation(len(rows))[: len(rows) // 2]] = 1
    for i, mirrored in zip(rows, truth, strict=True):
        kind = "mir" if mirrored else "sub"
        lines[i] = lines[i].replace("sub/", f"{folder.resolve()}/{kind}/")
    with tempfile.NamedTemporaryFile("w", suffix=".star", delete=False) as file:
        file.writelines(lines)
    return Path(file.name), truth


def draws(folder: Path, seeds: int) -> Iterator[tuple[Path, NDArray[np.intp], int]]:
    """Yield the list of particles, the truth and a seed, as often as is asked for."""
    table = folder / "truth.csv"
    for seed in range(seeds):
        if table.exists():
            with table.open() as file:
                truth = [int(row["map_id"]) for row in csv.DictReader(file)]
            yield folder / "particles.star", np.array(truth), seed
        else:
            yield *splits(folder, seed), seed


def components(prepared: Prepared, seed: int) -> cpca.Components:
    """Return the components that two halves of the particles both find."""
    corrected = prepared.corrected
    matrix = ccc.matrix(corrected.weighted(), corrected.w)
    leading = cpca.components(matrix, min(cpca.TRIED, max(1, len(matrix) // 4)))
    return leading.first(cpca.number_used(cpca.reproduced(matrix, leading, seed)))


def maximised(
    model: mco.Model, first: NDArray[np.intp], nclass: int, seed: int, starts: int
) -> NDArray[np.intp]:
    """Return the classes of MCO-EXMX."""
    drawn = [mco.random_start(len(model), nclass, seed, k) for k in range(starts)]
    options = McoExmx.some(EXMX | {"nclass": nclass})
    went = [course(model, start, options) for start in [first, *drawn]]
    best, _ = best_course(
        went, nclass, True, lambda best: refilled(model, best, options)
    )
    return best.labels[-1]


def annealed(
    model: mco.Model, first: NDArray[np.intp], nclass: int, seed: int
) -> NDArray[np.intp]:
    """Return the classes of MCO-AC from those of CPCA."""
    return annealing.anneal(model, first, nclass, 1.0, 0.1, seed)[-1].best.labels


def row(folder: Path, seeds: int, starts: int, options: dict) -> list[float]:
    """Return the mean of each column for one set."""
    found = [one(*draw, starts, options) for draw in draws(folder, seeds)]
    return np.mean(found, axis=0).tolist()


def one(
    star: Path, truth: NDArray[np.intp], seed: int, starts: int, options: dict
) -> list[float]:
    """Return the columns for one set and seed."""
    inside = Path.cwd()
    os.chdir(star.parent if not star.parent.samefile(tempfile.gettempdir()) else "/")
    particles = read_subtomograms(star, None, None, wedge_angles=None)
    known, nclass = np.zeros(len(truth), np.intp), int(truth.max()) + 1
    nclass = max(2, nclass)

    def index(labels: NDArray[np.intp]) -> float:
        return adjusted_rand_index(labels, truth)

    begin = time.process_time()
    prepared = prepared_as(particles, options)
    first = cpca.cluster(components(prepared, seed).coefficients, nclass, seed)
    model = mco.model(prepared.corrected)
    best = maximised(model, first, nclass, seed, starts)
    seconds = time.process_time() - begin
    by_correlation = mco.model(prepared.corrected, "correlation")
    old = maximised(by_correlation, first, nclass, seed, starts)
    moved = annealed(model, first, nclass, seed)
    known = mco.scores(model, truth, nclass).argmax(axis=1)
    many = cpca.cluster(components(prepared, seed).coefficients, 6, seed)
    _, many = np.unique(mco.exmx(model, many, 6).labels, return_inverse=True)
    beam = prepared.rotations[:, 2, :]
    found = distinct(model, many, int(many.max()) + 1, seed, directions=beam)

    kept = prepared_as(particles, options | KEPT)
    by_kept = cpca.cluster(components(kept, seed).coefficients, nclass, seed)
    kept_best = maximised(mco.model(kept.corrected), by_kept, nclass, seed, starts)
    pytom = prepared_as(particles, options | PYTOM)
    matrix = ccc.matrix(pytom.rows.weighted(), pytom.rows.w)
    leading = cpca.components(matrix, 4, by_size=True)
    by_pytom = cpca.cluster(leading.coefficients, nclass, seed, "kmeans")
    os.chdir(inside)
    classes = (first, best, moved, old, by_kept, kept_best, by_pytom, known)
    return [*map(index, classes), float(found.number), seconds]


def prepared_as(particles: Subtomograms, options: dict) -> Prepared:
    """Return particles prepared with some options."""
    with tempfile.TemporaryDirectory() as folder:
        prepared, *_ = prepare(particles, Cpca.some(options), Team(), Path(folder))
        save_prepared(Path(folder), prepared, particles.pixel_size)
    return prepared


def main() -> None:
    """Read the command line, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("sets", nargs="+", type=Path, help="folders of sets")
    add("--seeds", type=int, default=3, help="of the methods, or of the halves")
    add("--starts", type=int, default=20, help="random starts of MCO-EXMX")
    add("--radius", type=float, default=12, help="of the mask [voxel]")
    add("--edge", type=float, default=3, help="of the mask [voxel]")
    add("--lowpass", type=float, default=10, help="[Fourier pixel]")
    arguments = parser.parse_args()
    sphere = {"radius": arguments.radius, "edge": arguments.edge}
    options = OPTIONS | {"mask": {"sphere": sphere}, "lowpass": arguments.lowpass}
    print("|".join(["", "set", *COLUMNS, ""]))
    print("|".join(["", "---", *["---"] * len(COLUMNS), ""]))
    for folder in arguments.sets:
        numbers = row(folder.resolve(), arguments.seeds, arguments.starts, options)
        print(
            "|".join(["", folder.name, *(f"{n:.2f}" for n in numbers), ""]), flush=True
        )


if __name__ == "__main__":
    main()
