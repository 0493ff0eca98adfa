"""Where the runs are, in a sentence each time that a step begins, goes on or ends.

Snakemake tells its log of every job that it starts and ends; `Progress` is a handler of
it.
How much is left follows from the plan of the run: all jobs behind the present one, at
the pace of those before it.
"""

from __future__ import annotations

import logging
import shlex
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cryokin.files import read_json
from cryokin.io.counts import Counts
from cryokin.options import Options
from cryokin.steps import CASES, STEPS, Job
from cryokin.usage import USED, Usage, job_of, last_lines, read_jobs

NOTHING = "Nothing to be done"  # as Snakemake begins to say it
INTERVAL = 30.0  # between two looks at what the job that is at work says [s]
OVERDUE = 0.1  # share of a job's estimated time that is left however long it took
#: What Snakemake's own words on a failed job are, which has a log with better ones.
OF_JOBS = ("RuleException", "CalledProcessError", "SpawnedJobError")
SOME_FAILED = "At least one job did not complete"  # or was interrupted
MOST_OFF = 20.0  # times that jobs may count as faster or slower than estimated

Key = tuple[str, str]  # rule and name of a job


class Progress(logging.Handler):
    """Tells the terminal where runs are.

    Parameters
    ----------
    runs : mapping of str to mapping
        Their options, complete, by name.
    ranks : callable
        Returns the MPI ranks by rule; it is called at the start.
    tell : callable, optional
        Takes a line for the terminal.
    give_up : callable, optional
        Takes the name of a rule that is not to be tried again: one failed of the
        user's mistake.
    quiet : bool, optional
        Whether Snakemake itself does not tell what stops it.
    """

    def __init__(
        self,
        runs: Mapping[str, Options],
        ranks: Callable[[], Mapping[str, int]],
        tell: Callable[[str], None] | None = None,
        give_up: Callable[[str], None] = lambda rule: None,
        quiet: bool = False,
    ) -> None:
        super().__init__()
        self._give_up, self._quiet = give_up, quiet
        self._runs = runs
        self._ranks_of, self._ranks = ranks, dict[str, int]()
        self._tell = tell or (lambda line: print(line, file=sys.stderr, flush=True))
        self._at_work: dict[int, tuple[str, Path, float]] = {}  # run, log, since when
        self._began: dict[str, list[Key]] = {}  # by run, all jobs of this call
        self._said: dict[Path, str] = {}  # by log, the last line that was told
        self._failed: dict[str, tuple[Key, Path]] = {}  # by run
        self._end = threading.Event()

    def start(self) -> None:
        """Begin to tell what the jobs at work say."""
        self._ranks = dict(self._ranks_of())
        threading.Thread(target=self._look, daemon=True).start()

    def stop(self, failed: bool = False, interrupted: bool = False) -> None:
        """Tell how the runs ended: all well, with a failure, or by the user."""
        self._end.set()
        for run, jobs in self._began.items():
            after, told = self._next(run, failed), words(jobs[-1])
            at_work = any(run == one for one, _, _ in self._at_work.values())
            if interrupted and (after or at_work or run in self._failed):
                told = f"interrupted in {told}; the same command goes on"
            elif run in self._failed:
                key, log = self._failed[run]
                told = f"stopped: rule {key[0]} failed ({words(key)}), see"
                told = f"{told} {log.absolute()}{sentence_of(log)}"
            elif failed and (after or at_work):
                told = f"stopped ({told})"
            elif after:
                told = f"done as far as asked, next: {words(after)}"
            else:
                told = f"done{ended(run)}"
            self._tell(f"{run}: {told}")

    def emit(self, record: logging.LogRecord) -> None:
        """Take what Snakemake's log is told of a job."""
        event = getattr(record, "event", None)
        try:
            if event == "job_info":
                self._begun(record)
            elif event == "job_finished":
                self._finished(vars(record)["job_id"])
            elif event == "job_error" and record.__dict__["log"]:
                self._erred(record)
            elif event == "error" and self._quiet:
                told = " ".join(record.getMessage().split())
                of_job = record.__dict__["exception"] in OF_JOBS
                if not of_job and SOME_FAILED not in told:
                    self._tell(f"error: {told}")
            elif record.getMessage().startswith(NOTHING):
                for run in self._runs:
                    self._tell(f"{run}: nothing to do{ended(run)}")
        except Exception:
            self.handleError(record)  # told, and the workflow goes on

    # ---------------------------------------------------------------- what happens
    def _begun(self, record: logging.LogRecord) -> None:
        told = vars(record)
        run: str = (told["wildcards"] or {}).get("run", "")
        if run not in self._runs or told["rule_name"] not in STEPS:
            return
        log = Path(str(told["log"][0]))
        self._at_work[told["jobid"]] = run, log, time.time()
        self._began.setdefault(run, []).append(job_of(log))
        self._failed.pop(run, None)
        self._tell(self._sentence(run, job_of(log)))

    def _finished(self, jobid: int) -> None:
        run, log, _ = self._at_work.pop(jobid, ("", Path(), 0.0))
        if run:
            for remark in remarks(Path("results", run), *job_of(log)):
                self._tell(f"{run}: {remark}")

    def _erred(self, record: logging.LogRecord) -> None:
        told = vars(record)
        run, *_ = self._at_work.pop(told["jobid"], ("",))
        if run:
            log = Path(str(told["log"][0]))
            self._failed[run] = job_of(log), log
            if sentence_of(log):
                self._give_up(told["rule_name"])

    def _look(self) -> None:
        """Tell now and then what the jobs at work have said last."""
        while not self._end.wait(INTERVAL):
            for run, log, since in list(self._at_work.values()):
                said = last_line(log, since)
                if said and said != self._said.get(log):
                    self._said[log] = said
                    self._tell(self._sentence(run, job_of(log), since, said))

    # -------------------------------------------------------------------- in words
    def _sentence(
        self, run: str, key: Key, since: float | None = None, said: str = ""
    ) -> str:
        """Return where a run is, with all that is known of it."""
        results, facts = Path("results", run), [said] if said else []
        plan = self._plan(run)
        place = place_of(key, plan)
        if place is not None:
            facts += self._accounted(run, plan[:place])
            took = 0.0 if since is None else time.time() - since
            left = seconds_left(plan, place, read_jobs(results), self._ranks, took)
            facts.append(time_left(left))
        return ": ".join([f"{run}: {words(key)}", *[", ".join(facts)] * bool(facts)])

    def _accounted(self, run: str, before: Sequence[Job] | None = None) -> list[str]:
        """Return what finished generations of ISAC account for, once there are any."""
        done = self._plan(run) if before is None else before
        if not any(job.rule == "isac_shrink" for job in done):
            return []
        results, total = Path("results", run), 0
        for job in done:
            if job.rule == "isac_account":
                folder, number = job.name.split("_")
                name = f"generation_{folder}/generation_{number}_status.json"
                total += read_json(results / name)["accounted"]
        n = read_json(results / "import/import.json")["n"]
        return [f"{100 * total / n:.0f} % accounted"]

    def _next(self, run: str, failed: bool) -> Key | None:
        """Return what is to be done after the last job of a run; None if nothing is."""
        last, plan = self._began[run][-1], self._plan(run)
        if not plan:
            return last
        place = place_of(last, plan)
        made = not failed and Path("results", run, "report/index.html").exists()
        if place is None or place + 1 == len(plan) or made:
            return None
        return plan[place + 1].rule, plan[place + 1].name

    def _plan(self, run: str) -> list[Job]:
        """Return the jobs of a run; none before its particles are read."""
        # Only now: these need NumPy, and Snakemake itself should start without.
        from cryokin.checks import resolved
        from cryokin.plan import jobs_of, read_known

        results = Path("results", run)
        imported = results / "import/import.json"
        if not imported.exists():
            return []
        told = read_json(imported)
        counts = Counts(told["n"], told["box"])
        options = resolved(self._runs[run], told)
        return list(jobs_of(options, counts, CASES[1], read_known(results)))


def words(key: Key) -> str:
    """Return what a job does, in words."""
    rule, name = key
    numbers = [int(part) for part in name.split("_") if part.isdecimal()] or [0]
    # Those of subtomograms count from 0.
    number = numbers[-1] + (not rule.startswith("isac"))
    return STEPS[rule].words.format(generation=numbers[0], round=number)


def place_of(key: Key, plan: Sequence[Job]) -> int | None:
    """Return the place of a job in a plan; None if it is not in it."""
    keys = [(job.rule, job.name) for job in plan]
    return keys.index(key) if key in keys else None


def remarks(results: Path, rule: str, name: str) -> list[str]:
    """Return what a job that is done has to say of the particles."""
    step = STEPS[rule]
    if not step.warns:
        return []
    found = read_json(results / step.leaves)
    ctf = [f"CTF: {found['ctf']}"] if "ctf" in found else []
    return ctf + [f"warning: {warning}" for warning in found.get("warnings", [])]


def ended(run: str) -> str:
    """Return what a run that is done has made, where it is, and what comes next."""
    results, told = Path("results", run).absolute(), ""
    table = results / "merged/classes.csv"
    table = table if table.is_file() else results / "classes.csv"
    if table.is_file():
        rows = table.read_text(encoding="utf-8").split()[1:]
        classes = [row.split(",")[1] for row in rows]
        of = Counter(name for name in classes if name != "-1")
        share = 100 * of.total() / max(len(classes), 1)
        told = f": {len(of)} classes of {of.total()} of {len(classes)} particles"
        told += f" ({share:.0f} %)"
    if (page := results / "report/index.html").is_file():
        told += f"; the report: {page}"
    if (kept := results / "selected").is_dir():
        return f"{told}; what was selected: {kept}"
    if table.is_file() and of:
        told += f"\n{run}: next, to pick classes: cryokin select --run {run}"
        told += f" --directory {shlex.quote(str(Path.cwd()))}"
    return told


def seconds_left(
    plan: Sequence[Job],
    place: int,
    finished: Sequence[Usage],
    ranks: Mapping[str, int],
    took: float = 0.0,
) -> float:
    """Return about how much longer a run takes [s].

    Parameters
    ----------
    plan : sequence of Job
    place : int
        Of the job at work.
    finished : sequence of Usage
        What jobs of the run took; those before the place tell the pace.
    ranks : mapping
        MPI ranks by rule.
    took : float, optional
        What the job at work has taken so far [s].
    """
    wall = [job.wall_seconds(ranks.get(job.rule)) for job in plan]
    known = {(used.rule, used.name): used.wall_seconds for used in finished}
    # A second as estimated, lest short jobs decide.
    estimated = measured = 1.0
    for job, seconds in zip(plan[:place], wall, strict=False):
        if (job.rule, job.name) in known:
            estimated += seconds
            measured += known[job.rule, job.name]
    pace = min(max(measured / estimated, 1 / MOST_OFF), MOST_OFF)
    now = pace * wall[place]
    return max(now - took, OVERDUE * now) + pace * sum(wall[place + 1 :])


def last_line(log: Path, since: float) -> str:
    """Return what a job has said last; nothing of what is older than the job."""
    if not log.exists() or log.stat().st_mtime < since - 1:
        return ""
    # What it used is for the estimates, and its end is told anyhow.
    said = (line for line in last_lines(log) if not line.startswith(USED))
    lines = [line for line in said if line.strip()]
    return lines[-1].strip()[:100] if lines else ""


def sentence_of(log: Path) -> str:
    """Return the line that says what was wrong in a job, as the last word of all."""
    told = [line for line in last_lines(log) if line.startswith("error: ")]
    return f"\n{told[-1]}" if told else ""


def time_left(seconds: float) -> str:
    """Return how much longer it takes, as exactly as it is known."""
    if seconds < 45:
        return "less than a minute left"
    if seconds < 5400:
        return f"about {max(1, round(seconds / 60))} min left"
    hours = seconds / 3600
    return f"about {hours:.1f} h left" if hours < 10 else f"about {hours:.0f} h left"
