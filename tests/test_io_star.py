"""STAR files come back as they went in."""

import random
import string
import tracemalloc

import pandas as pd
import pytest
import starfile

from cryokin.errors import InputError
from cryokin.io import star
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


def line_of(values, chance):
    """A line that holds these values, in one of the many ways that programs write."""
    blank = chance.choice([" ", "\t", "   "])
    quote = chance.choice("\"'")
    cells = (f"{quote}{v}{quote}" if " " in v else v for v in values)
    end = chance.choice(["", " ", "\t \t", "  # said 'so"])
    return chance.choice(["", "  "]) + blank.join(cells) + end


@pytest.mark.parametrize("seed", range(20))
def test_lines_of_all_kinds_give_one_table(tmp_path, monkeypatch, seed):
    """Quotes, comments, blanks and line ends are no part of values, wherever cut."""
    chance = random.Random(seed)
    words = ["1.0", "nan", "000001@a#1/it's.mrcs", '5"', "é\u4e2d", "<NA>", "-0"]
    words = chance.choice([words[:2], words, [*words, "two  words", "a # b"]])
    rows = [[f"v{i}", *chance.choices(words, k=3)] for i in range(chance.randrange(11))]
    lines = ["data_", "loop_", *(f"_{c} #1" for c in "abcd")]
    for row in rows:
        lines += [line_of(row, chance), *chance.choices(["", "# _no"], k=seed % 3)]
    text = "".join(line + chance.choice(["\n", "\r\n"]) for line in lines)
    (tmp_path / "a.star").write_bytes(text.encode())
    tables = []
    for many in (1, 3, 500):
        monkeypatch.setattr(star, "_ROWS", many)
        tables.append(read_star(tmp_path / "a.star"))
        write_star(tmp_path / f"{many}.star", tables[0])
        assert tables[-1][""].to_numpy().tolist() == rows
        assert list(tables[-1][""].columns) == list("abcd")
        written = (tmp_path / f"{many}.star").read_bytes()
        assert written == (tmp_path / "1.star").read_bytes()
    pd.testing.assert_frame_equal(read_star(tmp_path / "3.star")[""], tables[0][""])
    (tmp_path / "a.star").write_text(text + "x y\n")
    with pytest.raises(InputError, match=f"line {len(lines) + 1}: 2 values for the 4"):
        read_star(tmp_path / "a.star")


def test_a_long_table_takes_its_values_once(tmp_path):
    """Reading keeps one text a value, the same once; writing keeps some lines."""
    n, own, shared = 20_000, 8, 12
    chance = random.Random(1)
    heads = "".join(f"_c{k}\n" for k in range(own + shared))
    same = " ".join(f"{k}.000000" for k in range(shared))
    with (tmp_path / "a.star").open("w") as file:
        file.write("data_particles\nloop_\n" + heads)
        for _ in range(n):
            values = (f"{chance.random():.6f}" for _ in range(own))
            file.write(f"{' '.join(values)} {same}\n")
    tracemalloc.start()
    blocks = read_star(tmp_path / "a.star")
    _, most_read = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    write_star(tmp_path / "b.star", blocks)
    _, most_written = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    one = len("0.123456") + 49  # bytes of a string
    assert most_read < n * (own * one + 3 * 8 * (own + shared))
    assert most_written - before < 100 * n
