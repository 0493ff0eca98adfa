"""What a run is estimated to take, how its particles are counted, what was used."""

import math
from dataclasses import asdict, replace
from operator import attrgetter
from pathlib import Path

import pytest
import yaml

from cryokin.config import load_runs
from cryokin.errors import InputError
from cryokin.estimate import estimate, in_words, load_estimate, usage
from cryokin.files import write_json
from cryokin.io.counts import Counts
from cryokin.parallel import Team
from cryokin.plan import Told, jobs_of
from cryokin.steps import CASES, SECONDS, STEPS
from cryokin.usage import log_usage, read_jobs
from estimate import estimate as show_estimates
from estimate_run import estimate_run

ROOT = Path(__file__).resolve().parents[1]


def options(run="demo", **changes):
    runs = yaml.safe_load((ROOT / "config/config.yaml").read_text())["runs"]
    return load_runs({"runs": {"it": runs[run] | changes}})["it"]


METHODS = {
    "isac": options(CTF=True),
    "cpca": options("demo_3d", method="cpca"),
    "exact": options("demo_3d", method="cpca", exact=True),
    "exmx": options("demo_3d", method="mco_exmx", merge={"number": 2}),
    "ac": options("demo_3d", method="mco_ac"),
    "agreeing": options("demo_3d", method="cpca", reproducible={"runs": 3}),
    "pytom": options("demo_3d", method="mco_exmx", compat="pytom"),
}


@pytest.fixture(params=METHODS)
def method(request):
    return METHODS[request.param]


def test_assumptions_make_a_range(method):
    made = estimate("it", method, Counts(5000, 64))
    for of in ("jobs", "cpu_seconds", "disk_mb"):
        span = made.total(attrgetter(of))
        assert 0 < span.low <= span.expected <= span.high
    for rule in made.rules:
        assert min(rule.cpu_seconds) > 0
        assert rule.memory_mb(1) > 0
        assert (rule.memory_mb(4) > rule.memory_mb(2)) == rule.parallel
    for low, expected, high in made.assumptions.values():
        assert min(low, high) <= expected <= max(low, high)


def test_every_job_is_work_that_has_a_cost(method):
    for job in jobs_of(method, Counts(5000, 64), CASES[1]):
        assert job.rule in STEPS
        assert set(job.work) <= set(SECONDS), job.rule
        assert job.cpu_seconds(4) >= job.cpu_seconds(2) > 0
        assert job.wall_seconds(4) <= job.wall_seconds(2)


def test_more_particles_take_more_of_everything(method):
    small, large = (estimate("it", method, Counts(n, 64)) for n in (1000, 50_000))
    for of in map(attrgetter, ("cpu_seconds", "disk_mb")):
        assert large.total(of).expected > 5 * small.total(of).expected
    assert large.memory_mb() > small.memory_mb()


@pytest.mark.parametrize(
    ("run", "rule"),
    [
        ("isac", "isac_clusters"),
        ("cpca", "ccc_matrix"),
        ("exact", "ccc_matrix"),
    ],
)
def test_comparisons_grow_with_the_square_of_the_particles(run, rule):
    """Classes of one size: twice the particles have twice the references."""
    took = [
        next(
            job.cpu_seconds()
            for job in jobs_of(METHODS[run], Counts(n, 64), CASES[1])
            if job.rule == rule
        )
        for n in (2_000_000, 4_000_000)
    ]
    assert took[1] / took[0] == pytest.approx(4, rel=0.05)


# CPU seconds of jobs that were measured, with what was told of the particles.
MEASURED = [
    ("isac_prealign", 600, {}, 2.5),
    ("isac_clusters", 600, {}, 12.5),
    ("isac_reproducible", 600, {(1, 1): Told(5, True)}, 15.6),
    ("isac_prealign", 10_000, {}, 9.8),
    ("isac_shrink", 10_000, {}, 4.5),
    ("isac_clusters", 10_000, {}, 199),
    ("isac_reproducible", 10_000, {(1, 1): Told(300, True)}, 244),
]


@pytest.mark.parametrize(("rule", "n", "known", "seconds"), MEASURED)
def test_an_estimate_is_near_what_was_measured(rule, n, known, seconds):
    changes = {"radius": 29, "img_per_grp": 100} if n > 600 else {}
    jobs = jobs_of(options(**changes), Counts(n, 64), CASES[1], known)
    told = next(job for job in jobs if job.rule == rule).cpu_seconds()
    assert seconds / 1.7 < told < 1.7 * seconds


def test_an_estimate_is_read_as_it_was_written(method, tmp_path):
    made = estimate("it", method, Counts(700, 64))
    write_json(tmp_path / "estimate.json", asdict(made))
    assert load_estimate(tmp_path / "estimate.json") == made


@pytest.mark.parametrize("change", [{"assumptions": []}, {"core_hours": 1}])
def test_an_estimate_of_another_version_is_none(tmp_path, change):
    made = asdict(estimate("it", METHODS["isac"], Counts(700, 64)))
    write_json(tmp_path / "estimate.json", made | change)
    with pytest.raises(InputError, match="another version"):
        load_estimate(tmp_path / "estimate.json")
    assert usage(tmp_path) == []


def test_the_memory_of_a_gpu_does_not_grow_without_end():
    """It is bounded by blocks: what 1,024 averages take, and what is in work."""

    def memory(n):
        rules = estimate("it", METHODS["isac"], Counts(n, 64)).rules
        return {rule.rule: rule.device_mb for rule in rules if rule.device_mb}

    few, many, most = (memory(n) for n in (1_000, 1_000_000, 4_000_000))
    assert set(few) == {"isac_clusters", "isac_candidates_round", "isac_reproducible"}
    assert few["isac_clusters"] < many["isac_clusters"] == most["isac_clusters"] < 2000


def test_an_estimate_in_words_names_every_rule(method):
    made = estimate("it", method, Counts(12_345, 64))
    text = in_words(made, {rule.rule: 3 for rule in made.rules})
    assert "12,345" in text.splitlines()[0]
    rows = {line.split()[0]: line.split() for line in text.splitlines()}
    for rule in made.rules:
        assert ("3" in rows[rule.rule]) or not rule.parallel


def test_what_is_known_takes_the_place_of_what_is_assumed():
    rounds = {(1, 1): Told(700, False), (1, 2): Told(600, True)}
    known = rounds | {(1, 0): Told(300, False), (2, 0): Told(0, True)}
    found = list(jobs_of(METHODS["isac"], Counts(1000, 64), CASES[1], known))
    names = [job.name for job in found if job.rule == "isac_candidates_round"]
    assert names[:3] == ["0001_0001", "0001_0002", "0002_0001"]
    assert [job.name for job in found if job.rule == "isac_account"] == [
        "0001_1",
        "0002_2",
    ]


@pytest.mark.parametrize("name", ["none.star", "broken.cs", "page.hdf", "list.xml"])
def test_an_estimate_ends_no_run(tmp_path, monkeypatch, capsys, name):
    """What cannot be used is for the import to say."""
    if name != "none.star":
        (tmp_path / name).write_text("<!DOCTYPE html>\n<html>")
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "estimate.json"
    estimate_run(
        run="it", options=METHODS["isac"], particles=Path(name), estimated=made
    )
    with pytest.raises(InputError, match=name):
        load_estimate(tmp_path / "estimate.json")
    assert usage(tmp_path) == []
    show_estimates(estimates=[made], ranks={})
    assert f"{tmp_path.name}: no estimate: " in capsys.readouterr().out


# ------------------------------------------------------------------- what was used


def job(results, rule, name="", wall=10.0, cpu=8.0, memory=200.0, used=""):
    where = f"{rule}/{name}" if name else rule
    for folder, suffix, text in (
        ("benchmarks", "tsv", f"s\tmax_pss\tcpu_time\n{wall}\t{memory}\t{cpu}\n"),
        ("logs", "log", f"a line\n{used}\nafter it\n"),
    ):
        path = results / folder / f"{where}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_job_knows_better_than_its_benchmark(tmp_path, capsys, monkeypatch):
    team = Team()
    monkeypatch.setattr("cryokin.parallel._world", team)
    ranks = [(7.0, 120.0), (8.0, 150.0), (8.0, 100.0), (8.5, 90.0)]
    monkeypatch.setattr(team, "gather", lambda own: ranks)
    log_usage()
    told = capsys.readouterr().out
    job(tmp_path, "isac_shrink")
    job(tmp_path, "isac_prealign", cpu=9.0, used=told)
    # Under a launcher of a cluster Snakemake sees the launcher alone.
    job(tmp_path, "isac_reproducible", "0001_1", cpu=0.1, memory=3.0, used=told)
    job(tmp_path, "isac_account", "0001_1", wall="NA")
    found = {j.rule: j for j in read_jobs(tmp_path)}
    assert "isac_account" not in found
    shrink, prealign = found["isac_shrink"], found["isac_prealign"]
    assert (shrink.cpu_seconds, shrink.memory_mb, shrink.ranks) == (8.0, 200.0, 1)
    assert (prealign.cpu_seconds, prealign.memory_mb) == (31.5, 200.0)
    cluster = found["isac_reproducible"]
    assert (cluster.cpu_seconds, cluster.memory_mb, cluster.ranks) == (31.5, 600.0, 4)
    assert cluster.name == "0001_1"


def test_usage_stands_beside_the_estimate(tmp_path):
    made = estimate("it", METHODS["isac"], Counts(600, 64))
    write_json(tmp_path / "estimate.json", asdict(made))
    for name, wall in (("0001_0001", 10.0), ("0002_0001", 4.0)):
        job(tmp_path, "isac_candidates_round", name, wall=wall)
    job(tmp_path, "isac_import", memory="NA")
    job(tmp_path, "of_the_user")
    found = usage(tmp_path)
    rules = ["isac_import", "isac_candidates_round", "of_the_user"]
    assert [rule.rule for rule in found] == rules
    first, rounds, own = found
    assert math.isnan(first.memory_mb)
    assert (rounds.jobs, rounds.wall_seconds, rounds.longest_seconds) == (2, 14, 10)
    assert rounds.estimate == next(
        rule for rule in made.rules if rule.rule == "isac_candidates_round"
    )
    assert own.estimate is None
    assert replace(rounds, estimate=None) == next(
        replace(rule, estimate=None)
        for rule in usage(tmp_path)
        if rule.rule == rounds.rule
    )
