"""Where a running run is, from the files that it has written, in a sentence.

`look` is a function of the files; `Watch` looks every few seconds from a thread of the
process that runs the workflow, prints what is new and keeps ``progress.json``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cryokin.costs import CASES, JobWork
from cryokin.errors import InputError
from cryokin.estimate import jobs_of
from cryokin.files import read_json
from cryokin.io.counts import Counts
from cryokin.jobs import Job, read_jobs

INTERVAL = 5.0  # between two looks [s]
OVERDUE = 0.1  # share of a job's estimated time that is left however long it took
# How much faster or slower than estimated a job may count.
MOST_OFF = 20.0

State = Literal["running", "done", "stopped"]

#: What a rule does, in words; {generation} and {round} are those of the job.
STEPS = {
    "isac_import": "reading the particles",
    "isac_phase_flip": "flipping phases",
    "isac_prealign": "prealignment",
    "isac_shrink": "working images",
    "isac_candidates_round": "generation {generation}, round {round}",
    "isac_candidates": "generation {generation}, averages of the candidates",
    "isac_reproducible": "generation {generation}, reproducible classes",
    "isac_account": "generation {generation}, averages of the classes",
    "isac_class_averages": "tables of all classes",
    "isac_report": "report",
    "pytom_import": "reading the particles",
    "pytom_prepare": "bringing particles into the common frame",
    "ccc_matrix": "correlation matrix",
    "eigen_projection": "leading components",
    "kmeans": "grouping particles by components",
    "ccc_csv": "correlation matrix as text",
    "mco_exmx_starts": "expectation maximisation, starts of job {round}",
    "mco_exmx": "expectation maximisation, the best start",
    "mco_ac_round": "annealing, round {round}",
    "mco_ac": "best of all chains of annealing",
    "pytom_reproducible": "classes that independent runs agree on",
    "pytom_differences": "which classes differ beyond chance",
    "hierarchical_merge": "merging classes",
    "select_classes": "selecting classes",
    "pytom_class_averages": "class averages",
    "pytom_report": "report",
}

#: Files that hold warnings.
WARNING = (
    *("import/import.json", "prepared/prepared.json"),
    *("exmx.json", "annealing.json"),
)

#: What the last such line of a job's log says of how far it is.
DETAILS = (
    (re.compile(r"^iteration (\d+) of (\d+)", re.M), "iteration {0} of {1} done"),
    (re.compile(r"^iteration (\d+):", re.M), "iteration {0} done"),
    (re.compile(r", pass (\d+):", re.M), "pass {0} done"),
)


@dataclass(frozen=True)
class Progress:
    """Where a run is.

    Attributes
    ----------
    run : str
    state : {"running", "done", "stopped"}
    step : str
        What it does, in words.
    generation, round : int or None
        Of ISAC.
    accounted : float or None
        Share of all particles that finished generations of ISAC account for.
    share_done : float
        Of the time of the whole run, by the estimate.
    seconds_left : float or None
        About; None if nothing is left or nothing is known.
    text : str
        All of this in a sentence.
    """

    run: str
    state: State
    step: str
    generation: int | None
    round: int | None
    accounted: float | None
    share_done: float
    seconds_left: float | None
    text: str


def look(
    run: str,
    options: Mapping[str, Any],
    results: Path,
    particles: Counts,
    ranks: Mapping[str, int],
    elapsed: Callable[[str], float] = lambda step: 0.0,
    ended: bool = False,
) -> Progress:
    """Return where a run is.

    Parameters
    ----------
    run : str
        Its name.
    options : mapping
        Its options, complete.
    results : Path
        Its folder.
    particles : Counts
    ranks : mapping
        MPI ranks by rule.
    elapsed : callable, optional
        ``elapsed(step)`` returns how long a step has taken so far [s].
    ended : bool, optional
        Whether the workflow has ended, so that what is there will not be made again.
    """
    is_2d = options["method"] == "isac"
    if is_2d:
        from cryokin.isac import work

        known = work.read_known(results)
        jobs = list(work.jobs_of(options, particles, CASES[1], known))
        marker = work.marker
    else:
        from cryokin.pytom import work as work_3d

        jobs = list(jobs_of(options, particles, CASES[1]))
        marker = work_3d.marker
    markers = [results / marker(job.rule, job.name) for job in jobs]
    done = finished(markers, is_2d and not ended)
    waiting = [job for job, there in zip(jobs, done, strict=True) if not there]
    behind = [job for job, there in zip(jobs, done, strict=True) if there]
    took = {(job.rule, job.name): job for job in read_jobs(results)}
    pace = _pace(behind, took, ranks)
    seconds = {id(job): pace * _wall(job, ranks) for job in jobs}
    accounted = _accounted(behind, results, particles.n)
    if not waiting:
        text = _sentence(run, "done", accounted, "", None)
        return Progress(run, "done", "done", None, None, accounted, 1.0, None, text)
    now, later = waiting[0], waiting[1:]
    numbers = [int(part) for part in now.name.split("_") if part]
    generation = round_number = None
    if is_2d and numbers:
        generation = numbers[0]
    if now.rule == "isac_candidates_round":
        round_number = numbers[-1]
    elif now.rule in ("mco_ac_round", "mco_exmx_starts"):
        round_number = numbers[-1] + 1  # they count from 0
    step = STEPS[now.rule].format(generation=generation, round=round_number)
    of_now = max(seconds[id(now)] - elapsed(step), OVERDUE * seconds[id(now)])
    left = of_now + sum(seconds[id(job)] for job in later)
    share = 1 - left / max(sum(seconds.values()), 1e-9)
    before = [path for path, there in zip(markers, done, strict=True) if there]
    if now.rule == "ccc_matrix":
        from cryokin.pytom.work import share_of_pairs

        pairs = share_of_pairs(results, particles.n)
        detail = f"{100 * pairs:.0f} % of pairs" if pairs else ""
    else:
        detail = _detail(results / "logs", now, before)
    return Progress(
        run,
        "running",
        step,
        generation,
        round_number,
        accounted,
        round(share, 3),
        round(left, 1),
        _sentence(run, step, accounted, detail, left),
    )


def finished(markers: Sequence[Path], chain: bool) -> list[bool]:
    """Return which jobs are done, by the files that they write last.

    Parameters
    ----------
    markers : sequence of Path
        In the order of the jobs.
    chain : bool
        Whether each job needs the one before. Then a file that is older than one before
        it is of an earlier run and will be made again, and so will all after it.
    """
    if not chain:
        return [path.exists() for path in markers]
    done, latest, all_done = [], 0, True
    for path in markers:
        try:
            written = path.stat().st_mtime_ns
        except OSError:
            written = -1
        all_done = all_done and written >= latest
        latest = max(latest, written)
        done.append(all_done)
    return done


def _wall(job: JobWork, ranks: Mapping[str, int]) -> float:
    """Return the estimated time of a job on its ranks [s]."""
    count = ranks.get(job.rule, 2) if job.parallel else 1
    return job.cpu_seconds(count) / count


def _pace(
    behind: Iterable[JobWork],
    took: Mapping[tuple[str, str], Job],
    ranks: Mapping[str, int],
) -> float:
    """Return how much longer than estimated the finished jobs of the run took."""
    estimated = measured = 1.0  # a second as estimated, lest short jobs decide
    for job in behind:
        found = took.get((job.rule, job.name))
        if found is not None:
            estimated += _wall(job, ranks)
            measured += found.wall_seconds
    return min(max(measured / estimated, 1 / MOST_OFF), MOST_OFF)


def _accounted(behind: Sequence[JobWork], results: Path, n: int) -> float | None:
    """Return the share that finished generations account for; None before the first."""
    if not any(job.rule == "isac_shrink" for job in behind):
        return None
    names = [job.name for job in behind if job.rule == "isac_account"]
    total = 0
    for name in names:
        folder, number = name.split("_")
        status = results / f"generation_{folder}/generation_{number}_status.json"
        total += read_json(status)["accounted"]
    return total / n


def _detail(logs: Path, now: JobWork, before: Sequence[Path]) -> str:
    """Return what the log of the present job says of how far it is.

    A log that is older than what the jobs ``before`` have written is of an earlier run.
    """
    path = logs / now.rule / f"{now.name}.log" if now.name else logs / f"{now.rule}.log"
    try:
        began = max((file.stat().st_mtime_ns for file in before), default=0)
        if path.stat().st_mtime_ns < began:
            return ""
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    for pattern, words in DETAILS:
        found = pattern.findall(text)
        if found:
            parts = found[-1] if isinstance(found[-1], tuple) else (found[-1],)
            return words.format(*parts)
    return ""


def _sentence(
    run: str, step: str, accounted: float | None, detail: str, left: float | None
) -> str:
    """Return progress in a sentence."""
    facts = [detail] if detail else []
    if accounted is not None:
        facts.append(f"{100 * accounted:.0f} % accounted")
    if left is not None:
        facts.append(time_left(left))
    return f"{run}: {step}" + (": " + ", ".join(facts) if facts else "")


def time_left(seconds: float) -> str:
    """Return how much longer it takes, as exactly as it is known."""
    if seconds < 45:
        return "less than a minute left"
    if seconds < 5400:
        return f"about {max(1, round(seconds / 60))} min left"
    hours = seconds / 3600
    return f"about {hours:.1f} h left" if hours < 10 else f"about {hours:.0f} h left"


def failure(log: str) -> str:
    """Return what failed, by the log of Snakemake: the first rule and its log.

    Parameters
    ----------
    log : str
        All that Snakemake wrote, or "interrupted" and what to do.
    """
    rules = list(re.finditer(r"^\s*Error in rule (\w+)", log, re.M))
    if not rules:
        return log if log.startswith("interrupted") else "stopped"
    rule = rules[0]
    told = re.search(r"^\s*log: (\S+)", log[rule.end() :], re.M)
    where = f", see {told[1]}" if told else ""
    return f"stopped: rule {rule[1]} failed{where}"


class Watch:
    """Looks at runs while they go on.

    Parameters
    ----------
    runs : mapping of str to mapping
        Their options, by name.
    ranks : callable
        Returns the MPI ranks by rule; it is called at the start.
    count : callable
        Returns the `Counts` of the particles of a run.
    tell : callable, optional
        Takes a line for the terminal.
    """

    def __init__(
        self,
        runs: Mapping[str, Mapping[str, Any]],
        ranks: Callable[[], Mapping[str, int]],
        count: Callable[[str], Counts],
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.runs, self._ranks_of, self._count = runs, ranks, count
        self._ranks: Mapping[str, int] = {}
        self._tell = tell or (lambda line: print(line, file=sys.stderr, flush=True))
        self._counts: dict[str, Counts] = {}
        self._warned: set[Path] = set()
        self._last: dict[str, Progress] = {}
        self._since: dict[tuple[str, str], float] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._began = time.time()

    def start(self) -> None:
        """Begin to look."""
        self._began = time.time()
        self._ranks = self._ranks_of()
        self._thread.start()

    def stop(self, log: str | None = None) -> None:
        """Look a last time and end; with the log of Snakemake if something failed."""
        if not self._thread.is_alive():
            return
        self._end.set()
        self._thread.join()
        for run in self.runs:
            self._look(run, failure(log) if log is not None else None, last=True)

    def _watch(self) -> None:
        while not self._end.wait(INTERVAL):
            for run in self.runs:
                self._look(run)

    def _look(self, run: str, failed: str | None = None, last: bool = False) -> None:
        """Look at one run; what is not known yet, or just being written, waits.

        Whatever a file is that nobody has read yet: to look must end no run.
        """
        with contextlib.suppress(Exception):
            self._see(run, failed, last)

    def _see(self, run: str, failed: str | None, last: bool) -> None:
        results = Path("results", run)
        if not self._at_work(results):
            return
        if run not in self._counts:
            try:
                self._counts[run] = self._counted(run, results)
            except InputError:
                # What cannot be counted cannot be imported, either.
                if failed is not None:
                    step = STEPS["isac_import"]
                    text = f"{run}: {failed} ({step})"
                    at = Progress(run, "stopped", step, None, None, None, 0, None, text)
                    _keep(results / "progress.json", at)
                    self._tell(text)
                return
        for told in WARNING:
            self._warn(run, results / told)
        now = self._now(run, results, last and failed is None)
        if failed is not None and (now.state != "done" or f"results/{run}/" in failed):
            now = _with(now, "stopped", f"{run}: {failed} ({now.step})")
        elif last and now.state != "done":
            now = _with(now, "done", f"{run}: done as far as asked, next: {now.step}")
        before = self._last.get(run)
        self._last[run] = now
        if before is None or _told(before) != _told(now):
            self._tell(now.text)
        if now != before:
            _keep(results / "progress.json", now)

    def _warn(self, run: str, found: Path) -> None:
        """Tell once what a job of this call found odd in the particles."""
        if found in self._warned or not found.exists():
            return
        if found.stat().st_mtime < self._began - 1:
            return
        self._warned.add(found)
        for warning in read_json(found).get("warnings", ()):
            self._tell(f"{run}: warning: {warning}")

    def _counted(self, run: str, results: Path) -> Counts:
        """Return the particles of a run, from its import if that is done."""
        try:
            imported = read_json(results / "import/import.json")
        except OSError:
            return self._count(run)
        return Counts(imported["n"], imported["box"])

    def _now(self, run: str, results: Path, ended: bool) -> Progress:
        """Look, and remember since when the step has been the present one."""

        def elapsed(step: str) -> float:
            return time.time() - self._since.setdefault((run, step), time.time())

        return look(
            run,
            self.runs[run],
            results,
            self._counts[run],
            self._ranks,
            elapsed,
            ended,
        )

    def _at_work(self, results: Path) -> bool:
        """Whether a job of the run has begun since the watch has."""
        return any(
            log.stat().st_mtime >= self._began - 1
            for log in (results / "logs").rglob("*.log")
            if log.name != "estimate_run.log"
        )


def _keep(path: Path, progress: Progress) -> None:
    """Write ``progress.json``: at once, and not as an output, whose size is noted."""
    partial = path.with_name(f".{path.stem}.{os.getpid()}.part")
    partial.write_text(json.dumps(asdict(progress), indent=1, sort_keys=True) + "\n")
    partial.replace(path)


def _with(now: Progress, state: State, text: str) -> Progress:
    return Progress(
        **asdict(now) | {"state": state, "text": text, "seconds_left": None}
    )


def _told(progress: Progress) -> str:
    """Return what of a sentence is worth a new line: all but the time left."""
    return re.sub(r",? ?(about [\d.]+ \w+|less than a minute) left", "", progress.text)
