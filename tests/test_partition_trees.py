import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.options import Cpca
from cryokin.partition import trees
from cryokin.partition.agreement import adjusted_rand_index
from cryokin.partition.labels import emptied
from cryokin.subtomo.class_tree import average_correlations, merge_classes

BLOCKS = 0.1 + np.kron(np.eye(2), [[0.9, 0.7], [0.7, 0.9]])


def test_heights_are_distances_of_classes():
    np.testing.assert_allclose(trees.tree(BLOCKS)[:, 2], [0.2, 0.2, 0.9])


def test_the_manuals_recipe():
    heights = trees.tree(BLOCKS, manual_compat=True)[:, 2]
    np.testing.assert_allclose(heights, [0.28284271, 0.28284271, 1.61245155])


def split_classes(sizes, truth, difference, seed=0, m=400):
    """Sums of ``w y`` and ``w^2`` of pure classes of two structures."""
    rng = np.random.default_rng(seed)
    apart = difference * rng.normal(size=m)
    weight = rng.uniform(0.6, 0.9, (len(sizes), m)) * sizes[:, None]
    mean = apart * truth[:, None] + rng.normal(size=weight.shape) / np.sqrt(weight)
    return mean * weight, weight, np.ones(m)


@pytest.mark.parametrize("seed", range(4))
def test_pure_classes_of_few_particles_are_merged_rightly(seed):
    """Correlations of their averages tell how small they are, not what they show."""
    sizes = np.array([40, 34, 25, 21, 18, 13, 8, 6, 5, 4, 3, 3, 2, 9, 7, 5, 3])
    truth = np.array([0] * 13 + [1] * 4)
    signal, weight, emphasis = split_classes(sizes, truth, 0.6, seed)
    tree = trees.significance_tree(signal, weight, emphasis)
    found = trees.cut_by_number(tree, 2)
    assert adjusted_rand_index(found, truth) == 1
    assert (np.diff(tree[:, 2]) >= 0).all()
    assert tree[-1, 2] > 5 > tree[-2, 2]
    by_correlation = trees.tree(np.corrcoef(signal / weight))
    wrong = trees.cut_by_number(by_correlation, 2)
    assert adjusted_rand_index(wrong, truth) < 0.9


def test_a_difference_is_counted_in_deviations_of_its_noise():
    sizes, truth = np.full(201, 10), np.zeros(201)
    signal, weight, emphasis = split_classes(sizes, truth, 0.0)
    none = trees.differences(signal, weight, emphasis, 1.0)
    # All are compared with one class, whose noise they have in common.
    assert none.std() == pytest.approx(1, abs=0.3)
    quarter = trees.differences(signal, weight, emphasis, 0.25)
    np.testing.assert_allclose(quarter, none / 2)


def test_classes_that_saw_nothing_in_common_do_not_differ():
    weight = np.array([[5.0, 5, 0, 0], [0, 0, 5, 5]])
    found = trees.differences(7 * weight, weight, np.ones(4), 1.0)
    assert found.tolist() == [0.0]


@pytest.mark.parametrize("manual_compat", [False, True])
def test_cuts(manual_compat):
    tree = trees.tree(BLOCKS, manual_compat=manual_compat)
    assert trees.cut_by_number(tree, 1).tolist() == [0, 0, 0, 0]
    assert trees.cut_by_number(tree, 2).tolist() == [0, 0, 1, 1]
    assert trees.cut_by_number(tree, 4).tolist() == [0, 1, 2, 3]
    assert trees.cut_by_height(tree, 0.5).tolist() == [0, 0, 1, 1]
    assert trees.cut_by_height(tree, 2.0).tolist() == [0, 0, 0, 0]


def test_groups_are_numbered_as_their_classes():
    order = [2, 0, 3, 1]
    tree = trees.tree(BLOCKS[np.ix_(order, order)])
    assert trees.cut_by_number(tree, 2).tolist() == [0, 1, 0, 1]


def test_two_identical_classes():
    tree = trees.tree(np.ones((2, 2)))
    assert tree[0, 2] == 0
    assert trees.cut_by_height(tree, 0.01).tolist() == [0, 0]


def test_groups_of_the_user():
    groups = {"state1": [0, 2], "state2": ["1"]}
    found = trees.user_groups(groups, ["0", "1", "2", "3"])
    assert found == {"0": "state1", "2": "state1", "1": "state2"}


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: trees.user_groups({"a": [7]}, ["0"]), "class 7 of a does not exist"),
        (lambda: trees.user_groups({"a": [0], "b": [0]}, ["0"]), "in a and in b"),
        (lambda: trees.tree(np.ones((1, 1))), "1 class cannot be merged"),
        (
            lambda: trees.significance_tree(np.ones((1, 3)), np.ones((1, 3)), 1.0),
            "1 class cannot be merged",
        ),
        (lambda: trees.cut_by_number(trees.tree(BLOCKS), 5), "5 groups"),
    ],
)
def test_refuses_what_cannot_be(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()


@pytest.mark.parametrize("how", [{"number": 3}, {"number": 2}, {"height": 0.5}])
@pytest.mark.parametrize("n", [1, 2])
def test_classes_that_are_few_already_stay(n, how):
    """Classes may have emptied before they are merged."""
    joined = trees.tree(np.eye(n)) if n > 1 else np.empty((0, 4))
    found = merge_classes(joined, how, list("ab")[:n])
    assert found.groups.tolist() == list(range(n))
    assert len(found.tree) == n - 1


def test_one_class_correlates_with_itself():
    volume = np.random.default_rng(0).normal(size=(8, 8, 8))
    some = {"mask": {"sphere": {"radius": 3, "edge": 1}}, "lowpass": 4, "highpass": 0}
    options = Cpca.some(some)
    found = average_correlations([volume], options)
    assert found.tolist() == [[1]]
    with pytest.raises(InputError, match="there is no class"):
        average_correlations([], options)


def test_classes_that_emptied_are_told():
    assert emptied(np.array([0, 1, -1, 2]), 3) == []
    (sentence,) = emptied(np.array([0, 0, 1]), 8)
    assert sentence.startswith("2 of nclass = 8 classes are left")


@pytest.mark.parametrize("n", [0, 1, 2])
def test_a_tour_of_few_is_their_own_order(n):
    assert list(trees.tour(np.ones((n, n)))) == list(range(n))
