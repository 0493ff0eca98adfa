"""Subtomograms through the workflow: real Snakemake, real MPI, small sets."""

import csv
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import yaml

from cryokin.io.em import read_em, read_header
from cryokin.io.pytom_xml import read_particle_list
from cryokin.io.star import read_star, write_star
from cryokin.partition.agreement import adjusted_rand_index
from cryokin.simulate.volumes import simulate_volumes, write_volume_set
from places import SUBTOMOGRAMS, VOLUMES, Place, assert_same_bytes, kill_after
from reports import dead_links

pytestmark = pytest.mark.slow

RUNS = {
    "components": SUBTOMOGRAMS | {"method": "cpca", "reproducible": {"runs": 2}},
    "maximised": SUBTOMOGRAMS
    | {
        "method": "mco_exmx",
        "nclass": 3,
        "starts": 3,
        "merge": {"number": 2},
        "select": {"classes": [1]},
    },
    "annealed": SUBTOMOGRAMS
    | {"method": "mco_ac", "starts": 1, "temperature_step": 0.5},
}
METHOD = {"maximised": "mco_exmx", "annealed": "mco_ac"}
MPI_RULES = (
    *("pytom_prepare", "ccc_matrix", "mco_exmx_starts", "mco_ac_round"),
    *("mco_exmx", "pytom_reproducible", "hierarchical_merge", "pytom_class_averages"),
    "pytom_differences",
)


@pytest.fixture(scope="module")
def place(root, tmp_path_factory):
    """A folder whose folder ``work`` holds finished runs of all methods on 2 ranks."""
    folder = tmp_path_factory.mktemp("place")
    made = simulate_volumes(VOLUMES)
    write_volume_set(folder / "set", made)
    blocks = read_star(folder / "set/particles.star")
    blocks["particles"]["myNote"] = [f"note {i % 7}" for i in range(len(made.labels))]
    write_star(folder / "set/particles.star", blocks)
    place = Place(root, folder, folder / "set/particles.star")
    place.write("my.yaml", RUNS)
    place.run()
    place.truth = made.labels
    return place


def labels(path):
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [int(row["particle_id"]) for row in rows] == list(range(1, len(rows) + 1))
    return np.array([int(row["class"]) for row in rows])


@pytest.mark.parametrize("run", ["components", "annealed"])
def test_the_truth_is_recovered(place, run):
    found = labels(place.results(run=run) / "classes.csv")
    accounted = found >= 0
    assert accounted.mean() > 0.8
    truth = place.truth[accounted]
    assert adjusted_rand_index(found[accounted], truth) > 0.85


def test_the_truth_is_recovered_by_merging_what_was_split_too_far(place):
    found = labels(place.results(run="maximised") / "merged/classes.csv")
    assert adjusted_rand_index(found, place.truth) > 0.6


@pytest.mark.parametrize("run", RUNS)
def test_lists_tables_and_averages_say_the_same(place, run):
    results = place.results(run=run)
    found = labels(results / "classes.csv")
    listed = read_particle_list(results / "classified.xml")
    assert [p.label for p in listed] == [str(c) for c in found]
    table = read_star(results / "classified.star")["particles"]
    given = read_star(place.particles)["particles"]
    assert set(given) < set(table)
    assert table["myNote"].tolist() == given["myNote"].tolist()
    assert table["rlnClassNumber"].astype(int).tolist() == found.tolist()
    described = json.loads((results / "classes.json").read_text())
    for entry in described["classes"]:
        assert entry["n"] == (found == entry["class"]).sum()
        assert entry["em"] == f"class_averages/class_{entry['class']}.em"
        volume = read_em(results / entry["em"])
        assert read_header(results / entry["em"]).pixel_size == VOLUMES.pixel_size
        with mrcfile.open(results / entry["mrc"]) as mrc:
            np.testing.assert_array_equal(mrc.data, volume)
            assert mrc.voxel_size.z == VOLUMES.pixel_size
            assert mrc.is_volume()
    assert described["unaccounted"] == (found < 0).sum()


def test_all_files_of_the_manual_are_there(place):
    names = {
        "maximised": [
            *("correlation_matrix.h5", "eigen.json", "coefficients.npy"),
            *("exmx.json", "merge.json"),
            *("iterations/RandomisedParticleList.xml",),
            *("iterations/0/classifiedParticles.xml",),
            *("iterations/0/class0/clusterCenter0-0.em",),
            *("merged/classAverageList.xml", "merged/correlationMatrix.em"),
            *("merged/correlationMatrix-R.txt", "merged/classified.xml"),
            *("selected/filtered_pl.xml", "selected/filteredIniRef.em"),
        ],
        "annealed": [
            *("annealing.json", "annealing/currentBestParticleList.xml"),
            *("annealing/0/swapList.xml", "annealing/1/currentBestParticleList.xml"),
            *("annealing/1/class0/clusterCenter1-0.em",),
        ],
        "components": [
            *("correlation_matrix.csv", "correlation_matrix.h5", "eigen.json"),
            *("eigenvolumes/eigenvolume_1.em", "eigenvolumes/eigenvolume_4.mrc"),
            *("coefficients.npy", "reproducible.json"),
        ],
    }
    for run, files in names.items():
        assert [f for f in files if not (place.results(run=run) / f).exists()] == []


@pytest.mark.parametrize("run", RUNS)
def test_the_report_leads_to_files_that_are_there(place, run):
    report = place.results(run=run) / "report"
    assert dead_links(report / "index.html") == []
    opened = re.findall('open "([^"]+)"', (report / "classes.cxc").read_text())
    assert len(opened) > 1
    assert all((report / name).is_file() for name in opened)


@pytest.mark.parametrize(
    ("run", "folder"), [("maximised", "iterations"), ("annealed", "annealing")]
)
def test_scores_stand_in_the_lists(place, run, folder):
    """And those of the last iteration against every class, as the lists of PyTom."""
    results = place.results(run=run)
    final = read_particle_list(results / "classified.xml")
    own = np.array([p.score.value for p in final])
    assert np.ptp(own) > 0
    np.testing.assert_array_equal(np.load(results / METHOD[run] / "scores.npy"), own)
    last = max((p for p in (results / folder).iterdir() if p.is_dir()), key=by_number)
    ended = read_particle_list(last / "classifiedParticles.xml")
    lists = {p.stem[13:]: result_scores(p) for p in last.glob("AlignmentList*.xml")}
    for i, particle in enumerate(ended):
        assert particle.score.value == lists[particle.label][i]
        if run == "maximised":
            best = max(lists, key=lambda c: lists[c][i])
            assert lists[best][i] == particle.score.value


def by_number(path):
    return int(path.name)


def result_scores(path):
    """Return the scores of the results of an alignment list."""
    results = ET.parse(path).getroot().iterfind("Result")
    return [float(result.find("Score").get("Value")) for result in results]


def test_the_matrix_says_what_it_is_of(place):
    text = (place.results(run="components") / "correlation_matrix.csv").read_text()
    assert text.startswith("# correlations of residuals")


def test_the_components_tell_of_pose_errors_and_of_masking_once(place):
    eigen = json.loads((place.results(run="components") / "eigen.json").read_text())
    assert eigen["masking"]["n"] == 32
    assert 0 < eigen["masking"]["rms"] < eigen["masking"]["largest"] < 0.5
    assert len(eigen["eigenvalues_before"]) == len(eigen["spectrum"])


def test_selected_particles_are_those_of_the_class(place):
    results = place.results(run="maximised")
    merged = labels(results / "merged/classes.csv")
    files = [p.file for p in read_particle_list(results / "classified.xml")]
    selected = read_particle_list(results / "selected/filtered_pl.xml")
    expected = [file for file, c in zip(files, merged, strict=True) if c == 1]
    assert [p.file for p in selected] == expected
    page = results / "selected/index.html"
    assert dead_links(page) == []
    text = page.read_text(encoding="utf-8")
    assert f'id="n-particles">{len(expected)}<small> of {len(files)}<' in text
    assert text.count("<img") == 2  # of all that is kept, and of the one class


@pytest.mark.parametrize(
    ("ranks", "runs"), [(1, list(RUNS)), (3, ["maximised"]), (4, ["annealed"])]
)
def test_any_number_of_ranks_gives_the_same_bytes(place, ranks, runs):
    name, work = f"ranks_{ranks}.yaml", f"ranks_{ranks}"
    place.write(name, {run: RUNS[run] for run in runs})
    tasks = [f"{rule}:tasks={ranks}" for rule in MPI_RULES]
    place.run("--set-resources", *tasks, config=name, work=work)
    for run in runs:
        assert_same_bytes(place.results(run=run), place.results(work, run))


def test_the_same_command_goes_on_after_a_kill(place):
    """Killed while files are made of which the next step must find all or none."""
    run = "annealed"
    place.write("killed.yaml", {run: RUNS[run]})
    results = place.results("killed", run)
    moments = (
        results / "logs/pytom_prepare.log",
        results / "logs/ccc_matrix.log",
        results / "logs/mco_ac_round/0001.log",
        results / "logs/pytom_class_averages.log",
    )
    command = place.command(config="killed.yaml", work="killed")
    for log in moments:
        kill_after(command, place.folder, lambda log=log: log.exists(), 0.3)
        assert not (results / "classes.csv").exists()
        place.run("--unlock", config="killed.yaml", work="killed")
    place.run(config="killed.yaml", work="killed")
    assert_same_bytes(place.results(run=run), results)


def test_a_finished_run_has_nothing_to_do(place):
    assert place.planned() == {}


# What a change of these options makes again, besides the estimate and the page.
SELECTING = {"hierarchical_merge", "select_classes"}
FROM_CLASSES_ON = {"pytom_class_averages", "pytom_differences"}
EXMX = {"mco_exmx_starts", "mco_exmx"}
ANNEALING = {"mco_ac_round", "mco_ac"}


@pytest.mark.parametrize(
    ("run", "change", "again"),
    [
        ("maximised", {"nclass": 4}, {"kmeans"} | EXMX | FROM_CLASSES_ON | SELECTING),
        (
            "maximised",
            {"rand_seed": 4},
            {"eigen_projection", "kmeans"} | EXMX | FROM_CLASSES_ON | SELECTING,
        ),
        ("maximised", {"starts": 4}, EXMX | FROM_CLASSES_ON | SELECTING),
        ("maximised", {"merge": {"height": 9.5}}, SELECTING),
        ("components", {"nclass": 3}, {"pytom_reproducible"} | FROM_CLASSES_ON),
        ("components", {"neig": 3}, {"eigen_projection"}),
        ("annealed", {"temperature_step": 1.0}, ANNEALING | FROM_CLASSES_ON),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, dict) else None,
)
def test_a_change_makes_again_what_depends_on_it(place, run, change, again):
    place.write("changed.yaml", RUNS | {run: RUNS[run] | change})
    planned = place.planned(config="changed.yaml").keys()
    assert planned == again | {"estimate_run", "pytom_report", "all"}


@pytest.mark.parametrize(
    ("file", "last"),
    [
        ("correlation_matrix.h5", "ccc_matrix"),
        ("prepared/prepared.json", "pytom_prepare"),
        ("estimate.json", "estimate_run"),
    ],
)
def test_a_file_makes_what_it_needs_and_no_more(place, file, last):
    order = ["list_images", "pytom_import", "pytom_prepare", "ccc_matrix"]
    needed = order[: order.index(last) + 1] if last in order else [last]
    planned = place.planned(f"results/components/{file}", work="empty")
    assert planned == dict.fromkeys(needed, 1)


@pytest.mark.parametrize("work", ["work", "empty"])
@pytest.mark.parametrize("option", ["--dag", "--rulegraph", "--summary"])
def test_runs_can_be_looked_at_before_and_after(place, work, option):
    assert "ccc_matrix" in place.run(option, work=work)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"wedge": None}, "no column rlnCtfImage"),
        ({"mask": {"sphere": {"radius": 10}}}, "does not fit the box"),
        ({"nclass": 51}, "too few for nclass"),
        ({"lowpass": 11}, "beyond half the box"),
        ({"particles": "../set/flat.star"}, "leave 'wedge' out"),
    ],
)
def test_mistakes_give_one_sentence(place, change, sentence):
    blocks = read_star(place.particles)
    blocks["optics"]["rlnTomoSubTomosAre2DStacks"] = "1"
    write_star(place.folder / "set/flat.star", blocks)
    name = f"wrong_{next(iter(change))}.yaml"
    place.write(name, {"wrong": SUBTOMOGRAMS | {"method": "cpca"} | change})
    target = "results/wrong/prepared/prepared.json"
    done = place.snakemake(target, config=name, work=f"work_{name}")
    assert done.returncode != 0
    told = [line.strip() for line in done.text.splitlines() if "error: " in line]
    assert any(line.startswith("error: ") and sentence in line for line in told), told
    assert "Traceback" not in done.text


def test_pytoms_own_example(root, shared, tmp_path):
    """The matrix, and the classes of both iterations of EXMX, are PyTom's."""
    data = shared / "data/pytom_small2"
    common = {
        "mask": str(data / "mask.em"),
        "lowpass": 12,
        "nclass": 2,
        "compat": "pytom",
    }
    first = {"method": "cpca", "exact": True, "neig": 2}
    second = {"method": "mco_exmx", "start_from": "labels", "iterations": 2}
    third = {"method": "mco_ac", "start_from": "labels", "local_iterations": 1}
    third |= {"temperature": 1, "temperature_step": 1}
    place = Place(root, tmp_path, None)
    place.write(
        "my.yaml",
        {
            "cpca": common | first | {"particles": str(data / "particleList.xml")},
            "exmx": common
            | second
            | {"particles": str(data / "particleList_rand0.xml")},
            "ac": common | third | {"particles": str(data / "particleList_rand0.xml")},
        },
    )
    targets = ("results/cpca/classes.csv", "results/cpca/correlation_matrix.csv")
    place.run(*targets, "results/exmx/exmx.json", "results/ac/annealing.json")
    matrix = np.loadtxt(
        place.results(run="cpca") / "correlation_matrix.csv", delimiter=","
    )
    expected = np.loadtxt(data / "expected/correlation_matrix.csv", delimiter=",")
    np.testing.assert_allclose(matrix, expected, atol=1e-4)
    theirs = read_particle_list(data / "expected/cpca_classified.xml")
    assert (
        adjusted_rand_index(
            labels(place.results(run="cpca") / "classes.csv"),
            np.array([int(p.label) for p in theirs]),
        )
        == 1
    )
    for i in "01":
        name = f"{i}/classifiedParticles.xml"
        ours = read_particle_list(place.results(run="exmx") / "iterations" / name)
        theirs = read_particle_list(data / "expected/exmx_rand0" / name)
        assert [p.label for p in ours] == [p.label for p in theirs]
        files = [[Path(p.file).name for p in part] for part in (ours, theirs)]
        assert files[0] == files[1]
    # A round of annealing begins with an iteration of EXMX.
    name = "0/classifiedParticles.xml"
    ours = by_file(place.results(run="ac") / "annealing" / name)
    theirs = by_file(data / "expected/exmx_rand0" / name)
    assert adjusted_rand_index(ours, theirs) == 1


def by_file(path):
    """Return the classes of a list in the order of its files."""
    listed = sorted(read_particle_list(path), key=lambda p: Path(p.file).name)
    return np.array([int(p.label) for p in listed])


def test_an_old_job_becomes_a_run(root, shared, tmp_path):
    job = tmp_path / "class.xml"
    data = shared / "data/pytom_small2"
    job.write_bytes((data / "ac_rand0.job.xml").read_bytes())
    (tmp_path / "mask.em").write_bytes((data / "mask.em").read_bytes())
    script = root / "workflow/scripts/pytom_job.py"
    done = subprocess.run(
        [sys.executable, script, job],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(root / "src")},
    )
    run = yaml.safe_load(done.stdout)["runs"]["job"]
    assert run["method"] == "mco_ac"
    assert (run["lowpass"], run["temperature"], run["nclass"]) == (12, 2, 2)
    assert len(read_particle_list(run["particles"])) > 0


def test_lost_results_and_changed_volumes_are_made_again(place):
    """Each of its own: the file goes away, a dry run says what would be made."""
    results = place.results(run="components")
    assert place.planned() == {}
    for name, rule in (
        ("classes.csv", "pytom_class_averages"),
        ("correlation_matrix.h5", "ccc_matrix"),
        ("import/particles.xml", "pytom_import"),
        ("reproducible.json", "pytom_reproducible"),
    ):
        (results / name).rename(place.folder / "kept")
        try:
            assert rule in place.planned(), name
        finally:
            (place.folder / "kept").rename(results / name)
    volume = next((place.folder / "set").rglob("*.mrc"))
    known, pixels = volume.stat(), volume.read_bytes()
    volume.write_bytes(pixels[:-4] + bytes(4))
    assert place.planned()["pytom_import"] == len(RUNS)
    volume.write_bytes(pixels)  # touched alone is not changed
    assert place.planned() == {}
    os.utime(volume, ns=(known.st_atime_ns, known.st_mtime_ns))
