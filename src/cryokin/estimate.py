"""What a run will take, before it: jobs, CPU time, memory and disk of every rule.

`cryokin.plan` counts the work of every job in units to which its time is proportional.
What nobody can know before (how much of the particles a generation accounts for, how
many iterations it takes) is assumed, in three cases: low, expected, high.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cryokin.errors import InputError
from cryokin.files import read_json
from cryokin.io.counts import Counts
from cryokin.options import Options
from cryokin.steps import CASES, STEPS, Job
from cryokin.usage import Usage, read_jobs


class Range(NamedTuple):
    """A number under low, expected and high assumptions."""

    low: float
    expected: float
    high: float


@dataclass(frozen=True)
class RuleEstimate:
    """What the jobs of a rule are estimated to take.

    Attributes
    ----------
    rule : str
    jobs, cpu_seconds : Range
    parallel : bool
        Whether its jobs run on several MPI ranks.
    shared_mb, rank_mb : float
        Memory of the largest job: of all its ranks together, and more of each rank.
    disk_mb : Range
    device_mb : float
        Memory of the device of each rank, if the profile names one.
    """

    rule: str
    jobs: Range
    cpu_seconds: Range
    parallel: bool
    shared_mb: float
    rank_mb: float
    disk_mb: Range
    device_mb: float = 0.0

    def memory_mb(self, ranks: int = 2) -> float:
        """Return the memory of its largest job."""
        return self.shared_mb + (ranks if self.parallel else 1) * self.rank_mb


@dataclass(frozen=True)
class Estimate:
    """What a run is estimated to take.

    Attributes
    ----------
    run, method : str
    particles : Counts
    options : dict
        Of the run, complete.
    assumptions : dict of str to Range
    rules : list of RuleEstimate
        In the order in which they come.
    """

    run: str
    method: str
    particles: Counts
    options: dict[str, Any]
    assumptions: dict[str, Range]
    rules: list[RuleEstimate]

    def total(self, of: Callable[[RuleEstimate], Range]) -> Range:
        """Add up something of all rules."""
        return Range(*map(sum, zip(*map(of, self.rules), strict=True)))

    def memory_mb(self, ranks: Mapping[str, int] | None = None) -> float:
        """Return the memory of the largest job, given the ranks of the rules."""
        return max(
            rule.memory_mb((ranks or {}).get(rule.rule, 2)) for rule in self.rules
        )


def load_estimate(path: str | os.PathLike[str]) -> Estimate:
    """Read ``estimate.json``, which holds an `Estimate` as it is.

    Raises
    ------
    InputError
        If nothing could be estimated: the sentence that says why.
    """
    stored = read_json(path)
    if "unknown" in stored:
        raise InputError(stored["unknown"])
    spans = ("jobs", "cpu_seconds", "disk_mb")
    try:
        rules = [
            RuleEstimate(**rule | {span: Range(*rule[span]) for span in spans})
            for rule in stored["rules"]
        ]
        assumed = {what: Range(*span) for what, span in stored["assumptions"].items()}
        found = {"assumptions": assumed, "rules": rules}
        return Estimate(**stored | found | {"particles": Counts(*stored["particles"])})
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: was written by another version; delete it and say the same"
            " command again."
        ) from error


def estimate(run: str, options: Options, particles: Counts) -> Estimate:
    """Estimate what a run takes.

    Parameters
    ----------
    run : str
        Its name.
    options : Options
    particles : Counts
    """
    # Only now, not wherever an estimate is read: this loads the numerics.
    from cryokin.plan import jobs_of

    cases = [list(jobs_of(options, particles, case)) for case in CASES]
    rules = dict.fromkeys(job.rule for jobs in cases for job in jobs)
    made = [_of_rule(rule, cases) for rule in rules]
    jobs = {rule.rule: rule.jobs for rule in made}
    method = options.method
    return Estimate(
        run, method, particles, options.as_dict(), _assumed(method, jobs), made
    )


def _of_rule(rule: str, cases: Sequence[Sequence[Job]]) -> RuleEstimate:
    """Return what the jobs of a rule take in all cases."""
    of_case = [[job for job in jobs if job.rule == rule] for jobs in cases]
    largest = [job for jobs in of_case for job in jobs]

    def span(amount: Callable[[Job], float]) -> Range:
        return Range(*(sum(map(amount, jobs)) for jobs in of_case))

    return RuleEstimate(
        rule,
        span(lambda job: 1),
        span(Job.cpu_seconds),
        STEPS[rule].parallel,
        max(job.shared_mb for job in largest),
        max(job.rank_mb for job in largest),
        Range(*sorted(span(lambda job: job.disk_mb))),
        max(job.device_mb for job in largest),
    )


def _assumed(method: str, jobs: Mapping[str, Range]) -> dict[str, Range]:
    """Return what was assumed, in words, and how many jobs follow from it."""
    accounted, later, left, _, passes, iterations = (
        Range(*column) for column in zip(*CASES, strict=True)
    )
    if method != "isac":
        return {"iterations until the classes stay": iterations}
    rounds = jobs["isac_candidates_round"]
    return {
        "share of the particles that the first generation accounts for": accounted,
        "share of its particles that any later one accounts for": later,
        "generations that follow from it": jobs["isac_account"],
        "share of its particles that a round of candidates leaves": left,
        "rounds of candidates that follow from it, in all generations": rounds,
        "passes of an entry of the prealignment's schedule": passes,
    }


# ---------------------------------------------------------------------- afterwards


@dataclass(frozen=True)
class RuleUsage:
    """What the finished jobs of a rule took, beside what was estimated.

    Attributes
    ----------
    rule : str
    jobs : int
        Finished jobs.
    cpu_seconds, wall_seconds : float
        Of all of them together; CPU time NaN if unknown.
    longest_seconds : float
        Wall time of the longest.
    memory_mb : float
        Most memory of a job, all its processes together; NaN if unknown.
    ranks : int
        MPI ranks of its jobs, 1 for those that need none.
    estimate : RuleEstimate or None
        None if there is no estimate, or the rule is not in it.
    """

    rule: str
    jobs: int
    cpu_seconds: float
    wall_seconds: float
    longest_seconds: float
    memory_mb: float
    ranks: int
    estimate: RuleEstimate | None


def usage(results: str | os.PathLike[str]) -> list[RuleUsage]:
    """Return what the rules of a run took, and what was estimated for each.

    Parameters
    ----------
    results : path-like
        Folder of the run, ``results/<run>``: its ``benchmarks``, ``logs`` and, if it
        is there, ``estimate.json``.

    Returns
    -------
    list of RuleUsage
        Rules with finished jobs, in the order of the estimate, then by name.
    """
    try:
        estimated = load_estimate(Path(results, "estimate.json")).rules
    except (OSError, InputError):  # there is none
        estimated = []
    by_rule = {rule.rule: rule for rule in estimated}
    jobs: dict[str, list[Usage]] = {rule: [] for rule in by_rule}
    for job in read_jobs(results):
        jobs.setdefault(job.rule, []).append(job)
    return [
        RuleUsage(
            rule,
            len(done),
            sum(job.cpu_seconds for job in done),
            sum(job.wall_seconds for job in done),
            max(job.wall_seconds for job in done),
            max((j.memory_mb for j in done if j.memory_mb > 0), default=math.nan),
            max(job.ranks for job in done),
            by_rule.get(rule),
        )
        for rule, done in jobs.items()
        if done
    ]


# ------------------------------------------------------------------------ in words


def in_words(made: Estimate, ranks: Mapping[str, int]) -> str:
    """Return an estimate as a table for the terminal.

    Parameters
    ----------
    made : Estimate
    ranks : mapping
        MPI ranks by rule; 2 for those that are missing.
    """
    kind = "images" if made.method == "isac" else "subtomograms"
    n, box = made.particles
    jobs = made.total(lambda rule: rule.jobs)
    low, seconds, high = map(as_time, made.total(lambda rule: rule.cpu_seconds))
    disk = made.total(lambda rule: rule.disk_mb).expected
    lines = [
        f"{made.run}: {made.method}, {n:,} {kind} in boxes of {box}",
        f"  {jobs.expected:,} jobs ({jobs.low:,} to {jobs.high:,}), {seconds} of CPU"
        f" ({low} to {high}), {as_size(made.memory_mb(ranks))} of memory for the"
        f" largest job, {as_size(disk)} on disk",
        "  assumed, because it is known only afterwards:",
    ]
    if device := max(rule.device_mb for rule in made.rules):
        told = (
            f"  {as_size(device)} of the memory of a GPU, if the profile names a device"
        )
        lines.insert(2, told)
    lines += [
        f"    {what}: {span.expected:g} ({span.low:g} to {span.high:g})"
        for what, span in made.assumptions.items()
    ]
    rows = [("rule", "jobs", "CPU", "from", "to", "ranks", "memory", "disk")]
    for rule in made.rules:
        chosen = ranks.get(rule.rule, 2) if rule.parallel else 1
        low, seconds, high = map(as_time, rule.cpu_seconds)
        memory, disk = rule.memory_mb(chosen), rule.disk_mb.expected
        numbers = f"{rule.jobs.expected:,}", seconds, low, high, str(chosen)
        rows.append((rule.rule, *numbers, as_size(memory), as_size(disk)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        aligned = (c.rjust(w) for c, w in zip(cells, widths[1:], strict=True))
        lines.append("  " + name.ljust(widths[0]) + "  " + "  ".join(aligned))
    return "\n".join(lines)


def as_time(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, hours = seconds / 60, seconds / 3600
    if minutes < 100:
        return f"{minutes:.1f} min" if minutes < 10 else f"{minutes:.0f} min"
    return f"{hours:,.1f} h" if hours < 100 else f"{hours:,.0f} h"


def as_size(megabytes: float) -> str:
    """Return a number of megabytes in the unit that suits it."""
    if megabytes < 1000:
        return f"{megabytes:.0f} MB" if megabytes >= 1 else f"{megabytes:.1f} MB"
    return f"{megabytes / 1000:,.1f} GB"
