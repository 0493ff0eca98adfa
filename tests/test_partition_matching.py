"""Matching is exact, and blind to the names of classes."""

from itertools import permutations

import numpy as np
import pytest

from cryokin.partition.matching import label_tuples, match, unique


def partitions_of(counts: dict[tuple[int, ...], int]) -> np.ndarray:
    """Return partitions in which so many items carry each combination of labels."""
    return np.array([t for t, count in counts.items() for _ in range(count)]).T


def random_partitions(
    seed: int, n_partitions: int, n_classes: int, n_items: int, none: float = 0.2
) -> np.ndarray:
    """Return partitions that agree in part; some items have no class."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, n_items)
    labels = np.stack([rng.permutation(n_classes)[truth] for _ in range(n_partitions)])
    other = rng.random(labels.shape) < 0.4
    labels[other] = rng.integers(0, n_classes, other.sum())
    labels[rng.random(labels.shape) < none] = -1
    return labels


def best_by_trial(labels: np.ndarray, smallest: int, n_classes: int) -> int:
    """Return the largest number of matched items over all ways to pair classes."""
    table = np.zeros((n_classes,) * len(labels), int)
    np.add.at(table, tuple(labels[:, np.all(labels >= 0, axis=0)]), 1)
    table[table < smallest] = 0
    rows = np.arange(n_classes)

    def best(columns: tuple[tuple[int, ...], ...]) -> int:
        if len(columns) == len(labels) - 1:
            return int(table[(rows, *map(list, columns))].sum())
        return max(best((*columns, p)) for p in permutations(range(n_classes)))

    return best(())


def total(matches: list) -> int:
    return sum(len(m.members) for m in matches)


WORKED = {(0, 0, 0): 5, (0, 1, 0): 4, (1, 0, 1): 4, (1, 1, 1): 1}


@pytest.mark.parametrize("smallest", [1, 2, 4])
def test_the_worked_example_beats_the_greedy_choice(smallest):
    found = match(partitions_of(WORKED), smallest)
    assert [m.classes for m in found] == [(0, 1, 0), (1, 0, 1)]
    assert total(found) == 8


@pytest.mark.parametrize(
    ("n_partitions", "n_classes", "seeds"), [(2, 5, 12), (3, 4, 12), (4, 3, 12)]
)
@pytest.mark.parametrize("smallest", [1, 4])
def test_the_matching_is_the_best_of_all(n_partitions, n_classes, seeds, smallest):
    for seed in range(seeds):
        labels = random_partitions(seed, n_partitions, n_classes, 150)
        found = match(labels, smallest)
        assert total(found) == best_by_trial(labels, smallest, n_classes)


@pytest.mark.parametrize("n_partitions", [2, 3, 4])
def test_no_class_is_used_twice_and_members_carry_its_labels(n_partitions):
    labels = random_partitions(50, n_partitions, 8, 1500)
    found = match(labels, 3)
    assert len(found) > 2
    for column in np.array([m.classes for m in found]).T:
        assert len(set(column)) == len(found)
    for m in found:
        carriers = np.all(labels == np.array(m.classes)[:, None], axis=0)
        np.testing.assert_array_equal(m.members, np.flatnonzero(carriers))
        assert len(m.members) >= 3
    assert [m.classes for m in found] == sorted(m.classes for m in found)


@pytest.mark.parametrize("n_partitions", [2, 3, 4])
def test_a_match_of_just_the_smallest_size_counts(n_partitions):
    labels = np.zeros((n_partitions, 10), int)
    assert total(match(labels, 10)) == 10
    assert match(labels, 11) == []


@pytest.mark.parametrize("n_partitions", [2, 3, 4])
def test_equal_partitions_match_whole_whatever_the_names(n_partitions):
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 12, 500)
    names = [rng.permutation(12) for _ in range(n_partitions)]
    found = match(np.stack([name[truth] for name in names]), 1)
    assert len(found) == 12
    assert total(found) == 500
    for m in found:
        assert len(set(truth[m.members])) == 1


@pytest.mark.parametrize("n_partitions", [2, 3, 4])
def test_names_of_classes_and_order_of_partitions_do_not_matter(n_partitions):
    """With weights that make the best matching the only one."""
    rng = np.random.default_rng(2)
    labels = random_partitions(3, n_partitions, 6, 3000)
    before = {tuple(m.members) for m in match(labels, 5)}
    names = [np.append(rng.permutation(6), -1) for _ in labels]
    renamed = np.stack([name[row] for name, row in zip(names, labels, strict=True)])
    assert {tuple(m.members) for m in match(renamed, 5)} == before
    assert {tuple(m.members) for m in match(labels[::-1], 5)} == before


def test_items_of_no_class_are_in_no_match():
    labels = np.array([[0, 0, 0, -1], [0, 0, -1, 0], [0, 0, 0, 0]])
    (found,) = match(labels, 1)
    np.testing.assert_array_equal(found.members, [0, 1])
    assert match(np.full((3, 9), -1), 1) == []
    assert match(np.empty((3, 0), int), 1) == []


def test_combinations_are_counted_in_full():
    labels = partitions_of(WORKED)
    found = {m.classes: len(m.members) for m in label_tuples(labels, 1)}
    assert found == WORKED
    assert {m.classes for m in label_tuples(labels, 4)} == {
        t for t, count in WORKED.items() if count >= 4
    }


def test_large_matchings_are_exact_to_the_item():
    """One item in 50 000 decides; the solver must not stop a little short of it."""
    counts = {
        (0, 0, 0): 25_000,
        (1, 1, 1): 25_000,
        (0, 1, 0): 25_001,
        (1, 0, 1): 25_000,
        (0, 0, 1): 3,
        (1, 1, 0): 2,
    }
    assert total(match(partitions_of(counts), 1)) == 50_001


# ------------------------------------------------------------------ the same class
def members(first: int, stop: int) -> np.ndarray:
    return np.arange(first, stop)


def are_the_same(a: np.ndarray, b: np.ndarray) -> bool:
    """The rule: more than 0.45 of their mean size in common."""
    return len(set(a) & set(b)) > 0.45 * (len(a) + len(b)) / 2


@pytest.mark.parametrize(("first", "kept"), [(11, 2), (10, 1)])
def test_more_than_the_share_in_common_is_the_same_class(first, kept):
    """Of 20 members 9 in common, 0.45, are not enough, 10 are."""
    other = members(first, first + 20)
    assert are_the_same(members(0, 20), other) == (kept == 1)
    assert len(unique([[members(0, 20)], [other]])) == kept


def test_a_class_of_two_lists_is_kept_once_and_comes_first():
    alone, twice = members(0, 20), members(40, 60)
    blocks = [[alone, twice], [members(42, 62)], [members(100, 120)]]
    assert unique(blocks) == [(0, 1), (0, 0), (2, 0)]


def test_classes_that_do_not_overlap_are_all_kept_also_of_the_last_list():
    blocks = [[members(0, 20)], [members(20, 40)], [members(40, 60), members(60, 80)]]
    assert unique(blocks) == [(0, 0), (1, 0), (2, 0), (2, 1)]


def test_classes_of_one_list_are_never_the_same():
    assert unique([[members(0, 20), members(0, 20)]]) == [(0, 0), (0, 1)]


def test_tiny_classes_are_left_out():
    assert unique([[members(0, 4), members(10, 15)], [members(0, 4)]]) == [(0, 1)]
    assert unique([[], []]) == []


def test_every_class_is_kept_or_the_same_as_one_that_is():
    rng = np.random.default_rng(4)
    blocks = [
        [np.sort(rng.choice(60, rng.integers(3, 30), False)) for _ in range(6)]
        for _ in range(4)
    ]
    kept = unique(blocks)
    assert len(set(kept)) == len(kept)
    for b, block in enumerate(blocks):
        for i, found in enumerate(block):
            twins = [
                (c, j) for c, j in kept if c != b and are_the_same(blocks[c][j], found)
            ]
            assert len(found) < 5 or (b, i) in kept or twins
    for b, i in kept:
        for c, j in kept:
            if b < c:
                assert not are_the_same(blocks[b][i], blocks[c][j])
