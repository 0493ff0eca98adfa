"""What the finished jobs of a run took, from the files that they left.

Two files tell: the benchmark that Snakemake writes of a job, and the last line of its
log, which the job's own processes write (`cryokin.parallel.log_usage`). Snakemake looks
at a job's processes every half second at first and every 30 s later, and on a cluster
sees the launcher alone, so that the log is believed where both know a number.
"""

from __future__ import annotations

import csv
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

# The line that `log_usage` writes.
_USED = re.compile(
    r"^used: (?P<cpu>[\d.]+) s of CPU on (?P<ranks>\d+) ranks,"
    r" at most (?P<memory>\d+) MB on one$",
    re.M,
)
_TAIL = 4096  # bytes at the end of a log in which the line is looked for


@dataclass(frozen=True)
class Job:
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


def read_jobs(results: str | os.PathLike[str]) -> list[Job]:
    """Return the finished jobs of a run, sorted by the names of their files.

    Parameters
    ----------
    results : path-like
        Folder of the run, ``results/<run>``, with ``benchmarks`` and ``logs``.
    """
    folder = Path(results, "benchmarks")
    jobs = []
    for path in sorted(folder.rglob("*.tsv")):
        where = path.relative_to(folder).with_suffix("")
        log = Path(results, "logs", where).with_suffix(".log")
        job = _job(where, path, log)
        if job is not None:
            jobs.append(job)
    return jobs


def _job(where: Path, benchmark: Path, log: Path) -> Job | None:
    """Return one job; None if its benchmark was cut off by a kill."""
    with benchmark.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    wall = _number(rows[-1].get("s")) if rows else math.nan
    if not math.isfinite(wall):
        return None
    cpu, memory = (_number(rows[-1].get(key)) for key in ("cpu_time", "max_pss"))
    ranks = 1
    told = _USED.search(_end_of(log))
    if told:
        cpu, ranks = float(told["cpu"]), int(told["ranks"])
        largest = float(told["memory"])
        # Less than one rank had: Snakemake did not see the ranks.
        if not memory >= largest / 2:
            memory = ranks * largest
    name = "_".join(where.parts[1:])
    return Job(where.parts[0], name, wall, cpu, ranks, memory)


def _number(text: str | None) -> float:
    """Return a number of a table; NaN for what is none, such as Snakemake's NA."""
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _end_of(log: Path) -> str:
    """Return the last part of a log; nothing if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
