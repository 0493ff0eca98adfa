"""The classes that a user keeps and merges: a file made by hand or in the report.

The file ``config/selection/<run>.yaml`` is the only input of the workflow that is made
by looking at results::

    run: demo
    classes: 4f1c...      # SHA-256 of the table of classes; may be left out
    keep: [1, 4, 7, 9]    # class numbers as the report shows them
    merge: [[1, 4], [7, 9]]

Members of merged classes take the first number of their group. Further selections of
the same run have names of their own, ``config/selection/<run>.<name>.yaml``.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryokin.errors import InputError
from cryokin.files import write_text
from cryokin.provenance import sha256
from cryokin.yaml_files import read_yaml

#: A class as the report names it: a number, or the name of a merged class.
ClassName = int | str

FOLDER = Path("config/selection")
NAME = r"[A-Za-z0-9_-]+"  # of a further selection, as of a run

KEYS = ("run", "classes", "keep", "merge")

#: What the option `select` may limit from above, and from below.
AT_MOST = ("resolution", "pixel_error")
AT_LEAST = ("size", "reproduction")


@dataclass(frozen=True)
class Selection:
    """Classes to keep, and which of them become one.

    Attributes
    ----------
    run : str
        Name of the run.
    keep : tuple of int or str
        Classes as the report names them: the numbers of ``rlnClassNumber``, from 1, or
        in 3D the names of ``classes.json``.
    merge : tuple of tuple
        Groups of kept classes that become one class, named as the first of the group.
    classes : str or None
        SHA-256 of the table of classes that the selection was made for, 64 hexadecimal
        digits; None: whatever the classes are.
    """

    run: str
    keep: tuple[ClassName, ...]
    merge: tuple[tuple[ClassName, ...], ...] = ()
    classes: str | None = None

    @property
    def becomes(self) -> dict[ClassName, ClassName]:
        """Every kept class and the class that its members belong to in the end."""
        first = {name: group[0] for group in self.merge for name in group}
        return {name: first.get(name, name) for name in self.keep}


def selection_path(run: str, name: str = "") -> Path:
    """Return the file of a selection, seen from the working folder."""
    return FOLDER / (f"{run}.{name}.yaml" if name else f"{run}.yaml")


def named_selections(run: str, directory: Path = Path()) -> list[str]:
    """Return the names of the further selections of a run, in order."""
    pattern = re.compile(rf"{re.escape(run)}\.({NAME})\.yaml")
    files = sorted((directory / FOLDER).glob(f"{run}.*.yaml"))
    return [found[1] for path in files if (found := pattern.fullmatch(path.name))]


def parse_selection(content: Any, source: str | os.PathLike[str]) -> Selection:
    """Return the selection that a mapping describes.

    Parameters
    ----------
    content : Any
        What the file holds, as YAML or JSON is read.
    source : path-like
        Its name in messages.

    Raises
    ------
    InputError
        If it is no selection, or contradicts itself.
    """
    if not isinstance(content, Mapping):
        raise InputError(
            f"{source}: {_shown(content)} is no selection, it must be a mapping such as"
            " 'run: demo' and 'keep: [1, 4]', a line each."
        )
    for key in map(str, content):
        if key not in KEYS:
            near = difflib.get_close_matches(key.lower(), KEYS, n=1)
            raise InputError(
                f"{source}: {key} is no key of a selection"
                + (f", did you mean {near[0]}?" if near else f" ({', '.join(KEYS)}).")
            )
    if content.get("run") is None:
        raise InputError(
            f"{source}: run is missing; give the name of the run that the classes are"
            " of, e.g. 'run: demo'."
        )
    keep = _names(content.get("keep"), "keep", source)
    merge = content.get("merge")
    if merge is None:
        merge = []
    if not isinstance(merge, list):
        raise InputError(
            f"{source}: merge = {_shown(merge)} cannot be used, it must be a list of"
            " groups, e.g. [[1, 4], [7, 9]]."
        )
    groups = tuple(_names(group, "merge", source) for group in merge)
    _check_groups(keep, groups, source)
    checksum = content.get("classes")
    return Selection(
        str(content["run"]), keep, groups, None if checksum is None else str(checksum)
    )


def read_selection(path: str | os.PathLike[str]) -> Selection:
    """Read a selection.

    Raises
    ------
    InputError
        If the file is missing, no YAML or no selection.
    """
    if not Path(path).exists():
        raise InputError(
            f"{path}: there is no such file; save a selection in the report of the run,"
            " or write one by hand (see config/README.md)."
        )
    return parse_selection(read_yaml(path), path)


def write_selection(path: str | os.PathLike[str], selection: Selection) -> None:
    """Write a selection, atomically; the same selection gives the same bytes."""
    lines = [f"run: {json.dumps(selection.run)}"]
    if selection.classes is not None:
        lines.append(f"classes: {json.dumps(selection.classes)}")
    lines.append(f"keep: {json.dumps(selection.keep)}")
    if selection.merge:
        lines.append(f"merge: {json.dumps(selection.merge)}")
    write_text(path, "\n".join(lines) + "\n")


def check_selection(
    selection: Selection,
    source: str | os.PathLike[str],
    run: str,
    known: Iterable[ClassName],
    classes: str | os.PathLike[str] | None = None,
) -> None:
    """Raise `InputError` for a selection that does not fit the classes of a run.

    Parameters
    ----------
    selection : Selection
    source : path-like
        The file of the selection, for messages.
    run : str
        Name of the run.
    known : iterable of int or str
        The run's classes.
    classes : path-like, optional
        The table of these classes, ``classes.star`` or ``classes.json``; its checksum
        is compared where the selection has one.
    """
    if selection.run != run:
        raise InputError(
            f"{source}: run is {selection.run}, but the classes are those of run {run};"
            " give the selection that was made for them."
        )
    stale = selection.classes is not None and classes is not None
    if stale and sha256(str(classes)) != selection.classes:
        raise InputError(
            f"{source}: the selection was made for other classes than those of"
            f" {classes} (their checksums differ); select again in the report, or"
            " remove the line 'classes' to select by number alone."
        )
    there = [as_name(name) for name in known]
    for name in selection.keep:
        if name not in there:
            raise InputError(
                f"{source}: keep names class {name}, but run {run} has"
                f" {_listed(there)}; correct keep."
            )


def select_by_rule(
    run: str, rule: Mapping[str, Any], classes: Sequence[Mapping[str, Any]]
) -> Selection:
    """Return the selection that the option `select` of a run makes.

    Parameters
    ----------
    run : str
        Name of the run.
    rule : mapping
        Any of ``classes`` (names), ``size`` and ``reproduction`` (at least),
        ``resolution`` [A] and ``pixel_error`` [working pixel] (at most).
    classes : sequence of mapping
        The run's classes: ``class`` (its name), ``name`` (another one, optional), and
        their values under the same keys. A value that is not known (None or not a
        number) passes no limit.

    Raises
    ------
    InputError
        If the rule names an unknown class, or nothing passes.
    """
    wanted = None
    if rule.get("classes") is not None:
        known = {as_name(e["class"]): e for e in classes}
        known |= {as_name(e["name"]): e for e in classes if "name" in e}
        for name in map(as_name, rule["classes"]):
            if name not in known:
                there = [as_name(e.get("name", e["class"])) for e in classes]
                raise InputError(
                    f"select: there is no class {name}, run {run} has"
                    f" {_listed(there)}; correct select in the config."
                )
        wanted = [known[as_name(name)]["class"] for name in rule["classes"]]
    keep = tuple(
        as_name(e["class"])
        for e in classes
        if (wanted is None or e["class"] in wanted) and _passes(rule, e)
    )
    if not keep:
        raise InputError(
            f"select = {_shown(dict(rule))} keeps none of the {len(classes)} classes of"
            f" run {run}; loosen select in the config, or remove it."
        )
    return Selection(run, keep)


def _passes(rule: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    """Whether a class is within the limits of a rule."""
    for key in (*AT_MOST, *AT_LEAST):
        if rule.get(key) is None:
            continue
        value = entry.get(key)
        # A comparison with NaN is false.
        if value is None or not (
            value <= rule[key] if key in AT_MOST else value >= rule[key]
        ):
            return False
    return True


def as_name(value: ClassName) -> ClassName:
    """Return the name of a class; text that is a whole number becomes the number."""
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() else text


def _names(value: Any, key: str, source: str | os.PathLike[str]) -> tuple[Any, ...]:
    """Return a list of classes as names."""
    fewest = 2 if key == "merge" else 1
    usable = (
        isinstance(value, list)
        and len(value) >= fewest
        and all(isinstance(v, int | str) and not isinstance(v, bool) for v in value)
    )
    if not usable:
        raise InputError(
            f"{source}: {key} = {_shown(value)} cannot be used, "
            + (
                "each group must be a list of at least two classes, e.g. [[1, 4]]."
                if key == "merge"
                else "it must be a list of at least one class, e.g. [1, 4]."
            )
        )
    names = tuple(as_name(v) for v in value)
    _refuse_twice(names, key, source)
    return names


def _check_groups(
    keep: tuple[ClassName, ...],
    groups: tuple[tuple[ClassName, ...], ...],
    source: str | os.PathLike[str],
) -> None:
    """Refuse groups of classes that are not kept, or in several groups."""
    grouped = tuple(name for group in groups for name in group)
    _refuse_twice(grouped, "merge", source)
    for name in grouped:
        if name not in keep:
            raise InputError(
                f"{source}: merge names class {name}, which is not in keep ="
                f" {_shown(list(keep))}; add it there or remove it from the group."
            )


def _refuse_twice(
    names: tuple[ClassName, ...], key: str, source: str | os.PathLike[str]
) -> None:
    for i, name in enumerate(names):
        if name in names[:i]:
            raise InputError(f"{source}: {key} names class {name} twice; name it once.")


def _listed(names: list[ClassName]) -> str:
    """Return the classes of a run in words."""
    if not names:
        return "no classes"
    numbers = [name for name in names if isinstance(name, int)]
    if len(numbers) == len(names) and numbers == list(
        range(numbers[0], numbers[0] + len(numbers))
    ):
        return f"classes {numbers[0]} to {numbers[-1]}"
    return "the classes " + ", ".join(map(str, names))


def _shown(value: Any) -> str:
    """Return a value as it would be written, cut where it is long."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
