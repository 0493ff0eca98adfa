"""The particle table of every dialect: read, or refused with the reason."""

import shutil

import h5py
import numpy as np
import pandas as pd
import pytest

from cryokin.errors import InputError
from cryokin.io.eman_hdf import write_images
from cryokin.io.eman_particles import relion_ctf
from cryokin.io.mrc import open_stack, write_stack
from cryokin.io.particles import (
    canonical,
    check_images,
    has_ctf,
    image_box,
    image_source,
    notes,
    read_images,
    read_particles,
    write_particles,
)
from cryokin.io.stacks import ImageSource
from cryokin.io.star import read_star, write_star

NEW_STAR = """data_optics
loop_
_rlnOpticsGroup
_rlnVoltage
_rlnSphericalAberration
_rlnAmplitudeContrast
_rlnImagePixelSize
_rlnMyOptics
1 300 2.7 0.1 1.50000 "two words"

data_particles
loop_
_rlnImageName
_rlnDefocusU
_rlnDefocusV
_rlnDefocusAngle
_rlnOpticsGroup
_rlnUnknown
2@a.mrcs 10000.0 9000.0 30.0 1 0010
000001@a.mrcs 10001.0 9001.0 31.0 1 nan
3@b.mrcs 10002.0 9002.0 32.0 1 "x y"
"""

OLD_STAR = """data_images
loop_
_rlnImageName
_rlnDefocusU
_rlnVoltage
_rlnSphericalAberration
_rlnAmplitudeContrast
_rlnDetectorPixelSize
_rlnMagnification
1@a.mrcs 10000 300 2.7 0.1 5 50000
2@a.mrcs 10000 300 2.7 0.1 5 50000
"""


def noise(n=3, ny=8, nx=8, seed=1):
    return np.random.default_rng(seed).normal(size=(n, ny, nx)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    """Two stacks and the tables that name them."""
    write_stack(tmp_path / "a.mrcs", noise(seed=1), 1.5)
    write_stack(tmp_path / "b.mrcs", noise(seed=2), 1.5)
    (tmp_path / "new.star").write_text(NEW_STAR)
    (tmp_path / "old.star").write_text(OLD_STAR)
    return tmp_path


def star(folder, text=NEW_STAR):
    (folder / "new.star").write_text(text)
    return read_particles(folder / "new.star")


def told(table):
    """Return what a user is told of a table that can be used."""
    return notes(table, check_images(table))


def refused(path, pattern):
    with pytest.raises(InputError, match=pattern) as caught:
        read_particles(path)
    return str(caught.value)


# --- RELION -------------------------------------------------------------------------


def test_relion_with_optics_groups(folder):
    table = read_particles(folder / "new.star")
    assert table.n == 3
    assert table.pixel_size == 1.5
    assert table.images == [
        (folder / "a.mrcs", 1),
        (folder / "a.mrcs", 0),
        (folder / "b.mrcs", 2),
    ]
    assert table.ctf["defocus_v"].tolist() == [9000, 9001, 9002]
    assert table.ctf["voltage"].tolist() == [300, 300, 300]
    assert table.ctf["phase_shift"].tolist() == [0, 0, 0]
    assert table.text("rlnMyOptics").tolist() == ["two words"] * 3
    assert table.text("rlnNothing") is None
    assert table.sign.tolist() == [1, 1, 1]


def test_images_come_in_the_order_asked_for(folder):
    table = read_particles(folder / "new.star")
    a, b = noise(seed=1), noise(seed=2)
    found = read_images(table, [2, 0, 1, 0])
    np.testing.assert_array_equal(found, [b[2], a[1], a[0], a[1]])
    assert found.dtype == np.float32


def test_relion_before_3_1_gets_an_optics_group(folder):
    table = read_particles(folder / "old.star")
    assert table.pixel_size == 1.0
    assert list(table.particles["rlnOpticsGroup"]) == ["1", "1"]
    assert table.optics["rlnVoltage"].tolist() == ["300"]
    assert list(table.particles["rlnMagnification"]) == ["50000"] * 2
    assert table.ctf["defocus_v"].tolist() == [10000, 10000]


def test_settings_of_an_old_table_become_groups(folder):
    text = OLD_STAR + "3@a.mrcs 10000 200 2.7 0.1 5 25000\n"
    (folder / "old.star").write_text(text)
    table = read_particles(folder / "old.star")
    assert list(table.particles["rlnOpticsGroup"]) == ["1", "1", "2"]
    assert table.ctf["voltage"].tolist() == [300, 300, 200]
    with pytest.raises(InputError, match=r"1.0+ in .* group 1, 2.0+ in .* 2"):
        _ = table.pixel_size


def test_pixel_size_of_the_user_comes_first(folder):
    table = read_particles(folder / "new.star", pixel_size=2.5)
    assert table.pixel_size == 2.5


TWO_GROUPS = NEW_STAR.replace("\n\ndata_p", "\n2 300 2.7 0.1 1.2 x\n\ndata_p")


def test_particles_of_two_scales_stay_two_whatever_pixel_size_is_given(folder):
    """The user's size overrides a wrong one, but makes no two scales one."""
    (folder / "new.star").write_text(TWO_GROUPS)
    assert read_particles(folder / "new.star", pixel_size=2).pixel_size == 2  # unused
    (folder / "new.star").write_text(TWO_GROUPS.replace("32.0 1", "32.0 2"))
    with pytest.raises(InputError, match=r"1\.50000 in .* 1, 1\.2 in .* 2\)"):
        read_particles(folder / "new.star", pixel_size=2)
    text = OLD_STAR + "3@a.mrcs 10000 200 2.7 0.1 5 25000\n"
    (folder / "old.star").write_text(text)
    with pytest.raises(InputError, match="several values of pixel size"):
        read_particles(folder / "old.star", pixel_size=2)
    (folder / "old.star").write_text(OLD_STAR.replace("0.1 5 50000", "0.1 5 0"))
    assert read_particles(folder / "old.star", pixel_size=2).pixel_size == 2


def test_stacks_of_two_pixel_sizes_are_told_of(folder):
    write_stack(folder / "b.mrcs", noise(seed=2), 1.2)
    assert any("headers of the stacks say 1.2 A" in s for s in told(star(folder)))
    text = NEW_STAR.replace("rlnImagePixelSize", "rlnOther")
    with pytest.raises(InputError, match=r"headers of its stacks say from 1.2 to 1.5"):
        _ = star(folder, text).pixel_size


def test_the_pixel_size_may_be_a_column_of_the_particles(folder):
    text = NEW_STAR.replace("rlnImagePixelSize", "rlnOther")
    text = text.replace("rlnUnknown", "rlnImagePixelSize")
    one = text.replace("0010", "2.0").replace("nan", "2.0").replace('"x y"', "2.0")
    assert star(folder, one).pixel_size == 2
    with pytest.raises(InputError, match=r"2.0 in particle 1, 4.0 in particle 3"):
        _ = star(folder, one.removesuffix("2.0\n") + "4.0\n").pixel_size


def test_a_ctf_that_some_images_were_corrected_for_is_refused(folder):
    """To flip all, or none, would be wrong for some."""
    text = TWO_GROUPS.replace("rlnMyOptics", "rlnCtfDataArePhaseFlipped")
    text = text.replace('"two words"', "1").replace("1.2 x", "1.5 0")
    assert not has_ctf(star(folder, text))
    table = star(folder, text.replace("32.0 1", "32.0 2"))
    assert has_ctf(table)
    with pytest.raises(InputError, match="2 of 3 of the images were corrected"):
        _ = table.ctf


def test_what_a_ctf_cannot_be_made_of_is_refused(folder):
    no_angle = NEW_STAR.replace("rlnDefocusAngle", "rlnOther")
    with pytest.raises(InputError, match="differ by up to 1000 A, and no column"):
        _ = star(folder, no_angle).ctf
    micrometre = NEW_STAR.replace("9000.0", "0.9").replace("9001.0", "0.9")
    micrometre = micrometre.replace("9002.0", "0.9").replace(" 10000.0", " 1.0")
    micrometre = micrometre.replace(" 10001.0", " 1.0").replace(" 10002.0", " 1.2")
    with pytest.raises(InputError, match=r"is 1.2 at most, expected defocus in A"):
        _ = star(folder, micrometre).ctf


def test_defocus_that_nobody_measured_is_told(folder):
    text = NEW_STAR.replace("10001.0 9001.0", "0 0")
    assert any("rlnDefocusU is 0 for 1 of 3" in s for s in told(star(folder, text)))


def test_unknown_pixel_size_is_refused_where_it_is_needed(folder):
    text = OLD_STAR.replace("DetectorPixelSize", "Other")
    (folder / "old.star").write_text(text)
    write_stack(folder / "a.mrcs", noise(seed=1), 1.0)
    table = read_particles(folder / "old.star")
    with pytest.raises(InputError, match=r"gives no pixel size .* set pixel_size"):
        _ = table.pixel_size
    assert read_particles(folder / "old.star", pixel_size=2).pixel_size == 2


def test_the_stacks_tell_the_pixel_size_where_the_table_knows_that_of_micrographs(
    folder,
):
    """Particles may have been binned when they were extracted."""
    text = NEW_STAR.replace("rlnImagePixelSize", "rlnMicrographPixelSize")
    (folder / "new.star").write_text(text.replace("1.50000", "0.75"))
    table = read_particles(folder / "new.star")
    assert table.pixel_size == 1.5
    assert any("is that of the stacks' headers" in n for n in told(table))
    write_stack(folder / "b.mrcs", noise(seed=2), 1.0)  # unknown
    with pytest.raises(InputError, match=r"\(rlnMicrographPixelSize\), which is not"):
        _ = read_particles(folder / "new.star").pixel_size


def test_a_table_of_images_of_another_size_is_refused(folder):
    text = NEW_STAR.replace("_rlnMyOptics", "_rlnImageSize")
    (folder / "new.star").write_text(text.replace('"two words"', "16"))
    with pytest.raises(
        InputError, match=r"rlnImageSize is 16 .* are 8 x 8 pixel at 1.5"
    ):
        image_source(read_particles(folder / "new.star"), 8, with_ctf=False)


def test_pixel_sizes_that_differ_are_told(folder):
    (folder / "new.star").write_text(NEW_STAR.replace("1.50000", "0.75"))
    assert any(
        "taken as 0.75 A, but the headers of the stacks say 1.5" in sentence
        for sentence in told(read_particles(folder / "new.star"))
    )
    assert told(read_particles(folder / "a.mrcs")) == []


def test_groups_of_two_image_sizes_are_named(folder):
    text = NEW_STAR.replace("_rlnMyOptics", "_rlnImageSize").replace(
        '"two words"', "64\n2 300 2.7 0.1 1.5 128\n3 300 2.7 0.1 9.9 999"
    )
    text = text.replace("32.0 1", "32.0 2")  # nobody uses group 3
    (folder / "new.star").write_text(text)
    with pytest.raises(InputError, match=r"64 in .* group 1, 128 in .* group 2"):
        _ = read_particles(folder / "new.star").pixel_size


def test_unknown_group_is_refused(folder):
    (folder / "new.star").write_text(NEW_STAR.replace("32.0 1", "32.0 7"))
    with pytest.raises(InputError, match="rlnOpticsGroup 7 of the particles"):
        _ = read_particles(folder / "new.star").ctf


def test_missing_ctf_columns_are_named(folder):
    (folder / "new.star").write_text(NEW_STAR.replace("rlnDefocusU", "rlnOther"))
    table = read_particles(folder / "new.star")
    assert not has_ctf(table)
    with pytest.raises(InputError, match="the columns rlnDefocusU are missing; set"):
        _ = table.ctf


@pytest.mark.parametrize(
    ("old", "new", "pattern"),
    [
        (" 0.1 1.5", " 10.0 1.5", "rlnAmplitudeContrast of optics group 1 is '10.0'"),
        ("1 300", "1 300000", "rlnVoltage of optics group 1 is '300000'"),
        ("1 300", "1 0", "rlnVoltage of optics group 1 is '0'"),
        ("300 2.7", "300 2.7e7", "rlnSphericalAberration of optics group 1"),
        ("10001.0", "1.0001e9", "rlnDefocusU of particle 2 is '1.0001e9'"),
    ],
)
def test_a_ctf_that_cannot_be_is_refused(folder, old, new, pattern):
    """Volts for kilovolts, per cent for a fraction: nan, and nothing was flipped."""
    (folder / "new.star").write_text(NEW_STAR.replace(old, new))
    with pytest.raises(InputError, match=pattern):
        image_source(read_particles(folder / "new.star"), 8, with_ctf=True)


def test_a_pixel_size_that_cannot_be_is_refused(folder):
    for size in ("0", "-16", "nan", "inf"):
        (folder / "new.star").write_text(NEW_STAR.replace("1.50000", size))
        if size == "nan":  # unknown: the stacks tell
            assert read_particles(folder / "new.star").pixel_size == 1.5
            continue
        with pytest.raises(InputError, match="rlnImagePixelSize of optics group 1 is"):
            _ = read_particles(folder / "new.star").pixel_size


def test_an_optics_group_that_stands_twice_is_refused(folder):
    text = NEW_STAR.replace('"two words"\n', '"two words"\n1 300 2.7 0.1 3.0 x\n')
    (folder / "new.star").write_text(text)
    with pytest.raises(InputError, match="rlnOpticsGroup 1 stands twice"):
        _ = read_particles(folder / "new.star").pixel_size


def test_groups_stay_where_only_their_block_is_missing(folder):
    lines = NEW_STAR[NEW_STAR.index("data_particles") :]
    text = lines.replace("30.0 1", "30.0 2").replace("32.0 1", "32.0 7")
    (folder / "new.star").write_text(text)
    table = read_particles(folder / "new.star")
    assert list(table.particles["rlnOpticsGroup"]) == ["2", "1", "7"]
    assert sorted(table.optics["rlnOpticsGroup"]) == ["1", "2", "7"]
    assert table.pixel_size == 1.5


def test_a_group_of_several_settings_without_its_block_is_refused(folder):
    text = OLD_STAR.replace("_rlnVoltage", "_rlnVoltage\n_rlnOpticsGroup")
    text = text.replace("300 2.7", "300 1 2.7", 1).replace("300 2.7", "200 1 2.7")
    (folder / "old.star").write_text(text)
    refused(folder / "old.star", "rlnOpticsGroup 1 differ in voltage")


def test_one_origin_comes_out(folder):
    """RELION 3.1 reads Angstrom and would keep pixels that say something else."""
    text = OLD_STAR.replace("_rlnVoltage", "_rlnVoltage\n_rlnOriginX\n_rlnOriginY")
    text = text.replace("300 2.7", "300 2 -4.5 2.7").replace("50000", "33333.3333")
    (folder / "old.star").write_text(text)
    table = canonical(read_particles(folder / "old.star"), 8)
    assert list(table.particles["rlnOriginXAngst"].astype(float)) == [3.0, 3.0]
    assert list(table.particles["rlnOriginYAngst"].astype(float)) == [-6.75, -6.75]
    assert not {"rlnOriginX", "rlnOriginY"} & set(table.particles)


def test_tables_of_xmipp_and_of_windows_editors_are_read(folder):
    xmipp = "# XMIPP_STAR_1 * \n# \n" + OLD_STAR.replace(
        "data_images", "data_Particles"
    )
    (folder / "x.star").write_text("\ufeff" + xmipp)
    assert read_particles(folder / "x.star").n == 2


def test_images_are_looked_for_in_the_project_that_a_table_lies_in(folder, tmp_path):
    (folder / "Class2D/job010").mkdir(parents=True)
    shutil.copy(folder / "new.star", folder / "Class2D/job010")
    table = read_particles(folder / "Class2D/job010/new.star", search="/")
    assert table.images[0][0] == folder / "a.mrcs"


def test_relion_s_mark_of_a_stack_is_read_and_written(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "b.mrcs").rename(folder / "b.mrc")
    (folder / "new.star").write_text(NEW_STAR.replace("b.mrcs", "b.mrc:mrcs"))
    table = read_particles(folder / "new.star")
    assert table.images[2] == (folder / "b.mrc", 2)
    out = canonical(table, 8).particles["rlnImageName"]
    assert list(out) == ["000002@a.mrcs", "000001@a.mrcs", "000003@b.mrc:mrcs"]


def test_names_survive_a_move_of_the_project(folder, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(folder)
    table = read_particles("new.star")
    write_particles("results/p.star", canonical(table, 8))
    image_source(table, 8, with_ctf=False).save("results/images.npz")
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "moved"
    folder.rename(elsewhere)
    monkeypatch.chdir(elsewhere)
    np.testing.assert_array_equal(
        read_images(read_particles("results/p.star"), [2]), noise(seed=2)[[2]]
    )
    np.testing.assert_array_equal(
        ImageSource.load("results/images.npz").read([2]), noise(seed=2)[[2]]
    )
    monkeypatch.chdir("/")
    assert read_particles(elsewhere / "results/p.star").images[0][0].is_file()


def test_the_same_images_are_told(folder):
    """By their names, and by their pixels under another name."""
    shutil.copy(folder / "a.mrcs", folder / "copy.mrcs")
    text = NEW_STAR + "2@copy.mrcs 1 1 1 1 x\n3@b.mrcs 1 1 1 1 x\n"
    (folder / "new.star").write_text(text)
    table = read_particles(folder / "new.star")
    assert check_images(table).duplicates == [(0, 3), (2, 4)]
    assert any("2 of 5 particles are the same image" in note for note in told(table))


@pytest.mark.parametrize("value", ["nan", "soon", "inf"])
def test_a_defocus_that_is_no_number_is_refused(folder, value):
    (folder / "new.star").write_text(NEW_STAR.replace("10001.0", value))
    with pytest.raises(InputError, match=f"rlnDefocusU of particle 2 is '{value}'"):
        _ = read_particles(folder / "new.star").ctf


@pytest.mark.parametrize(
    "column", ["rlnCtfDataArePhaseFlipped", "rlnCtfDataAreCtfPremultiplied"]
)
def test_images_are_not_flipped_twice(folder, column):
    text = NEW_STAR.replace("rlnMyOptics", column).replace('"two words"', "1")
    (folder / "new.star").write_text(text)
    table = read_particles(folder / "new.star")
    assert not has_ctf(table)
    with pytest.raises(InputError, match=f"{column} says .* set CTF: false"):
        _ = table.ctf


def test_working_folder_comes_before_the_folder_of_the_table(folder, monkeypatch):
    (folder / "jobs").mkdir()
    shutil.copy(folder / "new.star", folder / "jobs")
    shutil.copy(folder / "b.mrcs", folder / "jobs")
    monkeypatch.chdir(folder)
    table = read_particles("jobs/new.star")
    assert table.images[0][0] == folder / "a.mrcs"
    shutil.copy(folder / "b.mrcs", folder / "jobs" / "a.mrcs")
    assert read_particles("jobs/new.star").images[0][0] == folder / "a.mrcs"
    monkeypatch.chdir(folder.parent)
    nearby = read_particles(folder / "jobs" / "new.star", search="/")
    assert nearby.images[0][0] == folder / "jobs" / "a.mrcs"


def test_a_missing_stack_names_both_places(folder, monkeypatch):
    (folder / "b.mrcs").unlink()
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    with pytest.raises(InputError) as caught:
        _ = read_particles(folder / "new.star").images
    assert f"{folder}/elsewhere/b.mrcs and {folder}/b.mrcs" in str(caught.value)


def test_a_name_that_no_file_can_have_is_refused(folder):
    (folder / "new.star").write_text(NEW_STAR.replace("a.mrcs", "9" * 5000))
    with pytest.raises(InputError, match="is not there"):
        _ = read_particles(folder / "new.star").images


@pytest.mark.parametrize("name", ["0@a.mrcs", "x@a.mrcs", "-1@a.mrcs"])
def test_image_numbers_start_at_one(folder, name):
    (folder / "new.star").write_text(NEW_STAR.replace("000001@a.mrcs", name))
    with pytest.raises(InputError, match=f"particle 2 is '{name}'"):
        _ = read_particles(folder / "new.star").images


def test_canonical_table_keeps_every_other_value(folder):
    table = read_particles(folder / "new.star")
    write_particles(folder / "out" / "p.star", canonical(table, 8))
    again = read_particles(folder / "out" / "p.star")
    assert list(again.particles["rlnUnknown"]) == ["0010", "nan", "x y"]
    before = table.particles.drop(columns="rlnImageName")
    pd.testing.assert_frame_equal(again.particles.drop(columns="rlnImageName"), before)
    assert again.particles["rlnImageName"][0] == f"000002@{folder}/a.mrcs"
    assert again.images == table.images
    assert again.optics["rlnImageSize"].tolist() == ["8"]
    assert again.optics["rlnMyOptics"].tolist() == ["two words"]
    np.testing.assert_array_equal(again.ctf, table.ctf)


def test_other_blocks_are_kept(folder):
    (folder / "new.star").write_text(NEW_STAR + "\ndata_mine\n_key 'a value'\n")
    table = read_particles(folder / "new.star")
    write_particles(folder / "p.star", canonical(table, 8))
    assert read_star(folder / "p.star")["mine"] == {"key": "a value"}


def test_star_files_without_particles_are_refused(tmp_path):
    write_star(tmp_path / "a.star", {"movies": {"a": "1"}})
    refused(tmp_path / "a.star", "no block of particles, but data_movies")
    write_star(tmp_path / "b.star", {"particles": {"rlnMicrographName": "x"}})
    refused(tmp_path / "b.star", "no column _rlnImageName")
    write_star(
        tmp_path / "c.star",
        {"particles": pd.DataFrame(columns=["rlnImageName"], dtype=object)},
    )
    refused(tmp_path / "c.star", "holds no particle")


# --- subtomograms -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "columns", "reason"),
    [
        ("optics", {"rlnImageDimensionality": "3"}, "rlnImageDimensionality is 3"),
        ("optics", {"rlnTomoSubTomosAre2DStacks": "1"}, "tilted views"),
        ("general", {"rlnTomoSubTomosAre2DStacks": "1"}, "tilted views"),
        ("particles", {"rlnCtfImage": "c.mrc"}, "subtomograms"),
        ("particles", {"rlnTomoName": "t1"}, "subtomograms"),
    ],
)
def test_subtomograms_are_refused(tmp_path, block, columns, reason):
    blocks = {
        "general": {"rlnNote": "x"},
        "optics": {"rlnOpticsGroup": "1"},
        "particles": {"rlnImageName": "1@a.mrcs", "rlnOpticsGroup": "1"},
    }
    blocks[block] |= columns
    write_star(tmp_path / "a.star", blocks)
    refused(tmp_path / "a.star", f"{reason}.*ISAC needs")


# --- stacks without a table ---------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mrcs", ".mrc", ".st"])
def test_a_stack_alone(tmp_path, suffix):
    path = tmp_path / f"s{suffix}"
    write_stack(path, noise(), 1.25)
    table = read_particles(path)
    assert table.images == [(path, 0), (path, 1), (path, 2)]
    assert table.pixel_size == 1.25
    assert not has_ctf(table)
    np.testing.assert_array_equal(read_images(table, [0, 1, 2]), noise())


def test_a_volume_is_not_taken_for_a_stack(shared):
    path = shared / "data/subtomograms/focussed_classification_mask_ribo.mrc"
    refused(path, r"a volume of 100 x 100 x 100 .* rename it to \.mrcs")


# --- EMAN2 and SPARX ----------------------------------------------------------------

CTF = "E1.5 0.2 20 0 10 300 2.7 1.25 -1 0 0"


def test_eman_stack(tmp_path):
    attributes = [
        {
            "apix_x": 1.25,
            "ctf": CTF,
            "ptcl_source_image": "mic 1.mrc",
            "ID": i,
            "ptcl_source_coord": [3, 4 + i],
        }
        for i in range(3)
    ]
    attributes[2]["extra"] = 7
    write_images(tmp_path / "s.hdf", noise(), attributes)
    table = read_particles(tmp_path / "s.hdf", ctf_convention="sphire")
    assert table.pixel_size == 1.25
    assert table.images[2] == (tmp_path / "s.hdf", 2)
    assert table.ctf[0].tolist() == (16000, 14000, 115, 300, 2.7, 0.1, 0)
    assert list(table.particles["eman_ptcl_source_image"]) == ["mic 1.mrc"] * 3
    assert list(table.particles["eman_ptcl_source_coord"]) == [
        "[3,4]",
        "[3,5]",
        "[3,6]",
    ]
    assert list(table.particles["eman_extra"]) == ["None", "None", "7"]
    assert not any("sigma" in column for column in table.particles)
    np.testing.assert_array_equal(read_images(table, [2, 0]), noise()[[2, 0]])


def defocus_at(azimuth, columns):
    """Return the defocus of RELION's columns [A]."""
    u, v, s = (float(columns[f"rlnDefocus{part}"]) for part in ("U", "V", "Angle"))
    return (u + v) / 2 + (u - v) / 2 * np.cos(2 * (azimuth - np.radians(s)))


def test_astigmatism_of_both_conventions_is_that_of_relion():
    """Each gives one defocus at every azimuth, and not that of the other."""
    azimuth = np.linspace(0, 2 * np.pi, 37)
    for defocus, astigmatism, angle in [(1.5, 0.2, 20), (2.0, -0.3, 100), (1, 0, 0)]:
        numbers = (defocus, astigmatism, angle, 0, 10, 300, 2.7)
        t = np.radians(angle)
        by_sphire = defocus - astigmatism / 2 * np.sin(2 * (azimuth + t))
        by_eman2 = defocus + astigmatism / 2 * np.cos(2 * (azimuth - t))
        for convention, theirs in (("sphire", by_sphire), ("eman2", by_eman2)):
            ours = defocus_at(azimuth, relion_ctf(numbers, convention))
            np.testing.assert_allclose(ours, 1e4 * theirs, rtol=1e-5)


def eman2_phase(phase):
    """Return the contrast [%] in which libEM's EMAN2Ctf stores a phase [degree]."""
    sine = np.sin(np.radians(phase))
    if phase > 90:
        return 100 * (2 - sine)
    return 100 * (-2 - sine if phase < -90 else sine)


@pytest.mark.parametrize("phase", [-170, -95, -60, 0, 5.74, 60, 95, 115.8, 170])
def test_a_phase_plate_is_a_phase_shift(phase):
    """The contrast transfer at any phase is that of the writer."""
    chi = np.linspace(0, 7, 50)
    stored = {"eman2": eman2_phase(phase)}
    if phase >= 0:  # SPHIRE knows 0 to 180 degrees, as a tangent
        tangent = np.tan(np.radians(phase))
        stored["sphire"] = 100 * tangent / np.sqrt(1 + tangent**2)
    for convention, contrast in stored.items():
        columns = relion_ctf((1.5, 0, 0, 0, contrast, 300, 2.7), convention)
        w, shift = (
            float(columns[name]) for name in ("rlnAmplitudeContrast", "rlnPhaseShift")
        )
        assert 0 <= w <= 1
        np.testing.assert_allclose(
            np.sin(chi + np.arcsin(w) + np.radians(shift)),
            np.sin(chi + np.radians(phase)),
            atol=1e-4,
        )


@pytest.mark.parametrize(
    ("text", "attributes", "convention"),
    [
        ("E1.5 0.2 20 0 10 300 2.7 1.25 0 0", {}, None),
        ("E1.5 0.2 20 0 10 300 2.7 1.25 0 0", {"ctf_applied": 0}, "sphire"),
        ("E1.5 0.2 20 0 10 300 2.7 1.25 0 0", {"resample_ratio": 1.0}, "sphire"),
        ("E1.5 0.2 20 0 110 300 2.7 1.25 0 0", {}, "eman2"),
        ("E1.5 0.2 20 0 10 300 2.7 1.25 .1 2 3 4 0", {}, "eman2"),
        ("E1.5 0.2 20 0 110 300 2.7 1.25 0 0", {"ctf_applied": 0}, None),
        ("E1.5 0 20 0 -99 300 2.7 1.25 0 0", {}, None),
    ],
)
def test_whose_ctf_it_is_is_told_by_the_stack_or_asked_for(
    tmp_path, text, attributes, convention
):
    write_images(tmp_path / "s.hdf", noise(1), [{"ctf": text} | attributes])
    table = read_particles(tmp_path / "s.hdf", pixel_size=1.25)
    if convention is None:
        with pytest.raises(InputError, match="set ctf_convention: eman2 or"):
            _ = table.ctf
        assert not has_ctf(table)
        assert "rlnDefocusAngle" not in table.particles
        assert list(table.particles["eman_ctf"]) == [text]
    else:
        given = read_particles(tmp_path / "s.hdf", None, 1.25, convention)
        np.testing.assert_array_equal(table.ctf, given.ctf)


def test_without_astigmatism_nobody_is_asked(tmp_path):
    text = "E1.5 0 77 0 10 300 2.7 1.25 0 0"
    write_images(tmp_path / "s.hdf", noise(1), [{"ctf": text}])
    assert read_particles(tmp_path / "s.hdf").ctf["defocus_u"].tolist() == [15000]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("O-1.5 0 0 0.1", "is 'O-1.5"),
        ("E1.5 0", "is 'E1.5 0'"),
        ("Esome text in 8 words a b c", "is 'some'"),
        ("E1.5 0 0 0 10 300000 2.7 1.25", "voltage in .* is '300000'"),
        ("E1.5 0 0 0 1000 300 2.7 1.25", "contrast in .* is '1000'"),
        ("E15000 0 0 0 10 300 2.7 1.25", "defocus in .* is '15000'"),
    ],
)
def test_other_ctf_texts_are_refused(tmp_path, text, reason):
    write_images(tmp_path / "s.hdf", noise(1), [{"ctf": text}])
    assert "the ctf attribute of image 0" in refused(tmp_path / "s.hdf", reason)


def test_eman_stack_after_ctf_correction(tmp_path):
    write_images(tmp_path / "s.hdf", noise(1), [{"ctf": CTF, "ctf_applied": 1}])
    with pytest.raises(InputError, match="eman_ctf_applied says"):
        _ = read_particles(tmp_path / "s.hdf").ctf


def test_compressed_eman_stack(tmp_path):
    with h5py.File(tmp_path / "s.hdf", "w") as file:
        top = file.create_group("/MDF/images")
        top.attrs["imageid_max"] = 0
        group = top.create_group("0")
        group["image"] = np.array([[0, 255], [51, 0]], np.uint8)
        group.attrs["EMAN.stored_renderbits"] = 8
        group.attrs["EMAN.stored_rendermin"] = -1.0
        group.attrs["EMAN.stored_rendermax"] = 4.0
    table = read_particles(tmp_path / "s.hdf")
    np.testing.assert_allclose(read_images(table, [0])[0], [[-1, 4], [0, -1]])


def test_bdb_is_refused_with_the_command_that_converts():
    refused("bdb:stack", r"e2proc2d\.py bdb:stack particles\.hdf")


# --- cryoSPARC ----------------------------------------------------------------------


def cs_rows(n=3, sign=-1.0):
    rows = np.zeros(
        n,
        [
            ("uid", "<u8"),
            ("blob/path", "S20"),
            ("blob/idx", "<u4"),
            ("blob/shape", "<u4", (2,)),
            ("blob/psize_A", "<f4"),
            ("blob/sign", "<f4"),
            ("ctf/df1_A", "<f4"),
            ("ctf/df2_A", "<f4"),
            ("ctf/df_angle_rad", "<f4"),
            ("ctf/phase_shift_rad", "<f4"),
            ("ctf/accel_kv", "<f4"),
            ("ctf/cs_mm", "<f4"),
            ("ctf/amp_contrast", "<f4"),
        ],
    )
    rows["uid"] = 2**63 + np.arange(n, dtype=np.uint64)
    rows["blob/path"] = b">J1/imported/s.mrc"
    rows["blob/idx"] = np.arange(n)[::-1]
    rows["blob/psize_A"] = 1.31
    rows["blob/sign"] = sign
    rows["ctf/df1_A"], rows["ctf/df2_A"] = 15000.25, 14000
    rows["ctf/df_angle_rad"], rows["ctf/phase_shift_rad"] = np.pi / 6, np.pi / 2
    rows["ctf/accel_kv"], rows["ctf/cs_mm"], rows["ctf/amp_contrast"] = 300, 2.7, 0.1
    return rows


def save_cs(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as handle:
        np.save(handle, rows)


def test_cryosparc(tmp_path):
    save_cs(tmp_path / "J2" / "p.cs", cs_rows())
    (tmp_path / "J1" / "imported").mkdir(parents=True)
    write_stack(tmp_path / "J1" / "imported" / "s.mrc", noise(), 1.31)
    table = read_particles(tmp_path / "J2" / "p.cs")
    assert table.images[0] == (tmp_path / "J1/imported/s.mrc", 2)
    assert table.pixel_size == pytest.approx(1.31)
    assert table.ctf[0].tolist() == pytest.approx(
        (15000.25, 14000, 30, 300, 2.7, 0.1, 90), rel=1e-6
    )
    assert table.particles["cryosparc_uid"][1] == str(2**63 + 1)
    assert table.particles["cryosparc_blob_shape"][0] == "[0,0]"
    np.testing.assert_array_equal(read_images(table, [0]), -noise()[[2]])
    write_particles(tmp_path / "p.star", canonical(table, 8))
    again = read_particles(tmp_path / "p.star")
    np.testing.assert_array_equal(read_images(again, [0]), -noise()[[2]])


CTF_FIELDS = [name for name in cs_rows().dtype.names if name.startswith("ctf/")]
BLOB_FIELDS = [name for name in cs_rows().dtype.names if name.startswith("blob/")]


@pytest.mark.parametrize("given", ["P1_J2_020_particles.cs", "P1_J2_passthrough.cs"])
def test_files_of_a_job_are_joined_by_uid(tmp_path, given):
    """Rows of the two files come in different orders."""
    rows = cs_rows()
    rows["ctf/df1_A"] += np.arange(3)
    rows["blob/idx"] = [2, 0, 1]
    (tmp_path / "J1/imported").mkdir(parents=True)
    write_stack(tmp_path / "J1/imported/s.mrc", noise(), 1.31)
    save_cs(tmp_path / "J2/P1_J2_000_particles.cs", rows[["uid", "ctf/cs_mm"]][:2])
    save_cs(tmp_path / "J2/P1_J2_020_particles.cs", rows[["uid", *BLOB_FIELDS]])
    save_cs(tmp_path / "J2/P1_J2_passthrough.cs", rows[["uid", *CTF_FIELDS]][::-1])
    table = read_particles(tmp_path / "J2" / given)
    defocus = {image: u for (_, image), u in zip(table.images, table.ctf, strict=True)}
    assert [defocus[i]["defocus_u"] for i in (2, 0, 1)] == rows["ctf/df1_A"].tolist()
    assert len(table.joined) == 1
    assert any("uid by uid" in sentence for sentence in told(table))


def test_an_inverted_stack_is_told(tmp_path):
    save_cs(tmp_path / "J2" / "p.cs", cs_rows())
    (tmp_path / "J1" / "imported").mkdir(parents=True)
    write_stack(tmp_path / "J1" / "imported" / "s.mrc", noise(), 1.31)
    table = read_particles(tmp_path / "J2" / "p.cs")
    assert any("blob/sign is -1 for 3 of 3" in sentence for sentence in told(table))
    names = canonical(table, 8).particles["rlnImageName"]
    assert names[0] == f"000003@{tmp_path}/J1/imported/s.mrc:mrcs"


def test_a_long_header_of_cryosparc_is_read(tmp_path):
    more = [(f"alignments_class_{i}/class_posterior", "<f4") for i in range(900)]
    rows = np.zeros(3, [*cs_rows().dtype.descr, *more])
    for name in cs_rows().dtype.names:
        rows[name] = cs_rows()[name]
    save_cs(tmp_path / "p.cs", rows)
    assert read_particles(tmp_path / "p.cs").n == 3


def object_rows():
    rows = np.zeros(2, [("blob/path", object), ("blob/idx", "<u4")])
    return rows


@pytest.mark.parametrize(
    "content",
    [
        lambda: np.array(3.0),
        lambda: cs_rows().reshape(1, 3),
        lambda: np.zeros(3),
        object_rows,
        lambda: changed("blob/idx", "<f4", 1.5),
        lambda: changed("blob/idx", "<f4", np.nan),
        lambda: changed("blob/idx", "<u8", 2**40),
        lambda: changed("blob/path", "S20", b"\xff\xfe.mrc"),
        lambda: np.zeros(2, [("blob/path", "S9"), ("blob/idx", "<u4", (2,))]),
    ],
)
def test_what_is_no_table_of_cryosparc_is_refused(tmp_path, content):
    with (tmp_path / "p.cs").open("wb") as handle:
        np.save(handle, content(), allow_pickle=True)
    sentence = refused(tmp_path / "p.cs", r"p\.cs: ")
    assert "\n" not in sentence


def changed(name, kind, value):
    """Return rows in which one field has another type and value."""
    kinds = [(n, kind if n == name else cs_rows().dtype[n]) for n in BLOB_FIELDS]
    rows = np.zeros(3, kinds)
    rows[name] = value
    return rows


@pytest.mark.parametrize("header", [b"(99999999999,), }", b"(3,), ( "])
def test_a_header_of_more_rows_than_there_are_or_broken_is_refused(tmp_path, header):
    save_cs(tmp_path / "p.cs", cs_rows())
    raw = (tmp_path / "p.cs").read_bytes()
    (tmp_path / "p.cs").write_bytes(raw.replace(b"(3,), }", header, 1))
    refused(tmp_path / "p.cs", "not readable as a cryoSPARC table")


def test_cryosparc_tables_without_images_are_refused(tmp_path):
    save_cs(tmp_path / "p.cs", cs_rows()[["uid", "ctf/df1_A"]])
    refused(tmp_path / "p.cs", "have its passthrough file beside it")
    (tmp_path / "q.cs").write_bytes(b"hello")
    refused(tmp_path / "q.cs", "not readable as a cryoSPARC table")


# --- anything else ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.xml", "a.em", "a.tbl", "a.hdf", "a"])
def test_other_files_are_refused_with_what_is_accepted(tmp_path, name):
    (tmp_path / name).write_text("hello")
    refused(tmp_path / name, r"give a RELION table \(\.star\).*cryoSPARC")


def test_a_missing_file_is_refused(tmp_path):
    refused(tmp_path / "a.star", "no such file")


# --- images -------------------------------------------------------------------------


def test_images_that_hold_nothing_are_listed_not_refused(folder):
    pixels = noise(seed=1)
    pixels[1, 2, 3] = np.nan
    write_stack(folder / "a.mrcs", pixels, 1.5)
    pixels = noise(seed=2)
    pixels[2] = 4.0
    write_stack(folder / "b.mrcs", pixels, 1.5)
    report = check_images(read_particles(folder / "new.star"))
    assert report.box == 8
    assert report.excluded == [
        {"id": 0, "image": f"000002@{folder}/a.mrcs", "reason": "not finite"},
        {"id": 2, "image": f"000003@{folder}/b.mrcs", "reason": "all pixels are 4"},
    ]


def test_what_rounding_leaves_of_a_constant_holds_nothing(folder):
    pixels = noise(seed=2)
    pixels[2] = 1000 + 1e-4 * pixels[1]
    write_stack(folder / "b.mrcs", pixels, 1.5)
    report = check_images(read_particles(folder / "new.star"))
    assert [entry["id"] for entry in report.excluded] == [2]


@pytest.mark.parametrize(("part", "told_of"), [(2, [2]), (0, [])])
def test_images_beyond_the_edge_of_their_micrograph_are_told(folder, part, told_of):
    pixels = noise(seed=2)
    pixels[2, :, :part] = 0.5
    write_stack(folder / "b.mrcs", pixels, 1.5)
    table = read_particles(folder / "new.star")
    assert check_images(table).filled == told_of
    sentence = "1 of 3 particles hold one and the same value in more than 10 %"
    assert any(sentence in note for note in told(table)) == bool(told_of)


def test_images_that_were_all_masked_are_not_told(folder):
    for name, seed in (("a.mrcs", 1), ("b.mrcs", 2)):
        pixels = noise(seed=seed)
        pixels[:, :, :3] = 0
        write_stack(folder / name, pixels, 1.5)
    table = read_particles(folder / "new.star")
    assert check_images(table).filled == [0, 1, 2]
    assert not any("one and the same value" in note for note in told(table))


def test_odd_sizes_are_read(tmp_path):
    write_stack(tmp_path / "s.mrcs", noise(2, 7, 7), 1.5)
    table = read_particles(tmp_path / "s.mrcs")
    assert check_images(table).box == image_box(table) == 7
    np.testing.assert_array_equal(read_images(table, [1]), noise(2, 7, 7)[[1]])


def test_images_that_are_not_square_are_refused(tmp_path):
    write_stack(tmp_path / "s.mrcs", noise(2, 6, 7), 1.5)
    with pytest.raises(InputError, match=r"000001@.*s\.mrcs is 7 x 6 pixel"):
        check_images(read_particles(tmp_path / "s.mrcs"))


def test_images_of_two_sizes_are_refused(folder):
    write_stack(folder / "b.mrcs", noise(3, 9, 9), 1.5)
    with pytest.raises(InputError, match=r"000003@.*b\.mrcs \(particle 3\) is 9"):
        check_images(read_particles(folder / "new.star"))


def test_a_number_beyond_the_stack_is_refused(folder):
    (folder / "new.star").write_text(NEW_STAR.replace("3@b", "4@b"))
    with pytest.raises(InputError, match=r"b\.mrcs: image 4 .* the stack holds 3"):
        check_images(read_particles(folder / "new.star"))


def test_a_broken_off_stack_is_refused(folder):
    path = folder / "b.mrcs"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="2 whole images are there"):
        check_images(read_particles(folder / "new.star"))


# --- real files ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "n", "box", "pixel_size", "ctf"),
    [
        ("empiar_10076_7.cs", 7, 320, 1.31, True),
        ("empiar_10076_7.mrc", 7, 320, None, False),
        ("empiar_10076_7.star", 7, 320, 1.31, True),
        ("hand.5.mrcs", 5, 64, None, False),
        ("relion31.mrcs", 5, 256, None, False),
        ("relion31.star", 5, 256, 2.806, True),
        ("sample.mrcs", 17, 200, None, False),
    ],
)
def test_real_particles(shared, monkeypatch, tmp_path, name, n, box, pixel_size, ctf):
    folder = shared / "data" / "particles"
    if name == "relion31.star":  # the stack has another name now
        text = (folder / name).read_text()
        stacks = {
            word.partition("@")[2]
            for word in text.split()
            if "@Extract" in word or "@relion31" in word
        }
        for stack in stacks:
            (tmp_path / stack).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / stack).symlink_to(folder / "relion31.mrcs")
    monkeypatch.chdir(tmp_path)
    table = read_particles(folder / name)
    assert table.n == n
    report = check_images(table)
    assert (report.box, report.excluded) == (box, [])
    assert has_ctf(table) == ctf
    if pixel_size is None:
        table = read_particles(folder / name, pixel_size=1.5)
    else:
        assert table.pixel_size == pytest.approx(pixel_size, abs=1e-4)
    stack = folder / ("relion31.mrcs" if "relion31" in name else name)
    if "empiar" in name:
        stack = folder / "empiar_10076_7.mrc"
    sign = -1 if name.endswith(".cs") else 1
    source = image_source(table, box, with_ctf=ctf)
    np.testing.assert_array_equal(source.read([n - 1]), sign * open_stack(stack)[[-1]])
    np.testing.assert_array_equal(read_images(table, [n - 1]), source.read([n - 1]))


def test_cryosparc_and_star_of_one_data_set_agree(shared):
    """cryoSPARC imported this STAR file: same CTF, same pixels up to the sign."""
    folder = shared / "data" / "particles"
    theirs = read_particles(folder / "empiar_10076_7.cs")
    ours = read_particles(folder / "empiar_10076_7.star")
    for field in ours.ctf.dtype.names:
        np.testing.assert_allclose(theirs.ctf[field], ours.ctf[field], rtol=1e-6)
    np.testing.assert_array_equal(
        read_images(theirs, range(7)), -read_images(ours, range(7))
    )


@pytest.mark.parametrize(
    ("name", "n", "groups"),
    [
        ("FinalRefinement-OriginalParticles-PfCRT.star", 5, 1),
        ("cryosparc_J2_particles_exported.cs", 22, 1),
        ("cryosparc_P12_J24_001_particles.cs", 2019, 1),
        ("pytom_relion_with_optics_group.star", 60, 1),
        ("relion31.6opticsgroups.star", 139, 6),
        ("relion31.v2.star", 5, 1),
        ("relion5.star", 17, 1),
        ("sta_testing_bin8.star", 219, 1),
        ("toy_projections.star", 1000, 1),
    ],
)
def test_real_tables(shared, monkeypatch, tmp_path, name, n, groups):
    monkeypatch.chdir(tmp_path)
    table = read_particles(shared / "data" / "tables" / name)
    assert (table.n, len(table.optics)) == (n, groups)
    if name.startswith("FinalRefinement"):
        assert table.missing_ctf == ["rlnAmplitudeContrast"]
    else:
        assert len(table.ctf) == n
    with pytest.raises(InputError, match=r" is not there \(looked for"):
        _ = table.images


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pytom_subtomo_format.star", "holds subtomograms"),
        ("pytom_pickpos_format.xml", "not a particle table known here"),
    ],
)
def test_real_tables_of_other_kinds(shared, name, reason):
    refused(shared / "data" / "tables" / name, reason)


def test_real_groups_of_two_pixel_sizes(shared):
    table = read_particles(shared / "data/tables/relion31.6opticsgroups.star")
    with pytest.raises(InputError, match=r"1.250000 in .* 1, 1.240000 in .* 2"):
        _ = table.pixel_size


def test_a_single_image_needs_no_number(folder):
    write_stack(folder / "one.mrc", noise(1, seed=3), 1.5)
    (folder / "new.star").write_text(NEW_STAR.replace("3@b.mrcs", "one.mrc"))
    table = read_particles(folder / "new.star")
    np.testing.assert_array_equal(read_images(table, [2]), noise(1, seed=3))


def test_a_stack_may_have_any_name(folder):
    (folder / "a #2").mkdir()
    shutil.copy(folder / "b.mrcs", folder / "a #2" / "it's@home.mrcs")
    text = NEW_STAR.replace("3@b.mrcs", f'"3@{folder}/a #2/it\'s@home.mrcs"')
    (folder / "new.star").write_text(text)
    table = read_particles(folder / "new.star")
    write_particles(folder / "p.star", canonical(table, 8))
    again = read_particles(folder / "p.star")
    np.testing.assert_array_equal(read_images(again, [2]), noise(seed=2)[[2]])
