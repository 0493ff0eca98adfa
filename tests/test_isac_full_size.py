"""Averages at full size: the object behind images with CTF and noise."""

from dataclasses import dataclass

import numpy as np
import pytest

from blobs import CHIRAL, moved, render
from cryokin.image.ctf import ctf, cut, enlarged, multiply_ctf, phase_flip
from cryokin.image.geometry import (
    Alignment,
    compose,
    from_centre,
    identity,
    invert,
    take,
    transform_image,
)
from cryokin.image.masks import disc
from cryokin.isac.full_size import full_average, noise_to_signal, turned_ctf
from cryokin.rings import correlation, crossing, full_set
from cryokin.simulate.images import contrast_transfer

BOX, RADIUS, PIXEL, N = 64, 24, 3.0, 60
FIXED = {"voltage": 300.0, "cs": 2.7, "amplitude_contrast": 0.1}


@dataclass
class Data:
    images: np.ndarray
    alignment: Alignment
    optics: list
    truth: np.ndarray


def simulate(noise, with_ctf=True, n=N):
    """Images of one object, anywhere, at different defocus, astigmatic."""
    rng = np.random.default_rng(3)
    alignment = from_centre(
        rng.uniform(0, 2 * np.pi, n), rng.normal(0, 1.5, (n, 2)), rng.random(n) < 0.5
    )
    points = CHIRAL * [1.2, 1.2, 0.6, 1]
    clean = [
        render(2 * BOX, moved(invert(take(alignment, i)), points)) for i in range(n)
    ]
    along = rng.uniform(8_000, 25_000, n)
    defocus = np.stack([along, along - 1500, rng.uniform(0, 180, n)], axis=1)
    spectra = np.fft.rfft2(clean)
    if with_ctf:
        spectra *= contrast_transfer(2 * BOX, PIXEL, defocus)
    first = BOX - BOX // 2
    images = np.fft.irfft2(spectra)[:, first : first + BOX, first : first + BOX]
    images = images + noise * rng.normal(size=images.shape) + 1
    optics = [
        {"defocus_u": u, "defocus_v": v, "defocus_angle": a, "phase_shift": 0.0} | FIXED
        for u, v, a in defocus.tolist()
    ]
    return Data(images.astype(np.float32), alignment, optics, render(BOX, points))


def likeness(a, b):
    inside = disc(BOX, RADIUS)
    return np.corrcoef(a[inside], b[inside])[0, 1]


def frc_with_truth(image, data):
    inside = disc(BOX, RADIUS)
    masked = [np.where(inside, i - i[inside].mean(), 0) for i in (image, data.truth)]
    return correlation(*masked)


@pytest.fixture(scope="module")
def data():
    return simulate(noise=0.3)


def test_finds_the_object_better_than_flipped_phases_do(data):
    full = full_average(data.images, data.alignment, RADIUS, PIXEL, data.optics)
    flipped = np.stack(
        [
            phase_flip(image, PIXEL, **optics)
            for image, optics in zip(data.images, data.optics, strict=True)
        ]
    )
    plain = full_average(flipped, data.alignment, RADIUS, PIXEL)
    ignored = full_average(data.images, data.alignment, RADIUS, PIXEL)
    mean = np.mean(
        [transform_image(f, take(data.alignment, i)) for i, f in enumerate(flipped)],
        axis=0,
    )
    found = [likeness(a, data.truth) for a in (full.image, plain.image, mean)]
    assert found[0] > 0.97
    assert found[0] > found[1] > found[2]
    assert 1 - found[0] < 0.4 * (1 - found[1])
    assert full.resolution < plain.resolution < ignored.resolution


def test_the_correlation_of_halves_tells_that_with_the_truth(data):
    """Of the whole average with the truth it is sqrt(2 F / (1 + F))."""
    full = full_average(data.images, data.alignment, RADIUS, PIXEL, data.optics)
    reliable = slice(3, 14)
    told = np.sqrt(full_set(full.frc))[reliable]
    true = frc_with_truth(full.image, data)[reliable]
    assert np.abs(told - true).mean() < 0.05
    top = np.argmax(full.frc[1:]) + 1
    half = crossing(np.arange(top, 32) / (64 * 3), full.frc[top:], 0.5)
    assert np.isclose(1 / full.resolution_half, half)


def test_what_is_clear_stays_as_it_is():
    data = simulate(noise=0.0, with_ctf=False)
    full = full_average(data.images, data.alignment, RADIUS, PIXEL)
    assert likeness(full.image, data.truth) > 0.9995
    inside = disc(BOX, RADIUS)
    assert abs(full.image[inside].std() - 1) < 0.03  # the unit of the image
    assert full.resolution == 2 * PIXEL


def test_an_average_turns_with_its_members(data):
    """Only what interpolation loses may differ."""
    turn = Alignment(np.array(0.7), np.array([1.0, -2.0]), np.array(True))
    along = Alignment(*(np.repeat(part[None], N, axis=0) for part in turn))
    plain = full_average(data.images, data.alignment, RADIUS, PIXEL, data.optics)
    other = full_average(
        data.images, compose(data.alignment, along), RADIUS, PIXEL, data.optics
    )
    assert likeness(transform_image(plain.image, turn), other.image) > 0.99
    np.testing.assert_allclose(plain.frc[:14], other.frc[:14], atol=0.05)


@pytest.mark.parametrize("mirror", [False, True])
def test_the_ctf_turns_with_its_image(mirror):
    optics = {"defocus_u": 30_000.0, "defocus_v": 15_000.0, "defocus_angle": 20.0}
    optics |= FIXED
    turn = Alignment(np.array(0.6), np.zeros(2), np.array(mirror))
    image = enlarged(render(BOX, CHIRAL * [0.5, 0.5, 0.5, 1]))
    first = transform_image(multiply_ctf(image, PIXEL, **optics), turn)
    spectrum = np.fft.rfft2(transform_image(image, turn))
    then = np.fft.irfft2(spectrum * turned_ctf(2 * BOX, PIXEL, turn, optics))
    assert likeness(cut(first, BOX), cut(then, BOX)) > 0.999
    unturned = take(identity(1), 0)
    wrong = np.fft.irfft2(spectrum * turned_ctf(2 * BOX, PIXEL, unturned, optics))
    assert likeness(cut(first, BOX), cut(wrong, BOX)) < 0.99


def test_a_turn_by_half_a_circle_leaves_a_ctf_as_it_is():
    optics = {"defocus_u": 30_000.0, "defocus_v": 15_000.0, "defocus_angle": 20.0}
    half = Alignment(np.array(np.pi), np.zeros(2), np.array(False))
    turned = turned_ctf(BOX, PIXEL, half, optics | FIXED)
    fy, fx = np.fft.fftfreq(BOX, PIXEL)[:, None], np.fft.rfftfreq(BOX, PIXEL)
    np.testing.assert_allclose(turned, ctf(fx, fy, **optics, **FIXED), atol=1e-9)


def test_noise_is_trusted_nowhere():
    curve = np.array([1.0, -0.2, 0.8, 0.8, 0.8, 0.2, -0.9, 0.3])
    weight = np.full((16, 9), 5.0)
    ratio = noise_to_signal(curve, weight)
    assert np.isinf(ratio[0, 6:]).all()  # once lost, a later ring is chance
    signal = 2 * 0.8 / (1 - 0.8) / 5
    np.testing.assert_allclose(ratio[0, :4], 1 / signal)  # no less within than there
    assert ratio[0, 3] < ratio[0, 4] < ratio[0, 5] < np.inf


def test_a_class_of_one_is_nothing_but_noise():
    image = np.random.default_rng(0).normal(size=(1, 16, 16)).astype(np.float32)
    one = full_average(image, identity(1), 6, PIXEL)
    assert not one.image.any()
    assert one.resolution == 16 * PIXEL
