import re

import numpy as np
import pytest

from cryokin.io.em import read_em
from cryokin.io.pytom_xml import Particle, read_particle_list, split_by_class
from cryokin.subtomo import compat
from cryokin.volume.filters import lowpass
from small2 import BAND, load, ribosome_mask


@pytest.mark.slow
def test_exmx_gives_pytoms_result_of_both_iterations(shared):
    example = load(shared)
    setting = compat.Setting(
        example.volumes.__getitem__,
        example.rotations,
        example.shifts,
        example.wedges,
        example.mask,
        0,
        BAND,
    )
    start = read_particle_list(example.folder / "particleList_rand0.xml")
    particles, order = compat.initial_lists(start, 2, np.random.default_rng(0))
    for iteration in (0, 1):
        folder = example.folder / f"expected/exmx_rand0/{iteration}"
        found = compat.exmx_iteration(setting, particles, order)
        expected = read_particle_list(folder / "classifiedParticles.xml")
        assert [p.file for p in found.particles] == [p.file for p in expected]
        assert [p.label for p in found.particles] == [p.label for p in expected]
        by_class = [i for ids in split_by_class(found.before).values() for i in ids]
        for c in (0, 1):
            center = read_em(folder / f"clusterCenter{iteration}-{c}.em")
            np.testing.assert_allclose(found.averages[c], center, atol=3e-5)
            text = (folder / f"AlignmentList{c}.xml").read_text()
            values = [float(v) for v in re.findall(r'Value="([^"]*)"', text)][1::2]
            np.testing.assert_allclose(found.scores[by_class, c], values, atol=3e-5)
        particles = found.particles
    assert found.changed == 0


def test_flcf_without_a_shift_is_the_masked_correlation(shared):
    folder = shared / "data/subtomograms"
    mask = ribosome_mask(shared)
    first = read_em(folder / "human_ribo_21A.em").astype(float)
    second = read_em(folder / "human_ribo_21A_Mirrored.em").astype(float)
    curve = compat.flcf(first, second, mask)
    assert curve[16, 16, 16] == pytest.approx(0.159070, abs=1e-5)
    assert curve.max() == pytest.approx(0.222187, abs=1e-5)
    assert np.unravel_index(curve.argmax(), curve.shape) == (17, 14, 19)


def test_the_peak_of_a_moved_volume_is_its_correlation():
    noise = np.random.default_rng(0).normal(size=(24, 24, 24))
    volume = lowpass(noise, 4)
    moved = np.roll(volume, (2, -3, 1), (0, 1, 2))
    everywhere = np.ones(volume.shape)
    assert compat.peak(compat.flcf(moved, volume, everywhere)) == pytest.approx(
        1, abs=2e-3
    )


def test_ties_go_to_the_last_class():
    assert compat.last_maximum(np.array([[1.0, 1, 0], [0, 2, 2]])).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [("001122", "110022", 0.0), ("0011", "0101", 0.5), ("0000", "0011", 0.5)],
)
def test_changed_fraction_does_not_depend_on_names(old, new, changed):
    assert compat.class_difference(old, new) == changed


def test_one_class_is_spread_several_are_kept():
    one = [Particle(str(i), label="0") for i in range(50)]
    spread, order = compat.initial_lists(one, 3, np.random.default_rng(0))
    assert {p.label for p in spread} == {"0", "1", "2"}
    assert [p.label for p in spread] == sorted(p.label for p in spread)
    assert sorted(order) == list(range(50))
    two = [Particle("a", label="10"), Particle("b", label="2")]
    assert compat.initial_lists(two, 3, np.random.default_rng(0)) == (two, [0, 1])


def test_who_is_unaccounted_is_in_no_list_of_pytom():
    particles = [Particle("a", label=c) for c in ("1", "-1", "0", None)]
    listed, order = compat.initial_lists(particles, 2, np.random.default_rng(0))
    assert [p.label for p in listed] == ["0", "1"]
    assert order == [2, 0]
    nobody = [Particle("a", label=c) for c in ("-1", None, "-1")]
    listed, order = compat.initial_lists(nobody, 2, np.random.default_rng(0))
    assert {p.label for p in listed} <= {"0", "1"}
    assert sorted(order) == [0, 1, 2]
