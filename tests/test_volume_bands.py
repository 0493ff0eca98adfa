import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.rings import correlation
from cryokin.volume import euler, masks
from cryokin.volume.averages import average, normalised, sums
from cryokin.volume.bands import (
    as_complex,
    as_real,
    band,
    coefficients,
    row,
    rows,
    volume_of,
)
from cryokin.volume.filters import filtered, frequencies, lowpass
from cryokin.volume.resample import place
from cryokin.volume.wedge import TiltWedge, WeightVolume

WEDGE = TiltWedge(np.pi / 6, np.pi / 6)


def smooth(box, seed=0, high=4):
    noise = np.random.default_rng(seed).normal(size=(box,) * 3)
    return lowpass(noise, high) * masks.sphere((box,) * 3, box / 2 - 5, 3)


@pytest.mark.parametrize("box", [(12, 12, 12), (13, 13, 13), (10, 12, 11)])
def test_coefficients_are_the_volume_without_its_mean(box):
    volume = np.random.default_rng(0).normal(size=box)
    whole = band(box, 5)
    filtered_volume = volume_of(coefficients(volume, whole), whole)
    expected = lowpass(volume, 5) - volume.mean()
    np.testing.assert_allclose(filtered_volume, expected, atol=1e-5)


def test_their_scalar_product_is_that_of_the_volumes():
    a, b = np.random.default_rng(0).normal(size=(2, 12, 12, 12))
    whole = band((12,) * 3, 7)
    x = as_real(np.stack([coefficients(v, whole) for v in (a, b)]), whole)
    a, b = (lowpass(v, 7) - v.mean() for v in (a, b))
    assert x[0] @ x[1] == pytest.approx(np.vdot(a, b) * 12**3, rel=1e-4)
    np.testing.assert_allclose(as_real(as_complex(x, whole), whole), x, rtol=1e-6)


def test_the_origin_is_the_centre_of_the_box():
    volume = np.zeros((9, 9, 9))
    volume[4, 4, 4] = 1
    np.testing.assert_allclose(coefficients(volume, band((9,) * 3, 4)), 1, atol=1e-6)


def test_a_band_of_nothing_is_refused():
    with pytest.raises(InputError, match=r"lowpass = 1.0"):
        band((8, 8, 8), 1.0)


def test_orientation_and_grey_values_do_not_change_a_row():
    volume = smooth(32)
    mask = masks.sphere((32,) * 3, 12, 3)
    rotation = euler.matrix((0.5, -0.9, 1.2))
    shift = np.array([0.7, -1.1, 0.4])
    where = band((32,) * 3, 5)
    placed = 3 * place(volume, rotation, shift) + 11
    expected, _ = row(volume, np.eye(3), np.zeros(3), TiltWedge(), mask, where)
    found, _ = row(placed, rotation, shift, TiltWedge(), mask, where)
    assert np.linalg.norm(found - expected) < 0.02 * np.linalg.norm(expected)


def test_a_constant_particle_is_an_empty_row():
    x, _ = row(
        np.ones((8, 8, 8)), np.eye(3), np.zeros(3), WEDGE, None, band((8,) * 3, 4)
    )
    np.testing.assert_allclose(x, 0)


def test_nothing_is_left_inside_the_missing_wedge():
    x, w = row(
        smooth(16, high=8), np.eye(3), np.zeros(3), WEDGE, None, band((16,) * 3, 6)
    )
    assert (w == 0).any()
    assert (x[w == 0] == 0).all()


def test_a_ctf_is_in_the_data_already():
    ctf = np.full((16,) * 3, -0.5)
    volume = smooth(16)
    where = band((16,) * 3, 5)
    plain, _ = row(volume, np.eye(3), np.zeros(3), TiltWedge(), None, where)
    found, w = row(volume, np.eye(3), np.zeros(3), WeightVolume(ctf, True), None, where)
    np.testing.assert_allclose(w, -0.5)
    np.testing.assert_allclose(found, plain)


def seen_particles(n=24, box=24):
    """One structure in many orientations, each through its wedge."""
    truth = smooth(box)
    rotations = euler.matrix(np.random.default_rng(1).uniform(-3, 3, (n, 3)))
    weight = WEDGE.weight(frequencies((box,) * 3), (box,) * 3)
    volumes = [filtered(place(truth, r), weight) for r in rotations]
    return truth, volumes, rotations


def test_the_average_of_what_each_saw_is_the_whole():
    truth, volumes, rotations = seen_particles()
    n = len(volumes)
    even, odd = sums(
        volumes.__getitem__, range(n), rotations, np.zeros((n, 3)), [WEDGE] * n
    )
    assert (even.n, odd.n) == (12, 12)
    found = lowpass(average(even + odd), 5)
    assert np.corrcoef(found.ravel(), lowpass(truth, 5).ravel())[0, 1] > 0.98
    curve = correlation(average(even), average(odd))
    assert curve[1:4].min() > 0.95


def test_bright_particles_do_not_dominate():
    _, volumes, rotations = seen_particles(8)
    n = len(volumes)
    rest = (rotations, np.zeros((n, 3)), [WEDGE] * n)
    plain = sums(volumes.__getitem__, range(n), *rest)
    volumes[0] = 1000 * volumes[0] + 5
    bright = sums(volumes.__getitem__, range(n), *rest)
    np.testing.assert_allclose(
        average(bright[0] + bright[1]), average(plain[0] + plain[1]), atol=1e-3
    )


def test_an_average_of_nobody_is_refused():
    with pytest.raises(InputError, match="0 particles"):
        sums([].__getitem__, [], np.zeros((0, 3, 3)), np.zeros((0, 3)), [])


def test_normalised_volumes():
    volume = np.random.default_rng(0).normal(5, 3, (8, 8, 8))
    found = normalised(volume)
    assert found.mean() == pytest.approx(0, abs=1e-6)
    assert found.std() == pytest.approx(1, abs=1e-6)
    assert (normalised(np.ones((4, 4, 4))) == 0).all()


def test_ranks_do_not_change_rows():
    from cryokin.parallel import Team

    class Backwards(Team):
        def map(self, function, items):
            return [function(item) for item in list(items)[::-1]][::-1]

    _, volumes, rotations = seen_particles(40, 12)
    arguments = (
        volumes.__getitem__,
        rotations,
        np.zeros((40, 3)),
        [WEDGE] * 40,
        None,
        band((12,) * 3, 4),
    )
    one, other = rows(*arguments), rows(*arguments, team=Backwards())
    np.testing.assert_array_equal(one.x, other.x)
