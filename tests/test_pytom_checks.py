"""What subtomograms say against their list: blank ones, copies, wrong wedges."""

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cryokin.checks import check_run, resolved
from cryokin.config import load_runs
from cryokin.errors import InputError
from cryokin.files import read_json
from cryokin.io.em import read_em, write_em
from cryokin.io.mrc import write_volume
from cryokin.io.pytom_xml import (
    Particle,
    SingleTiltWedge,
    read_particle_list,
    write_particle_list,
)
from cryokin.io.star import read_star
from cryokin.io.subtomograms import read_subtomograms
from cryokin.options import Cpca
from cryokin.parallel import Team
from cryokin.rings import resolution
from cryokin.simulate.volumes import VolumeRecipe, simulate_volumes, write_volume_set
from cryokin.subtomo.checks import inverted, look, mask_warnings
from cryokin.subtomo.files import load_import
from cryokin.subtomo.mask import make_mask
from cryokin.subtomo.prepare import contrast_warnings, inverted_contrast
from cryokin.subtomo.results import class_average, halves_of, write_results
from cryokin.volume import masks
from cryokin.volume.bands import band, rows
from cryokin.volume.filters import filtered, frequencies
from cryokin.volume.wedge import TiltWedge
from pytom_import import pytom_import

BOX = 20
EM = "class_averages/class_1.em"
USUAL = SingleTiltWedge(30, 30)


def noise(seed, angles=(30, 30)):
    """Noise of one series, tilted from angles[0] - 90 to 90 - angles[1] about y."""
    volume = np.random.default_rng(seed).normal(size=(BOX,) * 3)
    weight = TiltWedge(*np.radians(angles)).weight(frequencies((BOX,) * 3), (BOX,) * 3)
    return filtered(volume, weight).astype(np.float32)


@pytest.fixture
def listed(tmp_path):
    """Return a function that lists volumes, with wedges that may be wrong."""

    def of(volumes, wedge=USUAL, shift=(0.0, 0.0, 0.0)):
        particles = []
        for i, volume in enumerate(volumes):
            write_em(tmp_path / f"p{i}.em", np.asarray(volume, np.float32))
            particles.append(Particle(f"p{i}.em", shift=shift, wedge=wedge))
        write_particle_list(tmp_path / "list.xml", particles)
        return read_subtomograms(tmp_path / "list.xml")

    return of


@pytest.mark.parametrize("angles", [(30, 30), (20, 45), (0, 0), (90, 30)])
def test_nothing_is_told_of_a_list_that_is_right(listed, angles):
    table = listed([noise(i, angles) for i in range(4)], SingleTiltWedge(*angles))
    found = look(table)
    assert (found.excluded, found.copies, found.warnings) == ([], [], [])


@pytest.mark.parametrize(
    ("true", "given", "hint"),
    [
        ((20, 50), SingleTiltWedge(50, 20), "the two angles in the other order"),
        ((30, 30), SingleTiltWedge(60, 60), "90 degrees minus each angle"),
        ((25, 40), SingleTiltWedge(65, 50), "90 degrees minus each angle"),
        (
            (30, 30),
            SingleTiltWedge(30, 30, tilt_axis=(-90, 0, 0)),
            "turned by 90 degrees",
        ),
        ((30, 30), SingleTiltWedge(30, 30, tilt_axis=(30, 70, 80)), "see that the"),
        ((0, 0), SingleTiltWedge(30, 30), "see that the angles"),
        ((30, 30), SingleTiltWedge(0, 0), "has no power"),
        ((50, 50), SingleTiltWedge(30, 30), "has no power"),
    ],
)
def test_a_wedge_that_is_not_that_of_the_data_is_told_once(listed, true, given, hint):
    (warning,) = look(listed([noise(i, true) for i in range(4)], given)).warnings
    assert hint in warning


def test_tomograms_of_a_wrong_wedge_are_counted(listed):
    table = listed([noise(i, (20, 50)) for i in range(4)], SingleTiltWedge(20, 50))
    wrong = SingleTiltWedge(50, 20)
    particles = [
        replace(p, origin=f"t{i % 2}", wedge=wrong if i % 2 else p.wedge)
        for i, p in enumerate(table.particles)
    ]
    (warning,) = look(replace(table, particles=tuple(particles))).warnings
    assert "1 of 2 tomograms, such as t1" in warning


@pytest.mark.parametrize("value", [0.0, 3.5, -1e6])
def test_blank_particles_are_left_out(listed, value):
    blank = np.full((BOX,) * 3, value)
    found = look(listed([noise(0), blank, noise(1), blank]))
    assert [entry["id"] for entry in found.excluded] == [1, 3]
    assert f"all pixels are {value:g}" in found.excluded[0]["reason"]
    assert found.copies == []
    (warning,) = found.warnings
    assert "2 of 4 particles are left out" in warning


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_particles_that_are_not_finite_are_left_out(listed, value):
    broken = noise(2)
    broken[3, 2, 1] = value
    (entry,) = look(listed([noise(0), broken, noise(1)])).excluded
    assert (entry["id"], entry["reason"]) == (1, "not finite")


def test_particles_whose_centre_is_outside_of_their_box_are_left_out(listed):
    found = look(listed([noise(0)], shift=(0.0, -BOX / 2, 0.0)))
    assert "lies outside of its box" in found.excluded[0]["reason"]


def test_particles_at_the_edge_of_a_tomogram_are_told(listed):
    half = noise(0)
    half[: BOX // 2] = 0
    (warning,) = look(listed([noise(1), half, noise(2)], SingleTiltWedge())).warnings[
        :1
    ]
    assert "1 of 3 particles hold one and the same value" in warning


def test_copies_are_told_and_are_in_one_half(listed):
    """Two lists of the same particles have the resolution of one."""
    table = listed([noise(i) for i in (0, 1, 2, 0, 1, 2)])
    found = look(table)
    assert found.copies == [[0, 3], [1, 4], [2, 5]]
    assert "3 of 6 particles have the data of another one" in found.warnings[0]
    twice = replace(table, copies=(0, 1, 2, 0, 1, 2))
    assert halves_of(twice, list(range(6))) == [0, 1, 0, 0, 1, 0]
    assert halves_of(table, list(range(6))) == [0, 1, 0, 1, 0, 1]

    def shells(of):
        mask = masks.sphere((BOX,) * 3, 9, 1)
        return class_average(of, list(range(6)), mask, False, Team()).fsc[2:]

    # The even members 0, 2, 1 and the odd ones 1, 0, 2 are the same data.
    assert shells(table).min() > 0.99
    assert np.abs(shells(twice)).mean() < 0.5


def test_an_inverted_mask_is_seen():
    ball = masks.sphere((BOX,) * 3, 7, 2)
    assert inverted(1 - ball)
    for right in (ball, np.ones((BOX,) * 3), masks.sphere((BOX,) * 3, 3, 1, (6, 0, 0))):
        assert not inverted(right)


def options_of_run(particles, **changes):
    """Return the options of a run of CPCA."""
    run = {
        **{"method": "cpca", "particles": str(particles), "nclass": 2},
        **{"mask": {"sphere": {"radius": 6, "edge": 1}}, "lowpass": 5},
        "wedge": {"angles": [30, 30]},
    }
    given = {key: value for key, value in (run | changes).items() if value is not None}
    return load_runs({"runs": {"a": given}})["a"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"lowpass": 9}, "lowpass = 9 Fourier pixels is beyond half the box of 16"),
        ({"lowpass": None, "lowpass_A": 20}, "lowpass = 11.2 Fourier pixels is beyond"),
        ({"highpass_A": 40}, "leaves nothing above highpass = 5.6; lower highpass"),
        ({"binning": 2}, "beyond half the box of 8 voxels"),
        ({"nclass": 7}, "6 usable particles are too few for nclass = 7"),
        ({"mask": {"sphere": {"radius": 8}}}, "does not fit the box of 16"),
        ({"mask": {"sphere": {"diameter": 224}}}, "radius 8 does not fit the box"),
        ({"focus_mask": {"sphere": {"radius": 9}}}, "focus_mask: a sphere of radius 9"),
        ({"mask": "small.mrc"}, "the mask has 12 x 12 x 12 voxels"),
        ({"wedge": None}, "no column rlnCtfImage tells what was sampled"),
        ({"method": "isac", "radius": 5}, "holds subtomograms"),
    ],
)
def test_what_headers_tell_is_said_before_the_start(tmp_path, changes, sentence):
    made = simulate_volumes(VolumeRecipe(n_particles=6, box=16, pixel_size=14.0))
    write_volume_set(tmp_path / "set", made)
    write_volume(tmp_path / "small.mrc", np.ones((12,) * 3), None)
    if changes.get("mask") == "small.mrc":
        changes = {"mask": str(tmp_path / "small.mrc")}
    table = tmp_path / "set/particles.star"
    if "method" in changes:
        changes |= dict.fromkeys(("mask", "lowpass", "nclass", "wedge"))
    with pytest.raises(InputError, match=re.escape(sentence)) as caught:
        check_run(options_of_run(table, **changes), str(table))
    assert "\n" not in str(caught.value)


def test_an_import_tells_no_more_than_the_check(tmp_path):
    made = simulate_volumes(VolumeRecipe(n_particles=6, box=16, pixel_size=14.0))
    write_volume_set(tmp_path / "set", made)
    table = tmp_path / "set/particles.star"
    pixels = check_run(options_of_run(table), str(table))
    assert pixels == {"n": 6, "box": 16, "pixel_size": 14.0}
    lengths = {"mask": {"sphere": {"diameter": 168, "edge": 1}}, "lowpass_A": 44.8}
    angstrom = options_of_run(table, lowpass=None, **lengths)
    assert resolved(angstrom, pixels).mask == options_of_run(table).mask
    assert resolved(angstrom, pixels).lowpass == pytest.approx(5)


def test_a_run_leaves_blank_particles_unaccounted(tmp_path, capsys):
    """They have a row in every table, a class in none, and a share in no average."""
    made = simulate_volumes(VolumeRecipe(n_particles=12, box=16, pixel_size=14.0))
    write_volume_set(tmp_path / "whole", made)
    blank = [2, 11]
    for i in blank:
        made.volumes[i] = 1.5
    write_volume_set(tmp_path / "set", made)
    options = options_of_run(tmp_path / "set/particles.star")
    pytom_import(
        particles=tmp_path / "set/particles.star",
        options=options,
        folder=tmp_path / "import",
    )
    assert "warning: 2 of 12 particles are left out" in capsys.readouterr().out
    used = load_import(tmp_path / "import")
    assert used.ids.tolist() == [i for i in range(12) if i not in blank]
    changed = Path(used.particles[3].file)
    later = used.imported + 60
    os.utime(changed, (later, later))
    with pytest.raises(InputError, match=r"was changed after .* pytom_import"):
        used.read(3)
    os.utime(changed, (used.imported, used.imported))
    labels = np.arange(10) % 2
    write_results(tmp_path / "out", used, labels, options, Team())
    expected = np.full(12, -1)
    expected[used.ids] = labels + 1
    rows = (tmp_path / "out/classes.csv").read_text().split()[1:]
    assert [int(row.split(",")[1]) for row in rows] == expected.tolist()
    listed = read_particle_list(tmp_path / "out/classified.xml")
    assert [p.label for p in listed] == [str(c) for c in expected]
    table = read_star(tmp_path / "out/classified.star")["particles"]
    assert table["rlnClassNumber"].astype(int).tolist() == expected.tolist()
    told = read_json(tmp_path / "out/classes.json")
    assert told["unaccounted"] == 2
    for entry in told["classes"]:
        shells = np.arange(8) / 16
        at_half = resolution(shells, entry["fsc"], told["pixel_size"], 0.5)
        assert entry["resolution"] == pytest.approx(at_half, rel=1e-3)
    # The average is that of the members alone.
    whole = read_subtomograms(tmp_path / "whole/particles.star", wedge_angles=(30, 30))
    members = used.ids[labels == 0].tolist()
    mask = masks.sphere((16,) * 3, 6, 1)
    alone = class_average(whole, members, mask, False, Team()).volume
    np.testing.assert_array_equal(read_em(tmp_path / "out" / EM), alone)


def test_by_pytom_s_rules_who_has_no_class_is_left_out(listed):
    table = listed([noise(i) for i in range(4)])
    labels = ("0", None, "1", "-1")
    given = tuple(
        p.classified(label) for p, label in zip(table.particles, labels, strict=True)
    )
    table = replace(table, particles=given)
    assert look(table).excluded == []
    excluded = look(table, by_class=True).excluded
    assert [entry["id"] for entry in excluded] == [1, 3]
    assert "no Class" in excluded[0]["reason"]
    none = replace(table, particles=tuple(p.classified(None) for p in given))
    assert look(none, by_class=True).excluded == []


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("compat", ["none", "pytom"])
def test_a_class_without_two_halves_has_no_resolution(listed, tmp_path, compat):
    """Of one particle, or of copies of one."""
    table = replace(listed([noise(i) for i in (0, 1, 2, 2)]), copies=(0, 1, 2, 2))
    options = {"mask": {"sphere": {"radius": 6, "edge": 1}}, "average": "class"}
    labels = np.array([0, 1, 2, 2])
    given = Cpca.some(options | {"compat": compat, "symmetry": None})
    write_results(tmp_path, table, labels, given, Team())
    entries = read_json(tmp_path / "classes.json")["classes"]
    assert [(e["n"], e["resolution"]) for e in entries] == [(1, None)] * 2 + [(2, None)]


@pytest.mark.parametrize(("own", "n"), [(0.0, 0), (5.01, 0), (10.0, 1)])
def test_a_mask_of_other_voxels_is_told(tmp_path, own, n):
    ball = masks.sphere((BOX,) * 3, 7, 2)
    write_em(tmp_path / "mask.em", ball.astype(np.float32), own)
    told = mask_warnings(str(tmp_path / "mask.em"), ball, 5.0)
    assert len(told) == n
    assert all("voxels of 10 A by its header" in sentence for sentence in told)
    assert mask_warnings({"sphere": {"radius": 7}}, ball, 5.0) == []
    assert "inside and outside" in mask_warnings({}, 1 - ball, None)[0]


@pytest.mark.parametrize("n", [0, 3])
def test_particles_of_inverted_contrast_are_told(tmp_path, n):
    made = simulate_volumes(VolumeRecipe(n_particles=16, box=16, pixel_size=14, snr=1))
    made.volumes[:n] *= -1
    write_volume_set(tmp_path, made)
    table = read_subtomograms(tmp_path / "particles.star", wedge_angles=(30, 30))
    mask = masks.sphere((16,) * 3, 6, 2)
    where = band((16,) * 3, 7)
    poses = (table.rotations, table.shifts)
    given = rows(table.read, *poses, table.wedges, mask, where)
    found = inverted_contrast(given)
    assert found.tolist() == list(range(n))
    warnings = contrast_warnings(table, found)
    assert [w[:20] for w in warnings] == ["3 of 16 particles se"] * bool(n)


@pytest.mark.parametrize(("low", "is_right"), [(-1e-6, True), (-0.5, False)])
def test_masks_may_be_rounded_below_0(tmp_path, low, is_right):
    mask = masks.sphere((BOX,) * 3, 6, 2)
    mask[0] = low
    write_em(tmp_path / "mask.em", mask)
    if is_right:
        made = make_mask(str(tmp_path / "mask.em"), BOX, 1)
        assert (made.min(), made.max()) == (0, 1)
    else:
        with pytest.raises(InputError, match=r"values from -0\.5 to 1"):
            make_mask(str(tmp_path / "mask.em"), BOX, 1)
