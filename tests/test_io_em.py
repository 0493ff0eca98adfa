import struct

import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.io.em import read_em, read_header, write_em

DTYPES = {1: "i1", 2: "i2", 4: "i4", 5: "f4", 6: "u2", 8: "c8", 9: "f8", 10: "c16"}
DTYPES[11] = "i8"


def em_bytes(volume, machine, code, order, comment=b"a comment"):
    header = bytes([machine, 0, 0, code]) + struct.pack(
        order + "3i", *volume.shape[::-1]
    )
    user = np.zeros(40, order + "i4")
    user[6] = 4700
    header += comment.ljust(80, b"\0") + user.tobytes() + bytes(256)
    return header + volume.astype(volume.dtype.newbyteorder(order)).tobytes()


@pytest.mark.parametrize("code", sorted(DTYPES))
@pytest.mark.parametrize(("machine", "order"), [(6, "<"), (3, ">"), (5, ">"), (0, ">")])
def test_reads_every_type_in_both_byte_orders(tmp_path, code, machine, order):
    volume = (np.arange(24) % 7).astype(DTYPES[code]).reshape(2, 3, 4)
    path = tmp_path / "volume.em"
    path.write_bytes(em_bytes(volume, machine, code, order))
    found = read_em(path)
    assert found.dtype == volume.dtype
    np.testing.assert_array_equal(found, volume)
    header = read_header(path)
    assert header.shape == (2, 3, 4)
    assert header.pixel_size == pytest.approx(4.7)
    assert header.comment == "a comment"


@pytest.mark.parametrize(("machine", "order"), [(6, "<"), (3, ">")])
def test_reads_complex_integers(tmp_path, machine, order):
    pairs = np.arange(16, dtype=order + "i2")
    path = tmp_path / "volume.em"
    header = em_bytes(np.zeros((1, 2, 4), "i1"), machine, 3, order)[:512]
    path.write_bytes(header + pairs.tobytes())
    np.testing.assert_array_equal(
        read_em(path).ravel(), np.arange(0, 16, 2) + 1j * np.arange(1, 16, 2)
    )


def test_length_decides_where_the_machine_code_is_wrong(tmp_path):
    volume = np.arange(6, dtype="f4").reshape(1, 2, 3)
    path = tmp_path / "volume.em"
    path.write_bytes(em_bytes(volume, 0, 5, "<"))
    np.testing.assert_array_equal(read_em(path), volume)


@pytest.mark.parametrize("dtype", sorted(set(DTYPES.values())))
def test_what_is_written_is_read(tmp_path, dtype):
    volume = np.arange(24).astype(dtype).reshape(2, 3, 4)
    write_em(tmp_path / "volume.em", volume, pixel_size=12.5)
    found = read_em(tmp_path / "volume.em")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, volume)
    assert read_header(tmp_path / "volume.em").pixel_size == 12.5


def test_an_image_is_one_section_and_odd_types_become_float32(tmp_path):
    write_em(tmp_path / "image.em", np.arange(6, dtype="u1").reshape(2, 3))
    found = read_em(tmp_path / "image.em")
    assert found.shape == (1, 2, 3)
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"short", "5 bytes are no EM volume"),
        (bytes([6, 0, 0, 7]) + bytes(508), "data type 7 is unknown"),
        (bytes([1, 0, 0, 5]) + bytes(508), "VAX"),
        (bytes([6, 0, 0, 5]) + struct.pack("<3i", 9, 9, 9) + bytes(496), "9 x 9 x 9"),
    ],
)
def test_refuses_what_is_no_volume(tmp_path, content, sentence):
    path = tmp_path / "volume.em"
    path.write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        read_em(path)


def test_reads_files_of_the_field(shared):
    folder = shared / "data" / "subtomograms"
    ribosome = read_em(folder / "ribo.em")
    assert ribosome.shape == (100, 100, 100)
    assert ribosome.min() == pytest.approx(-0.137325, abs=1e-6)
    assert ribosome.std(dtype=np.float64) == pytest.approx(0.012361123, abs=1e-8)
    mask = read_em(folder / "mask_45.em")
    assert mask.sum() == 381915
    mirrored = read_em(folder / "human_ribo_21A_Mirrored.em")
    np.testing.assert_array_equal(
        mirrored[::-1, ::-1, ::-1], read_em(folder / "human_ribo_21A.em")
    )
    assert read_em(folder / "int2.em").dtype == np.int16
    assert read_em(folder / "int4.em").dtype == np.float32
