"""Scripts of the workflow: a command line that follows from a function's signature."""

from __future__ import annotations

import argparse
import inspect
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

from cryokin.errors import exit_on_input_error
from cryokin.options import Options, options_from
from cryokin.parallel import Team, world
from cryokin.usage import log_usage

#: A folder that a rule hands over by the names of files in it.
Folder = Annotated[Path, "folder"]


def run(
    function: Callable[..., None],
    words: Sequence[str] | None = None,
    tell_usage: bool = True,
) -> None:
    """Call a function with what the command line says; end as `exit_on_input_error`.

    Each of its parameters, all of the keyword-only kind, is an option of that name, to
    be given unless there is a default. Known are paths, numbers, text, a choice
    (`Literal`), what is said or not (`bool`), lists, which may be empty, mappings and
    `Options` of a run (as JSON), a `Folder` (by files in it), a `Team` of as many ranks
    as ``--ranks`` says, and other dataclasses, whose fields are options.

    Parameters
    ----------
    function : callable
        The first line of its docstring describes it.
    words : sequence of str, optional
        Default: the command line.
    tell_usage : bool, optional
        Whether to say at the end what it took, as jobs of the workflow do.
    """
    doc = inspect.getdoc(function) or ""
    parser = argparse.ArgumentParser(
        function.__name__, description=doc.partition("\n")[0], allow_abbrev=False
    )
    for one in _options(function):
        flag = "ranks" if one.annotation is Team else one.name.replace("_", "-")
        how: dict[str, Any] = {"dest": one.name, "required": one.default is one.empty}
        if not how["required"]:
            how["default"] = one.default
        parser.add_argument(f"--{flag}", **how | _kind(one.annotation))
    values = vars(parser.parse_args(words))

    def called() -> None:
        function(**_arguments(function, values))
        if tell_usage:
            log_usage()

    exit_on_input_error(called)


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(function, eval_str=True).parameters.values())


def _has_fields(one: inspect.Parameter) -> bool:
    return is_dataclass(one.annotation) and not _is_of_run(one.annotation)


def _is_of_run(annotation: Any) -> bool:
    """Whether a type is that of the options of a run."""
    return isinstance(annotation, type) and issubclass(annotation, Options)


def _options(function: Callable[..., Any]) -> Iterator[inspect.Parameter]:
    """Yield the parameters of a function, and the fields of those with fields."""
    for one in _parameters(function):
        yield from _options(one.annotation) if _has_fields(one) else [one]


def _arguments(function: Callable[..., Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return what a function is called with."""

    def argument(one: inspect.Parameter) -> Any:
        if _has_fields(one):
            return one.annotation(**_arguments(one.annotation, values))
        value = values[one.name]
        if one.annotation == Folder:
            return Path(os.path.commonpath([os.path.dirname(name) for name in value]))
        return world(value) if one.annotation is Team else value

    return {one.name: argument(one) for one in _parameters(function)}


def _kind(annotation: Any) -> dict[str, Any]:
    """Return how argparse reads a value of some type."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is UnionType:
        kind = _kind(next(one for one in inner if one is not NoneType))
        return {"nargs": "?", **kind}  # a rule may have nothing to hand over
    if annotation is bool:
        return {"action": "store_true", "default": False, "required": False}
    if annotation is Team:
        return {"type": int, "help": "MPI ranks that were asked for"}
    if annotation == Folder:
        return {"nargs": "+", "metavar": "FILE"}
    if _is_of_run(annotation):
        read = options_from if annotation is Options else annotation.some
        return {"type": lambda text: read(json.loads(text))}
    if origin is Literal:
        return {"choices": inner}
    if origin is list or origin is Sequence:
        return {"nargs": "*", "required": False, "default": [], **_kind(inner[0])}
    return {"type": json.loads if origin is Mapping else annotation}
