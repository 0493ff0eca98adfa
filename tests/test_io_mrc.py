"""MRC stacks: every pixel type, cut files, same bytes."""

import subprocess
import sys
import time
import tracemalloc

import mrcfile
import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.io.mrc import StackWriter, open_stack, read_stack_header, write_stack


def images(n=3, ny=6, nx=5, seed=1):
    return np.random.default_rng(seed).normal(size=(n, ny, nx)).astype(np.float32)


def test_round_trip(tmp_path):
    write_stack(tmp_path / "a.mrcs", images(), 1.25)
    header = read_stack_header(tmp_path / "a.mrcs")
    assert header.shape == (3, 6, 5)
    assert header.pixel_size == pytest.approx(1.25)
    np.testing.assert_array_equal(open_stack(tmp_path / "a.mrcs"), images())


def test_mrcfile_finds_a_valid_stack(tmp_path):
    write_stack(tmp_path / "a.mrcs", images(), 1.25)
    assert mrcfile.validate(tmp_path / "a.mrcs")
    with mrcfile.open(tmp_path / "a.mrcs") as mrc:
        assert mrc.is_image_stack()
        assert mrc.voxel_size.x == pytest.approx(1.25)
        np.testing.assert_array_equal(mrc.data, images())


def test_same_content_same_bytes_at_another_time(tmp_path, monkeypatch):
    write_stack(tmp_path / "a.mrcs", images(), 1.25)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    write_stack(tmp_path / "b.mrcs", images(), 1.25)
    assert (tmp_path / "a.mrcs").read_bytes() == (tmp_path / "b.mrcs").read_bytes()
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize(
    "dtype", [np.int8, np.int16, np.float32, np.uint16, np.float16]
)
def test_modes(tmp_path, dtype):
    pixels = np.arange(2 * 4 * 4).reshape(2, 4, 4).astype(dtype)
    with mrcfile.new(tmp_path / "a.mrcs") as mrc:
        mrc.set_data(pixels)
        mrc.set_image_stack()
    np.testing.assert_array_equal(open_stack(tmp_path / "a.mrcs"), pixels)


def test_big_endian(tmp_path):
    pixels = images().astype(">f4")
    with mrcfile.new(tmp_path / "a.mrcs") as mrc:
        mrc.set_data(pixels)
    np.testing.assert_array_equal(open_stack(tmp_path / "a.mrcs"), images())


def test_extended_header_is_skipped(tmp_path):
    with mrcfile.new(tmp_path / "a.mrcs") as mrc:
        mrc.set_data(images())
        mrc.set_extended_header(np.zeros(100, "V1"))
    np.testing.assert_array_equal(open_stack(tmp_path / "a.mrcs"), images())


def test_complex_pixels_are_refused(tmp_path):
    with mrcfile.new(tmp_path / "a.mrc") as mrc:
        mrc.set_data(images().astype(np.complex64))
    with pytest.raises(InputError, match=r"mode 4.* give a stack of mode 0, 1, 2"):
        open_stack(tmp_path / "a.mrc")


def test_truncated_stack_says_what_is_there(tmp_path):
    path = tmp_path / "a.mrcs"
    write_stack(path, images(), 1.0)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"2 whole images are there .* promises 3"):
        open_stack(path)


def as_bytes(path, pixels, imod=None, low=0.0, high=0.0):
    """Write bytes as mode 0, with IMOD's stamp and flags or with extremes."""
    write_stack(path, pixels.astype(np.float32), 5.0)
    raw = bytearray(path.read_bytes()[:1024])
    raw[12:16] = np.int32(0).tobytes()
    raw[76:84] = np.array([low, high], "<f4").tobytes()
    if imod is not None:
        raw[152:160] = b"IMOD" + np.int32(imod).tobytes()
    path.write_bytes(bytes(raw) + pixels.tobytes())


@pytest.mark.parametrize(
    ("header", "unsigned"),
    [
        ({"imod": 0}, True),
        ({"imod": 1}, False),
        ({"imod": 16}, True),
        ({"imod": 0, "low": 0, "high": 255}, True),
        ({"imod": 1, "low": -128, "high": 127}, False),
        ({"low": 0, "high": 255}, True),
        ({"low": 3, "high": 128}, True),
        ({"low": -128, "high": 127}, False),
        ({"low": 0, "high": 127}, False),
        ({}, False),
        ({"low": 0, "high": -1}, False),
    ],
)
def test_bytes_are_unsigned_where_the_header_says_so(tmp_path, header, unsigned):
    """IMOD and older programs count bytes from 0, MRC2014 from -128."""
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    as_bytes(tmp_path / "a.mrcs", pixels, **header)
    expected = pixels if unsigned else pixels.view(np.int8)
    np.testing.assert_array_equal(open_stack(tmp_path / "a.mrcs"), expected)


@pytest.mark.parametrize(("at", "what"), [(8, "nz"), (92, "nsymbt"), (0, "nx")])
def test_a_small_file_that_claims_much_is_refused_at_once(tmp_path, at, what):
    path = tmp_path / "a.mrcs"
    write_stack(path, images(), 1.0)
    raw = bytearray(path.read_bytes())
    raw[at : at + 4] = np.int32(2**31 - 1).tobytes()
    path.write_bytes(raw)
    tracemalloc.start()
    with pytest.raises(InputError, match="broken off"):
        read_stack_header(path)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_a_wrong_machine_stamp_does_not_matter(tmp_path):
    write_stack(tmp_path / "a.mrcs", images(), 1.0)
    raw = bytearray((tmp_path / "a.mrcs").read_bytes())
    raw[212:216] = b"\x11\x11\0\0"
    (tmp_path / "a.mrcs").write_bytes(raw)
    np.testing.assert_array_equal(open_stack(tmp_path / "a.mrcs"), images())


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.mrc").write_bytes(b"hello")
    with pytest.raises(InputError, match="no MRC stack"):
        open_stack(tmp_path / "a.mrc")
    (tmp_path / "b.mrc").write_bytes(b"\xff" * 5000)
    with pytest.raises(InputError, match=r"b\.mrc"):
        open_stack(tmp_path / "b.mrc")


@pytest.mark.parametrize(
    ("step", "expected"), [(0.0, None), (1.0, None), (2.5, 2.5), (-1.0, None)]
)
def test_pixel_size_that_a_program_did_not_know_is_unknown(tmp_path, step, expected):
    write_stack(tmp_path / "a.mrcs", images(), step)
    assert read_stack_header(tmp_path / "a.mrcs").pixel_size == expected


def test_writer_by_blocks_equals_writing_at_once(tmp_path):
    """Blocks in any order give the same bytes."""
    stack = images(n=7)
    write_stack(tmp_path / "a.mrcs", stack, 1.5)
    with StackWriter(tmp_path / "b.mrcs", (7, 6, 5), 1.5) as out:
        out.write(4, stack[4:])
        out.write(0, stack[:4].astype(np.float64))
    assert (tmp_path / "a.mrcs").read_bytes() == (tmp_path / "b.mrcs").read_bytes()


@pytest.mark.parametrize(("first", "shape"), [(6, (2, 6, 5)), (0, (1, 5, 6))])
def test_writer_keeps_inside_the_stack(tmp_path, first, shape):
    with (
        StackWriter(tmp_path / "a.mrcs", (7, 6, 5), 1.5) as out,
        pytest.raises(ValueError, match="do not fit"),
    ):
        out.write(first, np.zeros(shape))


def test_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(ValueError):
        write_stack(tmp_path / "a.mrcs", np.array([[["x"]]]), 1.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("empiar_10076_7.mrc", (7, 320, 320)),
        ("hand.5.mrcs", (5, 64, 64)),
        ("relion31.mrcs", (5, 256, 256)),
        ("sample.mrcs", (17, 200, 200)),
    ],
)
def test_real_stacks(shared, name, shape):
    stack = open_stack(shared / "data" / "particles" / name)
    assert stack.shape == shape
    assert np.isfinite(stack).all()


def test_pixels_are_read_without_pandas():
    """Each MPI rank would wait a second for the import."""
    code = (
        "import sys, cryokin.io.stacks, cryokin.io.mrc, cryokin.io.eman_hdf;"
        "assert not {'pandas', 'starfile'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
