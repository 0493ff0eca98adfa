import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.partition.agreement import adjusted_rand_index
from cryokin.subtomo import annealing, mco
from cryokin.subtomo.pose_errors import correct
from simulated import simulate

N = 40_000
T = 0.1


def frequencies(labels, nclass):
    return np.bincount(labels, minlength=nclass) / len(labels)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ((0.6, 0.5), (0.632121, 0.367879)),
        ((0.5, 0.6), (0, 1)),
        ((0.6, 0.5, 0.4), (0.546572, 0.367879, 0.085548)),
        ((0.4, 0.5, 0.6), (0, 0, 1)),
        ((0.5, 0.6, 0.4), (0, 0.864665, 0.135335)),
        ((0.5, 0.4, 0.6), (0, 0, 1)),
    ],
)
def test_pytoms_scan_has_pytoms_probabilities(scores, expected):
    table = np.tile(scores, (N, 1))
    found = annealing.pytom_scan(table, np.zeros(N, int), T, np.random.default_rng(1))
    error = 4 * np.sqrt(np.array(expected) * (1 - np.array(expected)) / N) + 1e-9
    assert (np.abs(frequencies(found.labels, len(scores)) - expected) <= error).all()


@pytest.mark.parametrize("move", [annealing.metropolis, annealing.heat_bath])
def test_moves_leave_boltzmanns_distribution_as_it_is(move):
    scores = np.array([0.5, 0.6, 0.35])
    share = np.exp(scores / T) / np.exp(scores / T).sum()
    rng = np.random.default_rng(2)
    labels = rng.choice(3, N, p=share)
    for _ in range(3):
        labels = move(np.tile(scores, (N, 1)), labels, T, rng).labels
        error = 4 * np.sqrt(share * (1 - share) / N)
        assert (np.abs(frequencies(labels, 3) - share) < error).all()


@pytest.mark.parametrize("move", [annealing.metropolis, annealing.heat_bath])
def test_moves_reach_boltzmanns_distribution_from_anywhere(move):
    scores = np.array([0.5, 0.6, 0.35])
    share = np.exp(scores / T) / np.exp(scores / T).sum()
    rng = np.random.default_rng(2)
    labels = np.full(N, 2)
    for _ in range(60):
        labels = move(np.tile(scores, (N, 1)), labels, T, rng).labels
    np.testing.assert_allclose(frequencies(labels, 3), share, atol=0.012)


def test_cold_moves_go_up_and_hot_ones_anywhere():
    rng = np.random.default_rng(0)
    scores = np.tile([0.1, 0.9, 0.5], (N, 1))
    assert (annealing.heat_bath(scores, np.zeros(N, int), 0, rng).labels == 1).all()
    cold = annealing.metropolis(scores, np.ones(N, int), 0, rng)
    assert (cold.labels == 1).all()
    assert not cold.worse.any()
    hot = annealing.heat_bath(scores, np.zeros(N, int), 1e9, rng)
    np.testing.assert_allclose(frequencies(hot.labels, 3), 1 / 3, atol=0.012)


def test_a_class_that_is_none_is_never_entered():
    scores = np.tile([0.1, -np.inf, 0.5], (2000, 1))
    rng = np.random.default_rng(0)
    for move in annealing.MOVES.values():
        assert (move(scores, np.zeros(2000, int), 10.0, rng).labels != 1).all()


def test_threshold_accepts_small_losses_only():
    scores = np.tile([0.5, 0.45], (100, 1))
    rng = np.random.default_rng(0)
    zeros = np.zeros(100, int)
    assert (annealing.threshold(scores, zeros, 0.1, rng).labels == 1).all()
    assert (annealing.threshold(scores, zeros, 0.01, rng).labels == 0).all()


def test_the_temperature_counts_in_the_spread_of_the_scores():
    scores = np.random.default_rng(0).normal(size=(50, 3))
    labels = np.zeros(50, int)
    drawn = []
    for a, b in ((1, 0), (7, -3)):
        table = a * scores + b
        now = annealing.effective_temperature(table, 1.5)
        drawn.append(annealing.draw(table, labels, now, 1, (0,)).labels)
    np.testing.assert_array_equal(*drawn)


@pytest.mark.parametrize(
    ("start", "step", "rounds"),
    [(1, 1, 1), (1, 0.1, 10), (1, 0.33, 4), (2, 1, 2), (0.3, 0.1, 3)],
)
def test_the_schedule_has_no_extra_round(start, step, rounds):
    temperatures = annealing.schedule(start, step)
    assert len(temperatures) == rounds
    assert min(temperatures) > 0


def test_a_schedule_must_fall():
    with pytest.raises(InputError, match="temperature_step = 0"):
        annealing.schedule(1, 0)


def test_classes_are_kept_while_a_draw_can_keep_them():
    scores = np.tile([1.0, 0.9], (6, 1))
    labels = np.array([0, 0, 0, 1, 1, 1])
    for seed in range(20):
        found = annealing.draw(scores, labels, 0.05, seed, (0,), "heat_bath", 2)
        assert len(np.unique(found.labels)) == 2


def test_annealing_remembers_the_best_and_repeats_itself():
    particles = simulate((40, 20), noise=1.0, difference=2.0)
    model = mco.model(correct(particles.rows()))
    start = mco.random_start(len(model), 2, 3, 0)
    states = annealing.anneal(model, start, 2, 2.0, 1.0, 3)
    best = [state.best.objective for state in states]
    assert len(states) == 2
    assert (np.diff(best) >= 0).all()
    assert adjusted_rand_index(states[-1].best.labels, particles.labels) > 0.85
    again = annealing.anneal(model, start, 2, 2.0, 1.0, 3)
    np.testing.assert_array_equal(states[-1].labels, again[-1].labels)
