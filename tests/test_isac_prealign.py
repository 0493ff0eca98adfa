"""Prealignment finds the centres of the particles, up to one point in the particle."""

from functools import partial

import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.image.filters import tangent_lowpass
from cryokin.isac import prealign as module
from cryokin.isac.prealign import (
    Prealignment,
    fit_lowpass,
    prealign,
    reliability,
    search_schedule,
    unaligned_average,
)
from cryokin.parallel import Team
from cryokin.simulate.images import ImageSet, Recipe, simulate_images
from ranks import on_ranks

BOX, RADIUS = 52, 17


def single_view(n: int, snr: float, seed: int = 3) -> ImageSet:
    """Return images of one view in all in-plane angles, off the centre by 2 pixel."""
    view = {"n_views": 1, "view_share": 1.0, "view_spread": 0.0}
    return simulate_images(
        Recipe(n, BOX, 8.0, snr, shift_sd=1.5, seed=seed, **view)  # type: ignore[arg-type]
    )


def aligned(made: ImageSet, method: int = -1, team: Team | None = None) -> Prealignment:
    return prealign(
        team or Team(), lambda i: made.images[i], len(made.images), BOX, RADIUS, method
    )


def common_offset(made: ImageSet, centres: np.ndarray) -> tuple[np.ndarray, float]:
    """Return where in the particle the centres lie, and the rms of the rest."""
    psi = made.orientations.as_euler("ZYZ")[:, 2]
    cos, sin = np.cos(psi), np.sin(psi)
    turns = np.stack([np.stack([cos, sin], 1), np.stack([-sin, cos], 1)], axis=1)
    off = centres - made.shifts
    offset = np.mean(np.einsum("nij,ni->nj", turns, off), axis=0)
    rest = off - np.einsum("nij,j->ni", turns, offset)
    return offset, float(np.sqrt(np.mean(np.sum(rest**2, axis=1))))


def test_centres_are_found(capsys):
    made = single_view(100, 0.3)
    found = aligned(made)
    _, before = common_offset(made, np.zeros((100, 2)))
    offset, after = common_offset(made, found.centres)
    assert before > 1.5
    assert after < 0.5
    assert np.hypot(*offset) < 1
    assert found.reference.shape == (BOX, BOX)
    assert found.frc[1:5].min() > 0.7
    assert "centres move by" in capsys.readouterr().out


@pytest.mark.parametrize("method", range(-1, 8))
def test_every_centring_method_ends_in_one_point_of_the_particle(method):
    """Not far from its centre of mass, though a mask may prefer another middle."""
    made = single_view(50, 1.0)
    offset, rest = common_offset(made, aligned(made, method).centres)
    assert rest < 0.5
    assert np.hypot(*offset) < (3 if method == 3 else 1)


@pytest.mark.slow
@pytest.mark.parametrize("method", [-1, 1, 2, 4, 5, 6, 7])
@pytest.mark.parametrize("place", [(0.0, 0.0), (5.1, -3.2)])
def test_every_centring_method_centres(method, place):
    """Views from all sides at little signal, in the middle and off it."""
    made = simulate_images(Recipe(200, BOX, 8.0, 0.2, shift_sd=1.5, seed=3))
    phase = place[0] * np.fft.rfftfreq(BOX) + place[1] * np.fft.fftfreq(BOX)[:, None]
    spectra = np.fft.rfft2(made.images) * np.exp(-2j * np.pi * phase)
    images = np.fft.irfft2(spectra, (BOX, BOX)).astype(np.float32)
    found = prealign(Team(), lambda i: images[i], 200, BOX, RADIUS, method)
    truth = made.shifts + place
    before, after = (
        np.sqrt(np.mean(np.sum(v**2, axis=1))) for v in (truth, found.centres - truth)
    )
    assert after < 0.8 * before
    assert after < 1.7


def test_particles_lost_in_noise_are_left_where_they_are():
    """Where an image says nothing about its centre, none is better than any."""
    rng = np.random.default_rng(4)
    images = rng.normal(size=(64, BOX, BOX)).astype(np.float32)
    found = prealign(Team(), lambda i: images[i], 64, BOX, RADIUS, -1)
    assert np.sqrt(np.mean(np.sum(found.centres**2, axis=1))) < 2


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_give_the_same_bytes(size, monkeypatch):
    monkeypatch.setattr(module, "BLOCKS_PER_SUM", 1)
    monkeypatch.setattr(module, "BLOCK", 16)
    made = single_view(50, 1.0)
    alone = aligned(made)
    for found in on_ranks(size, partial(aligned, made, -1)):
        for one, other in zip(found, alone, strict=True):
            assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_unaligned_average_is_the_mean(size, monkeypatch):
    monkeypatch.setattr(module, "BLOCKS_PER_SUM", 1)
    monkeypatch.setattr(module, "BLOCK", 16)
    images = np.random.default_rng(5).normal(size=(50, 8, 8)).astype(np.float32)
    for mean in on_ranks(
        size, lambda team: unaligned_average(team, lambda i: images[i], 50)
    ):
        np.testing.assert_allclose(mean, images.mean(axis=0), atol=1e-6)


# ------------------------------------------------------------------ the schedule
@pytest.mark.parametrize(
    ("box", "radius", "schedule"),
    [
        (62, 29, [(1, 1)]),
        (85, 29, [(12, 3), (4, 1)]),
        (60, 29, [(0, 1)]),
        (68, 29, [(4, 1)]),
    ],
)
def test_the_search_narrows(box, radius, schedule):
    assert search_schedule(box, radius) == schedule


@pytest.mark.parametrize("box", range(60, 120))
def test_the_particle_stays_inside_the_box(box):
    for extent, step in search_schedule(box, 29):
        assert step >= 1
        assert 29 + extent <= (box - 1) // 2


def test_a_particle_larger_than_its_box_is_refused():
    with pytest.raises(InputError, match=r"radius 29 pixel does not fit .* 57 pixel"):
        search_schedule(57, 29)


# ------------------------------------------------------------------ the low-pass
@pytest.mark.parametrize(("cutoff", "fall_off"), [(0.15, 0.1), (0.2, 0.15), (0.3, 0.1)])
def test_the_lowpass_follows_the_correlation(cutoff, fall_off):
    frequency = np.arange(50) / 100
    full = tangent_lowpass(frequency, cutoff, fall_off)
    found = fit_lowpass(full / (2 - full))
    np.testing.assert_allclose(found, (cutoff, fall_off), atol=0.02)


def test_the_lowpass_has_limits():
    assert fit_lowpass(np.ones(40)) == (0.4, 0.2)
    cutoff, fall_off = fit_lowpass(np.zeros(40))
    assert cutoff == 0.12
    assert 0 < fall_off <= 0.2


# ------------------------------------------------------------------ how much to believe
def test_the_share_of_signal_is_that_of_the_variances():
    rng = np.random.default_rng(6)
    truth = rng.normal(0, 2, (20_000, 2))
    first, second = truth + rng.normal(0, np.sqrt(2), (2, 20_000, 2))
    # All of the data together has half the variance of noise: 4 of 4 + 1.
    assert reliability(first, second) == pytest.approx(4 / 5, abs=0.02)
    assert reliability(truth, truth) == 1
    assert reliability(first - truth, second - truth) == pytest.approx(0, abs=0.05)
    assert reliability(0 * truth, 0 * truth) == 0
