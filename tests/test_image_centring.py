"""Each centring method finds where a particle lies that is off the centre."""

import numpy as np
import pytest
from scipy import special

from cryokin.image.centring import (
    centre_of_mass,
    correlation_peak,
    find_centre,
    gaussian,
    phase_centre,
    rotational_average,
)
from cryokin.image.masks import disc

RADIUS = 12


def soft_disc(box: int, x: float, y: float, radius: float = RADIUS) -> np.ndarray:
    """A disc-like object at ``(x, y)`` from the centre, its edge soft."""
    axis = np.arange(box) - box // 2
    distance = np.hypot(axis[None, :] - x, axis[:, None] - y)
    return special.expit(2 * (radius - distance)).astype(np.float32)


# How close a method comes [pixel]: centres of mass to a fraction of a pixel,
# correlations to whole pixels; the top of a disc is flat, so that a Gaussian fits
# nearly as well one pixel off.
CLOSE = {1: 0.1, 2: 1.5, 3: 1.5, 4: 0.8, 5: 1.0, 6: 0.2, 7: 0.8}


@pytest.mark.parametrize("box", [64, 65])
@pytest.mark.parametrize("method", list(CLOSE))
@pytest.mark.parametrize("place", [(0, 0), (4, -3), (-5.3, 2.4)])
def test_a_method_finds_a_disc(box, method, place):
    found = find_centre(soft_disc(box, *place), method, RADIUS)
    assert np.all(np.abs(found - place) <= CLOSE[method]), found


@pytest.mark.parametrize("method", [1, 4, 5, 6, 7])
def test_a_method_finds_a_noisy_disc(method):
    noise = np.random.default_rng(method).normal(0, 0.2, (64, 64))
    found = find_centre(soft_disc(64, 4, -3) + noise, method, RADIUS)
    assert np.all(np.abs(found - (4, -3)) <= 1.5), found


@pytest.mark.parametrize("method", [4, 7])
@pytest.mark.parametrize("place", [(0, 0), (4, -3), (-5, 2)])
def test_a_particle_smaller_than_the_mask_comes_to_its_middle(method, place):
    """It fits the mask in many places, all but one of them off the centre."""
    noise = np.random.default_rng(1).normal(0, 1e-4, (64, 64))
    found = find_centre(soft_disc(64, *place, 6) + noise + 5, method, RADIUS)
    np.testing.assert_allclose(found, place, atol=0.5)


@pytest.mark.parametrize("method", list(CLOSE))
@pytest.mark.parametrize("place", [(0, 0), (4, -3)])
def test_a_dense_spot_is_not_taken_for_the_middle(method, place):
    image = soft_disc(64, *place) + soft_disc(64, place[0] + 6, place[1] - 4, 2)
    found = find_centre(image, method, RADIUS)
    np.testing.assert_allclose(found, place, atol=1)


@pytest.mark.parametrize("method", [-1, 0])
def test_the_other_methods_leave_an_average_where_it_is(method):
    np.testing.assert_array_equal(find_centre(soft_disc(64, 4, -3), method, RADIUS), 0)


def test_centre_of_mass_sees_positive_pixels_alone():
    image = np.full((11, 11), -1.0)
    image[7, 2] = 3
    np.testing.assert_allclose(centre_of_mass(image), [-3, 2])
    np.testing.assert_array_equal(centre_of_mass(np.zeros((8, 8))), 0)


def test_phase_centre_follows_a_roll_around_the_box():
    image = soft_disc(64, 0, 0)
    np.testing.assert_allclose(
        phase_centre(np.roll(image, (20, -9), (0, 1))), (-9, 20), atol=1e-4
    )


@pytest.mark.parametrize("box", [32, 33])
def test_correlation_peak_finds_the_template(box):
    template = gaussian(box, 3)
    image = np.roll(template, (5, -6), (0, 1)).astype(np.float32)
    np.testing.assert_array_equal(correlation_peak(image, template), (-6, 5))


def test_rotational_average_keeps_what_is_round_and_levels_the_rest():
    np.testing.assert_allclose(
        rotational_average(soft_disc(40, 0, 0)), soft_disc(40, 0, 0), atol=0.3
    )
    wave = np.cos(3 * np.arctan2(*(np.mgrid[:41, :41] - 20)))
    ring = disc(41, 18) & ~disc(41, 8)
    assert np.abs(rotational_average(wave)[ring]).max() < 0.1
