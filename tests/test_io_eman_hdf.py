"""EMAN2 stacks: the layout of the original, compressed integers, same bytes."""

import time
import tracemalloc

import h5py
import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.io.eman_hdf import read_headers, read_images, write_images
from cryokin.io.particles import read_particles, write_particles


def images(n=3, ny=6, nx=5, seed=1):
    return np.random.default_rng(seed).normal(size=(n, ny, nx)).astype(np.float32)


def write_as_eman2(path, stored, attributes=()):
    """Write a file as EMAN2 does: numbers of one element, text with a final zero."""
    with h5py.File(path, "w") as file:
        top = file.create_group("/MDF/images")
        top.attrs["imageid_max"] = np.array([len(stored) - 1], np.int32)
        for i, pixels in enumerate(stored):
            group = top.create_group(str(i))
            group.create_dataset("image", data=pixels)
            for name, value in attributes:
                group.attrs[f"EMAN.{name}"] = value


def test_round_trip(tmp_path):
    given = {
        "members": np.array([3, 5, 8], np.int32),
        "n_objects": 3,
        "pixel_error": 0.25,
        "weights": [0.5, 0.25],
        "good": True,
        "note": "a class",
        "apix_x": 1.5,
    }
    write_images(tmp_path / "a.hdf", images(1), [given])
    pixels, attributes = read_images(tmp_path / "a.hdf")
    np.testing.assert_array_equal(pixels, images(1))
    assert pixels.dtype == np.float32
    found = attributes[0]
    assert found["members"].tolist() == [3, 5, 8]
    assert found["weights"].tolist() == [0.5, 0.25]
    assert [found[k] for k in ("n_objects", "pixel_error", "good", "note")] == [
        3,
        0.25,
        True,
        "a class",
    ]
    assert [found[k] for k in ("nx", "ny", "nz", "is_complex")] == [5, 6, 1, 0]
    assert found["apix_x"] == 1.5
    assert found["mean"] == pytest.approx(images(1).mean(), abs=1e-6)
    assert read_headers(tmp_path / "a.hdf")[0].keys() == found.keys()


def test_layout_is_that_of_eman2(tmp_path):
    """Types that the reader of EMAN2 accepts: 4-byte numbers, text of fixed length."""
    given = {"members": [1, 2], "note": "x", "apix_x": 1.5, "good": False, "n": 2}
    write_images(tmp_path / "a.hdf", images(2), [given, given])
    with h5py.File(tmp_path / "a.hdf") as file:
        top = file["/MDF/images"]
        assert top.attrs["imageid_max"] == 1
        assert sorted(top) == ["0", "1"]
        assert top["0/image"].dtype == np.dtype("<f4")
        assert top["0/image"].shape == (6, 5)
        types = {
            k: h5py.h5a.open(top["0"].id, k.encode()).get_type() for k in top["0"].attrs
        }
    assert all(name.startswith("EMAN.") for name in types)
    assert types["EMAN.members"].get_size() == types["EMAN.n"].get_size() == 4
    assert types["EMAN.apix_x"].get_size() == 4
    assert types["EMAN.good"].get_size() == 1
    assert isinstance(types["EMAN.note"], h5py.h5t.TypeStringID)
    assert not types["EMAN.note"].is_variable_str()
    assert types["EMAN.note"].get_size() == 2  # with the zero that ends it


def test_same_content_same_bytes_at_another_time(tmp_path):
    for name in ("a.hdf", "b.hdf"):
        write_images(tmp_path / name, images(), [{"members": [1, 2]}] * 3)
        time.sleep(1.1)  # HDF5 takes its times from the clock of the system
    assert (tmp_path / "a.hdf").read_bytes() == (tmp_path / "b.hdf").read_bytes()
    assert list(tmp_path.glob(".*")) == []


def test_empty_stack(tmp_path):
    write_images(tmp_path / "a.hdf", np.zeros((0, 6, 5)), [])
    pixels, attributes = read_images(tmp_path / "a.hdf")
    assert len(pixels) == len(attributes) == 0


@pytest.mark.parametrize(("bits", "dtype"), [(3, np.uint8), (8, np.uint8), (12, "<u2")])
def test_compressed_integers_are_scaled_back(tmp_path, bits, dtype):
    pixels = images()
    low, high = float(pixels.min()), float(pixels.max())
    levels = 2**bits - 1
    stored = np.round((pixels - low) / (high - low) * levels).astype(dtype)
    attributes = [
        ("stored_renderbits", np.array([bits], np.int32)),
        ("stored_rendermin", np.array([low], np.float32)),
        ("stored_rendermax", np.array([high], np.float32)),
    ]
    write_as_eman2(tmp_path / "a.hdf", stored, attributes)
    found, _ = read_images(tmp_path / "a.hdf")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, pixels, atol=0.501 * (high - low) / levels)


def test_integers_that_are_not_compressed_stay(tmp_path):
    stored = np.arange(24, dtype=np.int16).reshape(1, 4, 6)
    write_as_eman2(tmp_path / "a.hdf", stored, [("stored_renderbits", np.int32(0))])
    np.testing.assert_array_equal(read_images(tmp_path / "a.hdf")[0], stored)


def test_attributes_as_eman2_writes_them(tmp_path):
    matrix = np.zeros(1, [(f"{r}{c}", "<f4") for r in range(3) for c in range(4)])
    matrix["03"] = 7
    attributes = [
        ("nx", np.array([5], np.int32)),
        ("apix_x", np.array([1.5], np.float32)),
        ("ctf_applied", np.array([0], np.int32)),
        ("bool", np.array([ord("T")], np.int8)),
        ("ptcl_source_image", np.bytes_(b"mic.mrc\0")),
        ("xform.align2d", matrix),
    ]
    write_as_eman2(tmp_path / "a.hdf", images(1), attributes)
    found = read_headers(tmp_path / "a.hdf")[0]
    assert found["nx"] == 5
    assert found["apix_x"] == 1.5
    assert found["bool"] is True
    assert found["ptcl_source_image"] == "mic.mrc"
    assert found["xform.align2d"].tolist() == [0, 0, 0, 7] + [0] * 8


def test_numbers_beyond_eman2_are_refused(tmp_path):
    with pytest.raises(ValueError, match="32-bit"):
        write_images(tmp_path / "a.hdf", images(1), [{"uid": 2**40}])
    with pytest.raises(ValueError, match="1 images, 0 sets"):
        write_images(tmp_path / "a.hdf", images(1), [])
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_stack_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.hdf", "w") as file:
        file.create_group("other")
    with pytest.raises(InputError, match="without the group /MDF/images"):
        read_images(tmp_path / "a.hdf")
    write_images(tmp_path / "b.hdf", images(2), [{}, {}])
    (tmp_path / "b.hdf").write_bytes((tmp_path / "b.hdf").read_bytes()[:3000])
    with pytest.raises(InputError, match="not readable as HDF5"):
        read_images(tmp_path / "b.hdf")
    with h5py.File(tmp_path / "c.hdf", "w") as file:
        file.create_group("/MDF/images").attrs["imageid_max"] = 1
    with pytest.raises(InputError, match="image 0 of 2 is missing"):
        read_images(tmp_path / "c.hdf")


def test_images_of_two_sizes_are_refused(tmp_path):
    write_as_eman2(tmp_path / "a.hdf", [np.zeros((4, 4)), np.zeros((5, 5))])
    with pytest.raises(InputError, match="image 1 is 5 x 5 pixel, image 0 is 4 x 4"):
        read_images(tmp_path / "a.hdf")


def no_group(file, top):
    del file["/MDF/images"]
    file["/MDF/images"] = np.zeros(3)


def linked(file, top):
    del top["0/image"]
    top["0/image"] = h5py.SoftLink("/MDF/images/0/image")


def elsewhere(file, top):
    del top["0"]
    top["0"] = h5py.ExternalLink("other.hdf", "/MDF/images/0")


def stored_elsewhere(file, top):
    del top["0/image"]
    top["0"].create_dataset(
        "image", (4, 4), "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
    )


def as_image(make):
    def change(file, top):
        del top["0/image"]
        make(top["0"])

    return change


def attribute(name, value):
    def change(file, top):
        top["0"].attrs[f"EMAN.{name}"] = value

    return change


def last(value):
    def change(file, top):
        top.attrs["imageid_max"] = value

    return change


HOSTILE = {
    "last -5": last(-5),
    "last text": last("many"),
    "last nan": last(np.nan),
    "last 1e300": last(1e300),
    "last empty": last(np.zeros(0)),
    "last several": last([1, 2]),
    "last beyond": last(2**31 - 2),
    "no group": no_group,
    "link to itself": linked,
    "link to another file": elsewhere,
    "pixels in another file": stored_elsewhere,
    "image a group": as_image(lambda group: group.create_group("image")),
    "image empty": as_image(lambda g: g.create_dataset("image", data=h5py.Empty("f"))),
    "image of objects": as_image(lambda g: g.create_dataset("image", data=["a", "b"])),
    "image complex": as_image(lambda g: g.create_dataset("image", (4, 4), "c8")),
    "image of records": as_image(
        lambda g: g.create_dataset("image", (4, 4), [("a", "f4"), ("b", "f4")])
    ),
    "image of 160 GB": as_image(
        lambda g: g.create_dataset("image", (200_000, 200_000), "f4")
    ),
    "volume of 4 TB": as_image(lambda g: g.create_dataset("image", (8000,) * 3, "f8")),
    "bits text": lambda file, top: [
        attribute(f"stored_render{part}", "x")(file, top)
        for part in ("bits", "min", "max")
    ],
    "bits 1e9": lambda file, top: [
        attribute(f"stored_render{part}", 1e9)(file, top)
        for part in ("bits", "min", "max")
    ],
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_image_is_told_in_a_sentence(tmp_path, what):
    """Anything may stand in HDF5; little memory is taken to find out."""
    write_images(tmp_path / "a.hdf", images(2, 4, 4), [{}, {}])
    with h5py.File(tmp_path / "a.hdf", "r+") as file:
        HOSTILE[what](file, file["/MDF/images"])
    tracemalloc.start()
    with pytest.raises(InputError) as caught:
        read_images(tmp_path / "a.hdf")
    assert tracemalloc.get_traced_memory()[1] < 1e7
    tracemalloc.stop()
    assert "a.hdf" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("note", "two\nlines"), ("note", "a \"b\" 'c' d"), ("a name\n_x", "1")],
)
def test_attributes_that_no_table_can_hold_are_held_in_another_form(
    tmp_path, name, value
):
    write_images(tmp_path / "a.hdf", images(1, 4, 4), [{name: value, "apix_x": 2.0}])
    table = read_particles(tmp_path / "a.hdf")
    write_particles(tmp_path / "a.star", table)
    again = read_particles(tmp_path / "a.star")
    assert list(again.particles) == list(table.particles)
    assert list(again.particles.iloc[0]) == list(table.particles.iloc[0])
