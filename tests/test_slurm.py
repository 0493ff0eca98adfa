"""The workflow on a real Slurm of two nodes, as a user calls it, with faults.

However a run is disturbed, its results have the bytes of an undisturbed run on one
machine.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from places import assert_same_bytes, ranks_at_work

pytestmark = pytest.mark.slow

ROUND = "results/tiny/generation_0001/round_0001"
MPI_JOBS = {
    *("isac_prealign", "isac_shrink", "isac_clusters", "isac_candidates_round"),
    *("isac_candidates", "isac_reproducible"),
    *("pytom_prepare", "ccc_matrix", "pytom_class_averages", "pytom_differences"),
}


class Calls:
    """Calls of Snakemake on the cluster, in folders beside that of the undisturbed."""

    def __init__(self, root, cluster, place):
        self.root, self.cluster, self.place = root, cluster, place
        self.started = []

    def folder(self, work):
        return self.place.folder / work

    def prepared(self, work):
        shutil.copytree(self.folder("prepared"), self.folder(work))
        return work

    def start(self, work, *arguments, told="told.txt"):
        """Start a call, from the root and with the profile as the manual has it."""
        self.folder(work).mkdir(exist_ok=True)
        with (self.folder(work) / told).open("w") as file:
            process = subprocess.Popen(
                [
                    Path(sys.executable).with_name("snakemake"),
                    *arguments,
                    *("--profile", "slurm"),
                    *("--configfile", self.folder("my.yaml")),
                    *("--directory", self.folder(work)),
                    # Jobs of seconds are asked for sooner than those of hours.
                    *("--slurm-init-seconds-before-status-checks", "8"),
                ],
                cwd=self.root,
                env=self.cluster.environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def told(self, work):
        return (self.folder(work) / "told.txt").read_text()

    def end(self, process, work):
        assert process.wait(timeout=400) == 0, self.told(work)
        return self.told(work)

    def run(self, work, *arguments):
        """Return what a call told that must succeed."""
        return self.end(self.start(work, *arguments), work)

    def job(self, number):
        """Return what Slurm knows of a job."""
        text = self.cluster.call("scontrol", "--oneliner", "show", "job", number)
        return dict(re.findall(r"(\S+?)=(\S*)", text))


@pytest.fixture
def calls(root, cluster, undisturbed):
    calls = Calls(root, cluster, undisturbed)
    yield calls
    # Nothing, if the test has passed.
    for process in calls.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    cluster.call("scancel", "--user=root")


def submitted(text):
    """Return the jobs of Slurm that a call submitted: number and rule."""
    return re.findall(r"SLURM jobid (\d+) \(log: \S*/rule_(\w+)/", text)


# --------------------------------------------------------------------- undisturbed


def test_both_families_over_two_nodes(calls):
    text = calls.run("cluster")
    assert_same_bytes(
        calls.folder("work") / "results", calls.folder("cluster") / "results"
    )
    jobs = submitted(text)
    # Rules that take moments stay where Snakemake runs: no storm of jobs.
    assert {rule for _, rule in jobs} >= MPI_JOBS
    assert {rule for _, rule in jobs} - MPI_JOBS <= {"eigen_projection"}
    rounds = len(list((calls.folder("cluster") / ROUND).parent.glob("round_*")))
    assert len(jobs) == len({rule for _, rule in jobs}) + 2 * (rounds - 1)
    for number, rule in jobs:
        job = calls.job(number)
        assert job["JobState"] == "COMPLETED"
        assert job["NumNodes"] == ("2" if rule in MPI_JOBS else "1")
        assert job["CPUs/Task"] == "1"
    # Where it is is told here, too.
    for run in yaml.safe_load(calls.folder("my.yaml").read_text())["runs"]:
        assert re.search(rf"^{run}: done", text, re.M)


def test_the_set_up_is_proved(calls):
    text = calls.run("proof", "selftest_mpi")
    assert "MPI works: 4 ranks on 2 host(s)" in text
    assert re.search(r"node1: ranks 0-1\n +node2: ranks 2-3", text)


def test_the_launcher_of_another_mpi_is_named(calls):
    """Without PMI each rank is alone; that is told, and tried once only."""
    alone = ["mpi=srun --mpi=none", "tasks=4", "cpus_per_task=1"]
    resources = [f"selftest_mpi_ranks:{each}" for each in alone]
    process = calls.start("alone", "selftest_mpi", "--set-resources", *resources)
    assert process.wait(timeout=200) == 1
    text = calls.told("alone")
    assert "error: started with 1 MPI ranks, expected 4" in text
    assert len(submitted(text)) == 1


# -------------------------------------------------------------------------- faults


class Job:
    """A job of the first round at work, and what can happen to it."""

    def __init__(self, calls, work, number):
        self.calls, self.work, self.number = calls, work, number
        self.call = calls.cluster.call

    def stop(self):
        """Wait for the ranks and stop them, so that the job does not end by itself."""
        self.ranks = []
        end = time.monotonic() + 100
        while len(self.ranks) < 4:
            assert time.monotonic() < end, self.calls.told(self.work)
            self.ranks = ranks_at_work("isac_clusters", f"SLURM_JOB_ID={self.number}")
            time.sleep(0.05)
        for rank in self.ranks:
            os.kill(rank, signal.SIGSTOP)

    def ended(self, state):
        """Wait until Slurm says that the job has ended so."""
        end = time.monotonic() + 200
        while (found := self.calls.job(self.number)["JobState"]) != state:
            assert time.monotonic() < end, found
            time.sleep(0.5)

    def kill_rank(self):
        for rank in self.ranks[1:]:
            os.kill(rank, signal.SIGCONT)
        os.kill(self.ranks[0], signal.SIGKILL)
        self.ended("FAILED")

    def cancel(self):
        self.call("scancel", self.number)
        self.ended("CANCELLED")

    def lose_node(self):
        node = ["scontrol", "update", "nodename=node2"]
        self.call(*node, "state=down", "reason=test")
        self.ended("NODE_FAIL")
        # Slurm may have found it again by itself.
        self.call(*node, "state=resume", check=False)

    def run_out_of_time(self):
        self.call("scontrol", "update", f"jobid={self.number}", "TimeLimit=1")
        self.ended("TIMEOUT")


def next_job(calls, process, work, n):
    """Return the n-th job of a call, when it was submitted."""
    while len(jobs := submitted(calls.told(work))) < n:
        assert process.poll() is None, calls.told(work)
        time.sleep(0.1)
    return Job(calls, work, jobs[n - 1][0])


def assert_as_undisturbed(calls, work):
    name = f"{ROUND}/clusters.npz"
    one, other = (calls.folder(folder) / name for folder in ("work", work))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    "faults",
    [("kill_rank", "lose_node"), ("cancel", "run_out_of_time")],
    ids=" and ".join,
)
def test_a_job_is_submitted_again(calls, faults):
    work = calls.prepared("_".join(faults))
    process = calls.start(work, f"{ROUND}/clusters.npz")
    limits = []
    for n, fault in enumerate(faults, start=1):
        job = next_job(calls, process, work, n)
        job.stop()
        limits.append(calls.job(job.number)["TimeLimit"])
        getattr(job, fault)()
    text = calls.end(process, work)
    number, _ = submitted(text)[-1]
    limits.append(calls.job(number)["TimeLimit"])
    # With more time each time.
    assert limits == ["04:00:00", "08:00:00", "12:00:00"]
    assert len(submitted(text)) == 3
    assert_as_undisturbed(calls, work)


def test_a_job_that_needs_more_memory_gets_more(calls):
    """The two Snakemakes inside a job alone are too much for the first attempt."""
    profile = yaml.safe_load((calls.root / "slurm/config.yaml").read_text())
    rule = "isac_clusters"
    resources = profile["set-resources"][rule] | {"mem_mb": "attempt * 230"}
    settings = [f"{rule}:{key}={value}" for key, value in resources.items()]
    work = calls.prepared("memory")
    text = calls.run(work, f"{ROUND}/clusters.npz", "--set-resources", *settings)
    killed, *_, last = (number for number, _ in submitted(text))
    logs = calls.folder(work) / ".snakemake/slurm_logs"
    (log,) = logs.rglob(f"{killed}.log")
    assert "exceeded memory limit" in log.read_text()
    assert calls.job(last)["JobState"] == "COMPLETED"
    assert_as_undisturbed(calls, work)


def test_a_job_that_a_killed_call_left_behind_does_no_harm(calls):
    """It ends beside the one that the next call submits, with the same bytes."""
    work, target = calls.prepared("killed_call"), f"{ROUND}/clusters.npz"
    process = calls.start(work, target)
    job = next_job(calls, process, work, 1)
    job.stop()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # It holds the folder, until the lock is taken away.
    second = calls.start(work, target)
    assert second.wait(timeout=100) == 1
    assert "It can be removed with the --unlock argument" in calls.told(work)
    calls.run(work, target, "--unlock")
    assert calls.job(job.number)["JobState"] == "RUNNING"
    process = calls.start(work, target)
    assert next_job(calls, process, work, 1).number != job.number
    for rank in job.ranks:
        os.kill(rank, signal.SIGCONT)
    calls.end(process, work)
    job.ended("COMPLETED")
    assert_as_undisturbed(calls, work)
