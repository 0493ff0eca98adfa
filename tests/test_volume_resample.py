import numpy as np
import pytest

from cryokin.volume import euler, masks
from cryokin.volume.filters import bandpass, lowpass
from cryokin.volume.resample import align, binned_size, fourier_crop, place


def blob(box, centre, width=2.0):
    """A Gaussian at ``centre`` (x, y, z) from the middle of the box."""
    axis = np.arange(box) - box // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    squares = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2
    return np.exp(-squares / (2 * width**2))


@pytest.mark.parametrize("kernel", ["spline", "pytom"])
@pytest.mark.parametrize("box", [31, 32])
def test_the_particle_is_the_reference_rotated_then_shifted(box, kernel):
    rotation = euler.matrix((0.4, -1.3, 0.8))
    centre, shift = np.array([4.0, -3.0, 2.0]), np.array([1.3, -0.6, 0.9])
    particle = blob(box, rotation @ centre + shift)
    np.testing.assert_allclose(
        align(particle, rotation, shift, kernel), blob(box, centre), atol=0.006
    )
    np.testing.assert_allclose(
        place(blob(box, centre), rotation, shift, kernel), particle, atol=0.006
    )


@pytest.mark.parametrize("kernel", ["spline", "pytom"])
def test_lattice_rotations_only_move_voxels(kernel):
    volume = np.random.default_rng(0).normal(size=(9, 9, 9)).astype(np.float32)
    rotation = np.round(euler.matrix(np.radians((90, 0, 90))))
    found = align(volume, rotation, kernel=kernel)
    grid = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"))[::-1]
    x, y, z = np.einsum("ij,jzyx->izyx", rotation, grid).astype(int) + 4
    # PyTom leaves the outermost voxels empty.
    inner = (slice(1, 8),) * 3 if kernel == "pytom" else ...
    np.testing.assert_allclose(found[inner], volume[z, y, x][inner], atol=1e-5)


def test_pytoms_kernel_is_linear_where_it_must_be():
    ramp = np.broadcast_to(np.arange(16.0), (16, 16, 16)).astype(np.float32)
    moved = align(ramp, np.eye(3), (0.25, 0, 0), "pytom")
    # Its slopes add up to 0.9999, so a ramp is kept to 1e-4 of a step.
    np.testing.assert_allclose(
        moved[5, 5, :15], np.r_[0, np.arange(1, 14) + 0.25, 0], atol=2e-3
    )


@pytest.mark.parametrize("kernel", ["spline", "pytom"])
def test_only_the_wanted_voxels_are_made(kernel):
    volume = np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)
    where = masks.sphere(volume.shape, 5, 0) > 0
    rotation = euler.matrix((0.4, -1.3, 0.8))
    whole = align(volume, rotation, (0.2, 0.1, 0), kernel)
    part = align(volume, rotation, (0.2, 0.1, 0), kernel, where)
    np.testing.assert_allclose(part, np.where(where, whole, 0), atol=1e-6)


@pytest.mark.parametrize(("n", "m"), [(32, 16), (33, 16), (32, 15), (33, 11), (30, 30)])
def test_binning_keeps_the_centre_and_the_grey_values(n, m):
    scale = n / m
    binned = fourier_crop(blob(n, (4, -3, 2), 3.0) + 5, m)
    expected = blob(m, np.array([4, -3, 2]) / scale, 3.0 / scale) + 5
    np.testing.assert_allclose(binned, expected, atol=0.02)


def test_binned_sizes():
    assert [binned_size(32, b) for b in (1, 2, 3, 4)] == [32, 16, 11, 8]


def test_spheres():
    hard = masks.sphere((9, 10, 11), 3, 0)
    assert hard[4, 5, 5] == hard[4, 5, 8] == 1
    assert hard[4, 5, 9] == 0
    soft = masks.sphere((32, 32, 32), 8, 4)
    assert soft[16, 16, 24] == 1
    assert soft[16, 16, 26] == pytest.approx(0.5)
    assert soft[16, 16, 28] == pytest.approx(0, abs=1e-7)


def test_the_upper_end_is_not_in_the_band():
    wave = np.cos(2 * np.pi * 3 * np.arange(16) / 16) * np.ones((16, 16, 1))
    np.testing.assert_allclose(lowpass(wave, 3), 0, atol=1e-12)
    np.testing.assert_allclose(lowpass(wave, 3.5), wave, atol=1e-12)
    np.testing.assert_allclose(bandpass(wave, 3, 4), wave, atol=1e-12)
    np.testing.assert_allclose(lowpass(wave, 2, 1), np.exp(-0.5) * wave, atol=1e-12)


def test_golden_correlations(shared):
    """Correlations of published maps, computed independently in double precision."""
    from cryokin.io.em import read_em
    from cryokin.volume.filters import filtered, frequencies
    from cryokin.volume.wedge import TiltWedge

    folder = shared / "data/subtomograms"
    a = read_em(folder / "human_ribo_21A.em").astype(float)
    mirrored = read_em(folder / "human_ribo_21A_Mirrored.em").astype(float)
    weight = TiltWedge(np.pi / 6, np.pi / 6).weight(frequencies(a.shape), a.shape)

    def cc(x, y):
        return np.corrcoef(x.ravel(), y.ravel())[0, 1]

    assert cc(a, mirrored) == pytest.approx(0.202132, abs=1e-5)
    assert cc(lowpass(a, 10), a) == pytest.approx(0.692552, abs=1e-5)
    assert cc(filtered(a, weight), a) == pytest.approx(0.755868, abs=1e-5)
    both = filtered(lowpass(a, 10), weight)
    assert cc(both, lowpass(a, 10)) == pytest.approx(0.828849, abs=1e-5)
