"""What goes wrong on one machine: a sentence, and then the same command goes on.

After every fault the results have the bytes of a run that nothing happened to.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cryokin.files import size_note
from cryokin.leftovers import CALL
from test_workflow import assert_same_bytes, jobs

ROUND = "results/tiny/generation_0001/round_0001"
TINY = "results/tiny/classes.csv"


@pytest.fixture
def place(undisturbed):
    """Where a run was undisturbed; with ``work`` made from what it had prepared."""

    def begin(work):
        shutil.copytree(undisturbed.folder / "prepared", undisturbed.folder / work)
        return work

    undisturbed.begin = begin
    return undisturbed


def assert_as_undisturbed(place, work):
    assert_same_bytes(
        place.results() / "generation_0001", place.results(work) / "generation_0001"
    )
    name = "classes.csv"
    assert (place.results(work) / name).read_bytes() == (
        place.results() / name
    ).read_bytes()


def ranks_at_work(script, environment):
    """Return the processes of ranks that have a variable in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (path / "cmdline").read_bytes().split(b"\0")
            variables = (path / "environ").read_bytes().split(b"\0")
            if (
                command[0].endswith(b"python")
                and any(part.endswith(script.encode()) for part in command)
                and environment.encode() in variables
            ):
                found.append(int(path.name))
    return found


@contextlib.contextmanager
def at_work(place, work, *arguments):
    """Start a call, wait for the ranks of the first round, stop them."""
    process = subprocess.Popen(
        place.command(*arguments, work=work),
        cwd=place.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    token = place.folder / work / ".snakemake/in_use"
    before = token.read_text()
    try:
        ranks = []
        while len(ranks) < 2:
            assert process.poll() is None, "the run ended before its first round"
            time.sleep(0.02)
            if token.read_text() != before:
                variable = f"{CALL}={token.read_text()}"
                ranks = ranks_at_work("isac_candidates_round.py", variable)
        for rank in ranks:
            os.kill(rank, signal.SIGSTOP)
        yield process, ranks
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_programs_that_a_killed_call_left_behind_are_ended(place):
    work = place.begin("orphans")
    with at_work(place, work, TINY) as (process, ranks):
        process.kill()
        process.wait()
        assert all(Path(f"/proc/{rank}").exists() for rank in ranks)
        text = place.run(TINY, work=work)
        assert "processes of a call that was killed" in text
        assert not any(Path(f"/proc/{rank}/environ").exists() for rank in ranks)
    assert_as_undisturbed(place, work)


def test_a_killed_rank_ends_its_job_at_once(place):
    work = place.begin("rank")
    with at_work(place, work, TINY) as (process, ranks):
        os.kill(ranks[0], signal.SIGKILL)
        assert process.wait(timeout=60) == 1
    assert not (place.folder / work / ROUND / "classes.npz").exists()
    place.run(TINY, work=work)
    assert_as_undisturbed(place, work)


@pytest.fixture
def small_disk(place):
    """A file system of little space, where results go."""
    work = place.begin("disk")
    results = place.folder / work / "results"
    kept = place.folder / "kept"
    results.rename(kept)
    results.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(results)]
        return subprocess.run(command, check=False, capture_output=True).returncode

    if os.geteuid() != 0 or mount("size=4M"):
        pytest.skip("needs root, to mount a file system of its own")
    shutil.copytree(kept, results, dirs_exist_ok=True)
    yield work, results, lambda options: mount(f"remount,{options}")
    subprocess.run(["umount", "--lazy", str(results)], check=True)


def test_a_disk_that_is_full_or_read_only(place, small_disk):
    work, results, remount = small_disk
    remount("ro,size=4M")
    done = place.snakemake(TINY, work=work)
    assert done.returncode == 1
    assert f"{results}: Read-only file system; have space and the right" in done.text
    remount("rw,size=4M")
    # Space for what is told of the run, but not for its classes.
    filler = results / "filler"
    free = os.statvfs(results).f_bavail * os.statvfs(results).f_frsize
    filler.write_bytes(bytes(free - 100 * 1024))
    done = place.snakemake(TINY, work=work)
    assert done.returncode == 1
    assert "No space left on device" in done.text
    assert "Traceback" not in done.text
    filler.unlink()
    place.run(TINY, work=work)
    assert_as_undisturbed(place, work)


@pytest.mark.parametrize(
    "name", ["coefficients.npy", "generation_0000/generation_0_unaccounted.txt"]
)
def test_a_file_that_was_broken_off_is_named_before_anything_starts(place, name):
    work = place.begin(f"broken_{Path(name).suffix[1:]}")
    path = place.results(work) / name
    os.truncate(path, path.stat().st_size // 2)
    done = place.snakemake(TINY, work=work)
    assert done.returncode == 1
    assert f"results/tiny/{name}: has {path.stat().st_size} bytes, but was written" in (
        done.text
    )
    assert "delete it and say the same command again" in done.text
    assert jobs(done.text) == {}
    assert not (place.folder / work / ROUND).exists()
    path.unlink()
    place.run(TINY, work=work)
    assert_as_undisturbed(place, work)
    assert size_note(path).read_text() == str(path.stat().st_size)


def test_what_a_killed_job_was_about_to_write_is_removed(place):
    work = place.begin("partial")
    results = place.results(work)
    left = [
        results / ".phase_flipped.123.part.mrcs",
        results / "generation_0001/.classes.77.part.npz",
    ]
    kept = [results / ".note.part", results / "my.12.part.txt"]
    for path in (*left, *kept):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    place.run(TINY, work=work)
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)


def test_a_copy_of_a_folder_ends_nothing_in_the_original(place, tmp_path):
    """Nor is a link followed that somebody has put in the place of the mark."""
    work = place.begin("copied")
    place.run("results/tiny/estimate.json", work=work)
    mark = place.folder / work / ".snakemake/in_use"
    call = mark.read_text()
    sleeper = subprocess.Popen(["sleep", "60"], env=os.environ | {CALL: call})
    try:
        shutil.copytree(place.folder / work, place.folder / "copy")
        (place.folder / "copy/results/tiny/estimate.json").unlink()
        text = place.run("results/tiny/estimate.json", work="copy")
        assert "Ended" not in text
        assert sleeper.poll() is None
        (place.folder / work / "results/tiny/estimate.json").unlink()
        text = place.run("results/tiny/estimate.json", work=work)
        assert "Ended 1 processes" in text
        assert sleeper.wait(10) == -signal.SIGKILL
    finally:
        sleeper.kill()
        sleeper.wait()
    victim = tmp_path / "victim"
    victim.write_text("mine")
    mark.unlink()
    mark.symlink_to(victim)
    (place.folder / work / "results/tiny/estimate.json").unlink()
    done = place.snakemake("results/tiny/estimate.json", work=work)
    assert done.returncode == 1
    assert "in_use: Too many levels of symbolic links; it must be a file" in done.text
    assert victim.read_text() == "mine"


def test_clocks_that_differ_make_nothing_again(place):
    """Files of a node whose clock is ahead, and of one whose clock is behind."""
    work = place.begin("clocks")
    results = place.results(work)
    for name, hours in (("working_stack.json", 2), ("coefficients.npy", -30)):
        when = time.time() + 3600 * hours
        os.utime(results / name, (when, when))
    text = place.run(TINY, work=work)
    assert "1 files had a time ahead of this machine's clock" in text
    assert "isac_shrink" not in jobs(text)
    assert_as_undisturbed(place, work)


@pytest.mark.parametrize("name", ["particles.star", "particles.mrcs"])
def test_particles_of_the_future_are_refused(place, tmp_path, name):
    """Snakemake would take all that is made of them for outdated at once, and fail."""
    for path in place.particles.parent.iterdir():
        shutil.copy(path, tmp_path)
    particles = tmp_path / place.particles.name
    os.utime(tmp_path / name, (time.time() + 900,) * 2)
    config = place.configure("future.yaml", particles=str(particles))
    done = place.snakemake(config=config, work="future")
    assert done.returncode == 1
    assert (
        "s from now by this machine's clock; correct the clock, or touch" in done.text
    )
