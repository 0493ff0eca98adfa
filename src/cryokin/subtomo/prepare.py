"""Particles interpolated into the common frame, as all later steps take them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryokin.files import read_json, write_json
from cryokin.io.subtomograms import Subtomograms
from cryokin.npy import load_array, load_arrays
from cryokin.options import SubtomogramOptions
from cryokin.parallel import Team
from cryokin.subtomo import ccc
from cryokin.subtomo.checks import check_band
from cryokin.subtomo.cpca import components
from cryokin.subtomo.focus import focus, focus_rows
from cryokin.subtomo.mask import make_mask, narrowest_mask
from cryokin.subtomo.pose_errors import Corrected, consensus, correct, refine
from cryokin.volume.bands import Band, Rows, band, rows
from cryokin.volume.resample import binned_size
from cryokin.volume.slices import Slices, binned
from cryokin.volume.symmetry import operations

CERTAIN = 5.0  # standard errors of noise below 0 that make a contrast negative
SPECTRUM = 64  # eigenvalues that show pose errors
SPECTRUM_OF = 2000  # particles at most that these are computed from
SAMPLE = 32  # particles that show what masking once does to their correlations
ARRAYS = ("consensus", "whitening", "amounts", "errors", "strength", "occupancy")


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
    """

    rows: Rows
    corrected: Corrected
    rotations: NDArray[np.float64]
    shifts: NDArray[np.float64]
    spread: NDArray[np.float64]


def reader(
    particles: Subtomograms, binning: int
) -> Callable[[int], NDArray[Any] | Slices]:
    """Return the function that reads a particle, binned."""
    size = binned_size(particles.box, binning)
    if size == particles.box:
        return particles.read
    return lambda i: binned(particles.read(i), size)


def volume_reader(
    particles: Subtomograms, binning: int
) -> Callable[[int], NDArray[Any]]:
    """Return the function that reads a particle that is a volume, binned."""
    read = reader(particles, binning)

    def volume(i: int) -> NDArray[Any]:
        found = read(i)
        assert not isinstance(found, Slices)  # refused on import by PyTom's rules
        return found

    return volume


@dataclass(frozen=True)
class Frame:
    """The common frame of a run, into which particles are interpolated at their poses.

    Attributes
    ----------
    particles : Subtomograms
        As given.
    binning : int
        Factor.
    mask : ndarray, shape (size, size, size)
        Of the binned particles.
    band : Band
        The frequencies that are kept.
    by_pytom : bool
        PyTom's interpolation; it leaves what leaks into a particle's own wedge.
    turns : ndarray, shape (order, 3, 3)
        Rotations of the point group.
    team : Team
        Shares the particles.
    folder : Path
        Where the arrays go, so that no rank holds all particles in memory.
    """

    particles: Subtomograms
    binning: int
    mask: NDArray[Any]
    band: Band
    by_pytom: bool
    turns: NDArray[np.float64]
    team: Team
    folder: Path

    @property
    def symmetric(self) -> bool:
        """Whether the structure has any symmetry."""
        return len(self.turns) > 1

    def rows(
        self,
        rotations: NDArray[np.float64],
        shifts: NDArray[np.float64],
        pre_masked: bool = True,
        symmetric: bool = False,
    ) -> Rows:
        """Interpolate the particles at poses [binned voxel].

        Parameters
        ----------
        rotations, shifts : ndarray, shape (n, 3, 3) and (n, 3)
        pre_masked : bool
            Multiply the mask once; else pairs are to be compared under it.
        symmetric : bool
            Average over the point group.
        """
        return rows(
            reader(self.particles, self.binning),
            rotations,
            shifts,
            self.particles.wedges,
            self.mask if pre_masked else None,
            self.band,
            "pytom" if self.by_pytom else "spline",
            pre_masked or not self.by_pytom,
            self.team,
            (self.folder / "rows.npy", self.folder / "weights.npy"),
            self.turns if symmetric else None,
        )

    def residuals(self, given: Rows, project: bool) -> Corrected:
        """Return residuals from the average of all, see `correct`."""
        return correct(given, project, self.team, self.folder / "residuals.npy")


def frame_of(
    particles: Subtomograms, options: SubtomogramOptions, team: Team, folder: Path
) -> Frame:
    """Return the frame that the options of a run describe.

    Raises
    ------
    InputError
        If the band or the mask does not fit the box.
    """
    binning, by_pytom = options.binning, options.compat == "pytom"
    size = binned_size(particles.box, binning)
    check_band(options, size)
    return Frame(
        particles,
        binning,
        make_mask(options.mask, particles.box, binning),
        band((size,) * 3, options.lowpass, options.highpass),
        by_pytom,
        # PyTom's own rules know symmetry in averages alone.
        operations(None if by_pytom else options.symmetry),
        team,
        folder,
    )


def prepare(
    particles: Subtomograms,
    options: SubtomogramOptions,
    team: Team,
    folder: Path,
) -> tuple[Prepared, NDArray[np.intp]]:
    """Interpolate the particles once, or once more after every refining step.

    Parameters
    ----------
    particles, team, folder
        See `Frame`.
    options : SubtomogramOptions
        Of the run.

    Returns
    -------
    prepared : Prepared
    inverted : ndarray of int
        Particles of inverted contrast, on the leading rank.
    """
    options = options.scaled(particles.box, particles.pixel_size)
    frame = frame_of(particles, options, team, folder)
    project = options.pose_errors == "project" and not frame.by_pytom
    narrow = None
    if options.focus_mask is not None:
        narrow = narrowest_mask(options, particles.box)
    looks: list[NDArray[np.intp]] = []

    def look(given: Rows) -> None:
        looks.append(_look(given, narrow, project, team, folder))

    steps = 0 if frame.by_pytom else options.pose_refinement
    found = _at_best_poses(frame, steps, project, look)
    rotations, shifts = found.rotations, found.shifts
    if frame.symmetric:
        # Poses are errors of single particles, so these come last.
        made = frame.rows(rotations, shifts, symmetric=True)
        found = replace(found, rows=made, corrected=frame.residuals(made, project))
    if narrow is not None:
        corrected = focus(found.corrected, narrow, team, folder / "residuals.npy")
        found = replace(found, corrected=corrected)
    if frame.by_pytom or getattr(options, "exact", False):
        made = frame.rows(rotations, shifts, False, frame.symmetric)
        found = replace(found, rows=made)
    elif narrow is not None:
        made = focus_rows(found.rows, narrow, team, folder / "rows.npy")
        found = replace(found, rows=made)
    return replace(found, shifts=shifts * frame.binning), looks[0]


def _at_best_poses(
    frame: Frame, steps: int, project: bool, look: Callable[[Rows], None]
) -> Prepared:
    """Return particles and residuals at refined poses, or at those that are given.

    Shifts count binned voxels yet; ``look`` is shown the particles as they are given.
    """
    rotations = frame.particles.rotations
    shifts = frame.particles.shifts / frame.binning
    if steps == 0:
        made = frame.rows(rotations, shifts)
        look(made)
        corrected = frame.residuals(made, project)
        spread = np.sqrt(np.mean(corrected.amounts**2, axis=0, keepdims=True))
        return Prepared(made, corrected, rotations, shifts, spread)
    file = frame.folder / "residuals.npy"
    found = refine(frame.rows, rotations, shifts, steps, frame.team, file, look)
    corrected = found.corrected
    if not project:
        corrected = frame.residuals(found.rows, False)
    spread = np.array(found.spread)
    return Prepared(found.rows, corrected, found.rotations, found.shifts, spread)


def _look(
    given: Rows,
    narrow: NDArray[np.floating] | None,
    project: bool,
    team: Team,
    folder: Path,
) -> NDArray[np.intp]:
    """Write the spectrum with all pose errors; return who has inverted contrast."""
    found = np.zeros(0, np.intp)
    if team.leads:
        found = inverted_contrast(given)
        shown = spectrum_before(given, narrow) if project else np.zeros(0)
        np.save(folder / "spectrum_before.npy", shown)
    team.barrier()
    return found


def spectrum_before(
    given: Rows, narrow: NDArray[np.floating] | None
) -> NDArray[np.float64]:
    """Return leading eigenvalues of the correlations of particles with pose errors.

    Parameters
    ----------
    given : Rows
        Pre-masked particles at the given poses; of many, every so many-th counts.
    narrow : ndarray or None
        A second mask, see `cryokin.subtomo.focus`.

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
    residuals = load_array(folder / "residuals.npy", mapped=True)
    kept, at = (load_arrays(folder / name) for name in ("corrected.npz", "poses.npz"))
    arrays: dict[str, Any] = {name: kept[name] for name in ARRAYS}
    arrays["occupancy"] = float(arrays["occupancy"])
    corrected = Corrected(band=made.band, y=residuals, w=made.w, **arrays)
    return Prepared(made, corrected, at["rotations"], at["shifts"], at["spread"])


def load_rows(folder: str | os.PathLike[str]) -> Rows:
    """Read the rows of prepared particles."""
    folder = Path(folder)
    info = read_json(folder / "prepared.json")
    where: Band = band((info["box"],) * 3, info["high"], info["low"])
    mask = load_array(folder / "mask.npy")
    return Rows(
        where,
        load_array(folder / "rows.npy", mapped=True),
        load_array(folder / "weights.npy", mapped=True),
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
    particles: Subtomograms, prepared: Prepared, options: SubtomogramOptions
) -> Masking:
    """Correlate some particles in both ways, at the poses that were prepared.

    Parameters
    ----------
    particles : Subtomograms
        All of them.
    prepared : Prepared
        Their poses and band.
    options : SubtomogramOptions
        ``mask``, ``focus_mask``, ``binning`` and ``symmetry`` of the run.
    """
    n = min(SAMPLE, len(particles))
    ids = np.arange(n) * len(particles) // n
    few, binning = particles.take(ids.tolist()), options.binning
    options = options.scaled(few.box, few.pixel_size)
    mask = narrowest_mask(options, few.box)
    once, never = (
        rows(
            reader(few, binning),
            prepared.rotations[ids],
            prepared.shifts[ids] / binning,
            few.wedges,
            where,
            prepared.rows.band,
            symmetry=operations(options.symmetry),
        )
        for where in (mask, None)
    )
    difference = ccc.matrix(once.weighted(), once.w) - ccc.exact_matrix(never, mask)
    pairs = difference[np.triu_indices(n, 1)]
    rms = float(np.sqrt(np.mean(pairs**2))) if len(pairs) else 0.0
    return Masking(n, rms, float(np.abs(pairs).max(initial=0)))
