import numpy as np
import pytest

from cryokin.partition.agreement import adjusted_rand_index
from cryokin.subtomo import annealing, ccc, mco, reproducible
from cryokin.subtomo.pose_errors import correct, refine
from ranks import on_ranks
from simulated import simulate


def test_classes_of_a_clear_difference_are_reproduced():
    particles = simulate((60, 40), noise=0.7, difference=2.5)
    model = mco.model(correct(particles.rows()))
    found = reproducible.classify(model, 2, 1)
    accounted = found.labels >= 0
    assert accounted.mean() > 0.8
    index = adjusted_rand_index(found.labels[accounted], particles.labels[accounted])
    assert index > 0.95


def test_what_runs_agree_on_among_few_particles_is_right():
    """Each run has seen but twenty of them."""
    right = accounted = 0
    for seed in range(3):
        weak = simulate((20, 20), noise=1.3, difference=2.0, seed=seed)
        found = reproducible.classify(mco.model(correct(weak.rows())), 2, 1)
        kept = found.labels >= 0
        accounted += kept.sum()
        table = np.bincount(2 * found.labels[kept] + weak.labels[kept], minlength=4)
        right += max(table[0] + table[3], table[1] + table[2])
    assert accounted > 60
    assert right > 0.9 * accounted


@pytest.mark.parametrize("nclass", [2, 3])
def test_nothing_is_reproduced_in_noise(nclass):
    particles = simulate((100,), noise=1e3)
    model = mco.model(correct(particles.rows()))
    found = reproducible.classify(model, nclass, 1)
    assert (found.labels >= 0).mean() <= 0.1


def test_two_runs_in_turn_have_no_particle_in_common(monkeypatch):
    model = mco.model(correct(simulate((20, 11), noise=1.0).rows()))
    halves = []

    def learn(half, start, nclass, iterations):
        halves.append(half.y[:, 0].tolist())
        return mco.exmx(half, start, nclass, 1)

    monkeypatch.setattr(reproducible, "exmx", learn)
    for run in (0, 1):
        reproducible.independent_run(model, 2, 5, run)
    assert sorted(halves[0] + halves[1]) == sorted(model.y[:, 0].tolist())


def test_any_number_of_ranks_gives_the_same_bytes():
    particles = simulate((50, 30), noise=1.0, shift=0.3, turn=0.03)

    def work(team):
        refined = refine(particles.rows, particles.rotations, particles.shifts, 1, team)
        corrected = refined.corrected
        matrix = ccc.matrix(corrected.weighted(), corrected.w, team, 16)
        model = mco.model(corrected)
        starts = [mco.random_start(len(model), 2, 1, s) for s in range(3)]
        best = mco.best_of(model, starts, 2, 4, team=team).best
        states = annealing.anneal(model, best.labels, 2, 1.0, 0.5, 1)
        agreed = reproducible.classify(model, 2, 1, 3, team=team)
        parts = (refined.shifts, matrix, best.scores, states[-1].labels, agreed.labels)
        return b"".join(part.tobytes() for part in parts)

    alone = on_ranks(1, work)[0]
    for size in (2, 3):
        assert set(on_ranks(size, work)) == {alone}
