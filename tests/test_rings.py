"""Rings and shells, their correlations, and the resolution read from these."""

import math

import numpy as np
import pytest

from cryokin.rings import correlation, crossing, full_set, resolution


@pytest.fixture
def images():
    rng = np.random.default_rng(1)
    return 5 + np.array([1.0, 20.0])[:, None, None] * rng.normal(size=(2, 40, 40))


def pair(box, dimensions, curve, seed=0):
    """Two images, or volumes, that correlate by ``curve`` of |k| [cycle per box].

    The phases of the second are turned by the angle of that cosine.
    """
    noise = np.random.default_rng(seed).normal(size=(box,) * dimensions)
    axis = np.fft.fftfreq(box, 1 / box)
    k = np.stack(np.meshgrid(*[axis] * dimensions, indexing="ij"), axis=-1)
    radius = np.linalg.norm(k, axis=-1)
    # Odd in k, so that both are real; the corners have no partner, nor are they asked.
    sign = np.sign(k @ box ** np.arange(dimensions)) * (radius < box / 2)
    spectrum = np.fft.fftn(noise) * np.exp(1j * sign * np.arccos(curve(radius)))
    return noise, np.fft.ifftn(spectrum).real


@pytest.mark.parametrize("shape", [(20, 20), (21, 21), (12, 12, 12), (13, 13, 13)])
def test_an_image_correlates_with_itself_whatever_its_scale(shape):
    image = np.random.default_rng(1).normal(5, 1, shape)
    assert correlation(image, image).shape == (shape[0] // 2,)
    np.testing.assert_allclose(correlation(image, 2 * image + 3), 1, rtol=1e-9)
    np.testing.assert_allclose(correlation(image, -image), -1)


def test_unrelated_noise_does_not_correlate(images):
    found = correlation(images[0] - 5, images[1] - 5)
    # half of the 2 pi k coefficients of a ring are independent
    assert np.all(np.abs(found[1:]) < 4 / np.sqrt(np.pi * np.arange(1, 20)))


def test_signal_and_noise_give_the_expected_correlation():
    signal, one, two = np.random.default_rng(3).normal(size=(3, 256, 256))
    found = correlation(2 * signal + one, 2 * signal + two)
    assert found[20:].mean() == pytest.approx(4 / 5, abs=0.01)


@pytest.mark.parametrize(("k", "ring"), [((1, 1), 1), ((2, 2), 3), ((1, 2, 2), 3)])
def test_a_coefficient_belongs_to_the_nearest_ring(k, ring):
    grid = np.indices((16,) * len(k))
    wave = np.cos(2 * np.pi * np.tensordot(k, grid, 1) / 16)
    one, two = np.random.default_rng(4).normal(0, 1e-3, (2, *wave.shape))
    found = correlation(wave + one, wave + two)
    assert found[ring] > 0.99
    assert np.all(np.abs(np.delete(found, ring)[1:]) < 0.9)


def test_an_empty_ring_counts_as_uncorrelated():
    wave = np.cos(2 * np.pi * 4 * np.arange(32) / 32) * np.ones((32, 1))
    np.testing.assert_array_equal(correlation(wave, np.zeros((32, 32))), 0)


def test_the_full_set_correlates_better_than_its_halves():
    np.testing.assert_allclose(full_set([0, 1 / 3, 0.5, 1]), [0, 0.5, 2 / 3, 1])
    np.testing.assert_array_equal(full_set([-0.3]), [0])


def test_images_and_volumes_of_one_radial_curve_have_one_resolution():
    box, pixel = 32, 3.0
    frequency = np.arange(box // 2) / box
    curves = [
        correlation(*pair(box, d, lambda r: np.clip(1 - r / 16, 0, 1))) for d in (2, 3)
    ]
    np.testing.assert_allclose(curves[0], curves[1], atol=0.03)
    for level in (0.5, 0.143):
        true = pixel * box / (16 * (1 - level))
        found = [resolution(frequency, curve, pixel, level) for curve in curves]
        np.testing.assert_allclose(found, true, rtol=0.02)


def test_0143_never_reads_worse_than_half():
    rng = np.random.default_rng(0)
    frequency = np.arange(12) / 24
    steep = np.array([1.0] * 4 + [0.0] * 8)
    falling = np.sort(rng.uniform(-0.2, 1, (50, 12)))[:, ::-1]
    wavy = np.concatenate([np.ones((50, 1)), rng.uniform(-0.2, 1, (50, 11))], axis=1)
    for curve in (steep, np.ones(12), *falling, *wavy):
        at = [resolution(frequency, curve, 2.0, level) for level in (0.143, 0.5)]
        assert not at[0] > at[1]
        assert at[0] >= 4.0 or math.isnan(at[0])


def test_resolution_has_two_pixels_as_its_end():
    frequency = np.arange(8) / 16
    assert resolution(frequency, np.ones(8), 3.0, 0.5) == 6.0
    assert resolution(frequency, np.arange(8) < 4, 3.0, 0.5) == pytest.approx(
        3.0 * 16 / 3.5
    )
    assert math.isnan(resolution(frequency, np.zeros(8), 3.0, 0.5))
    assert math.isnan(resolution(frequency[:0], np.zeros(0), 3.0, 0.5))


def test_crossing_of_a_straight_line():
    frequency = np.linspace(0, 0.5, 11)
    curve = 1 - 2 * frequency
    for level in (0.5, 0.143, 0.9):
        assert crossing(frequency, curve, level) == pytest.approx((1 - level) / 2)
    for values in (np.ones(11), np.zeros(11)):
        assert math.isnan(crossing(frequency, values, 0.5))
    assert math.isnan(crossing(frequency[:0], np.zeros(0), 0.5))


def test_published_maps(shared):
    from cryokin.io.em import read_em

    folder = shared / "data/subtomograms"
    a = read_em(folder / "human_ribo_21A.em")
    b = read_em(folder / "human_ribo_21A_Mirrored.em")
    curve = correlation(a, b)
    # A shell i <= |k| < i + 1, as PyTom has it, lies between two of ours. Its values
    # count the plane kz = 0 twice as often as is right.
    pytom = np.array([0.9061, 0.6738, 0.1020])
    assert (curve[1:4] + 0.03 > pytom).all() and (pytom > curve[2:5] - 0.03).all()
    at_half = crossing(np.arange(len(curve)), curve, 0.5)
    assert 2.30393 < at_half < 2.30393 + 1
