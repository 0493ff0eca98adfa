"""STAR files come back as they went in."""

import random
import string

import pandas as pd
import pytest
import starfile

from cryokin.errors import InputError
from cryokin.io.star import (
    as_table,
    read_column,
    read_star,
    storable,
    storable_name,
    write_star,
)

REAL = [
    "particles/empiar_10076_7.star",
    "particles/relion31.star",
    "tables/FinalRefinement-OriginalParticles-PfCRT.star",
    "tables/pytom_relion_with_optics_group.star",
    "tables/pytom_subtomo_format.star",
    "tables/relion31.6opticsgroups.star",
    "tables/relion31.v2.star",
    "tables/relion5.star",
    "tables/sta_testing_bin8.star",
    "tables/toy_projections.star",
]


def text_tokens(path):
    """All values of the file in order, as a splitter that knows nothing sees them."""
    return [
        line.split()
        for line in path.read_text().splitlines()
        if line.strip() and line.strip()[0] not in "#_" and line.split()[0] != "loop_"
    ]


@pytest.mark.parametrize("name", REAL)
def test_round_trip_keeps_every_value_as_text(shared, tmp_path, name):
    blocks = read_star(shared / "data" / name)
    write_star(tmp_path / "a.star", blocks)
    again = read_star(tmp_path / "a.star")
    assert list(again) == list(blocks)
    for block in blocks:
        pd.testing.assert_frame_equal(as_table(again[block]), as_table(blocks[block]))
    assert text_tokens(tmp_path / "a.star") == text_tokens(shared / "data" / name)


@pytest.mark.parametrize("name", REAL)
def test_agrees_with_starfile(shared, tmp_path, name):
    """Another reader finds the same table, in the file itself and in our copy."""
    blocks = read_star(shared / "data" / name)
    write_star(tmp_path / "a.star", blocks)
    for path in (shared / "data" / name, tmp_path / "a.star"):
        theirs = starfile.read(path, always_dict=True)
        assert list(theirs) == list(blocks)
        for block, table in theirs.items():
            ours = as_table(blocks[block])
            assert list(table.columns) == list(ours.columns)
            for column in table.columns:
                if pd.api.types.is_numeric_dtype(table[column]):
                    assert (pd.to_numeric(ours[column]) == table[column]).all()
                else:
                    assert (ours[column] == table[column]).all()


def test_any_text_survives(tmp_path):
    chance = random.Random(1)
    letters = string.ascii_letters + "0123456789 \t'\"#_@/.-+[],é"
    values = []
    while len(values) < 400:
        value = "".join(chance.choices(letters, k=chance.randrange(12)))
        # both quotes followed by a blank: no STAR file can hold it
        if not ("'" in value and '"' in value):
            values.append(value)
    values += ["", "nan", "<NA>", "None", "0010", "1e5", "data_x", "loop_", "_rln", "#"]
    table = pd.DataFrame({"a": values, "b": values[::-1]}, dtype=object)
    blocks = {"general": {"rlnNote": "two words"}, "particles": table, "empty": {}}
    write_star(tmp_path / "a.star", blocks)
    again = read_star(tmp_path / "a.star")
    assert list(again) == list(blocks)
    assert again["general"] == blocks["general"]
    pd.testing.assert_frame_equal(again["particles"], table)


def test_same_content_same_bytes(tmp_path):
    table = pd.DataFrame({"a": ["1", "x y"]}, dtype=object)
    write_star(tmp_path / "a.star", {"particles": table})
    write_star(tmp_path / "b.star", {"particles": table})
    assert (tmp_path / "a.star").read_bytes() == (tmp_path / "b.star").read_bytes()


def test_a_table_without_rows_keeps_its_columns(tmp_path):
    table = pd.DataFrame(columns=["a", "b"], dtype=object)
    write_star(tmp_path / "a.star", {"particles": table})
    assert list(read_star(tmp_path / "a.star")["particles"].columns) == ["a", "b"]


def test_comments_quotes_and_blank_lines(tmp_path):
    (tmp_path / "a.star").write_text(
        "# made by hand\n\ndata_\nloop_\n_a #1\n_b #2\n"
        "it's 'two words'\n\n# a comment\n5\" nan # another\n"
    )
    table = read_star(tmp_path / "a.star")[""]
    assert table.to_numpy().tolist() == [["it's", "two words"], ['5"', "nan"]]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("data_\nloop_\n_a\n_b\n1 2\n3\n", "line 6: 1 values for the 2 columns"),
        ("data_\nloop_\n_a\n_a\n1 2\n", "line 4: the column _a comes twice"),
        ("data_x\n_a 1\ndata_x\n_a 1\n", "the block data_x comes twice"),
        ("data_x\n_a 1 2\n", "line 2: expected a name and a value"),
        ("hello\n", "line 1: expected a block name"),
        ("", "no data_ block"),
    ],
)
def test_broken_files_are_refused(tmp_path, text, sentence):
    (tmp_path / "a.star").write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_star(tmp_path / "a.star")


def test_binary_file_is_refused(tmp_path):
    (tmp_path / "a.star").write_bytes(bytes(range(255, 127, -1)))
    with pytest.raises(InputError, match="not readable as text"):
        read_star(tmp_path / "a.star")


@pytest.mark.parametrize("name", REAL)
def test_a_column_is_that_of_the_table(shared, name):
    path = shared / "data" / name
    blocks = read_star(path)
    for block, content in blocks.items():
        for column in as_table(content):
            found = list(read_column(path, [block], column))
            assert found == list(as_table(content)[column])
    assert list(read_column(path, list(blocks), "rlnNothing")) == []
    assert list(read_column(path, ["nothing"], "rlnImageName")) == []


def test_what_other_programs_call_their_columns_is_stored(tmp_path):
    texts = ["a\nb", "x \"y\" 'z' w", "plain", "\x00\x85", " ends ", "'", '"']
    values = [storable(text) for text in texts]
    name = storable_name("a name\n_x #1")
    table = pd.DataFrame({name: values}, dtype=object)
    write_star(tmp_path / "a.star", {"particles": table})
    again = as_table(read_star(tmp_path / "a.star")["particles"])
    assert list(again[name]) == values
    with pytest.raises(ValueError, match="no STAR file can hold the column"):
        write_star(tmp_path / "b.star", {"": {"a name": "1"}})
    with pytest.raises(InputError, match="a STAR file cannot hold the value"):
        write_star(tmp_path / "b.star", {"": {"name": "a\nb"}})
    assert not (tmp_path / "b.star").exists()
