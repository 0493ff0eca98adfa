"""What the finished jobs of a run took, from the files that they left.

Two files tell: the benchmark that Snakemake writes of a job, and a line in its log,
which the job's own processes write (`log_usage`). Snakemake looks at a job's processes
every half second at first and every 30 s later, and on a cluster sees the launcher
alone, so that the log is believed where both know a number.
"""

from __future__ import annotations

import csv
import json
import math
import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

USED = "usage: "  # begins the line that `log_usage` writes and `_used` reads
_TAIL = 4096  # bytes at the end of a log that are looked at


@dataclass(frozen=True)
class Usage:
    """What one finished job took.

    Attributes
    ----------
    rule : str
    name : str
        What tells the job from others of its rule, e.g. ``0001_0002``; may be empty.
    wall_seconds : float
    cpu_seconds : float
        Of all its processes; NaN if unknown.
    ranks : int
        MPI ranks; 1 if it needed none, or unknown.
    memory_mb : float
        Most memory at a time, of all its processes; NaN if unknown.
    """

    rule: str
    name: str
    wall_seconds: float
    cpu_seconds: float
    ranks: int
    memory_mb: float


def log_usage() -> None:
    """Print what the ranks of this job have used; to be called by all, at the end."""
    from cryokin.parallel import present  # needs NumPy, which who reads starts without

    own, team = resource.getrusage(resource.RUSAGE_SELF), present()
    used = team.gather([(own.ru_utime + own.ru_stime, own.ru_maxrss / 1024)])
    team.log(_used_line(*map(list, zip(*used, strict=True))))


def _used_line(cpu_seconds: Sequence[float], memory_mb: Sequence[float]) -> str:
    """Return the line that tells the use of each rank."""
    found = {
        "cpu_seconds": round(sum(cpu_seconds), 2),
        "ranks": len(cpu_seconds),
        "memory_mb_of_largest_rank": round(max(memory_mb)),
    }
    return USED + json.dumps(found)


def _used(log: Path) -> dict[str, float]:
    """Return what such a line in a log tells; nothing if there is none."""
    told = [line for line in last_lines(log) if line.startswith(USED)]
    found: dict[str, float] = json.loads(told[-1].removeprefix(USED)) if told else {}
    return found


def last_lines(log: Path) -> list[str]:
    """Return the whole lines at the end of a log; none if it is not there."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return text[: text.rfind("\n") + 1].splitlines()


def read_jobs(results: str | os.PathLike[str]) -> list[Usage]:
    """Return the finished jobs of a run, sorted by the names of their files.

    Parameters
    ----------
    results : path-like
        Folder of the run, ``results/<run>``, with ``benchmarks`` and ``logs``.
    """
    folder = Path(results, "benchmarks")
    found = []
    for path in sorted(folder.rglob("*.tsv")):
        log = Path(results, "logs", path.relative_to(folder)).with_suffix(".log")
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        last = rows[-1] if rows else {}
        wall, cpu, memory = (_number(last.get(k)) for k in ("s", "cpu_time", "max_pss"))
        if math.isnan(wall):  # cut off by a kill
            continue
        used = _used(log)
        ranks = int(used.get("ranks", 1))
        if used:
            largest = used["memory_mb_of_largest_rank"]
            # Less than one rank had: Snakemake did not see the ranks.
            memory = memory if memory >= largest / 2 else ranks * largest
        cpu = used.get("cpu_seconds", cpu)
        found.append(Usage(*job_of(log), wall, cpu, ranks, memory))
    return found


def job_of(log: str | os.PathLike[str]) -> tuple[str, str]:
    """Return rule and name of the job of a log, ``logs/RULE.log`` or ``RULE/NAME.log``.

    A benchmark has the same name in the folder ``benchmarks``.
    """
    path = Path(log)
    if path.parent.name == "logs":
        return path.stem, ""
    return path.parent.name, path.stem


def _number(text: str | None) -> float:
    """Return a number of a table; NaN for what is none, such as Snakemake's NA."""
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
