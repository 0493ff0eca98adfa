import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.pytom import merge
from cryokin.pytom.runs import average_correlations, emptied, merge_classes

BLOCKS = 0.1 + np.kron(np.eye(2), [[0.9, 0.7], [0.7, 0.9]])


def test_heights_are_distances_of_classes():
    np.testing.assert_allclose(merge.tree(BLOCKS)[:, 2], [0.2, 0.2, 0.9])


def test_the_manuals_recipe():
    heights = merge.tree(BLOCKS, manual_compat=True)[:, 2]
    np.testing.assert_allclose(heights, [0.28284271, 0.28284271, 1.61245155])


@pytest.mark.parametrize("manual_compat", [False, True])
def test_cuts(manual_compat):
    tree = merge.tree(BLOCKS, manual_compat=manual_compat)
    assert merge.cut_by_number(tree, 1).tolist() == [0, 0, 0, 0]
    assert merge.cut_by_number(tree, 2).tolist() == [0, 0, 1, 1]
    assert merge.cut_by_number(tree, 4).tolist() == [0, 1, 2, 3]
    assert merge.cut_by_height(tree, 0.5).tolist() == [0, 0, 1, 1]
    assert merge.cut_by_height(tree, 2.0).tolist() == [0, 0, 0, 0]


def test_groups_are_numbered_as_their_classes():
    order = [2, 0, 3, 1]
    tree = merge.tree(BLOCKS[np.ix_(order, order)])
    assert merge.cut_by_number(tree, 2).tolist() == [0, 1, 0, 1]


def test_two_identical_classes():
    tree = merge.tree(np.ones((2, 2)))
    assert tree[0, 2] == 0
    assert merge.cut_by_height(tree, 0.01).tolist() == [0, 0]


def test_merging_keeps_every_particle():
    labels = np.array([0, 3, 2, -1, 1, 0])
    merged = merge.merged(labels, np.array([0, 1, 0, 1]))
    assert merged.tolist() == [0, 1, 0, -1, 1, 0]


def test_groups_of_the_user():
    groups = {"state1": [0, 2], "state2": ["1"]}
    found = merge.user_groups(groups, ["0", "1", "2", "3"])
    assert found == {"0": "state1", "2": "state1", "1": "state2"}


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: merge.user_groups({"a": [7]}, ["0"]), "class 7 of a does not exist"),
        (lambda: merge.user_groups({"a": [0], "b": [0]}, ["0"]), "in a and in b"),
        (lambda: merge.tree(np.ones((1, 1))), "1 class cannot be merged"),
        (lambda: merge.cut_by_number(merge.tree(BLOCKS), 5), "5 groups"),
    ],
)
def test_refuses_what_cannot_be(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()


@pytest.mark.parametrize("how", [{"number": 3}, {"number": 2}, {"height": 0.5}])
@pytest.mark.parametrize("n", [1, 2])
def test_classes_that_are_few_already_stay(n, how):
    """Classes may have emptied before they are merged."""
    options = {"linkage": "average", "manual_compat": False}
    found = merge_classes(np.eye(n), options | how, list("ab")[:n])
    assert found.groups.tolist() == list(range(n))
    assert len(found.tree) == n - 1


def test_one_class_correlates_with_itself():
    volume = np.random.default_rng(0).normal(size=(8, 8, 8))
    options = {"mask": {"sphere": {"radius": 3, "edge": 1}}, "lowpass": 4}
    found = average_correlations([volume], options | {"highpass": 0})
    assert found.tolist() == [[1]]
    with pytest.raises(InputError, match="there is no class"):
        average_correlations([], options | {"highpass": 0})


def test_classes_that_emptied_are_told():
    assert emptied(np.array([0, 1, -1, 2]), 3) == []
    (sentence,) = emptied(np.array([0, 0, 1]), 8)
    assert sentence.startswith("2 of nclass = 8 classes are left")
