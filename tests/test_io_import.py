"""The import of a 2D run: all of its files, or one sentence and none."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from cryokin.io.mrc import write_stack
from cryokin.io.particles import read_particles
from cryokin.io.stacks import ImageSource


def run(root, folder, *options, particles="s.mrcs"):
    return subprocess.run(
        [
            sys.executable,
            root / "workflow/scripts/isac_import.py",
            *("--particles", particles),
            *("--table", "out/p.star"),
            *("--source", "out/p.npz"),
            *("--info", "out/p.json"),
            *options,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folder(tmp_path):
    pixels = np.random.default_rng(1).normal(size=(9, 16, 16))
    pixels[3] = 0
    write_stack(tmp_path / "s.mrcs", pixels, 1.5)
    return tmp_path


def test_import_writes_table_source_and_info(root, folder, monkeypatch):
    monkeypatch.chdir(folder)
    done = run(root, folder, "--radius", "7", "--img-per-grp", "2")
    assert done.returncode == 0, done.stderr
    info = json.loads((folder / "out/p.json").read_text())
    assert info == {
        "n": 9,
        "box": 16,
        "pixel_size": 1.5,
        "has_ctf": False,
        "source": "s.mrcs",
        "sha256": hashlib.sha256((folder / "s.mrcs").read_bytes()).hexdigest(),
        "excluded": [
            {"id": 3, "image": f"000004@{folder}/s.mrcs", "reason": "constant"}
        ],
        "warnings": [],
    }
    table = read_particles(folder / "out/p.star")
    assert table.particles["rlnImageName"][8] == "000009@s.mrcs"  # seen from here
    assert table.optics["rlnImageSize"].tolist() == ["16"]
    source = ImageSource.load(folder / "out/p.npz")
    assert (source.n, source.box, source.has_ctf) == (9, 16, False)


def test_import_twice_gives_the_same_bytes(root, folder):
    names = ("p.star", "p.npz", "p.json")
    run(root, folder)
    first = [(folder / "out" / name).read_bytes() for name in names]
    run(root, folder)
    assert [(folder / "out" / name).read_bytes() for name in names] == first


@pytest.mark.parametrize(
    ("options", "particles", "sentence"),
    [
        (("--radius", "8"), "s.mrcs", "radius = 8 pixel does not fit the box of 16"),
        (("--radius", "8"), "s.mrcs", "(allowed: 1 to 7)"),
        (("--img-per-grp", "3"), "s.mrcs", "9 usable particles are too few"),
        (("--need-ctf",), "s.mrcs", "rlnDefocusU, rlnVoltage"),
        ((), "bdb:s", "e2proc2d.py bdb:s particles.hdf"),
        ((), "t.mrcs", "no such file"),
    ],
)
def test_refusals_are_one_sentence_and_leave_no_file(
    root, folder, options, particles, sentence
):
    done = run(root, folder, *options, particles=particles)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (folder / "out").exists()


def test_excluded_images_do_not_count(root, folder):
    pixels = np.random.default_rng(1).normal(size=(8, 16, 16))
    pixels[3, 0, 0] = np.inf
    write_stack(folder / "s.mrcs", pixels, 1.5)
    done = run(root, folder, "--img-per-grp", "2")
    assert "7 usable particles (without 1 constant or not finite)" in done.stderr


def test_real_particles_with_ctf(root, shared, tmp_path):
    done = run(
        root,
        tmp_path,
        *("--need-ctf", "--radius", "120"),
        particles=str(shared / "data/particles/empiar_10076_7.star"),
    )
    assert done.returncode == 0, done.stderr
    source = ImageSource.load(tmp_path / "out/p.npz")
    assert source.ctf["defocus_u"][0] == 15301.1
