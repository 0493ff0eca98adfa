"""Averages that are left after others were deleted say which classes are kept."""

import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.io.eman_hdf import read_headers, read_images, write_images
from cryokin.isac.selected import read_kept

MEMBERS = ([3, 4, 8], [1], [0, 2, 9, 11], [5, 6])


@pytest.fixture
def averages(tmp_path):
    path = tmp_path / "class_averages.hdf"
    pixels = np.random.default_rng(0).normal(size=(len(MEMBERS), 8, 8))
    headers = [{"members": m, "n_objects": len(m)} for m in MEMBERS]
    write_images(path, pixels, headers)
    return path


def save_some(averages, name, which, **changes):
    """Save some averages as e2display.py does, with all their attributes."""
    pixels, headers = read_images(averages)
    path = averages.with_name(name)
    own = [{"members": headers[i]["members"], "source_n": i} | changes for i in which]
    write_images(path, pixels[list(which)], own)
    return path


@pytest.mark.parametrize("which", [(0,), (2, 0), (3, 1, 2)])
def test_the_averages_that_are_left_are_kept(averages, which):
    path = save_some(averages, "select1.hdf", which)
    selection = read_kept(path, "demo", read_headers(averages))
    assert selection.keep == tuple(sorted(i + 1 for i in which))
    assert selection.merge == ()


def test_averages_of_another_run_are_refused(averages):
    headers = read_headers(averages)
    other = save_some(averages, "other.hdf", (0, 1), members=[3, 4])
    with pytest.raises(InputError, match=r"other\.hdf: image 0 is not among the 4"):
        read_kept(other, "demo", headers)
    twice = save_some(averages, "twice.hdf", (1, 1))
    with pytest.raises(InputError, match=r"twice\.hdf: image 1 is twice among"):
        read_kept(twice, "demo", headers)
    write_images(averages.with_name("bare.hdf"), np.ones((1, 8, 8)), [{}])
    with pytest.raises(InputError, match=r"bare\.hdf: image 0 is not among"):
        read_kept(averages.with_name("bare.hdf"), "demo", headers)


def test_a_selection_in_yaml_is_read_likewise(averages):
    path = averages.with_name("demo.yaml")
    path.write_text("run: demo\nkeep: [1, 4]\nmerge: [[4, 1]]\n")
    selection = read_kept(path, "demo", read_headers(averages))
    assert selection.keep == (1, 4)
    assert selection.merge == ((4, 1),)
    path.write_text("run: demo\nkeep: [1, 5]\n")
    with pytest.raises(InputError, match="classes 1 to 4"):
        read_kept(path, "demo", read_headers(averages))
