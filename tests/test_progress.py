"""Where a run is, told from files that stand as a run leaves them."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from cryokin.config import load_runs
from cryokin.io.counts import Counts
from cryokin.progress import Progress, Watch, failure, finished, look, time_left

ROOT = Path(__file__).resolve().parents[1]
N = 1000


def options(**changes):
    runs = yaml.safe_load((ROOT / "config/config.yaml").read_text())["runs"]
    run = "demo" if changes.get("method", "isac") == "isac" else "demo_3d"
    given = {"runs": {"it": runs[run] | changes}}
    return load_runs(given)["it"]


class Place:
    """A folder of a run in which files appear one after the other."""

    def __init__(self, folder, **changes):
        self.folder, self.options = folder, options(**changes)
        self.clock = time.time_ns() - 10**12

    def write(self, name, value=None):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        self.clock += 10**9
        os.utime(path, ns=(self.clock, self.clock))

    def prepare(self):
        self.write("import/import.json", {"n": N, "box": 64})
        for name in ("2dalignment/initial2Dparams.txt", "working_stack.json"):
            self.write(name)

    def round(self, generation, number, left, stop):
        state = {"round": number, "left": left, "stop": stop}
        name = f"generation_{generation:04d}/round_{number:04d}/state.json"
        self.write(name, state)

    def generation(self, number, accounted, stop):
        folder = f"generation_{number:04d}"
        self.write(f"{folder}/candidates_generation_{number}.npz")
        self.write(f"{folder}/classes_generation_{number}.npz")
        status = {"accounted": accounted, "stop": stop}
        self.write(f"{folder}/generation_{number}_status.json", status)

    def look(self, **how):
        counts = Counts(N, 64)
        return look("it", self.options, self.folder, counts, {}, **how)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_nothing_is_there(place):
    found = place.look()
    assert (found.state, found.step) == ("running", "reading the particles")
    assert found.accounted is None
    assert found.share_done == 0
    assert found.seconds_left > 0


def test_a_run_goes_forward(place):
    place.prepare()
    seen = [place.look()]
    place.round(1, 1, 400, False)
    seen.append(place.look())
    place.round(1, 2, 150, True)
    seen.append(place.look())
    place.generation(1, 410, False)
    seen.append(place.look())
    place.round(2, 1, 300, False)
    place.round(2, 2, 200, False)
    seen.append(place.look())
    assert [p.step for p in seen] == [
        "generation 1, round 1",
        "generation 1, round 2",
        "generation 1, averages of the candidates",
        "generation 2, round 1",
        "generation 2, round 3",
    ]
    assert [p.accounted for p in seen] == [0, 0, 0, 0.41, 0.41]
    assert seen[-1].text.startswith("it: generation 2, round 3: 41 % accounted, ")
    assert (seen[-1].generation, seen[-1].round) == (2, 3)
    shares = [p.share_done for p in seen]
    assert shares[:4] == sorted(shares[:4])


def test_a_run_ends(place):
    place.prepare()
    place.round(1, 1, 20, True)
    place.generation(1, 900, True)
    for name in ("classes.csv", "report/index.html"):
        place.write(name)
    found = place.look()
    assert (found.state, found.share_done, found.seconds_left) == ("done", 1, None)
    assert found.text == "it: done: 90 % accounted"


def test_files_of_an_earlier_run_do_not_count(place):
    place.prepare()
    place.round(1, 1, 20, True)
    place.generation(1, 900, True)
    place.write("classes.csv")
    place.write("report/index.html")
    # The round was made again, and what follows it will be.
    place.round(1, 1, 20, True)
    found = place.look()
    assert found.step == "generation 1, averages of the candidates"
    assert found.accounted == 0
    # When all is over, what is there holds.
    assert place.look(ended=True).state == "done"


def test_the_log_of_the_present_job_tells_more(place):
    place.prepare()
    place.round(1, 1, 20, True)
    folder = "generation_0001"
    place.write(f"{folder}/candidates_generation_1.npz")
    log = "iteration 1: 2-way matching leaves [3, 4]\niteration 2: 2-way ..."
    place.write("logs/isac_reproducible/0001_1.log", log)
    assert "iteration 2 done" in place.look().text
    place.write(f"{folder}/candidates_generation_1.npz")
    assert "iteration" not in place.look().text


def test_time_left_follows_what_jobs_took(place):
    place.prepare()
    before = place.look().seconds_left
    header = "s\tmax_pss\tcpu_time\n"
    for rule in ("isac_import", "isac_prealign", "isac_shrink"):
        place.write(f"benchmarks/{rule}.tsv", f"{header}60\t100\t120\n")
    slow = place.look().seconds_left
    assert slow > 2 * before
    assert place.look(elapsed=lambda step: 10.0).seconds_left < slow


def test_subtomograms(tmp_path):
    place = Place(tmp_path, method="cpca")
    assert place.look().step == "reading the particles"
    place.write("import/import.json")
    place.write("prepared/prepared.json")
    tiles = place.folder / "ccc_tiles/0123"
    tiles.mkdir(parents=True)
    half = N // 2
    np.save(tiles / "tile_0000000_0000000.npy", np.zeros((half, half)))
    assert "matrix: 25 % of pairs, " in place.look().text
    np.save(tiles / f"tile_0000000_{half:07d}.npy", np.zeros((half, half)))
    assert "matrix: 75 % of pairs, " in place.look().text
    names = ("correlation_matrix.h5", "correlation_matrix.csv", "eigen.json")
    for name in (
        *(*names, "cpca/labels.npy", "classes.json", "differences.json"),
        "report/index.html",
    ):
        place.write(name)
    assert place.look().text == "it: done"


def test_jobs_that_do_not_follow_each_other_are_done_in_any_order(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    second.touch()
    os.utime(second, ns=(1, 1))
    first.touch()
    assert finished([first, second], chain=True) == [True, False]
    assert finished([first, second], chain=False) == [True, True]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3, "less than a minute left"),
        (100, "about 2 min left"),
        (5000, "about 83 min left"),
        (9000, "about 2.5 h left"),
        (90000, "about 25 h left"),
    ],
)
def test_time_is_told_as_exactly_as_it_is_known(seconds, words):
    assert time_left(seconds) == words


def test_a_failure_names_the_rule_and_its_log():
    log = """
    Error in rule isac_shrink:
        message: making the working stack
        jobid: 3
        log: results/demo/logs/isac_shrink.log (check log file(s) for error details)
    """
    assert failure(log) == (
        "stopped: rule isac_shrink failed, see results/demo/logs/isac_shrink.log"
    )
    assert failure("Exiting") == "stopped"


DONE = Progress("it", "done", "done", None, None, None, 1.0, None, "it: done")


def test_a_watch_tells_only_of_runs_that_are_at_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = Place(tmp_path / "results/it")
    told = []
    runs = {"it": place.options, "other": place.options}
    watch = Watch(runs, dict, lambda path: Counts(N, 64), told.append)
    watch.start()
    watch.stop()
    assert told == []
    assert not (tmp_path / "results").exists()
    watch = Watch(runs, dict, lambda path: Counts(N, 64), told.append)
    watch.start()
    place.prepare()
    (place.folder / "logs").mkdir()
    (place.folder / "logs/isac_candidates_round.log").touch()
    watch.stop("Error in rule isac_candidates_round:\n    log: here.log\n")
    failed = "stopped: rule isac_candidates_round failed, see here.log"
    assert told == [f"it: {failed} (generation 1, round 1)"]
    kept = json.loads((place.folder / "progress.json").read_text())
    assert (kept["state"], kept["text"]) == ("stopped", told[0])
    assert not (tmp_path / "results/other").exists()


def test_warnings_of_the_import_are_told_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = Place(tmp_path / "results/it", method="cpca")
    told = []
    watch = Watch({"it": place.options}, dict, lambda path: Counts(N, 20), told.append)
    watch.start()
    imported = {"n": N, "box": 20, "warnings": ["nothing was sampled."]}
    place.write("import/import.json", imported)
    os.utime(place.folder / "import/import.json")
    place.write("logs/pytom_import.log", "")
    os.utime(place.folder / "logs/pytom_import.log")
    for _ in range(2):
        watch._look("it")
    watch.stop()
    assert told.count("it: warning: nothing was sampled.") == 1


def test_a_run_whose_last_job_failed_is_not_called_done(tmp_path, monkeypatch):
    """The job may be one that the estimate does not know, such as full_size."""
    monkeypatch.chdir(tmp_path)
    place = Place(tmp_path / "results/it")
    monkeypatch.setattr("cryokin.progress.look", lambda *work: DONE)
    for log, state in (("results/it/x.log", "stopped"), ("results/no/x.log", "done")):
        told = []
        watch = Watch(
            {"it": place.options}, dict, lambda run: Counts(N, 64), told.append
        )
        watch.start()
        (place.folder / "logs").mkdir(parents=True, exist_ok=True)
        (place.folder / "logs/x.log").touch()
        watch.stop(f"Error in rule isac_full_averages:\n    log: {log}\n")
        assert state in told[-1]
