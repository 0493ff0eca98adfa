import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.io import pytom_xml
from cryokin.io.wedges import from_particle
from cryokin.volume import euler
from cryokin.volume.filters import frequencies
from cryokin.volume.wedge import (
    DoubleTilt,
    TiltWedge,
    WeightVolume,
    centred_weight,
    common_frame_weight,
)


def tilt(angle1, angle2, cutoff=0.0, smooth=0.0):
    return TiltWedge(*np.radians((angle1, angle2)), cutoff, smooth)


def reduced_along_z(shape):
    """Frequencies of PyTom's reduced volume, z halved; (x, y, z) last."""
    return frequencies(shape)[..., ::-1]


@pytest.mark.parametrize(
    ("shape", "angles", "cutoff", "count"),
    [
        ((22, 22, 20), (30, 30), 0, 2037),
        ((22, 22, 20), (5, 85), 0, 1586),
        ((22, 22, 20), (34.23, 51.02), 0, 1644),
        ((32, 32, 32), (30, 30), 0, 6081),
        ((42, 42, 42), (30, 30), 0, 13647),
        ((100, 100, 100), (30, 30), 50, 178325),
        ((100, 100, 72), (30, 30), 50, 175529),
    ],
)
def test_counts_of_pytoms_wedges(shape, angles, cutoff, count):
    k = reduced_along_z(shape)
    weight = tilt(*angles, cutoff).weight(k, shape[::-1])
    assert np.count_nonzero(weight) == count


@pytest.mark.parametrize("box", [22, 23])
@pytest.mark.parametrize("smooth", [0.0, 2.5])
@pytest.mark.parametrize("angles", [(30, 30), (20, 40), (5, 85), (0, 30)])
def test_every_rotated_wedge_has_friedels_symmetry(box, smooth, angles):
    rng = np.random.default_rng(0)
    k = rng.integers(-(box // 2), box // 2 + 1, (3000, 3)).astype(float)
    k[:40, 2] = 0
    wedge = tilt(*angles, smooth=smooth)
    for turn in rng.uniform(-3, 3, (6, 3)):
        rotation = euler.matrix(turn)
        weight = common_frame_weight(wedge, rotation, k, (box,) * 3)
        mate = common_frame_weight(wedge, rotation, -k, (box,) * 3)
        np.testing.assert_array_equal(weight, mate)
        assert 0 <= weight.min() <= weight.max() <= 1


@pytest.mark.parametrize("angles", [(30, 30), (20, 40), (10, 0)])
def test_what_is_kept_of_the_sphere(angles):
    axis = np.arange(-30, 31.0)
    k = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3)
    k = k[np.linalg.norm(k, axis=1) <= 30]
    kept = tilt(*angles).weight(k, (60,) * 3).mean()
    assert kept == pytest.approx(1 - sum(angles) / 180, abs=0.02)


def test_a_wedge_turns_with_the_particle():
    k = np.random.default_rng(0).normal(0, 6, (500, 3))
    rotation = euler.matrix((0.3, -1.1, 0.7))
    wedge = tilt(30, 20)
    np.testing.assert_array_equal(
        common_frame_weight(wedge, rotation, k, (32,) * 3),
        wedge.weight((rotation @ k.T).T, (32,) * 3),
    )


def test_no_angle_is_no_wedge_and_no_cutoff():
    k = np.array([[0.0, 0, 99], [1, 2, 3]])
    assert (tilt(0, 0, cutoff=5).weight(k, (8,) * 3) == 1).all()


def test_smooth_edge_falls_with_the_distance_from_the_plane():
    depth = np.array([0.5, 1.0, 3.0])
    angle = np.radians(30)
    on_plane = np.array([np.sin(angle), 0, np.cos(angle)]) * 10
    inwards = np.array([-np.cos(angle), 0, np.sin(angle)])
    k = on_plane + depth[:, None] * inwards
    weight = tilt(30, 30, smooth=2.0).weight(k, (64,) * 3)
    np.testing.assert_allclose(weight, [0.75, 0.5, 0.0])


def test_the_tilt_axis_turns_the_wedge():
    about_x = TiltWedge(0.5, 0.5, axis=euler.matrix((np.pi / 2, 0, 0)))
    k = np.array([[0, 1.0, 5], [5.0, 0, 1], [1.0, 0, 5], [0, 5.0, 1]])
    turned = TiltWedge(0.5, 0.5).weight(k[:, [1, 0, 2]], (32,) * 3)
    np.testing.assert_array_equal(about_x.weight(k, (32,) * 3), turned)


def test_two_tilts_see_what_either_sees():
    first, second = (
        tilt(30, 30),
        TiltWedge(0.5, 0.5, axis=euler.matrix((np.pi / 2, 0, 0))),
    )
    k = np.random.default_rng(0).normal(0, 5, (400, 3))
    both = DoubleTilt(first, second).weight(k, (32,) * 3)
    either = np.maximum(first.weight(k, (32,) * 3), second.weight(k, (32,) * 3))
    np.testing.assert_array_equal(both, either)


@pytest.mark.parametrize("axis", [0, 2])
def test_half_volumes_become_whole(axis):
    n = 8
    index = np.arange(n) - n // 2
    k = np.stack(np.meshgrid(index, index, index, indexing="ij")).astype(float)
    value = np.abs(k[0] + 2 * k[1] - 3 * k[2])
    unshifted = np.fft.ifftshift(value)
    half = np.take(unshifted, np.arange(n // 2 + 1), axis)
    whole = centred_weight(half)
    inner = (slice(1, None),) * 3
    np.testing.assert_array_equal(whole[inner], value[inner])
    np.testing.assert_array_equal(centred_weight(value), value)


def test_a_shape_that_is_no_weight_is_refused():
    with pytest.raises(InputError, match="4 x 5 x 6"):
        centred_weight(np.zeros((6, 5, 4)))


def test_a_weight_volume_gives_its_samples():
    volume = np.random.default_rng(0).random((9, 9, 9))
    k = np.array([[0.0, 0, 0], [1, -2, 3], [-4, 4, 0]])
    found = WeightVolume(volume).weight(k, (9, 9, 9))
    np.testing.assert_allclose(
        found, [volume[4, 4, 4], volume[7, 2, 5], volume[4, 8, 0]]
    )


def test_wedges_of_a_list():
    single = pytom_xml.SingleTiltWedge(30.0, 20.0, 5.0, 1.0)
    assert from_particle(single).angle1 == pytest.approx(np.pi / 6)
    assert isinstance(
        from_particle(pytom_xml.DoubleTiltWedge(single, single)), DoubleTilt
    )
