"""Teams for tests: threads that act as the ranks of one job."""

import threading
from collections.abc import Callable
from typing import Any

from cryokin.parallel import Team


class _Arrived:
    """A request that is fulfilled when all ranks have asked."""

    def __init__(self, comm: "_Comm") -> None:
        comm.shared.barrier.wait()

    def Test(self) -> bool:
        return True


class _Shared:
    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size, timeout=120)
        self.values: list[Any] = [None] * size


class _Comm:
    """What `Team` uses of an MPI communicator."""

    def __init__(self, shared: _Shared, rank: int) -> None:
        self.shared, self.rank, self.size = shared, rank, len(shared.values)

    def Ibarrier(self) -> _Arrived:
        return _Arrived(self)

    def allgather(self, value: Any) -> list[Any]:
        self.shared.values[self.rank] = value
        self.shared.barrier.wait()
        values = list(self.shared.values)
        self.shared.barrier.wait()
        return values

    def gather(self, value: Any) -> list[Any] | None:
        values = self.allgather(value)
        return values if self.rank == 0 else None

    def bcast(self, value: Any, root: int) -> Any:
        return self.allgather(value)[root]


def on_ranks(size: int, work: Callable[[Team], Any]) -> list[Any]:
    """Return what ``work(team)`` returns on each of ``size`` ranks.

    An exception of any rank is raised here.
    """
    if size == 1:
        return [work(Team())]
    shared = _Shared(size)
    results: list[Any] = [None] * size
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            results[rank] = work(Team(_Comm(shared, rank)))
        except BaseException as error:
            errors.append(error)
            shared.barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        if not isinstance(error, threading.BrokenBarrierError):
            raise error
    if errors:
        raise errors[0]
    return results
