"""Members of classes as pictures."""

import base64
import io

import mrcfile
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from cryokin.files import write_json
from cryokin.image.geometry import Alignment, take, transform_image
from cryokin.isac.classes import Class
from cryokin.isac.files import write_shifts
from cryokin.isac.tables import classes_csv, membership
from cryokin.report import members
from cryokin.report.images import stretch
from cryokin.report.members import read_members
from cryokin.volume import euler
from cryokin.volume.resample import place

BOX, RADIUS, RATIO, N = 24, 9, 0.4, 60
SIZES = (40, 12)  # of the classes; the others are unaccounted


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The files of a run whose images are noise, and its classes."""
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(2)
    ids = np.split(rng.permutation(N), np.cumsum(SIZES))[:-1]
    classes = [
        Class(
            np.sort(of_class),
            Alignment(
                rng.uniform(0, 2 * np.pi, k),
                rng.normal(0, 2, (k, 2)),
                rng.random(k) > 0.5,
            ),
            np.zeros(k),
            np.ones(k),
        )
        for of_class, k in zip(ids, SIZES, strict=True)
    ]
    shifts = rng.normal(0, 3, (N, 2)).round(4)
    table = membership(classes, [1, 1], shifts, RATIO)
    (folder / "classes.csv").write_text(classes_csv(table))
    write_shifts(folder / "shifts.txt", shifts)
    images = rng.normal(size=(N, BOX, BOX)).astype(np.float32)
    mrcfile.write(folder / "stack.mrcs", images)
    told = {"shrink_ratio": RATIO, "target_radius": RADIUS, "pixel_size": 5.0}
    write_json(folder / "stack.json", told)
    return folder, images, classes


def read(folder, **imported):
    names = ("stack.mrcs", "stack.json", "classes.csv", "shifts.txt")
    return read_members(*(folder / name for name in names), imported)


def test_members_are_shown_as_they_are_averaged(run):
    folder, images, classes = run
    found = read(folder)
    for number, one in enumerate(classes, start=1):
        np.testing.assert_array_equal(found.of(number), one.members)
        moved = [
            transform_image(images[i], take(one.alignment, k))
            for k, i in enumerate(one.members)
        ]
        shown = found.pictures(one.members, aligned=True).astype(int)
        expected = stretch(np.array(moved), RADIUS).astype(int)
        # The tables have four digits.
        assert np.abs(shown - expected).max() <= 2


def test_raw_members_and_the_unaccounted_lie_as_in_the_stack(run):
    folder, images, classes = run
    found = read(folder)
    ids = classes[0].members
    as_they_are = stretch(images[ids], RADIUS)
    np.testing.assert_array_equal(found.pictures(ids, aligned=False), as_they_are)
    rest = found.of(members.UNACCOUNTED)
    assert len(rest) == N - sum(SIZES)
    shown = found.pictures(rest, aligned=True).astype(int)
    assert np.abs(shown - stretch(images[rest], RADIUS)).max() <= 2


def test_what_was_left_out_on_import_is_not_among_the_unaccounted(run):
    folder, *_ = run
    rest = read(folder).of(members.UNACCOUNTED)
    left = read(folder, excluded=[{"id": int(rest[0])}])
    np.testing.assert_array_equal(left.of(members.UNACCOUNTED), rest[1:])


def test_pages_show_each_member_once(run):
    folder, _, classes = run
    found = read(folder)
    pages = [found.page(1, page, aligned=False) for page in (0, 1)]
    assert found.page(1, 2, aligned=False) is None
    assert found.page(3, 0, aligned=True) is None
    assert [p.shape for p in pages] == [(6 * BOX, 4 * BOX), (4 * BOX, 4 * BOX)]
    every = found.pictures(classes[0].members, aligned=False)
    np.testing.assert_array_equal(pages[0][:BOX, BOX : 2 * BOX], every[1])
    np.testing.assert_array_equal(pages[1][-BOX:, -BOX:], every[39])


@pytest.mark.parametrize("classes", [1, 12, 100, 1000])
def test_pictures_of_all_classes_together_are_bounded(run, classes):
    folder, *_ = run
    found = read(folder)
    sample = found.sample(1, members.FEW, members.MOST_PIXELS // classes)
    assert classes * len(sample) < 2.2e6
    shown = Image.open(io.BytesIO(base64.b64decode(sample.split(",")[1])))
    assert shown.width >= 4 * min(BOX, members.SMALLEST)


def test_so_many_classes_have_no_pictures_of_members(run):
    folder, *_ = run
    assert read(folder).sample(1, members.FEW, members.SMALLEST**2 - 1) is None
    assert read(folder).sample(9, members.FEW, members.MOST_PIXELS) is None


class Volumes:
    """A structure as it lies in two particles, turned and shifted."""

    rotations = euler.matrix(np.radians([[40.0, 70, 20], [130, 15, 250]]))
    shifts = np.array([[1.0, -2, 0.5], [0, 1.5, -1]])

    def __init__(self):
        z, y, x = np.indices((32,) * 3) - 16
        noise = np.random.default_rng(5).normal(size=(32,) * 3)
        self.reference = ndimage.gaussian_filter(noise * (z**2 + y**2 + x**2 < 81), 1.5)

    def data(self, i):
        return place(self.reference, self.rotations[i], self.shifts[i])


def test_members_of_volumes_are_slabs_as_they_are_averaged():
    volumes = Volumes()
    found = members.SlabMembers(np.array([2, 2]), volumes)
    slab = volumes.reference[15:18].mean(axis=0)

    def likeness(pictures):
        return [np.corrcoef(slab.ravel(), p.ravel())[0, 1] for p in pictures]

    assert min(likeness(found.pictures(found.of(2), aligned=True))) > 0.95
    assert max(likeness(found.pictures(found.of(2), aligned=False))) < 0.7
    assert found.page(2, 0, aligned=True).shape == (32, 4 * 32)
    assert found.page(2, 1, aligned=True) is None
