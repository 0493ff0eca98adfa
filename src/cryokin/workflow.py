"""What the rules take, by the options of the runs; quick to import, for the workflow.

Runs are mappings of their names to their options, checked and complete.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from cryokin.config import reference, root
from cryokin.errors import InputError
from cryokin.files import read_json
from cryokin.options import Mco, McoAc, McoExmx, Options, SubtomogramOptions
from cryokin.selection import named_selections, selection_path
from cryokin.subtomo.schedule import number_of_starts, schedule

Runs = Mapping[str, Options]

#: Space on a disk that no job can work with [byte].
FULL = 2**20

#: Ranks share the work. Snakemake tells the libraries of a job to use as many threads
#: as the job has cores; that many on each rank would only fight with each other.
ON_RANKS = (
    "{resources.mpi} -n {resources.tasks} env OMP_NUM_THREADS=1"
    " OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1"
)

#: Tables whose images are in other files.
TABLES = (".star", ".xml", ".tbl", ".cs")


def pattern(names: Iterable[str]) -> str:
    """Return a pattern that matches these names alone, and nothing if there are none.

    Examples
    --------
    >>> pattern(["demo", "other"])
    'demo|other'
    >>> pattern([])
    '(?!)'
    """
    return "|".join(map(re.escape, names)) or "(?!)"


def numbers(runs: Runs, key: str, form: str) -> str:
    """Return a pattern of the numbers from 1 to the largest that an option has.

    Parameters
    ----------
    runs : mapping
    key : str
        The option; runs without it do not count.
    form : str
        How the numbers are written, e.g. ``{:04d}``.
    """
    largest = max((getattr(o, key, 0) for o in runs.values()), default=0)
    return pattern(form.format(number) for number in range(1, largest + 1))


def prefix(home: Path, beside: Path | None) -> str:
    """Return what stands before all commands: where programs and libraries are.

    Scripts run as ``python script.py``, with the interpreter and the MPI launcher that
    stand beside Snakemake's own, also when its environment is not activated.

    Parameters
    ----------
    home : Path
        The folder of the workflow.
    beside : Path or None
        The folder of these; None where jobs have environments of their own.
    """
    first = f"{shlex.quote(str(beside))}:" if beside else ""
    text = (
        f"set -euo pipefail; export CRYOKIN={shlex.quote(str(home))} PATH={first}$PATH;"
        ' export PYTHONPATH="$CRYOKIN"/src${PYTHONPATH:+:$PYTHONPATH}; '
    )
    return text.replace("{", "{{").replace("}", "}}")  # Snakemake formats it


def files(wildcards: Any, input: Any, output: Any) -> str:
    """Return the inputs and outputs of a rule with names, as options of its script.

    A parameter that is made of input and output is none by which jobs are made again.
    """
    named = [one for of in (input, output) for one in of.items()]
    words = [(f"--{key.replace('_', '-')}", value) for key, value in named if value]
    return shlex.join(
        word
        for flag, value in words
        for word in [flag, *([value] if isinstance(value, str) else value)]
    )


def command(script: str, *values: str, mpi: bool = False, **named: str) -> str:
    """Return the command that runs a rule's script with its `files` and more values.

    Parameters
    ----------
    script : str
        Its name.
    *values : str
        ``params.radius`` is the option ``--radius``; ...
    mpi : bool, optional
        Whether it runs on ranks.
    **named : str
        ... one of another name is a keyword.
    """
    named = {value.rpartition(".")[2]: value for value in values} | named
    more = [f"--{key.replace('_', '-')} {{{value}:q}}" for key, value in named.items()]
    more += ["--ranks {resources.tasks}"] * mpi
    start = f"{ON_RANKS} python -m mpi4py" if mpi else "python"
    # Of the folder of the workflow no command knows: it would count as changed, and all
    # results as out of date, when the folder is moved.
    place = f'"$CRYOKIN"/workflow/scripts/run.py {script}'
    return f"{start} {place} {{params.files}} {' '.join(more)} > {{log}} 2>&1"


def heard_interrupts() -> list[int]:
    """Return a list that will hold each Ctrl-C, which still does what it did.

    A terminal that is closed counts as one, or jobs would outlive the call; not where
    nohup has it passed over.
    """
    heard: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def hear(number: int, frame: Any) -> None:
        heard.append(number)
        signal.default_int_handler(number, frame)

    if threading.current_thread() is threading.main_thread():
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, hear)
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGINT))
    return heard


def check_slurm() -> None:
    """Raise `InputError` if no Slurm can be reached from this machine."""
    try:
        asked = subprocess.run(
            ["scontrol", "ping"], capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        asked = None
    if asked is None or asked.returncode:
        raise InputError(
            "scontrol ping: no Slurm answers on this machine; say the command on a"
            " login node of the cluster, or give the profile local."
        )


def told_of_disk(folder: str) -> str:
    """Return a line if the disk is full that a folder is on, else nothing.

    The logs of the jobs that failed of it are on the same disk, and empty.
    """
    if not os.path.isdir(folder) or shutil.disk_usage(folder).free > FULL:
        return ""
    place = os.path.abspath(folder)
    return f"{place}: the disk is full; make space, then say the same command again.\n"


# ------------------------------------------------------------------------- particles


def particles_of(run: str, runs: Runs) -> str:
    """Return the file of a run's particles, which may be a list of another run."""
    particles: str = runs[run].particles
    found = reference(particles)
    if found is None:
        return particles
    other, which = found
    is_2d = runs[other].method == "isac"
    if which.startswith("class/"):
        which = f"class_{int(which.removeprefix('class/')):04d}"
    if is_2d and runs[run].method != "isac":
        is_star = runs[root(other, runs)].particles.lower().endswith(".star")
        return f"results/{other}/subtomograms/{which}{'.star' if is_star else '.xml'}"
    if which.startswith("selected"):
        name = "particles_selected.star" if is_2d else "filtered_pl.xml"
        return f"results/{other}/{which}/{name}"
    return f"results/{other}/subsets/{which}{'.star' if is_2d else '.xml'}"


def of_slabs(runs: Runs) -> dict[str, str]:
    """Return the runs whose images are slabs, and the run that made these."""
    made = {run: root(run, runs) for run in runs if runs[run].method == "isac"}
    return {run: first for run, first in made.items() if runs[first].as_dict()["slab"]}


def countable(runs: Runs) -> list[str]:
    """Return the runs whose particles are known now, not only when another is done."""
    return [
        run
        for run, options in runs.items()
        if not reference(options.particles) or existing(particles_of(run, runs))
    ]


def needs_images(options: Options, made: Collection[str]) -> bool:
    """Whether a run starts from a table whose images are in other files.

    Images of what the workflow makes itself (``made``), or lists of another run, are no
    files to look after: they come with their table.
    """
    particles: str = options.particles
    if reference(particles) or particles in made:
        return False
    return particles.lower().endswith(TABLES)


def lost_images(run: str) -> list[str]:
    """Return the images of a run that are gone since they were imported."""
    folder = Path("results", run, "import")
    if not (folder / "import.json").exists() or not (folder / "images.txt").exists():
        return []
    names = (folder / "images.txt").read_text().splitlines()
    return [name for name in names if not os.path.exists(name)]


def given_files(options: Options, made: Collection[str]) -> dict[str, str]:
    """Return the files that a run starts from, by the keys that name them.

    Parameters
    ----------
    options : Options
        Of the run.
    made : collection of str
        Files that the workflow makes itself, which need not be there.
    """
    keys = ("particles", "tomograms", "mask", "focus_mask", "ccc")
    known = options.as_dict()
    named = {key: known.get(key) for key in keys}
    named["tilted"] = (known.get("tilted") or {}).get("particles")
    return {
        key: path
        for key, path in named.items()
        if isinstance(path, str) and path not in made and not reference(path)
    }


def is_recorded(path: str) -> bool:
    """Whether Snakemake knows from what it made a file, by which it sees changes."""
    name = base64.urlsafe_b64encode(path.encode()).decode()
    return os.path.exists(f".snakemake/metadata/{name}")


def check_options(run: str, options: Options) -> None:
    """Raise `InputError` if results are of other options and nothing would be remade.

    Snakemake makes again what depends on an option that changed, as long as it has its
    records. Without them results are compared with the options they were made with.
    """
    estimated = f"results/{run}/estimate.json"
    if not os.path.exists(estimated) or is_recorded(estimated):
        return
    try:
        before = read_json(estimated)["options"].items()
    except (ValueError, KeyError, AttributeError):
        return  # Not what the workflow wrote; nothing is known.
    now = json.loads(json.dumps(options.as_dict()))
    for key, value in before:
        if key in now and not same_value(value, now[key]):
            raise InputError(
                f"runs.{run}.{key} = {now[key]}: results/{run} was made with"
                f" {value}, and Snakemake's records, which tell what must be made"
                f" again, are gone ({os.path.abspath('.snakemake')}); set it back,"
                f" bring them back, or move results/{run} away to make it anew."
            )


def same_value(one: Any, other: Any) -> bool:
    """Whether two options are the same, or name one file in two ways."""
    texts = isinstance(one, str) and isinstance(other, str)
    return one == other or (texts and os.path.abspath(one) == os.path.abspath(other))


def check(runs: Runs, made: Collection[str]) -> None:
    """Raise `InputError` if a run cannot start from its files, results and options.

    What only the import reads may be gone when that is done.
    """
    if os.path.exists("results") and not os.path.isdir("results"):
        raise InputError(
            f"{os.path.abspath('results')}: is no folder, and results go there; give it"
            " another name, or give another folder by --directory."
        )
    for run, options in runs.items():
        check_options(run, options)
        files = given_files(options, made)
        if os.path.exists(f"results/{run}/import/import.json"):
            files = {}
        if options.selection:
            files["selection"] = options.selection
        for key, path in files.items():
            if not os.path.exists(path):
                raise InputError(
                    f"runs.{run}.{key} = {path}: there is no such file, seen from"
                    f" {os.getcwd()}; give its path from there, or a whole path."
                )
        other, which = reference(options.particles) or ("", "")
        if which.startswith("selected") and not is_selected(other, runs, which):
            raise InputError(
                f"runs.{run}.particles = {options.particles}: nothing says which"
                f" classes of run {other} are kept; {_how_to_select(other, which)}."
            )


# ------------------------------------------------------------------------- selection


def existing(*paths: str) -> list[str]:
    """Return those of some files that are there."""
    return [path for path in paths if os.path.exists(path)]


def selection_file(run: str, runs: Runs, folder: str = "selected") -> list[str]:
    """Return the user's selection of a run's classes, where there is one.

    Parameters
    ----------
    run : str
    runs : mapping
    folder : str
        Where its particles come to: ``selected``, or ``selected.<name>`` of one that
        has a name.
    """
    name = folder.partition(".")[2]
    chosen = None if name else runs[run].selection
    return [chosen] if chosen else existing(str(selection_path(run, name)))


def is_selected(run: str, runs: Runs, folder: str = "selected") -> bool:
    """Whether the classes of a run are selected, by hand or by rule."""
    by_rule = folder == "selected" and runs[run].select
    return bool(selection_file(run, runs, folder) or by_rule)


def _how_to_select(run: str, folder: str) -> str:
    name = folder.partition(".")[2]
    rule = "" if name else f", or set runs.{run}.select"
    return f"save a selection in its report as {selection_path(run, name)}{rule}"


def selection_needed(run: str, runs: Runs, folder: str = "selected") -> list[str]:
    """Return the user's selection of a run, or nothing where the run selects by rule.

    Raises
    ------
    InputError
        If there is neither.
    """
    if not is_selected(run, runs, folder):
        raise InputError(
            f"{run}: nothing says which classes are kept;"
            f" {_how_to_select(run, folder)}."
        )
    return selection_file(run, runs, folder)


def selected_particles(runs: Runs) -> list[str]:
    """Return the particles of the classes that are kept, by each selection there is."""
    names = {True: "{}/particles_selected.star", False: "{}/filtered_pl.xml"}
    slabs = of_slabs(runs)
    return [
        f"results/{run}/{name.format(folder)}"
        for run, options in runs.items()
        for folder in ["selected", *(f"selected.{n}" for n in named_selections(run))]
        if is_selected(run, runs, folder)
        for name in (
            names[options.method == "isac"],
            *["subtomograms/{}.star"] * (run in slabs),
        )
    ]


def class_number(name: str) -> int:
    """Return the class number in the name of a list; -1 for the unaccounted.

    Examples
    --------
    >>> class_number("class_0007"), class_number("unaccounted")
    (7, -1)
    """
    return int(name.removeprefix("class_").replace("unaccounted", "-1"))


# ------------------------------------------------------------------------ generations


def generation_folder(run: str, number: int) -> str:
    """Return the folder of a generation."""
    return f"results/{run}/generation_{number:04d}"


def pool(run: str, generation: int) -> str:
    """Return the particles that a generation starts from: what the last left over."""
    number = generation - 1
    return f"{generation_folder(run, number)}/generation_{number}_unaccounted.txt"


def left_over(run: str, generation: int, number: int) -> str:
    """Return the particles that a round starts from: in no candidate so far."""
    if number == 1:
        return pool(run, generation)
    return f"{generation_folder(run, generation)}/round_{number - 1:04d}/left.txt"


def same_generation(folder: str, number: str) -> int:
    """Return the generation that both numbers in the name of a file tell.

    Raises
    ------
    InputError
        If they differ.
    """
    if int(folder) != int(number):
        raise InputError(
            f"generation_{folder} holds no file of generation {int(number)}; ask for"
            f" generation_{int(number):04d} instead."
        )
    return int(number)


def group_of_name(group: str) -> tuple[tuple[str, int] | None, int]:
    """Return which averages the name of a group means, and its number among them.

    Groups of a generation count from 0, as in the manual's recipe; classes of the run
    from 1, as everywhere.

    Returns
    -------
    where : (str, int) or None
        ``candidate_`` or nothing, and the generation; None for the classes of the run.
    number : int
        From 0.

    Examples
    --------
    >>> group_of_name("class_0001")
    (None, 0)
    >>> group_of_name("candidate_generation_0002_group_003")
    (('candidate_', 2), 3)
    """
    name, _, number = group.rpartition("_")
    if name == "class":
        return None, int(number) - 1
    generation = int(name.removesuffix("_group").rpartition("_")[2])
    kind = "candidate_" if name.startswith("candidate_") else ""
    return (kind, generation), int(number)


# -------------------------------------------------------------------- subtomograms


def cpca_start(run: str, options: SubtomogramOptions) -> list[str]:
    """Return the classes of CPCA, where a run of MCO starts from them."""
    wanted = isinstance(options, Mco) and options.start_from == "cpca"
    wanted = wanted and options.compat == "none"
    return [f"results/{run}/cpca/labels.npy"] * wanted


def exmx_starts(run: str, options: McoExmx) -> list[str]:
    """Return what the jobs write that run the starts of EXMX.

    PyTom's own way has one start, and needs none of them.
    """
    if options.compat == "pytom":
        return []
    jobs = -(-number_of_starts(options) // options.starts_per_job)
    return [f"results/{run}/mco_exmx/starts_{job:04d}.npz" for job in range(jobs)]


def annealing_rounds(run: str, options: McoAc) -> list[str]:
    """Return the states of all rounds of annealing."""
    rounds = len(schedule(options.temperature, options.temperature_step))
    return [f"results/{run}/mco_ac/round_{r:04d}.npz" for r in range(rounds)]


def annealing_before(run: str, options: McoAc, number: int) -> list[str]:
    """Return the state of the round before, of all but the first.

    Raises
    ------
    InputError
        If there is no such round.
    """
    rounds = annealing_rounds(run, options)
    if number >= len(rounds):
        raise InputError(f"{run}: there are {len(rounds)} rounds only.")
    return rounds[number - 1 : number] if number else []


def labels(run: str, options: SubtomogramOptions, merged: bool = False) -> str:
    """Return the classes of a run: of its method, or that independent runs agree on.

    Parameters
    ----------
    run : str
    options : SubtomogramOptions
    merged : bool, optional
        Whether merged ones come first, where there are.
    """
    folder = options.method
    if options.reproducible:
        folder = "reproducible"
    if merged and options.merge:
        folder = "merged"
    return f"results/{run}/{folder}/labels.npy"


def classes(run: str, options: SubtomogramOptions) -> str:
    """Return what is known of the classes among which the user selects."""
    folder = "merged/" if options.merge else ""
    return f"results/{run}/{folder}classes.json"


def report_files(run: str, options: SubtomogramOptions) -> dict[str, str]:
    """Return the files that the report shows, as method and options make them."""
    method, agreed = options.method, options.reproducible
    names = {
        "labels": "classes.csv",
        "classes": "classes.json",
        "imported": "import/import.json",
        "poses": "prepared/poses.npz",
        "differences": "differences.json",
    }
    if method == "cpca" or cpca_start(run, options):
        names |= {"eigen": "eigen.json", "coefficients": "coefficients.npy"}
    # Classes that independent runs agree on come from runs of their own.
    if agreed:
        names["reproducible"] = "reproducible.json"
    elif method == "mco_exmx":
        names["exmx"] = "exmx.json"
    elif method == "mco_ac":
        names["annealing"] = "annealing.json"
    if options.merge:
        names |= {"merge": "merge.json", "merged": "merged/classes.json"}
    return {key: f"results/{run}/{name}" for key, name in names.items()}


# ------------------------------------------------------------------------- resources


def memory(each: float, shared: float, own: float = 0) -> Callable[..., int]:
    """Return memory of a job on a node [MB]: with ranks and input, more when it failed.

    Parameters
    ----------
    each : float
        What every rank takes [MB].
    shared : float
        The multiple of the input that all ranks of a node share.
    own : float, optional
        The multiple of it that every rank holds.
    """

    # Snakemake hands these over by their names.
    def of_job(wildcards: Any, input: Any, threads: int, attempt: int) -> int:
        size = input.size_mb
        whole = threads * (each + own * size) + shared * size
        return int((1 + attempt) / 2 * whole)

    return of_job


def minutes(base: float, per_gb: float = 0) -> Callable[..., int]:
    """Return the time limit of a job [minute]: more with the input, and when it failed.

    Parameters
    ----------
    base : float
        [minute]
    per_gb : float, optional
        [minute per GB of input]
    """

    def of_job(wildcards: Any, input: Any, attempt: int) -> int:
        return int(attempt * (base + per_gb * input.size_mb / 1000))

    return of_job
