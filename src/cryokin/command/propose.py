"""A configuration for particles that nobody has classified yet, with its reasons."""

from __future__ import annotations

import re
from pathlib import Path

from cryokin.command.facts import WEDGE, Facts, contrast
from cryokin.config import load_runs
from cryokin.errors import InputError
from cryokin.files import write_text
from cryokin.yaml_files import load_yaml

SMALLEST = 10  # images that a class has at least, by default
RESOLUTION = 30.0  # where subtomograms are compared first [angstrom]


def write_configuration(path: Path, name: str, facts: Facts) -> None:
    """Write a configuration; one that is there is not touched.

    Raises
    ------
    InputError
        If there is one already, or the name is none for a run.
    """
    if path.exists():
        raise InputError(
            f"{path}: is there already; remove it, or give another name by --output."
        )
    text = proposed(name, facts)
    load_runs(load_yaml(text, str(path)), str(path))
    write_text(path, text)


def proposed(name: str, facts: Facts) -> str:
    """Return a configuration of one run, with a reason behind each value."""
    rows = _subtomograms(facts) if facts.volumes else _images(facts)
    notes = "".join(f"# {line}\n" for line in facts.sentences())
    body = "".join(f"    {row}\n" for row in rows)
    plain = name if re.fullmatch("[A-Za-z_][A-Za-z0-9_-]*", name) else f'"{name}"'
    return (
        f"# What the particles are:\n{notes}"
        "# All keys, with units and ranges: config/README.md of cryokin.\n"
        f"runs:\n  {plain}:\n{body}"
    )


def _images(facts: Facts) -> list[str]:
    """Return the lines of a run of ISAC."""
    size = 100 if facts.n > 5000 else 50
    size = min(size, facts.n // 4)
    if size < SMALLEST:
        raise InputError(
            f"{facts.path}: {facts.n} images are too few for four classes of {SMALLEST}"
            f" (at least {4 * SMALLEST}); give more particles."
        )
    ctf = "phases are flipped" if facts.ctf else "nothing to flip: none is described"
    radius = f"radius: {facts.radius} # of the particle [pixel]: {facts.radius_by}"
    if facts.diameter:
        radius = f"diameter: {facts.diameter:g} # [A]: radius {facts.radius} pixel"
    return [
        "method: isac",
        f"particles: {_quoted(facts.path)} # {contrast(facts.bright)} particles",
        *_pixel_size(facts),
        radius,
        f"CTF: auto # {ctf}",
        f"img_per_grp: {size} # images a class: some {facts.n // size} classes",
    ]


def _subtomograms(facts: Facts) -> list[str]:
    """Return the lines of a run for subtomograms."""
    pixel = facts.pixel_size
    lowpass = f"lowpass: {facts.box // 4} # [Fourier pixel]: half of Nyquist"
    if pixel:
        finest = min(max(RESOLUTION, 2.2 * pixel), facts.box * pixel / 2)
        lowpass = f"lowpass_A: {finest:.4g} # finest detail that is compared [A]"
    sphere, reason = f"radius: {facts.radius}", f"[voxel]: {facts.radius_by}"
    if facts.diameter:
        sphere = f"diameter: {facts.diameter:g}"
        reason = f"[A]: radius {facts.radius} voxel; edge [voxel]"
    wedge = "# wedge: as the table says"
    if not facts.wedge:
        angles = ", ".join(f"{angle:g}" for angle in WEDGE)
        wedge = f"wedge: {{ angles: [{angles}] }} # 90 - largest tilt: not told"
    return [
        "method: mco_exmx # or cpca, mco_ac",
        f"particles: {_quoted(facts.path)}",
        *_pixel_size(facts),
        wedge,
        f"mask: {{ sphere: {{ {sphere}, edge: 3 }} }} # {reason}",
        lowpass,
        "nclass: 2 # as many classes as you expect",
    ]


def _pixel_size(facts: Facts) -> list[str]:
    if facts.size_is_given:
        return [f"pixel_size: {facts.pixel_size:g} # [A], as given"]
    return [] if facts.pixel_size else ["# pixel_size: 1.0 # [A], no file says it"]


def _quoted(path: str) -> str:
    """Return a path as YAML reads it."""
    return (
        path
        if re.fullmatch(r"[\w./][\w./+-]*", path)
        else "'" + path.replace("'", "''") + "'"
    )
