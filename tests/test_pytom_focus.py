import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.options import Cpca
from cryokin.partition.agreement import adjusted_rand_index
from cryokin.random import stream
from cryokin.subtomo import ccc, cpca, mco
from cryokin.subtomo.focus import focus, focus_rows
from cryokin.subtomo.mask import narrowest_mask
from cryokin.subtomo.pose_errors import correct
from cryokin.volume import masks
from cryokin.volume.bands import as_complex, volume_of
from cryokin.volume.filters import filtered, frequencies
from cryokin.volume.resample import place
from ranks import on_ranks
from simulated import BOX, WEDGE, blob, simulate

# Where the two differences are (x, y, z) [voxel].
HERE, THERE = (2.0, -2.5, 1.5), (-3.0, 2.5, -2.0)


def around(place):
    return masks.sphere((BOX,) * 3, 3, 2, place[::-1])


AROUND = around(HERE)


def classes(corrected):
    matrix = ccc.matrix(corrected.weighted(), corrected.w)
    return cpca.cluster(cpca.components(matrix, 1).coefficients, 2, 1)


def test_a_mask_says_which_of_two_differences_is_meant():
    """Any half lacks one domain and, drawn apart, any half lacks another."""
    particles = simulate((50, 50), noise=0.4)
    here, there = particles.labels, stream(7).permutation(np.arange(100) % 2)
    weight = WEDGE.weight(frequencies((BOX,) * 3), (BOX,) * 3)
    for i in np.flatnonzero(there):
        pose = particles.rotations[i], particles.shifts[i]
        lack = place(blob(THERE, 1.8), *pose)
        particles.volumes[i] = particles.volumes[i] - filtered(lack, weight)
    plain = correct(particles.rows())
    for site, truth, other in ((HERE, here, there), (THERE, there, here)):
        near = focus(plain, around(site))
        assert adjusted_rand_index(classes(near), truth) > 0.9
        assert adjusted_rand_index(classes(near), other) < 0.1
        starts = [mco.random_start(100, 2, 1, start) for start in range(3)]
        best = mco.best_of(mco.model(near), starts, 2).best.labels
        assert adjusted_rand_index(best, truth) > 0.9


def test_a_mask_of_ones_changes_nothing():
    plain = correct(simulate((20,)).rows())
    same = focus(plain, np.ones((BOX,) * 3))
    # Whitening again meets the noise without the share of the pose errors.
    ratio = same.whitening / plain.whitening
    np.testing.assert_allclose(
        same.y, plain.y * np.repeat(ratio, 2) * np.repeat(plain.w != 0, 2, 1), atol=1e-4
    )
    np.testing.assert_allclose(same.consensus, plain.consensus, rtol=1e-4, atol=1e-9)


def test_residuals_are_white_again_and_lie_under_the_mask():
    near = focus(correct(simulate((60,), noise=2.0).rows()), AROUND)
    power = (near.y**2).sum(axis=0).reshape(-1, 2).sum(axis=1)
    seen = near.band.multiplicity * (near.w != 0).sum(axis=0)
    shell = near.band.shell
    np.testing.assert_allclose(
        np.bincount(shell, power), np.bincount(shell, seen), rtol=1e-4
    )
    volume = volume_of(as_complex(near.y, near.band)[0], near.band)
    far = masks.distance((BOX,) * 3, HERE[::-1]) > 8
    assert (volume[far] ** 2).mean() < 0.1 * (volume[~far] ** 2).mean()


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_and_files_give_the_same_bytes(tmp_path, ranks):
    rows = simulate((70,)).rows()
    plain = correct(rows)
    one = focus(plain, AROUND), focus_rows(rows, AROUND)

    def work(team):
        files = (tmp_path / "y.npy", tmp_path / "x.npy")
        return (
            focus(plain, AROUND, team, files[0]),
            focus_rows(rows, AROUND, team, files[1]),
        )

    for corrected, made in on_ranks(ranks, work):
        assert corrected.y.tobytes() == one[0].y.tobytes()
        assert corrected.whitening.tobytes() == one[0].whitening.tobytes()
        assert made.x.tobytes() == one[1].x.tobytes()


@pytest.mark.parametrize("key", ["mask", "focus_mask"])
def test_a_mask_that_does_not_fit_is_named_as_in_the_configuration(key):
    ball = {"sphere": {"radius": 6.0, "edge": 3.0, "centre": [12.0, 0.0, 0.0]}}
    options = {"mask": "mask.em", "focus_mask": None, "binning": 1, key: ball}
    with pytest.raises(InputError, match=f"^{key}: a sphere of radius 6 does not fit"):
        narrowest_mask(Cpca.some(options), 32)
