import numpy as np
import pytest

from cryokin.partition import agreement


@pytest.mark.parametrize(
    ("first", "second", "index"),
    [
        ([0, 0, 1, 1], [1, 1, 0, 0], 1.0),
        ([0, 0, 1, 1], [0, 1, 0, 1], -0.5),
        ([0, 0, 0, 0], [0, 0, 0, 0], 1.0),
        ([0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 1, 1], 4 / 9),
    ],
)
def test_adjusted_rand_index(first, second, index):
    found = agreement.adjusted_rand_index(np.array(first), np.array(second))
    assert found == pytest.approx(index, abs=1e-12)


def test_agreement_is_counted_from_chance():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 300)
    same = np.tile(truth, (4, 1))
    assert sum(len(m.members) for m in agreement.reproduced(same)) == 300
    assert agreement.reproduced(rng.integers(0, 3, (4, 300))) == []
    mixed = same.copy()
    mixed[:, truth != 0] = rng.integers(1, 3, (4, np.count_nonzero(truth)))
    (only,) = agreement.reproduced(mixed)
    np.testing.assert_array_equal(only.members, np.flatnonzero(truth == 0))


def test_share_is_of_the_mean_class_of_the_runs():
    runs = np.array([[0, 0, 0, 0, 1, 1], [2, 2, 2, 1, 1, 1]])
    labels = np.array([0, 0, 0, -1, 1, 1])
    np.testing.assert_allclose(agreement.shares(labels, runs), [3 / 3.5, 2 / 2.5])
    assert len(agreement.shares(np.full(6, -1), runs)) == 0


def test_agreement_is_counted_from_chance_to_complete():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 2, 4000)
    assert agreement.least_agreement(first, 1 - first, 2) == pytest.approx(1)
    by_chance = rng.integers(0, 2, 4000)
    assert abs(agreement.least_agreement(first, by_chance, 2)) < 0.05
