"""What a call of the workflow that was killed left at work behind it.

Programs that a killed Snakemake has started go on, on this machine as on a cluster.
What they write they write whole or not at all, but who starts the same work again must
not have it done twice.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

CALL = "CRYOKIN_CALL"  # the variable that all programs of one call know it by
PATIENCE = 120.0  # for what was told to end [s]
_PARTIAL = re.compile(r"\..*\.\d+\.part(\.\w+)?")
# Snakemake names the jobs of one call alike: PREFIX_ and a random UUID.
_OF_SNAKEMAKE = re.compile(r"(.*_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def host() -> str:
    """Return the name of this machine, whose processes can be ended from here."""
    return platform.node()


def remove_partial(folder: str | os.PathLike[str]) -> None:
    """Remove what killed jobs were about to write: see `cryokin.files.atomic`.

    Nothing else may be at work in the folder.
    """
    for path in Path(folder).rglob(".*.part*"):
        if _PARTIAL.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def processes_of(call: str) -> list[int]:
    """Return the ids of this machine's processes that belong to a call."""
    wanted = f"{CALL}={call}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:  # of another user, or gone
            continue
    return [pid for pid in found if pid != os.getpid()]


def end_processes(call: str) -> int:
    """Kill the processes of a call on this machine, and return how many there were."""
    killed: set[int] = set()
    # Some may have started others meanwhile.
    while found := processes_of(call):
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        killed |= set(found)
        time.sleep(0.1)
    return len(killed)


def jobs_in(folder: str | os.PathLike[str]) -> list[str]:
    """Return the ids of the user's Slurm jobs of Snakemake that work in a folder.

    Empty where there is no Slurm, or none that answers.
    """
    here = Path(folder).resolve()
    told = (line.split("|", 2) for line in _squeue("--format=%i|%j|%Z"))
    return [
        job
        for job, name, place in told
        if _OF_SNAKEMAKE.fullmatch(name) and Path(place).resolve() == here
    ]


def end_jobs(jobs: Sequence[str]) -> bool:
    """Cancel Slurm jobs; wait until they have ended, and return whether they have.

    A cancelled job removes what it was writing, so that another job must not write the
    same before it has ended.
    """
    subprocess.run(["scancel", *jobs], capture_output=True, check=False)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if not set(jobs) & set(_squeue("--format=%i")):
            return True
        time.sleep(1)
    return False


def _squeue(*options: str) -> Iterable[str]:
    """Return the lines that ``squeue`` prints of the user's jobs."""
    if not shutil.which("squeue"):
        return []
    try:
        done = subprocess.run(
            ["squeue", "--me", "--noheader", *options],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.splitlines()
