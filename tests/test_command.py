"""The command ``cryokin``: a first configuration, and calls that go on."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from cryokin.checks import check_run, resolved
from cryokin.command.call import workflow_folder
from cryokin.command.facts import facts_of, seen_radius
from cryokin.command.main import command
from cryokin.config import load_runs
from cryokin.errors import InputError
from cryokin.io.mrc import write_stack
from cryokin.simulate.files import write_image_set
from cryokin.simulate.images import Recipe, simulate_images
from cryokin.simulate.volumes import VolumeRecipe, simulate_volumes, write_volume_set

RECIPE = Recipe(n_images=120, box=40, pixel_size=8.0, snr=3.0, n_views=3, shift_sd=0.5)
SMALL = {
    **{"method": "isac", "particles": "images/particles.star", "radius": 15},
    **{"target_radius": 12, "target_nx": 30, "img_per_grp": 20, "maxit": 8},
    **{"init_iter": 2, "main_iter": 1, "max_round": 1, "match_second": 2},
    **{"stab_ali": 3, "indep_run": 2, "n_generations": 1},
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder with images, and a small run of them configured."""
    folder = tmp_path_factory.mktemp("images")
    write_image_set(folder / "images", simulate_images(RECIPE))
    (folder / "config").mkdir()
    text = yaml.safe_dump({"runs": {"tiny": SMALL}})
    (folder / "config/config.yaml").write_text(text)
    return folder


@pytest.mark.parametrize(("sign", "bright"), [(1, True), (-1, False)])
@pytest.mark.parametrize("radius", [12, 18])
def test_a_particle_is_seen_in_noise(radius, sign, bright):
    box, rng = 64, np.random.default_rng(3)
    axis = np.arange(box) - box // 2
    disc = np.hypot(axis[:, None], axis[None, :]) <= radius
    seen = seen_radius(sign * disc + rng.normal(0, 2, (300, box, box)))
    assert seen[0] == pytest.approx(1.25 * radius, rel=0.15)
    assert seen[1] is bright


class TestInit:
    def test_of_images_is_a_configuration_with_reasons(self, images, tmp_path):
        path, table = tmp_path / "my.yaml", images / "images/particles.star"
        words = ["init", str(table), "--diameter", "240", "--output", str(path)]
        assert command([*words, "--name", "2nd"]) == 0
        run = load_runs(yaml.safe_load(path.read_text()))["2nd"].as_dict()
        assert (run["diameter"], run["CTF"], run["img_per_grp"]) == (240, "auto", 30)
        assert run["radius"] is None
        assert Path(run["particles"]) == table
        assert "radius 15 pixel" in path.read_text()
        with pytest.raises(InputError, match="is there already"):
            command(words)

    def test_of_subtomograms(self, tmp_path):
        recipe = VolumeRecipe(n_particles=6, box=16, pixel_size=16.0)
        write_volume_set(tmp_path / "volumes", simulate_volumes(recipe))
        path = tmp_path / "my.yaml"
        table = tmp_path / "volumes/particles.star"
        assert command(["init", str(table), "--output", str(path)]) == 0
        run = load_runs(yaml.safe_load(path.read_text()))["first"].as_dict()
        assert (run["method"], run["nclass"]) == ("mco_exmx", 2)
        assert run["lowpass_A"] == pytest.approx(2.2 * 16)
        assert run["mask"]["sphere"]["radius"] == 5
        given = ["--diameter", "192", "--output", str(tmp_path / "2.yaml")]
        assert command(["init", str(table), *given]) == 0
        made = load_runs(yaml.safe_load((tmp_path / "2.yaml").read_text()))["first"]
        assert made.mask["sphere"] == {"diameter": 192, "edge": 3}
        assert resolved(made, check_run(made, str(table))).mask["sphere"]["radius"] == 6

    def test_refuses_a_particle_larger_than_its_box(self, images):
        with pytest.raises(InputError, match=r"the box of .* is 40 pixel"):
            facts_of(str(images / "images/particles.star"), 400)

    def test_refuses_too_few_images(self, tmp_path):
        write_stack(tmp_path / "s.mrcs", np.eye(16)[None].repeat(39, 0), 2.0)
        with pytest.raises(InputError, match="39 images are too few for four classes"):
            command(["init", f"{tmp_path}/s.mrcs", "--output", f"{tmp_path}/c.yaml"])

    def test_takes_a_pixel_size_that_no_file_says(self, tmp_path):
        stack = tmp_path / "s.mrcs"
        noise = np.random.default_rng(0).normal(size=(40, 16, 16))
        write_stack(stack, noise.astype(np.float32), None)
        with pytest.raises(InputError, match="--pixel-size"):
            facts_of(str(stack), None)
        path = tmp_path / "c.yaml"
        words = ["--pixel-size", "2.5", "--diameter", "25", "--output", str(path)]
        assert command(["init", str(stack), *words]) == 0
        made = load_runs(yaml.safe_load(path.read_text()))["first"]
        assert check_run(made, str(stack))["radius"] == 5

    def test_tells_what_is_wrong_with_subtomograms(self, tmp_path):
        text = "data_\n\nloop_\n_rlnImageName\n_rlnCtfImage\na.mrc b.mrc\n"
        (tmp_path / "a.star").write_text(text)
        with pytest.raises(InputError, match=r"b\.mrc is not there"):
            facts_of(str(tmp_path / "a.star"), None)

    def test_refuses_what_is_no_table(self, tmp_path):
        (tmp_path / "a.star").write_text("data_\n\nloop_\n_rlnMicrographName\nm.mrc\n")
        with pytest.raises(InputError, match="rlnImageName"):
            facts_of(str(tmp_path / "a.star"), None)


def test_inspect_says_what_a_file_holds(images, capsys):
    assert command(["inspect", str(images / "images/particles.star")]) == 0
    told = capsys.readouterr().out
    assert "120 images, box 40, 8 A" in told
    assert "particles are bright" in told


CALL = "import sys; from cryokin.command.main import main; main()"


def run(*words, folder):
    """Return the ended call of a command, with what it printed."""
    return subprocess.run(
        [sys.executable, "-c", CALL, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


class TestRun:
    @pytest.mark.slow
    def test_goes_on_after_a_kill_and_is_calm(self, images):
        """One call at a time; Snakemake's lock of a call that was killed goes."""
        process = subprocess.Popen(
            [sys.executable, "-c", CALL, "run"],
            cwd=images,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        locks = images / ".snakemake/locks"
        imported = images / "results/tiny/import/import.json"
        while not (imported.exists() and any(locks.glob("*"))):
            assert process.poll() is None
            time.sleep(0.05)
        second = run("run", folder=images)
        assert second.returncode == 1
        assert "another call of cryokin is at work" in second.stderr
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert any(locks.glob("*"))
        again = run("run", folder=images)
        assert again.returncode == 0, again.stderr
        assert (images / "results/tiny/report/index.html").exists()
        told = (again.stdout + again.stderr).splitlines()
        assert len(told) < 20, told
        *_, where, following = told
        assert re.search(r"tiny: done: \d+ classes of \d+ of 120 particles", where)
        assert where.endswith(str(images / "results/tiny/report/index.html"))
        assert following.endswith(f"cryokin select --run tiny --directory {images}")
        assert not any(locks.glob("*"))
        once_more = run("run", folder=images).stderr.splitlines()
        assert once_more[-2].startswith("tiny: nothing to do: ")

    @pytest.mark.slow
    def test_ctrl_c_says_where_and_that_the_command_goes_on(self, images):
        """As a terminal does it: to the command, Snakemake and the jobs at once."""
        text = yaml.safe_dump({"runs": {"stopped": SMALL | {"maxit": 9}}})
        (images / "stopped.yaml").write_text(text)
        process = subprocess.Popen(
            [sys.executable, "-c", CALL, "run", "--configfile", "stopped.yaml"],
            cwd=images,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        while not (images / "results/stopped/logs/isac_import.log").exists():
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        told = process.communicate(timeout=300)[0]
        assert process.returncode == 130
        assert "Traceback" not in told
        last = told.splitlines()[-1]
        assert re.fullmatch(
            "stopped: interrupted in [^;]*; the same command goes on", last
        )

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("runs:\n\ta: 1\n", "line 2"),
            ("runs:\n  a:\n    radius: 1\n   b: 2\n", "line 4"),
            (None, "No such file"),
        ],
    )
    def test_a_configuration_that_cannot_be_read(self, tmp_path, text, told):
        if text is not None:
            (tmp_path / "my.yaml").write_text(text)
        done = run("run", "--configfile", "my.yaml", folder=tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith("error: my.yaml")
        assert told in done.stderr
        assert done.stderr.count("\n") == 1
        assert not (tmp_path / ".snakemake").exists()


def test_the_workflow_stands_beside_the_package():
    assert (workflow_folder() / "workflow/rules").is_dir()


@pytest.mark.slow
class TestAMistake:
    @pytest.fixture
    def wrong(self, images):
        runs = {"well": SMALL, "wrong": SMALL | {"radius": 25}}
        (images / "wrong.yaml").write_text(yaml.safe_dump({"runs": runs}))
        return images

    def test_is_said_before_any_job_and_with_the_file(self, wrong):
        done = run("run", "--configfile", "wrong.yaml", folder=wrong)
        assert done.returncode == 1
        last = done.stderr.splitlines()[-1]
        assert last.startswith(f"error: {wrong}/wrong.yaml: runs.wrong: images/")
        assert "radius = 25 pixel does not fit the box" in last
        assert not (wrong / "results/well").exists()
        # Of the other run there is nothing to say.
        table = "results/well/import/images.txt"
        done = run("run", "--configfile", "wrong.yaml", table, folder=wrong)
        assert done.returncode == 0, done.stderr

    def test_is_said_by_the_estimate(self, wrong):
        done = run("estimate", "--configfile", "wrong.yaml", folder=wrong)
        assert done.returncode == 0, done.stderr
        assert "wrong: no estimate: the run cannot start: " in done.stdout
        assert "well: isac, 120 images" in done.stdout

    def test_that_only_pixels_tell_is_the_last_line_and_not_tried_again(self, images):
        pixels = np.zeros((84, 40, 40), np.float32)
        pixels[:79] = np.random.default_rng(1).normal(size=(79, 40, 40))
        write_stack(images / "blank.mrcs", pixels, 8.0)
        (images / "blank.yaml").write_text(
            yaml.safe_dump({"runs": {"blank": SMALL | {"particles": "blank.mrcs"}}})
        )
        words = ("--configfile", "blank.yaml")
        words += ("--retries", "2", "--verbose")
        done = run("run", *words, folder=images)
        assert done.returncode == 1
        told = done.stderr.splitlines()
        where = f"see {images / 'results/blank/logs/isac_import.log'}"
        at = next(i for i, line in enumerate(told) if line.endswith(where))
        assert told[at + 1].startswith("error: blank.mrcs: 79 usable particles")
        assert "Trying to restart" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("profile", "told"),
    [("nope", "give local, slurm or"), ("slurm", "no Slurm answers on this machine")],
)
def test_a_profile_that_cannot_work_is_refused(images, monkeypatch, profile, told):
    monkeypatch.delenv("SLURM_CONF", raising=False)
    (images / "other.yaml").write_text(
        yaml.safe_dump({"runs": {"other": SMALL | {"maxit": 9}}})
    )
    words = ("--configfile", "other.yaml", "--profile", profile)
    done = run("run", *words, folder=images)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert told in done.stderr
    assert not (images / "results/other").exists()
