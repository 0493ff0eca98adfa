"""The command line of a script, which follows from the signature of its function."""

import errno
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.isac.classes import save_classes
from cryokin.options import Isac
from cryokin.parallel import Team
from cryokin.script import Folder, run
from isac_rct import isac_rct
from pytom_subset import pytom_subset


@dataclass
class Recipe:
    box: int = 64
    snr: float = 0.5
    others: Sequence[Path] = ()


def everything(
    *,
    path: Path,
    number_of: int,
    size: float = 1.5,
    name: str | None = None,
    flag: bool = False,
    how: Literal["one", "other"] = "one",
    many: list[Path],
    options: Mapping[str, Any],
    of_run: Isac,
    folder: Folder,
    recipe: Recipe,
    team: Team,
) -> None:
    """Show every kind. More of it.

    And no more.
    """
    seen.update(locals())


seen: dict[str, Any] = {}
NEEDED = [
    *("--path", "a b", "--number-of", "3", "--options", '{"x": [1, null]}'),
    *("--of-run", '{"FH": 0.3}'),
    *("--folder", "f/in/1.npy", "f/in/2.npy", "--ranks", "1"),
]


def test_values_are_of_the_types_of_the_parameters():
    more = ["--flag", "--how", "other", "--many", "p", "q", "--box", "8"]
    run(everything, [*NEEDED, *more, "--name", "n", "--size", "2"])
    team = seen.pop("team")
    assert (team.size, team.leads) == (1, True)
    assert seen.pop("of_run").FH == 0.3
    assert seen == {
        "path": Path("a b"),
        "number_of": 3,
        "size": 2.0,
        "name": "n",
        "flag": True,
        "how": "other",
        "many": [Path("p"), Path("q")],
        "options": {"x": [1, None]},
        "folder": Path("f/in"),
        "recipe": Recipe(box=8, others=[]),
    }


def test_defaults_are_those_of_the_signature():
    """A list may be empty, and what may be None may have no value."""
    run(everything, [*NEEDED, "--name"])
    assert (seen["name"], seen["size"], seen["flag"]) == (None, 1.5, False)
    assert (seen["how"], seen["many"]) == ("one", [])
    assert seen["recipe"] == Recipe(others=[])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (NEEDED[2:], "required: --path"),
        ([*NEEDED, "--number-of", "x"], "invalid int value: 'x'"),
        ([*NEEDED, "--how", "none"], "invalid choice: 'none'"),
        ([*NEEDED, "--num", "1"], "unrecognized arguments: --num 1"),
        ([*NEEDED, "--options", "{"], "--options: invalid"),
    ],
)
def test_other_words_are_refused(capsys, words, told):
    with pytest.raises(SystemExit, match="2"):
        run(everything, words)
    assert told in capsys.readouterr().err


def test_help_is_the_first_line(capsys):
    with pytest.raises(SystemExit, match="0"):
        run(everything, ["--help"])
    text = capsys.readouterr().out
    assert "Show every kind. More of it." in text
    assert "no more" not in text


def refuses(*, path: Path) -> None:
    """Refuse a file."""
    raise InputError(f"{path}: is none.")


def test_what_the_user_can_mend_is_a_sentence(capsys):
    with pytest.raises(SystemExit, match="1"):
        run(refuses, ["--path", "x"])
    assert capsys.readouterr().err == "error: x: is none.\n"


@pytest.mark.parametrize("number", [errno.ENOENT, None])
def test_only_what_the_system_refused_is_the_users(capsys, number):
    def opens(*, path: Path) -> None:
        raise OSError(number, "No such file", str(path)) if number else OSError("odd")

    with pytest.raises(SystemExit, match="1"):
        run(opens, ["--path", "x"])
    told = capsys.readouterr().err.splitlines()
    assert told[-1] == (
        "error: [Errno 2] No such file: 'x'" if number else "error: odd"
    )
    assert ("Traceback" in told[0]) == (number is None)


def test_every_script_is_named_as_its_rule_and_its_function(root):
    """A rule runs the script of its name, which holds a function of that name."""
    called = {}
    for path in (root / "workflow/rules").glob("*.smk"):
        for rule in re.split(r"^(?:rule|checkpoint) ", path.read_text(), flags=re.M)[
            1:
        ]:
            name = rule.partition(":")[0]
            scripts = re.findall(r'command\(\s*"(\w+)"|/(\w+)\.py ', rule)
            called |= {name: {one or other for one, other in scripts}}
    called = {name: scripts for name, scripts in called.items() if scripts}
    assert len(called) > 30
    for name, scripts in called.items():
        assert scripts == {name}
        text = (root / f"workflow/scripts/{name}.py").read_text()
        assert f"\ndef {name}(" in text


def test_a_list_of_nobody_is_refused_before_anything_is_written(tmp_path):
    np.save(tmp_path / "labels.npy", np.zeros(3, int))
    with pytest.raises(InputError, match="there is no unaccounted particle"):
        pytom_subset(
            imported=tmp_path / "import",
            poses=tmp_path / "poses.npz",
            labels=tmp_path / "labels.npy",
            class_number=-1,
            xml=tmp_path / "unaccounted.xml",
            star=tmp_path / "unaccounted.star",
        )
    assert [path.name for path in tmp_path.iterdir()] == ["labels.npy"]


def test_tilted_pairs_of_no_class_are_refused(tmp_path):
    save_classes(tmp_path / "classes.npz", [])
    names = ("averages", "particles", "shifts", "stack_info", "tilted")
    with pytest.raises(InputError, match="there is no class 1"):
        isac_rct(
            classes=[tmp_path / "classes.npz"],
            number=1,
            folder=tmp_path / "rct",
            **{name: tmp_path / name for name in names},
        )
