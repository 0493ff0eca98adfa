"""Turns that leave an average as it is are found in it, and are no error of a pose."""

import numpy as np
import pytest

from blobs import CHIRAL, moved, render
from cryokin.image.geometry import Alignment, compose, from_centre, take
from cryokin.image.polar import PolarBasis
from cryokin.isac.compare import average_spectra
from cryokin.isac.particles import Particles
from cryokin.isac.sac import SacOptions, align_group
from cryokin.isac.stability import stability
from cryokin.isac.symmetry import (
    NONE,
    Symmetry,
    signal_power,
    symmetry_of,
)
from cryokin.isac.within_group import Refinement

BOX, RADIUS = 48, 18
BASIS = PolarBasis(radius=RADIUS, highest=0.3)


def turned(blobs: np.ndarray, fold: int, mirror: bool = False) -> np.ndarray:
    """Return copies of blobs by an axis of symmetry, and in a mirror if wanted."""
    copies = [
        moved(
            Alignment(np.float64(2 * np.pi * k / fold), np.zeros(2), np.bool_(hand)),
            blobs,
        )
        for k in range(fold)
        for hand in ((False, True) if mirror else (False,))
    ]
    return np.concatenate(copies)


#: What is seen along an axis of a ring, of a body of three, of an octahedral shell.
C7 = turned(np.array([[11.0, 0, 2.0, 1.0], [6.0, 1.5, 1.6, -0.9]]), 7)
D2 = turned(np.array([[12.0, 3.0, 2.5, 1.0], [3.0, 6.0, 2.5, 0.8]]), 2, mirror=True)
OCTAHEDRAL = turned(
    np.array([[10.0, 0, 2.5, 1.0], [9.5, 9.5, 2.5, 0.8]]), 4, mirror=True
)
RING = np.array([[0.0, 0, 9.0, 1.0], [0.0, 0, 5.0, -1.2]])
OBJECTS = {"C7": C7, "D2": D2, "octahedral": OCTAHEDRAL, "asymmetric": CHIRAL}
TURNS = {"C7": (7, 0), "D2": (2, 2), "octahedral": (4, 4), "asymmetric": (1, 0)}


def noisy(blobs: np.ndarray, n: int, snr: float, seed: int) -> Particles:
    """Return n images of an object, turned, shifted, some in a mirror, in noise."""
    rng = np.random.default_rng(seed)
    at = from_centre(
        rng.uniform(0, 2 * np.pi, n), rng.normal(0, 0.4, (n, 2)), rng.random(n) < 0.5
    )
    clean = np.stack([render(BOX, moved(take(at, i), blobs)) for i in range(n)])
    inside = BASIS.mask(BOX)
    sigma = clean[:, inside].std() / np.sqrt(snr)
    images = clean + rng.normal(0, sigma, clean.shape)
    grid = BASIS.grid(images.astype(np.float32), BASIS.analysis(BOX))
    return Particles(BASIS, grid, np.arange(n))


OPTIONS = SacOptions(
    Refinement(xr=1, yr=1, ts=1.0, maxit=30, dst=90, FH=0.3, FF=0.2, max_shift=3),
    FL=0.2,
    stab_ali=5,
    iter_reali=1,
    thld_err=0.7,
)


@pytest.mark.parametrize("name", OBJECTS)
def test_the_symmetry_of_an_average_is_found_in_it(name):
    """Of 2,000 noisy images: with few, a body that is nearly symmetric passes."""
    rng = np.random.default_rng(3)
    mean = average_spectra(render(BOX, OBJECTS[name])[None], BASIS)[..., 0]
    n = 2000
    noise = rng.normal(size=mean.shape).astype(np.float32)
    # A mean of images of unit length whose signal has a tenth of the power.
    mean = np.sqrt(0.1) * mean + noise * np.sqrt(0.9 / n / noise.size)
    found = symmetry_of(mean, n)
    assert not found.ring
    assert (np.sum(~found.mirror), np.sum(found.mirror)) == TURNS[name]
    fold = TURNS[name][0]
    steps = np.sort(found.angle[~found.mirror]) * fold / (2 * np.pi)
    np.testing.assert_allclose(steps, np.arange(fold), atol=0.2)


def test_a_ring_has_no_angle():
    mean = average_spectra(render(BOX, RING)[None], BASIS)[..., 0]
    assert symmetry_of(np.sqrt(0.1) * mean, 50).ring


def test_noise_has_no_symmetry():
    noise = np.random.default_rng(1).normal(size=(2, BASIS.n_orders, 2, 11))
    noise /= np.linalg.norm(noise) * np.sqrt(50)
    assert len(symmetry_of(noise.astype(np.float32), 50).angle) == 1


def test_the_power_of_a_mean_is_signal_and_noise():
    rng = np.random.default_rng(2)
    n, size = 40, 3000
    signal = rng.normal(size=size)
    signal *= np.sqrt(0.2) / np.linalg.norm(signal)
    noise = rng.normal(size=(n, size)) * np.sqrt(0.8 / size)
    mean = (signal + noise).mean(axis=0)
    assert signal_power(float(mean @ mean), n) == pytest.approx(0.2, rel=0.1)
    assert signal_power(1 / n, n) == 0
    assert signal_power(1.0, n) == 1


def jittered(symmetry: Symmetry, repeats: int, n: int, seed: int) -> Alignment:
    """Return repeats in frames of their own, each image at any equivalent pose."""
    rng = np.random.default_rng(seed)
    truth = from_centre(
        rng.uniform(0, 2 * np.pi, n), rng.normal(0, 1, (n, 2)), rng.random(n) < 0.5
    )
    found = []
    for _ in range(repeats):
        g = rng.integers(0, len(symmetry.angle), n)
        turn = Alignment(symmetry.angle[g], np.zeros((n, 2)), symmetry.mirror[g])
        here = compose(truth, turn)
        here = Alignment(
            here.angle + rng.normal(0, 0.01, n),
            here.shift + rng.normal(0, 0.1, (n, 2)),
            here.mirror,
        )
        if len(found) < repeats - 1:  # the last is the frame of the symmetry
            frame = Alignment(
                np.full(n, rng.uniform(0, 2 * np.pi)),
                np.tile(rng.normal(0, 1, 2), (n, 1)),
                np.full(n, rng.random() < 0.5),
            )
            here = compose(here, frame)
        found.append(here)
    return Alignment(*(np.stack(parts) for parts in zip(*found, strict=True)))


@pytest.mark.parametrize(
    "symmetry",
    [
        Symmetry(np.arange(7) * 2 * np.pi / 7, np.zeros(7, bool)),
        Symmetry(np.array([0, 0.4]), np.array([False, True])),
        Symmetry(np.array([0, np.pi, 0.4, 0.4 + np.pi]), np.array([0, 0, 1, 1], bool)),
    ],
)
def test_equivalent_poses_are_no_error(symmetry):
    alignments = jittered(symmetry, 5, 50, 4)
    known = stability(alignments, RADIUS, 0.7, symmetry)
    plain = stability(jittered(NONE, 5, 50, 4), RADIUS, 0.7)
    assert len(known.stable) == 50
    assert len(stability(alignments, RADIUS, 0.7).stable) < 25
    # No more is forgiven than the symmetry allows: what is left is the jitter.
    assert np.median(known.error) == pytest.approx(np.median(plain.error), rel=0.2)


def test_without_symmetry_nothing_changes():
    alignments = jittered(NONE, 4, 30, 5)
    one, two = (stability(alignments, RADIUS, 0.7, *s) for s in ((), (NONE,)))
    np.testing.assert_array_equal(one.error, two.error)


@pytest.mark.parametrize("name", OBJECTS)
def test_symmetric_views_are_as_stable_as_others(name):
    pool = noisy(OBJECTS[name], 40, 0.5, 6)
    _, stable, errors = align_group(
        pool, np.arange(40), np.zeros((40, 2)), 5, OPTIONS, np.random.default_rng(1)
    )
    assert len(stable) >= 34
    assert np.all(errors[stable] < OPTIONS.thld_err)
