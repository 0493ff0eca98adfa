import sys
import time
from pathlib import Path

from cryokin.errors import InputError
from cryokin.files import write_json, write_text
from cryokin.parallel import Team
from cryokin.selftest import selftest
from cryokin.selftest import summary as told


def selftest_mpi_ranks(*, team: Team, found: Path, summary: Path) -> None:
    """Prove that the MPI of a profile works, before anything long is started."""
    start = time.monotonic()
    try:
        seen = selftest(team, found.parent)
    except InputError as error:  # the same on all ranks: told once
        team.log(f"error: {error}")
        team.barrier()
        sys.exit(1)
    if team.leads:
        write_json(found, seen)
        write_text(summary, told(seen, time.monotonic() - start))
