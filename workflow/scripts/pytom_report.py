"""Make the report of a classification of subtomograms: a page for a browser."""

import argparse
import json
from pathlib import Path

import yaml

from cryokin.errors import exit_on_input_error
from cryokin.files import atomic_folder, write_text
from cryokin.report.pytom_files import PytomFiles, read_report
from cryokin.report.pytom_page import figure_files, page


def main() -> None:
    """Read the files of the run, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--run", required=True, help="name of the run")
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--schema", type=Path, help="schema of the configuration, for the options")
    add("--labels", required=True, type=Path, help="classes.csv")
    add("--classes", type=Path, help="classes.json")
    add("--averages", nargs="*", default=[], type=Path, help="volumes, one a class")
    add("--eigen", type=Path, help="eigen.json")
    add("--coefficients", type=Path, help="coefficients.npy")
    add("--exmx", type=Path, help="exmx.json")
    add("--annealing", type=Path, help="annealing.json")
    add("--reproducible", type=Path, help="reproducible.json")
    add("--differences", type=Path, help="differences.json")
    add("--merge", type=Path, help="merge.json")
    add("--merged", type=Path, help="merged/classes.json")
    add("--poses", type=Path, help="prepared/poses.npz")
    add("--imported", type=Path, help="import/import.json")
    add("--results", type=Path, help="results/<run>, for what the jobs took")
    add("--page", required=True, type=Path, help="output, e.g. report/index.html")
    add("--figures", required=True, type=Path, help="output, folder of the figures")
    arguments = vars(parser.parse_args())
    run, options = arguments.pop("run"), arguments.pop("options")
    output, schema = arguments.pop("page"), arguments.pop("schema")
    folder = arguments.pop("figures")
    entries = {}
    if schema is not None:
        methods = yaml.safe_load(schema.read_text(encoding="utf-8"))["$defs"]
        entries = methods[options["method"]]["properties"]

    report = read_report(run, options, PytomFiles(**arguments), entries)
    with atomic_folder(folder) as partial:
        for name, figure in figure_files(report).items():
            write_text(partial / f"{name}.svg", figure)
    write_text(output, page(report))


if __name__ == "__main__":
    exit_on_input_error(main)
