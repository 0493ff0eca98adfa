import numpy as np
import pytest

from cryokin.options import McoExmx
from cryokin.parallel import Team
from cryokin.partition.agreement import adjusted_rand_index
from cryokin.subtomo import mco
from cryokin.subtomo.courses import best_course, course, refilled
from cryokin.subtomo.distinct import distinct
from cryokin.subtomo.pose_errors import correct
from cryokin.subtomo.splitting import halves, split
from simulated import blob, maps, simulate

NUMBER = 4
OPTIONS = {"nclass": NUMBER, "iterations": 20, "end_threshold": 0.0}
OPTIONS |= {"leave_one_out": True}


@pytest.fixture(scope="module")
def particles():
    body, _ = maps()
    lost = [(2.5, 2.5, 2.5), (-2.5, 2.5, -2.5), (2.5, -2.5, -2.5), (-2.5, -2.5, 2.5)]
    shown = [body - 2.5 * blob(place, 1.8) for place in lost]
    return simulate((30, 25, 20, 15), noise=0.7, truth=shown)


@pytest.fixture(scope="module")
def model(particles):
    return mco.model(correct(particles.rows()))


class Backwards(Team):
    def map(self, function, items):
        return [function(item) for item in list(items)[::-1]][::-1]


def test_structures_that_share_a_class_come_apart(model, particles):
    """However many do, where as many classes are empty; on any ranks the same."""
    options = McoExmx.some(OPTIONS)
    for start in (np.minimum(particles.labels, 2), np.zeros(len(model), np.intp)):
        stuck = course(model, start, options)
        assert len(np.unique(stuck.labels[-1])) < NUMBER
        best, told = best_course(
            [stuck], NUMBER, further=lambda went: refilled(model, went, options)
        )
        assert adjusted_rand_index(best.labels[-1], particles.labels) > 0.95
        assert np.all(np.diff(best.objective) >= -1e-9)
        assert told["objectives"] == [best.objective[-1]]
        assert len(told["iterations"]) == len(best.labels) - 1
        other = refilled(model, stuck, options, Backwards())
        one = refilled(model, stuck, options)
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.objective, other.objective)


@pytest.mark.parametrize("noise", [1.0, 1e3])
def test_parts_of_one_structure_and_of_noise_are_not_distinct(noise):
    """They are as many as are asked for, as always; but halves do not find them."""
    model = mco.model(correct(simulate((120,), noise=noise).rows()))
    options = McoExmx.some(OPTIONS)
    went = refilled(model, course(model, np.zeros(120, np.intp), options), options)
    names, labels = np.unique(went.labels[-1], return_inverse=True)
    assert distinct(model, labels, len(names), 1).number == 1


def test_only_an_empty_class_is_filled(model, particles):
    truth = particles.labels
    assert split(model, truth, NUMBER) is truth
    np.testing.assert_array_equal(split(model, truth, NUMBER + 1), truth)


@pytest.mark.parametrize("score", ["correlation", "likelihood"])
def test_what_gains_by_fewer_members_is_no_reason(particles, score):
    model = mco.model(correct(particles.rows()), score)
    options = McoExmx.some(OPTIONS | {"leave_one_out": score == "correlation"})
    went = course(model, np.minimum(particles.labels, 2), options)
    assert refilled(model, went, options) is went


def test_halves_are_two_structures(model, particles):
    pair = np.flatnonzero(particles.labels < 2)
    found = halves(model.take(pair))
    assert adjusted_rand_index(found, particles.labels[pair]) > 0.9
