"""The tables tell all: every class average can be made again from them."""

import numpy as np
import pytest
from scipy import fft, ndimage

from blobs import CHIRAL, moved, render
from cryokin.image.geometry import Alignment, centre, from_centre, invert
from cryokin.image.masks import disc
from cryokin.io.eman_hdf import read_images
from cryokin.isac.averages import write_averages
from cryokin.isac.classes import (
    Class,
    class_average,
    load_classes,
    save_classes,
)
from cryokin.isac.stack import Shrinking, working_images
from cryokin.isac.tables import (
    class_columns,
    classes_csv,
    membership,
    particle_columns,
)
from cryokin.options import Isac
from cryokin.parallel import Team
from ranks import on_ranks

HOW = Shrinking(size=80, radius=32, target_radius=20, box=48)
FH, FF = 0.3, 0.2
PIXEL = 2.5
N = 40
MEMBERS = np.arange(1, N, 2)


class Data:
    """Noisy images of an object that lies anywhere in them, and what is known."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        truth = from_centre(
            rng.uniform(0, 2 * np.pi, N), rng.normal(0, 3, (N, 2)), rng.random(N) < 0.5
        )
        large = CHIRAL * [1.6, 1.6, 1.6, 1]
        self.images = np.stack(
            [
                render(HOW.size, moved(invert(Alignment(*one)), large))
                for one in zip(*truth, strict=True)
            ]
        )
        self.images += rng.normal(0, 0.5, self.images.shape).astype(np.float32) + 3
        # A prealignment that is not exact, and an alignment that makes up for it.
        self.shifts = rng.normal(0, 1, (N, 2)) - centre(truth)
        self.working = working_images(self.images, self.shifts, HOW)
        at = from_centre(
            truth.angle, HOW.ratio * (centre(truth) + self.shifts), truth.mirror
        )
        self.found = Class(
            MEMBERS,
            Alignment(*(field[MEMBERS] for field in at)),
            rng.uniform(0, 0.7, len(MEMBERS)),
            np.full(len(MEMBERS), 0.75),
        )
        self.table = membership([self.found], [3], self.shifts, HOW.ratio)
        self.truth = truth

    def read(self, ids: np.ndarray) -> np.ndarray:
        return self.working[ids]


@pytest.fixture(scope="module")
def data() -> Data:
    return Data()


def average_from_columns(
    images: np.ndarray, columns: dict[str, list[str]]
) -> np.ndarray:
    """Average the images of class 1 by RELION's columns; nothing of cryokin in it.

    The working image is the input image on a coarser grid, low-passed.
    """
    size, ratio = HOW.size, HOW.target_radius / HOW.radius
    axis = np.arange(size) - size // 2
    q = np.stack(np.meshgrid(axis, axis), axis=-1).astype(float)
    mean = np.zeros((size, size))
    for i, image in enumerate(images):
        if columns["rlnClassNumber"][i] != "1":
            continue
        psi = np.radians(float(columns["rlnAnglePsi"][i]))
        s = -np.array([float(columns[f"rlnOrigin{a}Angst"][i]) for a in "XY"]) / PIXEL
        flip = np.diag([1, -1 if columns["rlnIsFlip"][i] == "1" else 1])
        turn = np.array([[np.cos(psi), -np.sin(psi)], [np.sin(psi), np.cos(psi)]])
        p = q @ (turn @ flip) + s + size // 2
        mean += ndimage.map_coordinates(image, [p[..., 1], p[..., 0]], mode="nearest")
    f = np.hypot(fft.fftfreq(size)[:, None], fft.rfftfreq(size)) / ratio
    slope = np.pi / (2 * FF * FH)
    gain = 0.5 * (np.tanh(slope * (f + FH)) - np.tanh(slope * (f - FH)))
    smooth = fft.irfft2(fft.rfft2(mean) * gain, (size, size))
    coarse = (np.arange(HOW.box) - HOW.box // 2) / ratio + size // 2
    return ndimage.map_coordinates(smooth, np.meshgrid(coarse, coarse, indexing="ij"))


def under_mask(image: np.ndarray) -> np.ndarray:
    return image[disc(HOW.box, HOW.target_radius)]


def test_a_class_average_can_be_made_again_from_the_particle_table(data):
    average = class_average(data.read, data.found, HOW.target_radius, FH, FF)
    again = average_from_columns(data.images, particle_columns(data.table, PIXEL))
    same = np.corrcoef(under_mask(average.image), under_mask(again))[0, 1]
    assert same > 0.995


@pytest.mark.parametrize("spoiled", ["rlnAnglePsi", "rlnOriginXAngst", "rlnIsFlip"])
def test_the_comparison_sees_a_wrong_column(data, spoiled):
    columns = particle_columns(data.table, PIXEL)
    columns[spoiled] = [str(-float(value)) for value in columns[spoiled]]
    if spoiled == "rlnIsFlip":
        columns[spoiled] = ["0"] * N
    average = class_average(data.read, data.found, HOW.target_radius, FH, FF)
    again = average_from_columns(data.images, columns)
    assert np.corrcoef(under_mask(average.image), under_mask(again))[0, 1] < 0.98


def test_the_class_average_shows_the_object(data):
    average = class_average(data.read, data.found, HOW.target_radius, FH, FF)
    expected = render(HOW.box)
    assert np.corrcoef(under_mask(average.image), under_mask(expected))[0, 1] > 0.97


# ------------------------------------------------------------------ the tables
def test_members_get_their_class_and_true_places(data):
    table = data.table
    np.testing.assert_array_equal(np.flatnonzero(table.label == 0), MEMBERS)
    np.testing.assert_array_equal(table.generation[MEMBERS], 3)
    np.testing.assert_allclose(table.centre[MEMBERS], centre(data.truth)[MEMBERS])
    np.testing.assert_array_equal(table.flip[MEMBERS], data.truth.mirror[MEMBERS])
    np.testing.assert_allclose(table.error[MEMBERS], data.found.errors)


def test_the_unaccounted_keep_the_place_of_their_prealignment(data):
    rest = np.arange(0, N, 2)
    table = data.table
    np.testing.assert_array_equal(table.label[rest], -1)
    for values in (table.generation, table.psi, table.flip, table.error):
        assert not values[rest].any()
    np.testing.assert_array_equal(table.centre[rest], -data.shifts[rest])


def test_particle_columns_number_classes_from_one(data):
    columns = particle_columns(data.table, PIXEL)
    assert columns["rlnClassNumber"][:4] == ["-1", "1", "-1", "1"]
    assert columns["cryokinGeneration"][:2] == ["0", "3"]
    assert all(len(values) == N for values in columns.values())
    x = np.array(columns["rlnOriginXAngst"], float)
    np.testing.assert_allclose(x, -PIXEL * data.table.centre[:, 0], atol=5e-5)


def test_the_csv_numbers_particles_and_classes_from_one(data):
    header, *rows = classes_csv(data.table).splitlines()
    assert header == "particle_id,class,psi,sx,sy,mirror"
    values = np.array([row.split(",") for row in rows], float)
    np.testing.assert_array_equal(values[:, 0], np.arange(1, N + 1))
    label = data.table.label
    np.testing.assert_array_equal(values[:, 1], np.where(label < 0, -1, label + 1))
    np.testing.assert_allclose(values[:, 2], data.table.psi, atol=5e-5)
    np.testing.assert_allclose(values[:, 3:5], data.table.centre, atol=5e-5)
    np.testing.assert_array_equal(values[:, 5], data.table.flip)


def test_no_classes_leave_all_unaccounted():
    table = membership([], [], np.zeros((3, 2)), 0.5)
    np.testing.assert_array_equal(table.label, -1)
    assert classes_csv(table).count("\n") == 4


# --------------------------------------------------------- classes and averages
def test_classes_come_back_from_their_file(tmp_path, data):
    other = Class(
        np.array([0, 4]),
        Alignment(np.array([1.0, 2.0]), np.ones((2, 2)), np.array([True, False])),
        np.array([np.inf, 0.1]),
        np.array([1.0, 0.5]),
        2,
    )
    save_classes(tmp_path / "classes.npz", [data.found, other])
    back = load_classes(tmp_path / "classes.npz")
    assert len(back) == 2
    for one, two in zip(back, [data.found, other], strict=True):
        np.testing.assert_array_equal(one.members, two.members)
        for field, expected in zip(one.alignment, two.alignment, strict=True):
            np.testing.assert_array_equal(field, expected)
        np.testing.assert_array_equal(one.errors, two.errors)
        np.testing.assert_array_equal(one.agreement, two.agreement)
        assert one.run == two.run


def test_no_classes_come_back_as_none(tmp_path):
    save_classes(tmp_path / "classes.npz", [])
    assert load_classes(tmp_path / "classes.npz") == []


def test_the_same_classes_make_the_same_bytes(tmp_path, data):
    for name in ("a.npz", "b.npz"):
        save_classes(tmp_path / name, [data.found])
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_halves_of_a_class_correlate_where_there_is_signal(data):
    frc = class_average(data.read, data.found, HOW.target_radius, FH, FF).frc
    assert frc.shape == (HOW.box // 2,)
    assert frc[1:5].min() > 0.9
    assert np.abs(frc[-6:]).mean() < 0.3


class Stack:
    n, box, pixel_size = N, HOW.box, 4.0

    def __init__(self, images: np.ndarray, finest: float = 8.0) -> None:
        self._images, self.finest = images, finest

    def read(self, ids: np.ndarray) -> np.ndarray:
        return self._images[ids]


OPTIONS = Isac.some({"target_radius": HOW.target_radius, "FH": FH, "FF": FF})


def written(path, classes, images, generation=3):
    """Write averages by one process; return them and what is known of them."""
    write_averages(Team(), path, classes, images, OPTIONS, generation)
    return read_images(path)


def test_averages_are_written_with_what_is_known_of_them(tmp_path, data):
    images, (header,) = written(tmp_path / "a.hdf", [data.found], Stack(data.working))
    expected = class_average(data.read, data.found, HOW.target_radius, FH, FF)
    np.testing.assert_array_equal(images[0], expected.image)
    np.testing.assert_array_equal(header["members"], MEMBERS)
    np.testing.assert_array_equal(header["frc"], expected.frc.astype(np.float32))
    assert header["n_objects"] == len(MEMBERS)
    assert header["generation"] == 3
    assert header["pixel_error"] == pytest.approx(data.found.errors.mean())
    assert header["reproduction"] == 0.75
    assert header["apix_x"] == 4.0
    assert 2 * 4.0 <= header["resolution"] < HOW.box * 4.0
    columns = class_columns([header], "class_averages.mrcs")
    assert columns["rlnReferenceImage"] == ["000001@class_averages.mrcs"]
    assert columns["rlnClassNumber"] == ["1"]
    assert columns["cryokinMembers"] == [str(len(MEMBERS))]
    assert columns["cryokinGeneration"] == ["3"]


def test_no_average_is_finer_than_the_images_were(tmp_path, data):
    for finest in (8.0, 100.0):
        _, (header,) = written(
            tmp_path / "a.hdf", [data.found], Stack(data.working, finest)
        )
        found = header["resolution"]
        assert found == 100.0 if finest == 100.0 else 8.0 <= found < 100.0


def test_no_averages_are_a_file_too(tmp_path, data):
    images, headers = written(tmp_path / "a.hdf", [], Stack(data.working))
    assert len(images) == len(headers) == 0
    assert class_columns([], "x.mrcs")["rlnClassNumber"] == []


@pytest.mark.parametrize("n", [0, 1, 5])
def test_ranks_share_averages_and_the_bytes_are_the_same(tmp_path, data, n):
    k = np.arange(len(MEMBERS))
    classes = [data.found.subset((k >= 3 * i) & (k < 3 * i + 4)) for i in range(n)]

    def work(team):
        path = tmp_path / f"{team.size}.hdf"
        write_averages(team, path, classes, Stack(data.working), OPTIONS, 1)

    for size in (1, 2, 3):
        on_ranks(size, work)
    made = [(tmp_path / f"{size}.hdf").read_bytes() for size in (1, 2, 3)]
    assert made[0] == made[1] == made[2]
