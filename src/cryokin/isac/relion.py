"""The classes of a run as RELION keeps those of its own 2D classification.

RELION 3.1 finds the particles of a model by the model's name, later versions by the
table of the optimiser; with these three its display, its selection of classes and its
class ranker open a run. RELION cannot continue it: what only an iteration needs is left
out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryokin.files import portable
from cryokin.io.particles import ParticleTable
from cryokin.io.star import Block
from cryokin.rings import full_set, rings

#: The names that RELION goes by, by what is in them.
NAMES = {kind: f"run_it000_{kind}.star" for kind in ("optimiser", "model", "data")}
_LARGEST = 999.0  # RELION's resolution of what has none [A]


def classification(
    folder: Path,
    stack: Path,
    images: NDArray[np.floating],
    headers: Sequence[Mapping[str, Any]],
    working: Mapping[str, Any],
    particles: ParticleTable,
    flipped: bool,
) -> dict[str, dict[str, Block]]:
    """Return the blocks of RELION's tables of a classification, by their names.

    Parameters
    ----------
    folder : Path
        Where the tables will be.
    stack : Path
        File of the class averages.
    images : ndarray, shape (k, box, box)
        Class averages.
    headers : sequence of mapping, length k
        Their attributes.
    working : mapping
        ``box``, ``pixel_size`` [A], ``radius`` [pixel of the input], ``target_radius``
        [working pixel], ``shrink_ratio``.
    particles : ParticleTable
        With ``rlnClassNumber``; those without a class are left out, as RELION knows no
        such particles.
    flipped : bool
        Whether phases were flipped.
    """
    table = particles.particles
    kept = table[table["rlnClassNumber"] != "-1"].reset_index(drop=True)
    optimiser: Block = {
        "rlnModelStarFile": portable(folder / NAMES["model"]),
        "rlnExperimentalDataStarFile": portable(folder / NAMES["data"]),
        "rlnCurrentIteration": "0",
        "rlnParticleDiameter": f"{2 * working['radius'] * particles.pixel_size:.3f}",
        "rlnDoCorrectCtf": str(int(flipped)),
        "rlnDoOnlyFlipCtfPhases": str(int(flipped)),
        "rlnCtfDataArePhaseFlipped": "0",
        "rlnDoIgnoreCtfUntilFirstPeak": "0",
    }
    return {
        NAMES["optimiser"]: {"optimiser_general": optimiser},
        NAMES["model"]: model(portable(stack), images, headers, working),
        NAMES["data"]: {"optics": particles.optics, "particles": kept},
    }


def model(
    stack: str,
    images: NDArray[np.floating],
    headers: Sequence[Mapping[str, Any]],
    working: Mapping[str, Any],
) -> dict[str, Block]:
    """Return the blocks of RELION's model of some classes; see `classification`.

    Power is that of a component of the Fourier transform, as RELION has it. What of it
    is signal follows from the correlation F of the halves of a class: 2F / (1 + F).
    """
    box, pixel = working["box"], working["pixel_size"]
    sizes = np.array([int(header["n_objects"]) for header in headers], int)
    shells = np.arange(box // 2 + 1)
    angstrom = [_LARGEST, *(box * pixel / shells[1:])]
    ring = rings(*[np.fft.fftfreq(box) * box] * 2).ravel()
    power, signal = np.zeros((2, len(headers), len(shells)))
    for k, header in enumerate(headers):
        spectrum = np.abs(np.fft.fft2(images[k]) / box**2).ravel() ** 2 / 2
        power[k] = (np.bincount(ring, spectrum) / np.bincount(ring))[: len(shells)]
        frc = np.atleast_1d(header["frc"])[shells.clip(max=box // 2 - 1)]
        signal[k] = full_set(frc).clip(max=1 - 1e-6)
    resolutions = [_finite(header["resolution"]) for header in headers]
    errors = np.array([header["pixel_error"] for header in headers], float)
    # The error that a scatter of angles alone, or of shifts alone, would be.
    turn = np.degrees(math.sqrt(2) * errors / working["target_radius"])
    n = len(headers)
    blocks: dict[str, Block] = {
        "model_general": {
            "rlnReferenceDimensionality": "2",
            "rlnDataDimensionality": "2",
            "rlnOriginalImageSize": str(box),
            "rlnCurrentResolution": f"{min(resolutions, default=_LARGEST):.3f}",
            "rlnCurrentImageSize": str(box),
            "rlnPaddingFactor": "2",
            "rlnIsHelix": "0",
            "rlnFourierSpaceInterpolator": "1",
            "rlnMinRadiusNnInterpolation": "10",
            "rlnPixelSize": f"{pixel:.6f}",
            "rlnNrClasses": str(n),
            "rlnNrBodies": "1",
            "rlnNrGroups": "1",
            "rlnTau2FudgeFactor": "1",
            "rlnNormCorrectionAverage": "1",
            "rlnSigmaOffsetsAngst": f"{pixel:.6f}",
            "rlnOrientationalPriorMode": "0",
            "rlnSigmaPriorRotAngle": "0",
            "rlnSigmaPriorTiltAngle": "0",
            "rlnSigmaPriorPsiAngle": "0",
            "rlnLogLikelihood": "0",
            "rlnAveragePmax": "1",
        },
        "model_classes": pd.DataFrame(
            {
                "rlnReferenceImage": [f"{k + 1:06d}@{stack}" for k in range(n)],
                "rlnClassDistribution": _column(sizes / max(sizes.sum(), 1)),
                "rlnAccuracyRotations": _column(turn),
                "rlnAccuracyTranslationsAngst": _column(errors * pixel),
                "rlnEstimatedResolution": _column(resolutions),
                "rlnOverallFourierCompleteness": ["1"] * n,
                "rlnClassPriorOffsetX": ["0"] * n,
                "rlnClassPriorOffsetY": ["0"] * n,
            }
        ),
    }
    spectral = {
        "rlnSpectralIndex": [str(shell) for shell in shells],
        "rlnResolution": _column(shells / (box * pixel)),
    }
    for k in range(n):
        blocks[f"model_class_{k + 1}"] = pd.DataFrame(
            spectral
            | {
                "rlnAngstromResolution": _column(angstrom),
                "rlnSsnrMap": _column(signal[k] / (1 - signal[k])),
                "rlnGoldStandardFsc": ["0"] * len(shells),
                "rlnFourierCompleteness": ["1"] * len(shells),
                "rlnReferenceSigma2": _column(power[k] * (1 - signal[k])),
                "rlnReferenceTau2": _column(power[k] * signal[k]),
            }
        )
    blocks["model_groups"] = pd.DataFrame(
        {
            "rlnGroupNumber": ["1"],
            "rlnGroupName": ["all"],
            "rlnGroupNrParticles": [str(sizes.sum())],
            "rlnGroupScaleCorrection": ["1"],
        }
    )
    noise = (sizes[:, None] ** 2 * power * (1 - signal)).sum(axis=0)
    blocks["model_group_1"] = pd.DataFrame(
        spectral | {"rlnSigma2Noise": _column(noise / max(sizes.sum(), 1))}
    )
    return blocks


def _column(values: Any) -> list[str]:
    return [f"{value:.6g}" for value in values]


def _finite(resolution: float) -> float:
    """Return a resolution as RELION's programs can read it [A]."""
    return float(resolution) if np.isfinite(resolution) else _LARGEST
