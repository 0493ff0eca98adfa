"""Simulated subtomograms with known classes, poses and a missing wedge."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryokin.files import atomic
from cryokin.io.mrc import write_volume
from cryokin.io.star import write_star
from cryokin.random import stream
from cryokin.simulate.density import Density, chiral_density
from cryokin.volume import euler
from cryokin.volume.filters import filtered, frequencies
from cryokin.volume.resample import place
from cryokin.volume.wedge import TiltWedge

KINDS, POSES, ERRORS, NOISE = range(4)  # addresses of the random streams
ARM = 3  # Gaussians at the end of the density, which particles of class 1 lack


@dataclass(frozen=True)
class VolumeRecipe:
    """How to simulate subtomograms.

    Attributes
    ----------
    n_particles : int
        Number of subtomograms.
    share : float
        Share of the particles of class 1, which lack an arm.
    box : int
        Size [voxel].
    pixel_size : float
        Size of a voxel [A].
    snr : float
        Variance of the signal in the box over that of the noise.
    wedge : float
        90 - largest tilt, on both sides [degree].
    turn_sd : float
        Error of the given orientation about each axis [degree].
    shift_sd : float
        Error of the given place along each axis [voxel].
    seed : int
        Of everything random.
    """

    n_particles: int = 80
    share: float = 0.4
    box: int = 24
    pixel_size: float = 12.0
    snr: float = 0.5
    wedge: float = 30.0
    turn_sd: float = 2.0
    shift_sd: float = 0.3
    seed: int = 0


@dataclass(frozen=True)
class VolumeSet:
    """Simulated subtomograms and their truth.

    Attributes
    ----------
    recipe : VolumeRecipe
        How they were made.
    volumes : ndarray of float32, shape (n, box, box, box)
        The subtomograms.
    labels : ndarray of int, shape (n,)
        True classes.
    rotations, shifts : ndarray, shape (n, 3, 3) and (n, 3)
        Given poses, with errors; shifts in voxels.
    """

    recipe: VolumeRecipe
    volumes: NDArray[np.float32]
    labels: NDArray[np.intp]
    rotations: NDArray[np.float64]
    shifts: NDArray[np.float64]


def render(
    density: Density,
    rotation: NDArray[np.float64],
    shift: NDArray[np.float64],
    box: int,
    pixel_size: float,
) -> NDArray[np.float64]:
    """Return the volume of a rotated, then shifted density; nothing is interpolated."""
    places = density.centres @ rotation.T / pixel_size + shift
    width = density.widths[:, None] / pixel_size
    axis = np.arange(box) - box // 2
    x, y, z = (np.exp(-(((axis - p[:, None]) / width) ** 2) / 2) for p in places.T)
    height = density.masses / density.widths**3
    volume: NDArray[np.float64] = np.einsum("g,gz,gy,gx->zyx", height, z, y, x)
    return volume


def simulate_volumes(
    recipe: VolumeRecipe,
    structures: Sequence[NDArray[np.floating]] = (),
    labels: NDArray[np.intp] | None = None,
) -> VolumeSet:
    """Return subtomograms of two structures, of which one lacks an arm, or of others.

    Parameters
    ----------
    recipe : VolumeRecipe
    structures : sequence of ndarray, shape (box, box, box), optional
        Others; all particles then have the same noise, by the mean variance of these.
    labels : ndarray of int, shape (n_particles,), optional
        Which of them each particle shows.
    """
    n, box = recipe.n_particles, recipe.box
    whole = chiral_density()
    kinds = [whole, Density(*(v[:-ARM] for v in vars(whole).values()))]
    if labels is None:
        second = round(recipe.share * n)
        labels = np.repeat([0, 1], [n - second, second])
        labels = stream(recipe.seed, KINDS).permutation(labels)
    poses = stream(recipe.seed, POSES)
    # Uniform orientations: the cosine of the tilt is uniform.
    angles = poses.uniform(-np.pi, np.pi, (n, 3))
    angles[:, 2] = np.arccos(poses.uniform(-1, 1, n))
    rotations, shifts = euler.matrix(angles), poses.normal(0, 0.5, (n, 3))
    opening = np.radians(recipe.wedge)
    weight = TiltWedge(opening, opening).weight(frequencies((box,) * 3), (box,) * 3)
    level = np.sqrt(np.mean([v.var() for v in structures])) if structures else 0.0
    volumes = np.empty((n, box, box, box), np.float32)
    for i, kind in enumerate(labels):
        pose = rotations[i], shifts[i]
        if structures:
            signal = place(structures[kind], *pose).astype(np.float64)
        else:
            signal = render(kinds[kind], *pose, box, recipe.pixel_size)
        noise = stream(recipe.seed, NOISE, i).normal(size=signal.shape)
        seen = signal + noise * (level or signal.std()) / np.sqrt(recipe.snr)
        volumes[i] = filtered(seen, weight)
    errors = stream(recipe.seed, ERRORS)
    turns = np.radians(recipe.turn_sd) * errors.normal(size=(n, 3))
    moves = recipe.shift_sd * errors.normal(size=(n, 3))
    return VolumeSet(
        recipe,
        volumes,
        labels.astype(np.intp),
        rotations @ euler.from_vector(turns),
        shifts + moves,
    )


def write_volume_set(folder: str | os.PathLike[str], made: VolumeSet) -> None:
    """Write ``particles.star``, ``subtomograms/`` and ``truth.csv`` into a folder.

    The table (RELION 3.1) tells nothing of the truth, nor of the missing wedge.
    """
    folder, size = Path(folder), made.recipe.pixel_size
    names = [f"subtomograms/{i + 1:04d}.mrc" for i in range(len(made.labels))]
    for name, volume in zip(names, made.volumes, strict=True):
        write_volume(folder / name, volume, size)
    with atomic(folder / "truth.csv") as partial, partial.open("w", newline="") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow(("particle_id", "map_id"))
        table.writerows(enumerate(made.labels.tolist(), start=1))
    angles = np.degrees(euler.to_relion(euler.angles(made.rotations)))
    columns: dict[str, list[str]] = {
        "rlnImageName": names,
        "rlnMicrographName": [f"tomo{i % 4 + 1:02d}.mrc" for i in range(len(names))],
        "rlnOpticsGroup": ["1"] * len(names),
    }
    for start, values in (
        ("rlnAngle", angles),
        ("rlnOrigin", -made.shifts * size),
    ):
        ends = (
            ("Rot", "Tilt", "Psi")
            if start == "rlnAngle"
            else ("XAngst", "YAngst", "ZAngst")
        )
        for end, column in zip(ends, values.T, strict=True):
            columns[start + end] = [f"{value:.4f}" for value in column]
    optics = {
        "rlnOpticsGroup": ["1"],
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnImagePixelSize": [f"{size:.4f}"],
        "rlnImageSize": [str(made.recipe.box)],
        "rlnImageDimensionality": ["3"],
    }
    write_star(
        folder / "particles.star",
        {"optics": pd.DataFrame(optics), "particles": pd.DataFrame(columns)},
    )
