"""Where runs are, told from what Snakemake's log is told and from files of the runs."""

import json
import logging
import os
import re
import time
from pathlib import Path

import pytest
import yaml

from cryokin.config import load_runs
from cryokin.progress import Progress, seconds_left, time_left, words
from cryokin.steps import STEPS, Job
from cryokin.usage import Usage

ROOT = Path(__file__).resolve().parents[1]
N = 1000
CLASSES = "particle_id,class,psi\n1,1,0.5\n2,-1,0.5\n3,2,0.5\n4,1,0.5\n"


def options(**changes):
    runs = yaml.safe_load((ROOT / "config/config.yaml").read_text())["runs"]
    run = "demo" if changes.get("method", "isac") == "isac" else "demo_3d"
    given = {"runs": {"it": runs[run] | changes}}
    return load_runs(given)["it"]


class Call:
    """A call of Snakemake: what its log is told, and the files that its jobs write."""

    def __init__(self, **changes):
        self.told, self.jobs = [], []
        runs = {"it": options(**changes)}
        self.progress = Progress(runs, dict, self.told.append, quiet=True)
        self.log = logging.Logger("of Snakemake")
        self.log.addHandler(self.progress)
        self.progress.start()

    def write(self, name, value=""):
        path = Path("results/it", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value))

    def event(self, event, msg="", **told):
        self.log.info(msg, extra={"event": event} | told)
        return self.told[-1] if self.told else ""

    def begin(self, rule, name="", run="it"):
        log = f"results/it/logs/{rule}{'/' * bool(name)}{name}.log"
        self.jobs.append((rule, log))
        about = {"rule_name": rule, "wildcards": {"run": run}, "log": [log]}
        return self.event("job_info", jobid=len(self.jobs), **about)

    def end(self):
        return self.event("job_finished", job_id=len(self.jobs))

    def fail(self):
        rule, log = self.jobs[-1]
        about = {"rule_name": rule, "log": [log]}
        return self.event("job_error", jobid=len(self.jobs), **about)

    def do(self, rule, name="", **files):
        told = self.begin(rule, name)
        for path, value in files.items():
            self.write(path, value)
        self.end()
        return told

    def prepare(self):
        self.do("isac_import", **{"import/import.json": {"n": N, "box": 64}})
        self.do("isac_prealign")
        self.do("isac_shrink")

    def round(self, generation, number, left, stop=False):
        name = f"{generation:04d}_{number:04d}"
        file = f"generation_{generation:04d}/round_{number:04d}/state.json"
        state = {"round": number, "left": left, "stop": stop}
        return self.do("isac_candidates_round", name, **{file: state})

    def generation(self, number, accounted, stop=False):
        name = f"{number:04d}_{number}"
        self.do("isac_candidates", name)
        self.do("isac_reproducible", name)
        file = f"generation_{number:04d}/generation_{number}_status.json"
        return self.do(
            "isac_account", name, **{file: {"accounted": accounted, "stop": stop}}
        )

    def stop(self, **how):
        self.progress.stop(**how)
        return self.told[-1]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_run_goes_forward_and_ends():
    call = Call()
    call.prepare()
    call.round(1, 1, 400)
    call.round(1, 2, 150, True)
    call.generation(1, 410)
    call.round(2, 1, 300)
    call.round(2, 2, 200, True)
    call.generation(2, 490, True)
    call.do("isac_class_averages", **{"classes.csv": CLASSES})
    call.do("isac_report", **{"report/index.html": "a page"})
    assert all(line.endswith(" left") for line in call.told[1:])
    told = [re.sub(r"[:,] (about|less)[^:,]* left$", "", line) for line in call.told]
    assert told[:4] == [
        *("it: reading the particles", "it: prealignment", "it: working images"),
        "it: generation 1, round 1: 0 % accounted",
    ]
    assert told[7:9] == [
        "it: generation 1, accounting: 0 % accounted",
        "it: generation 2, round 1: 41 % accounted",
    ]
    assert told[-1] == "it: report: 90 % accounted"
    page, here = Path("results/it/report/index.html").absolute(), Path.cwd()
    done = f": 2 classes of 3 of 4 particles (75 %); the report: {page}\n"
    done += f"it: next, to pick classes: cryokin select --run it --directory {here}"
    assert call.stop() == f"it: done{done}"
    assert call.event("", msg="Nothing to be done (all") == f"it: nothing to do{done}"
    Path("results/it/selected").mkdir()
    assert call.stop().endswith(f"; what was selected: {here}/results/it/selected")


def test_what_was_not_asked_for_is_named():
    call = Call()
    call.prepare()
    call.round(1, 1, 400)
    assert (
        call.stop() == "it: done as far as asked, next: generation 1, round 2, clusters"
    )


def test_files_of_an_earlier_run_do_not_count():
    before = Call()
    before.prepare()
    before.round(1, 1, 20, True)
    before.generation(1, 900, True)
    again = Call()
    assert "0 % accounted" in again.round(1, 1, 20, True)
    # After a kill the next call begins where the one before was.
    assert "90 % accounted" in Call().begin("isac_class_averages")


def test_a_job_at_work_tells_more(monkeypatch):
    monkeypatch.setattr("cryokin.progress.INTERVAL", 0.01)
    call = Call()
    call.prepare()
    call.write("logs/isac_reproducible/0001_1.log", "iteration 7: of an earlier call\n")
    os.utime(call_log := Path("results/it/logs/isac_reproducible/0001_1.log"), (1, 1))
    call.begin("isac_reproducible", "0001_1")
    time.sleep(0.1)
    count = len(call.told)
    used = 'usage: {"cpu_seconds": 1.0}'
    call_log.write_text(f"iteration 1: runs agree\npass 2 of 7\n{used}\npass 3 o")
    deadline = time.time() + 10
    while len(call.told) == count and time.time() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    call.progress.stop()
    assert len(call.told) == count + 2  # that, and the end
    assert "reproducible classes: pass 2 of 7, 0 % accounted, " in call.told[count]


def test_subtomograms():
    call = Call(method="cpca")
    told = [call.do("pytom_import", **{"import/import.json": {"n": N, "box": 20}})]
    call.write("prepared/prepared.json", {"warnings": ["nothing was sampled."]})
    for rule in ("pytom_prepare", "ccc_matrix", "eigen_projection", "kmeans"):
        told.append(call.do(rule))
    told.append(call.do("select_classes"))
    assert [line.split(": ")[1] for line in told] == [
        STEPS[job[0]].words for job in call.jobs
    ]
    assert call.told.count("it: warning: nothing was sampled.") == 1
    call.begin("pytom_report")
    assert call.stop() == "it: done"


@pytest.mark.parametrize(
    ("rule", "name", "said"),
    [
        ("isac_candidates_round", "0002_0003", "generation 2, round 3"),
        ("isac_account", "0002_2", "generation 2, accounting"),
        ("mco_ac_round", "0000", "annealing, round 1"),
        ("isac_subset", "class_0001", "particles of a class"),
    ],
)
def test_words_name_generation_and_round(rule, name, said):
    assert words((rule, name)) == said


def test_a_failure_names_the_rule_and_its_log():
    call = Call()
    call.prepare()
    call.begin("isac_candidates_round", "0001_0001")
    call.fail()
    log = Path("results/it/logs/isac_candidates_round/0001_0001.log").absolute()
    failure = "it: stopped: rule isac_candidates_round failed (generation 1, round 1)"
    assert call.stop(failed=True) == f"{failure}, see {log}"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("pass 1\nerror: the sentence\nanother word\n")
    assert call.stop(failed=True) == f"{failure}, see {log}\nerror: the sentence"


def test_what_stops_snakemake_itself_is_told_where_it_tells_nothing():
    call = Call()
    said = "WorkflowError:\nFailed to create output directory results/a.\nOSError: no"
    told = call.event("error", said, exception="WorkflowError")
    assert told == f"error: {' '.join(said.split())}"
    assert call.event("error", "Command 'a' failed.", exception="RuleException") == told


def test_what_the_user_must_mend_is_not_tried_again():
    call, given_up = Call(), []
    call.progress._give_up = given_up.append
    for text in ("Traceback\nMemoryError\n", "error: the sentence\n"):
        call.begin("isac_prealign")
        call.write("logs/isac_prealign.log", text)
        call.fail()
    assert given_up == ["isac_prealign"]


@pytest.mark.parametrize("rule", ["isac_report", "isac_full_averages", "isac_import"])
def test_a_run_of_which_a_job_failed_is_not_called_done(rule):
    call = Call()
    call.write("report/index.html", "of an earlier call")
    call.begin(rule)
    call.fail()
    assert call.stop(failed=True).startswith(f"it: stopped: rule {rule} failed")


def test_a_job_that_was_tried_again_has_not_failed():
    call = Call()
    call.prepare()
    call.begin("isac_candidates_round", "0001_0001")
    call.fail()
    call.round(1, 1, 300)
    assert call.stop(failed=True) == "it: stopped (generation 1, round 1)"


@pytest.mark.parametrize("rule", ["isac_import", "isac_prealign"])
def test_an_interrupted_run_goes_on(rule):
    call = Call()
    if rule != "isac_import":
        call.prepare()
    call.begin(rule)
    call.fail()
    told = f"it: interrupted in {STEPS[rule].words}; the same command goes on"
    assert call.stop(failed=True, interrupted=True) == told


def test_other_jobs_and_broken_files_end_nothing(monkeypatch):
    call = Call()
    call.begin("isac_import", run="other")
    call.begin("of_the_user")
    call.event("job_finished", job_id=77)
    assert call.told == []
    call.write("import/import.json", "no JSON")
    monkeypatch.setattr(logging, "raiseExceptions", False)
    call.begin("isac_shrink")
    call.write("import/import.json", {"n": N, "box": 64})
    assert call.begin("isac_shrink").startswith("it: working images: ")


def test_time_left_is_that_of_the_plan_at_the_pace_of_the_run():
    def job(name):
        return Job("isac_import", name, {"row": 1e6}, rank_mb=1, disk_mb=1)

    plan = [job(name) for name in "abc"]
    each = plan[0].wall_seconds()
    assert seconds_left(plan, 1, [], {}) == pytest.approx(2 * each)
    assert seconds_left(plan, 1, [], {}, 0.5 * each) == pytest.approx(1.5 * each)
    # What takes longer than foretold has a tenth left.
    assert seconds_left(plan, 2, [], {}, 5 * each) == pytest.approx(0.1 * each)
    slow = Usage("isac_import", "a", 3 * each + 2, 1.0, 1, 1.0)
    assert seconds_left(plan, 1, [slow], {}) == pytest.approx(6 * each, rel=0.01)
    # What has not yet been made again tells nothing.
    assert seconds_left(plan, 0, [slow], {}) == pytest.approx(3 * each)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (3, "less than a minute left"),
        (100, "about 2 min left"),
        (5000, "about 83 min left"),
        (9000, "about 2.5 h left"),
        (90000, "about 25 h left"),
    ],
)
def test_time_is_told_as_exactly_as_it_is_known(seconds, told):
    assert time_left(seconds) == told


def test_every_rule_of_a_run_has_a_record_that_knows_if_it_runs_on_ranks():
    text = "".join(path.read_text() for path in ROOT.glob("workflow/rules/*.smk"))
    rules = re.split(r"^(?:rule|checkpoint) (?=\w+:)", text, flags=re.M)[1:]
    parallel = {
        rule.split(":")[0]: "tasks=N_RANKS" in rule
        for rule in rules
        if re.search(r"^    log:\n        \"results/\{run\}/", rule, re.M)
    }
    # What takes a moment, before there is a plan.
    for rule in ("estimate_run", "rand_seed", "list_images"):
        del parallel[rule]
    assert parallel == {rule: step.parallel for rule, step in STEPS.items()}
