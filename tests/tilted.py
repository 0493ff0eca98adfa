"""Stacks of tilt images of bodies made of Gaussians, whose projections are known."""

from dataclasses import dataclass, field
from pathlib import Path

import mrcfile
import numpy as np
import pandas as pd

from cryokin.image.ctf import ctf
from cryokin.io.star import write_star
from cryokin.volume import euler
from cryokin.volume.slices import dose_weight

BOX = 24
PIXEL = 10.0
WIDTH = 1.4
OPTICS = (300.0, 2.7, 0.07)
# Five blobs (x, y, z), of which no mirror image and no turn is the same.
BODY = np.array(
    [[3.5, 0, 0], [-2, 3, 0.5], [0, -2.5, 3], [-1.5, -1, -3.5], [1, 2.5, 2.5]]
)
AMPLITUDES = np.array([1.0, 1.4, 0.8, 1.2, 0.6])


def volume(amplitudes=AMPLITUDES, body=BODY):
    """Return the body, shape (BOX, BOX, BOX)."""
    axis = np.arange(BOX) - BOX // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    grid = np.stack([x, y, z], axis=-1)
    squares = ((grid[..., None, :] - body) ** 2).sum(axis=-1)
    return (amplitudes * np.exp(-squares / (2 * WIDTH**2))).sum(axis=-1)


def projections(rotations, rotation, shift=(0, 0, 0), amplitudes=AMPLITUDES):
    """Return images of the body turned by R, shifted by s, then by each tilt."""
    places = (BODY @ np.asarray(rotation).T + shift) @ rotations.transpose(0, 2, 1)
    axis = np.arange(BOX) - BOX // 2
    x, y = (
        np.exp(-((axis - places[..., i, None]) ** 2) / (2 * WIDTH**2)) for i in (0, 1)
    )
    along = WIDTH * np.sqrt(2 * np.pi)
    return along * np.einsum("i,tiy,tix->tyx", amplitudes, y, x)


def tilts(n=21, largest=60.0, axis=85.0):
    """Return RELION 5's angles (x, y, z) of a tilt series [degree], and rotations."""
    angles = np.zeros((n, 3))
    angles[:, 1], angles[:, 2] = np.linspace(-largest, largest, n), axis
    x, y, z = np.radians(angles).T
    turned = np.zeros((n, 3, 3))
    for i in range(n):
        about_x, about_y, about_z = (
            euler.from_vector(vector)
            for vector in ([x[i], 0, 0], [0, y[i], 0], [0, 0, z[i]])
        )
        turned[i] = about_z @ about_y @ about_x
    return angles, turned


def contrast(doses, depths, scale, defocus=30_000.0):
    """Return what images are multiplied by, shape (n, BOX, BOX), in fft2's order."""
    k = np.fft.fftfreq(BOX, PIXEL)
    fx, fy = np.meshgrid(k, k)
    return np.array(
        [
            s * ctf(fx, fy, defocus + z, defocus + z, 0.0, *OPTICS)
            * dose_weight(np.hypot(fx, fy), dose)
            for dose, z, s in zip(doses, depths, scale, strict=True)
        ]
    )  # fmt: skip


@dataclass
class Simulated:
    """A set in files, and the truth of it."""

    path: Path  # of the optimisation set
    labels: np.ndarray
    rotations: np.ndarray
    shifts: np.ndarray  # [pixel]
    blocks: dict = field(default_factory=dict)


def write_set(
    folder, n=4, noise=0.0, premultiplied=True, warp=False, hidden=(2,), hand=-1.0,
    turned_boxes=False, depth=250.0, seed=0,
):  # fmt: skip
    """Write two classes of particles as RELION 5 does, or as Warp."""
    rng = np.random.default_rng(seed)
    angles, turns = tilts()
    n_tilts = len(angles)
    doses = 3.0 * np.argsort(np.argsort(np.abs(angles[:, 1]), kind="stable"))
    scale = np.cos(np.radians(angles[:, 1]))
    name = "TS_01.tomostar" if warp else "TS_01"
    size, pixel = np.array([1000, 1000, 300]), 2.0
    labels = np.arange(n) % 2
    rotations = euler.matrix(rng.uniform(-3, 3, (n, 3)))
    shifts = rng.normal(0, 0.5, (n, 3))
    places = rng.uniform(-depth, depth, (n, 3))  # from the centre [A]
    boxes = euler.matrix(rng.uniform(-3, 3, (n, 3)) * turned_boxes)
    visible = np.ones(n_tilts, int)
    visible[list(hidden)] = 0
    (folder / "stacks").mkdir(parents=True)
    rows = []
    for i in range(n):
        # The pose is that in the box, which lies turned in the tomogram.
        amplitudes = AMPLITUDES * np.where(np.arange(5) == 4, 1 + 2 * labels[i], 1)
        images = projections(turns @ boxes[i], rotations[i], shifts[i], amplitudes)
        c = contrast(doses, hand * turns[:, 2] @ places[i], scale)
        spectra = np.fft.fft2(np.fft.ifftshift(images, axes=(1, 2))) * c
        spectra += np.fft.fft2(noise * rng.normal(size=images.shape))
        if premultiplied:
            spectra *= c
        images = np.fft.fftshift(np.fft.ifft2(spectra).real, axes=(1, 2))
        if not warp:
            images = images[visible == 1]
        file = f"stacks/{i}.mrcs"
        with mrcfile.new(folder / file) as mrc:
            mrc.set_data(images.astype(np.float32))
            mrc.voxel_size = PIXEL
        pose = np.degrees(euler.to_relion(euler.angles(rotations[i])))
        turn = np.degrees(euler.to_relion(euler.angles(boxes[i])))
        row = {"rlnTomoName": name, "rlnTomoParticleName": f"TS_01/{i}"}
        if warp:  # pixels of the images
            corner = (places[i] + size / 2 * pixel) / PIXEL
            row |= {f"rlnCoordinate{a}": v for a, v in zip("XYZ", corner, strict=True)}
        else:
            row |= {
                f"rlnCenteredCoordinate{a}Angst": v
                for a, v in zip("XYZ", places[i], strict=True)
            }
        for stem, values in (("rlnAngle", pose), ("rlnTomoSubtomogram", turn)):
            if stem == "rlnAngle" or turned_boxes:
                row |= {
                    stem + a: v
                    for a, v in zip(("Rot", "Tilt", "Psi"), values, strict=True)
                }
        row |= {
            f"rlnOrigin{a}Angst": -v * PIXEL
            for a, v in zip("XYZ", shifts[i], strict=True)
        }
        shown = "[" + ",".join(map(str, visible)) + "]"
        row |= {"rlnImageName": file, "rlnTomoVisibleFrames": shown}
        rows.append(row | {"rlnOpticsGroup": 1, "rlnMine": f"kept{i}"})
    optics = {
        "rlnOpticsGroup": [1], "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnCtfDataAreCtfPremultiplied": [int(premultiplied)],
        "rlnImagePixelSize": [PIXEL], "rlnImageSize": [BOX],
        "rlnImageDimensionality": [2],
    }  # fmt: skip
    blocks = {
        "general": {"rlnTomoSubTomosAre2DStacks": "1"},
        "optics": pd.DataFrame(optics).astype(str),
        "particles": pd.DataFrame(rows).astype(str),
    }
    write_star(folder / "particles.star", blocks)
    known = {
        "rlnTomoName": [name], "rlnTomoHand": [hand],
        "rlnTomoTiltSeriesPixelSize": [pixel],
        "rlnVoltage": [OPTICS[0]], "rlnSphericalAberration": [OPTICS[1]],
        "rlnAmplitudeContrast": [OPTICS[2]],
        **{f"rlnTomoSize{a}": [v] for a, v in zip("XYZ", size, strict=True)},
    }  # fmt: skip
    of_tilts = {
        "rlnDefocusU": [30_000.0] * n_tilts, "rlnDefocusV": [30_000.0] * n_tilts,
        "rlnDefocusAngle": [0.0] * n_tilts, "rlnCtfScalefactor": scale,
        "rlnMicrographPreExposure": doses,
    }  # fmt: skip
    if warp:
        for i, column in enumerate(("rlnTomoProjX", "rlnTomoProjY", "rlnTomoProjZ")):
            rows_of = ([*turn[i], 0] for turn in turns)
            of_tilts[column] = [
                "[" + ",".join(f"{v:.9f}" for v in row) + "]" for row in rows_of
            ]
        of_tilts["rlnTomoProjW"] = ["[0,0,0,1]"] * n_tilts
    else:
        known["rlnTomoTiltSeriesStarFile"] = ["tilt_series.star"]
        for i, column in enumerate(("rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot")):
            of_tilts[column] = angles[:, i]
        write_star(folder / "tilt_series.star", {name: pd.DataFrame(of_tilts)})
    tomograms = {"global": pd.DataFrame(known)}
    if warp:
        tomograms[name] = pd.DataFrame(of_tilts)
    write_star(folder / "tomograms.star", tomograms)
    both = {
        "rlnTomoParticlesFile": "particles.star",
        "rlnTomoTomogramsFile": "tomograms.star",
    }
    write_star(folder / "optimisation_set.star", {"": both})
    return Simulated(
        folder / "optimisation_set.star", labels, rotations, shifts, blocks
    )
