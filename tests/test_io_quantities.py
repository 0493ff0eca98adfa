"""Numbers from files: taken where they can be, refused with file, row and column."""

import numpy as np
import pandas as pd
import pytest

from cryokin.errors import InputError
from cryokin.io import quantities
from cryokin.io.mrc import write_stack, write_volume
from cryokin.io.particles import has_ctf, read_particles
from cryokin.io.quantities import OF_COLUMN, Quantity, flags, number, numbers
from cryokin.io.star import write_star
from cryokin.io.subtomograms import read_subtomograms

KNOWN = [value for value in vars(quantities).values() if isinstance(value, Quantity)]


@pytest.mark.parametrize("quantity", KNOWN, ids=lambda quantity: quantity.name)
def test_ends_of_a_range_are_in_it_and_what_is_beyond_is_not(quantity):
    step = 1 if quantity.whole else 1e-3
    inside = [quantity.low + step, quantity.high]
    outside = [quantity.low - step, quantity.high + step, np.nan, np.inf, -np.inf]
    assert quantity.holds(np.array(inside)).all()
    assert not quantity.holds(np.array(outside)).any()
    assert quantity.holds(np.array([quantity.low]))[0] != quantity.above_low


def test_every_quantity_of_a_column_is_one_of_those_known():
    assert set(OF_COLUMN.values()) <= set(KNOWN)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("rlnVoltage", "300000"),
        ("rlnVoltage", "0"),
        ("rlnAmplitudeContrast", "10.0"),
        ("rlnAmplitudeContrast", "-0.1"),
        ("rlnSphericalAberration", "2.7e7"),
        ("rlnDefocusU", "1e9"),
        ("rlnImagePixelSize", "0"),
        ("rlnImagePixelSize", "-16"),
        ("rlnAngleRot", "1e308"),
        ("rlnOriginXAngst", "inf"),
        ("rlnImageSize", "31.5"),
        ("rlnAnglePsi", "None"),
        ("rlnDefocusV", "1e400"),
        ("rlnDefocusV", "9" * 5000),
        ("other", "nan"),
    ],
)
def test_what_cannot_be_is_refused_with_file_row_and_column(column, value):
    with pytest.raises(InputError) as caught:
        numbers("a.star", column, [value])
    sentence = str(caught.value)
    assert sentence.startswith(f"a.star: {column} of particle 1 is ")
    assert sentence.count("\n") == 0 and len(sentence) < 300


def test_the_first_wrong_row_is_told_and_how_many_follow():
    with pytest.raises(InputError, match=r"rlnVoltage of group 2 is '3' \(1 more"):
        numbers("a.star", "rlnVoltage", ["300", "3", "200", "x"], rows="group")


def test_numbers_come_back_as_they_are():
    found = numbers("a.star", "rlnDefocusU", ["-100.5", "12000", 3])
    np.testing.assert_array_equal(found, [-100.5, 12000, 3])
    assert found.dtype == np.float64


@pytest.mark.parametrize("value", ["", None, "x", "nan", "-1", "91", [1], 10**400])
def test_a_single_value_out_of_range_is_refused(value):
    with pytest.raises(InputError, match=r"a.xml: Angle of .* 3 is .* 0 to 90 deg"):
        number("a.xml", "Angle of particle 3", value, quantities.WEDGE_ANGLE)
    assert number("a.xml", "Angle", " 30 ", quantities.WEDGE_ANGLE) == 30


@pytest.mark.parametrize("reader", [read_particles, read_subtomograms])
@pytest.mark.parametrize("value", ["soon", "2", "-1", "inf", "9" * 5000])
def test_a_flag_that_says_neither_yes_nor_no_is_refused(tmp_path, reader, value):
    """The other answer would count images as flipped, or sums as what they are not."""
    columns = {"rlnImageName": ["p.mrc"], "rlnCtfImage": ["p.mrc"]}
    if reader is read_particles:
        columns = {"rlnImageName": ["1@p.mrc"]}
        write_stack(tmp_path / "p.mrc", np.ones((1, 8, 8)), 5.0)
    else:
        write_volume(tmp_path / "p.mrc", np.ones((8, 8, 8)), 5.0)
    columns["rlnCtfDataAreCtfPremultiplied"] = [value]
    write_star(tmp_path / "p.star", {"particles": pd.DataFrame(columns)})
    with pytest.raises(InputError, match=r"Premultiplied of row 1 is .* 1 or 0"):
        has_ctf(reader(tmp_path / "p.star"))


def test_flags_of_every_program_are_read():
    yes, no = ["1", "True", "T", "1.0", 1, True], ["0", "False", "None", "", "0.0", 0]
    assert flags("a.star", "f", yes + no) == [True] * len(yes) + [False] * len(no)
