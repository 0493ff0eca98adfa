"""What goes wrong on one machine: a sentence, and then the same command goes on.

After every fault the results have the bytes of a run that nothing happened to.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time

import pytest

from places import assert_same_bytes, ranks_at_work

pytestmark = pytest.mark.slow

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
    ranks = []
    try:
        while len(ranks) < 2:
            assert process.poll() is None, "the run ended before its first round"
            time.sleep(0.02)
            ranks = ranks_at_work("isac_clusters", str(place.folder / work))
        for rank in ranks:
            os.kill(rank, signal.SIGSTOP)
        yield process, ranks
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_what_a_killed_call_left_at_work_does_no_harm(place):
    """It goes on beside the next call, and writes the same bytes."""
    work = place.begin("orphans")
    with at_work(place, work, TINY) as (process, ranks):
        process.kill()
        process.wait()
        place.run("--unlock", work=work)
        for rank in ranks:
            os.kill(rank, signal.SIGCONT)
        place.run(TINY, work=work)
    assert_as_undisturbed(place, work)


def test_a_killed_rank_ends_its_job_at_once(place):
    work = place.begin("rank")
    with at_work(place, work, TINY) as (process, ranks):
        os.kill(ranks[0], signal.SIGKILL)
        assert process.wait(timeout=300) == 1
    assert not (place.folder / work / ROUND / "clusters.npz").exists()
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
    # With the times of the files, by which Snakemake knows what is up to date.
    shutil.copytree(kept, results, dirs_exist_ok=True)
    yield work, results, lambda options: mount(f"remount,{options}")
    subprocess.run(["umount", "--lazy", str(results)], check=True)


def test_a_disk_that_is_full_or_read_only(place, small_disk):
    work, results, remount = small_disk
    remount("ro,size=4M")
    done = place.snakemake(TINY, work=work)
    assert done.returncode == 1
    assert "Read-only file system" in done.text
    remount("rw,size=4M")
    # Space for what is told of the run, but not for its classes.
    filler = results / "filler"
    free = os.statvfs(results).f_bavail * os.statvfs(results).f_frsize
    filler.write_bytes(bytes(free - 40 * 1024))
    done = place.snakemake(TINY, work=work)
    assert done.returncode == 1
    assert f"{results}: the disk is full; make space, then" in done.text
    assert "Traceback" not in done.text
    filler.unlink()
    place.run(TINY, work=work)
    assert_as_undisturbed(place, work)


def test_what_a_killed_job_was_about_to_write_is_removed(place):
    """With the file itself, and nothing else that looks like it."""
    work = place.begin("partial")
    folder = place.results(work) / "generation_0001/round_0001"
    folder.mkdir(parents=True)
    left = folder / ".clusters.77.part.npz"
    kept = [folder / ".clusters.part.npz", folder / ".clusters.of.12.part.npz"]
    for path in (left, *kept):
        path.touch()
    place.run(f"{ROUND}/clusters.npz", work=work)
    assert not left.exists()
    assert all(path.exists() for path in kept)


def test_delete_all_output_leaves_logs_alone(place):
    """No file of a run is there that no rule declares, but what tells how it went."""
    shutil.copytree(place.folder / "work", place.folder / "deleted")
    text = place.run("--delete-all-output", work="deleted")
    assert "Would delete" not in text
    left = {p for p in (place.folder / "deleted/results").rglob("*") if p.is_file()}
    assert {p.suffix for p in left if p.name != "progress.json"} <= {".log", ".tsv"}
