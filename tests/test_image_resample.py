"""Resampling evaluates the band-limited function that an image is, about its centre."""

import numpy as np
import pytest

from cryokin.image.resample import new_size, resample, window_or_pad

RATIOS = (0.25, 29 / 110, 29 / 64, 0.5, 0.77, 1.0, 1.37, 2.0)


def waves(size: int, x: np.ndarray, y: np.ndarray, highest: int) -> np.ndarray:
    """A periodic function, sampled at ``x, y`` from the centre; below ``highest``."""
    rng = np.random.default_rng(5)
    value = np.full((len(y), len(x)), 0.7)
    for _ in range(12):
        kx, ky = rng.integers(-highest + 1, highest, 2)
        phase = rng.uniform(0, 2 * np.pi)
        angle = 2 * np.pi * (kx * x[None, :] + ky * y[:, None]) / size + phase
        value += rng.normal() * np.cos(angle)
    return value


def axis(size: int) -> np.ndarray:
    return np.arange(size) - size // 2


@pytest.mark.parametrize(
    ("size", "ratio", "expected"),
    [(352, 29 / 120, 85), (256, 29 / 120, 62), (100, 0.5, 50), (101, 0.5, 51)],
)
def test_new_size_rounds_half_up(size, ratio, expected):
    assert new_size(size, ratio) == expected


@pytest.mark.parametrize("size", [64, 65])
@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("odd", [0, 1])
def test_a_band_limited_function_is_evaluated_exactly(size, ratio, odd):
    box = new_size(size, ratio) + odd
    highest = int(0.5 * size * min(ratio, 1) + 1e-9)
    old, new = axis(size), axis(box) / ratio
    image = waves(size, old, old, highest)
    small = resample(image[None], ratio, box)[0]
    assert small.dtype == np.float32
    np.testing.assert_allclose(small, waves(size, new, new, highest), atol=2e-5)


@pytest.mark.parametrize("ratio", [0.4, 1.0, 1.6])
def test_shifts_move_the_contents_first(ratio):
    size, shifts = 64, np.array([[0.0, 0.0], [2.5, -1.25], [-3.0, 0.5]])
    old, new = axis(size), axis(new_size(size, ratio)) / ratio
    image = waves(size, old, old, 12)
    moved = resample(np.stack([image] * 3), ratio, len(new), shifts)
    for one, (x, y) in zip(moved, shifts, strict=True):
        np.testing.assert_allclose(
            one, waves(size, new - x, new - y, 12), atol=2e-5, err_msg=f"{x, y}"
        )


@pytest.mark.parametrize("size", [48, 49])
@pytest.mark.parametrize("box", [20, 21])
def test_what_is_at_the_centre_stays_there(size, box):
    dot = np.zeros((1, size, size))
    dot[0, size // 2, size // 2] = 1
    small = resample(dot, 0.42, box)[0]
    assert np.unravel_index(small.argmax(), small.shape) == (box // 2, box // 2)
    whole = slice(1 - box % 2, box)  # the first row of an even box has no partner
    part = small[whole, whole]
    np.testing.assert_allclose(part, part[::-1, ::-1], atol=1e-6)


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_constant_stays_constant(ratio):
    flat = np.full((2, 50, 50), 3.25)
    small = resample(flat, ratio, new_size(50, ratio), [[1.5, 2.0], [0.0, -7.0]])
    np.testing.assert_allclose(small, 3.25, rtol=1e-5)


def test_what_is_finer_than_the_new_pixels_is_left_out():
    fine = np.cos(2 * np.pi * 24 * np.arange(64) / 64)
    image = np.broadcast_to(fine, (1, 64, 64))
    np.testing.assert_allclose(resample(image, 0.5, 32), 0, atol=1e-5)


def test_a_ratio_of_one_changes_nothing():
    noise = np.random.default_rng(1).normal(size=(2, 31, 31)).astype(np.float32)
    np.testing.assert_allclose(resample(noise, 1.0, 31), noise, atol=1e-5)
    noise = np.random.default_rng(1).normal(size=(2, 30, 30)).astype(np.float32)
    np.testing.assert_allclose(resample(noise, 1.0, 30), noise, atol=1e-5)


@pytest.mark.parametrize("size", [20, 21])
@pytest.mark.parametrize("box", [8, 13, 20, 21, 26, 31])
def test_window_and_pad_keep_the_centre(size, box):
    images = np.random.default_rng(2).normal(size=(2, size, size)).astype(np.float32)
    out = window_or_pad(images, box)
    assert out.shape == (2, box, box)
    for dy, dx in ((0, 0), (3, -2), (-4, 3)):
        np.testing.assert_array_equal(
            out[:, box // 2 + dy, box // 2 + dx],
            images[:, size // 2 + dy, size // 2 + dx],
        )
    if box > size + 1:
        assert not out[:, 0].any()
        assert out.sum() == pytest.approx(images.sum(), abs=1e-3)
