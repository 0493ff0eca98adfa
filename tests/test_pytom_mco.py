import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.parallel import Team
from cryokin.pytom import mco
from cryokin.pytom.pose_errors import correct
from cryokin.pytom.runs import best_course, course, starts
from simulated import simulate

EXMX = {"iterations": 20, "end_threshold": 0.0, "leave_one_out": True}


@pytest.fixture(scope="module")
def particles():
    return simulate((50, 25), noise=1.0, difference=2.0)


@pytest.fixture(scope="module", params=["likelihood", "correlation"])
def model(request, particles):
    return mco.model(correct(particles.rows()), request.param)


def slow_scores(model, labels, nclass):
    """The definition, particle by particle, every class summed anew without it."""
    n = len(model)
    out = np.full((n, nclass), -np.inf)
    w = np.repeat(model.w, 2, axis=1).astype(float)
    y, noise = model.y.astype(float), model.noise.astype(float)
    whole = [labels == c for c in range(nclass)]
    trust = np.ones((nclass, y.shape[1]))
    for c, members in enumerate(whole):
        size = max(members.sum(), 1)
        weight = (w[members] ** 2).sum(0)
        divisor = np.maximum(weight, 0.05 * size)
        a = (w * y)[members].sum(0) / divisor
        v = noise * weight / divisor**2
        if model.score == "likelihood":
            power = np.bincount(model.shell, a**2 / noise)
            part = 1 - np.bincount(model.shell, v / noise) / np.maximum(power, 1e-300)
            trust[c] = np.clip(part, 0.02, 1)[model.shell]
    for i in range(n):
        for c, members in enumerate(whole):
            others = members & (np.arange(n) != i)
            if not others.any():
                continue
            weight = (w[others] ** 2).sum(0)
            divisor = np.maximum(weight, 0.05 * members.sum())
            a = (w * y)[others].sum(0) / divisor
            v = noise * weight / divisor**2
            product = (trust[c] * w[i] * y[i] * a / noise).sum()
            norm = (trust[c] * w[i] ** 2 * (a**2 - v) / noise).sum()
            if model.score == "likelihood":
                out[i, c] = product - norm / 2 + np.log(others.sum() / (n - 1))
            else:
                energy = (y[i] ** 2 / noise).sum()
                out[i, c] = product / np.sqrt(energy * max(norm, 1e-3 * energy))
    return out


def test_scores_are_their_definition(model):
    labels = mco.random_start(len(model), 3, 0, 0)
    labels[labels == 2] = np.where(np.arange((labels == 2).sum()) == 0, 2, 0)
    np.testing.assert_allclose(
        mco.scores(model, labels, 4),
        slow_scores(model, labels, 4),
        rtol=2e-4,
        atol=2e-4,
    )


def test_classes_are_found_from_random_starts(model, particles):
    starts = [mco.random_start(len(model), 2, 1, s) for s in range(6)]
    found = mco.best_of(model, starts, 2)
    index = mco.adjusted_rand_index(found.best.labels, particles.labels)
    assert index > 0.85
    assert found.agreement[found.start] == 1
    assert found.best.changed[-1] == 0


def test_the_truth_stays(model, particles):
    found = mco.exmx(model, particles.labels, 2)
    assert mco.adjusted_rand_index(found.labels, particles.labels) > 0.85


def test_without_leaving_one_out_particles_stay_where_they_are(particles):
    noisy = mco.model(correct(simulate((40, 40), noise=6.0).rows()), "correlation")
    start = mco.random_start(len(noisy), 2, 0, 0)
    glued = mco.exmx(noisy, start, 2, leave_one_out=False)
    free = mco.exmx(noisy, start, 2)
    assert glued.changed[0] < 0.1 < free.changed[0]


def test_one_class_is_trivial(model):
    found = mco.exmx(model, np.zeros(len(model), np.intp), 1)
    assert found.changed == [0.0]
    assert (found.labels == 0).all()


def test_a_particle_alone_must_move(model):
    labels = np.zeros(len(model), np.intp)
    labels[3] = 1
    found = mco.scores(model, labels, 2)
    assert found[3, 1] == -np.inf
    assert mco.assign(found, labels)[3] == 0


def test_ties_leave_a_particle_where_it_is():
    scores = np.array([[1.0, 1, 0], [1, 1, 1], [0, 2, 2]])
    assert mco.assign(scores, np.array([1, 2, 0])).tolist() == [1, 2, 1]


def test_random_starts_are_balanced_and_reproducible():
    labels = mco.random_start(11, 3, 5, 2)
    assert sorted(np.bincount(labels)) == [3, 4, 4]
    np.testing.assert_array_equal(labels, mco.random_start(11, 3, 5, 2))
    assert (labels != mco.random_start(11, 3, 5, 3)).any()
    with pytest.raises(InputError, match="nclass = 12"):
        mco.random_start(11, 12, 0, 0)


def test_ranks_do_not_matter(model):
    class Backwards(Team):
        def map(self, function, items):
            return [function(item) for item in list(items)[::-1]][::-1]

    starts = [mco.random_start(len(model), 2, 1, s) for s in range(3)]
    one, other = (
        mco.best_of(model, starts, 2, 5),
        mco.best_of(model, starts, 2, 5, team=Backwards()),
    )
    np.testing.assert_array_equal(one.best.scores, other.best.scores)


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
    found = mco.adjusted_rand_index(np.array(first), np.array(second))
    assert found == pytest.approx(index, abs=1e-12)


def test_who_is_in_no_class_joins_the_best():
    """Also the last one, which the index -1 would mean."""
    scores = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])
    found = mco.assign(scores, np.array([-1, -1, -1]))
    assert found.tolist() == [1, 0, 0]


def test_classes_of_some_particles_are_a_start_for_all(model, particles):
    truth = particles.labels
    some = np.where(np.arange(len(truth)) % 3 == 0, -1, truth)
    went = course(model, some, {**EXMX, "nclass": 2})
    assert went.labels[0].tolist() == some.tolist()
    best, _ = best_course([went], 2)
    assert (best.labels[0] == -1).tolist() == (some == -1).tolist()
    assert mco.adjusted_rand_index(best.labels[-1], truth) > 0.8


def test_several_classes_of_the_list_are_one_start():
    options = {"start_from": "cpca", "starts": 3, "nclass": 2, "rand_seed": 0}
    of_cpca, several = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    found = starts(options, 4, of_cpca, several)
    assert len(found) == 4
    np.testing.assert_array_equal(found[0], of_cpca)
    np.testing.assert_array_equal(found[-1], several)
    of_one = starts(options, 4, of_cpca, np.zeros(4, int))
    assert [sorted(one) for one in of_one] == [[0, 0, 1, 1]] * 4
    too_many = starts(options, 4, of_cpca, np.arange(4))
    np.testing.assert_array_equal(too_many, of_one)
