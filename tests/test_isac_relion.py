"""RELION's tables of a classification, from what is known of the class averages."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryokin.io.particles import ParticleTable
from cryokin.isac.relion import NAMES, classification, model
from cryokin.rings import correlation

BOX, PIXEL, N = 48, 4.0, 40
WORKING = {"box": BOX, "pixel_size": PIXEL, "radius": 20, "target_radius": 16}


@pytest.fixture(scope="module")
def averages():
    """Two averages of images with white noise of variance 1; the second is noise."""
    rng = np.random.default_rng(3)
    y, x = np.indices((BOX, BOX)) - BOX // 2
    signal = np.exp(-((x / 5) ** 2 + (y / 3) ** 2) / 2)
    images, headers = [], []
    for k, structure in enumerate((signal, 0 * signal)):
        noisy = structure + rng.standard_normal((N, BOX, BOX))
        images.append(noisy.mean(axis=0))
        headers.append(
            {
                "n_objects": N * (k + 1),
                "frc": correlation(noisy[::2].mean(axis=0), noisy[1::2].mean(axis=0)),
                "pixel_error": 0.4 * (k + 1),
                "resolution": (20.0, np.nan)[k],
            }
        )
    return np.array(images), headers


def test_signal_and_noise_are_told_apart(averages):
    images, headers = averages
    blocks = model("a.mrcs", images, headers, WORKING)
    ssnr, noisy = (
        blocks[f"model_class_{k}"]["rlnSsnrMap"].astype(float) for k in (1, 2)
    )
    assert (ssnr[:4] > 5).all()
    assert np.median(ssnr[15:]) < 0.5
    assert np.median(noisy) < 0.5
    # A component of the transform of white noise, divided by the number of pixels.
    expected = 1 / (2 * BOX**2)
    only = model("a.mrcs", images[:1], headers[:1], WORKING)
    noise = only["model_group_1"]["rlnSigma2Noise"].astype(float)
    assert len(noise) == BOX // 2 + 1
    assert np.median(noise) == pytest.approx(expected, rel=0.3)


def test_classes_have_their_share_and_their_scatter(averages):
    blocks = model("results/a/class_averages.mrcs", *averages, WORKING)
    classes = blocks["model_classes"]
    assert list(classes["rlnReferenceImage"]) == [
        f"{k:06d}@results/a/class_averages.mrcs" for k in (1, 2)
    ]
    share = classes["rlnClassDistribution"].astype(float)
    np.testing.assert_allclose(share, [1 / 3, 2 / 3], atol=1e-5)
    # An error e of angles alone is e² = R² (1 - mean cos), and that is R² s² / 2.
    turn = np.radians(classes["rlnAccuracyRotations"].astype(float))
    np.testing.assert_allclose(
        16 * np.sqrt(1 - np.exp(-(turn**2) / 2)), [0.4, 0.8], rtol=0.01
    )
    assert list(classes["rlnAccuracyTranslationsAngst"].astype(float)) == [1.6, 3.2]
    assert list(classes["rlnEstimatedResolution"].astype(float)) == [20, 999]
    assert blocks["model_general"]["rlnCurrentResolution"] == "20.000"


@pytest.mark.parametrize("flipped", [False, True])
def test_tables_find_each_other(averages, flipped):
    folder, stack = Path("results/a/relion"), Path("results/a/class_averages.mrcs")
    rows = pd.DataFrame(
        {
            "rlnImageName": ["1@s.mrcs", "2@s.mrcs", "3@s.mrcs"],
            "rlnClassNumber": ["2", "-1", "1"],
        }
    )
    optics = pd.DataFrame({"rlnOpticsGroup": ["1"], "rlnImagePixelSize": ["2.5"]})
    table = ParticleTable(rows.assign(rlnOpticsGroup="1"), optics, Path("p.star"))
    files = classification(folder, stack, *averages, WORKING, table, flipped)
    assert set(files) == {f"run_it000_{k}.star" for k in ("optimiser", "model", "data")}
    told = files[NAMES["optimiser"]]["optimiser_general"]
    assert told["rlnModelStarFile"] == "results/a/relion/run_it000_model.star"
    assert told["rlnExperimentalDataStarFile"] == "results/a/relion/run_it000_data.star"
    assert float(told["rlnParticleDiameter"]) == 2 * 20 * 2.5
    assert (
        told["rlnDoCorrectCtf"] == told["rlnDoOnlyFlipCtfPhases"] == str(int(flipped))
    )
    # RELION knows no particle without a class.
    kept = files[NAMES["data"]]["particles"]
    assert list(kept["rlnImageName"]) == ["1@s.mrcs", "3@s.mrcs"]


def test_a_run_without_classes_has_tables_too():
    blocks = model("a.mrcs", np.zeros((0, BOX, BOX)), [], WORKING)
    assert blocks["model_general"]["rlnNrClasses"] == "0"
    assert len(blocks["model_classes"]) == 0
