"""The pixel error: what repeated alignments leave undecided, and nothing else."""

import numpy as np
import pytest
from scipy.optimize import minimize

from cryokin.image.geometry import Alignment, apply, compose
from cryokin.isac.stability import consistent_hands, stability

RADIUS = 29.0
THRESHOLD = 0.7


def repeats(degrees: object, shift: object = 0, mirror: object = False) -> Alignment:
    """Return alignments (repeats, n) from what is given of them."""
    angle = np.radians(np.asarray(degrees, float))
    shifts = np.zeros((*angle.shape, 2)) + np.asarray(shift, float)
    return Alignment(angle, shifts, np.broadcast_to(mirror, angle.shape).copy())


def jittered(
    seed: int, n_repeats: int, n: int, angle: float = 0.03, shift: float = 0.4
) -> Alignment:
    """Return repeats that differ by small errors, of images that lie anywhere."""
    rng = np.random.default_rng(seed)
    truth = Alignment(
        rng.uniform(0, 2 * np.pi, n), rng.normal(0, 2, (n, 2)), rng.random(n) < 0.5
    )
    error = Alignment(
        rng.normal(0, angle, (n_repeats, n)),
        rng.normal(0, shift, (n_repeats, n, 2)),
        np.zeros((n_repeats, n), bool),
    )
    return compose(truth, error)


def moved_as_a_whole(
    alignments: Alignment, repeat: int, common: Alignment
) -> Alignment:
    """Return alignments of which one repeat is followed by a common transformation."""
    after = compose(Alignment(*(field[repeat] for field in alignments)), common)
    fields = [field.copy() for field in alignments]
    for field, new in zip(fields, after, strict=True):
        field[repeat] = new
    return Alignment(*fields)


COMMON = Alignment(np.radians(77.0), np.array([0.5, -0.7]), np.True_)


# ------------------------------------------------------------------ worked by hand
@pytest.mark.parametrize(("degrees", "error"), [(4.0, 0.71576), (3.9, 0.69787)])
def test_error_of_two_images_turned_apart(degrees, error):
    found = stability(
        repeats([[degrees, -degrees], [0, 0]]), RADIUS, threshold=THRESHOLD
    )
    np.testing.assert_allclose(found.error, error, atol=1e-5)
    assert len(found.stable) == (2 if error < THRESHOLD else 0)


@pytest.mark.parametrize(("shift", "error"), [(1.38, 0.69), (1.42, 0.71)])
@pytest.mark.parametrize("axis", [0, 1])
def test_error_of_two_images_shifted_apart(shift, error, axis):
    shifts = np.zeros((2, 2, 2))
    shifts[0, :, axis] = shift, -shift
    found = stability(repeats(np.zeros((2, 2)), shifts), RADIUS, THRESHOLD)
    np.testing.assert_allclose(found.error, error, atol=1e-9)
    assert len(found.stable) == (2 if error < THRESHOLD else 0)


def test_a_common_transformation_is_no_error():
    rng = np.random.default_rng(1)
    first = repeats(
        rng.uniform(0, 360, (1, 12)), rng.normal(0, 3, (1, 12, 2)), rng.random(12) < 0.5
    )
    both = Alignment(*(np.concatenate([field, field]) for field in first))
    found = stability(moved_as_a_whole(both, 0, COMMON), RADIUS, THRESHOLD)
    np.testing.assert_allclose(found.error, 0, atol=1e-6)
    np.testing.assert_array_equal(found.stable, np.arange(12))


def test_error_is_the_spread_of_points_drawn_in_the_disc():
    """Four images whose errors mirror each other need no common transformation."""
    degrees = np.array([0, 3, -2, 5, 1.0])[:, None]
    shift = np.array([[0, 0], [0.5, -0.3], [-0.4, 0.1], [0.2, 0.6], [0.3, -0.5]])
    signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])  # turned as x and y flip
    angles = degrees * np.array([1, -1, 1, -1])
    found = stability(repeats(angles, shift[:, None] * signs), RADIUS, 10.0)
    rng = np.random.default_rng(2)
    points = rng.uniform(-RADIUS, RADIUS, (200_000, 2))
    points = points[np.hypot(*points.T) <= RADIUS]
    for i in range(4):
        moved = np.stack(
            [
                apply(Alignment(np.radians(a), s * signs[i], np.False_), points)
                for a, s in zip(angles[:, i], shift, strict=True)
            ]
        )
        mean = Alignment(*(field[i] for field in found.mean))
        # No repeat needs a common transformation, so the last one's frame is theirs.
        distance = np.sum((moved - apply(mean, points)) ** 2, axis=-1)
        assert found.error[i] == pytest.approx(np.sqrt(distance.mean()), rel=3e-3)


def test_one_flipped_hand_is_found_whatever_repeat_is_flipped_as_a_whole():
    n, flipped = 12, 7
    alignments = jittered(3, 5, n, 0.005, 0.05)
    alignments.mirror[2, flipped] ^= True
    alignments = moved_as_a_whole(alignments, 3, COMMON)
    found = stability(alignments, RADIUS, THRESHOLD)
    np.testing.assert_array_equal(found.stable, np.delete(np.arange(n), flipped))
    assert np.isinf(found.error[flipped])


# ------------------------------------------------------------------ invariance
@pytest.mark.parametrize("repeat", range(4))
@pytest.mark.parametrize("mirror", [False, True])
def test_error_does_not_see_a_common_transformation_of_one_repeat(repeat, mirror):
    alignments = jittered(4, 4, 12)
    common = COMMON._replace(mirror=np.bool_(mirror))
    before = stability(alignments, RADIUS, 2.0)
    after = stability(moved_as_a_whole(alignments, repeat, common), RADIUS, 2.0)
    np.testing.assert_allclose(after.error, before.error, atol=1e-4)
    assert np.isfinite(before.error).any()


def test_error_does_not_see_the_order_of_images_or_repeats():
    alignments = jittered(5, 4, 12)
    before = stability(alignments, RADIUS, 2.0)
    order = np.random.default_rng(6).permutation(12)
    shuffled = stability(Alignment(*(f[:, order] for f in alignments)), RADIUS, 2.0)
    np.testing.assert_allclose(shuffled.error, before.error[order], atol=1e-5)
    turned = stability(Alignment(*(f[[2, 0, 3, 1]] for f in alignments)), RADIUS, 2.0)
    np.testing.assert_allclose(turned.error, before.error, atol=1e-4)


def test_error_grows_with_the_radius_if_turned_and_not_if_shifted():
    turned = repeats([[2, -2], [0, 0]])
    shifted = repeats(np.zeros((2, 2)), [[[1, 0], [-1, 0]], [[0, 0], [0, 0]]])
    small, large = (stability(turned, r, 10.0).error for r in (10, 20))
    np.testing.assert_allclose(large, 2 * small)
    small, large = (stability(shifted, r, 10.0).error for r in (10, 20))
    np.testing.assert_allclose(large, small)


# ------------------------------------------------------------------ the optimum
def squared_errors(alignments: Alignment, values: np.ndarray) -> np.ndarray:
    """The definition: errors after common transformations (angle, x, y) of repeats."""
    commons = [*values.reshape(-1, 3), np.zeros(3)]
    moved = [
        compose(
            Alignment(*(field[j] for field in alignments)),
            Alignment(np.float64(angle), np.array([x, y]), np.False_),
        )
        for j, (angle, x, y) in enumerate(commons)
    ]
    angles = np.stack([m.angle for m in moved])
    shifts = np.stack([m.shift for m in moved])
    rho = np.abs(np.exp(1j * angles).mean(axis=0))
    return RADIUS**2 * (1 - rho) + shifts.var(axis=0).sum(axis=-1)


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_the_common_transformations_are_the_best(seed):
    alignments = jittered(seed, 4, 10, angle=0.15, shift=4.0)
    found = stability(alignments, RADIUS, 100.0)
    best = minimize(
        lambda values: squared_errors(alignments, values).mean(), np.zeros(9)
    )
    assert np.mean(found.error**2) == pytest.approx(best.fun, rel=1e-5)
    np.testing.assert_allclose(
        found.error**2, squared_errors(alignments, best.x), rtol=2e-3
    )


def test_repeats_in_different_frames_have_their_mean_in_that_of_the_last():
    alignments = jittered(10, 4, 12, 0.002, 0.02)
    moved = moved_as_a_whole(alignments, 1, COMMON)
    mean = stability(moved, RADIUS, THRESHOLD).mean
    np.testing.assert_array_equal(mean.mirror, alignments.mirror[-1])
    last = Alignment(*(field[-1] for field in alignments))
    points = np.random.default_rng(11).normal(0, 15, (12, 2))
    np.testing.assert_allclose(apply(mean, points), apply(last, points), atol=0.4)


# ------------------------------------------------------------------ bad images
def test_images_aligned_at_random_are_not_stable():
    rng = np.random.default_rng(12)
    alignments = repeats(
        rng.uniform(0, 360, (5, 40)),
        rng.normal(0, 1, (5, 40, 2)),
        rng.random((5, 40)) < 0.5,
    )
    assert len(stability(alignments, RADIUS, THRESHOLD).stable) == 0


def test_a_bad_image_does_not_spoil_the_good_ones():
    alignments = jittered(13, 5, 20, 0.004, 0.1)
    good = stability(alignments, RADIUS, THRESHOLD)
    assert len(good.stable) == 20
    alignments.angle[1, 4] += 2.0
    alignments.shift[3, 9] += 6.0
    found = stability(alignments, RADIUS, THRESHOLD)
    rest = np.delete(np.arange(20), [4, 9])
    np.testing.assert_array_equal(found.stable, rest)
    np.testing.assert_allclose(found.error[rest], good.error[rest], atol=0.05)


def test_a_single_image_is_not_stable():
    found = stability(repeats(np.zeros((3, 1))), RADIUS, THRESHOLD)
    assert len(found.stable) == 0
    assert np.isinf(found.error).all()


def test_the_hands_kept_are_the_most():
    rng = np.random.default_rng(14)
    mirror = rng.random((4, 9)) < 0.5
    flips, same = consistent_hands(mirror)
    assert not flips[-1]
    flipped = mirror ^ flips[:, None]
    np.testing.assert_array_equal(same, np.all(flipped == flipped[0], axis=0))
    most = max(
        np.all((mirror ^ trial[:, None]) == (mirror ^ trial[:, None])[0], axis=0).sum()
        for trial in (np.arange(16)[:, None] >> np.arange(4) & 1).astype(bool)
    )
    assert same.sum() == most
