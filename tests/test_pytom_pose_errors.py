import numpy as np
import pytest

from cryokin.parallel import Team
from cryokin.subtomo.pose_errors import (
    believed,
    correct,
    derivatives,
    moved,
    refine,
    without,
)
from cryokin.volume import euler
from cryokin.volume.bands import band, coefficients
from cryokin.volume.resample import align
from simulated import BAND, BOX, maps, simulate


@pytest.mark.parametrize("axis", range(6))
def test_derivatives_are_differences(axis):
    """A small step of each kind changes the volume as its derivative says."""
    where = band((BOX,) * 3, 4)
    volume = maps()[0]
    step = np.zeros((1, 6))
    step[0, axis] = 0.15 if axis < 3 else 0.04
    eye, origin = np.eye(3)[None], np.zeros((1, 3))

    def after(sign):
        # The pose that undoes a step shows the volume after it.
        rotation, shift = moved(eye, origin, -sign * step)
        return coefficients(align(volume, rotation[0], shift[0]), where)

    support = np.abs(volume) > 0
    row = coefficients(volume, where)
    expected = derivatives(row, where, support)[axis] * step[0, axis]
    difference = (after(1) - after(-1)) / 2
    assert np.linalg.norm(difference - expected) < 0.15 * np.linalg.norm(expected)


def test_the_scale_is_one_of_them():
    where = band((BOX,) * 3, BAND)
    row = coefficients(maps()[0], where)
    np.testing.assert_array_equal(derivatives(row, where)[6], row)


def pose_error(particles, rotations, shifts):
    turn = np.einsum("nij,nik->njk", rotations, particles.true_rotations)
    angle = np.arccos(np.clip((np.trace(turn, axis1=1, axis2=2) - 1) / 2, -1, 1))
    return angle.mean(), np.abs(shifts - particles.true_shifts).mean()


def test_refinement_finds_the_true_poses():
    particles = simulate((60,), noise=0.5, turn=0.05, shift=0.4)
    refined = refine(particles.rows, particles.rotations, particles.shifts, 2)
    turn, shift = pose_error(particles, refined.rotations, refined.shifts)
    turn_before, shift_before = pose_error(
        particles, particles.rotations, particles.shifts
    )
    assert shift < 0.3 * shift_before
    assert turn < 0.6 * turn_before
    assert len(refined.spread) == 3
    assert refined.spread[0][0] == pytest.approx(0.4, rel=0.4)


def test_true_poses_stay():
    particles = simulate((60,), noise=1.0)
    refined = refine(particles.rows, particles.rotations, particles.shifts, 2)
    _, shift = pose_error(particles, refined.rotations, refined.shifts)
    fitted = np.abs(refined.corrected.amounts[:, :3]).mean()
    assert shift < 0.5 * fitted + 0.02


def test_residuals_forget_the_error_of_the_pose():
    """The corrected residual of a misplaced particle is that of a well placed one."""
    particles = simulate((60,), noise=0.3, shift=0.3)
    plain = correct(particles.rows(), project=False)
    without = correct(particles.rows())
    aligned = correct(
        particles.rows(particles.true_rotations, particles.true_shifts), project=False
    )
    energy = [
        np.square(c.y / c.whitening.mean()).sum() for c in (plain, without, aligned)
    ]
    assert energy[1] - energy[2] < 0.1 * (energy[0] - energy[2])


def test_what_is_taken_out_is_the_least_squares_fit_inside_the_wedge():
    rng = np.random.default_rng(0)
    w = (rng.random((70, 40)) < 0.7) * rng.uniform(0.5, 1, (70, 40))
    basis = rng.normal(size=(7, 80)) * np.geomspace(100, 0.01, 7)[:, None]
    y = rng.normal(size=(70, 80)) * np.repeat(w > 0, 2, axis=1)
    left, amounts, errors = without(*(x.astype(np.float32) for x in (y, w, basis)))
    for i in range(len(y)):
        seen = (basis * np.repeat(w[i], 2)).T
        expected = np.linalg.lstsq(seen, y[i])[0]
        deviation = np.sqrt(np.diag(np.linalg.inv(seen.T @ seen)))
        assert (np.abs(amounts[i] - expected) < 1e-3 * deviation).all()
        np.testing.assert_allclose(errors[i], deviation, rtol=1e-3)
        np.testing.assert_allclose(left[i], y[i] - seen @ expected, atol=1e-3)


def test_noise_is_white():
    corrected = correct(simulate((40,), noise=2.0).rows())
    seen = np.repeat(corrected.w > 0, 2, axis=1)
    power = np.square(corrected.y).sum() / (corrected.noise * seen).sum()
    assert power == pytest.approx(1, abs=0.05)
    assert (corrected.y[~seen] == 0).all()


def test_what_is_believed():
    rng = np.random.default_rng(0)
    errors = np.full((2000, 7), 1.0)
    noise = rng.normal(size=(2000, 7))
    # Fitted amounts that vary no more than their errors are noise.
    assert np.abs(believed(noise, errors)).max() < 0.25
    truth = 3 * rng.normal(size=(2000, 7))
    kept = believed(truth + noise, errors)
    np.testing.assert_allclose(kept, 0.9 * (truth + noise), atol=0.1)
    assert (believed(np.zeros((3, 7)), np.zeros((3, 7))) == 0).all()


def test_a_step_is_undone_by_its_opposite():
    rng = np.random.default_rng(0)
    rotations, shifts = (
        euler.matrix(rng.uniform(-3, 3, (5, 3))),
        rng.normal(size=(5, 3)),
    )
    step = np.zeros((5, 6))
    step[:, :3] = rng.normal(size=(5, 3))
    there = moved(rotations, shifts, step)
    back = moved(*there, -step)
    np.testing.assert_allclose(back[0], rotations, atol=1e-12)
    np.testing.assert_allclose(back[1], shifts, atol=1e-12)


def test_ranks_do_not_matter():
    class Backwards(Team):
        def map(self, function, items):
            return [function(item) for item in list(items)[::-1]][::-1]

    rows = simulate((100,), noise=1.0).rows()
    np.testing.assert_array_equal(correct(rows).y, correct(rows, team=Backwards()).y)
