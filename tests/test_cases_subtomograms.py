"""Small sets from public reports: their classes come out, or a sentence does."""

import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.io.star import as_table
from cryokin.io.subtomograms import ORIGINS_A, ORIGINS_PIXEL, read_subtomograms
from cryokin.options import Cpca
from cryokin.parallel import Team
from cryokin.partition.agreement import adjusted_rand_index
from cryokin.subtomo.checks import look
from cryokin.subtomo.mco import best_of, model, random_start
from cryokin.subtomo.prepare import prepare

USUAL = (30.0, 30.0)
OPTIONS = {
    "mask": {"sphere": {"radius": 8, "edge": 2}},
    "focus_mask": None,
    "lowpass": 8,
    "highpass": 0.0,
    "binning": 1,
    "compat": "none",
    "pose_errors": "project",
    "pose_refinement": 0,
    "symmetry": None,
}


@pytest.fixture
def cases(shared, tmp_path, monkeypatch):
    folder = shared / "cases/subtomograms"
    if not folder.is_dir():
        pytest.skip("the inputs are not here")
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize(
    ("name", "wedge"),
    [
        ("21_relion/r5_half.star", None),  # CTF-premultiplied, weights of two slabs
        ("22_premult/sq.star", None),  # the same, divided by the root of the weight
        ("23_subtomorot/rot.star", USUAL),  # boxes that were cut out turned
        ("23_subtomorot/ctf.star", None),  # the same, with the wedges that they saw
    ],
)
def test_classes_come_out(cases, tmp_path, name, wedge):
    table = read_subtomograms(cases / name, wedge_angles=wedge)
    prepared, _ = prepare(table, Cpca.some(OPTIONS), Team(), tmp_path)
    made = model(prepared.corrected)
    starts = [random_start(len(table), 2, 0, i) for i in range(4)]
    truth = np.loadtxt((cases / name).with_name("truth.txt"), dtype=int)
    found = best_of(made, starts, 2).best.labels
    assert adjusted_rand_index(found, truth[: len(found)]) == 1


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("10_import/dyn6/complex.tbl", r"from 0 to 0 degrees \(ymintilt"),
        ("10_import/dyn6/zero.tbl", r"from 0 to 0 degrees \(ymintilt"),
        ("10_import/dyn6/ftype3.tbl", r"from 0 to 0 degrees \(xmintilt"),
        ("10_import/dyn6/nantomo.tbl", r"tomo \(column 20\) of particle 1 is nan"),
        ("11_senseless/infshift.xml", r"X of Shift of particle 4 \(p3\.em\) is 'inf'"),
        ("11_senseless/nanrot.xml", r"X of Rotation of particle 4 .* is 'nan'"),
        ("11_senseless/w_90.xml", "both angles .* are 90 degrees, so nothing"),
        ("11_senseless/w_95.xml", r"Angle1 .* is '95\.0'.* 0 to 90 degree"),
        ("11_senseless/w_neg.xml", r"Angle1 .* is '-60\.0'.* 0 to 90 degree"),
        ("21_relion/twopx.star", r"voxels of 10 A, and particle 2 of 12\.5 A"),
    ],
)
def test_what_cannot_be_meant_is_refused(cases, name, pattern):
    with pytest.raises(InputError, match=pattern) as caught:
        read_subtomograms(cases / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "wedge", "words"),
    [
        ("10_import/dyn5/crop.tbl", None, ""),
        ("10_import/dyn6/nancc.tbl", None, ""),
        ("10_import/dyn6/ftype2.tbl", None, "axis turned by 90 degrees"),
        ("11_senseless/hugeshift.xml", None, "lies outside of its box"),
        ("21_relion/r5.star", None, "relative to the centres of the tomograms"),
        ("21_relion/warp.star", None, ""),
        ("23_subtomorot/rot.star", USUAL, ""),
        ("23_subtomorot/rot.star", (60.0, 60.0), "90 degrees minus each angle"),
    ],
)
def test_what_is_odd_is_told_and_nothing_else(cases, name, wedge, words):
    table = read_subtomograms(cases / name, wedge_angles=wedge)
    told = look(table).warnings
    assert len(told) == bool(words)
    assert all(words in sentence for sentence in told)


def test_one_set_of_origins_comes_out(cases):
    """Those of Warp are in pixels, under the names that RELION had then."""
    table = read_subtomograms(cases / "21_relion/warp.star")
    moved = as_table(table.placed(table.rotations, table.shifts + 1).star["particles"])
    assert set(ORIGINS_PIXEL) <= set(moved)
    assert not set(ORIGINS_A) & set(moved)
    origins = moved[list(ORIGINS_PIXEL)].to_numpy(float)
    np.testing.assert_allclose(origins, -(table.shifts + 1), atol=1e-5)
