"""What the pages of all methods share: template, style, numbers in words."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cryokin.estimate import Range, RuleUsage

TEMPLATES = Path(__file__).parent / "templates"
NONE = "\N{EN DASH}"
MARGIN, ENLARGED = 10, 1.6  # of a figure in a file of its own


class Numbering:
    """Numbers figures and tables in the order in which a template comes to them."""

    def __init__(self) -> None:
        self._last: dict[str, int] = defaultdict(int)

    def __call__(self, kind: str = "figure") -> int:
        """Return the next number of a kind of exhibit."""
        self._last[kind] += 1
        return self._last[kind]


def render(
    template: str,
    scripts: Sequence[str],
    styles: Sequence[str],
    data: Mapping[str, Any],
    **values: Any,
) -> str:
    """Fill a template into a page that holds its style, its script and its data.

    Parameters
    ----------
    template : str
        Name of the file, which extends ``base.html``.
    scripts, styles : sequence of str
        Names of the files that are put into the page one after the other; the scripts
        become one, the only one that a browser is told to run.
    data : mapping
        What the script needs, as JSON.
    **values
        What the template needs.

    Returns
    -------
    str
        The page; the same values give the same text.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=_count, duration=_duration, memory=_memory, quantity=quantity
    )
    script = "\n".join(map(_text, scripts))
    return environment.get_template(template).render(
        style=Markup("\n".join(map(_text, styles))),
        script=Markup(script),
        script_hash=_hash(script),
        data=_json(data),
        number=Numbering(),
        **values,
    )


def standalone(figure: Markup) -> str:
    """Return a figure of a page as an SVG file of its own, in the page's colours."""
    view = re.search(r'viewBox="0 0 (\S+) (\S+)"', str(figure))
    if view is None:
        raise ValueError("a figure must tell its viewBox")
    width, height = (float(side) + 2 * MARGIN for side in view.groups())
    style = "\n".join(map(_text, ["colours.css", "figures.css"]))
    corner = f'x="-{MARGIN}" y="-{MARGIN}"'
    size = f'width="{width:g}" height="{height:g}"'
    opened = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{ENLARGED * width:g}"'
        f' height="{ENLARGED * height:g}"'
        f' viewBox="-{MARGIN} -{MARGIN} {width:g} {height:g}">'
        f"<style><![CDATA[{style}]]></style>"
        f'<rect {corner} {size} class="paper"/>'
    )
    return f"{opened}{str(figure).partition('>')[2]}\n"


def _text(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def option_table(
    options: Mapping[str, Any],
    schema: Mapping[str, Mapping[str, Any]],
    old_program: str,
) -> list[dict[str, Any]]:
    """Return name, value, unit, meaning of each option, and whether it was changed.

    The schema writes the unit in brackets and the name in the old program in
    parentheses at the end of the description.

    Parameters
    ----------
    options : mapping
        Option of the run to its value.
    schema : mapping
        Option to its entry in the configuration schema; an option may be missing.
    old_program : str
        What the parentheses start with, e.g. ``sxisac``.
    """
    rows = []
    remark = re.compile(rf"\s*\((?:not in )?{re.escape(old_program)}\b[^()]*\)")
    for name, value in options.items():
        entry = schema.get(name, {})
        default = entry.get("default", value)
        if name == "yr" and default == -1:
            default = options.get("xr")  # which is what -1 stands for
        text = remark.sub("", entry.get("description", ""))
        unit = _unit(text)
        rows.append(
            {
                "name": name,
                "value": _value(value),
                "unit": unit[1].replace("A", "Å") if unit else "",
                "meaning": text.replace(unit[0], "", 1) if unit else text,
                "default": _value(default),
                "changed": value != default,
            }
        )
    return rows


def configuration(run: str, options: Mapping[str, Any]) -> str:
    """Return a run as it would stand in a configuration of its own."""
    plain = json.loads(json.dumps(options))
    text: str = yaml.safe_dump({"runs": {run: plain}}, sort_keys=False)
    return text


def rule_table(used: Sequence[RuleUsage]) -> dict[str, Any]:
    """Return what the rules took beside the estimate, a row each, and their sum."""
    rows = [
        {
            "name": rule.rule,
            "jobs": rule.jobs,
            "wall": rule.wall_seconds,
            "cpu": rule.cpu_seconds,
            "memory": rule.memory_mb,
            "estimate": None if rule.estimate is None else rule.estimate.cpu_seconds,
            "expected_memory": math.nan
            if rule.estimate is None
            else rule.estimate.memory_mb(rule.ranks),
        }
        for rule in used
    ]
    known = [rule.estimate.cpu_seconds for rule in used if rule.estimate is not None]
    return {
        "rows": rows,
        "jobs": sum(rule.jobs for rule in used),
        "wall": sum(rule.wall_seconds for rule in used),
        "cpu": sum(r.cpu_seconds for r in used if math.isfinite(r.cpu_seconds)),
        "estimate": Range(*map(sum, zip(*known, strict=True))) if known else None,
    }


def finite(value: float, digits: int) -> float | int | None:
    """Round; None, which is JSON, for what is not finite."""
    if not math.isfinite(value):
        return None
    return round(float(value), digits) if digits else round(float(value))


def median(values: Iterable[float]) -> float:
    """Return the median of the finite values, NaN if there is none."""
    known = [value for value in values if math.isfinite(value)]
    return float(np.median(known)) if known else math.nan


def _unit(text: str) -> re.Match[str] | None:
    """Find the first brackets that are not part of an example in braces."""
    for found in re.finditer(r"\s*\[([^]]*)\]", text):
        before = text[: found.start()]
        if before.count("{") == before.count("}"):
            return found
    return None


def _value(value: Any) -> str:
    """Write a value as in the configuration."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        inside = ", ".join(f"{key}: {_value(v)}" for key, v in value.items())
        return f"{{{inside}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return NONE if value is None else str(value)


def _count(value: float) -> str:
    return f"{value:,.0f}"


def quantity(value: float | None, unit: str, digits: int) -> str:
    """Write a number with its unit, a dash for one that is not known."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:.{digits}f}" + (f"\N{NO-BREAK SPACE}{unit}" if unit else "")


def _duration(seconds: float) -> str:
    """Return a time with its two leading units."""
    if not math.isfinite(seconds):
        return NONE
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _memory(megabytes: float) -> str:
    if not math.isfinite(megabytes):
        return NONE
    if megabytes < 1000:
        return f"{megabytes:.0f} MB"
    return f"{megabytes / 1000:.1f} GB"


def _json(value: Any) -> Markup:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _hash(script: str) -> str:
    """Return the name of a script in a content security policy."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")
