"""The words of ``cryokin``: each does one thing, or hands it to the workflow."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cryokin.command.call import call_snakemake, workflow_folder
from cryokin.errors import exit_on_input_error

CONFIG = Path("config/config.yaml")  # where Snakemake looks for it

#: Words that are scripts of the workflow, which read their own command line.
SCRIPTS = {
    "report": ("interim_report.py", "the report of a run, also while it goes on"),
    "select": ("select_in_browser.py", "pick the classes of a run in the browser"),
    "relion": ("relion_external.py", "run as a job of RELION's type External"),
    "job": ("pytom_job.py", "a configuration from a job file of PyTom"),
}


def main() -> None:
    """Entry point of the console script."""
    exit_on_input_error(lambda: sys.exit(command(sys.argv[1:])))


def command(words: Sequence[str]) -> int:
    """Do what some words say, and return the exit status."""
    # A script reads its words itself, also --help.
    if words and words[0] in SCRIPTS:
        script = workflow_folder() / "workflow/scripts" / SCRIPTS[words[0]][0]
        os.execv(sys.executable, [sys.executable, str(script), *words[1:]])
    chosen, rest = _parser().parse_known_args(words)
    if rest and not chosen.takes_more:
        _parser().error(f"unrecognized arguments: {' '.join(rest)}")
    act: Callable[[argparse.Namespace, list[str]], int] = chosen.act
    return act(chosen, rest)


def _parser() -> argparse.ArgumentParser:
    """Return the reader of the command line."""
    parser = argparse.ArgumentParser(
        prog="cryokin", description="Reproducible classes among noisy particles."
    )
    parser.set_defaults(takes_more=False)
    words = parser.add_subparsers(required=True, metavar="WORD")
    init = words.add_parser(
        "init", help="write a configuration for some particles, with its reasons"
    )
    init.add_argument("particles", help="table or stack of images or subtomograms")
    init.add_argument("--diameter", type=float, help="of the particle [A]")
    init.add_argument("--name", default="first", help="of the run; default: first")
    init.add_argument(
        "--output", type=Path, default=CONFIG, help=f"the file; default: {CONFIG}"
    )
    init.set_defaults(act=_init)
    inspect = words.add_parser("inspect", help="say what a file of particles holds")
    inspect.add_argument("file", help="table or stack of images or subtomograms")
    inspect.set_defaults(act=_inspect)
    for one in (init, inspect):
        one.add_argument(
            "--pixel-size", type=float, help="[A], where no file says it, or wrongly"
        )
    for name, text in (
        ("run", "make the results; once more to go on, also after a crash"),
        ("estimate", "say what a run will take, before it is made"),
    ):
        run = words.add_parser(
            name,
            help=text,
            epilog="Everything else is handed to snakemake: targets, --cores 8, -n.",
            allow_abbrev=False,  # --config is Snakemake's
        )
        run.add_argument("--configfile", type=Path, help=f"default: {CONFIG} below")
        run.add_argument(
            "--directory", type=Path, default=Path(), help="where results/ are made"
        )
        run.add_argument(
            "--profile", default="local", help="local, slurm or a folder of your own"
        )
        run.add_argument(
            "--verbose", action="store_true", help="all that Snakemake says"
        )
        run.set_defaults(act=_run, word=name, takes_more=True)
    for name, (_, text) in SCRIPTS.items():
        words.add_parser(name, help=text, add_help=False)
    return parser


def _init(chosen: argparse.Namespace, rest: list[str]) -> int:
    from cryokin.command.facts import facts_of
    from cryokin.command.propose import write_configuration

    facts = facts_of(chosen.particles, chosen.diameter, chosen.pixel_size)
    write_configuration(chosen.output, chosen.name, facts)
    given = "" if chosen.output == CONFIG else f" --configfile {chosen.output}"
    print(f"{chosen.output}: written; read it, then say: cryokin run{given}")
    return 0


def _inspect(chosen: argparse.Namespace, rest: list[str]) -> int:
    from cryokin.command.facts import facts_of

    facts = facts_of(chosen.file, None, chosen.pixel_size)
    print("\n".join(facts.sentences()))
    return 0


def _run(chosen: argparse.Namespace, rest: list[str]) -> int:
    targets = ["estimate", *rest] if chosen.word == "estimate" else rest
    return call_snakemake(
        chosen.directory, chosen.configfile, chosen.profile, targets, chosen.verbose
    )
