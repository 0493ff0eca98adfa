import mrcfile
import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.io.em import write_em
from cryokin.io.pytom_xml import Particle, SingleTiltWedge, write_particle_list
from cryokin.io.star import read_star, write_star
from cryokin.io.subtomograms import load, read_subtomograms
from cryokin.io.volumes import read_size, read_volume
from cryokin.volume.filters import frequencies

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
        ({"rlnAngleRot": "north"}, "is no number"),
        ({"rlnTomoSubTomosAre2DStacks": "1"}, "as 3D subtomograms"),
    ],
)
def test_refusals(listed, tmp_path, change, sentence):
    blocks = read_subtomograms(listed).star
    for column, value in change.items():
        blocks["particles"][column] = value
    write_star(tmp_path / "p.star", blocks)
    with pytest.raises(InputError, match=sentence):
        read_subtomograms(tmp_path / "p.star", wedge_angles=(30, 30))


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
