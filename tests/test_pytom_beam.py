import numpy as np
import pytest

from cryokin.files import write_json
from cryokin.subtomo import beam, told


def directions(n, seed=0):
    found = np.random.default_rng(seed).normal(size=(n, 3))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def by_angle(views, n_classes):
    """Classes of equal size by the angle of the beam and an axis that is no cell's."""
    angle = np.abs(views @ np.array([0.48, 0.6, 0.64]))
    return np.argsort(np.argsort(angle)) * n_classes // len(views)


@pytest.mark.parametrize("n", [60, 400])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_classes_of_the_wedge_are_told_apart(n, n_classes):
    views = directions(n)
    of_wedge = by_angle(views, n_classes)
    found = beam.follows_beam(views, of_wedge)
    assert found[0].only and found[n_classes - 1].only
    chance = np.random.default_rng(1).permutation(of_wedge)
    for one in beam.follows_beam(views, chance).values():
        assert not one.only and abs(one.share) < 0.2


def test_filaments_turned_about_their_axis():
    """The beam goes all round them; classes are halves of the circle, twice each."""
    turn = np.random.default_rng(2).uniform(0, 2 * np.pi, 200)
    views = np.stack([np.cos(turn), np.sin(turn), np.zeros(200)], axis=1)
    labels = (np.sin(2 * turn + 0.4) > 0).astype(int)
    assert all(one.only for one in beam.follows_beam(views, labels).values())


def test_a_direction_and_its_opposite_are_one():
    views = directions(120)
    labels = by_angle(views, 2)
    signs = np.where(np.random.default_rng(3).random((120, 1)) < 0.5, -1, 1)
    assert beam.follows_beam(views * signs, labels) == beam.follows_beam(views, labels)


def test_a_real_class_beside_one_of_the_wedge_stays():
    views = directions(300)
    labels = by_angle(views, 2)
    real = np.random.default_rng(4).random(300) < 0.3
    labels[real] = 2
    kept, sizes = beam.without_wedge(labels, views)
    assert set(np.unique(kept)) == {-1, 2}
    assert sum(sizes) == np.count_nonzero(~real)


def test_a_preferred_side_alone_is_no_class():
    """All particles seen from nearly one side: nothing follows from that."""
    views = np.array([0, 0, 1]) + 0.2 * directions(200)
    views /= np.linalg.norm(views, axis=1, keepdims=True)
    labels = np.random.default_rng(5).integers(0, 2, 200)
    assert not any(one.only for one in beam.follows_beam(views, labels).values())


def test_one_class_and_none_do_not_follow_anything():
    views = directions(20)
    assert beam.follows_beam(views, np.zeros(20, int)) == {0: beam.Beam(0.0, 1.0)}
    assert beam.follows_beam(views, np.full(20, -1)) == {}


def test_what_is_said_at_the_end(tmp_path):
    assert told.run_sentences(tmp_path) == []
    classes = [{"name": str(c), "only_wedge": c < 2} for c in range(3)]
    write_json(tmp_path / "classes.json", {"classes": classes})
    write_json(tmp_path / "reproducible.json", {"only_wedge": [30, 12]})
    first, second = told.run_sentences(tmp_path)
    assert first.startswith("Classes 0, 1 may be nothing but the missing wedge")
    assert second.startswith("42 particles are unaccounted")
