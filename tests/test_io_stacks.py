"""The image source that MPI steps read from."""

import os
import pickle

import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.io import stacks
from cryokin.io.eman_hdf import write_images
from cryokin.io.mrc import write_stack
from cryokin.io.stacks import CTF_DTYPE, ImageSource, image_name, open_images


def noise(n, seed):
    return np.random.default_rng(seed).normal(size=(n, 6, 6)).astype(np.float32)


@pytest.fixture
def source(tmp_path):
    """Five particles in a stack of each dialect, out of order, one of them inverted."""
    write_stack(tmp_path / "a.mrcs", noise(4, 1), 1.5)
    write_images(tmp_path / "b.hdf", noise(3, 2), [{}] * 3)
    ctf = np.zeros(5, CTF_DTYPE)
    ctf["defocus_u"] = np.arange(5) + 0.1
    return ImageSource(
        files=[str(tmp_path / "a.mrcs"), str(tmp_path / "b.hdf")],
        file_index=np.array([1, 0, 1, 0, 0], np.int32),
        image_index=np.array([2, 3, 0, 0, 0], np.int32),
        box=6,
        pixel_size=1.5,
        sign=np.array([1, 1, 1, -1, 1], np.float32),
        ctf=ctf,
    )


@pytest.fixture
def pixels():
    a, b = noise(4, 1), noise(3, 2)
    return np.stack([b[2], a[3], b[0], -a[0], a[0]])


def test_any_selection_is_the_same_as_all(source, pixels):
    np.testing.assert_array_equal(source.read(range(5)), pixels)
    for ids in ([3], [4, 0, 4, 2], []):
        found = source.read(ids)
        assert found.shape == (len(ids), 6, 6)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, pixels[ids])


def test_each_file_is_opened_once(source, monkeypatch):
    opened = []
    original = stacks.open_images

    def counted(path):
        opened.append(path)
        return original(path)

    monkeypatch.setattr(stacks, "open_images", counted)
    source.read([0, 1, 2, 3, 4])
    assert sorted(opened) == sorted(source.files)


def test_save_and_load(source, pixels, tmp_path):
    source.save(tmp_path / "s.npz")
    again = ImageSource.load(tmp_path / "s.npz")
    assert again.n == 5
    assert again.has_ctf
    assert (again.box, again.pixel_size) == (6, 1.5)
    np.testing.assert_array_equal(again.ctf, source.ctf)
    np.testing.assert_array_equal(again.read(range(5)), pixels)
    again.save(tmp_path / "t.npz")
    assert (tmp_path / "s.npz").read_bytes() == (tmp_path / "t.npz").read_bytes()


def test_without_ctf(source, tmp_path):
    source.ctf = None
    source.save(tmp_path / "s.npz")
    assert not ImageSource.load(tmp_path / "s.npz").has_ctf


def test_can_be_sent_to_other_processes(source, pixels):
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(source)).read([1]), pixels[[1]]
    )


def test_a_stack_that_changed_is_refused(source, tmp_path):
    write_stack(tmp_path / "a.mrcs", np.zeros((4, 8, 8)), 1.5)
    with pytest.raises(InputError, match="8 x 8 pixel, but 6 x 6 at the import"):
        source.read([1])
    write_stack(tmp_path / "a.mrcs", np.zeros((2, 6, 6)), 1.5)
    with pytest.raises(InputError, match="image 4 asked for, but the stack holds 2"):
        source.read([1])


def test_names_count_from_one():
    assert image_name("/d/a.mrcs", 0) == "000001@/d/a.mrcs"


def test_a_stack_that_changed_since_the_import_is_refused(source, tmp_path):
    """Alignments of other images would be applied to it, and nobody be told."""
    source.save(tmp_path / "images.npz")
    ImageSource.load(tmp_path / "images.npz")
    later = os.path.getmtime(tmp_path / "images.npz") + 60
    os.utime(tmp_path / "a.mrcs", (later, later))
    with pytest.raises(InputError, match=r"a\.mrcs: was changed after"):
        ImageSource.load(tmp_path / "images.npz")
    (tmp_path / "a.mrcs").unlink()
    with pytest.raises(InputError, match=r"a\.mrcs: .* bring it back"):
        ImageSource.load(tmp_path / "images.npz")


def with_axes(path, images, axes):
    """Write a stack whose header names the axes of columns, rows and sections."""
    write_stack(path, images, 1.5)
    raw = bytearray(path.read_bytes())
    raw[64:76] = np.array(axes, "<i4").tobytes()
    path.write_bytes(raw)


def test_axes_of_images_are_those_of_the_header(tmp_path):
    images = np.random.default_rng(0).normal(size=(2, 6, 6)).astype(np.float32)
    with_axes(tmp_path / "a.mrcs", images, (2, 1, 3))
    with open_images(tmp_path / "a.mrcs") as stack:
        np.testing.assert_array_equal(stack[1], images[1].T)
    with_axes(tmp_path / "b.mrcs", images, (1, 3, 2))
    with (
        pytest.raises(InputError, match="images lie along axis y"),
        open_images(tmp_path / "b.mrcs"),
    ):
        pass
