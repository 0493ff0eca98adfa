"""Draw the figures of docs/: from the results of the demo and simulated subtomograms.

``make figures`` runs it. The same results and versions of the libraries give the same
bytes.
"""

import argparse
import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from cryokin.errors import exit_on_input_error
from cryokin.files import read_ids, write_text
from cryokin.io.eman_hdf import read_images
from cryokin.io.stacks import open_images
from cryokin.partition.agreement import adjusted_rand_index
from cryokin.report.images import data_uri, stretch
from cryokin.report.page import standalone
from cryokin.report.pytom_figures import (
    COLOURS,
    Panel,
    course,
    equal_area,
    scatter,
)
from cryokin.report.svg import Axes, cloud, dot, drawing, picture, rect, short, words
from cryokin.simulate.volumes import VolumeRecipe, VolumeSet, simulate_volumes
from cryokin.subtomo import annealing, ccc, cpca, mco
from cryokin.subtomo.mco import Model
from cryokin.subtomo.pose_errors import Corrected, correct, refine
from cryokin.volume import masks
from cryokin.volume.bands import Rows, band, rows
from cryokin.volume.wedge import TiltWedge

#: Two structures; poses given with errors as large as those of a good alignment.
SUBTOMOGRAMS = VolumeRecipe(n_particles=160, snr=0.1, turn_sd=4.0, shift_sd=0.8)
RADIUS, EDGE, LOWPASS = 9, 2, 8  # [voxel], [voxel], [Fourier pixel]
STARTS, COMPONENTS = 20, 8
NEAR = 0.9  # of the highest objective, that counts as the same
WEAK = 0.012  # signal to noise of the particles for MCO, at refined poses
STEPS = 2  # of refinement, as in the configuration
ITERATIONS = 50  # of a start at most, as in the configuration
TEMPERATURE, STEP = 1.0, 0.1  # standard deviations of the scores


# --------------------------------------------------------------------------- ISAC


@dataclass(frozen=True)
class Demo:
    """What the figures take from a run of ISAC on simulated images.

    Attributes
    ----------
    images : ndarray, shape (n, box, box)
        The particles.
    views : ndarray, shape (n, 3)
        True viewing directions.
    labels : ndarray of int, shape (n,)
        Classes from 0; -1: unaccounted.
    classes, candidates : list of tuple
        Image and members of the classes of all generations, and of the candidates of
        the first.
    first : int
        Number of classes of the first generation.
    """

    images: NDArray[np.float32]
    views: NDArray[np.float64]
    labels: NDArray[np.intp]
    classes: list[tuple[NDArray[np.float32], list[int]]]
    candidates: list[tuple[NDArray[np.float32], list[int]]]
    first: int


def read_demo(results: Path, simulated: Path) -> Demo:
    """Read the results of a run, and the truth about its particles."""
    with (simulated / "truth.csv").open() as file:
        truth = list(csv.DictReader(file))
    with (results / "classes.csv").open() as file:
        numbers = np.array([int(row["class"]) for row in csv.DictReader(file)])
    with open_images(simulated / "particles.mrcs") as stack:
        images = np.stack([stack[i] for i in range(len(stack))])
    number = "generation_0001/class_averages_candidate_generation_1.hdf"
    classes = _with_members(results / "class_averages.hdf")
    accounted = read_ids(results / "generation_0001/generation_1_accounted.txt")
    first = sum(set(members) <= set(accounted) for _, members in classes)
    return Demo(
        images,
        np.array([[float(row[f"view_{axis}"]) for axis in "xyz"] for row in truth]),
        np.where(numbers > 0, numbers - 1, -1),
        classes,
        _with_members(results / number),
        first,
    )


def _with_members(path: Path) -> list[tuple[NDArray[np.float32], list[int]]]:
    images, headers = read_images(path)
    found = [list(map(int, header["members"])) for header in headers]
    return list(zip(images, found, strict=True))


def isac_steps(demo: Demo, radius: float, columns: int = 6) -> Markup:
    """Draw a particle, a candidate and a class of some views, and what is left over."""
    side, gap, left, high = 76.0, 6.0, 122.0, 108.0
    chosen = sorted(demo.classes[: demo.first], key=lambda c: -len(c[1]))[:columns]
    alike = [
        max(demo.candidates, key=lambda c: len(set(c[1]) & set(members)))
        for _, members in chosen
    ]
    accounted = {i for _, members in demo.classes[: demo.first] for i in members}
    rest = [i for i in range(len(demo.images)) if i not in accounted]
    n, scale = len(demo.images), alike[0][0].shape[-1] / demo.images.shape[-1]
    inner = [demo.images[members[0]] for _, members in chosen]
    lost = [demo.images[i] for i in rest[:: max(len(rest) // columns, 1)][:columns]]
    table: list[tuple[tuple[str, ...], Sequence[NDArray[np.float32]], list[str]]] = [
        ((f"{n:,} images", "one of each class"), inner, []),
        (
            (f"{len(demo.candidates)} candidates", "two runs agree"),
            [image for image, _ in alike],
            [f"{len(members)} images" for _, members in alike],
        ),
        (
            (f"{demo.first} classes", "all runs agree,", "alignment is stable"),
            [image for image, _ in chosen],
            [f"{len(members)} images" for _, members in chosen],
        ),
        ((f"{len(rest):,} left over", "for generation 2"), lost, []),
    ]
    parts, top = [], 4.0
    for texts, images, notes in table:
        for i, text in enumerate(texts):
            kind = "tick" if i else "name"
            parts.append(words(0, top + 30 + 14 * i, text, "start", kind))
        for i, image in enumerate(images):
            x = left + i * (side + gap)
            enlarge = radius * (1 if image.shape[-1] == alike[0][0].shape[-1] else 0)
            shown = data_uri(stretch(image, enlarge or radius / scale))
            parts.append(picture(x, top, side, side, shown))
            if notes:
                middle = x + side / 2
                parts.append(words(middle, top + side + 13, notes[i], "middle"))
        top += high if notes else side + gap + 8
    width = left + columns * (side + gap) - gap
    return drawing(width, top, "From images to candidates to classes", *parts)


def isac_views(demo: Demo) -> Markup:
    """Draw the true views of all particles, coloured by class.

    A view and the opposite one are mirror images, which share a class: half a sphere
    holds all.
    """
    reach, margin = 150.0, 12.0
    centre = margin + reach
    points = centre + reach * equal_area(demo.views) * [1, -1]
    styles = [
        "none" if label < 0 else f"c{label % COLOURS}" for label in demo.labels.tolist()
    ]
    marks = [([(x, y)], style) for (x, y), style in zip(points, styles, strict=True)]
    left, row = 2 * centre + 14, 17.0
    order = [-1, *range(len(demo.classes))]
    key = []
    for i, label in enumerate(order):
        style = "none" if label < 0 else f"c{label % COLOURS}"
        name = "unaccounted" if label < 0 else f"class {label + 1}"
        count = int(np.count_nonzero(demo.labels == label))
        y = margin + 16 + i * row
        key.append(dot(left, y - 4, 4, f"own {style}"))
        key.append(words(left + 12, y, name, "start", "name"))
        key.append(words(left + 172, y, f"{count} images", "end"))
        # Only those whose colour is taken twice.
        if {label - COLOURS, label + COLOURS} & set(order[1:]) and label >= 0:
            x, y = _middle(points[demo.labels == label])
            key.append(words(x, y - 30, str(label + 1), "middle", "name"))
    rim = dot(centre, centre, reach, "rim")
    size = left + 182, max(2 * centre, margin + 16 + len(order) * row)
    return drawing(
        *size, "True views of the particles, by class", rim, cloud(marks, 5), *key
    )


def _middle(points: NDArray[np.float64]) -> tuple[float, float]:
    """Return the point that is nearest to half of the others."""
    apart = np.linalg.norm(points[:, None] - points, axis=2)
    x, y = points[np.median(apart, axis=1).argmin()].tolist()
    return x, y


# ------------------------------------------------------------------- subtomograms


def particles_at(
    made: VolumeSet, rotations: NDArray[np.float64], shifts: NDArray[np.float64]
) -> Rows:
    """Return simulated subtomograms at some poses, as the methods take them."""
    box = (made.recipe.box,) * 3
    opening = np.radians(made.recipe.wedge)
    return rows(
        made.volumes.__getitem__,
        rotations,
        shifts,
        [TiltWedge(opening, opening)] * len(made.labels),
        masks.sphere(box, RADIUS, EDGE),
        band(box, LOWPASS),
    )


def refined(made: VolumeSet) -> Corrected:
    """Return the residuals of simulated subtomograms at refined poses."""
    place = partial(particles_at, made)
    return refine(place, made.rotations, made.shifts, STEPS).corrected


def found_components(corrected: Corrected) -> cpca.Components:
    """Return the leading components of the correlations of all pairs."""
    matrix = ccc.matrix(corrected.weighted(), corrected.w)
    return cpca.components(matrix, COMPONENTS)


def explained(values: NDArray[np.float64], by: NDArray[np.float64]) -> float:
    """Return the share of a variance that a linear fit explains (R squared)."""
    design = np.column_stack([np.ones(len(values)), by])
    rest = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return float(1 - rest.var() / values.var())


def cpca_eigenvalues(
    before: cpca.Components,
    after: cpca.Components,
    amounts: NDArray[np.float64],
    truth: NDArray[np.intp],
) -> Markup:
    """Draw eigenvalues with pose errors kept and taken out, and what is in them."""
    highest = max(before.eigenvalues.max(), after.eigenvalues.max())
    plots = []
    for found in (before, after):
        plot = Axes((0.4, len(found.eigenvalues) + 0.6), (0, 1.05 * float(highest)))
        parts = []
        for k, value in enumerate(found.eigenvalues.tolist(), start=1):
            column = found.coefficients[:, k - 1]
            of_pose = explained(column, amounts[:, :6])
            of_class = min(explained(column, truth[:, None]), 1 - of_pose)
            low = 0.0
            for share, kind in (
                (of_class, "own c1"),
                (of_pose, "own c0"),
                (1 - of_pose - of_class, "pale"),
            ):
                high = low + share * value
                x, wide = plot.across(k - 0.32), plot.across(0.64) - plot.across(0)
                parts.append(
                    rect(x, plot.up(high), wide, plot.up(low) - plot.up(high), kind)
                )
                low = high
        label = f"{len(found.eigenvalues)} eigenvalues"
        plots.append(plot.svg(label, "component", "eigenvalue", *parts))
    key = [("own c1", "classes"), ("own c0", "pose errors"), ("pale", "neither: noise")]
    return beside(plots, ("pose errors kept", "pose errors taken out"), key)


def cpca_coefficients(
    before: cpca.Components, after: cpca.Components, truth: NDArray[np.intp]
) -> Markup:
    """Draw the leading coefficients of all particles, coloured by true structure."""
    plots = [
        scatter(
            [(found.coefficients[truth == c, :2], f"c{c}") for c in (0, 1)],
            ("component 1", "component 2"),
        )
        for found in (before, after)
    ]
    key = [("own c0", "whole"), ("own c1", "without the arm")]
    return beside(plots, ("pose errors kept", "pose errors taken out"), key)


def beside(
    plots: Sequence[Markup], titles: Sequence[str], key: Sequence[tuple[str, str]]
) -> Markup:
    """Draw plots side by side with their titles, and the key of the colours below."""
    parts, x, high = [], 0.0, 0.0
    for plot, title in zip(plots, titles, strict=True):
        view = re.search(r'viewBox="0 0 (\S+) (\S+)"', str(plot))
        assert view is not None
        width, height = map(float, view.groups())
        place = f'<svg x="{short(x)}" width="{width:g}" height="{height:g}" '
        parts.append(Markup(str(plot).replace("<svg ", place, 1)))
        parts.append(words(x + 44, 16, title, "start", "name"))
        x, high = x + width + 10, max(high, height)
    at = 44.0
    for kind, text in key:
        parts.append(rect(at, high + 10, 9, 9, kind))
        parts.append(words(at + 14, high + 18, text, "start", "name"))
        at += 40 + 6.5 * len(text)
    return drawing(x - 10, high + 26, ", ".join(titles), *parts)


@dataclass
class Course:
    """What is known of the iterations of one start."""

    objective: list[float]
    agreement: list[float]
    changed: list[float]
    labels: NDArray[np.intp]


def exmx_course(
    model: Model, start: NDArray[np.intp], truth: NDArray[np.intp]
) -> Course:
    """Run MCO-EXMX iteration by iteration, and compare each with the truth."""
    told = Course([], [], [], start)
    for found in mco.exmx_iterations(model, start, 2, ITERATIONS, 0.0, True):
        told.labels = found.labels
        told.objective.append(found.objective)
        told.agreement.append(adjusted_rand_index(found.labels, truth))
        told.changed = [100 * share for share in found.changed]
    return told


def mco_exmx(courses: Sequence[Course]) -> Markup:
    """Draw all starts of MCO-EXMX, the one that counts in full."""
    best = int(np.argmax([told.objective[-1] for told in courses]))
    panels = [
        Panel("objective", [c.objective for c in courses], best),
        Panel(
            "agreement with the truth (adjusted Rand index)",
            [c.agreement for c in courses],
            best,
        ),
        Panel("particles that changed class [%]", [c.changed for c in courses], best),
    ]
    return course(panels)


def mco_ac(
    model: Model,
    starts: Sequence[NDArray[np.intp]],
    goal: float,
    truth: NDArray[np.intp],
) -> Markup:
    """Draw annealing from some starts, the first that comes to the goal in full."""
    chains = [
        annealing.anneal(model, start, 2, TEMPERATURE, STEP, seed=k)
        for k, start in enumerate(starts)
    ]
    reached = [chain[-1].best.objective > NEAR * goal for chain in chains]
    print(f"annealing: {sum(reached)} of {len(reached)} starts that EXMX left below")

    def lines(value: Callable[[annealing.State], float]) -> list[list[float]]:
        return [[float(value(state)) for state in chain] for chain in chains]

    panels = [
        ("temperature [score]", lines(lambda s: s.temperature)),
        (
            "particles moved to a worse class [%]",
            lines(lambda s: 100 * s.draw.worse.mean()),
        ),
        ("best objective so far", lines(lambda s: s.best.objective)),
        (
            "its agreement with the truth (adjusted Rand index)",
            lines(lambda s: adjusted_rand_index(s.best.labels, truth)),
        ),
    ]
    bold = int(np.argmax(reached))
    return course([Panel(name, values, bold) for name, values in panels], "round")


# -------------------------------------------------------------------------- all


def draw(demo: Demo, radius: float, recipe: VolumeRecipe) -> dict[str, str]:
    """Return all figures as SVG files, by name."""
    made = simulate_volumes(recipe)
    truth = made.labels
    particles = particles_at(made, made.rotations, made.shifts)
    kept, corrected = correct(particles, False), correct(particles, True)
    before, after = found_components(kept), found_components(corrected)
    weak = simulate_volumes(replace(recipe, snr=WEAK))
    model = mco.model(refined(weak))
    starts = [mco.random_start(len(truth), 2, 0, k) for k in range(STARTS)]
    courses = [exmx_course(model, start, weak.labels) for start in starts]
    ends = [told.objective[-1] for told in courses]
    low = [
        start for start, end in zip(starts, ends, strict=True) if end < NEAR * max(ends)
    ]
    print(f"EXMX: {len(low)} of {len(starts)} starts end below the best objective")
    print(f"agreement of the best: {courses[int(np.argmax(ends))].agreement[-1]:.2f}")
    drawn = {
        "isac_steps": isac_steps(demo, radius),
        "isac_views": isac_views(demo),
        "cpca_eigenvalues": cpca_eigenvalues(before, after, corrected.amounts, truth),
        "cpca_coefficients": cpca_coefficients(before, after, truth),
        "mco_exmx": mco_exmx(courses),
        "mco_ac": mco_ac(model, low or starts[:1], max(ends), weak.labels),
    }
    return {name: standalone(figure) for name, figure in drawn.items()}


def main() -> None:
    """Read the command line, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--results", type=Path, default=Path("results/demo"), help="a run of ISAC")
    add(
        "--simulated",
        type=Path,
        default=Path("resources/demo_2d"),
        help="its simulated particles",
    )
    add("--radius", type=float, default=29, help="target_radius of the run")
    add("--folder", type=Path, default=Path("docs/images"), help="where to")
    arguments = parser.parse_args()
    demo = read_demo(arguments.results, arguments.simulated)
    for name, text in draw(demo, arguments.radius, SUBTOMOGRAMS).items():
        write_text(arguments.folder / f"{name}.svg", text)


if __name__ == "__main__":
    exit_on_input_error(main)
