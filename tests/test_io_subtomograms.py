import os
from dataclasses import replace

import mrcfile
import numpy as np
import pandas as pd
import pytest

from cryokin.errors import InputError
from cryokin.io.em import write_em
from cryokin.io.pytom_xml import Particle, SingleTiltWedge, write_particle_list
from cryokin.io.star import read_star, write_star
from cryokin.io.subtomograms import load, read_subtomograms
from cryokin.io.volumes import read_size, read_volume
from cryokin.volume import euler
from cryokin.volume.filters import filtered, frequencies
from cryokin.volume.wedge import TiltWedge

BOX = 8


@pytest.fixture
def listed(tmp_path):
    """A ParticleList of three EM volumes in other poses."""
    rng = np.random.default_rng(0)
    particles = []
    for i in range(3):
        volume = rng.normal(size=(BOX,) * 3).astype(np.float32)
        write_em(tmp_path / f"p{i}.em", volume, 5.0)
        angles = (*rng.uniform(-170, 170, 2), rng.uniform(5, 170))
        shift = tuple(rng.normal(0, 2, 3))
        particles.append(
            Particle(
                f"p{i}.em", angles, shift, wedge=SingleTiltWedge(30, 20), label=str(i)
            )
        )
    write_particle_list(tmp_path / "list.xml", particles)
    return tmp_path / "list.xml"


def test_list_and_table_describe_the_same_particles(listed, tmp_path):
    table = read_subtomograms(listed)
    assert (len(table), table.box, table.pixel_size) == (3, BOX, 5.0)
    write_star(tmp_path / "p.star", table.star)
    again = read_subtomograms(tmp_path / "p.star", wedge_angles=(30, 20))
    np.testing.assert_allclose(again.rotations, table.rotations, atol=1e-7)
    np.testing.assert_allclose(again.shifts, table.shifts, atol=1e-6)
    assert again.pixel_size == 5.0
    k = frequencies((BOX,) * 3)
    for a, b in zip(table.wedges, again.wedges, strict=True):
        first, second = (wedge.weight(k, (BOX,) * 3) for wedge in (a, b))
        np.testing.assert_array_equal(first, second)
        assert 0 < first.mean() < 1


def test_what_is_written_is_read_again(listed, tmp_path):
    table = read_subtomograms(listed).classified(np.array([1, -1, 0]))
    table.write(tmp_path / "out")
    again = load(tmp_path / "out", BOX, 5.0)
    assert again.particles == table.particles
    numbers = read_star(tmp_path / "out.star")["particles"]["rlnClassNumber"]
    assert numbers.tolist() == ["2", "-1", "1"]


def test_equal_poses_keep_their_text(listed):
    table = read_subtomograms(listed)
    shifts = table.shifts.copy()
    shifts[1] += 0.5
    moved = table.placed(table.rotations, shifts)
    assert moved.particles[0] == table.particles[0]
    np.testing.assert_allclose(moved.shifts, shifts, atol=1e-12)
    np.testing.assert_allclose(moved.rotations, table.rotations, atol=1e-12)


def test_weight_volumes_are_found_beside_the_table(listed, tmp_path):
    weight = np.ones((BOX,) * 3, np.float32)
    with mrcfile.new(tmp_path / "ctf.mrc") as mrc:
        mrc.set_data(weight)
    blocks = read_subtomograms(listed).star
    blocks["particles"]["rlnCtfImage"] = "ctf.mrc"
    write_star(tmp_path / "p.star", blocks)
    wedge = read_subtomograms(tmp_path / "p.star").wedges[0]
    assert wedge.is_ctf
    np.testing.assert_allclose(wedge.weight(frequencies((BOX,) * 3), (BOX,) * 3), 1)


def test_half_precision_volumes_are_read(tmp_path):
    volume = np.random.default_rng(0).normal(size=(4, 4, 4)).astype(np.float16)
    with mrcfile.new(tmp_path / "half.mrc") as mrc:
        mrc.set_data(volume)
    np.testing.assert_array_equal(read_volume(tmp_path / "half.mrc"), volume)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rlnImageName": "000001@stack.mrcs"}, "images in stacks"),
        ({"rlnImageName": "none.mrc"}, "is not there"),
        ({"rlnAngleRot": "north"}, "rlnAngleRot of particle 1 is 'north'"),
        ({"rlnOriginXAngst": ["0", "inf", "0"]}, "rlnOriginXAngst of particle 2 is"),
        ({"rlnAngleRot": None}, "no column rlnAngleRot, but"),
        ({"rlnOpticsGroup": "7"}, "rlnOpticsGroup of particle 1 is 7, but"),
        ({"rlnImagePixelSize": ["5", "5", "6.25"]}, "particle 3 of 6.25 A"),
        ({"rlnImagePixelSize": "nan"}, "rlnImagePixelSize of particle 1 is 'nan'"),
        ({"rlnImagePixelSize": "None"}, "rlnImagePixelSize of particle 1"),
        ({"rlnImagePixelSize": "0"}, "expected pixel size, above 0"),
        ({"rlnImageSize": "16"}, "rlnImageSize is 16, but the subtomograms have 8"),
        ({"rlnCtfDataAreCtfPremultiplied": "1"}, "no 'wedge' in the config"),
    ],
)
def test_refusals(listed, tmp_path, change, sentence):
    blocks = read_subtomograms(listed).star
    for column, value in change.items():
        blocks["particles"][column] = value
        if value is None:
            del blocks["particles"][column]
    write_star(tmp_path / "p.star", blocks)
    with pytest.raises(InputError, match=sentence):
        read_subtomograms(tmp_path / "p.star", wedge_angles=(30, 30))


def test_subtomograms_of_two_scales_stay_two_whatever_pixel_size_is_given(
    listed, tmp_path
):
    blocks = read_subtomograms(listed).star
    blocks["particles"]["rlnImagePixelSize"] = ["5", "5", "6.25"]
    write_star(tmp_path / "p.star", blocks)
    with pytest.raises(InputError, match=r"particle 3 of 6\.25 A"):
        read_subtomograms(tmp_path / "p.star", None, 5.0, (30, 30))
    blocks["particles"]["rlnImagePixelSize"] = "nan"
    write_star(tmp_path / "p.star", blocks)
    assert read_subtomograms(tmp_path / "p.star", None, 5.0, (30, 30)).pixel_size == 5


def test_an_empty_table_is_refused(listed, tmp_path):
    blocks = read_subtomograms(listed).star
    blocks["particles"] = blocks["particles"].iloc[:0]
    write_star(tmp_path / "p.star", blocks)
    with pytest.raises(InputError, match="there is no particle in it"):
        read_subtomograms(tmp_path / "p.star", wedge_angles=(30, 30))


@pytest.mark.parametrize("angles", [(90, 90), (90.0, 90)])
def test_a_wedge_of_the_config_must_leave_something(listed, angles):
    with pytest.raises(InputError, match="nothing was sampled"):
        read_subtomograms(listed, wedge_angles=angles)


def test_origins_keep_their_unit_and_there_is_one_set_of_them(listed, tmp_path):
    """RELION 3.0's columns, in pixels, stay; beside newer ones they are stale."""
    table = read_subtomograms(listed)
    blocks = table.star
    rows = blocks["particles"]
    for axis, values in zip("XYZ", table.shifts.T, strict=True):
        rows[f"rlnOrigin{axis}"] = [f"{-value:.6f}" for value in values]
    both = blocks | {"particles": rows.assign(rlnOriginX="99")}
    old = rows.drop(columns=[f"rlnOrigin{axis}Angst" for axis in "XYZ"])
    for name, given, kept in (
        ("both", both, "Angst"),
        ("old", blocks | {"particles": old}, ""),
    ):
        write_star(tmp_path / f"{name}.star", given)
        read = read_subtomograms(tmp_path / f"{name}.star", wedge_angles=(30, 30))
        np.testing.assert_allclose(read.shifts, table.shifts, atol=1e-5)
        moved = read.placed(read.rotations, read.shifts + np.eye(3))
        written = moved.star["particles"]
        origins = sorted(c for c in written if c.startswith("rlnOrigin"))
        assert origins == [f"rlnOrigin{axis}{kept}" for axis in "XYZ"]
        scale = 5.0 if kept else 1.0
        found = written[origins].to_numpy(float) / scale
        np.testing.assert_allclose(found, -moved.shifts, atol=1e-5)


def test_a_box_that_was_cut_out_turned_sees_the_wedge_turned(listed, tmp_path):
    """A volume turned by RELION's matrix has the wedge of the tomogram turned so."""
    blocks = read_subtomograms(listed).star
    turns = {"Rot": 20.0, "Tilt": 70.0, "Psi": -130.0}
    for name, value in turns.items():
        blocks["particles"][f"rlnTomoSubtomogram{name}"] = str(value)
    write_star(tmp_path / "p.star", blocks)
    table = read_subtomograms(tmp_path / "p.star", wedge_angles=(30, 20))
    k = frequencies((BOX,) * 3)
    inside = np.linalg.norm(k, axis=-1) < BOX // 2
    matrix = euler.matrix(euler.from_relion(np.radians(list(turns.values()))))
    in_tomogram = TiltWedge(np.radians(30), np.radians(20))
    expected = in_tomogram.weight(k @ matrix.T, (BOX,) * 3)[inside]
    found = table.wedges[0].weight(k, (BOX,) * 3)[inside]
    np.testing.assert_array_equal(found, expected)
    table.write(tmp_path / "out")
    again = load(tmp_path / "out", BOX, 5.0).with_wedges((30, 20)).wedges[0]
    np.testing.assert_array_equal(again.weight(k, (BOX,) * 3)[inside], expected)


def relion_half(weight):
    """The half of a weight in which kx is not negative, as RELION writes it."""
    return np.ascontiguousarray(
        np.fft.ifftshift(weight)[:, :, : BOX // 2 + 1], np.float32
    )


@pytest.mark.parametrize("scale", [1.0, 0.01])
@pytest.mark.parametrize("slabs", [1, 2])
def test_premultiplied_data_become_signal_times_weight(listed, tmp_path, slabs, scale):
    """Sums of CTF_i (CTF_i F + n_i) are divided by the root of the sum of CTF_i^2.

    Whatever the scale of the weights, and with the number of images below them or not.
    """
    k = frequencies((BOX,) * 3)
    radius = np.linalg.norm(k, axis=-1)
    weight = 0.2 + np.cos(radius / 2) ** 2
    centre = np.fft.fftfreq(BOX, 1 / BOX)
    z, y, x = np.meshgrid(*[np.fft.fftshift(centre)] * 3, indexing="ij")
    whole = 0.2 + np.cos(np.sqrt(x**2 + y**2 + z**2) / 2) ** 2
    half = relion_half(whole) * scale
    blocks = read_subtomograms(listed).star
    with mrcfile.new(tmp_path / "w.mrc") as mrc:
        mrc.set_data(np.concatenate([half] + [half + 3] * (slabs - 1)))
    true = np.random.default_rng(1).normal(size=(BOX,) * 3)
    write_em(tmp_path / "p0.em", filtered(true, weight).astype(np.float32), 5.0)
    blocks["particles"]["rlnCtfImage"] = "w.mrc"
    blocks["optics"]["rlnCtfDataAreCtfPremultiplied"] = "1"
    write_star(tmp_path / "p.star", blocks)
    table = read_subtomograms(tmp_path / "p.star")
    table.write(tmp_path / "out")
    for one in (table, load(tmp_path / "out", BOX, 5.0, table.weight_scale)):
        found = one.wedges[0].weight(k, (BOX,) * 3)
        np.testing.assert_allclose(found, np.sqrt(weight / weight.max()), atol=2e-2)
        seen = one.read(0) / np.sqrt(weight.max())
        signal = filtered(true, np.sqrt(weight / weight.max()))
        ratio = np.vdot(seen, signal) / np.vdot(signal, signal)
        np.testing.assert_allclose(seen / ratio, signal, atol=1e-4)


def test_weights_count_by_their_largest_value(listed, tmp_path):
    """A program may write CTFs on any scale, and no coefficient is lost by that."""
    half = relion_half(np.ones((BOX,) * 3)) * 0.01
    with mrcfile.new(tmp_path / "ctf.mrc") as mrc:
        mrc.set_data(half)
    blocks = read_subtomograms(listed).star
    blocks["particles"]["rlnCtfImage"] = "ctf.mrc"
    write_star(tmp_path / "p.star", blocks)
    wedge = read_subtomograms(tmp_path / "p.star").wedges[0]
    np.testing.assert_allclose(wedge.weight(frequencies((BOX,) * 3), (BOX,) * 3), 1)


def test_weights_of_nothing_are_refused(listed, tmp_path):
    with mrcfile.new(tmp_path / "ctf.mrc") as mrc:
        mrc.set_data(np.zeros((BOX,) * 3, np.float32))
    blocks = read_subtomograms(listed).star
    blocks["particles"]["rlnCtfImage"] = "ctf.mrc"
    write_star(tmp_path / "p.star", blocks)
    with pytest.raises(InputError, match="0 everywhere"):
        read_subtomograms(tmp_path / "p.star")


def test_names_of_relion_are_found_from_its_project(listed, tmp_path, monkeypatch):
    """The table lies deep in the project, where its names begin."""
    deep = tmp_path / "Extract/job010/particles.star"
    blocks = read_subtomograms(listed).star
    blocks["particles"]["rlnImageName"] = [f"p{i}.em" for i in range(3)]
    write_star(deep, blocks)
    monkeypatch.chdir("/")
    table = read_subtomograms(deep, wedge_angles=(30, 30))
    assert os.path.abspath(table.particles[0].file) == str(tmp_path / "p0.em")


def test_names_survive_a_move_of_the_project(listed, tmp_path, monkeypatch):
    """Those of particles and of weights, in both lists that a run reads again."""
    blocks = read_subtomograms(listed).star
    for i in range(3):
        write_em(tmp_path / f"w{i}.em", np.full((8, 8, 5), 1.0 + i, np.float32))
    blocks["particles"]["rlnCtfImage"] = [str(tmp_path / f"w{i}.em") for i in range(3)]
    write_star(tmp_path / "p.star", blocks)
    monkeypatch.chdir(tmp_path)
    read_subtomograms("p.star").write("results/particles")
    elsewhere = tmp_path.with_name("moved")
    tmp_path.rename(elsewhere)
    monkeypatch.chdir(elsewhere)
    for table in (
        load("results/particles", 8, 1.0),
        read_subtomograms("results/particles.star"),
    ):
        assert [p.file for p in table.particles] == ["p0.em", "p1.em", "p2.em"]
        assert [p.wedge.file for p in table.particles] == ["w0.em", "w1.em", "w2.em"]
        assert table.read(2).shape == (8, 8, 8)


def test_a_table_that_does_not_tell_its_optics_groups_is_refused(listed, tmp_path):
    blocks = read_subtomograms(listed).star
    optics = pd.concat([blocks["optics"]] * 2, ignore_index=True)
    optics["rlnOpticsGroup"] = ["1", "2"]
    blocks["optics"] = optics
    # Programs on Windows write names of blocks in their own way, too.
    blocks["Particles"] = blocks.pop("particles").drop(columns="rlnOpticsGroup")
    write_star(tmp_path / "p.star", blocks)
    assert read_subtomograms(tmp_path / "p.star", None, None, (30, 30)).pixel_size == 5
    optics["rlnImagePixelSize"] = ["5", "7"]
    write_star(tmp_path / "p.star", blocks)
    with pytest.raises(InputError, match="2 optics groups of several rlnImagePixel"):
        read_subtomograms(tmp_path / "p.star", None, None, (30, 30))


def test_a_table_without_poses_is_told(listed, tmp_path):
    blocks = read_subtomograms(listed).star
    angles = [f"rlnAngle{name}" for name in ("Rot", "Tilt", "Psi")]
    blocks["particles"] = blocks["particles"].drop(columns=angles)
    write_star(tmp_path / "p.star", blocks)
    (note,) = read_subtomograms(tmp_path / "p.star", wedge_angles=(30, 30)).notes
    assert "no column of angles" in note


def test_pixel_sizes_of_table_and_volumes_are_compared(listed, tmp_path):
    assert "header" in read_subtomograms(listed, pixel_size=6.0).notes[0]
    assert read_subtomograms(listed, pixel_size=5.01).notes == ()
    write_em(tmp_path / "p1.em", np.ones((BOX,) * 3, np.float32), 6.0)
    with pytest.raises(InputError, match=r"p1\.em has voxels of 6 A"):
        read_subtomograms(listed)


def test_who_is_left_out_comes_back_unaccounted(listed):
    table = read_subtomograms(listed)
    some = table.without([1])
    assert (len(some), some.ids.tolist()) == (2, [0, 2])
    moved = some.placed(some.rotations, some.shifts + 1).classified(np.array([0, 1]))
    whole = moved.whole()
    assert [p.label for p in whole.particles] == ["1", "-1", "2"]
    assert whole.star["particles"]["rlnClassNumber"].tolist() == ["1", "-1", "2"]
    assert whole.particles[1] == table.particles[1].classified("-1")
    assert whole.star["particles"]["rlnImageName"].tolist() == [
        p.file for p in table.particles
    ]


def test_particles_without_a_class_are_in_none(listed):
    table = read_subtomograms(listed)
    given = tuple(
        p.classified(label)
        for p, label in zip(table.particles, [None, "b", "-1"], strict=True)
    )
    labels = replace(table, particles=given).labels
    assert labels.tolist() == [-1, 0, -1]


def test_boxes_must_be_equal(listed, tmp_path):
    write_em(tmp_path / "p1.em", np.zeros((6, 6, 6), np.float32), 5.0)
    with pytest.raises(InputError, match="extract all in one box"):
        read_subtomograms(listed)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_must_be_finite(tmp_path, value):
    volume = np.zeros((4, 4, 4), np.float32)
    volume[1, 2, 3] = value
    write_em(tmp_path / "v.em", volume, 5.0)
    with pytest.raises(InputError, match="1 of 64 voxels are not finite"):
        read_volume(tmp_path / "v.em")


@pytest.mark.parametrize("axes", [(1, 2, 3), (3, 2, 1), (2, 1, 3), (2, 3, 1)])
def test_axes_of_a_volume_are_those_of_the_header(tmp_path, axes):
    """A file whose columns, rows and sections run along any of x, y, z."""
    volume = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    with mrcfile.new(tmp_path / "v.mrc") as mrc:
        # Sections, rows, columns of the file, from (z, y, x).
        mrc.set_data(
            np.ascontiguousarray(volume.transpose([3 - a for a in axes[::-1]]))
        )
        mrc.header.mapc, mrc.header.mapr, mrc.header.maps = axes
    np.testing.assert_array_equal(read_volume(tmp_path / "v.mrc"), volume)
    assert read_size(tmp_path / "v.mrc")[0] == (4, 5, 6)
