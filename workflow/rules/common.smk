import json

from cryokin import workflow as plan
from cryokin.files import read_json
from cryokin.workflow import command, files, memory, minutes
from cryokin.workflow import pattern as only

# As many ranks as a job may have threads: --max-threads, by a profile or a command line.
N_RANKS = workflow.resource_settings.max_threads or 2
OWN = workflow.deployment_settings.deployment_method
shell.prefix(plan.prefix(HOME, None if OWN else Path(sys.executable).parent))


# `snakemake --lint` would have all functions here; what only the rules of one method
# take from their wildcards stands beside these rules, and is no more than a path.


def runs_of(*methods):
    """The names of the runs of some methods."""
    return [run for run in RUNS if RUNS[run].method in methods]


RUNS_2D, RUNS_3D = runs_of("isac"), runs_of("cpca", "mco_exmx", "mco_ac")


wildcard_constraints:
    run=only(RUNS),
    # Generations and rounds count from 1; 0000 holds what the first starts from. Beyond
    # the limits of the runs there is nothing to be made.
    folder=plan.numbers(RUNS, "n_generations", "{:04d}"),
    generation=plan.numbers(RUNS, "n_generations", "{:d}"),
    round=plan.numbers(RUNS, "max_round", "{:04d}"),


def checked(function, *arguments):
    """What a function returns; or the one sentence, where the user's mistake is told."""
    try:
        return function(*arguments)
    except InputError as error:
        sys.exit(f"error: {error}")


def options(*keys):
    """Those options of a run that a rule depends on, as JSON for its script."""
    return lambda w: json.dumps(
        {key: getattr(RUNS[w.run], key) for key in keys if hasattr(RUNS[w.run], key)}
    )


def file_option(key):
    """What an option of a run names, where that is a file."""

    def of_run(wildcards):
        value = getattr(RUNS[wildcards.run], key, None)
        return [value] if isinstance(value, str) else []

    return of_run


def outputs(of, **wildcards):
    """The outputs of some rules, as plain names."""
    return [str(path).format(**wildcards) for rule in of for path in rule.output]


# The folder of a selection, which has its name where it has one.
SELECTED = r"selected(\.[A-Za-z0-9_-]+)?"


def selection_needed(wildcards):
    """The user's selection of a run, or nothing where the run selects by rule."""
    return checked(plan.selection_needed, wildcards.run, RUNS, wildcards.selected)


def options_and_select(*keys):
    """As `options`, and the rule of a selection where there is no file of it."""

    def of_run(wildcards):
        by_hand = plan.selection_file(wildcards.run, RUNS, wildcards.selected)
        return options(*keys, *(() if by_hand else ("select",)))(wildcards)

    return of_run


def class_number(wildcards):
    """The class number in the name of a list; -1 for the unaccounted."""
    return plan.class_number(wildcards.which)
