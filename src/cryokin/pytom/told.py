"""What is said of classes that may be only the missing wedge; quick to import."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryokin.files import read_json


def sentence(names: Sequence[str]) -> str:
    """Return what is said of classes that may be only the missing wedge, or nothing."""
    if not names:
        return ""
    several = len(names) > 1
    return (
        f"{'Classes' if several else 'Class'} {', '.join(names)} may be nothing but the"
        f" missing wedge: {'their' if several else 'its'} members are told from the"
        " others by the direction of the beam."
    )


def wedge_sentences(results: Path) -> list[str]:
    """Return what is to be said of the wedge when a run has ended.

    Parameters
    ----------
    results : path
        ``results/<run>``.
    """
    merged, own = results / "merged/classes.json", results / "classes.json"
    table = merged if merged.is_file() else own
    classes = read_json(table)["classes"] if table.is_file() else []
    sentences = [sentence([c["name"] for c in classes if c.get("only_wedge")])]
    agreed = results / "reproducible.json"
    aside = read_json(agreed).get("only_wedge", []) if agreed.is_file() else []
    if aside:
        sentences.append(
            f"{sum(aside)} particles are unaccounted because their classes,"
            " reproducible though they were, are nothing but the missing wedge."
        )
    return [one for one in sentences if one]
