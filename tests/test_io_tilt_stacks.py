import mrcfile
import numpy as np
import pytest
import scipy.fft

from cryokin.errors import InputError
from cryokin.io.listed import files_behind
from cryokin.io.star import as_table, read_star, write_star
from cryokin.io.subtomograms import load, read_subtomograms
from cryokin.io.tilt_stacks import read_tilt_series
from cryokin.io.volumes import read_volume
from cryokin.options import Cpca
from cryokin.parallel import Team
from cryokin.subtomo import ccc
from cryokin.subtomo.checks import check_rules, look
from cryokin.subtomo.cpca import components
from cryokin.subtomo.prepare import prepare
from cryokin.volume import averages, euler, masks
from cryokin.volume.filters import frequencies, lowpass
from tilted import BOX, PIXEL, volume, write_set

OPTIONS = {
    "mask": {"sphere": {"radius": 9, "edge": 2}},
    "focus_mask": None,
    **{"lowpass": 8.0, "highpass": 0.0, "binning": 1, "symmetry": None},
    **{"compat": "none", "pose_errors": "keep", "pose_refinement": 0, "exact": False},
}


def average(table, ids=None):
    parts = averages.sums(
        table.read,
        range(len(table)) if ids is None else ids,
        *(table.rotations, table.shifts, table.wedges),
    )
    return averages.average(parts[0] + parts[1])


def agreement(a, b):
    a, b = (one - one.mean() for one in (a, b))
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


@pytest.mark.parametrize("premultiplied", [True, False])
@pytest.mark.parametrize("warp", [True, False])
def test_a_set_gives_the_structure_in_its_own_hand(tmp_path, premultiplied, warp):
    one = write_set(
        tmp_path / "set", n=8, warp=warp, premultiplied=premultiplied, noise=0.1
    )
    table = read_subtomograms(one.path)
    assert (len(table), table.box, table.pixel_size) == (8, BOX, PIXEL)
    np.testing.assert_allclose(table.rotations, one.rotations, atol=1e-6)
    np.testing.assert_allclose(table.shifts, one.shifts, atol=1e-6)
    found = average(table, np.flatnonzero(one.labels == 0))
    assert agreement(found, volume()) > 0.93
    assert agreement(found[::-1], volume()) < 0.8


def test_relion_and_warp_say_the_same(tmp_path):
    """Angles or matrices, centred or not, with or without images that show nothing."""
    tables = [
        read_subtomograms(write_set(tmp_path / str(warp), warp=warp).path)
        for warp in (True, False)
    ]
    first, second = (table.read(1) for table in tables)
    np.testing.assert_allclose(first.rotations, second.rotations, atol=1e-6)
    np.testing.assert_allclose(first.weight, second.weight, atol=1e-5)
    np.testing.assert_allclose(
        first.signal, second.signal, atol=1e-4 * np.abs(first.signal).max()
    )
    assert len(first.rotations) == 20


def test_a_box_may_lie_turned_in_the_tomogram(tmp_path):
    one = write_set(tmp_path / "set", n=8, turned_boxes=True)
    found = average(read_subtomograms(one.path), np.flatnonzero(one.labels == 0))
    assert agreement(found, volume()) > 0.93


@pytest.mark.parametrize("hand", [1.0, -1.0])
def test_depth_changes_the_defocus_by_the_hand(tmp_path, hand):
    """In the untilted image the defocus of a particle differs by its height."""
    one = write_set(tmp_path / "set", hand=hand)
    name = read_star(tmp_path / "set/particles.star")["particles"]["rlnTomoName"][0]
    series = read_tilt_series(tmp_path / "set/tomograms.star", [name])[name]
    flat = int(np.abs(series.rotations[:, 2, :2]).sum(axis=1).argmin())
    deep = np.array([300.0, -200.0, 5000.0])
    found = series.contrast(deep, BOX, PIXEL)[flat]
    series.defocus[:, :2] += hand * deep[2]
    np.testing.assert_allclose(
        found, series.contrast(np.zeros(3), BOX, PIXEL)[flat], atol=1e-5
    )
    assert one.path.is_file()


def test_classes_and_poses_are_written_back(tmp_path):
    one = write_set(tmp_path / "set")
    table = read_subtomograms(one.path)
    shifts = table.shifts + 0.25
    labels = np.array([0, 1, 0, -1])
    turned = table.rotations @ euler.matrix([0.0, 0.1, 0.0])
    table.placed(turned, shifts).classified(labels).write(tmp_path / "out")
    again = read_subtomograms(
        tmp_path / "out.star", tomograms=tmp_path / "set/tomograms.star"
    )
    np.testing.assert_allclose(again.shifts, shifts, atol=1e-6)
    np.testing.assert_allclose(again.rotations, turned, atol=1e-6)
    blocks = read_star(tmp_path / "out.star")
    flag = as_table(blocks["general"])["rlnTomoSubTomosAre2DStacks"]
    assert flag.tolist() == ["1"]
    before, after = one.blocks["particles"], blocks["particles"]
    changed = {"rlnImageName"} | {c for c in before if c.startswith("rlnAngle")}
    changed |= {c for c in before if c.startswith("rlnOrigin")}
    for column in set(before) - changed:
        assert after[column].tolist() == before[column].tolist()
    assert after["rlnClassNumber"].tolist() == ["1", "2", "1", "-1"]
    loaded = load(
        *(tmp_path / "out", BOX, PIXEL, table.weight_scale),
        str(tmp_path / "set/tomograms.star"),
    )
    np.testing.assert_array_equal(loaded.read(2).signal, table.read(2).signal)


def test_a_run_depends_on_all_that_the_set_names(tmp_path):
    one = write_set(tmp_path / "set")
    names = {path.name for path in files_behind(one.path)}
    assert names >= {"particles.star", "tomograms.star", "tilt_series.star", "0.mrcs"}


def test_images_are_looked_at(tmp_path):
    """A stack without contrast is left out; copies are told."""
    one = write_set(tmp_path / "set", noise=0.5)
    stacks = tmp_path / "set/stacks"
    (stacks / "3.mrcs").write_bytes((stacks / "1.mrcs").read_bytes())
    with mrcfile.open(stacks / "2.mrcs", "r+") as mrc:
        mrc.data[:] = 1
    found = look(read_subtomograms(one.path))
    assert [entry["id"] for entry in found.excluded] == [2]
    assert found.copies == [[1, 3]]


@pytest.mark.parametrize("hand", [1.0, -1.0])
def test_a_hand_that_is_not_that_of_the_images_is_told(tmp_path, hand):
    one = write_set(tmp_path / "set", noise=1.0, warp=True, hand=hand, depth=4000.0)
    assert not look(read_subtomograms(one.path)).warnings
    path = tmp_path / "set/tomograms.star"
    blocks = read_star(path)
    blocks["global"]["rlnTomoHand"] = str(-hand)
    write_star(path, blocks)
    (told,) = look(read_subtomograms(one.path)).warnings
    assert "see that rlnTomoHand has the right sign" in told


def test_prepared_particles_show_their_classes(tmp_path):
    one = write_set(tmp_path / "set", n=24, noise=0.5)
    table = read_subtomograms(one.path)
    made, _ = prepare(table, Cpca.some(OPTIONS), Team(), tmp_path)
    binned = {**OPTIONS, "binning": 1.5, "lowpass": 6.0, "pose_refinement": 1}
    (tmp_path / "binned").mkdir()
    smaller, _ = prepare(table, Cpca.some(binned), Team(), tmp_path / "binned")
    assert smaller.rows.band.box == (16, 16, 16)
    moved = np.linalg.norm(smaller.shifts - table.shifts, axis=1)
    assert 0 < np.median(moved) < 0.3
    for one_of in (made, smaller):
        matrix = ccc.matrix(one_of.corrected.weighted(), one_of.corrected.w)
        first = components(matrix, 1).coefficients[:, 0]
        split = (first > np.median(first)).astype(int)
        right = np.mean(split == one.labels)
        assert max(right, 1 - right) > 0.9


@pytest.mark.parametrize(
    ("table", "change", "sentence"),
    [
        ("tomograms", {"rlnTomoHand": "2"}, "rlnTomoHand of tomogram TS_01 is '2'"),
        ("tomograms", {"rlnTomoHand": "0.5"}, "expected 1 or -1"),
        ("tomograms", {"rlnTomoHand": None}, "no column rlnTomoHand"),
        ("tomograms", {"rlnTomoName": "TS_02"}, "no tomogram is named TS_01"),
        ("tomograms", {"rlnVoltage": "300000"}, "rlnVoltage of tomogram TS_01"),
        ("tomograms", {"rlnTomoTiltSeriesStarFile": "x.star"}, "x.star is not there"),
        ("tilt_series", {"rlnDefocusU": "3 um"}, "rlnDefocusU of tilt 1 is '3 um'"),
        ("tilt_series", {"rlnMicrographPreExposure": "-1"}, "PreExposure of tilt 1"),
        ("tilt_series", {"rlnTomoYTilt": None}, "no column rlnTomoYTilt"),
        ("tilt_series", {"rlnTomoProjX": "[1,0,0]"}, "has 3 numbers, expected 4"),
        ("particles", {"rlnTomoVisibleFrames": "[1,0]"}, "has 2 numbers, expected 21"),
        ("particles", {"rlnTomoVisibleFrames": None}, "has 20 images, expected 21"),
        ("particles", {"rlnCenteredCoordinateZAngst": "up"}, "ZAngst of particle 1"),
        ("particles", {"rlnTomoName": None}, "rlnTomoName; complete"),
        ("optimisation_set", {"rlnTomoTomogramsFile": None}, "table of tomograms as"),
        ("optimisation_set", {"rlnTomoParticlesFile": "y.star"}, "y.star is not there"),
    ],
)
def test_refusals_name_file_and_place(tmp_path, table, change, sentence):
    one = write_set(tmp_path / "set")
    path = tmp_path / f"set/{table}.star"
    blocks = read_star(path)
    name = {"tomograms": "global", "tilt_series": "TS_01", "particles": "particles"}
    block = as_table(blocks[name.get(table, "")])
    for column, value in change.items():
        block[column] = value
        if value is None:
            del block[column]
    write_star(path, blocks | {name.get(table, ""): block})
    with pytest.raises(InputError, match=sentence) as told:
        read_subtomograms(one.path)
    assert str(told.value).startswith(str(tmp_path))


def test_projections_that_are_no_rotations_are_refused(tmp_path):
    one = write_set(tmp_path / "set", warp=True)
    path = tmp_path / "set/tomograms.star"
    blocks = read_star(path)
    blocks["TS_01.tomostar"]["rlnTomoProjZ"] = "[0,0,-1,0]"
    write_star(path, blocks)
    with pytest.raises(InputError, match="of tilt 1 make no rotation"):
        read_subtomograms(one.path)


def test_rules_of_pytom_know_no_tilt_images(tmp_path):
    table = read_subtomograms(write_set(tmp_path / "set").path)
    check_rules("set.star", table, "none")
    with pytest.raises(InputError, match="leave 'compat' out"):
        check_rules("set.star", table, "pytom")


def test_a_wedge_is_none_of_tilt_images(tmp_path):
    one = write_set(tmp_path / "set")
    with pytest.raises(InputError, match="leave 'wedge' out"):
        read_subtomograms(one.path, wedge_angles=(30, 30))


REAL = "data/real/ribosomes_2d_stacks/warptools_test_4-tomos_10-ptcls_box-32_angpix-12"


def shells(a, b):
    """Return the correlation of two volumes in shells of their spectra."""
    radius = np.rint(np.linalg.norm(frequencies(a.shape), axis=-1)).astype(int)
    first, second = (scipy.fft.rfftn(one) for one in (a, b))

    def sums(values):
        return np.bincount(radius.ravel(), values.real.ravel())

    powers = sums(np.abs(first) ** 2) * sums(np.abs(second) ** 2)
    return sums(first * second.conj()) / np.sqrt(powers)


@pytest.mark.slow
def test_ribosomes_of_warptools_agree_with_the_map_of_their_makers(shared):
    """As well as 40 particles can, by their own halves, with a map of many more.

    The makers mirrored their map along z after its reconstruction: the tilts of their
    tables are those of the mirrored specimen. Their map fits a 70S ribosome as it is
    (correlation 0.94, mirrored 0.90). Noise of the 40 is not in it: then it would agree
    with their average better than their halves allow, and it does so nowhere.

    All within 14 voxels agree by 0.85, and by 0.97 where both are smoothed. No filter
    of the average reaches more than 0.91: what its shells could agree by, by its
    halves, weighted by the power of the map.
    """
    folder = shared / "data/real/ribosomes_2d_stacks"
    if not folder.is_dir():
        pytest.skip("the ribosomes are not there")
    table = read_subtomograms(shared / f"{REAL}_optimisation_set.star")
    assert (len(table), table.box, table.pixel_size) == (40, 32, 12.0)
    parts = averages.sums(
        table.read, range(40), table.rotations, table.shifts, table.wedges
    )
    halves = [averages.average(part) for part in parts]
    found = averages.average(parts[0] + parts[1])
    theirs = read_volume(folder / "warptools_test_box-32_angpix-12_reconstruct.mrc")
    mirrored = np.roll(theirs[::-1], 1, axis=0)
    inside = masks.sphere((32,) * 3, 13, 2)
    between = np.clip(shells(*(half * inside for half in halves)), 0, 1)[1:11]
    possible = np.sqrt(2 * between / (1 + between))
    reached = shells(found * inside, mirrored * inside)[1:11]
    assert (reached > possible - 0.12).all()
    assert (reached < possible + 0.03).all()
    assert reached[0] > 0.98 and reached[1] > 0.95
    (told,) = look(table).warnings
    assert "rlnTomoHand has the right sign" in told  # WarpTools always writes -1
    assert "averages come out mirrored" in told
    assert shells(found * inside, theirs * inside)[3:7].max() < 0.6
    smooth = (lowpass(one, 0, 4 / np.sqrt(2)) for one in (found, mirrored))
    sphere = masks.sphere((32,) * 3, 14, 0) > 0
    a, b = (one[sphere] for one in smooth)
    assert round(agreement(a, b), 2) == 0.97
    assert round(agreement(found[sphere], mirrored[sphere]), 2) == 0.85
