"""What is said of the classes of a run; quick to import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryokin.files import read_json

TOLD_SHARE = 0.01  # of it that is worth a word
LARGE_SHARE = 0.3  # of a difference in the directions of pose errors that is warned of


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


def run_sentences(results: Path) -> list[str]:
    """Return what is to be said of the classes when a run has ended.

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
    table = results / "differences.json"
    sentences += differences(read_json(table)) if table.is_file() else []
    return [one for one in sentences if one]


def differences(told: Mapping[str, Any]) -> list[str]:
    """Return what is said of the classes of a run.

    Parameters
    ----------
    told : mapping
        ``differences.json``.
    """
    names, groups = told["classes"], told["groups"]
    several, number = len(names), max(groups, default=-1) + 1
    if several < 2:
        return []
    if number == several:
        whole = "Both" if several == 2 else f"All {several}"
        first = (
            f"{whole} classes are distinct: halves of the particles find them"
            " again without knowing of each other."
        )
    elif number > 1:
        first = (
            f"{number} of {several} classes are distinct; the others differ from these"
            " by no more than chance makes of it."
        )
    else:
        first = (
            f"None of the {several} classes is distinct: halves of the particles,"
            " classified on their own, find other ones."
        )
    share = max(told["pose_share"])
    of_poses = [_of_poses(names, told["pose_share"])] if share >= TOLD_SHARE else []
    return [first, *of_poses]


def _of_poses(names: Sequence[int], shares: Sequence[float]) -> str:
    """Return how much of what classes differ by looks like errors of the poses."""
    top = max(range(len(shares)), key=shares.__getitem__)
    told = (
        f"Of what class {names[top]} differs from the others by, {shares[top]:.0%}"
        " looks like errors of the poses and was taken out with them"
    )
    if shares[top] < LARGE_SHARE:
        return f"{told}, of other classes no more." if len(names) > 2 else f"{told}."
    return f"{told}: compare with pose_errors: keep and pose_refinement: 0."


def same_as(told: Mapping[str, Any]) -> dict[int, list[str]]:
    """Return the classes from which each does not differ, by class."""
    pairs = list(zip(told["classes"], told["groups"], strict=True))
    return {c: [str(d) for d, h in pairs if h == g and d != c] for c, g in pairs}
