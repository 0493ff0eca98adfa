"""Results that were cut or changed are refused by one sentence, wherever they are."""

import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.files import read_json, write_json
from cryokin.npy import NpyWriter, load_array, load_arrays


def result(folder, kind):
    """Return a whole result, and what reads it."""
    values = np.arange(400.0).reshape(20, 20)
    path = folder / f"result.{kind.split()[0]}"
    if kind == "json":
        write_json(path, {"n": 3, "names": ["a", "ü"]})
        return path, read_json
    if kind == "npz":
        np.savez(path, one=values, other=values[0])
    elif kind == "npz compressed":
        np.savez_compressed(path, one=values, other=values[0])
    else:
        np.save(path, values)
        return path, lambda p: load_array(p, mapped=kind == "npy mapped")
    return path, load_arrays


KINDS = ("json", "npy", "npy mapped", "npz", "npz compressed")


@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 0.9])
@pytest.mark.parametrize("kind", KINDS)
def test_a_result_that_is_cut_is_named(tmp_path, kind, share):
    path, read = result(tmp_path, kind)
    read(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=rf"{path.name}: is broken off .* delete it"):
        read(path)


@pytest.mark.parametrize("kind", ["json", "npz compressed"])
def test_a_result_of_other_bytes_is_named(tmp_path, kind):
    path, read = result(tmp_path, kind)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 3] = 0xFF
    path.write_bytes(whole)
    with pytest.raises(InputError, match="or was changed"):
        read(path)


def test_what_is_written_in_parts_is_read_whole(tmp_path):
    values = np.arange(30, dtype=np.float32).reshape(10, 3)
    with NpyWriter(tmp_path / "a.npy", np.float32, values.shape) as writer:
        for start in (0, 4, 8):
            writer.write(values[start : start + 4])
    np.testing.assert_array_equal(load_array(tmp_path / "a.npy"), values)
