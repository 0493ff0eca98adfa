"""Equal-size assignment is the greedy rule, however the images are shared out."""

import numpy as np
import pytest

from cryokin.isac.assignment import assign_equal_size
from cryokin.parallel import Team
from ranks import on_ranks


def greedy(scores: np.ndarray) -> np.ndarray:
    """The rule as it is told, on all pairs: (n_classes, n_images) -> class of each.

    The best pair of an open class and a free image, again and again; a class closes
    when it is full; the last one open takes the rest.
    """
    n_classes, n_images = scores.shape
    room = np.full(n_classes, n_images // n_classes)
    labels = np.full(n_images, -1)
    for pair in np.argsort(-scores, axis=None, kind="stable"):
        k, i = divmod(int(pair), n_images)
        if labels[i] < 0 and room[k]:
            labels[i] = k
            room[k] -= 1
            if np.count_nonzero(room) == 1 and not room[k]:
                room[room > 0] += n_images % n_classes
    return labels


def assigned(scores: np.ndarray, size: int = 1) -> np.ndarray:
    n = scores.shape[1]
    labels = on_ranks(
        size, lambda team: assign_equal_size(team, scores[:, team.mine(n)], n)[0]
    )
    for other in labels[1:]:
        np.testing.assert_array_equal(other, labels[0])
    return labels[0]


def problems(number: int):
    """Random scores without ties; some classes are wanted by all, as in reality."""
    rng = np.random.default_rng(1)
    for _ in range(number):
        n_classes = int(rng.integers(1, 9))
        n_images = int(rng.integers(n_classes, 60))
        scores = rng.normal(size=(n_classes, n_images))
        yield scores + rng.uniform(0, 3) * rng.normal(size=(n_classes, 1))


def test_the_worked_example():
    scores = np.array([[9, 8, 7, 1, 1], [6, 5, 8, 2, 3.0]])
    np.testing.assert_array_equal(assigned(scores), [0, 0, 1, 1, 1])
    np.testing.assert_array_equal(greedy(scores), [0, 0, 1, 1, 1])


def test_equals_the_greedy_rule():
    for scores in problems(200):
        np.testing.assert_array_equal(assigned(scores), greedy(scores))


def test_sizes_are_equal_but_for_the_rest_in_one_class():
    for scores in problems(50):
        n_classes, n_images = scores.shape
        sizes = np.sort(np.bincount(assigned(scores), minlength=n_classes))
        each, rest = divmod(n_images, n_classes)
        np.testing.assert_array_equal(sizes[:-1], each)
        assert sizes[-1] == each + rest


def test_the_order_of_images_and_classes_does_not_matter():
    rng = np.random.default_rng(2)
    for scores in problems(50):
        labels = assigned(scores)
        images = rng.permutation(scores.shape[1])
        np.testing.assert_array_equal(assigned(scores[:, images]), labels[images])
        classes = rng.permutation(scores.shape[0])
        np.testing.assert_array_equal(classes[assigned(scores[classes])], labels)


@pytest.mark.parametrize("size", [2, 3, 7])
def test_ranks_agree_with_one_process(size):
    for scores in problems(20):
        np.testing.assert_array_equal(assigned(scores, size), assigned(scores))


def test_ranks_agree_when_scores_are_equal():
    rng = np.random.default_rng(3)
    for _ in range(20):
        scores = rng.integers(0, 3, (4, 30)).astype(np.float32)
        labels = assigned(scores)
        np.testing.assert_array_equal(assigned(scores, 3), labels)
        np.testing.assert_array_equal(np.sort(np.bincount(labels)), [7, 7, 7, 9])


def test_a_rank_may_have_no_images():
    def work(team: Team) -> np.ndarray:
        share = scores if team.rank == 1 else scores[:, :0]
        return assign_equal_size(team, share, scores.shape[1])[0]

    scores = next(problems(1))
    for labels in on_ranks(3, work):
        np.testing.assert_array_equal(labels, greedy(scores))


def test_no_pair_would_rather_be_together():
    """Stable: whoever prefers another class finds it full of better images."""
    for scores in problems(50):
        labels = assigned(scores)
        own = scores[labels, np.arange(len(labels))]
        counts = np.bincount(labels, minlength=len(scores))
        for k, row in enumerate(scores):
            if counts[k] == scores.shape[1] // scores.shape[0]:
                worst = row[labels == k].min()
                assert not np.any((row > own) & (row > worst))
