"""Proof that ranks, their launcher, the network and the shared folder are set up."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from cryokin.errors import InputError
from cryokin.parallel import Team
from cryokin.random import stream

PATIENCE = 10.0  # for a network file system to show what another host wrote [s]
ITEMS = 64  # blocks of numbers that the ranks share
BLOCK = 128  # numbers in a row and column of a block


def host() -> str:
    """Return the name of the host, as Slurm calls it where it does."""
    return os.environ.get("SLURMD_NODENAME") or platform.node()


def selftest(team: Team, folder: Path) -> dict[str, Any]:
    """Try what every step on ranks relies on.

    Parameters
    ----------
    team : Team
        All ranks of the job.
    folder : pathlib.Path
        Where results go; a folder is made in it and removed again.

    Returns
    -------
    dict
        ``ranks``; ``hosts`` {name: its ranks}; ``folder``; ``sum``, the checksum of a
        sum over all ranks; ``mpi``, the library.

    Raises
    ------
    InputError
        If a host does not see the folder, or computes other numbers than the rest.
    """
    names = team.gather([host() for _ in team.mine(team.size)])
    check_folder(team, folder, names)
    digest = check_sums(team, names)
    return {
        "ranks": team.size,
        "hosts": {
            name: [rank for rank, at in enumerate(names) if at == name]
            for name in dict.fromkeys(names)
        },
        "folder": str(folder.absolute()),
        "sum": digest,
        "mpi": library() if team.size > 1 else "none",
    }


def check_folder(team: Team, folder: Path, names: list[str]) -> None:
    """Have every rank see a file of every other rank.

    Raises
    ------
    InputError
        If one does not, after some patience.
    """
    meeting = folder / team.from_leader(lambda: f".selftest_mpi.{os.getpid()}")
    try:
        meeting.mkdir(parents=True, exist_ok=True)
        (meeting / str(team.rank)).write_text(names[team.rank])
        team.barrier()
        end = time.monotonic() + PATIENCE
        missing = set(range(team.size))
        while missing and time.monotonic() < end:
            missing -= {rank for rank in missing if (meeting / str(rank)).exists()}
            time.sleep(0.05)
        unseen = team.gather([sorted(missing) for _ in team.mine(team.size)])
        for rank, others in enumerate(unseen):
            if others:
                raise InputError(
                    f"{folder.absolute()}: host {names[rank]} does not see there what"
                    f" host {names[others[0]]} wrote; work in a folder on a file system"
                    " that all nodes share (--directory)."
                )
    finally:
        shutil.rmtree(meeting, ignore_errors=True)


def check_sums(team: Team, names: list[str]) -> str:
    """Have all ranks compute the same, together and each for itself.

    Returns
    -------
    str
        Checksum of the sum.

    Raises
    ------
    InputError
        If the bytes differ.
    """

    def block(item: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        numbers = stream(0, item).standard_normal((BLOCK, BLOCK), np.float32)
        # By another matrix than its own transpose: NumPy hands that product to a kernel
        # that is the same on processors whose general products differ.
        other = stream(0, ITEMS + item).standard_normal((BLOCK, BLOCK), np.float32)
        product: np.ndarray[Any, np.dtype[np.float32]] = numbers @ other
        return product

    def checksum(blocks: list[Any]) -> str:
        total = np.zeros((BLOCK, BLOCK), np.float32)
        for each in blocks:
            total += each
        return hashlib.sha256(total.tobytes()).hexdigest()

    together = checksum(team.map(block, range(ITEMS)))
    alone = checksum([block(item) for item in range(ITEMS)])
    found = team.gather([(together, alone) for _ in team.mine(team.size)])
    for rank, sums in enumerate(found):
        if set(sums) != {found[0][1]}:
            raise InputError(
                f"host {names[rank]} adds up to {sums[1][:8]} what is"
                f" {found[0][1][:8]} on host {names[0]}, and {sums[0][:8]} together;"
                " their processors or libraries differ, let jobs run on nodes of one"
                " kind (resources.constraint in the profile) and in one environment."
            )
    return together


def library() -> str:
    """Return name and version of the MPI library, in one line."""
    from mpi4py import MPI

    first = MPI.Get_library_version().strip("\0").splitlines()[0]
    return " ".join(first.split())


def summary(found: dict[str, Any], seconds: float) -> str:
    """Tell the outcome to a person."""
    hosts = found["hosts"]
    lines = [
        f"MPI works: {found['ranks']} ranks on {len(hosts)} host(s), {seconds:.1f} s.",
        *(f"  {name}: ranks {ranks[0]}-{ranks[-1]}" for name, ranks in hosts.items()),
        f"  library: {found['mpi']}",
        f"  all of them share {found['folder']}",
        f"  and compute the same bytes ({found['sum'][:8]}).",
    ]
    return "\n".join(lines) + "\n"
