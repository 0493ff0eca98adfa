"""The test that a user makes of the MPI of a profile: it works, or says why not."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
ENVIRONMENT = os.environ | {"OPENBLAS_NUM_THREADS": "1"}


@pytest.fixture
def step(root):
    """The command of one rank of a job of two."""
    script = [str(root / "workflow/scripts/run.py"), "selftest_mpi_ranks"]
    outputs = ["--found", "results/found.json", "--summary", "results/summary.txt"]
    return [*(sys.executable, "-m", "mpi4py"), *script, *outputs, "--ranks", "2"]


def call(command, folder):
    (folder / "results").mkdir(exist_ok=True)
    return subprocess.run(
        command,
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def assert_refused(done, folder, sentence):
    assert done.returncode != 0
    told = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert len(told) == 1, done.stdout + done.stderr
    assert sentence in told[0]
    assert list((folder / "results").iterdir()) == []


def test_two_ranks_share_all_they_must(step, tmp_path):
    done = call([BIN / "mpiexec", "-n", "2", *step], tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "results/found.json").read_text())
    assert found["ranks"] == 2
    assert list(found["hosts"].values()) == [[0, 1]]
    told = (tmp_path / "results/summary.txt").read_text()
    assert told.startswith("MPI works: 2 ranks on 1 host(s)")
    left = {path.name for path in (tmp_path / "results").iterdir()}
    assert left == {"found.json", "summary.txt"}


def test_ranks_that_do_not_know_each_other(step, tmp_path):
    done = call(step, tmp_path)
    assert done.returncode != 0
    assert "error: started with 1 MPI ranks, expected 2" in done.stderr
    assert list((tmp_path / "results").iterdir()) == []


def test_hosts_that_do_not_share_the_folder(step, tmp_path):
    """One rank sees another file system where the results go."""
    apart = 'mount -t tmpfs none results && exec "$@"'
    elsewhere = ["unshare", "--mount", "sh", "-c", apart, "sh"]
    if call([*elsewhere, "true"], tmp_path).returncode:
        pytest.skip("needs root: a file system of its own for one rank")
    one = ["-n", "1"]
    done = call([BIN / "mpiexec", *one, *step, ":", *one, *elsewhere, *step], tmp_path)
    assert_refused(done, tmp_path, "does not see there what host")


KERNELS = ("Prescott", "Haswell", "SkylakeX")
# A product as the steps of the workflow make them.
PRODUCT = """
import hashlib, numpy as np
rng = np.random.default_rng(1)
a, b = rng.standard_normal((2, 200, 200), np.float32)
print(hashlib.sha256((a @ b).tobytes()).hexdigest())
"""


def product(kernel):
    """Return what a product is with the linear algebra of some processor."""
    environment = ENVIRONMENT | {"OPENBLAS_CORETYPE": kernel}
    command = [sys.executable, "-c", PRODUCT]
    return subprocess.run(command, env=environment, check=True, capture_output=True)


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(KERNELS, 2)))
def test_processors_that_compute_differently(step, tmp_path, one, other):
    """Two ranks that multiply as processors of two ages do are vouched for, or not."""
    ranks = [
        ["-n", "1", "env", f"OPENBLAS_CORETYPE={kernel}", *step]
        for kernel in (one, other)
    ]
    done = call([BIN / "mpiexec", *ranks[0], ":", *ranks[1]], tmp_path)
    if product(one).stdout == product(other).stdout:
        assert done.returncode == 0
    else:
        assert_refused(done, tmp_path, "their processors or libraries differ")
