"""YAML that people write: one meaning a key, one sentence a mistake."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from cryokin.errors import InputError

#: Values that a file may hold once its aliases are written out.
MOST_VALUES = 1_000_000


class _Loader(yaml.SafeLoader):
    """Plain values alone, and no key twice: the last would win, and nobody be told."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: dict[tuple[str, str], Any] = {}
        for key, _ in node.value:
            name = (str(key.tag), str(key.value))
            if key.tag != "tag:yaml.org,2002:merge" and name in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value} stands twice, first in line"
                    f" {seen[name].line + 1}",
                    problem_mark=key.start_mark,
                )
            seen[name] = key.start_mark
        return super().construct_mapping(node, deep)


def load_yaml(text: str, source: str | os.PathLike[str]) -> Any:
    """Return what a text in YAML says.

    Parameters
    ----------
    text : str
    source : path-like
        Its name in messages.

    Raises
    ------
    InputError
        If it is no YAML, has a key twice, refers to itself, or is large once its
        aliases are written out.
    """
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node, source)
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = error.problem or error.context
        raise InputError(
            f"{source}{where}: no usable YAML ({problem}); repair it there."
        ) from None
    except RecursionError:
        raise InputError(f"{source}: is nested too deeply; write it anew.") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # A date that does not exist, a number of thousands of digits.
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{source}: no YAML ({reason}); repair the file.") from None
    finally:
        if loader is not None:
            loader.dispose()


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """Return what a file in YAML says; see `load_yaml`.

    Raises
    ------
    InputError
        If there is no such file, too.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: no text ({error}); save it in UTF-8.") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; give a file in YAML.") from None
    return load_yaml(text, path)


def _check_size(top: Any, source: str | os.PathLike[str]) -> None:
    """Refuse aliases that lead to themselves or multiply beyond all measure."""
    sizes: dict[int, int] = {}

    def size(node: Any) -> int:
        known = sizes.setdefault(id(node), 0)
        if known:
            return known
        parts: list[Any] = []
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            parts = node.value
        total = 1
        for part in parts:
            if sizes.get(id(part)) == 0:
                raise InputError(
                    f"{source}, line {part.start_mark.line + 1}: a part refers to"
                    " itself; write it out."
                )
            total += size(part)
        if total > MOST_VALUES:
            raise InputError(
                f"{source}: more than {MOST_VALUES:,} values once its aliases are"
                " written out; write them out yourself."
            )
        sizes[id(node)] = total
        return total

    size(top)
