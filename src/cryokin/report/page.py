"""What the reports of all methods share: their parts, template, numbers in words."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from cryokin.errors import InputError
from cryokin.estimate import RuleUsage, as_size, as_time
from cryokin.options import METHODS, options_of
from cryokin.rings import crossing, resolution

TEMPLATES = Path(__file__).parent / "templates"
NONE = "\N{EN DASH}"
MARGIN, ENLARGED = 10, 1.6  # of a figure in a file of its own


LEVELS = (0.5, 0.143)  # of a correlation, at which a resolution is read
#: Put one after the other; all scripts become one, the only one that may run.
STYLES = ("colours.css", "page.css", "figures.css")
SCRIPTS = ("gallery.js", "select.js", "members.js", "slices.js", "points.js")


@dataclass(frozen=True, kw_only=True)
class ReportedClass:
    """What is known of a class of any method.

    Attributes
    ----------
    number : int
        As in the tables of its method.
    resolution : float
        Where the correlation of its halves falls below 0.5; NaN if unknown.
    reproduction : float
        Part of the class that the independent runs agree on, 0 to 1; NaN if unknown.
    curve : ndarray, shape (m,)
        Correlation of the halves at the frequencies of the report; may be empty.
    """

    number: int
    resolution: float = math.nan
    reproduction: float = math.nan
    curve: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the page of any method shows.

    Attributes
    ----------
    run : str
        Name of the run.
    options : mapping
        Option of the run to its value.
    pixel_size : float
        Of the class averages [A]; NaN if unknown.
    frequency : ndarray, shape (m,)
        Frequencies of the correlations of halves [1/pixel of the averages].
    usage : sequence of RuleUsage
        What the rules took, beside the estimate; may be empty.
    provenance : mapping
        As `cryokin.provenance.provenance` gives it; may be empty.
    warnings : sequence of str
        What the jobs found odd, in sentences.
    checksum : str
        SHA-256 of the table of classes, which a selection of classes names.
    unfinished : str
        For a run that goes on: what it has done so far, in a sentence.
    links : mapping
        Files of the run, as seen from the page, and what is in them.

    Raises
    ------
    InputError
        If the parts contradict each other.
    """

    run: str
    options: Mapping[str, Any]
    pixel_size: float = math.nan
    frequency: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    usage: Sequence[RuleUsage] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    checksum: str = ""
    unfinished: str = ""
    links: Mapping[str, str] = field(default_factory=dict)

    def must(self, holds: bool, otherwise: str) -> None:
        """Refuse parts that contradict each other."""
        if not holds:
            raise InputError(f"run {self.run}: {otherwise}")

    def class_data(self, c: ReportedClass, members: ArrayLike) -> dict[str, Any]:
        """Return what the scripts of a page need of a class, by short names.

        Members are differences of ascending ids, correlations are in thousandths.
        """
        # Without a pixel size, resolutions count pixels.
        pixel = self.pixel_size if self.pixel_size > 0 else 1.0
        frequency = self.frequency[: len(c.curve)]
        at = [crossing(frequency, c.curve, level) for level in LEVELS]
        return {
            "k": c.number,
            "m": np.diff(np.sort(members), prepend=0).tolist(),
            "d": finite(c.resolution, 2),
            "d143": finite(resolution(frequency, c.curve, pixel, LEVELS[1]), 2),
            "r": finite(c.reproduction, 4),
            "f": [finite(1000 * value, 0) for value in c.curve],
            "x": [finite(value, 5) for value in at],
        }


class Numbering:
    """Numbers figures and tables in the order in which a template comes to them."""

    def __init__(self) -> None:
        self._last: dict[str, int] = defaultdict(int)

    def __call__(self, kind: str = "figure") -> int:
        """Return the next number of a kind of exhibit."""
        self._last[kind] += 1
        return self._last[kind]


def render(
    template: str, report: Report, data: Mapping[str, Any], **values: Any
) -> str:
    """Fill a template into a page that holds its style, its script and its data.

    Parameters
    ----------
    template : str
        Name of the file, which extends ``base.html``.
    report : Report
    data : mapping
        What the script needs of this method, as JSON.
    **values
        What the template needs beside the report.

    Returns
    -------
    str
        The page: a browser is told to load nothing else and to run no other script.
        Without scripts it still shows everything but the details of a class and clouds
        of points. The same values give the same text.
    """
    shared = {
        "run": report.run,
        "checksum": report.checksum,
        "unfinished": bool(report.unfinished),
        "pixel": finite(report.pixel_size, 6),
        "frequency": [finite(value, 6) for value in report.frequency],
    }
    script = _texts(SCRIPTS)
    return (
        environment()
        .get_template(template)
        .render(
            run=report.run,
            links=report.links,
            style=Markup(style()),
            script=Markup(script),
            script_hash=_hash(script),
            data=_json(shared | dict(data)),
            number=Numbering(),
            report=report,
            options=option_table(report.options),
            configuration=configuration(report.run, report.options),
            **values,
        )
    )


def environment() -> Environment:
    """Return what fills the templates of pages."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        code=_code,
        count="{:,.0f}".format,
        duration=_if_known(as_time),
        memory=_if_known(as_size),
        median=median,
        quantity=quantity,
    )
    return made


def style() -> str:
    """Return the style of all pages."""
    return _texts(STYLES)


def standalone(figure: Markup) -> str:
    """Return a figure of a page as an SVG file of its own, in the page's colours."""
    view = re.search(r'viewBox="0 0 (\S+) (\S+)"', str(figure))
    if view is None:
        raise ValueError("a figure must tell its viewBox")
    width, height = (float(side) + 2 * MARGIN for side in view.groups())
    own = _texts(["colours.css", "figures.css"])
    corner = f'x="-{MARGIN}" y="-{MARGIN}"'
    size = f'width="{width:g}" height="{height:g}"'
    opened = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{ENLARGED * width:g}"'
        f' height="{ENLARGED * height:g}"'
        f' viewBox="-{MARGIN} -{MARGIN} {width:g} {height:g}">'
        f"<style><![CDATA[{own}]]></style>"
        f'<rect {corner} {size} class="paper"/>'
    )
    return f"{opened}{str(figure).partition('>')[2]}\n"


def _texts(names: Sequence[str]) -> str:
    return "\n".join((TEMPLATES / name).read_text("utf-8") for name in names)


def option_table(options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return name, value, unit, meaning of each option, and whether it was changed.

    Parameters
    ----------
    options : mapping
        Option of the run to its value.
    """
    rows = []
    kind = METHODS.get(options.get("method", ""))
    known = options_of(kind) if kind else {}
    for name, value in options.items():
        told = known.get(name)
        default = value if told is None or told.needed else told.default
        if name == "yr" and default == -1:
            default = options.get("xr")  # which is what -1 stands for
        rows.append(
            {
                "name": name,
                "value": _value(value),
                "unit": told.unit if told else "",
                "meaning": told.meaning if told else "",
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


def number(value: Any) -> float:
    """Return a number of a file, NaN for what is none (missing, '-', 'NA', null)."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def finite(value: float, digits: int) -> float | int | None:
    """Round; None, which is JSON, for what is not finite."""
    if not math.isfinite(value):
        return None
    return round(float(value), digits) if digits else round(float(value))


def median(values: Iterable[float]) -> float:
    """Return the median of the finite values, NaN if there is none."""
    known = [value for value in values if math.isfinite(value)]
    return float(np.median(known)) if known else math.nan


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


def _code(text: str) -> Markup:
    """Set what stands between backticks as code."""
    pieces = text.split("`")
    marks = (Markup("<code>{}</code>") if i % 2 else "{}" for i in range(len(pieces)))
    return Markup("").join(
        Markup(mark).format(piece) for mark, piece in zip(marks, pieces, strict=True)
    )


def quantity(value: float | None, unit: str, digits: int) -> str:
    """Write a number with its unit, a dash for one that is not known."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:.{digits}f}" + (f"\N{NO-BREAK SPACE}{unit}" if unit else "")


def _if_known(write: Callable[[float], str]) -> Callable[[float], str]:
    """Return what writes a number, a dash for one that is not known."""
    return lambda value: write(value) if math.isfinite(value) else NONE


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
