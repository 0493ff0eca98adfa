"""The workflow as a user runs it: real Snakemake, real MPI, a small simulated set."""

import csv
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pandas as pd
import pytest
import starfile
import yaml

import browser
from cryokin.estimate import load_estimate, usage
from cryokin.files import read_ids
from cryokin.io.eman_hdf import read_headers, read_images, write_images
from cryokin.io.star import read_star, write_star
from cryokin.simulate.files import write_image_set
from cryokin.simulate.images import simulate_images
from cryokin.steps import STEPS
from places import IMAGES, ISAC, Place, assert_same_bytes, jobs, kill_after
from reports import dead_links

pytestmark = pytest.mark.slow

GENERATION_1 = "generation_0001"
CONSTANT, NOT_FINITE = 17, 18  # ids of two images that cannot be used
MPI_RULES = (
    *("isac_phase_flip", "isac_prealign", "isac_shrink"),
    *("isac_clusters", "isac_candidates_round", "isac_candidates"),
    "isac_reproducible",
)
OF_ROUND = ("isac_clusters", "isac_candidates_round")
FROM_ROUNDS_ON = {
    *OF_ROUND,
    *("isac_candidates", "isac_reproducible"),
    *("isac_account", "isac_class_averages", "isac_report", "all"),
}


def read_csv(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def set_ranks(n):
    """Return the options for a number of MPI ranks, as profiles/README.md has them."""
    return ["--set-resources", *(f"{rule}:tasks={n}" for rule in MPI_RULES)]


@pytest.fixture(scope="module")
def particles(tmp_path_factory):
    """The table of the set, with columns that nobody knows."""
    folder = tmp_path_factory.mktemp("set")
    made = simulate_images(IMAGES)
    images = made.images.copy()
    images[CONSTANT] = 1
    images[NOT_FINITE, 3, 5] = np.nan
    write_image_set(folder, dataclasses.replace(made, images=images))
    blocks = read_star(folder / "particles.star")
    blocks["particles"]["myNote"] = [f"note {i % 7}" for i in range(len(images))]
    blocks["particles"]["rlnBeamTiltClass"] = np.arange(len(images)) % 3
    blocks["optics"]["myCamera"] = "K3"
    write_star(folder / "particles.star", blocks)
    header = [{f"apix_{axis}": IMAGES.pixel_size for axis in "xyz"}] * len(images)
    write_images(folder / "particles.hdf", images, header)
    return folder / "particles.star"


@pytest.fixture(scope="module")
def place(root, tmp_path_factory, particles):
    """A folder whose folder ``work`` holds a finished run on two ranks."""
    place = Place(root, tmp_path_factory.mktemp("place"), particles)
    place.configure()
    # A file first, all that there is second.
    target = "results/tiny/classes.csv"
    place.first = place.run(target)
    assert not (place.results() / "report").exists()
    place.second = place.run()
    return place


@pytest.fixture(scope="module")
def started(place):
    """Three runs of one configuration, each as short as can be."""
    short = ISAC | {"max_round": 1, "n_generations": 1}
    flipped = simulate_images(
        dataclasses.replace(IMAGES, n_images=100, box=41, ctf=True, junk=0.0, snr=5.0)
    )
    write_image_set(place.folder / "with_ctf", flipped)
    stack = str(place.particles.with_suffix(".hdf"))
    place.write(
        "three.yaml",
        {
            "tiny": short | {"particles": str(place.particles)},
            "stack": short | {"particles": stack},
            # Relative to the folder of --directory.
            "flipped": short
            | {"particles": "../with_ctf/particles.star", "CTF": True, "thld_err": 1.0},
        },
    )
    place.run(config="three.yaml", work="three")
    return place


# ---------------------------------------------------------------- what a run leaves


def test_the_report_leads_to_files_that_are_there(place):
    assert dead_links(place.results() / "report/index.html") == []


def test_all_files_of_the_manual_are_there(place):
    results = place.results()
    names = [
        *("2dalignment/aqfinal.hdf", "2dalignment/initial2Dparams.txt"),
        *("class_averages.hdf", "class_averages.mrcs", "classes.star"),
        *("particles.star", "classes.csv", "README_shrink_ratio.txt"),
        *("report/index.html", "report/gallery.png"),
        *("import/particles.star", "import/import.json"),
        *("working_stack.mrcs", "working_stack.json", "coefficients.npy"),
    ]
    for g in (1, 2):
        folder = f"generation_{g:04d}"
        names += [
            f"{folder}/class_averages_candidate_generation_{g}.hdf",
            f"{folder}/class_averages_generation_{g}.hdf",
            f"{folder}/generation_{g}_accounted.txt",
            f"{folder}/generation_{g}_unaccounted.txt",
        ]
    # A last generation may account for nobody.
    may_be_empty = "generation_0002/generation_2_accounted.txt"
    empty = [name for name in names if not (results / name).stat().st_size]
    assert set(empty) <= {may_be_empty}
    assert not (place.folder / "results").exists()
    assert "isac_report" not in jobs(place.first)
    assert jobs(place.second) == {"estimate_run": 1, "isac_report": 1, "all": 1}


def test_every_rule_has_a_log_and_a_benchmark(place):
    results = place.results()
    rules = {"isac_import", "isac_prealign", "isac_shrink", "isac_class_averages"}
    for folder, suffix in (("logs", ".log"), ("benchmarks", ".tsv")):
        there = {p.relative_to(results / folder) for p in results.rglob(f"*{suffix}")}
        assert {f"{rule}{suffix}" for rule in rules} <= set(map(str, there))
        for rule in FROM_ROUNDS_ON - {"isac_class_averages", "isac_report", "all"}:
            assert {p.name for p in there if p.parts[0] == rule} >= {
                f"0001_0001{suffix}" if rule in OF_ROUND else f"0001_1{suffix}"
            }


def test_all_tables_tell_the_same_members(place):
    results = place.results()
    headers = read_headers(results / "class_averages.hdf")
    assert len(headers) > 2
    label = np.full(IMAGES.n_images, -1)
    for k, header in enumerate(headers):
        members = np.atleast_1d(header["members"])
        assert len(members) == header["n_objects"] >= 10
        assert np.all(label[members] == -1), "a particle is in two classes"
        label[members] = k + 1
    rows = read_csv(results / "classes.csv")
    assert [int(row["particle_id"]) for row in rows] == [*range(1, len(label) + 1)]
    np.testing.assert_array_equal([int(row["class"]) for row in rows], label)
    table = starfile.read(results / "particles.star")["particles"]
    np.testing.assert_array_equal(table["rlnClassNumber"], label)
    accounted = np.concatenate(
        [read_ids(p) for p in sorted(results.glob("*/*_accounted.txt"))]
    )
    np.testing.assert_array_equal(np.sort(accounted), np.flatnonzero(label >= 0))
    classes = starfile.read(results / "classes.star")
    np.testing.assert_array_equal(
        classes["cryokinMembers"], np.bincount(label[label > 0])[1:]
    )
    with mrcfile.open(results / "class_averages.mrcs") as stack:
        images, _ = read_images(results / "class_averages.hdf")
        np.testing.assert_array_equal(stack.data, images)


def test_a_generation_starts_from_what_the_one_before_left(place):
    results = place.results()
    usable = sorted(set(range(IMAGES.n_images)) - {CONSTANT, NOT_FINITE})
    pool = read_ids(results / "generation_0000/generation_0_unaccounted.txt")
    assert pool == usable
    for g in (1, 2):
        folder = results / f"generation_{g:04d}"
        accounted = read_ids(folder / f"generation_{g}_accounted.txt")
        unaccounted = read_ids(folder / f"generation_{g}_unaccounted.txt")
        status = json.loads((folder / f"generation_{g}_status.json").read_text())
        assert sorted(accounted + unaccounted) == pool
        assert status["accounted"] == len(accounted)
        assert status["unaccounted"] == len(unaccounted)
        left = pool
        for round_folder in sorted(folder.glob("round_*")):
            before, left = left, read_ids(round_folder / "left.txt")
            assert set(left) <= set(before)
        candidates = read_headers(
            folder / f"class_averages_candidate_generation_{g}.hdf"
        )
        held = [np.atleast_1d(header["members"]) for header in candidates]
        held = np.concatenate([np.empty(0, int), *held])
        assert sorted([*held, *left]) == pool
        pool = unaccounted


def test_unusable_images_are_named_and_never_classified(place):
    info = json.loads((place.results() / "import/import.json").read_text())
    assert [entry["id"] for entry in info["excluded"]] == [CONSTANT, NOT_FINITE]
    table = starfile.read(place.results() / "particles.star")["particles"]
    assert list(table["rlnClassNumber"][[CONSTANT, NOT_FINITE]]) == [-1, -1]


def test_every_row_and_column_of_the_input_survives(place):
    before = read_star(place.particles)
    after = read_star(place.results() / "particles.star")
    assert len(after["particles"]) == IMAGES.n_images
    for block in ("optics", "particles"):
        for name in before[block]:
            if name == "rlnImageName":  # became the whole path
                continue
            assert list(after[block][name]) == list(before[block][name]), name


def test_hdf_files_have_the_layout_of_eman(place):
    with h5py.File(place.results() / "class_averages.hdf") as file:
        images = file["MDF/images"]
        assert int(np.ravel(images.attrs["imageid_max"])[0]) == len(images) - 1
        assert {"EMAN.members", "EMAN.n_objects"} <= set(images["0"].attrs)


def test_nothing_is_left_to_do(place):
    for target in ([], ["candidates"], ["results/tiny/classes.csv"]):
        assert place.planned(*target) == {}


# ------------------------------------------------------------- same seed, same bytes


@pytest.mark.parametrize("ranks", [1, 3, 4])
def test_the_number_of_ranks_does_not_matter(place, ranks):
    work = f"ranks_{ranks}"
    text = place.run(*set_ranks(ranks), work=work)
    assert f"prealigning on {ranks} ranks" in text
    assert_same_bytes(place.results(), place.results(work))


def test_another_seed_gives_other_candidates(place):
    config = place.configure("seed.yaml", rand_seed=2)
    text = place.run("candidates", config=config, work="seed")
    assert not {"isac_reproducible", "isac_account"} & jobs(text).keys()
    name = "generation_0001/class_averages_candidate_generation_1.hdf"
    one, other = (place.results(work) for work in ("work", "seed"))
    assert (one / name).read_bytes() != (other / name).read_bytes()
    assert not (other / "generation_0001/classes_generation_1.npz").exists()
    # What comes before does not depend on the seed.
    name = "2dalignment/initial2Dparams.txt"
    assert (one / name).read_bytes() == (other / name).read_bytes()


def test_the_same_command_goes_on_after_a_kill(place):
    """Once the lock is taken away; also beside what the killed call left at work."""
    results = place.results("killed")
    log, generation = results / "logs", results / "generation_0001"
    # Each: a file and the text in it to wait for, how much longer [s], and a file that
    # must not be there yet.
    moments = (
        (results / "import/import.json", "", 0.2, results / "working_stack.mrcs"),
        (
            log / "isac_clusters/0001_0001.log",
            "",
            0.2,
            generation / "round_0001/clusters.npz",
        ),
        (
            log / "isac_reproducible/0001_1.log",
            "iteration 1",
            0.0,
            generation / "classes_generation_1.npz",
        ),
    )
    command = place.command(work="killed")
    for path, text, delay, not_yet in moments:
        kill_after(
            command,
            place.folder,
            lambda path=path, text=text: path.exists() and text in path.read_text(),
            delay,
        )
        assert not not_yet.exists()
        locked = place.snakemake(work="killed")
        assert locked.returncode == 1
        assert "It can be removed with the --unlock argument" in locked.text
        assert "Traceback" not in locked.text
        place.run("--unlock", work="killed")
    place.run(work="killed")
    assert_same_bytes(place.results(), results)
    # What the killed jobs were about to write is gone.
    assert list(results.rglob("*.part*")) == []


# ------------------------------------------------------- what a change makes again


def test_a_comment_changes_nothing(place):
    config = place.configure("comment.yaml", comment="# a comment\n", xr=1, maxit="8")
    assert place.planned(config=config) == {}


def test_the_folder_of_the_workflow_may_move(place, tmp_path):
    (tmp_path / "moved").symlink_to(place.root)
    moved = Place(tmp_path / "moved", place.folder, place.particles)
    assert moved.planned() == {}


@pytest.mark.parametrize(
    "change",
    [
        *({"thld_err": 0.31}, {"img_per_grp": 22}, {"rand_seed": 2}),
        *({"thld_grp": 9}, {"thld_rep": 0.5}, {"last_assignment": False}),
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_option_of_the_classes_does_not_prealign_again(place, change):
    config = place.configure("changed.yaml", **change)
    kept = {"isac_clusters"} if "thld_grp" in change else set()
    if change.keys() & {"thld_rep", "last_assignment"}:
        kept = {*OF_ROUND, "isac_candidates"}
    expected = FROM_ROUNDS_ON - kept | {"estimate_run"}
    assert place.planned(config=config).keys() == expected


def test_another_threshold_matches_again_but_does_not_cluster_again(place):
    """Made from what a run with another threshold left, or from nothing: the same."""
    config = place.configure("threshold.yaml", thld_grp=9)
    target = "results/tiny/generation_0001/round_0001/classes.npz"
    for work in ("again", "anew"):
        if work == "again":
            place.run(target, work=work)
        text = place.run(target, config=config, work=work)
        assert ("isac_clusters" in jobs(text)) == (work == "anew")
    assert_same_bytes(*(place.results(work) for work in ("again", "anew")))


@pytest.mark.parametrize(
    ("file", "rules"),
    [
        ("import/import.json", set()),
        ("2dalignment/aqfinal.hdf", {"isac_prealign"}),
        ("working_stack.mrcs", {"isac_prealign", "isac_shrink"}),
        (
            "generation_0001/round_0001/left.txt",
            {"isac_prealign", "isac_shrink", *OF_ROUND},
        ),
        ("estimate.json", None),
    ],
)
def test_a_file_makes_what_it_needs_and_no_more(place, file, rules):
    planned = place.planned(f"results/tiny/{file}", work="empty")
    importing = {"list_images", "isac_import"}
    expected = {"estimate_run"} if rules is None else importing | rules
    assert planned == dict.fromkeys(expected, 1)
    assert place.planned(f"results/tiny/{file}") == {}


def test_ctf_begins_with_the_phases(place, started):
    config = place.configure(
        "ctf.yaml", CTF=True, particles=str(place.folder / "with_ctf/particles.star")
    )
    preparing = {
        "list_images",
        "isac_import",
        "isac_phase_flip",
        "isac_prealign",
        "isac_shrink",
    }
    planned = place.planned(config=config).keys()
    assert planned == FROM_ROUNDS_ON | preparing | {"estimate_run"}


@pytest.mark.parametrize("rule", ["isac_candidates_round", "isac_reproducible"])
def test_restart_sections_are_forced_rules(place, rule):
    forced = place.planned("--forcerun", rule).keys()
    assert rule in forced
    assert "isac_prealign" not in forced
    assert ("isac_candidates_round" in forced) == (rule == "isac_candidates_round")


def test_fewer_generations_join_again_and_no_more(place):
    config = place.configure("fewer.yaml", n_generations=1)
    joined = ("estimate_run", "isac_class_averages", "isac_report", "all")
    assert place.planned(config=config) == dict.fromkeys(joined, 1)


def test_the_next_generation_is_all_that_is_new(place):
    """The run ended for want of generations; if not, nothing is to be done."""
    status = place.results() / "generation_0002/generation_2_status.json"
    goes_on = not json.loads(status.read_text())["stop"]
    config = place.configure("more.yaml", n_generations=3)
    planned = place.planned(config=config)
    assert planned.get("isac_candidates_round", 0) == goes_on
    assert planned.get("isac_account", 0) == goes_on
    assert "isac_shrink" not in planned


def test_a_run_that_goes_on_is_like_one_that_had_all_from_the_start(started):
    results = started.results("three")
    assert not (results / "generation_0001/round_0002").exists()
    text = started.run(work="three")
    assert "isac_shrink" not in jobs(text)
    assert (results / "generation_0001/round_0002").exists()
    assert_same_bytes(started.results(), results)


# ---------------------------------------------------------------------------- inputs


def test_a_stack_without_a_table_gives_the_same_classes(started):
    # Reads the first generation's files: another test lets the run tiny go on.
    one, other = (started.results("three", run) for run in ("stack", "tiny"))
    name = "generation_0001/round_0001/classes.npz"
    assert (one / name).read_bytes() == (other / name).read_bytes()
    assert len(starfile.read(one / "particles.star")["particles"]) == IMAGES.n_images


def test_phases_are_flipped_and_odd_boxes_are_fine(started):
    results = started.results("three", "flipped")
    with mrcfile.open(results / "phase_flipped.mrcs") as stack:
        assert stack.data.shape == (100, 41, 41)
        assert np.isfinite(stack.data).all()
    assert len(read_headers(results / "class_averages.hdf")) > 0
    label = [int(row["class"]) for row in read_csv(results / "classes.csv")]
    assert len(label) == 100
    assert max(label) > 0


# --------------------------------------------------------------------------- targets


def test_candidates_can_be_asked_for_by_name(place):
    name = "results/tiny/generation_0001/class_averages_candidate_generation_1.hdf"
    for target in ("candidates", name):
        planned = place.planned(target, work="empty")
        assert {"isac_candidates_round", "isac_candidates"} <= planned.keys()
        assert not {"isac_reproducible", "isac_account"} & planned.keys()


def test_a_generation_in_the_folder_of_another_is_refused(place):
    name = "results/tiny/generation_0002/class_averages_candidate_generation_1.hdf"
    done = place.snakemake(name, "--dry-run")
    assert done.returncode == 1
    sentence = "generation_0002 holds no file of generation 1; ask for generation_0001"
    assert sentence in done.text


@pytest.mark.parametrize("work", ["work", "empty"])
@pytest.mark.parametrize(
    ("option", "shown"),
    [
        (["--dry-run"], ""),
        (["--dag"], "digraph"),
        (["--rulegraph"], "digraph"),
        (["--summary"], "output_file"),
    ],
)
def test_a_run_can_be_looked_at_before_and_after(place, work, option, shown):
    assert shown in place.run(*option, work=work)


@pytest.mark.parametrize(
    ("run", "picture"), [("demo", "rulegraph"), ("demo_3d", "rulegraph_3d")]
)
def test_the_pictures_of_the_documentation_show_the_rules(
    place, root, tmp_path, run, picture
):
    """If not: make pictures."""
    target = f"results/{run}/report/index.html"
    text = place.run(
        *(target, "--rulegraph", "dot"),
        config=str(root / "config/config.yaml"),
        work=str(tmp_path),
    )
    rules = set(re.findall(r'label ?= ?"(\w+)"', text))
    svg = (root / f"docs/images/{picture}.svg").read_text()
    assert rules == set(re.findall(r"<text [^>]*>(\w+)</text>", svg))


def test_snakemake_makes_its_own_report_too(place):
    place.run("--report", "report.html")
    page = (place.folder / "work/report.html").read_text()
    assert "gallery.png" in page


@pytest.mark.skipif(not browser.is_installed(), reason="no chromium and chromedriver")
def test_what_is_picked_in_the_report_is_what_comes_out(place, tmp_path):
    work = place.folder / "picked"
    shutil.copytree(place.folder / "work", work)
    results = work / "results/tiny"
    with browser.browser(tmp_path) as window:
        window.open(results / "report/index.html")
        shown = window.run(
            """return [...document.querySelectorAll(".tile")].map((tile) =>
                [tile.dataset.class, tile.querySelector(".value > *").textContent])"""
        )
        window.run("document.querySelector('.tile').focus()")
        window.press("Space", "ArrowRight", "m", "ArrowRight", "Space", "m", "s")
        saved = tmp_path / "tiny.yaml"
        browser.wait_until(saved.exists)
    counts = {int(k): int(n) for k, n in shown}
    classes = starfile.read(results / "classes.star")
    assert classes.set_index("rlnClassNumber").cryokinMembers.to_dict() == counts
    table = starfile.read(results / "particles.star")["particles"]
    number = table.rlnClassNumber
    assert number[number > 0].value_counts().to_dict() == counts
    headers = read_headers(results / "class_averages.hdf")
    assert {k: len(headers[k - 1]["members"]) for k in counts} == counts

    kept = [int(k) for k, _ in shown[:3]]
    first = min(kept[1:])
    assert yaml.safe_load(saved.read_text())["keep"] == sorted(kept)
    (work / "config/selection").mkdir(parents=True)
    shutil.copy(saved, work / "config/selection")
    selected = "results/tiny/selected/particles_selected.star"
    assert place.planned(selected, work="picked") == {"select_particles": 1}
    place.run(selected, work="picked")
    found = starfile.read(work / selected)["particles"]
    expected = table[number.isin(kept)]
    assert found.rlnImageName.tolist() == expected.rlnImageName.tolist()
    merged = {kept[0]: kept[0], kept[1]: first, kept[2]: first}
    assert found.rlnClassNumber.tolist() == number[expected.index].map(merged).tolist()
    page = results / "selected/index.html"
    assert dead_links(page) == []
    text = page.read_text(encoding="utf-8")
    assert f'id="n-particles">{len(found)}<small> of {len(table)}<' in text
    assert f'id="n-classes">2<small> of {len(counts)}<' in text
    assert f"of {first}, {max(kept[1:])}<" in text and text.count("<img") == 2


def interim(root, work, config):
    script = root / "workflow/scripts/interim_report.py"
    command = [sys.executable, script, "--run", "tiny", "--configfile", config]
    return subprocess.run(
        [*command, "--directory", work], capture_output=True, text=True, check=False
    )


def test_a_run_that_goes_on_has_a_report(root, place):
    work, config = place.folder / "half", place.folder / "my.yaml"
    shutil.copytree(place.folder / "work", work)
    results = work / "results/tiny"
    done = interim(root, work, config)
    assert done.stdout.strip() == str(results / "report/index.html")
    first = json.loads(
        (results / GENERATION_1 / "generation_1_status.json").read_text()
    )
    tables = ("class_averages.hdf", "classes.star", "frc.json")
    for path in ("report", "generation_0002", *tables):
        path = results / path
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = interim(root, work, config)
    assert done.returncode == 0, done.stderr
    page = Path(done.stdout.strip())
    html = page.read_text(encoding="utf-8")
    assert (
        page.name == "interim.html" and "Done last: generation 1, accounting." in html
    )
    assert html.count('class="tile"') == first["classes"]
    shutil.rmtree(results / GENERATION_1)
    assert "Done last: working images." in interim_text(root, work, config)
    for path in ("2dalignment", "coefficients.npy", "working_stack.json"):
        path = results / path
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert "Done last: reading the particles." in interim_text(root, work, config)
    shutil.rmtree(results)
    done = interim(root, work, config)
    assert done.returncode == 1 and "nothing is there to report yet" in done.stderr


def interim_text(root, work, config):
    done = interim(root, work, config)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip()).read_text(encoding="utf-8")


def test_every_rank_has_one_thread(place):
    text = place.run("--dry-run", "--printshellcmds", *set_ranks(3), work="empty")
    calls = re.findall(r"^Shell command: (.*--ranks.*)$", text, re.M)
    assert len(calls) >= 4
    for call in calls:
        assert call.startswith("mpiexec -n 3 env OMP_NUM_THREADS=1 OPENBLAS_NUM")
        assert call.split("--ranks ")[1].startswith("3 ")


def test_the_profile_knows_every_rule_that_runs_on_ranks(root):
    text = "".join(path.read_text() for path in root.glob("workflow/rules/*.smk"))
    rules = re.split(r"^(?:rule|checkpoint) (?=\w+:)", text, flags=re.M)[1:]
    on_ranks = {r.split(":")[0] for r in rules if "mpi=True" in r}
    assert set(MPI_RULES) <= on_ranks
    for pattern in ('mpi="', "tasks=N_RANKS", "threads: N_RANKS"):
        assert on_ranks == {r.split(":")[0] for r in rules if pattern in r}
    profile = yaml.safe_load((root / "profiles/slurm/config.yaml").read_text())
    assert set(profile["set-resources"]) == on_ranks
    for resources in profile["set-resources"].values():
        assert resources["cpus_per_task"] == 1 and "srun" in resources["mpi"]


def test_one_number_says_how_many_ranks_all_rules_have(place):
    ask = ("--dry-run", "--printshellcmds", "--max-threads", "3", "--cores", "4")
    text = place.run(*ask, work="empty")
    calls = re.findall(r"^Shell command: mpiexec -n (\d+).*--ranks (\d+) ", text, re.M)
    assert calls and set(calls) == {("3", "3")}


def test_snakemake_finds_nothing_to_lint_but_what_is_meant(root):
    done = subprocess.run(
        [Path(sys.executable).with_name("snakemake"), "--lint", "text"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(r"^ +\* (.*?):?$", done.stdout + done.stderr, re.M)
    assert found or done.returncode == 0, done.stderr
    meant = (
        # What only the rules of one method use stands beside them.
        "Mixed rules and functions in same snakefile",
        # What a rule has to tell the user goes to the terminal.
        "No log directive defined",
    )
    assert [lint for lint in found if not re.match("|".join(meant), lint)] == []


# -------------------------------------------------------------- the mistakes of users


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"raduis": 15}, "runs.tiny.raduis is no option of method isac, did you mean"),
        ({"radius": "wide"}, "runs.tiny.radius = "),
        ({"main_iter": 3, "iter_reali": 2}, "must divide main_iter = 3"),
        ({"particles": "nosuch.star"}, "there is no such file, seen from "),
    ],
)
def test_a_mistake_in_the_configuration_starts_no_job(place, changes, sentence):
    config = place.configure("wrong.yaml", **changes)
    done = place.snakemake(config=config, work="wrong")
    assert done.returncode == 1
    told = [line for line in done.text.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    assert sentence in told[0]
    assert "Traceback" not in done.text
    assert not (place.folder / "wrong/results").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"radius": 20}, "radius = 20 pixel does not fit the box of 40 pixel"),
        ({"img_per_grp": 60}, "238 usable particles"),
        ({"CTF": True}, "no CTF, the columns rlnDefocusU"),
    ],
)
def test_a_mistake_that_the_import_finds_reaches_the_terminal(place, changes, sentence):
    config = place.configure("wrong.yaml", **changes)
    done = place.snakemake(config=config, work="refused")
    assert done.returncode == 1
    told = [line for line in done.text.splitlines() if line.startswith("error: ")]
    # At the start; or in the log of the job that Snakemake shows, and last of all.
    assert len(set(told)) == 1
    assert sentence in told[0]
    assert "Traceback" not in done.text
    written = [p for p in place.results("refused").rglob("[!.]*") if p.is_file()]
    about = {"estimate.json", "estimate_run.log"}
    about |= {"images.txt", "list_images.log"}
    assert {path.name for path in written} - about <= {"isac_import.log"}


def test_an_unknown_run_is_no_target(place):
    done = place.snakemake("results/tony/classes.csv")
    assert done.returncode == 1
    assert "No rule to produce results/tony/classes.csv" in done.text


@pytest.mark.parametrize(
    "target",
    [
        "generation_9999/generation_9999_accounted.txt",
        "generation_0003/round_0001/left.txt",
        "generation_0001/round_0003/left.txt",
    ],
)
def test_nothing_is_made_beyond_the_limits_of_a_run(place, target):
    done = place.snakemake("--dry-run", f"results/tiny/{target}")
    assert done.returncode == 1
    assert f"No rule to produce results/tiny/{target}" in done.text
    assert "Traceback" not in done.text


def test_one_failing_rank_ends_the_job(place, particles, tmp_path):
    work = place.folder / "broken"
    work.mkdir()
    for name in ("particles.star", "particles.mrcs"):
        (work / name).write_bytes(particles.with_name(name).read_bytes())
    config = place.configure("broken.yaml", particles="particles.star")
    place.run("results/tiny/import/import.json", config=config, work="broken")
    known = (work / "particles.mrcs").stat()
    os.truncate(work / "particles.mrcs", 1024 + 4 * 40 * 40 * 239)
    os.utime(work / "particles.mrcs", (known.st_atime, known.st_mtime))
    # Else the import would be made again, and say so first.
    done = place.snakemake("--rerun-triggers", "mtime", config=config, work="broken")
    assert done.returncode == 1
    assert "particles.mrcs: broken off, 239 whole images" in done.text
    assert not (place.results("broken") / "2dalignment/aqfinal.hdf").exists()
    log = place.results("broken") / "logs/isac_prealign.log"
    told = f"tiny: stopped: rule isac_prealign failed (prealignment), see {log}"
    assert told in done.text.splitlines()


def test_images_that_are_appended_later_join_the_classes(place, particles):
    """Here the same images again, which must join the classes of their first copies."""
    work = place.folder / "later"
    for name in ("results", ".snakemake"):
        shutil.copytree(place.folder / "work" / name, work / name)
    blocks = read_star(particles)
    rows = blocks["particles"]
    found = [int(r["class"]) for r in read_csv(place.results() / "classes.csv")]
    again = np.flatnonzero(np.array(found) >= 0)
    appended = pd.concat([rows, rows.iloc[again]], ignore_index=True)
    write_star(particles.with_name("more.star"), blocks | {"particles": appended})
    more = ISAC | {"particles": str(particles.with_name("more.star"))}
    runs = {
        "tiny": ISAC | {"particles": str(particles)},
        "more": more | {"extends": "tiny", "n_generations": 1},
    }
    place.write("more.yaml", runs)
    where = {"config": "more.yaml", "work": "later"}
    assert "isac_clusters" not in place.planned(**where)
    place.run(**where)
    assert_same_bytes(place.results(), place.results("later"))
    results = place.results("later", "more")
    extended = [int(r["class"]) for r in read_csv(results / "classes.csv")]
    assert np.all(np.array(extended)[again] == np.array(found)[again])
    late = np.array(extended[len(found) :])
    assert np.mean(late >= 0) > 0.4
    assert np.mean(late[late >= 0] == np.array(found)[again][late >= 0]) > 0.85
    assert (results / "report/index.html").exists()

    place.write(
        "more.yaml", runs | {"tiny": more, "more": runs["tiny"] | {"extends": "tiny"}}
    )
    done = place.snakemake(
        "results/more/working_stack.json", **where | {"work": "wrong_way"}
    )
    assert done.returncode == 1
    assert "append new particles to the end of the earlier table" in done.text


def test_images_are_inputs(place, particles):
    """Other images under the same name make all again, and lost files themselves."""
    work = place.folder / "inputs"
    work.mkdir()
    for name in ("particles.star", "particles.mrcs"):
        shutil.copy(particles.with_name(name), work)
    short = {"max_round": 1, "n_generations": 1}
    config = place.configure("inputs.yaml", particles="particles.star", **short)
    place.run(config=config, work="inputs")
    assert place.planned(config=config, work="inputs") == {}
    whole = place.configure(
        "whole.yaml", particles=str(work / "particles.star"), **short
    )
    assert place.planned(config=whole, work="inputs") == {}
    elsewhere = place.folder / "inputs_moved"
    work.rename(elsewhere)
    moved = {"config": config, "work": "inputs_moved"}
    assert place.planned(**moved) == {}
    place.run("full_size", **moved)
    assert set(place.planned(**moved)) == {"isac_report", "all"}  # which shows them
    place.run(**moved)
    results = place.results("inputs_moved")

    for name, rule in (
        ("classes.csv", "isac_class_averages"),
        ("coefficients.npy", "isac_shrink"),
        ("generation_0001/round_0001/left.txt", "isac_candidates_round"),
    ):
        (results / name).rename(results / "kept")
        assert place.planned(**moved)[rule] == 1
        (results / "kept").rename(results / name)

    pixels = mrcfile.mmap(elsewhere / "particles.mrcs", "r+")
    pixels.data[:] *= -1
    pixels.close()
    for target in ([], ["full_size"]):
        assert "isac_import" in place.planned(*target, **moved)
    (elsewhere / "particles.mrcs").unlink()
    text = place.run(**moved)
    assert "tiny: the images are gone; results are kept as they are" in text
    assert "Nothing to be done" in text


def test_options_are_compared_where_the_records_are_gone(place):
    target = "results/tiny/estimate.json"
    place.run(target, work="forgotten")
    other = place.configure("other.yaml", thld_err=0.4)
    assert place.planned(target, config=other, work="forgotten")["estimate_run"] == 1
    records = place.folder / "forgotten/.snakemake"
    records.rename(place.folder / "forgotten/kept")
    assert place.planned(target, work="forgotten") == {}
    done = place.snakemake(target, config=other, work="forgotten")
    assert done.returncode == 1
    assert "runs.tiny.thld_err = 0.4: results/tiny was made with 0.3" in done.text


HOSTILE = (
    "a$(touch PWNED)`touch PWNED`;touch PWNED;&touch PWNED&|touch PWNED>PWNED",
    """it's "quoted" '$(touch PWNED)' "$(touch PWNED)" \\$(touch PWNED)' """,
)
STUB = """#!/bin/sh
for word in "$@"; do printf '%s\\0' "$word"; done >> "$ARGUMENTS"
"""


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_of_a_file_is_a_command(place, tmp_path, name):
    """In every place that takes one; the commands run with programs that do nothing."""
    work = place.folder / f"hostile_{HOSTILE.index(name)}"
    work.mkdir()
    shutil.copytree(place.folder / "work/results", work / "results")
    shutil.copytree(place.folder / "work/.snakemake", work / ".snakemake")
    given = {
        key: f"{key}{name}{suffix}"
        for key, suffix in (
            *(("particles", ".star"), ("selection", ".yaml"), ("tilted", ".star")),
            *(("mask", ".em"), ("focus_mask", ".em"), ("ccc", ".csv")),
        )
    }
    for file in given.values():
        (work / file).touch()
    flat = {key: given[key] for key in ("selection", "tilted")}
    cubes = {key: given[key] for key in ("particles", "mask", "focus_mask", "ccc")}
    cubes |= {"selection": given["selection"], "wedge": {"angles": [30, 30]}}
    tiny = ISAC | {"particles": str(place.particles)} | flat
    place.write(
        "hostile.yaml",
        {
            "tiny": tiny,
            "other": ISAC | {"particles": given["particles"]},
            "cubes": {"method": "cpca", "lowpass": 5, "nclass": 2} | cubes,
        },
    )
    targets = [
        *(
            "results/tiny/selected/isacselect.txt",
            "results/tiny/rct/class_0001/tilted.txt",
        ),
        *("results/other/import/import.json", "results/other/estimate.json"),
        *("results/cubes/selected/filtered_pl.xml", "results/cubes/estimate.json"),
    ]
    text = place.run(
        "--dry-run", "--printshellcmds", *targets, config="hostile.yaml", work=work.name
    )
    commands = re.findall(r"^Shell command: (.*CRYOKIN.*)$", text, re.M)
    assert len(commands) >= 8
    for program in ("python", "mpiexec", "env"):
        (tmp_path / program).write_text(STUB)
        (tmp_path / program).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "CRYOKIN": "none",
        "ARGUMENTS": str(tmp_path / "arguments"),
    }
    for command in commands:
        for output in re.findall(r"> (results/\S+)", command):
            (work / output).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["bash", "-c", command], cwd=work, env=environment, check=False)
    assert list(place.folder.rglob("*PWNED")) == []
    words = (tmp_path / "arguments").read_text().split("\0")
    options = [json.loads(word) for word in words if word.startswith("{")]
    for key, file in given.items():
        inside = any(option.get(key) == file for option in options)
        assert inside or file in words, key


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_an_interrupt_is_told_as_one(place, number):
    """By Ctrl-C or by closing the terminal, and no process outlives the call."""
    log = place.folder / "interrupted.log"
    work = f"interrupted_{number.name}"
    begun = place.results(work) / "logs/isac_prealign.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            place.command(work=work),
            cwd=place.folder,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        while not begun.exists() or not begun.stat().st_size:
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, number)
        assert process.wait(timeout=300) == 1
    with pytest.raises(ProcessLookupError):  # the group is empty
        for _ in range(50):
            os.killpg(process.pid, 0)
            time.sleep(0.1)
    text = log.read_text()
    assert re.search("tiny: interrupted in [^;]*; the same command goes on", text)
    assert "Traceback" not in text
    # Snakemake's lock went with it.
    assert place.planned(work=work)


def test_a_launcher_of_another_mpi_is_noticed(root, tmp_path):
    """Started alone, as by a launcher that does not know the library in use."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mpi4py"),
            *(str(root / "workflow/scripts/run.py"), "isac_phase_flip"),
            *("--images", "none.npz", "--flipped", "out.mrcs", "--ranks", "3"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "error: started with 1 MPI ranks, expected 3" in done.stderr
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------ what it will take


def test_an_estimate_needs_no_run_and_holds_for_it(place):
    text = place.run("estimate", work="estimated")
    assert "tiny: isac, 240 images in boxes of 40" in text
    assert "generations that follow from it" in text
    results = place.results("estimated")
    made = load_estimate(results / "estimate.json")
    assert not (results / "import").exists()
    # The run that was made has the same estimate, whatever it was asked for.
    same = place.results() / "estimate.json"
    assert same.read_bytes() == (results / "estimate.json").read_bytes()
    results_of_it = place.results()
    used = {rule.rule: rule for rule in usage(results_of_it)}
    assert set(used) - {"isac_report"} == {rule.rule for rule in made.rules} - {
        "isac_report"
    }
    for rule in used.values():
        assert rule.estimate is not None
        assert list(results_of_it.glob(STEPS[rule.rule].leaves or "*"))
        assert rule.jobs <= rule.estimate.jobs.high or rule.estimate.jobs.high == 1
        assert rule.ranks == (2 if rule.estimate.parallel else 1)
        assert rule.cpu_seconds > 0
        assert rule.memory_mb > 0


def test_the_estimate_tells_the_ranks_of_the_profile(place):
    text = place.run("estimate", *set_ranks(7), work="estimated")
    row = next(line for line in text.splitlines() if line.startswith("  isac_prealign"))
    assert row.split()[-5] == "7"


# ---------------------------------------------------------------------------- progress


def progress_lines(text):
    return [line for line in text.splitlines() if line.startswith("tiny: ")]


def test_a_run_says_where_it_is_also_after_a_kill(place):
    work, target = "progress", "results/tiny/generation_0001/round_0001/left.txt"
    process = subprocess.Popen(
        place.command(work=work),
        cwd=place.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        told = next(line for line in process.stderr if "prealignment" in line)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
    assert re.fullmatch(r"tiny: prealignment: .* left\n", told)
    # A quick machine may have come further than what is asked for.
    shutil.rmtree(place.results(work) / "generation_0001", ignore_errors=True)
    place.run("--unlock", work=work)
    asked = progress_lines(place.run(target, work=work))
    assert asked[-1].startswith("tiny: done as far as asked, next: generation 1, ")
    text = progress_lines(place.run(work=work))
    assert "tiny: tables of all classes: " in "\n".join(text)
    rows = read_csv(place.results(work) / "classes.csv")
    accounted = np.mean([int(row["class"]) >= 0 for row in rows])
    assert text[-1].startswith("tiny: next, to pick classes: ")
    assert f"particles ({100 * accounted:.0f} %); the report: " in text[-2]
    # What tells of a run is nothing that it is made of.
    assert place.planned(work=work) == {}
