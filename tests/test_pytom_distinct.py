import numpy as np
import pytest

from cryokin.files import write_json
from cryokin.options.subtomograms import MANY_CLASSES
from cryokin.parallel import Team
from cryokin.partition.agreement import adjusted_rand_index
from cryokin.subtomo import distinct, mco, told
from cryokin.subtomo.pose_errors import correct, removed, share_in_poses
from cryokin.volume import euler
from simulated import blob, maps, simulate


def classified(particles, nclass, seed=1):
    """Return the model, and classes as numerous as are asked for."""
    model = mco.model(correct(particles.rows()))
    start = distinct.by_components(model, nclass, seed)
    labels = mco.exmx(model, start, nclass).labels
    names, labels = np.unique(labels, return_inverse=True)
    return model, labels, len(names)


@pytest.mark.slow
@pytest.mark.parametrize("nclass", [2, 6])
@pytest.mark.parametrize(
    ("counts", "noise", "number"),
    [((120,), 1.0, 1), ((120,), 1e3, 1), ((60, 60), 1.0, 2), ((108, 12), 0.7, 2)],
)
def test_as_many_are_distinct_as_there_are(nclass, counts, noise, number):
    """However many classes are asked for; also where one in ten is of the second."""
    particles = simulate(counts, noise=noise, difference=2.5)
    model, labels, count = classified(particles, nclass)
    found = distinct.distinct(model, labels, count, 1)
    assert found.number == number
    assert len(found.groups) == count
    if number > 1:
        index = adjusted_rand_index(found.groups[labels], particles.labels)
        assert index > 0.9


def test_auto_is_enough_for_eight_structures():
    body, _ = maps()
    corners = np.array(np.meshgrid(*[[-2.5, 2.5]] * 3)).reshape(3, -1).T
    shown = [body - 2.5 * blob(corner, 1.8) for corner in corners]
    particles = simulate((25,) * 8, noise=0.5, truth=shown)
    model, labels, count = classified(particles, MANY_CLASSES)
    found = distinct.distinct(model, labels, count, 1)
    assert found.number == 8
    assert adjusted_rand_index(found.groups[labels], particles.labels) > 0.9


def test_classes_of_the_wedge_are_not_distinct():
    """Halves agree on them as on others."""
    particles = simulate((60, 60), noise=0.7, difference=2.5)
    model, labels, count = classified(particles, 2)
    axes = np.where(particles.labels[:, None] == 1, [1.0, 0, 0], [0, 0, 1.0])
    axes = axes + 0.1 * np.random.default_rng(0).normal(size=axes.shape)
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    by_wedge = distinct.distinct(model, labels, count, 1, directions=axes)
    assert by_wedge.number == 1
    mixed = np.random.default_rng(0).permutation(axes)
    assert distinct.distinct(model, labels, count, 1, directions=mixed).number == 2


def test_ranks_do_not_matter():
    class Backwards(Team):
        def map(self, function, items):
            return [function(item) for item in list(items)[::-1]][::-1]

    model, labels, count = classified(simulate((40, 20)), 3)
    one = distinct.distinct(model, labels, count, 1)
    other = distinct.distinct(model, labels, count, 1, Backwards())
    assert one.agreement == other.agreement


def test_one_class_is_distinct_from_nothing():
    model = mco.model(correct(simulate((10,)).rows()))
    found = distinct.distinct(model, np.zeros(10, np.intp), 1, 1)
    assert found.groups.tolist() == [0]


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ([0, 1, 2], "All 3 classes are distinct"),
        ([0, 1, 0], "2 of 3 classes are distinct"),
        ([0, 0, 0], "None of the 3 classes is distinct"),
    ],
)
def test_sentences(tmp_path, groups, words):
    table = {"classes": [0, 1, 2], "groups": groups, "pose_share": [0.1, 0.4, 0.2]}
    write_json(tmp_path / "differences.json", table)
    first, second = told.run_sentences(tmp_path)
    assert first.startswith(words)
    assert "class 1" in second and "40%" in second and "keep" in second
    write_json(tmp_path / "differences.json", table | {"pose_share": [0, 0.001, 0]})
    assert told.run_sentences(tmp_path) == [first]
    assert told.run_sentences(tmp_path / "none") == []


def test_classes_that_do_not_differ_are_named():
    table = {"classes": [0, 1, 4], "groups": [0, 1, 0]}
    assert told.same_as(table) == {0: ["4"], 1: [], 4: ["0"]}


@pytest.mark.parametrize(("shift", "low", "high"), [(0.0, 0.0, 0.2), (1.0, 0.7, 1.0)])
def test_a_class_that_is_a_shift_is_told(shift, low, high):
    """Of classes that differ in another way, hardly anything looks like a shift."""
    differs = 0.0 if shift else 2.5
    particles = simulate((40, 40), noise=0.7, difference=differs)
    particles.shifts[particles.labels == 1] += particles.rotations[
        particles.labels == 1
    ] @ [shift, 0, 0]
    corrected = correct(particles.rows())
    shares = share_in_poses(corrected, corrected.amounts, particles.labels)
    assert low <= shares[0] <= high
    assert shares[0] == pytest.approx(shares[1])


def test_what_was_removed_is_the_step_and_what_was_fitted_then():
    rng = np.random.default_rng(1)
    given = euler.from_vector(rng.normal(0, 1, (5, 3)))
    turn, step = rng.normal(0, 0.02, (5, 3)), rng.normal(0, 1, (5, 3))
    refined = given @ euler.from_vector(turn)
    shifts = np.einsum("nij,nj->ni", given, step)
    found = removed((given, np.zeros((5, 3))), (refined, shifts), np.ones((5, 7)))
    np.testing.assert_allclose(found[:, :3], step + 1, atol=1e-9)
    np.testing.assert_allclose(found[:, 3:6], turn + 1, atol=1e-4)
    assert (found[:, 6] == 1).all()
