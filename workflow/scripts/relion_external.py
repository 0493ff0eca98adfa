#!/usr/bin/env python3
r"""Run the workflow as a job of RELION's type External.

In RELION's window: External executable = this file, Input particles = a particle table,
and on the Params tab the options of a run (config/README.md) as labels with values, for
example radius 90, img_per_grp 100, CTF true. On the command line, in the folder of the
RELION project:

    relion_external.py --o External/job010/ --in_parts Extract/job005/particles.star \
        --radius 90 --img_per_grp 100 --j 16

The job's folder gets the results of the workflow below results/, and for the next job:
particles.star (those in selected classes, or in any class), unaccounted.star,
class_averages.star, and for images the classes as RELION keeps its own
(run_it000_optimiser.star).

RELION's environment may have any Python 3: this file asks no more of it.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXIT = "RELION_JOB_EXIT_"


def own_python() -> "Path | None":
    """Return the Python that this program is installed for, where it is another one.

    That of a checkout, else that of the environment the workflow was installed into.
    """
    environment = ROOT.parent.parent
    homes = [ROOT / ".venv"]
    homes += [environment] * (environment / "share/cryokin" == ROOT)
    for home in homes:
        python = home / "bin/python"
        if python.exists():
            return None if Path(sys.prefix).resolve() == home.resolve() else python
    return None


def main() -> int:
    """Leave RELION's file that says how the job ended, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--o", required=True, type=Path, help="folder of the job")
    parser.add_argument("--j", type=int, default=1, help="cores")
    parser.add_argument("--pipeline_control", help="RELION's; the folder again")
    arguments, words = parser.parse_known_args()
    folder = arguments.o
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{EXIT}*"):
        old.unlink()
    # A job that a queue ends, too, says so.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    ended = "FAILURE"
    try:
        from cryokin.command.relion_job import finished

        ended = "SUCCESS" if finished(ROOT, folder, words, arguments.j) else "ABORTED"
    except ModuleNotFoundError as error:
        sentence = f"error: {sys.executable}: {error}; say make setup in {ROOT}."
        print(sentence, file=sys.stderr)
    finally:
        (folder / f"{EXIT}{ended}").touch()
    return int(ended != "SUCCESS")


if __name__ == "__main__":
    python = own_python()
    if python is not None:  # RELION's own Python need know nothing of this program
        for name in ("PYTHONHOME", "PYTHONPATH"):
            os.environ.pop(name, None)
        os.execv(python, [str(python), *sys.argv])
    sys.exit(main())
