"""Comparing images with references finds angle, hand and shift, and nothing else."""

import numpy as np
import pytest

from blobs import BALANCED, CHIRAL, alignment, moved, render
from cryokin.image.geometry import Alignment, apply, centre, flip, from_centre, invert
from cryokin.image.polar import PolarBasis
from cryokin.isac.alignment import (
    average,
    best_scores,
    best_shift,
    correlation_operand,
    interpolated_shift,
    noise_power,
    own_terms,
    parabola,
    search,
    self_products,
    shift_grid,
    signal_share,
)

BOX = 64
BASIS = PolarBasis(24, 0.33)
ANALYSIS = BASIS.analysis(BOX)
SHIFTS = shift_grid(3, 3, 0.5)


def spectra(*images: np.ndarray, centres: object = None) -> np.ndarray:
    return BASIS.spectra(
        BASIS.images_last(BASIS.grid(np.stack(images), ANALYSIS)), centres
    )


def operand_at(reference: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Return the operand (1, ...) of one reference's spectra (..., 1) at all shifts."""
    trials = np.moveaxis(BASIS.shifted(reference, shifts), 0, -1)[..., 0, :]
    return correlation_operand(trials)[None]


def complex_orders(rows: np.ndarray) -> np.ndarray:
    """Return spectra (2, orders, 2, radii, n) as complex numbers (m, radii, n)."""
    numbers = rows[:, :, 0].astype(float) + 1j * rows[:, :, 1]
    return np.moveaxis(numbers, 0, 1).reshape(-1, *numbers.shape[2:])


def random_spectra(seed: int, orders: int, radii: int, n: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(2, orders, 2, radii, n)).astype(np.float32)
    rows[0, 0, 1] = 0  # order 0 of a real image is real
    return rows


def degrees_apart(a: object, b: object) -> np.ndarray:
    return np.abs(np.degrees(np.angle(np.exp(1j * (np.asarray(a) - np.asarray(b))))))


@pytest.mark.parametrize("degrees", [30, 45, 80, 90, 100, 110, 180, 200])
def test_discrete_angles_are_multiples_of_the_step(degrees):
    """Of the step itself: it need not divide a whole turn."""
    multiples = np.arange(0, 360, degrees)
    step = np.radians(degrees)
    truths = [Alignment(np.radians(a), np.zeros(2), False) for a in multiples]
    rows = spectra(*[render(BOX, moved(invert(t), CHIRAL)) for t in truths])[None]
    operand = operand_at(spectra(render(BOX, CHIRAL)), shift_grid(0, 0, 1))
    angle, _, _ = search(operand, rows, 1, step)
    assert degrees_apart(angle[0], np.radians(multiples)).max() < 0.01
    other = random_spectra(1, *rows.shape[2:3], rows.shape[4], 200)[None]
    found = np.degrees(search(operand, other, 1, step)[0]) / degrees
    np.testing.assert_allclose(found, np.rint(found), atol=1e-4)
    assert np.unique(np.rint(found)).tolist() == list(range(len(multiples)))


# ------------------------------------------------------------------ the trial shifts
def test_trial_shifts_fill_the_range_and_begin_at_the_origin():
    grid = shift_grid(2, 1, 0.5)
    np.testing.assert_array_equal(grid[0], 0)
    assert len(grid) == 9 * 5 == len(np.unique(grid, axis=0))
    np.testing.assert_array_equal(np.abs(grid).max(axis=0), [2, 1])
    np.testing.assert_array_equal(grid * 2, np.rint(grid * 2))


def test_no_range_leaves_the_origin_alone():
    np.testing.assert_array_equal(shift_grid(0, 0, 1), [[0, 0]])


@pytest.mark.parametrize("peak", [-0.5, -0.31, 0.0, 0.2, 0.5])
def test_the_parabola_of_a_parabola_is_exact(peak):
    values = (np.array(5 - 2 * (x - peak) ** 2) for x in (-1, 0, 1))
    assert parabola(*values) == pytest.approx(peak)


def test_a_parabola_without_maximum_stays():
    np.testing.assert_array_equal(parabola(*np.array([[1, 3], [1, 1], [1, 2]])), [0, 0])


def test_the_top_of_a_paraboloid_is_found_between_the_trials():
    grid = shift_grid(2, 2, 0.5)
    tops = np.array([[0.37, -1.21], [-1.4, 0.05], [0.0, 0.0]])
    values = -np.sum((grid[:, None] - tops) ** 2, axis=-1)
    found = interpolated_shift(values.astype(np.float32), grid)
    np.testing.assert_allclose(found, tops, atol=1e-5)


def test_at_the_end_of_the_range_the_last_trial_is_taken():
    grid = shift_grid(1, 1, 1)
    values = -np.sum((grid[:, None] - [[3.0, 0.2]]) ** 2, axis=-1)
    found = interpolated_shift(values.astype(np.float32), grid)
    np.testing.assert_allclose(found, [[1, 0.2]], atol=1e-5)


# ------------------------------------------------------------------ truth recovered
def found_alignment(
    reference: np.ndarray, image: np.ndarray, start: np.ndarray
) -> Alignment:
    """Align one image, searched around ``start``, as the programs do."""
    rows = spectra(image, centres=start[None])[None]
    operand = operand_at(spectra(reference), SHIFTS)
    angle, mirror, _ = search(operand, rows, len(SHIFTS))
    offset = best_shift(operand, rows, angle, mirror, SHIFTS)
    turned = from_centre(angle[0, 0], start, mirror[0, 0])
    return turned._replace(shift=turned.shift + flip(mirror[0, 0], offset[0, 0]))


def object_moved_back(truth: Alignment) -> np.ndarray:
    """Return the image that an alignment makes the reference of."""
    return render(BOX, moved(invert(truth), BALANCED))


REFERENCE = render(BOX, BALANCED)
ON_THE_GRID = [
    (40, (0, 0), False),
    (40, (0, 0), True),
    (123.75, (2, -1), False),
    (250, (-1.5, 2.5), True),
]


@pytest.mark.parametrize(("degrees", "shift", "mirror"), ON_THE_GRID)
def test_search_recovers_an_alignment_whose_shift_is_a_trial(degrees, shift, mirror):
    truth = alignment(degrees, shift, mirror)
    found = found_alignment(REFERENCE, object_moved_back(truth), np.zeros(2))
    assert found.mirror == mirror
    assert degrees_apart(found.angle, truth.angle) < 0.05
    np.testing.assert_allclose(centre(found), centre(truth), atol=0.01)


@pytest.mark.parametrize(("degrees", "shift", "mirror"), ON_THE_GRID)
def test_search_tells_which_trial_shift_is_best(degrees, shift, mirror):
    truth = alignment(degrees, shift, mirror)
    operand = operand_at(spectra(REFERENCE), SHIFTS)
    rows = spectra(object_moved_back(truth))[None]
    _, _, index = search(operand, rows, len(SHIFTS))
    np.testing.assert_array_equal(SHIFTS[index[0, 0]], flip(mirror, truth.shift))


def test_search_recovers_random_alignments_around_a_start():
    """The angle is that of the best trial, up to 1/4 pixel off, hence not exact.

    Searched again around the centre found, it is.
    """
    rng = np.random.default_rng(1)
    for _ in range(20):
        truth = alignment(
            rng.uniform(0, 360), rng.uniform(-3, 3, 2), rng.random() < 0.5
        )
        image = object_moved_back(truth)
        start = centre(truth) + rng.uniform(-1.5, 1.5, 2)
        found = found_alignment(REFERENCE, image, start)
        assert found.mirror == truth.mirror
        assert degrees_apart(found.angle, truth.angle) < 1
        np.testing.assert_allclose(centre(found), centre(truth), atol=0.05)
        again = found_alignment(REFERENCE, image, centre(found))
        assert degrees_apart(again.angle, truth.angle) < 0.1
        np.testing.assert_allclose(centre(again), centre(truth), atol=0.01)
        points = CHIRAL[:, :2]
        np.testing.assert_allclose(
            apply(again, points), apply(truth, points), atol=0.03
        )


def test_without_a_choice_of_shift_angles_are_found_too():
    rng = np.random.default_rng(2)
    truth = Alignment(
        rng.uniform(0, 2 * np.pi, 30), np.zeros((30, 2)), rng.random(30) < 0.5
    )
    images = [object_moved_back(Alignment(*one)) for one in zip(*truth, strict=True)]
    operand = correlation_operand(spectra(REFERENCE))[None]
    angle, mirror, shift = search(operand, spectra(*images)[None], 1)
    assert degrees_apart(angle[0], truth.angle).max() < 0.05
    np.testing.assert_array_equal(mirror[0], truth.mirror)
    assert not shift.any()


@pytest.mark.parametrize(("degrees", "nearest"), [(8, 0), (97, 90), (175, 180)])
@pytest.mark.parametrize("mirror", [False, True])
def test_discrete_angles_are_multiples_of_their_step(degrees, nearest, mirror):
    image = object_moved_back(alignment(degrees, (0, 0), mirror))
    operand = correlation_operand(spectra(REFERENCE))[None]
    angle, hand, _ = search(operand, spectra(image)[None], 1, np.pi / 2)
    assert degrees_apart(angle, np.radians(nearest)) < 1e-4
    assert hand[0, 0] == mirror


def test_trials_do_not_see_each_other():
    rows = np.stack([random_spectra(s, 8, 5, 7) for s in (1, 2, 3)])
    references = np.stack([random_spectra(s, 8, 5, 4) for s in (4, 5, 6)])
    together = search(correlation_operand(references), rows, 4)
    for t in range(3):
        alone = search(correlation_operand(references[t])[None], rows[t : t + 1], 4)
        for both, one in zip(together, alone, strict=True):
            np.testing.assert_allclose(both[t], one[0], atol=1e-5)


# ------------------------------------------------------------------ scores
def brute_force(references: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Evaluate every rotation and both hands of every pair directly."""
    a, b = complex_orders(images), complex_orders(references)
    angles = np.arange(2 * len(a)) * (np.pi / len(a))
    phases = np.exp(1j * np.arange(len(a))[:, None] * angles)
    hands = [
        np.einsum("mjn,mjr,ma->arn", a, other, phases).real for other in (b.conj(), b)
    ]
    return np.maximum(*hands).max(axis=0)


def test_best_scores_are_the_maxima_of_all_rotations_and_hands():
    images, references = random_spectra(1, 6, 4, 20), random_spectra(2, 6, 4, 5)
    scores = best_scores(correlation_operand(references), images, 1)
    np.testing.assert_allclose(scores, brute_force(references, images), rtol=1e-4)


def test_best_scores_take_the_best_of_a_reference_s_shifts():
    images, references = random_spectra(3, 6, 4, 20), random_spectra(4, 6, 4, 15)
    scores = best_scores(correlation_operand(references), images, 3)
    expected = brute_force(references, images).reshape(5, 3, 20).max(axis=1)
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


@pytest.mark.parametrize(("n", "references"), [(1, 1), (130, 7), (300, 31)])
def test_best_scores_do_not_depend_on_how_work_is_cut(n, references):
    images = random_spectra(5, 4, 3, n)
    rows = random_spectra(6, 4, 3, 9 * references)
    scores = best_scores(correlation_operand(rows), images, 9)
    assert scores.shape == (references, n)
    expected = brute_force(rows, images).reshape(references, 9, n).max(axis=1)
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_an_image_scores_highest_with_itself_however_it_lies():
    objects = [CHIRAL, CHIRAL[[0, 2, 3, 4]], CHIRAL[[1, 2, 4, 5]]]
    references = spectra(*(render(BOX, blobs) for blobs in objects))
    turned = [
        render(BOX, moved(alignment(100 * k + 7, (0, 0), k % 2 == 1), blobs))
        for k, blobs in enumerate(objects)
    ]
    scores = best_scores(correlation_operand(references), spectra(*turned), 1)
    np.testing.assert_allclose(np.diag(scores), 1, atol=0.01)
    assert np.all(scores[~np.eye(3, dtype=bool)] < 0.95)


# ------------------------------------------------------------------ averages
def test_the_average_of_aligned_images_is_the_object():
    rng = np.random.default_rng(7)
    truth = Alignment(
        rng.uniform(0, 2 * np.pi, 12), rng.normal(0, 2, (12, 2)), rng.random(12) < 0.5
    )
    rows = spectra(
        *(object_moved_back(Alignment(*one)) for one in zip(*truth, strict=True)),
        centres=centre(truth),
    )
    angle = truth.angle[None].astype(np.float32)
    mean = average(rows[None], angle, truth.mirror[None])[0]
    np.testing.assert_allclose(mean, spectra(REFERENCE)[..., 0], atol=5e-3)


def test_the_average_is_the_mean_of_turned_and_conjugated_orders():
    rows = np.stack([random_spectra(s, 5, 4, 9) for s in (8, 9)])
    rng = np.random.default_rng(10)
    steps = rng.integers(0, 2048, (2, 9))  # angles of the table of phases
    angle = (steps * (2 * np.pi / 2048)).astype(np.float32)
    mirror = rng.random((2, 9)) < 0.5
    mean = average(rows, angle, mirror)
    for t in range(2):
        numbers = complex_orders(rows[t])
        turned = numbers * np.exp(1j * np.arange(10)[:, None, None] * angle[t])
        turned = np.where(mirror[t], turned.conj(), turned)
        found = complex_orders(mean[t][..., None])[..., 0]
        np.testing.assert_allclose(found, turned.mean(axis=-1), atol=1e-4)


def test_taking_an_image_out_of_its_average_is_leaving_it_out():
    n = 12
    rows = np.stack([random_spectra(s, 6, 4, n) for s in (11, 12)])
    rng = np.random.default_rng(13)
    angle = rng.uniform(0, 2 * np.pi, (2, n)).astype(np.float32)
    mirror = rng.random((2, n)) < 0.5
    gain = rng.uniform(0.2, 1, (2, 4)).astype(np.float32)
    weight = gain[:, None, None, None, :]
    own = own_terms(self_products(rows, gain), angle, mirror)
    mean = average(rows, angle, mirror) * weight
    found = search(correlation_operand(mean[..., None]), rows, 1, own=own)
    held = search(correlation_operand(mean[..., None]), rows, 1)
    changed = 0
    for i in range(n):
        others = np.delete(np.arange(n), i)
        left = average(rows[..., others], angle[:, others], mirror[:, others]) * weight
        one = search(correlation_operand(left[..., None]), rows[..., i : i + 1], 1)
        assert degrees_apart(found[0][:, i], one[0][:, 0]).max() < 0.05
        np.testing.assert_array_equal(found[1][:, i], one[1][:, 0])
        changed += np.sum(degrees_apart(held[0][:, i], one[0][:, 0]) > 1)
    assert changed > n  # in noise, an image finds itself if it may


# ------------------------------------------------------------------ signal and noise
def test_the_mean_of_unrelated_images_is_noise_alone():
    rows = random_spectra(14, 40, 5, 50)
    mean = rows.mean(axis=-1)
    power = np.einsum("pmcj,pmcj->j", mean, mean)
    np.testing.assert_allclose(noise_power(rows), power, rtol=0.4)
    np.testing.assert_allclose(signal_share(mean, noise_power(rows)), 0.1, atol=0.2)


def test_the_mean_of_equal_images_is_signal_but_for_one_share():
    rows = np.repeat(random_spectra(15, 6, 5, 1), 20, axis=-1)
    share = signal_share(rows.mean(axis=-1), noise_power(rows))
    np.testing.assert_allclose(share, 1 - 1 / 20, rtol=1e-4)


def test_an_empty_average_has_no_signal():
    share = signal_share(np.zeros((2, 4, 2, 3)), np.zeros(3))
    assert np.all((share >= 0.1) & (share <= 1))
