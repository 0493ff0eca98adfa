"""Selections: read, refused with one sentence, written so that they are read again."""

import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.provenance import sha256
from cryokin.selection import (
    Selection,
    check_selection,
    parse_selection,
    read_selection,
    select_by_rule,
    write_selection,
)


def refusal(function, *arguments):
    with pytest.raises(InputError) as error:
        function(*arguments)
    text = str(error.value)
    assert "\n" not in text
    assert text[-1] in ".?"
    return text


@pytest.mark.parametrize(
    "selection",
    [
        Selection("demo", (1, 4, 7)),
        Selection("demo", (1, 4, 7, 9), ((4, 1), (7, 9)), "0123456789abcdef" * 4),
        Selection("3", (0, "a", "no", "1.5"), (("no", 0),), "1" * 64),
    ],
)
def test_what_is_written_is_read_back(tmp_path, selection):
    path = tmp_path / "selection" / "s.yaml"
    write_selection(path, selection)
    assert read_selection(path) == selection


def test_reads_what_a_person_writes(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(
        "# good ones\nrun: demo\nkeep:\n- 1\n- '4'\n- 7\nmerge:\n- [7, 4]\n"
    )
    selection = read_selection(path)
    assert selection == Selection("demo", (1, 4, 7), ((7, 4),))
    assert selection.becomes == {1: 1, 4: 7, 7: 7}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no selection"),
        ([1, 2], "no selection"),
        ({"run": "demo", "keeps": [1]}, "did you mean keep?"),
        ({"run": "demo", "keep": [1], "colour": 1}, "colour is no key of a selection"),
        ({"keep": [1]}, "run is missing"),
        ({"run": "demo"}, "keep = null"),
        ({"run": "demo", "keep": []}, "at least one class"),
        ({"run": "demo", "keep": 3}, "keep = 3"),
        ({"run": "demo", "keep": [1.5]}, "keep = [1.5]"),
        ({"run": "demo", "keep": [True]}, "keep = [true]"),
        ({"run": "demo", "keep": [1, 2, 1]}, "keep names class 1 twice"),
        ({"run": "demo", "keep": [1], "merge": 1}, "a list of groups"),
        ({"run": "demo", "keep": [1], "merge": [[1]]}, "at least two classes"),
        ({"run": "demo", "keep": [1, 2], "merge": [[1, 3]]}, "class 3, which is not"),
        (
            {"run": "demo", "keep": [1, 2, 3], "merge": [[1, 2], [2, 3]]},
            "merge names class 2 twice",
        ),
    ],
)
def test_refuses_what_is_no_selection(content, words):
    text = refusal(parse_selection, content, "s.yaml")
    assert text.startswith("s.yaml: ")
    assert words in text


def test_refuses_files_that_cannot_be_read(tmp_path):
    assert "no such file" in refusal(read_selection, tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("keep: [1, 2\nrun: demo\n")
    assert "line 2, column 4: no usable YAML" in refusal(read_selection, broken)
    broken.write_bytes(b"run: \xff\xfe\n")
    assert "save it in UTF-8" in refusal(read_selection, broken)


def test_refuses_a_selection_of_other_classes(tmp_path):
    table = tmp_path / "classes.star"
    table.write_text("one")
    made = Selection("demo", (1, 3), classes=sha256(table))
    check_selection(made, "s.yaml", "demo", [1, 2, 3], table)
    by_name = Selection("demo", (0, "a"))
    check_selection(by_name, "s.yaml", "demo", ["0", "a"])

    assert "run is demo" in refusal(
        check_selection, made, "s.yaml", "other", [1, 2, 3], table
    )
    text = refusal(check_selection, made, "s.yaml", "demo", [1, 2], table)
    assert "class 3, but run demo has classes 1 to 2" in text
    table.write_text("two")
    text = refusal(check_selection, made, "s.yaml", "demo", [1, 2, 3], table)
    assert "made for other classes" in text
    assert "no classes" in refusal(check_selection, by_name, "s.yaml", "demo", [])


KEYS = ("class", "size", "resolution", "pixel_error", "reproduction")
CLASSES = [
    dict(zip(KEYS, row, strict=True))
    for row in (
        (1, 50, 20.0, 0.2, 1.0),
        (2, 9, 18.0, 0.1, 0.9),
        (3, 30, None, 0.5, 0.7),
        (4, 30, 25.0, np.nan, 1.0),
    )
]


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ({"size": 30}, (1, 3, 4)),
        ({"resolution": 20}, (1, 2)),  # not known is not good
        ({"pixel_error": 0.2}, (1, 2)),
        ({"reproduction": 0.9}, (1, 2, 4)),
        ({"size": 30, "reproduction": 0.9}, (1, 4)),
        ({"classes": [4, "2"]}, (2, 4)),
        ({"classes": [2, 4], "size": 10}, (4,)),
        ({"classes": None, "size": None, "resolution": 18}, (2,)),
    ],
)
def test_a_rule_keeps_what_is_within_all_its_limits(rule, kept):
    assert select_by_rule("demo", rule, CLASSES) == Selection("demo", kept)


def test_a_rule_knows_classes_by_either_name():
    named = [{"class": 0, "name": "open"}, {"class": 1, "name": "shut"}]
    for name in (1, "1", "shut"):
        assert select_by_rule("demo", {"classes": [name]}, named).keep == (1,)


def test_a_rule_that_keeps_nothing_says_so():
    text = refusal(select_by_rule, "demo", {"size": 51}, CLASSES)
    assert 'select = {"size": 51} keeps none of the 4 classes of run demo' in text
    text = refusal(select_by_rule, "demo", {"classes": [5]}, CLASSES)
    assert "there is no class 5, run demo has classes 1 to 4" in text
