"""The import of a 2D run: all of its files, or one sentence and none."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from cryokin.checks import check_run
from cryokin.config import load_runs
from cryokin.errors import InputError
from cryokin.io.mrc import write_stack
from cryokin.io.particles import read_particles
from cryokin.io.stacks import ImageSource
from isac_import import isac_import

RUN = {"method": "isac", "particles": "s.mrcs", "thld_grp": 1}


def run(particles="s.mrcs", img_per_grp=2, **options):
    given = {"img_per_grp": img_per_grp, "radius": 7} | options
    names = {"table": "p.star", "images": "p.npz", "info": "p.json"}
    isac_import(
        particles=particles,
        options=load_runs({"runs": {"a": RUN | given}})["a"],
        **{key: Path("out", name) for key, name in names.items()},
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(1).normal(size=(9, 16, 16))
    pixels[3] = 0
    write_stack(tmp_path / "s.mrcs", pixels, 1.5)
    return tmp_path


def test_import_writes_table_source_and_info(folder):
    run()
    info = json.loads((folder / "out/p.json").read_text())
    blank = f"000004@{folder}/s.mrcs"
    assert info == {
        "n": 9,
        "box": 16,
        "pixel_size": 1.5,
        "radius": 7,
        "flips": False,
        "ctf": "nothing is flipped, the table describes none that the images still"
        " have",
        "has_ctf": False,
        "source": "s.mrcs",
        "sha256": hashlib.sha256((folder / "s.mrcs").read_bytes()).hexdigest(),
        "excluded": [{"id": 3, "image": blank, "reason": "all pixels are 0"}],
        "warnings": [
            f"1 of 9 particles are left out, such as {blank}: all pixels are 0;"
            " import.json names them all."
        ],
    }
    table = read_particles(folder / "out/p.star")
    assert table.particles["rlnImageName"][8] == "000009@s.mrcs"  # seen from here
    assert table.optics["rlnImageSize"].tolist() == ["16"]
    source = ImageSource.load(folder / "out/p.npz")
    assert (source.n, source.box, source.has_ctf) == (9, 16, False)


def test_import_twice_gives_the_same_bytes(folder):
    names = ("p.star", "p.npz", "p.json")
    run()
    first = [(folder / "out" / name).read_bytes() for name in names]
    run()
    assert [(folder / "out" / name).read_bytes() for name in names] == first


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"radius": 8}, "radius = 8 pixel does not fit the box of 16"),
        ({"radius": 8}, "(allowed: 1 to 7)"),
        ({"radius": None, "diameter": 23}, "diameter = 23 A, a radius = 8 pixel does"),
        ({"highpass_A": 5}, "highpass_A = 5 A would leave nothing"),
        ({"img_per_grp": 3}, "9 usable particles are too few"),
        ({"CTF": True}, "rlnDefocusU, rlnVoltage"),
        ({"particles": "bdb:s"}, "e2proc2d.py bdb:s particles.hdf"),
        ({"particles": "t.mrcs"}, "no such file"),
    ],
)
def test_refusals_are_one_sentence_and_leave_no_file(folder, given, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)) as refused:
        run(**given)
    assert "\n" not in str(refused.value)
    assert not (folder / "out").exists()


CTF = {"rlnDefocusU": "10000", "rlnVoltage": "300"}
CTF |= {"rlnSphericalAberration": "2.7", "rlnAmplitudeContrast": "0.1"}


def table(folder, names, **columns):
    """Write p.star with these images."""
    lines = ["data_", "", "loop_", "_rlnImageName", *(f"_{key}" for key in columns)]
    rows = (" ".join([name, *columns.values()]) for name in names)
    (folder / "p.star").write_text("\n".join([*lines, *rows]) + "\n")


@pytest.mark.parametrize(
    ("asked", "columns", "flips", "words"),
    [
        ("auto", CTF, True, "phases are flipped"),
        (True, CTF, True, "phases are flipped"),
        (False, CTF, False, "left in the images"),
        ("auto", {}, False, "nothing is flipped"),
        ("auto", CTF | {"rlnDefocusU": "0"}, False, "nothing is flipped"),
        ("auto", CTF | {"rlnCtfDataArePhaseFlipped": "1"}, False, "nothing is flipped"),
    ],
)
def test_phases_are_flipped_if_the_table_describes_a_ctf(
    folder, asked, columns, flips, words
):
    table(folder, [f"{i}@s.mrcs" for i in range(1, 10)], **columns)
    run("p.star", CTF=asked, pixel_size=1.5)
    told = json.loads((folder / "out/p.json").read_text())
    assert told["flips"] is flips
    assert told["ctf"].startswith(words)
    assert ImageSource.load(folder / "out/p.npz").has_ctf is flips


def test_a_radius_follows_from_the_diameter(folder):
    run(radius=None, diameter=15)
    assert json.loads((folder / "out/p.json").read_text())["radius"] == 5


def test_a_stack_that_is_too_short_is_seen_before_an_image_is_read(folder):
    table(folder, [f"{i}@s.mrcs" for i in (1, 12, 3, 4, 5, 6, 7, 8)])
    options = load_runs({"runs": {"a": RUN | {"radius": 7, "img_per_grp": 1}}})["a"]
    with pytest.raises(InputError, match="image 12 asked for, but the stack holds 9"):
        check_run(options, "p.star")


def test_excluded_images_do_not_count(folder):
    pixels = np.random.default_rng(1).normal(size=(8, 16, 16))
    pixels[3, 0, 0] = np.inf
    write_stack(folder / "s.mrcs", pixels, 1.5)
    told = "7 usable particles (without 1 constant or not finite)"
    with pytest.raises(InputError, match=re.escape(told)):
        run()


def test_real_particles_with_ctf(folder, shared):
    path = shared / "data/particles/empiar_10076_7.star"
    run(str(path), img_per_grp=1, radius=120)
    source = ImageSource.load(folder / "out/p.npz")
    assert source.ctf["defocus_u"][0] == 15301.1
    assert source.optics([0])[0]["defocus_u"] == 15301.1
