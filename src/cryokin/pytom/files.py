"""Files between the steps of a run for subtomograms, and its results."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.files import (
    atomic,
    atomic_folder,
    read_json,
    write_json,
    write_text,
)
from cryokin.io import subtomograms as tables
from cryokin.io.em import write_em
from cryokin.io.subtomograms import Subtomograms
from cryokin.io.volumes import read_volume, write_both
from cryokin.parallel import Team
from cryokin.pytom import ccc, compat
from cryokin.pytom.beam import follows_beam
from cryokin.pytom.cpca import components
from cryokin.pytom.focus import focus, focus_rows
from cryokin.pytom.pose_errors import Corrected, consensus, correct, refine
from cryokin.volume import averages, masks
from cryokin.volume.bands import Band, Rows, band, rows
from cryokin.volume.fsc import fsc, resolution
from cryokin.volume.resample import binned_size, fourier_crop
from cryokin.volume.symmetry import operations

ROUNDING = 1e-3  # of a mask below 0, over its largest value, that filters leave
CERTAIN = 5.0  # standard errors of noise below 0 that make a contrast negative
SPECTRUM = 64  # eigenvalues that show pose errors
SPECTRUM_OF = 2000  # particles at most that these are computed from
SAMPLE = 32  # particles that show what masking once does to their correlations
ARRAYS = ("consensus", "whitening", "amounts", "errors", "strength", "occupancy")


def load_import(folder: str | os.PathLike[str]) -> Subtomograms:
    """Read the particles that a run works on; others of the list are left out."""
    info = read_json(Path(folder) / "import.json")
    found = tables.load(
        Path(folder) / "particles",
        info["box"],
        info["pixel_size"],
        info.get("weight_scale", 1.0),
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
    with np.load(poses) as at:
        return load_import(folder).placed(at["rotations"], at["shifts"])


def make_mask(
    mask: str | Mapping[str, Any], box: int, binning: int, key: str = "mask"
) -> NDArray[Any]:
    """Return the mask of a run, binned as the particles are.

    Parameters
    ----------
    mask : str or mapping
        A file, or ``{"sphere": {"radius": ..., "edge": ...}}``, with the place of its
        centre relative to that of the box as ``"centre": [x, y, z]`` where it has one
        [voxel of the unbinned box].
    box : int
        Voxels of an edge, unbinned.
    binning : int
        Factor.
    key : str, optional
        Of the configuration, for messages.

    Raises
    ------
    InputError
        If the mask does not fit the box, or is 0 everywhere.
    """
    size = binned_size(box, binning)
    if not isinstance(mask, str):
        radius, edge = mask["sphere"]["radius"], mask["sphere"]["edge"]
        centre = np.array(mask["sphere"].get("centre", (0, 0, 0)), np.float64)
        room = box / 2 - float(np.abs(centre).max())
        if not radius < room:
            raise InputError(
                f"{key}: a sphere of radius {radius:g} does not fit the box of {box}"
                f" voxels (allowed: below {room:g}); lower the radius in the config."
            )
        lengths = (radius / binning, edge / binning)
        return masks.sphere((size,) * 3, *lengths, centre[::-1] / binning)
    weight = read_volume(mask)
    if weight.shape != (box,) * 3:
        raise InputError(
            f"{mask}: the mask has {' x '.join(map(str, weight.shape[::-1]))} voxels,"
            f" but the subtomograms {box} x {box} x {box}; give a mask of their box."
        )
    if weight.min() < -ROUNDING * weight.max() or weight.max() <= 0:
        raise InputError(
            f"{mask}: the mask has values from {weight.min():g} to {weight.max():g},"
            " expected 0 outside and up to 1 inside; make another mask, as float32 if"
            " a program wrote bytes."
        )
    weight = np.maximum(weight, 0) / weight.max()
    return np.clip(fourier_crop(weight, size), 0, 1) if size != box else weight


def narrowest_mask(options: Mapping[str, Any], box: int) -> NDArray[Any]:
    """Return the mask under which classes are compared, see `make_mask`."""
    key = "mask" if options["focus_mask"] is None else "focus_mask"
    return make_mask(options[key], box, options["binning"], key)


def reader(particles: Subtomograms, binning: int) -> Callable[[int], NDArray[Any]]:
    """Return the function that reads a particle, binned."""
    size = binned_size(particles.box, binning)
    if size == particles.box:
        return particles.read
    return lambda i: fourier_crop(particles.read(i), size)


@dataclass(frozen=True)
class Prepared:
    """Particles as all later steps take them.

    Attributes
    ----------
    rows : Rows
        Band coefficients in the common frame; not multiplied by the mask where pairs
        are correlated under it (``exact``, ``compat: pytom``).
    corrected : Corrected
        Residuals from the average of all.
    rotations, shifts : ndarray
        Poses, refined if the run asked for it [voxel of the unbinned box].
    spread : ndarray, shape (n_steps + 1, 7)
        Root mean square of the fitted pose errors, before each step and at the end.
    inverted : ndarray of int
        Particles of inverted contrast; known when they are prepared.
    """

    rows: Rows
    corrected: Corrected
    rotations: NDArray[np.float64]
    shifts: NDArray[np.float64]
    spread: NDArray[np.float64]
    inverted: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))


def prepare(
    particles: Subtomograms,
    options: Mapping[str, Any],
    team: Team,
    folder: Path,
) -> Prepared:
    """Interpolate the particles once, or once more after every refining step.

    Parameters
    ----------
    particles : Subtomograms
        As given.
    options : mapping
        Of the run.
    team : Team
        Shares the particles.
    folder : path
        Where the arrays go, so that no rank holds all particles in memory.
    """
    binning = options["binning"]
    size = binned_size(particles.box, binning)
    if options["lowpass"] > size // 2:
        raise InputError(
            f"lowpass = {options['lowpass']:g} Fourier pixels is beyond half the box"
            f" of {size} voxels (allowed: up to {size // 2}); lower it in the config."
        )
    mask = make_mask(options["mask"], particles.box, binning)
    frequencies = band((size,) * 3, options["lowpass"], options["highpass"])
    by_pytom = options["compat"] == "pytom"
    read = reader(particles, binning)
    residuals = folder / "residuals.npy"
    # PyTom's own rules know symmetry in averages alone.
    turns = operations(None if by_pytom else options["symmetry"])
    symmetric = len(turns) > 1

    def make(
        rotations: NDArray[np.float64],
        shifts: NDArray[np.float64],
        pre_masked: bool = True,
        symmetric: bool = False,
    ) -> Rows:
        return rows(
            read,
            rotations,
            shifts,
            particles.wedges,
            mask if pre_masked else None,
            frequencies,
            "pytom" if by_pytom else "spline",
            # PyTom leaves what leaks into a particle's own wedge.
            pre_masked or not by_pytom,
            team,
            (folder / "rows.npy", folder / "weights.npy"),
            turns if symmetric else None,
        )

    rotations, shifts = particles.rotations, particles.shifts / binning
    project = options["pose_errors"] == "project" and not by_pytom
    narrow = None
    if options["focus_mask"] is not None:
        narrow = narrowest_mask(options, particles.box)

    inverted = np.zeros(0, np.intp)

    def look(given: Rows) -> None:
        nonlocal inverted
        if team.leads:
            inverted = inverted_contrast(given)
            shown = spectrum_before(given, narrow) if project else np.zeros(0)
            np.save(folder / "spectrum_before.npy", shown)
        team.barrier()

    steps = 0 if by_pytom else options["pose_refinement"]
    if steps:
        refined = refine(make, rotations, shifts, steps, team, residuals, look)
        rotations, shifts, made = refined.rotations, refined.shifts, refined.rows
        spread, corrected = np.array(refined.spread), refined.corrected
        if not project:
            corrected = correct(made, False, team, residuals)
    else:
        made = make(rotations, shifts)
        look(made)
        corrected = correct(made, project, team, residuals)
        spread = np.sqrt(np.mean(corrected.amounts**2, axis=0, keepdims=True))
    if symmetric:
        # Poses are errors of single particles, so these come last.
        made = make(rotations, shifts, symmetric=True)
        corrected = correct(made, project, team, residuals)
    if narrow is not None:
        corrected = focus(corrected, narrow, team, residuals)
    if by_pytom or options.get("exact", False):
        made = make(rotations, shifts, False, symmetric)
    elif narrow is not None:
        made = focus_rows(made, narrow, team, folder / "rows.npy")
    return Prepared(made, corrected, rotations, shifts * binning, spread, inverted)


def spectrum_before(
    given: Rows, narrow: NDArray[np.floating] | None
) -> NDArray[np.float64]:
    """Return leading eigenvalues of the correlations of particles with pose errors.

    Parameters
    ----------
    given : Rows
        Pre-masked particles at the given poses; of many, every so many-th counts.
    narrow : ndarray or None
        A second mask, see `cryokin.pytom.focus`.

    Returns
    -------
    ndarray, shape (n_components,)
        As many as a report may show, on the scale of all particles.
    """
    n = len(given)
    ids = (
        np.arange(n) if n <= SPECTRUM_OF else np.arange(SPECTRUM_OF) * n // SPECTRUM_OF
    )
    kept = correct(given.take(ids), project=False)
    if narrow is not None:
        kept = focus(kept, narrow)
    matrix = ccc.matrix(kept.weighted(), kept.w)
    values = components(matrix, min(SPECTRUM, len(ids))).eigenvalues
    # Eigenvalues grow with the number of particles.
    return values * (n / len(ids))


def inverted_contrast(given: Rows) -> NDArray[np.intp]:
    """Return particles whose contrast is that of the others inverted.

    The consensus is in them with a negative factor, by more than noise explains.
    """
    found = []
    common, _ = consensus(given)
    for i, (x, w) in enumerate(zip(given.x, given.w, strict=True)):
        seen = w * common
        power = np.vdot(given.band.multiplicity, np.abs(seen) ** 2)
        product = np.vdot(given.band.multiplicity, (x * seen.conj()).real)
        sampled = given.band.multiplicity[w != 0].sum()
        rest = np.vdot(given.band.multiplicity, np.abs(x - seen) ** 2)
        # Noise of a part of the box is in fewer independent coefficients.
        noise = rest / max(sampled, 1) / given.occupancy
        if product < -CERTAIN * np.sqrt(noise * power):
            found.append(i)
    return np.array(found, np.intp)


def contrast_warnings(particles: Subtomograms, inverted: NDArray[np.intp]) -> list[str]:
    """Return a sentence if some particles have the contrast of others inverted."""
    if len(inverted) == 0:
        return []
    first = particles.particles[inverted[0]]
    return [
        f"{len(inverted)} of {len(particles)} particles seem to have the contrast of"
        f" the others inverted, such as {first.file}: bring all to one contrast."
    ]


def save_prepared(
    folder: Path, prepared: Prepared, voxel: float | None, warnings: Sequence[str] = ()
) -> None:
    """Write what `prepare` did not write yet to its folder.

    ``voxel`` is the edge of one of the (binned) voxels [angstrom].
    """
    made, corrected = prepared.rows, prepared.corrected
    mask = made.mask if made.mask is not None else np.zeros(0, np.float32)
    np.save(folder / "mask.npy", mask)
    arrays = {name: getattr(corrected, name) for name in ARRAYS}
    np.savez(folder / "corrected.npz", **arrays)
    np.savez(
        folder / "poses.npz",
        rotations=prepared.rotations,
        shifts=prepared.shifts,
        spread=prepared.spread,
    )
    frequencies = made.band
    write_json(
        folder / "prepared.json",
        {
            "n": len(made),
            "box": frequencies.box[0],
            "low": frequencies.low,
            "high": frequencies.high,
            "coefficients": len(frequencies),
            "voxel": voxel,
            "pose_errors": prepared.spread.tolist(),
            "warnings": list(warnings),
        },
    )


def load_prepared(folder: str | os.PathLike[str]) -> Prepared:
    """Read what `prepare` and `save_prepared` wrote, mapping the large arrays."""
    folder = Path(folder)
    made = load_rows(folder)
    residuals = np.load(folder / "residuals.npy", mmap_mode="r")
    with np.load(folder / "corrected.npz") as kept, np.load(folder / "poses.npz") as at:
        arrays = {name: kept[name] for name in ARRAYS}
        arrays["occupancy"] = float(arrays["occupancy"])
        corrected = Corrected(band=made.band, y=residuals, w=made.w, **arrays)
        return Prepared(made, corrected, at["rotations"], at["shifts"], at["spread"])


def load_rows(folder: str | os.PathLike[str]) -> Rows:
    """Read the rows of prepared particles."""
    folder = Path(folder)
    info = read_json(folder / "prepared.json")
    where: Band = band((info["box"],) * 3, info["high"], info["low"])
    mask = np.load(folder / "mask.npy")
    return Rows(
        where,
        np.load(folder / "rows.npy", mmap_mode="r"),
        np.load(folder / "weights.npy", mmap_mode="r"),
        mask if mask.size else None,
    )


@dataclass(frozen=True)
class Masking:
    """How correlations change if the mask is multiplied once, before the wedges.

    Attributes
    ----------
    n : int
        Particles that were compared, all pairs of them.
    rms, largest : float
        Difference from the correlations pair by pair under the mask.
    """

    n: int
    rms: float
    largest: float


def masking_on_sample(
    particles: Subtomograms, prepared: Prepared, options: Mapping[str, Any]
) -> Masking:
    """Correlate some particles in both ways, at the poses that were prepared.

    Parameters
    ----------
    particles : Subtomograms
        All of them.
    prepared : Prepared
        Their poses and band.
    options : mapping
        ``mask``, ``focus_mask``, ``binning`` and ``symmetry`` of the run.
    """
    n = min(SAMPLE, len(particles))
    ids = np.arange(n) * len(particles) // n
    few, binning = particles.take(ids.tolist()), options["binning"]
    mask = narrowest_mask(options, few.box)
    once, never = (
        rows(
            reader(few, binning),
            prepared.rotations[ids],
            prepared.shifts[ids] / binning,
            few.wedges,
            where,
            prepared.rows.band,
            symmetry=operations(options["symmetry"]),
        )
        for where in (mask, None)
    )
    difference = ccc.matrix(once.weighted(), once.w) - ccc.exact_matrix(never, mask)
    pairs = difference[np.triu_indices(n, 1)]
    rms = float(np.sqrt(np.mean(pairs**2))) if len(pairs) else 0.0
    return Masking(n, rms, float(np.abs(pairs).max(initial=0)))


def save_labels(path: str | os.PathLike[str], labels: NDArray[np.integer]) -> None:
    """Write the class of every particle, from 0; -1: unaccounted."""
    with atomic(path) as partial:
        np.save(partial, np.asarray(labels, np.int64))


def save_scores(path: str | os.PathLike[str], scores: NDArray[np.floating]) -> None:
    """Write the score of every particle in its class."""
    with atomic(path) as partial:
        np.save(partial, np.asarray(scores, np.float64))


@dataclass(frozen=True)
class ClassAverage:
    """The average of a class, and the correlation of its halves.

    Attributes
    ----------
    volume : ndarray, shape (box, box, box)
        The average.
    fsc : ndarray, shape (box // 2,)
        Of two halves of the members; 0 where there is one half alone.
    n : int
        Number of members.
    """

    volume: NDArray[np.float32]
    fsc: NDArray[np.float64]
    n: int


def class_average(
    particles: Subtomograms,
    members: Sequence[int],
    mask: NDArray[np.floating],
    by_pytom: bool,
    team: Team,
    symmetry: str | None = None,
) -> ClassAverage:
    """Return the unbinned average of a class."""
    turns = operations(symmetry)
    sides = halves_of(particles, members)
    if by_pytom:
        setting = compat.Setting(
            particles.read,
            particles.rotations,
            particles.shifts,
            particles.wedges,
            mask,
            0,
            particles.box // 2,
            symmetry=turns,
        )
        volume = compat.class_average(setting, members, team)
        ids = [
            [i for i, h in zip(members, sides, strict=True) if h == half]
            for half in (0, 1)
        ]
        halves = [compat.class_average(setting, half, team) for half in ids if half]
    else:
        parts = averages.sums(
            particles.read,
            members,
            particles.rotations,
            particles.shifts,
            particles.wedges,
            team=team,
            sides=sides,
            symmetry=turns,
        )
        volume = averages.average(parts[0] + parts[1])
        halves = [averages.average(part) for part in parts if part.n]
    curve = np.zeros(particles.box // 2)
    if len(halves) == 2:
        curve = fsc(halves[0], halves[1], mask)
    return ClassAverage(volume, curve, len(members))


def halves_of(particles: Subtomograms, members: Sequence[int]) -> list[int]:
    """Return the half, 0 or 1, of every member of a class.

    They take turns; copies of one particle, whose noise is the same, are in one half.
    """
    data = particles.copies or range(len(particles))
    turn: dict[int, int] = {}
    return [turn.setdefault(data[i], len(turn)) % 2 for i in members]


def write_results(
    folder: str | os.PathLike[str],
    particles: Subtomograms,
    labels: NDArray[np.integer],
    options: Mapping[str, Any],
    team: Team,
    names: Sequence[str] | None = None,
    scores: NDArray[np.floating] | None = None,
) -> None:
    """Average the classes and write the lists and tables of a classification.

    Writes ``classes.csv``, ``classified.xml``, ``classified.star``, ``classes.json``
    and ``class_averages/<average>_<class>.em`` and ``.mrc``.

    Parameters
    ----------
    folder : path-like
        Where to.
    particles : Subtomograms
        At the poses at which they are averaged.
    labels : ndarray of int, shape (n,)
        Classes from 0; -1: unaccounted. Particles that were left out on import are
        unaccounted, too.
    options : mapping
        ``average``, ``mask``, ``compat`` and ``symmetry`` of the run.
    team : Team
        Shares the members of a class.
    names : sequence of str, optional
        Names of the classes; default: their numbers.
    scores : ndarray, shape (n,), optional
        Of the particles in their classes, for the list.
    """
    folder = Path(folder)
    mask = make_mask(options["mask"], particles.box, 1)
    found = {
        int(c): class_average(
            particles,
            np.flatnonzero(labels == c).tolist(),
            mask,
            options["compat"] == "pytom",
            team,
            options.get("symmetry"),
        )
        for c in np.unique(labels[labels >= 0])
    }
    if not team.leads:
        return
    beams = follows_beam(particles.rotations[:, 2, :], labels)
    entries = []
    with atomic_folder(folder / "class_averages") as place:
        for c, one in found.items():
            name = f"{options['average']}_{c}"
            write_both(place / name, one.volume, particles.pixel_size)
            # Two halves have 1 in the first shell; one half has no resolution.
            at_half = None
            if one.fsc[0] > 0:
                at_half = round(resolution(one.fsc, particles.pixel_size or 1.0), 4)
            entries.append(
                {
                    "class": c,
                    "name": str(c) if names is None else names[c],
                    "n": one.n,
                    "em": f"class_averages/{name}.em",
                    "mrc": f"class_averages/{name}.mrc",
                    "fsc": one.fsc.round(6).tolist(),
                    "resolution": at_half,
                    "beam": round(beams[c].share, 4),
                    "only_wedge": beams[c].only,
                }
            )
    table = particles.classified(labels, scores).whole()
    table.write(folder / "classified")
    whole = np.full(len(table), -1)
    whole[particles.ids] = labels
    labels = whole
    write_text(folder / "classes.csv", classes_csv(labels))
    write_json(
        folder / "classes.json",
        {
            "box": particles.box,
            "pixel_size": particles.pixel_size,
            "resolution_unit": "A" if particles.pixel_size else "voxel",
            "n": len(labels),
            "unaccounted": int(np.count_nonzero(labels < 0)),
            "classes": entries,
        },
    )


def classes_csv(labels: NDArray[np.integer]) -> str:
    """Return the table of classes: particle_id from 1, class from 0 or -1."""
    lines = [f"{i},{c}\n" for i, c in enumerate(labels.tolist(), start=1)]
    return "particle_id,class\n" + "".join(lines)


def write_matrix_em(path: str | os.PathLike[str], matrix: NDArray[Any]) -> None:
    """Write a matrix as PyTom does, an EM volume of one slice."""
    write_em(path, np.asarray(matrix, np.float32)[None])
