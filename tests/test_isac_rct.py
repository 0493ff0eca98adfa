"""Pairs of tilted and untilted particles, and rows that remember their origin."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryokin.errors import InputError
from cryokin.image.geometry import Alignment, from_relion, to_relion
from cryokin.io.particles import ParticleTable
from cryokin.isac.rct import pairs, params_text
from cryokin.isac.selected import original_ids, subset


def table(name, **columns):
    n = len(next(iter(columns.values())))
    particles = pd.DataFrame({key: map(str, value) for key, value in columns.items()})
    particles["rlnOpticsGroup"] = "1"
    optics = pd.DataFrame({"rlnOpticsGroup": ["1"]})
    assert len(particles) == n
    return ParticleTable(particles, optics, Path(name))


def test_the_same_order_pairs_row_with_row():
    untilted, tilted = table("u.star", x=range(6)), table("t.star", x=range(6))
    found = pairs(untilted, np.array([1, 4]), tilted, None)
    assert list(found.members) == [0, 1]
    assert list(found.tilted) == [1, 4]


def test_a_subset_of_a_subset_is_paired_by_its_first_row():
    first = table("u.star", x=range(8))
    some = subset(first, [2, 3, 5, 7], "selected")
    fewer = subset(some, [1, 3], "class 2")
    assert list(original_ids(first)) == list(range(8))
    assert list(original_ids(some)) == [2, 3, 5, 7]
    assert list(original_ids(fewer)) == [3, 7]
    assert list(fewer.particles["x"]) == ["3", "7"]
    found = pairs(fewer, np.array([1]), table("t.star", x=range(8)), None)
    assert list(found.tilted) == [7]


def test_members_without_a_counterpart_are_left_out():
    untilted = table("u.star", pair=["a", "b", "c", "d"])
    tilted = table("t.star", pair=["d", "x", "a"])
    found = pairs(untilted, np.array([0, 1, 3]), tilted, "pair")
    assert list(found.members) == [0, 2]
    assert list(found.tilted) == [2, 0]


@pytest.mark.parametrize(
    ("tilted", "match", "words"),
    [
        (table("t.star", pair="abcde"), None, "holds 5 tilted particles"),
        (table("t.star", pair="abb"), "pair", "pair is b for several"),
        (table("t.star", pair="xyz"), "pair", "no value of pair is that of a member"),
        (table("t.star", other="abc"), "pair", "t.star: there is no column pair"),
        (table("t.star", other="abc"), "other", "u.star: there is no column other"),
    ],
)
def test_tables_that_do_not_belong_together_are_refused(tilted, match, words):
    with pytest.raises(InputError, match=words):
        pairs(table("u.star", pair="abcd"), np.array([0, 1]), tilted, match)


def test_no_rows_are_no_table():
    with pytest.raises(InputError, match=r"u.star: there is no unaccounted particle"):
        subset(table("u.star", x=[1]), [], "unaccounted")


def test_params_are_those_of_the_alignment():
    rng = np.random.default_rng(0)
    given = Alignment(
        rng.uniform(-7, 7, 5), rng.normal(0, 3, (5, 2)), rng.random(5) < 0.5
    )
    columns = np.array([line.split() for line in params_text(given).splitlines()])
    phi, sx, sy, mirror = columns.astype(float).T
    np.testing.assert_allclose(phi, np.degrees(given.angle) % 360, atol=1e-4)
    np.testing.assert_allclose(np.stack([sx, sy], axis=1), given.shift, atol=1e-4)
    np.testing.assert_array_equal(mirror, given.mirror)
    again = from_relion(*to_relion(given))
    for one, other in zip(params_text(again).split(), columns.ravel(), strict=True):
        assert abs(float(one) - float(other)) < 1e-4
