"""Turn a classification job of PyTom (class.xml) into a run of the configuration.

    python workflow/scripts/pytom_job.py JOB.xml > my.yaml

The job's particles are written to JOB_particles.xml beside it. What the run does in
another way than the job says is told on standard error.
"""

import argparse
import sys
from pathlib import Path

import yaml

from cryokin.errors import exit_on_input_error
from cryokin.subtomo.job import convert


def main() -> None:
    """Read the job, write its particles, print the configuration."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("job", type=Path, help="MCOEXMXJob or MCOACJob, .xml")
    parser.add_argument("--name", default="job", help="of the run")
    parser.add_argument(
        "--compat", default="none", choices=("none", "pytom"), help="whose rules"
    )
    arguments = parser.parse_args()
    config, told = convert(arguments.job, arguments.name, arguments.compat)
    for what in told:
        print(
            f"{arguments.job}: {what} is not used, see config/README.md",
            file=sys.stderr,
        )
    yaml.safe_dump(config, sys.stdout, sort_keys=False)


if __name__ == "__main__":
    exit_on_input_error(main)
