"""Slices through class averages, their differences, and surfaces for ChimeraX."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from cryokin.report import volumes
from cryokin.report.volumes import chimerax_script, surface_level, through

BOX = 16


def read(uri, mode="L"):
    raw = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(raw)).convert(mode)).astype(int)


def ball(*centre):
    z, y, x = np.indices((BOX,) * 3)
    squares = sum((a - b) ** 2 for a, b in zip((z, y, x), centre, strict=True))
    return np.exp(-squares / 4).astype(np.float32)


def test_slices_are_those_of_the_volume_on_one_scale():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, BOX, BOX, BOX)).astype(np.float32)
    cut = through([one, 3 * other], None)
    assert cut.z == list(range(-7, 8))
    shown = [read(uri) for uri in cut.averages]
    spread = [image.std() for image in shown]
    assert spread[1] > 2 * spread[0]  # contrast is not that of each alone
    for i, z in enumerate(cut.z):
        part = shown[1][:, i * BOX : (i + 1) * BOX]
        assert np.corrcoef(part.ravel(), other[BOX // 2 + z].ravel())[0, 1] > 0.97


def test_differences_tell_where_a_class_has_more_and_where_less():
    whole = ball(8, 8, 8)
    cut = through([whole + ball(5, 4, 4), whole + ball(5, 11, 11)], 7)
    assert cut.differences[0] == ""
    assert cut.z[cut.most] == 5 - BOX // 2
    red, _, blue = np.moveaxis(read(cut.differences[1], "RGB"), -1, 0)
    at = slice(cut.most * BOX, (cut.most + 1) * BOX)
    bluer = (blue - red)[:, at]
    assert bluer[11, 11] > 60 and bluer[4, 4] < -60 and abs(bluer[8, 8]) < 10


def test_like_classes_differ_by_nothing():
    cut = through([ball(8, 8, 8)] * 2, None)
    red, green, blue = np.moveaxis(read(cut.differences[1], "RGB"), -1, 0)
    assert np.ptp(red - blue) == 0 and abs(red - blue).max() < 10 and green.min() > 200
    assert through([ball(8, 8, 8)], None).differences == [""]


@pytest.mark.parametrize("box", [32, 200])
def test_slices_of_many_large_classes_are_bounded(box):
    noise = np.random.default_rng(1).normal(size=(box,) * 3).astype(np.float32)
    made = [noise] + [noise * (2 + i) for i in range(volumes.MOST_CLASSES - 1)]
    cut = through(made, None)
    assert sum(map(len, [*cut.averages, *cut.differences])) < 2.2e6


@pytest.mark.parametrize("sign", [1, -1])
def test_one_level_encloses_the_particle(sign):
    """Whether it is bright or dark."""
    both = [sign * ball(8, 8, 8) + 3, sign * ball(6, 8, 8) + 3]
    level = surface_level(both)
    for volume, z in zip(both, (8, 6), strict=True):
        inside = sign * volume > sign * level
        assert inside[z, 8, 8] and not inside[0, 0, 0]
        assert 0.005 < inside.mean() < 0.05


def test_commands_open_each_class_at_one_level_in_its_colour():
    files = {"class 1": "../a/class_1.mrc", 'open"; exit': "../a/class_2.mrc"}
    made = [ball(8, 8, 8), ball(6, 8, 8)]
    text = chimerax_script("demo", files, ["c0", "c1"], made)
    lines = text.splitlines()
    assert [line for line in lines if line.startswith("open")] == [
        'open "../a/class_1.mrc" id 1 name "class 1"',
        'open "../a/class_2.mrc" id 2 name "open__ exit"',
    ]
    looks = [line.split() for line in lines if line.startswith("volume")]
    assert len({look[3] for look in looks}) == 1  # the level
    assert [look[-1] for look in looks] == ["#24597a", "#d0622b"]
    assert chimerax_script("none", {}, [], []).endswith("tile\nview\n")
