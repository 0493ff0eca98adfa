"""The contrast transfer function and what flipping its phases does."""

import numpy as np
import pytest
from scipy import constants

from cryokin.image.ctf import ctf, phase_flip, wavelength

OPTICS = {
    "defocus_u": 22_000.0,
    "defocus_v": 17_000.0,
    "defocus_angle": 25.0,
    "voltage": 300.0,
    "cs": 2.7,
    "amplitude_contrast": 0.1,
}


@pytest.mark.parametrize("kilovolt", [100, 120, 200, 300])
def test_wavelength_is_that_of_a_relativistic_electron(kilovolt):
    energy = 1e3 * kilovolt * constants.e
    rest = constants.m_e * constants.c**2
    momentum = np.sqrt(energy * (energy + 2 * rest)) / constants.c
    np.testing.assert_allclose(
        wavelength(kilovolt), 1e10 * constants.h / momentum, rtol=1e-4
    )


def test_wavelength_at_300_kilovolt():
    assert float(wavelength(300)) == pytest.approx(0.01969, abs=5e-6)


@pytest.mark.parametrize("contrast", [0.0, 0.07, 0.1])
def test_value_at_the_origin_is_the_amplitude_contrast(contrast):
    value = ctf(0.0, 0.0, **{**OPTICS, "amplitude_contrast": contrast})
    assert value == pytest.approx(contrast, abs=1e-12)


def test_first_lobe_of_an_underfocused_image_is_positive():
    assert ctf(0.01, 0.0, **OPTICS) > 0.1


def frequencies(n: int, pixel: float) -> tuple[np.ndarray, np.ndarray]:
    f = np.fft.fftfreq(n, pixel)
    return np.meshgrid(f, f)


@pytest.mark.parametrize("degrees", [0.0, 25.0, 90.0, 151.0, -40.0])
@pytest.mark.parametrize("phase_shift", [0.0, 90.0])
def test_agrees_with_relion_on_a_grid(degrees, phase_shift):
    """RELION's form: ``-sin(gamma)``, the defocus as a quadratic form in (x, y)."""
    fx, fy = frequencies(48, 2.0)
    a = np.radians(degrees)
    turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    defocus = turn.T @ np.diag([-22_000.0, -17_000.0]) @ turn
    quadratic = defocus[0, 0] * fx**2 + 2 * defocus[0, 1] * fx * fy
    quadratic = quadratic + defocus[1, 1] * fy**2
    lam = float(wavelength(300))
    gamma = np.pi * lam * quadratic + np.pi / 2 * 2.7e7 * lam**3 * (fx**2 + fy**2) ** 2
    gamma -= np.arctan(0.1 / np.sqrt(1 - 0.1**2)) + np.radians(phase_shift)
    value = ctf(fx, fy, **{**OPTICS, "defocus_angle": degrees}, phase_shift=phase_shift)
    np.testing.assert_allclose(value, -np.sin(gamma), atol=1e-9)


def test_defocus_angle_is_the_azimuth_of_the_first_defocus():
    f = 0.1
    along = np.radians(OPTICS["defocus_angle"])
    astigmatic = ctf(f * np.cos(along), f * np.sin(along), **OPTICS)
    round_u = ctf(f, 0.0, **{**OPTICS, "defocus_v": OPTICS["defocus_u"]})
    assert astigmatic == pytest.approx(float(round_u), abs=1e-9)
    astigmatic = ctf(-f * np.sin(along), f * np.cos(along), **OPTICS)
    round_v = ctf(f, 0.0, **{**OPTICS, "defocus_u": OPTICS["defocus_v"]})
    assert astigmatic == pytest.approx(float(round_v), abs=1e-9)


PIXEL = 4.0


def particle(box: int) -> np.ndarray:
    """A compact object in the middle of its box."""
    axis = np.arange(box) - box // 2
    image = np.zeros((box, box))
    for x, y, width in ((0, 0, 2.5), (5, 3, 1.5), (-4, 6, 1.2), (2, -6, 1.0)):
        square = (axis[None, :] - x) ** 2 + (axis[:, None] - y) ** 2
        image += np.exp(-square / (2 * width**2)) / width**2
    return image


def through(image: np.ndarray, transfer) -> np.ndarray:
    """An image after a transfer function of ``(fx, fy)`` [1/A]."""
    fx, fy = frequencies(len(image), PIXEL)
    return np.fft.ifft2(np.fft.fft2(image) * transfer(fx, fy)).real


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Norm of the difference relative to that of the images, without the mean."""
    a, b = a - a.mean(), b - b.mean()
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.parametrize("box", [96, 97])
def test_flipping_makes_the_transfer_its_absolute_value(box):
    image = particle(box)
    seen = through(image, lambda fx, fy: ctf(fx, fy, **OPTICS))
    expected = through(image, lambda fx, fy: np.abs(ctf(fx, fy, **OPTICS)))
    flipped = phase_flip(seen, PIXEL, **OPTICS)
    assert flipped.dtype == np.float32
    assert flipped.shape == (box, box)
    assert difference(flipped, expected) < 0.05


@pytest.mark.parametrize("degrees", [-25.0, 115.0])
def test_flipping_sees_the_direction_of_the_astigmatism(degrees):
    seen = through(particle(96), lambda fx, fy: ctf(fx, fy, **OPTICS))
    right = phase_flip(seen, PIXEL, **OPTICS)
    wrong = phase_flip(seen, PIXEL, **{**OPTICS, "defocus_angle": degrees})
    assert difference(wrong, right) > 0.15


def test_flipping_twice_gives_the_image_back():
    """But for what the sharp sign at the zeros spreads out of the box."""
    seen = through(particle(96), lambda fx, fy: ctf(fx, fy, **OPTICS))
    twice = phase_flip(phase_flip(seen, PIXEL, **OPTICS), PIXEL, **OPTICS)
    assert difference(twice, seen) < 0.05


def test_flipping_leaves_an_image_within_the_first_lobe_as_it_is():
    focused = {**OPTICS, "defocus_u": 1000.0, "defocus_v": 1000.0}
    image = np.random.default_rng(1).normal(size=(32, 32)).astype(np.float32)
    np.testing.assert_allclose(phase_flip(image, 10.0, **focused), image, atol=1e-5)


def test_flipping_keeps_a_constant():
    image = np.full((32, 32), 7.0, np.float32)
    np.testing.assert_allclose(phase_flip(image, PIXEL, **OPTICS), 7.0, rtol=1e-5)
