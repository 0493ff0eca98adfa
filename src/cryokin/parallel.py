"""Work shared between MPI ranks so that the answer does not depend on their number.

The unit of sharing is an *item* of fixed content (a block of images, a class of a
run). Which rank does an item depends on the number of ranks; what an item computes, and
the order in which results are put together, does not.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cryokin.device import HOST, open_device
from cryokin.npy import NpyWriter, load_array

Item = TypeVar("Item")
Result = TypeVar("Result")

# Naps between two looks whether the other ranks have arrived [s]: the longer they have
# let wait, the longer, so that waiting costs nothing and delays by a hundredth.
NAP, LONGEST_NAP = 2e-4, 5e-3
AT_A_TIME = 256  # results that ranks exchange at a time
SEGMENTS = 64  # of a sum over all items; a constant, so that ranks do not matter

Arrays = tuple[NDArray[Any], ...]


class Team:
    """The ranks that work on one job; a team of one needs no MPI.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm, optional
        Communicator of the team; default: this process alone.
    """

    def __init__(self, comm: Any = None) -> None:
        self._comm = comm
        self.rank: int = comm.rank if comm is not None else 0
        self.size: int = comm.size if comm is not None else 1
        self.device = HOST

    def use(self, device: str) -> None:
        """Have a device of the machine compute for this rank, see `cryokin.device`."""
        self.device = open_device(device, self.rank)
        if not self.device.is_host:
            self.log(f"device: {self.device.like.device}, by {device}")

    @property
    def leads(self) -> bool:
        """Whether this rank writes the files and the log."""
        return self.rank == 0

    def log(self, message: str) -> None:
        """Print one line, on the leading rank alone."""
        if self.leads:
            print(message, flush=True)

    def mine(self, n_items: int) -> range:
        """Return the contiguous share of ``range(n_items)`` of this rank."""
        return range(
            n_items * self.rank // self.size, n_items * (self.rank + 1) // self.size
        )

    def map(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> list[Result]:
        """Return ``[function(item) for item in items]`` on every rank.

        Items are dealt to the ranks in turn, so that neighbours of like cost are
        spread; results come back in the order of the items.
        """
        return list(self.each(function, items))

    def each(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[Result]:
        """Yield what `map` returns; all ranks must take all of it.

        Some results are exchanged at a time: who puts them into an array need not
        hold them twice.
        """
        if self.size == 1:
            yield from map(function, items)
            return
        done = [function(item) for item in items[self.rank :: self.size]]
        step = max(1, AT_A_TIME // self.size)
        for first in range(0, -(-len(items) // self.size), step):
            self.barrier()
            parts = self._comm.allgather(done[first : first + step])
            for place in range(step):
                yield from (part[place] for part in parts if place < len(part))

    def gather(self, share: Iterable[Result]) -> list[Result]:
        """Join the ranks' lists, made over `mine`, to the whole list on every rank."""
        if self.size == 1:
            return list(share)
        done = list(share)
        self.barrier()
        parts: list[list[Result]] = self._comm.allgather(done)
        return [result for part in parts for result in part]

    def to_leader(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Result]]:
        """Yield every item with ``function(item)``, in order, on the leading rank.

        All ranks must run through it; the others are given nothing. No rank holds more
        than one result of each. What ranks make is written by one of them: a network
        file system need not keep apart what several hosts write to one page of a file.
        """
        for start in range(0, len(items), self.size):
            own = start + self.rank
            made = [function(items[own])] if own < len(items) else []
            if self.size > 1:
                self.barrier()
                made = [one for part in self._comm.gather(made) or [] for one in part]
            yield from zip(items[start : start + len(made)], made, strict=True)

    def total(
        self, function: Callable[[Item], Arrays], items: Sequence[Item]
    ) -> Arrays:
        """Return the sums over all items of the arrays that a function makes, in order.

        Neighbours are summed first, in up to 64 segments, so that ranks exchange one
        sum a segment and not one an item. ``items`` must not be empty.
        """
        n = min(SEGMENTS, len(items))

        def add(first: Arrays, second: Arrays) -> Arrays:
            return tuple(a + b for a, b in zip(first, second, strict=True))

        def segment(number: int) -> Arrays:
            start, end = (len(items) * i // n for i in (number, number + 1))
            return reduce(add, (function(item) for item in items[start:end]))

        return reduce(add, self.map(segment, range(n)))

    def from_leader(self, make: Callable[[], Result]) -> Result:
        """Return ``make()``, computed by the leading rank, on every rank."""
        if self.size == 1:
            return make()
        made = make() if self.leads else None
        self.barrier()
        value: Result = self._comm.bcast(made, root=0)
        return value

    def barrier(self) -> None:
        """Wait until every rank is here, without using the processor.

        Inside a collective call most MPI libraries spin: a rank that waits for a slower
        one would take the very core that the slower one needs.
        """
        if self.size > 1:
            request = self._comm.Ibarrier()
            began = time.perf_counter()
            while not request.Test():
                waited = time.perf_counter() - began
                time.sleep(min(max(NAP, waited / 100), LONGEST_NAP))


def blocks(n: int, size: int) -> list[slice]:
    """Return slices of so many of n items, the last of what is left."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def in_blocks(
    make: Callable[[slice], Arrays],
    n: int,
    size: int,
    team: Team,
    files: Sequence[Path | None] | None = None,
) -> Arrays:
    """Return arrays of n rows that are made block by block.

    Parameters
    ----------
    make : callable
        Makes the rows of a slice: a tuple of arrays, each of as many rows.
    n : int
        Number of rows, at least 1.
    size : int
        Rows of a block.
    team : Team
        Shares the blocks; the result does not depend on it.
    files : sequence of path or None, optional
        A file (.npy) for each array: the leading rank writes it and all have it mapped,
        so that none holds the whole. None, and the default: in every rank's memory.
    """
    if files is None or not any(files):
        parts = team.map(make, blocks(n, size))
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))
    writers: list[NpyWriter | None] = []
    in_memory: list[Arrays] = []
    with ExitStack() as closing:
        for _, arrays in team.to_leader(make, blocks(n, size)):
            if not writers:
                for path, array in zip(files, arrays, strict=True):
                    writers.append(_new_file(path, n, array) if path else None)
                    closing.enter_context(writers[-1] or nullcontext())
            for writer, array in zip(writers, arrays, strict=True):
                if writer:
                    writer.write(array)
            in_memory.append(
                tuple(a for a, path in zip(arrays, files, strict=True) if path is None)
            )
    in_memory = team.from_leader(lambda: in_memory)
    joined = (np.concatenate(column) for column in zip(*in_memory, strict=True))
    return tuple(
        next(joined) if path is None else load_array(path, mapped=True)
        for path in files
    )


def _new_file(path: Path, n: int, rows: NDArray[Any]) -> NpyWriter:
    """Open a file for n rows like these."""
    # Who still has the file of a pass before keeps seeing that one.
    path.unlink(missing_ok=True)
    return NpyWriter(path, rows.dtype, (n, *rows.shape[1:]))


def world(expected: int) -> Team:
    """Return the team of all ranks that the launcher started.

    Parameters
    ----------
    expected : int
        Number of ranks asked for. A launcher of another MPI than the one in use
        starts that many teams of one, each of which would do all the work.

    Raises
    ------
    SystemExit
        If the number of ranks is another one.
    """
    global _world
    if expected == 1:
        return _world
    from mpi4py import MPI  # starts MPI; a single process does without

    comm = MPI.COMM_WORLD
    if comm.size != expected:
        sys.exit(
            f"error: started with {comm.size} MPI ranks, expected {expected}: the"
            " launcher and mpi4py belong to different MPI libraries; set"
            " resources.mpi in the profile to the launcher of the library in use."
        )
    _world = Team(comm)
    return _world


_world = Team()  # of this process, as MPI's own world is


def present() -> Team:
    """Return the team that this process is part of, as `world` has made it."""
    return _world
