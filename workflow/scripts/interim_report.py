"""Make the report of a run that goes on, from what it has done so far."""

import argparse
from pathlib import Path

import yaml

from cryokin.config import load_runs
from cryokin.errors import InputError, exit_on_input_error
from cryokin.files import write_text
from cryokin.report.interim import interim_page, is_finished
from cryokin.yaml_files import read_yaml

SCHEMA = Path(__file__).parents[1] / "schemas/config.schema.yaml"


def main() -> None:
    """Read what is there, write one page, and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--run", required=True, help="name of the run")
    add("--directory", type=Path, default=Path(), help="folder that holds results/")
    add("--configfile", type=Path, help="default: config/config.yaml below the folder")
    arguments = parser.parse_args()

    folder, run = arguments.directory, arguments.run
    config = arguments.configfile or folder / "config/config.yaml"
    content = read_yaml(config)
    if not isinstance(content, dict):
        raise InputError(f"{config}: no mapping; give a configuration with runs.")
    runs = load_runs(content, str(config))
    if run not in runs:
        raise InputError(
            f"{config}: there is no run {run}, only {', '.join(runs)}; name one of"
            " them, or the configuration of the run by --configfile."
        )
    options = runs[run]
    methods = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))["$defs"]
    schema = methods[options["method"]]["properties"]
    results = folder / "results" / run
    page = results / "report/index.html"
    if not is_finished(results):
        page = page.with_name("interim.html")
        write_text(page, interim_page(run, options, results, schema))
    print(page)


if __name__ == "__main__":
    exit_on_input_error(main)
