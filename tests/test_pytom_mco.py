import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.options import Mco, McoExmx
from cryokin.parallel import Team
from cryokin.partition.agreement import adjusted_rand_index
from cryokin.subtomo import mco
from cryokin.subtomo.courses import best_course, course, starts
from cryokin.subtomo.pose_errors import correct
from simulated import simulate

EXMX = {"iterations": 20, "end_threshold": 0.0, "leave_one_out": True}


@pytest.fixture(scope="module")
def particles():
    return simulate((50, 25), noise=1.0, difference=2.0)


@pytest.fixture(scope="module", params=["likelihood", "correlation"])
def model(request, particles):
    return mco.model(correct(particles.rows()), request.param)


def slow_correlations(model, labels, nclass):
    """The definition, particle by particle, every class summed anew without it."""
    n = len(model)
    w = np.repeat(model.w, 2, axis=1).astype(float)
    y, noise = model.y.astype(float), model.noise.astype(float)

    def average(members, size):
        weight = (w[members] ** 2).sum(0)
        divisor = np.maximum(weight, 0.05 * size)
        return (w * y)[members].sum(0) / divisor, noise * weight / divisor**2

    found = np.full((n, nclass), -np.inf)
    for i in range(n):
        common, of_all = average(np.ones(n, bool), n)
        least = 0.5 * (w[i] ** 2 * (common**2 - of_all) / noise).sum()
        energy = (y[i] ** 2 / noise).sum()
        for c in range(nclass):
            others = (labels == c) & (np.arange(n) != i)
            if not others.any():
                continue
            a, v = average(others, (labels == c).sum())
            norm = (w[i] ** 2 * (a**2 - v) / noise).sum()
            norm = max(norm, least, 1e-3 * energy)
            product = (w[i] * y[i] * a / noise).sum()
            found[i, c] = np.clip(product / np.sqrt(energy * norm), -1, 1)
    return found


def slow_likelihoods(model, labels, nclass):
    """The definition: class averages of the others scatter about a common volume."""
    n = len(model)
    w = np.repeat(model.w, 2, axis=1).astype(float)
    y = model.y / np.sqrt(model.noise)
    classes = [c for c in range(nclass) if (labels == c).any()]
    sums = np.array([(w * y)[labels == c].sum(0) for c in classes])
    weights = np.array([(w**2)[labels == c].sum(0) for c in classes])
    total = np.maximum(weights.sum(0), 0.05)
    mean, tiny = sums.sum(0) / total, 1e-9
    squares = (weights * (sums / np.maximum(weights, tiny) - mean) ** 2).sum(0)
    room = weights.sum(0) - (weights**2).sum(0) / total
    known = np.maximum((weights > 0).sum(0) - 1, 0)
    between = np.zeros(y.shape[1])
    for shell in np.unique(model.shell):
        of = model.shell == shell
        free = known[of].sum()
        above = squares[of].sum() - free
        error = np.sqrt(2 * free / model.occupancy)
        between[of] = max(above, 0.5 * error) / max(room[of].sum(), 0.05)
    gains = np.full((n, nclass), -np.inf)

    def log_likelihood(i, volume):
        return -((y[i] - w[i] * volume) ** 2).sum() / 2

    for i in range(n):
        rest = np.arange(n) != i
        everything = (w * y)[rest].sum(0) / np.maximum((w**2)[rest].sum(0), 0.05)
        there = [c for c in classes if (rest & (labels == c)).any()]
        a, v = [], []
        for c in there:
            others = rest & (labels == c)
            weight = np.maximum((w**2)[others].sum(0), tiny)
            a.append((w * y)[others].sum(0) / weight)
            v.append(1 / weight)
        trust = 1 / (np.array(v) + between)
        common = (trust * a).sum(0) / np.maximum(trust.sum(0), 0.05)
        for c, average, noise in zip(there, a, v, strict=True):
            drawn = common + between / (between + noise) * (average - common)
            gains[i, c] = log_likelihood(i, drawn) - log_likelihood(i, everything)
    gains *= model.occupancy
    share = np.full(nclass, 1 / nclass)
    for _ in range(5000):  # the sizes at which the likelihood is highest
        parts = share * np.exp(gains - gains.max(1, keepdims=True))
        share = (parts / parts.sum(1, keepdims=True)).sum(0) + 1
        share /= share.sum()
    return gains + np.log(share)


def test_scores_are_their_definition(model):
    labels = mco.random_start(len(model), 3, 0, 0)
    labels[labels == 2] = np.where(np.arange((labels == 2).sum()) == 0, 2, 0)
    by_likelihood = model.score == "likelihood"
    slow = slow_likelihoods if by_likelihood else slow_correlations
    np.testing.assert_allclose(
        mco.scores(model, labels, 4), slow(model, labels, 4), rtol=2e-3, atol=2e-3
    )


@pytest.mark.parametrize("noise", [1.0, 3.0, 6.0])
def test_no_iteration_makes_the_objective_lower(noise):
    """Unless a class was lost."""
    for score in ("likelihood", "correlation"):
        some = simulate((50, 25), noise=noise, difference=2.0, turn=0.1, shift=0.8)
        model = mco.model(correct(some.rows()), score)
        for k in range(4):
            start = mco.random_start(len(model), 3, 0, k)
            went = list(mco.exmx_iterations(model, start, 3, 60, 0.0, True))
            objectives = [mco.compare(model, start, 3)[1].mean()]
            objectives += [one.objective for one in went]
            # Who is alone in a class has to leave it.
            left = [len(np.unique(one.labels)) for one in went]
            kept = np.diff([3, *left]) == 0
            assert (np.diff(objectives)[kept] >= 0).all()
            assert went[-1].changed[-1] == 0  # it came to rest
            again = mco.compare(model, went[-1].labels, 3)[1]
            np.testing.assert_array_equal(went[-1].fits, again)


def test_what_components_found_counts_unless_another_start_is_decidedly_better():
    rng = np.random.default_rng(0)
    first = rng.normal(0, 1, 100)
    by_chance = first + rng.normal(0.1, 1, 100)
    decided = first + rng.normal(0.5, 1, 100)
    assert mco.best_start([first, by_chance], informed=True) == 0
    assert mco.best_start([first, by_chance], informed=False) == 1
    assert mco.best_start([first, by_chance, decided], informed=True) == 2


def test_classes_of_noise_explain_no_particle():
    """The likelihood of the others' averages is no higher than that of all."""
    model = mco.model(correct(simulate((80,), noise=6.0).rows()))
    found = [
        mco.compare(model, mco.random_start(len(model), 4, 0, k), 4)[1].mean()
        for k in range(4)
    ]
    assert max(found) < 0.05


@pytest.mark.parametrize("counts", [(54, 6), (30, 30)])
def test_the_true_classes_are_likelier_than_one(counts):
    """Also where one of them is so large that the average of all is nearly its own."""
    some = simulate(counts, noise=1.5, difference=2.0)
    model = mco.model(correct(some.rows()))
    true = mco.compare(model, some.labels, 2)
    one = mco.compare(model, np.zeros(len(model), np.intp), 1)
    np.testing.assert_allclose(one[1], 0, atol=1e-3)
    assert true[1].mean() > 0.5
    assert (mco.assign(true[0], some.labels) == some.labels).mean() > 0.9


def test_classes_are_found_from_random_starts(model, particles):
    starts = [mco.random_start(len(model), 2, 1, s) for s in range(6)]
    found = mco.best_of(model, starts, 2)
    index = adjusted_rand_index(found.best.labels, particles.labels)
    assert index > 0.85
    assert found.agreement[found.start] == 1
    assert found.best.changed[-1] == 0


def test_the_truth_stays(model, particles):
    found = mco.exmx(model, particles.labels, 2)
    assert adjusted_rand_index(found.labels, particles.labels) > 0.85


def test_without_leaving_one_out_particles_stay_where_they_are(particles):
    noisy = mco.model(correct(simulate((40, 40), noise=6.0).rows()), "correlation")
    start = mco.random_start(len(noisy), 2, 0, 0)
    glued = mco.exmx(noisy, start, 2, leave_one_out=False)
    free = mco.exmx(noisy, start, 2)
    assert glued.changed[0] < 0.1 < free.changed[0]


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_sizes_are_told_by_likelihoods_not_by_counts(share):
    """Of gains as two Gaussians have them, whatever most of the particles fit best."""
    rng = np.random.default_rng(3)
    n, apart = 4000, 1.0
    second = np.arange(n) < share * n
    gain = apart * (rng.normal(size=n) + np.where(second, apart, -apart) / 2)
    found = mco.proportions(np.stack([np.zeros(n), gain], axis=1))
    assert found[1] == pytest.approx(share, abs=0.04)
    counted = np.mean(gain > 0)
    assert abs(counted - share) > abs(found[1] - share) or share == 0.5


def test_a_large_class_does_not_swallow_a_small_one_of_the_same_weak_signal():
    """Half the particles, few of them, much noise: the start that is right stays."""
    right = []
    for seed in range(4):
        weak = simulate((20, 20), noise=3.0, difference=2.0, seed=seed)
        model = mco.model(correct(weak.rows()))
        found = mco.exmx(model, weak.labels, 2).labels
        table = np.bincount(2 * found + weak.labels, minlength=4)
        right.append(max(table[0] + table[3], table[1] + table[2]))
    assert np.mean(right) > 33


def test_no_correlation_with_a_class_of_few_is_beyond_1():
    """The norm of an average of one or two particles is mostly that of their noise."""
    model = mco.model(correct(simulate((40, 40), noise=6.0).rows()), "correlation")
    for first in range(0, 20, 2):
        labels = np.zeros(len(model), np.intp)
        labels[first : first + 2] = 1
        assert np.abs(mco.scores(model, labels, 2)).max() <= 1


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


def test_who_is_in_no_class_joins_the_best():
    """Also the last one, which the index -1 would mean."""
    scores = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])
    found = mco.assign(scores, np.array([-1, -1, -1]))
    assert found.tolist() == [1, 0, 0]


def test_classes_of_some_particles_are_a_start_for_all(model, particles):
    truth = particles.labels
    some = np.where(np.arange(len(truth)) % 3 == 0, -1, truth)
    went = course(model, some, McoExmx.some({**EXMX, "nclass": 2}))
    assert went.labels[0].tolist() == some.tolist()
    best, _ = best_course([went], 2)
    assert (best.labels[0] == -1).tolist() == (some == -1).tolist()
    assert adjusted_rand_index(best.labels[-1], truth) > 0.8


def test_several_classes_of_the_list_are_one_start():
    some = {"start_from": "cpca", "starts": 3, "nclass": 2, "rand_seed": 0}
    options = Mco.some(some)
    of_cpca, several = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    found = starts(options, 4, of_cpca, several)
    assert len(found) == 4
    np.testing.assert_array_equal(found[0], of_cpca)
    np.testing.assert_array_equal(found[-1], several)
    of_one = starts(options, 4, of_cpca, np.zeros(4, int))
    assert [sorted(one) for one in of_one] == [[0, 0, 1, 1]] * 4
    too_many = starts(options, 4, of_cpca, np.arange(4))
    np.testing.assert_array_equal(too_many, of_one)
