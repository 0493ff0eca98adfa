"""Write what is made of the options: the JSON schema and the tables of the README."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from cryokin.options import METHODS, Options, options_of
from cryokin.options.option import Option

SCHEMA = Path("workflow/schemas/config.schema.json")
README = Path("config/README.md")
#: Before a table of the README: the class whose own options it has.
MARK = re.compile(r"(<!-- options of (\w+) -->\n\n)(?:\|.*\n)*")
RUN_NAME = "^[A-Za-z0-9_][A-Za-z0-9_-]*$"


def schema() -> dict[str, Any]:
    """Return the JSON schema of a configuration."""
    methods = {
        name: {
            "description": " ".join((kind.__doc__ or "").split()),
            "type": "object",
            "additionalProperties": False,
            "required": [
                k for k, one in known.items() if one.needed and not one.unless
            ],
            "allOf": [_one_of(k, one) for k, one in known.items() if one.unless],
            "properties": {k: one.schema() for k, one in known.items()}
            | {"method": {"const": name}},
        }
        for name, kind in METHODS.items()
        if (known := options_of(kind))
    }
    branches = [
        {
            "if": {"properties": {"method": {"const": name}}},
            "then": {"$ref": f"#/$defs/{name}"},
        }
        for name in METHODS
    ]
    run = {
        "type": "object",
        "required": ["method"],
        "properties": {"method": {"enum": list(METHODS)}},
        "allOf": branches,
    }
    runs = {
        "description": "options by name of the run; outputs go to results/<run>/",
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": RUN_NAME},
        "additionalProperties": run,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "cryokin configuration",
        "type": "object",
        "additionalProperties": False,
        "required": ["runs"],
        "properties": {"runs": runs},
        "$defs": methods,
    }


def _one_of(key: str, known: Option) -> dict[str, Any]:
    """Return that one of two options is given, or at most one of them."""
    ways = [{"required": [each]} for each in (key, known.unless)]
    return {"oneOf": ways} if known.needed else {"not": {"allOf": ways}}


def table(kind: type[Options]) -> str:
    """Return the table of a class's own options, in Markdown."""
    old = "sxisac" if kind is METHODS["isac"] else "PyTom"
    head = f"| key | default | unit | range | meaning | {old} |\n|{'---|' * 6}\n"
    known = options_of(kind)
    return head + "".join(
        f"| `{name}` | {_default(known[name])} | {known[name].unit} |"
        f" {_range(known[name])} | {known[name].meaning} | {known[name].was} |\n"
        for name in kind.__annotations__
    )


def _default(known: Option) -> str:
    """Return a default as it is written in a configuration."""
    if known.needed:
        return f"or `{known.unless}`" if known.unless else "must be given"
    return (
        known.default if isinstance(known.default, str) else json.dumps(known.default)
    )


def _range(known: Option) -> str:
    """Return the values that an option may have, in few words."""
    if known.examples:
        words = (e if e.startswith("the ") else f"`{e}`" for e in known.examples)
        return " or ".join(words).replace("the path of a file", "a path")
    if known.choices:
        return ", ".join(known.choices)
    kinds = known.schema()["type"]
    if "boolean" in kinds:
        return f"{known.word}, true, false" if known.word else "true, false"
    if "string" in kinds:
        return f"`{known.pattern.strip('^$')}`" if known.pattern else "a path"
    low = f"> {known.above:g}" if known.above is not None else ""
    if known.at_least is not None:
        low = f"{known.at_least:g}"
    high = f"< {known.below:g}" if known.below is not None else ""
    if known.at_most is not None:
        high = f"{known.at_most:g}"
    if low and high:
        return f"{low} to {high}"
    return low if low.startswith(">") else f"≥ {low}"


def written(root: Path) -> dict[Path, str]:
    """Return what the files should hold, below the folder of the project."""
    kinds = {
        kind.__name__: kind for each in METHODS.values() for kind in each.__mro__[:-2]
    }
    readme = MARK.sub(
        lambda at: at[1] + table(kinds[at[2]]), (root / README).read_text("utf-8")
    )
    text = json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"
    return {root / SCHEMA: text, root / README: readme}


if __name__ == "__main__":
    for path, text in written(Path()).items():
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"{path}: written", file=sys.stderr)
