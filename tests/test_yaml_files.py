"""YAML that people write: read as it is meant, or refused in one sentence."""

import time

import pytest
import yaml

from cryokin.errors import InputError
from cryokin.yaml_files import load_yaml, read_yaml

BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
)
REFUSED = {
    "a key twice": (
        "keep: [1]\nrun: a\nkeep: [2]\n",
        "a.yaml, line 3, column 1: .*keep",
    ),
    "a key twice below": ("runs:\n  a: {x: 1}\n  a: {x: 2}\n", "line 3, column 3"),
    "a key twice in flow": ("{a: 1, b: 2, a: 3}", "the key a stands twice"),
    "no end": ("keep: [1, 2\nrun: demo\n", "line 2, column 4"),
    "a tag": ("a: !!python/object/apply:os.system [ls]", "line 1"),
    "itself": ("a: &a [*a]", "refers to itself"),
    "itself as a mapping": ("&a\nb: {c: *a}", "refers to itself"),
    "a bomb": (BOMB, "more than 1,000,000 values"),
    "a date that is none": ("a: 2001-99-99", "no usable|no YAML"),
    "5000 digits": ("a: " + "9" * 5000, "no YAML"),
    "deep": ("[" * 5000, "nested too deeply|line"),
    "two documents": ("a: 1\n---\nb: 2\n", "line 2"),
    "a tab": ("a:\n\tb: 1\n", "line 2"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_used_is_refused_at_once(what):
    text, pattern = REFUSED[what]
    began = time.monotonic()
    with pytest.raises(InputError, match=pattern) as caught:
        load_yaml(text, "a.yaml")
    assert time.monotonic() - began < 20
    assert str(caught.value).startswith("a.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# a comment\n",
        "a: 1\nb: [1, 2, {c: null}]\n",
        "base: &b {x: 1, y: 2}\nother: {<<: *b, y: 3}\n",
        "a: &a [1]\nb: *a\nc: *a\n",
        '{"runs": {"a": {"radius": 1e3}}}',
    ],
)
def test_plain_values_are_those_of_yaml(text):
    assert load_yaml(text, "a.yaml") == yaml.safe_load(text)


def test_files_that_are_no_text_are_refused(tmp_path):
    for name, content in (
        ("a", b"\xff\xfea: 1"),
        ("b", b"\x00\x01"),
        ("c", b"a: \xe4"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}"):
            read_yaml(tmp_path / name)
    with pytest.raises(InputError, match="No such file"):
        read_yaml(tmp_path / "none")
    with pytest.raises(InputError, match="Is a directory"):
        read_yaml(tmp_path)
    (tmp_path / "bom.yaml").write_text("\ufeffa: 1\n", encoding="utf-8")
    assert read_yaml(tmp_path / "bom.yaml") == {"a": 1}
