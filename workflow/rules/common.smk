import contextlib
import fcntl
import functools
import json
import logging
import math
import os
import shlex
import signal
import tempfile
import threading
import time
import uuid

from cryokin import leftovers
from cryokin.config import reference
from cryokin.files import check_sizes, end_the_future, read_json
from cryokin.io.behind import files_behind, state_of
from cryokin.pytom.schedule import number_of_starts, schedule


def put_first(variable, folder):
    """Put a folder before those that an environment variable lists."""
    listed = filter(None, [os.environ.get(variable)])
    os.environ[variable] = os.pathsep.join([folder, *listed])


# Steps run as "python script.py": take the interpreter and the MPI launcher that stand
# beside the one that runs Snakemake, also when its environment is not activated. A
# conda environment of a rule is activated later and still comes first.
put_first("PATH", os.path.dirname(sys.executable))
put_first("PYTHONPATH", f"{workflow.basedir}/src")
# Ranks share the work. Snakemake tells the libraries of a job to use as many threads as
# the job has cores; that many on each rank would only fight with each other.
ONE_THREAD = "env OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1"
# A command that held the folder of the workflow would count as changed, and all results
# as out of date, when the folder is moved or named another way.
os.environ.update(CRYOKIN=workflow.basedir)
SCRIPTS = '"$CRYOKIN"/workflow/scripts'
RANKS = "{resources.mpi} -n {resources.tasks}"
# As many ranks as a job may have threads: --max-threads, by a profile or a command line.
N_RANKS = workflow.resource_settings.max_threads or 2
MPI_SCRIPT = f"{RANKS} {ONE_THREAD} python -m mpi4py {SCRIPTS}"
SCRIPT = f"python {SCRIPTS}"


INTERRUPTS = []  # what told Snakemake to end, as long as it lasts
SUBTOMOGRAM_METHODS = ("cpca", "mco_exmx", "mco_ac")


def runs_of(*methods):
    """The names of the runs of some methods."""
    return [run for run, chosen in RUNS.items() if chosen["method"] in methods]


def only(runs):
    """A pattern that matches these runs alone, if there are any."""
    return "|".join(map(re.escape, runs)) or "(?!)"


RUNS_2D, RUNS_3D = runs_of("isac"), runs_of(*SUBTOMOGRAM_METHODS)


def numbers_to(limit, form):
    """A pattern of the numbers from 1 to a limit, written in some form."""
    return only([form.format(number) for number in range(1, limit + 1)])


def limit(key):
    """The largest value that an option has in any run for images."""
    return max((RUNS[run][key] for run in RUNS_2D), default=0)


wildcard_constraints:
    run=only(RUNS),
    # Generations and rounds count from 1; 0000 holds what the first starts from. Beyond
    # the limits of the runs there is nothing to be made.
    folder=numbers_to(limit("n_generations"), "{:04d}"),
    generation=numbers_to(limit("n_generations"), "{:d}"),
    round=numbers_to(limit("max_round"), "{:04d}"),


def existing(*paths):
    """Those of some files that are there."""
    return [path for path in paths if os.path.exists(path)]


def selection_file(run):
    """The user's selection of a run's classes, where there is one."""
    chosen = RUNS[run]["selection"]
    return [chosen] if chosen else existing(f"config/selection/{run}.yaml")


def is_selected(run):
    """Whether the classes of a run are selected, by hand or by rule."""
    return bool(selection_file(run) or RUNS[run]["select"])


def selection_needed(wildcards):
    """The user's selection of a run, or nothing where the run selects by rule."""
    if not is_selected(wildcards.run):
        sys.exit(
            f"error: {wildcards.run}: nothing says which classes are kept; save a selection in"
            f" the report as config/selection/{wildcards.run}.yaml, or set"
            f" runs.{wildcards.run}.select in the config."
        )
    return selection_file(wildcards.run)


def select_option(wildcards):
    """What a selection depends on besides its file: the rule, where there is none."""
    chosen = RUNS[wildcards.run]
    return {} if selection_file(wildcards.run) else {"select": chosen["select"]}


def given_files(run):
    """The files that a run starts from, by the keys that name them."""
    options = RUNS[run]
    found = {
        key: options.get(key) for key in ("particles", "mask", "focus_mask", "ccc")
    }
    found["tilted"] = (options.get("tilted") or {}).get("particles")
    return {
        key: path
        for key, path in found.items()
        if isinstance(path, str)
        and path not in DEMO_PARTICLES + DEMO_SUBTOMOGRAMS
        and not reference(path)
    }


def check_files():
    """Stop with one sentence if a file that a run names is missing."""
    for run, options in RUNS.items():
        files = given_files(run)
        if os.path.exists(f"results/{run}/import/import.json"):
            files = {}
        if options["selection"]:
            files["selection"] = options["selection"]
        for key, path in files.items():
            if not os.path.exists(path):
                sys.exit(
                    f"error: runs.{run}.{key} = {path}: there is no such file, seen from"
                    f" {os.getcwd()}; give its path from there, or a path from the root."
                )
        other, which = reference(options["particles"]) or (None, None)
        if which == "selected" and not is_selected(other):
            sys.exit(
                f"error: runs.{run}.particles = {options['particles']}: nothing says"
                f" which classes of run {other} are kept; save a selection in its report"
                f" as config/selection/{other}.yaml, or set runs.{other}.select."
            )


def tell_interrupts():
    """Have Ctrl-C told in a sentence, not as a failure of the jobs that it ends.

    A terminal that is closed is one, too, or the jobs would outlive the call; not where
    nohup has it passed over.
    """
    before = signal.getsignal(signal.SIGINT)

    def interrupted(number, frame):
        INTERRUPTS.append(number)
        if callable(before):
            before(number, frame)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupted)
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            signal.signal(signal.SIGHUP, interrupted)
        logger.addFilter(lambda told: not INTERRUPTS or told.levelno < logging.ERROR)


def hold_folder():
    """Refuse to work in a folder where another call of Snakemake is at work.

    The profiles turn off Snakemake's own lock, because it outlives a call that was
    killed; this one ends with the process that holds it, however it ends. What such a
    call left at work is ended first.
    """
    try:
        # A link would lead to a file that is somebody else's to write.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        held = os.open(".snakemake/in_use", flags)
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WorkflowError(
            f"{os.getcwd()}: another snakemake is at work in this folder; wait until"
            " it ends, or give this one a folder of its own by --directory."
        )
    except OSError as error:
        raise WorkflowError(
            f"{os.getcwd()}/.snakemake/in_use: {error.strerror}; it must be a file of"
            " yours: remove it."
        )
    file = os.fstat(held)
    # In a copy of the folder it is another file, and the call is not this one's.
    place = f".{leftovers.host()}.{file.st_dev}.{file.st_ino}"
    before = os.pread(held, 200, 0).decode(errors="replace")
    if before.endswith(place) and (ended := leftovers.end_processes(before)):
        logger.info(f"Ended {ended} processes of a call that was killed.")
    if jobs := leftovers.jobs_in("."):
        logger.info(f"Cancelling jobs of a call that was killed: {' '.join(jobs)}")
        if not leftovers.end_jobs(jobs):
            raise WorkflowError(f"These jobs do not end: {' '.join(jobs)}; try later.")
    for run in RUNS:
        leftovers.remove_partial(f"results/{run}")
    os.environ[leftovers.CALL] = f"{uuid.uuid4()}{place}"
    os.ftruncate(held, 0)
    os.pwrite(held, os.environ[leftovers.CALL].encode(), 0)


def check_call():
    """Refuse ways to call Snakemake, and places to do it, that cannot work."""
    if os.path.exists("results") and not os.path.isdir("results"):
        sys.exit(
            f"error: {os.path.abspath('results')}: is no folder, and results go there;"
            " give it another name, or give another folder by --directory."
        )
    try:
        check_disk()
    except WorkflowError as error:
        sys.exit(f"error: {error}")
    if said("--batch"):
        sys.exit(
            "error: --batch cannot be used: how many rounds and generations a run has is"
            " known only as it goes on; leave it out, or name the runs one by one."
        )


def said(*options):
    """Whether the command line has one of some options; Snakemake tells it too late."""
    words = {word.partition("=")[0] for word in sys.argv[1:]}
    return bool(words & set(options))


def check_results():
    """Stop with one sentence if a result is not as long as it was written."""
    try:
        for run in RUNS:
            check_sizes(f"results/{run}")
    except InputError as error:
        sys.exit(f"error: {error}")


def check_options():
    """Stop if a run was made with other options, and Snakemake does not know it.

    It keeps them in .snakemake, and takes what it has no record of for up to date; the
    estimate keeps them, too.
    """
    forced = said("--forcerun", "-R", "--forceall", "-F", "--force", "-f")
    if forced or existing(".snakemake/metadata") and os.listdir(".snakemake/metadata"):
        return
    for run, now in RUNS.items():
        for path in existing(f"results/{run}/estimate.json"):
            before = read_json(path)["options"]
            other = [key for key in now if before.get(key, now[key]) != now[key]]
            if other and existing(f"results/{run}/import"):
                key = other[0]
                sys.exit(
                    f"error: results/{run} was made with {key} = {before[key]}, which is"
                    f" {now[key]} now, and the folder .snakemake, by which that is noticed,"
                    f" is gone; set it back, or remove results/{run}, or say --forcerun"
                    " with the first rule that depends on it."
                )


@functools.cache
def images_of(run):
    """The files that hold the images of a run."""
    return files_behind(RUNS[run]["particles"])


@functools.cache
def state_of_images(run):
    """What the images behind the table of a run are, by their sizes and times.

    A parameter of the import: when they change, it is done again, and all that follows.
    Images that are gone are taken to be as they were, so that nothing is made again
    that cannot be.
    """
    particles = RUNS[run]["particles"]
    # What the workflow makes itself is made again with its table.
    if reference(particles) or particles in DEMO_PARTICLES + DEMO_SUBTOMOGRAMS:
        return ""
    try:
        return state_of(images_of(run))
    except (InputError, OSError) as error:
        for noted in map(Path, existing(f"results/{run}/import/.images")):
            if workflow.is_main_process:
                logger.warning(f"{run}: {error} Results are kept as they are.")
            return noted.read_text()
        return ""


#: Behind the command of an import: keeps what the images were.
NOTE_IMAGES = " && printf %s {params.images:q} > results/{wildcards.run}/import/.images"


def check_clocks():
    """Have no file of the future: Snakemake would fail whatever is made of it."""
    for run in RUNS:
        given = list(given_files(run).items())
        if "particles" in dict(given):
            with contextlib.suppress(InputError, OSError):
                given += [("particles", path) for path in images_of(run)]
        for key, path in given:
            ahead = os.path.getmtime(path) - time.time() if os.path.exists(path) else 0
            if ahead > 0:
                raise WorkflowError(
                    f"runs.{run}.{key} = {path}: was changed {ahead:.0f} s from now by"
                    " this machine's clock; correct the clock, or touch the file."
                )
        if n := end_the_future(f"results/{run}"):
            logger.info(f"{run}: {n} files had a time ahead of this machine's clock.")


def check_disk():
    """Tell of a disk that is full or cannot be written, in one sentence.

    The logs of the jobs that failed of it are on the same disk, and empty.
    """
    for folder in filter(os.path.isdir, ("results", ".")):
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(2**16))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise WorkflowError(
                f"{os.path.abspath(folder)}: {error.strerror}; have space and the right"
                " to write there, then say the same command again."
            )


def options(*keys):
    """Those options of a run that a rule depends on, as JSON for its script."""
    return lambda wildcards: json.dumps({key: RUNS[wildcards.run][key] for key in keys})


def files(wildcards, input, output):
    """The inputs and outputs of a rule that have names, as options of its script.

    A parameter that is made of input and output is none by which jobs are made again.
    """
    named = [one for of in (input, output) for one in of.items()]
    words = [(f"--{key.replace('_', '-')}", value) for key, value in named if value]
    return shlex.join(
        word
        for flag, value in words
        for word in [flag, *([value] if isinstance(value, str) else value)]
    )


def command(script, *values, mpi=False, **named):
    """The command that runs a rule's script with its `files` and some more values.

    ``params.radius`` is the option ``--radius``; one of another name is a keyword.
    """
    named = {value.rpartition(".")[2]: value for value in values} | named
    more = [f"--{key.replace('_', '-')} {{{value}:q}}" for key, value in named.items()]
    more += ["--ranks {resources.tasks}"] * mpi
    start = MPI_SCRIPT if mpi else SCRIPT
    return f"{start}/{script}.py {{params.files}} {' '.join(more)} > {{log}} 2>&1"


def memory(each, shared, own=0):
    """Memory of a job on a node [MB]: with ranks and input, half more at each attempt.

    ``each`` is what every rank takes, ``own`` the multiple of the input that every rank
    holds, ``shared`` the multiple that all ranks of a node share.
    """
    return lambda wildcards, input, threads, attempt: int(
        (1 + attempt)
        / 2
        * (threads * (each + own * input.size_mb) + shared * input.size_mb)
    )


def minutes(base, per_gb=0):
    """Time limit of a job [minute]: more with the input [GB], and at each attempt."""
    return lambda wildcards, input, attempt: int(
        attempt * (base + per_gb * input.size_mb / 1000)
    )


def table_or_stack(wildcards):
    """The particles that a run starts from: a file, or a list of another run."""
    return particles_of(wildcards.run)


def particles_of(run):
    """The file of a run's particles."""
    particles = RUNS[run]["particles"]
    other, which = reference(particles) or (None, None)
    if other is None:
        return particles
    if which == "selected":
        name = "particles_selected.star" if other in RUNS_2D else "filtered_pl.xml"
        return f"results/{other}/selected/{name}"
    if which.startswith("class/"):
        which = f"class_{int(which.removeprefix('class/')):04d}"
    return f"results/{other}/subsets/{which}{'.star' if other in RUNS_2D else '.xml'}"


def class_number(wildcards):
    """The class number in the name of a list; -1 for the unaccounted."""
    return int(wildcards.which.removeprefix("class_").replace("unaccounted", "-1"))


def flipped_stack(wildcards):
    """The phase-flipped images, where the run asks for them."""
    return [f"results/{wildcards.run}/phase_flipped.mrcs"] * RUNS[wildcards.run]["CTF"]


def generation_folder(run, number):
    """The folder of a generation."""
    return f"results/{run}/generation_{number:04d}"


def pool(wildcards):
    """The particles that a generation starts from: what the one before left over."""
    number = int(wildcards.folder) - 1
    folder = generation_folder(wildcards.run, number)
    return f"{folder}/generation_{number}_unaccounted.txt"


def left_over(wildcards):
    """The particles that a round starts from: in no candidate of the generation yet."""
    if int(wildcards.round) == 1:
        return pool(wildcards)
    number = int(wildcards.round) - 1
    folder = generation_folder(wildcards.run, int(wildcards.folder))
    return f"{folder}/round_{number:04d}/left.txt"


def untouched(path):
    """Whether a file stays away because Snakemake only touches those that are there."""
    return said("--touch", "-t") and not os.path.exists(path)


def rounds(run, number):
    """The candidates of a generation's rounds, asking each round if it was the last."""
    classes = []
    for round_number in range(1, RUNS[run]["max_round"] + 1):
        output = checkpoints.isac_candidates_round.get(
            run=run, folder=f"{number:04d}", round=f"{round_number:04d}"
        ).output
        classes.append(output.classes)
        if untouched(output.state) or read_json(output.state)["stop"]:
            break
    return classes


def rounds_of_generation(wildcards):
    """The candidates of the rounds of the generation that a file's name tells."""
    number = int(wildcards.generation)
    if int(wildcards.folder) != number:
        sys.exit(
            f"error: generation_{wildcards.folder} holds no file of generation {number}; ask"
            f" for generation_{number:04d} instead."
        )
    return rounds(wildcards.run, number)


def generations(run):
    """The numbers of a run's generations, asking each if it was the last."""
    for number in range(1, RUNS[run]["n_generations"] + 1):
        yield number
        status = checkpoints.isac_account.get(
            run=run, folder=f"{number:04d}", generation=number
        ).output.status
        if untouched(status) or read_json(status)["stop"]:
            break


def of_generations(name):
    """A file of every generation; ``name`` holds the number as {0}."""
    return lambda wildcards: [
        f"{generation_folder(wildcards.run, number)}/{name.format(number)}"
        for number in generations(wildcards.run)
    ]


def results_2d(wildcards):
    """All files of the runs for images, so that one that is lost is made again.

    The last round of every generation is among them: a finished file says nothing of
    what a raised max_round or n_generations adds.
    """
    of_run = [rules.isac_import, rules.isac_prealign, rules.isac_shrink]
    of_run += [rules.isac_class_averages, rules.isac_report]
    of_generation = [rules.isac_candidates, rules.isac_reproducible, rules.isac_account]
    wanted = []
    for run in RUNS_2D:
        flip = [rules.isac_phase_flip] * RUNS[run]["CTF"]
        wanted += outputs(of_run + flip, run=run)
        for number in generations(run):
            place = dict(run=run, folder=f"{number:04d}", generation=number)
            wanted += outputs(of_generation, **place)
            for k in range(len(rounds(run, number))):
                place["round"] = f"{k + 1:04d}"
                wanted += outputs([rules.isac_candidates_round], **place)
    return wanted


def lost_parts(wildcards):
    """Files of rounds and generations that are gone while others of the job are there.

    Snakemake takes a checkpoint for done when its first file is there.
    """
    lost = []
    for run in RUNS_2D:
        for path in sorted(Path("results", run).glob("generation_[0-9]*")):
            folder = path.name.removeprefix("generation_")
            made = [(rules.isac_account, dict(generation=int(folder)))]
            for inner in sorted(path.glob("round_[0-9]*")):
                number = inner.name.removeprefix("round_")
                if int(number) <= RUNS[run]["max_round"]:
                    made.append((rules.isac_candidates_round, dict(round=number)))
            for rule, place in made:
                files = outputs([rule], run=run, folder=folder, **place)
                there = existing(*files)
                if 0 < int(folder) <= RUNS[run]["n_generations"] and there:
                    lost += [name for name in files if name not in there]
    return lost


def outputs(of, **wildcards):
    """The outputs of some rules, as plain names."""
    return [str(path).format(**wildcards) for rule in of for path in rule.output]


def last_rounds_of_first_generation(wildcards):
    """The last round of the first generation of every run."""
    return [rounds(run, 1)[-1] for run in RUNS_2D]
