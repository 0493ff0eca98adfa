"""Many species, or the states of one: sets with truth, and what programs find in them.

Simulates subtomograms of given maps into a folder (missing wedge of 60 degrees in all,
white noise, poses off by 2 degrees and 0.3 voxel about and along each axis), and
prints a Markdown table. Maps are MRC files; each is centred and brought to the same
mean density. With ``--states`` the one map given is cut into 30 domains, which its 16
states lose one after another, the most remote first. Examples::

    python benchmarks/species.py species --maps maps/*.mrc --pixel-size 14
    python benchmarks/species.py states --maps 50S.mrc --pixel-size 10 --states

RELION's `relion_refine` is run too where it is on the PATH, poses kept, with as many
classes as there are.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from classes import OPTIONS, PYTOM, annealed, components, maximised, prepared_as
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from cryokin.io.mrc import write_volume
from cryokin.io.star import as_table, read_star, write_star
from cryokin.io.subtomograms import Subtomograms, read_subtomograms
from cryokin.io.volumes import read_size, read_volume
from cryokin.options.subtomograms import MANY_CLASSES
from cryokin.partition.agreement import adjusted_rand_index
from cryokin.random import stream
from cryokin.simulate.volumes import VolumeRecipe, simulate_volumes, write_volume_set
from cryokin.subtomo import ccc, cpca, mco
from cryokin.subtomo.distinct import distinct
from cryokin.subtomo.mask import make_mask
from cryokin.volume import averages
from cryokin.volume.filters import frequencies
from cryokin.volume.wedge import TiltWedge

NUMBERS = (200, 160, 120, 100, 80, 60, 50, 30)  # particles of eight species
PROPORTIONS = (11, 5, 2, 8, 1, 4, 7, 3, 10, 2, 6, 1, 9, 3, 5, 8)  # of 16 states
DOMAINS = 30
WEDGE = 30.0  # 90 - largest tilt [degree]
STARTS = 20  # random ones of MCO-EXMX
DRAWS = 200  # of random classes, for what chance gives
# RELION wants to know it, though a weight volume takes the place of a CTF.
MICROSCOPE = {
    "rlnVoltage": "300",
    "rlnSphericalAberration": "2.7",
    "rlnAmplitudeContrast": "0.1",
}
RELION = (
    "--ini_high 60 --tau2_fudge 1 --skip_align --ctf --pad 2"
    " --flatten_solvent --zero_mask --norm --scale --dont_check_norm --random_seed 1"
    " --j 1 --sym C1"
)


def in_box(path: Path, box: int, pixel_size: float) -> NDArray[np.float32]:
    """Return a map in a box, its centre of mass in the middle, its mean density 1."""
    given, size = np.clip(read_volume(path), 0, None), read_size(path)[1]
    step = pixel_size / (size or 10.0)
    smooth = ndimage.gaussian_filter(given, 0.4 * step) if step > 1 else given
    offset = np.array(ndimage.center_of_mass(given)) - step * (box // 2)
    moved = ndimage.affine_transform(smooth, [step] * 3, offset, (box,) * 3, order=3)
    return (moved * (moved.sum() / np.square(moved).sum())).astype(np.float32)


def nested(whole: NDArray[np.float32], states: int) -> list[NDArray[np.float32]]:
    """Return states of a structure that lose its domains, the most remote first."""
    voxels = np.argwhere(whole > 0.1 * whole.max()).astype(float)
    _, domain = cpca.kmeans(voxels, DOMAINS, stream(0))
    centres = np.array([voxels[domain == k].mean(axis=0) for k in range(DOMAINS)])
    remote = np.linalg.norm(centres - centres[0], axis=1).argsort()[::-1]
    every = np.stack(np.indices(whole.shape), axis=-1)[..., None, :]
    nearest = np.square(every - centres).sum(axis=-1).argmin(axis=-1)
    return [np.where(np.isin(nearest, remote[:k]), 0, whole) for k in range(states)]


def simulate(
    folder: Path, maps: list[Path], recipe: VolumeRecipe, states: bool
) -> None:
    """Write a set, with a weight volume of the wedge for all programs."""
    shown = [in_box(path, recipe.box, recipe.pixel_size) for path in maps]
    if states:
        shown = nested(shown[0], len(PROPORTIONS))
    numbers = 10 * np.array(PROPORTIONS) if states else np.array(NUMBERS)[: len(shown)]
    labels = stream(recipe.seed).permutation(np.repeat(np.arange(len(shown)), numbers))
    recipe = VolumeRecipe(**vars(recipe) | {"n_particles": len(labels)})
    write_volume_set(folder, simulate_volumes(recipe, shown, labels))
    box, opening = (recipe.box,) * 3, np.radians(WEDGE)
    half = TiltWedge(opening, opening).weight(frequencies(box), box)
    whole = np.fft.fftn(np.fft.irfftn(half, box, (0, 1, 2))).real.round()
    write_volume(folder / "wedge.mrc", np.fft.fftshift(whole).astype(np.float32), 1.0)
    blocks = read_star(folder / "particles.star")
    table = as_table(blocks["particles"]).assign(rlnCtfImage="wedge.mrc")
    optics = as_table(blocks["optics"]).assign(**MICROSCOPE)
    write_star(folder / "particles.star", {"optics": optics, "particles": table})


def relion(
    table: Subtomograms, nclass: int, diameter: float, iterations: int
) -> tuple[NDArray[np.intp], float]:
    """Return RELION's classes, from the average of all, and its CPU time [s]."""
    both = averages.sums(
        table.read, range(len(table)), table.rotations, table.shifts, table.wedges
    )
    start = averages.average(both[0] + both[1])
    write_volume(Path("average.mrc"), start, table.pixel_size)
    Path("relion").mkdir(exist_ok=True)
    command = ["relion_refine", "--i", "particles.star", "--o", "relion/run"]
    command += ["--ref", "average.mrc", "--K", str(nclass)]
    command += [
        "--iter",
        str(iterations),
        "--particle_diameter",
        f"{diameter:.0f}",
        *RELION.split(),
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open("relion/log.txt", "w") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = as_table(read_star(f"relion/run_it{iterations:03d}_data.star")["particles"])
    # RELION may sort the particles.
    place = [int(Path(name).stem) - 1 for name in found["rlnImageName"]]
    labels = np.empty(len(found), np.intp)
    labels[place] = found["rlnClassNumber"].astype(int) - 1
    return labels, used.ru_utime - before.ru_utime


def measures(labels: NDArray[np.intp], truth: NDArray[np.intp]) -> list[float]:
    """Return adjusted Rand index, accuracy, recall of the smallest class, and classes.

    Each class found stands for one of the truth at most, so that as many particles as
    possible are right.
    """
    table = np.zeros((labels.max() + 1, truth.max() + 1))
    np.add.at(table, (labels, truth), 1)
    rows, columns = linear_sum_assignment(-table)
    right = np.zeros(table.shape[1])
    right[columns] = table[rows, columns]
    sizes = table.sum(axis=0)
    smallest = sizes.argmin()
    index = adjusted_rand_index(labels, truth)
    recall = right[smallest] / sizes[smallest]
    return [index, right.sum() / len(truth), recall, len(np.unique(labels))]


def results(
    nclass: int,
    truth: NDArray[np.intp],
    options: dict,
    diameter: float,
    iterations: int,
    with_pytom: bool,
) -> Iterator[tuple[str, NDArray[np.intp], float]]:
    """Yield name, classes and CPU time [s] of each way to classify a set."""
    given, begin = read_subtomograms("particles.star"), time.process_time()

    def used() -> float:
        return time.process_time() - begin

    made = prepared_as(given, options)
    found = components(made, 0)
    first = cpca.cluster(found.coefficients, nclass, 0)
    yield f"CPCA, {len(found.eigenvalues)} components", first, used()
    prepared, model = used(), mco.model(made.corrected)
    begin = time.process_time() - prepared
    best = maximised(model, first, nclass, 0, STARTS)
    yield "MCO-EXMX", best, used()
    begin = time.process_time() - prepared
    yield "MCO-AC", annealed(model, first, nclass, 0), used()
    begin = time.process_time() - prepared
    first = cpca.cluster(found.coefficients, MANY_CLASSES, 0)
    many = maximised(model, first, MANY_CLASSES, 0, STARTS)
    _, many = np.unique(many, return_inverse=True)
    beam = made.rotations[:, 2, :]
    groups = distinct(model, many, int(many.max()) + 1, 0, directions=beam).groups
    yield "MCO-EXMX, `nclass: auto`", groups[many], used()
    known = mco.scores(model, truth, nclass).argmax(axis=1)
    yield "averages known", known, 0.0
    if iterations and shutil.which("relion_refine"):
        yield "RELION 3.1.3", *relion(given, nclass, diameter, iterations)
    if not with_pytom:
        return
    begin = time.process_time()
    by_pytom = prepared_as(given, options | PYTOM)
    mask = make_mask(options["mask"], given.box, 1)
    matrix = ccc.exact_matrix(by_pytom.rows, mask, "other")
    leading = cpca.components(matrix, cpca.TOLD, by_size=True)
    first = cpca.cluster(leading.coefficients, nclass, 0, "kmeans")
    yield "PyTom's CPCA (`compat: pytom`)", first, used()


def main() -> None:
    """Read the command line, simulate, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("folder", type=Path, help="of the set; is made where it is not there")
    add("--maps", nargs="+", type=Path, default=[], help="MRC files of the structures")
    add("--states", action="store_true", help="of the one map, by deleted domains")
    add("--pixel-size", type=float, default=14.0, help="[A]")
    add("--box", type=int, default=32, help="[voxel]")
    add("--snr", type=float, default=0.05, help="variances in the box")
    add("--radius", type=float, default=12, help="of the mask [voxel]")
    add("--lowpass", type=float, default=10, help="[Fourier pixel]")
    add("--seed", type=int, default=0, help="of the set")
    add("--iterations", type=int, default=25, help="of RELION; 0: it is left out")
    add("--without-pytom", action="store_true", help="whose pairs take long")
    arguments = parser.parse_args()
    folder, size = arguments.folder, arguments.pixel_size
    if not (folder / "particles.star").exists():
        recipe = VolumeRecipe(
            **{"box": arguments.box, "pixel_size": size, "snr": arguments.snr},
            **{"wedge": WEDGE, "seed": arguments.seed},
        )
        simulate(folder, arguments.maps, recipe, arguments.states)
    os.chdir(folder)
    with open("truth.csv") as file:
        truth = np.array([int(row["map_id"]) for row in csv.DictReader(file)])
    nclass = int(truth.max()) + 1
    sphere = {"radius": arguments.radius, "edge": 3}
    options = OPTIONS | {"mask": {"sphere": sphere}, "lowpass": arguments.lowpass}
    print("| | adjusted Rand | accuracy | smallest | classes | CPU s |")
    print("|---|---|---|---|---|---|")
    diameter = 2 * arguments.radius * size
    draws = [stream(0, k).permutation(truth) for k in range(DRAWS)]
    chance = np.mean([measures(one, truth) for one in draws], axis=0)
    print(row("chance, classes of the true sizes", chance, 0))
    found = results(
        *(nclass, truth, options, diameter),
        *(arguments.iterations, not arguments.without_pytom),
    )
    for name, labels, seconds in found:
        print(row(name, measures(labels, truth), seconds), flush=True)


def row(name: str, of: Sequence[float], seconds: float) -> str:
    """Return a row of the table."""
    numbers = [f"{value:.2f}" for value in of[:3]]
    return "| " + " | ".join([name, *numbers, f"{of[3]:.0f}", f"{seconds:.0f}"]) + " |"


if __name__ == "__main__":
    main()
