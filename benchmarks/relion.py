"""Classify the particles of a finished ISAC run by RELION, and set both side by side.

    python benchmarks/relion.py work/results/my_images relion_of_my_images
    python benchmarks/relion.py results/demo relion_of_demo --truth truth.csv

RELION's `relion_refine` must be on the PATH. It gets the same images, as float32, as
many classes as the run has found, and the settings that its own interface proposes for
a 2D classification. The particles' CTF is given with ``--ctf``. Printed are CPU
seconds, numbers of classes and, where the true views are known, how far apart those of
two members of a class are on average; pictures of both lie in the folder.
"""

from __future__ import annotations

import argparse
import csv
import re
import resource
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryokin.files import read_json
from cryokin.io.mrc import open_stack, write_stack
from cryokin.io.star import as_table, read_star, write_star
from cryokin.isac.files import open_particles
from cryokin.report.gallery import Caption, gallery

SETTINGS = (
    "--tau2_fudge 2 --flatten_solvent --zero_mask --oversampling 1 --psi_step 12"
    " --offset_range 5 --offset_step 2 --norm --scale --dont_check_norm --random_seed 1"
    " --j 1"
)


def prepare(results: Path, folder: Path) -> tuple[Path, float]:
    """Write the images of a run as RELION reads them; return table and diameter [A]."""
    images = open_particles(results / "import/images.npz", None)
    stack = folder / "particles.mrcs"
    write_stack(stack, images.read(np.arange(images.n)), images.pixel_size)
    blocks = read_star(results / "import/particles.star")
    particles = as_table(blocks["particles"])
    names = [f"{i + 1:06d}@{stack.resolve()}" for i in range(images.n)]
    blocks["particles"] = particles.assign(rlnImageName=names)
    write_star(folder / "particles.star", blocks)
    radius = read_json(results / "working_stack.json")["radius"]
    return folder / "particles.star", 2 * radius * images.pixel_size


def relion(
    table: Path, diameter: float, classes: int, iterations: int, ctf: bool
) -> tuple[NDArray[np.intp], NDArray[np.float32], float]:
    """Return RELION's classes from 1, their averages, and its CPU time [s]."""
    root = table.with_name("run")
    command = ["relion_refine", "--i", table.name, "--o", f"./{root.name}"]
    command += ["--K", str(classes), "--iter", str(iterations)]
    command += ["--particle_diameter", f"{diameter:.0f}", *SETTINGS.split()]
    command += ["--ctf"] if ctf else []
    print(" ".join(command), flush=True)
    with table.with_name("relion.log").open("w") as log:
        subprocess.run(command, cwd=table.parent, check=True, stdout=log, stderr=log)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    last = f"{root}_it{iterations:03d}"
    found = as_table(read_star(f"{last}_data.star")["particles"])
    # RELION may sort the particles.
    place = [int(name.split("@")[0]) - 1 for name in found["rlnImageName"]]
    labels = np.full(len(found), -1, np.intp)
    labels[place] = found["rlnClassNumber"].astype(int)
    averages = np.asarray(open_stack(f"{last}_classes.mrcs"), np.float32)
    return labels, averages, used.ru_utime + used.ru_stime


def spread(labels: NDArray[np.intp], views: NDArray[np.float64]) -> float:
    """Return the mean angle between the views of two members of a class [degree].

    A view and the opposite one are mirror images, and count as the same.
    """
    total, pairs_of = 0.0, 0
    for k in np.unique(labels[labels >= 0]):
        of_class = views[labels == k]
        n = len(of_class)
        if n < 2:
            continue
        apart = np.degrees(np.arccos(np.clip(np.abs(of_class @ of_class.T), 0, 1)))
        total += n * (apart.sum() - np.trace(apart)) / (n * (n - 1))
        pairs_of += n
    return total / max(pairs_of, 1)


def own_classes(results: Path) -> tuple[NDArray[np.intp], float]:
    """Return the classes of a run, -1: in none, and the CPU time of its jobs [s]."""
    with (results / "classes.csv").open() as handle:
        labels = np.array([int(row["class"]) for row in csv.DictReader(handle)])
    used = 0.0
    for log in results.glob("logs/**/*.log"):
        told = re.search(r"^used: ([\d.]+) s of CPU", log.read_text(), re.M)
        used += float(told[1]) if told else 0.0
    return labels, used


def tell(
    name: str, labels: NDArray[np.intp], used: float, truth: Path | None
) -> list[int]:
    """Print a line about one program; return the sizes of its classes."""
    sizes = np.bincount(labels[labels > 0] - 1)
    words = [
        f"{name}: {np.mean(labels >= 0):.1%} of {len(labels)} particles",
        f"in {np.count_nonzero(sizes)} classes of {sizes[sizes > 0].min()} to"
        f" {sizes.max()}",
        f"{used:.0f} s of CPU",
    ]
    if truth:
        with truth.open() as handle:
            rows = list(csv.DictReader(handle))
        views = np.array([[float(row[f"view_{a}"]) for a in "xyz"] for row in rows])
        real = np.array([int(row["map_id"]) >= 0 for row in rows])
        words.append(f"{spread(np.where(real, labels, -1), views):.1f} degrees apart")
    print(", ".join(words), flush=True)
    return [int(n) for n in sizes]


def draw(
    path: Path, averages: NDArray[np.float32], sizes: list[int], title: str
) -> None:
    """Draw averages, those of most members first."""
    order = [k for k in np.argsort(sizes)[::-1] if sizes[k]]
    captions = [Caption(str(k + 1), "", f"n = {sizes[k]}", "", "") for k in order]
    radius = averages.shape[-1] / 2 - 1
    sheet = gallery(averages[order], captions, title=title, note="", radius=radius)
    path.write_bytes(sheet)


def main() -> None:
    """Read the command line, run RELION, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="results/<run> of a finished run")
    parser.add_argument("folder", type=Path, help="where RELION works; is made")
    parser.add_argument("--classes", type=int, help="default: as many as the run found")
    parser.add_argument("--iterations", type=int, default=25)
    parser.add_argument(
        "--ctf", action="store_true", help="the table describes the CTF"
    )
    parser.add_argument("--truth", type=Path, help="truth.csv of simulated images")
    arguments = parser.parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    own, own_used = own_classes(arguments.results)
    table, diameter = prepare(arguments.results, folder)
    classes = arguments.classes or int(own.max())
    labels, averages, used = relion(
        table, diameter, classes, arguments.iterations, arguments.ctf
    )
    with (folder / "classes.csv").open("w", newline="") as handle:
        rows = csv.writer(handle, lineterminator="\n")
        rows.writerow(["particle_id", "class"])
        rows.writerows([i + 1, k] for i, k in enumerate(labels))
    sizes = tell("cryokin", own, own_used, arguments.truth)
    images = np.asarray(open_stack(arguments.results / "class_averages.mrcs"))
    draw(folder / "cryokin.png", images, sizes, "cryokin")
    sizes = tell("RELION", labels, used, arguments.truth)
    sizes += [0] * (len(averages) - len(sizes))
    draw(folder / "relion.png", averages, sizes, "RELION")


if __name__ == "__main__":
    main()
