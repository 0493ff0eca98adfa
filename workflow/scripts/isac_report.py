"""Make the report of an ISAC run: a page to open in a browser, a gallery as PNG."""

import argparse
import json
from pathlib import Path

import yaml

from cryokin.errors import exit_on_input_error
from cryokin.files import atomic, atomic_folder, write_text
from cryokin.report.isac_files import IsacFiles, read_report
from cryokin.report.isac_page import contact_sheet, figure_files, page


def main() -> None:
    """Read the files of the run, write page and gallery."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--run", required=True, help="name of the run")
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--schema", type=Path, help="schema of the configuration, for the options")
    add("--import", required=True, type=Path, dest="imported", help="import.json")
    add("--working-stack", required=True, type=Path, help="working_stack.json")
    add("--averages", required=True, type=Path, help="class_averages.mrcs")
    add("--classes", required=True, type=Path, help="classes.star")
    add("--members", required=True, type=Path, help="class_averages.hdf")
    add("--frc", required=True, type=Path, help="frc.json")
    add("--status", nargs="*", default=[], type=Path, help="status.json, all of them")
    add("--poses", type=Path, help="classes.csv")
    add("--candidates", type=Path, help="candidates of the first generation, .hdf")
    add("--rounds", nargs="*", default=[], type=Path, help="state.json of the rounds")
    add("--prealigned", type=Path, help="2dalignment/aqfinal.hdf")
    add("--shifts", type=Path, help="2dalignment/initial2Dparams.txt")
    add("--results", type=Path, help="results/<run>, for what the jobs took")
    add("--page", required=True, type=Path, help="output, e.g. report/index.html")
    add("--gallery", required=True, type=Path, help="output, e.g. report/gallery.png")
    add("--figures", required=True, type=Path, help="output, folder of the figures")
    arguments = vars(parser.parse_args())
    run, options = arguments.pop("run"), arguments.pop("options")
    outputs = arguments.pop("page"), arguments.pop("gallery")
    folder = arguments.pop("figures")
    schema = arguments.pop("schema")
    entries = {}
    if schema is not None:
        methods = yaml.safe_load(schema.read_text(encoding="utf-8"))["$defs"]
        entries = methods["isac"]["properties"]

    report = read_report(run, options, IsacFiles(**arguments), entries)
    with atomic(outputs[1]) as partial:
        partial.write_bytes(contact_sheet(report))
    with atomic_folder(folder) as partial:
        for name, figure in figure_files(report).items():
            write_text(partial / f"{name}.svg", figure)
    write_text(outputs[0], page(report))


if __name__ == "__main__":
    exit_on_input_error(main)
