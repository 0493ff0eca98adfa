import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.io.em import write_em
from cryokin.io.star import read_star, write_star
from cryokin.io.subtomograms import read_subtomograms
from cryokin.volume import euler
from cryokin.volume.resample import align, place

BOX = 16
COLUMNS = 35
NUMBER = {"tag": 1, "dx": 4, "dy": 5, "dz": 6, "tdrot": 7, "tilt": 8, "narot": 9}
NUMBER |= {"ftype": 13, "ymintilt": 14, "ymaxtilt": 15, "xmintilt": 16, "xmaxtilt": 17}
NUMBER |= {"tomo": 20, "x": 24, "ref": 34}


def write_table(path, rows, columns=COLUMNS):
    """Write a table as Dynamo does, columns counted from 1."""
    values = np.zeros((len(rows), columns))
    for line, row in zip(values, rows, strict=True):
        for name, value in row.items():
            line[NUMBER[name] - 1] = value
    np.savetxt(path, values, fmt="%.4f")


@pytest.fixture
def folder(tmp_path):
    """Two particles of one volume, moved as their rows say, in Dynamo's layout."""
    rng = np.random.default_rng(0)
    volume = np.zeros((BOX,) * 3)
    volume[5:12, 6:11, 4:9] = rng.normal(1, 0.2, (7, 5, 5))
    rows = [
        {"tag": 3, "tdrot": -47.273, "tilt": 31.1777, "narot": -132.3, "dx": 1.5},
        {"tag": 11, "tdrot": 20, "tilt": 100, "narot": 75, "dy": -2, "dz": 0.5},
    ]
    for row in rows:
        row |= {
            "ftype": 1,
            "ymintilt": -60,
            "ymaxtilt": 54,
            "tomo": 2,
            "ref": row["tag"],
        }
        onto_reference = euler.matrix(
            np.radians([row["tdrot"], row["narot"], row["tilt"]])
        )
        shift = [row.get(axis, 0) for axis in ("dx", "dy", "dz")]
        moved = place(volume, onto_reference.T, shift)
        write_em(tmp_path / f"particle_{row['tag']:06d}.em", moved, 4.0)
    write_table(tmp_path / "crop.tbl", rows)
    np.save(tmp_path / "volume.npy", volume)
    return tmp_path


def test_particles_come_to_lie_on_the_reference(folder):
    table = read_subtomograms(folder / "crop.tbl")
    assert (len(table), table.box, table.pixel_size) == (2, BOX, 4.0)
    volume = np.load(folder / "volume.npy")
    for i in range(2):
        back = align(table.read(i), table.rotations[i], table.shifts[i])
        assert np.corrcoef(back.ravel(), volume.ravel())[0, 1] > 0.95
    wedge = table.particles[0].wedge
    assert (wedge.angle1, wedge.angle2) == (30, 36)
    assert [p.label for p in table.particles] == ["3", "11"]


def test_angles_are_those_that_relion_has_for_the_same_pose(folder):
    """A pair known to give one reconstruction in both programs."""
    write_table(
        folder / "crop.tbl",
        [{"tag": 3, "tdrot": -47.273, "tilt": 1.1777, "narot": -132.3}],
    )
    star = read_subtomograms(folder / "crop.tbl").star["particles"]
    names = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
    found = [float(star[name][0]) for name in names]
    turns = (np.array(found) - [137.7, 1.1777, 42.727]) / 360
    np.testing.assert_allclose(turns, turns.round(), atol=1e-6)


def test_all_columns_go_along(folder):
    table = read_subtomograms(folder / "crop.tbl").classified(np.array([1, -1]))
    write_star(folder / "out.star", table.star)
    written = read_star(folder / "out.star")["particles"]
    assert written["dynamoTag"].astype(float).tolist() == [3, 11]
    assert written["dynamoYmaxtilt"].astype(float).tolist() == [54, 54]
    assert written["rlnClassNumber"].tolist() == ["2", "-1"]
    assert sum(name.startswith("dynamo") for name in written) == COLUMNS


@pytest.mark.parametrize(
    ("rows", "columns", "sentence"),
    [
        ([{"tag": 3}], 6, "tdrot, tilt, narot are missing"),
        ([{"tag": 3, "tilt": np.nan}], COLUMNS, "tilt .column 8. of particle 1 is nan"),
        ([{"tag": 3, "tomo": np.nan}], COLUMNS, "tomo .column 20. of particle 1 is"),
        ([{"tag": 3, "ftype": 4}], COLUMNS, r"ftype = 4 of particle 1 \(known: 0"),
        ([{"tag": 3, "ftype": np.inf}], COLUMNS, "ftype .column 13. of particle 1"),
        ([{"tag": 3, "ftype": 1}], COLUMNS, "from 0 to 0 degrees .ymintilt"),
        ([{"tag": 3, "ftype": 1, "ymintilt": -500}], COLUMNS, "ymintilt of particle 1"),
        ([{"tag": 4}], COLUMNS, "particle_000004.em is not there"),
        ([], COLUMNS, "give a Dynamo table"),
    ],
)
def test_refusals(folder, rows, columns, sentence):
    write_table(folder / "crop.tbl", rows, columns)
    with pytest.raises(InputError, match=sentence):
        read_subtomograms(folder / "crop.tbl")


def sampled(normal):
    """Whether a plane of frequencies that a tilt brings across the beam is sampled."""
    steps = np.linspace(-1, 1, 9)
    first = np.cross(normal, [0.3, 0.5, 0.8])
    second = np.cross(normal, first)
    k = 5 * (steps[:, None, None] * first + steps[:, None] * second)
    return lambda wedge: bool((wedge.weight(k, (BOX,) * 3) > 0.5).all())


@pytest.mark.parametrize(("kind", "axes"), [(1, ["y"]), (2, ["x"]), (3, ["x", "y"])])
def test_what_each_tilt_sampled(folder, kind, axes):
    """The plane across the beam of every image of the series is sampled, no other."""
    row = {"tag": 3, "ftype": kind, "ymintilt": -40, "ymaxtilt": 60}
    write_table(folder / "crop.tbl", [row | {"xmintilt": -35, "xmaxtilt": 50}])
    wedge = read_subtomograms(folder / "crop.tbl").wedges[0]
    about = {"y": (1, -40, 60), "x": (0, -35, 50)}
    for name, (axis, low, high) in about.items():
        for tilt in (low + 1, 0, high - 1, low - 5, high + 5):
            turn = np.zeros(3)
            turn[axis] = np.radians(tilt)
            beam = euler.from_vector(turn) @ [0, 0, 1]
            seen = name in axes and low < tilt < high
            assert sampled(beam)(wedge) == (seen or tilt == 0), (name, tilt)


def test_a_wedge_of_the_config_takes_the_place_of_tilts_that_are_not_known(folder):
    write_table(folder / "crop.tbl", [{"tag": 3, "ftype": 4}])
    found = read_subtomograms(folder / "crop.tbl", wedge_angles=(30, 40)).particles[0]
    assert (found.wedge.angle1, found.wedge.angle2) == (30, 40)


def test_tags_are_found_in_any_width(folder):
    (folder / "particle_000003.em").rename(folder / "particle_00003.em")
    table = read_subtomograms(folder / "crop.tbl")
    assert table.particles[0].file.endswith("particle_00003.em")


def test_particles_of_a_refined_table_are_in_the_working_folder(folder):
    results = folder / "results"
    results.mkdir()
    (folder / "crop.tbl").rename(results / "refined.tbl")
    table = read_subtomograms(results / "refined.tbl", folder)
    assert table.particles[1].file == str(folder / "particle_000011.em")


def test_columns_that_are_not_used_may_hold_anything(folder):
    write_table(folder / "crop.tbl", [{"tag": 3, "ymintilt": np.nan}])
    assert len(read_subtomograms(folder / "crop.tbl")) == 1


def test_the_pixel_size_is_that_of_the_table(folder):
    values = np.loadtxt(folder / "crop.tbl")
    values = np.pad(values, ((0, 0), (0, 1)), constant_values=4.02)
    np.savetxt(folder / "crop.tbl", values, fmt="%.4f")
    assert read_subtomograms(folder / "crop.tbl").pixel_size == 4.02
