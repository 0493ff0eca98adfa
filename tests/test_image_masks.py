"""Masks, the statistics under them, and radial filters."""

import numpy as np
import pytest

from cryokin.image.filters import band_end, filter_image, tangent_lowpass
from cryokin.image.masks import disc, normalise, subtract_background


@pytest.fixture
def images() -> np.ndarray:
    rng = np.random.default_rng(1)
    scale = np.array([1.0, 20.0, 0.01])[:, None, None]
    return 5 + scale * rng.normal(size=(3, 40, 40))


@pytest.mark.parametrize("box", [20, 21])
def test_the_disc_holds_its_edge_and_the_centre_pixel(box):
    inside = disc(box, 5)
    half = box // 2
    assert inside[half, half + 5]
    assert inside[half - 5, half]
    assert inside[half + 3, half - 4]
    assert not inside[half + 4, half + 4]
    assert inside.sum() == 81  # lattice points with x^2 + y^2 <= 25


def test_background_becomes_zero(images):
    outside = ~disc(40, 12)
    level = subtract_background(images, 12)
    np.testing.assert_allclose(level[:, outside].mean(axis=1), 0, atol=1e-5)


@pytest.mark.parametrize(
    "background",
    [
        lambda x, y: 0.3 * x - 0.1 * y + 2,
        lambda x, y: 0.02 * (x**2 - y**2) - 0.01 * x * y,
        lambda x, y: 0.1 * x + 0.02 * (x - 3) * (y + 4),
    ],
    ids=["slope", "saddle", "both"],
)
def test_a_background_with_a_direction_is_taken_away(images, background):
    y, x = np.mgrid[:40, :40] - 20
    uneven = images + background(x, y).astype(np.float32)
    np.testing.assert_allclose(
        subtract_background(uneven, 12), subtract_background(images, 12), atol=2e-3
    )


def test_the_middle_says_nothing_about_the_background(images):
    inside = disc(40, 12)
    bright = images + 100 * inside
    np.testing.assert_allclose(
        subtract_background(bright, 12) - subtract_background(images, 12),
        np.broadcast_to(100 * inside, images.shape),
        atol=1e-3,
    )


def _added(box: int, radius: int) -> float:
    """Return what the noise outside adds inside: power of the strongest pattern."""
    inside = disc(box, radius)
    one_by_one = np.eye(box**2, dtype=np.float32).reshape(-1, box, box)
    outside = one_by_one[~inside.ravel()]
    patterns = subtract_background(outside, radius)[:, inside]
    patterns = patterns - patterns.mean(axis=1, keepdims=True)
    return float(np.linalg.norm(patterns, 2) ** 2)


@pytest.mark.parametrize(
    ("radius", "most"), [(12, 0.1), (16, 0.5), (19, 2)], ids=["roomy", "usual", "tight"]
)
def test_the_surface_is_well_determined_inside(radius, most):
    # White noise has a power of 1 in each pattern inside the disc.
    assert _added(40, radius) < most


def test_normalised_images_have_unit_spread_inside_and_zero_mean_outside(images):
    inside = disc(40, 12)
    scaled = normalise(images, 12)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[:, inside].std(axis=1, ddof=1), 1, rtol=1e-4)
    np.testing.assert_allclose(scaled[:, ~inside].mean(axis=1), 0, atol=1e-3)


def test_normalising_forgets_offset_and_scale(images):
    np.testing.assert_allclose(
        normalise(3 * images - 7, 12), normalise(images, 12), atol=1e-3
    )


def test_a_constant_image_becomes_zero():
    np.testing.assert_array_equal(normalise(np.full((1, 16, 16), 9.0), 5), 0)


def test_a_disc_that_fills_the_box_leaves_no_background():
    flat = np.full((1, 8, 8), 9.0, np.float32)
    np.testing.assert_array_equal(subtract_background(flat, 20), flat)


# ------------------------------------------------------------------ filters
def test_lowpass_passes_the_origin_and_half_at_the_cutoff():
    gain = tangent_lowpass([0.0, 0.2, 0.5], 0.2, 0.1)
    np.testing.assert_allclose(gain, [1, 0.5, 0], atol=1e-6)


def test_lowpass_falls_steadily_and_beyond_the_band_is_little_left():
    f = np.linspace(0, 0.5, 200)
    gain = tangent_lowpass(f, 0.2, 0.3)
    assert np.all(np.diff(gain) <= 0)
    assert np.all(gain[f > band_end(0.2, 0.3)] < 0.045)


def test_lowpass_without_fall_off_is_a_step():
    np.testing.assert_array_equal(tangent_lowpass([0.1, 0.2, 0.21], 0.2, 0), [1, 1, 0])
    assert band_end(0.2, 0.0) == 0.2


def test_the_band_ends_at_nyquist():
    assert band_end(0.45, 0.5) == 0.5


@pytest.mark.parametrize("shape", [(32, 32), (31, 33)])
def test_a_wave_is_filtered_by_the_gain_of_its_frequency(shape):
    ny, nx = shape
    kx, ky = 3, 4
    y, x = np.mgrid[:ny, :nx]
    wave = np.cos(2 * np.pi * (kx * x / nx + ky * y / ny))
    gain = tangent_lowpass(np.hypot(kx / nx, ky / ny), 0.15, 0.2)
    np.testing.assert_allclose(filter_image(wave, 0.15, 0.2), gain * wave, atol=1e-5)
