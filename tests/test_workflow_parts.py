"""What rules take from the library, and the workflow as a part of something else."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from cryokin import workflow as plan
from cryokin.config import load_runs
from cryokin.errors import InputError


def images(particles="p.star", **given):
    """Return the options of a run of ISAC."""
    run = {"method": "isac", "particles": "p.star", "radius": 20} | given
    return replace(load_runs({"runs": {"it": run}})["it"], particles=particles)


def volumes(particles="p.star", **given):
    """Return the options of a run for subtomograms."""
    run = {"method": "mco_exmx", "particles": "p.star", "mask": "mask.em"}
    run |= {"lowpass": 9, "nclass": 2} | given
    return replace(load_runs({"runs": {"it": run}})["it"], particles=particles)


ALL = {"n_generations": 3, "max_round": 12}
RUNS = {
    "all": images(**ALL),
    "rest": images(particles="run:all/unaccounted"),
    "kept": images(particles="run:all/selected"),
    "solid": volumes(start_from="random"),
    "inner": volumes(particles="run:solid/class/7"),
}
SLABS = {
    "slabs": images(slab=100, select={"size": 9}),
    "more": images(particles="run:slabs/unaccounted"),
    "kept": volumes(particles="run:slabs/selected"),
    "one": volumes(particles="run:more/class/7"),
}


def test_patterns_match_what_there_is_and_nothing_else():
    assert plan.pattern(["a-b", "c"]) == r"a\-b|c"
    assert plan.pattern([]) == "(?!)"
    runs = {"all": RUNS["all"], "solid": RUNS["solid"]}
    assert plan.numbers(runs, "n_generations", "{:04d}") == "0001|0002|0003"
    assert plan.numbers({}, "n_generations", "{:04d}") == "(?!)"


def test_particles_are_a_file_or_a_list_of_another_run():
    assert plan.particles_of("all", RUNS) == "p.star"
    assert plan.particles_of("rest", RUNS) == "results/all/subsets/unaccounted.star"
    selected = "results/all/selected/particles_selected.star"
    assert plan.particles_of("kept", RUNS) == selected
    assert plan.particles_of("inner", RUNS) == "results/solid/subsets/class_0007.xml"
    assert plan.countable(RUNS) == ["all", "solid"]


def test_behind_slabs_there_are_subtomograms():
    kept = "results/slabs/subtomograms/selected.star"
    assert plan.of_slabs(SLABS) == {"slabs": "slabs", "more": "slabs"}
    assert plan.of_slabs(RUNS) == {}
    assert plan.particles_of("more", SLABS) == "results/slabs/subsets/unaccounted.star"
    assert plan.particles_of("kept", SLABS) == kept
    name = "results/more/subtomograms/class_0007"
    assert plan.particles_of("one", SLABS) == f"{name}.star"
    listed = SLABS | {"slabs": replace(SLABS["slabs"], particles="p.xml")}
    assert plan.particles_of("one", listed) == f"{name}.xml"
    assert kept in plan.selected_particles(SLABS)


@pytest.mark.parametrize(
    ("particles", "needed"),
    [("p.star", True), ("P.CS", True), ("made.star", False), ("stack.mrcs", False)],
)
def test_tables_alone_have_images_in_other_files(particles, needed):
    options = images(particles=particles)
    assert plan.needs_images(options, ["made.star"]) == needed


def test_a_file_that_is_missing_is_told_before_the_import(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = {"a": volumes()}
    with pytest.raises(InputError, match=r"runs\.a\.particles = p\.star: there is no"):
        plan.check(runs, [])
    with pytest.raises(InputError, match=r"runs\.a\.mask = mask\.em: there is no"):
        plan.check(runs, ["p.star"])
    Path("results/a/import").mkdir(parents=True)
    Path("results/a/import/import.json").touch()
    plan.check(runs, [])
    runs = {"all": RUNS["all"], "kept": RUNS["kept"]}
    with pytest.raises(InputError, match="nothing says which classes of run all"):
        plan.check(runs, ["p.star"])
    Path("config/selection").mkdir(parents=True)
    Path("config/selection/all.yaml").touch()
    plan.check(runs, ["p.star"])
    assert plan.selection_needed("all", RUNS) == ["config/selection/all.yaml"]
    assert plan.selected_particles(RUNS) == [plan.particles_of("kept", RUNS)]
    with pytest.raises(InputError, match=r"set runs\.solid\.select"):
        plan.selection_needed("solid", RUNS)


def test_a_run_can_have_several_selections(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("config/selection")
    folder.mkdir(parents=True)
    runs = {"all": RUNS["all"], "best": images(particles="run:all/selected.top_1")}
    with pytest.raises(InputError, match=r"as config/selection/all\.top_1\.yaml\.$"):
        plan.check(runs, ["p.star"])
    for name in ("all.top_1.yaml", "all.junk.yaml", "all-1.top.yaml", "all.a.b.yaml"):
        (folder / name).touch()
    plan.check(runs, ["p.star"])
    (file,) = plan.selection_needed("all", runs, "selected.top_1")
    assert file == "config/selection/all.top_1.yaml"
    junk = "results/all/selected.junk/particles_selected.star"
    assert plan.selected_particles(runs) == [junk, plan.particles_of("best", runs)]
    # The one without a name is not made by those that have one.
    assert not plan.is_selected("all", runs)


def test_images_can_be_lost_when_they_were_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("results/a/import")
    folder.mkdir(parents=True)
    (folder / "images.txt").write_text("here.mrcs\ngone.mrcs\n")
    Path("here.mrcs").touch()
    assert plan.lost_images("a") == plan.lost_images("b") == []
    (folder / "import.json").touch()
    assert plan.lost_images("a") == ["gone.mrcs"]


def test_a_round_starts_from_what_the_one_before_left():
    before = "results/all/generation_0001/generation_1_unaccounted.txt"
    assert plan.left_over("all", 2, 1) == plan.pool("all", 2) == before
    third = "results/all/generation_0002/round_0002/left.txt"
    assert plan.left_over("all", 2, 3) == third
    assert plan.same_generation("0002", "2") == 2
    with pytest.raises(InputError, match="generation_0002 holds no file of"):
        plan.same_generation("0002", "1")


@pytest.mark.parametrize(
    ("changes", "folder"),
    [
        ({}, "mco_exmx"),
        ({"reproducible": {"runs": 3}}, "reproducible"),
        ({"merge": {"number": 2}}, "merged"),
    ],
)
def test_labels_are_of_the_last_step_that_there_is(changes, folder):
    options = volumes(**changes)
    assert plan.labels("x", options, merged=True) == f"results/x/{folder}/labels.npy"
    assert "merged" not in plan.labels("x", options)
    assert ("merged" in plan.report_files("x", options)) == bool(options.merge)


def test_rounds_of_annealing_follow_each_other():
    options = volumes(method="mco_ac", temperature=10, temperature_step=4)
    _, second, _ = plan.annealing_rounds("x", options)
    assert plan.annealing_before("x", options, 0) == []
    assert plan.annealing_before("x", options, 2) == [second]
    with pytest.raises(InputError, match="there are 3 rounds only"):
        plan.annealing_before("x", options, 3)


def test_starts_of_a_run_share_jobs():
    some = {"start_from": "random", "starts_per_job": 25}
    made = plan.exmx_starts("x", volumes(starts=26, **some))
    assert [Path(name).name for name in made] == ["starts_0000.npz", "starts_0001.npz"]
    by_pytom = volumes(compat="pytom", start_from="labels")
    assert plan.exmx_starts("x", by_pytom) == []


def test_a_job_that_failed_gets_more():
    class Input:
        size_mb = 100

    of_job = plan.memory(50, 2, 1)
    assert of_job(None, Input, 4, 1) == 4 * (50 + 100) + 2 * 100
    assert of_job(None, Input, 4, 3) == 2 * of_job(None, Input, 4, 1)
    assert plan.minutes(30, 1000)(None, Input, 2) == 2 * (30 + 100)


@pytest.mark.parametrize("name", ["plain", "a {b} 'c' $d"])
def test_commands_find_programs_and_library(name, tmp_path):
    """Whatever the folders are called; with the environment's own, if it has some."""
    home = tmp_path / name
    home.mkdir()
    told = 'printf "%s\\n" "$CRYOKIN" "$PATH" "$PYTHONPATH"'
    for beside in (home / "bin", None):
        command = plan.prefix(home, beside).format() + told
        done = subprocess.run(
            ["/bin/bash", "-c", command],
            env={"PATH": "/usr/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        first = f"{beside}:" if beside else ""
        lines = [str(home), f"{first}/usr/bin", f"{home}/src"]
        assert done.stdout.splitlines() == lines


# ------------------------------------------------------- a part of something else

#: What the rules need and Snakemake does not, and its plugin that needs some of it.
NOT_ALONE = ("cryokin", "numpy", "scipy", "pandas", "h5py", "mrcfile", "mpi4py")
NOT_ALONE += ("matplotlib", "snakemake_executor_plugin_slurm", "__editable__")


@pytest.fixture
def alone(tmp_path):
    """Call Snakemake where nothing else is installed."""
    packages, programs = tmp_path / "packages", tmp_path / "bin"
    packages.mkdir()
    programs.mkdir()
    for path in Path(pytest.__file__).parents[1].iterdir():
        if not path.name.startswith(NOT_ALONE):
            (packages / path.name).symlink_to(path)

    def call(*arguments):
        done = subprocess.run(
            # Without what is installed, hence without cryokin.
            [sys.executable, "-S", "-m", "snakemake", *arguments],
            cwd=tmp_path,
            env={
                "PATH": f"{programs}:/usr/bin:/bin",
                "HOME": tmp_path,
                "PYTHONPATH": packages,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return call


@pytest.fixture
def example(root):
    return yaml.safe_load((root / "config/config.yaml").read_text())


@pytest.mark.slow
def test_snakemake_alone_plans_the_example(root, alone):
    snakefile = ["--snakefile", root / "Snakefile"]
    config = ["--configfile", root / "config/config.yaml"]
    text = alone("-n", "--cores", "2", *snakefile, *config)
    for rule in ("isac_report", "pytom_report"):
        assert f"{rule} " in text


#: In place of conda: an environment is a link to the one that the tests run in.
CONDA = """#!/bin/bash
here=$(dirname "$(dirname "$0")")
case "$*" in
  --version) echo "conda 24.11.0" ;;
  info*) echo '{{"conda_prefix": "'$here'", "platform": "linux-64"}}' ;;
  config*) echo '{{"get": {{"channel_priority": "strict"}}}}' ;;
  "env create"*) ln -s {prefix} "${{@: -1}}" ;;
esac
"""
ACTIVATE = 'export PATH="$1/bin:$PATH"\n'


@pytest.mark.slow
def test_jobs_have_environments_of_conda(root, tmp_path, alone):
    """Snakemake alone cannot run them."""
    for name, text in (("conda", CONDA), ("activate", ACTIVATE)):
        (tmp_path / "bin" / name).write_text(text.format(prefix=sys.prefix))
        (tmp_path / "bin" / name).chmod(0o755)
    snakefile = ["--snakefile", root / "Snakefile"]
    config = ["--configfile", root / "config/config.yaml"]
    target = "resources/demo_2d/particles.star"
    text = alone(target, "--sdm", "conda", "--cores", "2", *snakefile, *config)
    assert "Activating conda environment" in text
    assert (tmp_path / target).is_file()


@pytest.mark.slow
def test_the_workflow_is_a_module_of_another(root, tmp_path, alone, example):
    """Planned by Snakemake alone; what runs is found wherever the workflow is."""
    (tmp_path / "Snakefile").write_text(
        f"""
configfile: "mine.yaml"

module cryokin:
    snakefile: "{root}/Snakefile"
    config: config["cryokin"]

use rule * from cryokin as cryokin_*

rule mine:
    default_target: True
    input: rules.cryokin_all.input
"""
    )
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"cryokin": example}))
    text = alone("-n", "--cores", "2")
    for rule in ("mine", "cryokin_isac_report", "cryokin_pytom_report"):
        assert f"{rule} " in text
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("snakemake"), "--cores", "2"),
            "resources/demo_2d/particles.star",
        ],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "resources/demo_2d/particles.star").is_file()


def test_the_container_is_made_of_what_there_is(root):
    lines = (root / "Dockerfile").read_text().splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ")]
    let_in = (root / ".dockerignore").read_text().splitlines()
    for name in (name for names in copied for name in names):
        assert (root / name).exists()
        assert f"!{name}" in let_in


def test_the_catalog_and_the_integration_call_what_there_is(root):
    yaml.safe_load((root / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    jobs = yaml.safe_load((root / ".github/workflows/ci.yml").read_text())["jobs"]
    called = [step["run"] for step in jobs["test"]["steps"] if "run" in step]
    assert "bash .ci/run" in called and (root / ".ci/run").is_file()
