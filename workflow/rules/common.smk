import json
import os
import shlex

from cryokin.files import read_json

# Steps run as "python script.py": take the interpreter and the MPI launcher that stand
# beside the one that runs Snakemake, also when its environment is not activated. A
# conda environment of a rule is activated later and still comes first.
os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [f"{workflow.basedir}/src", os.environ.get("PYTHONPATH")])
)
# Ranks share the work; threads of the linear algebra would only fight with them.
for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[threads] = "1"

SCRIPTS = shlex.quote(f"{workflow.basedir}/workflow/scripts")
MPI_SCRIPT = "{resources.mpi} -n {resources.tasks} python -m mpi4py " + SCRIPTS
SCRIPT = f"python {SCRIPTS}"


wildcard_constraints:
    run="|".join(map(re.escape, RUNS)),
    # Generations and rounds count from 1; 0000 holds what the first starts from.
    folder=r"(?!0000)\d{4}",
    generation=r"[1-9]\d*",
    round=r"(?!0000)\d{4}",


def options(*keys):
    """Those options of a run that a rule depends on, as JSON for its script."""
    return lambda wildcards: json.dumps({key: RUNS[wildcards.run][key] for key in keys})


def memory(base, factor):
    """Memory of a job [MB]: a base, a multiple of its input, more at each attempt."""
    return lambda wildcards, input, attempt: int(attempt * (base + factor * input.size_mb))


def table_or_stack(wildcards):
    """The particles that a run starts from, as the configuration names them."""
    return RUNS[wildcards.run]["particles"]


def flipped_stack(wildcards):
    """The phase-flipped images, where the run asks for them."""
    return [f"results/{wildcards.run}/phase_flipped.mrcs"] * RUNS[wildcards.run]["CTF"]


def flipped_option(wildcards, input):
    """The option that hands over the phase-flipped images, if there are any."""
    return f"--flipped {shlex.quote(str(input.flipped))}" if input.flipped else ""


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


def round_before(wildcards):
    """The state of the round before, which counts idle rounds."""
    if int(wildcards.round) == 1:
        return []
    folder = generation_folder(wildcards.run, int(wildcards.folder))
    return [f"{folder}/round_{int(wildcards.round) - 1:04d}/state.json"]


def rounds(wildcards):
    """The candidates of every round of a generation, asking each if it was the last."""
    if int(wildcards.folder) != int(wildcards.generation):
        raise WorkflowError(
            f"generation_{wildcards.folder} holds no file of generation"
            f" {wildcards.generation}; ask for generation_"
            f"{int(wildcards.generation):04d} instead."
        )
    classes = []
    for number in range(1, RUNS[wildcards.run]["max_round"] + 1):
        output = checkpoints.isac_candidates_round.get(
            run=wildcards.run, folder=wildcards.folder, round=f"{number:04d}"
        ).output
        classes.append(output.classes)
        if read_json(output.state)["stop"]:
            break
    return classes


def generations(run):
    """The numbers of a run's generations, asking each if it was the last."""
    numbers = []
    for number in range(1, RUNS[run]["n_generations"] + 1):
        status = checkpoints.isac_account.get(
            run=run, folder=f"{number:04d}", generation=number
        ).output.status
        numbers.append(number)
        if read_json(status)["stop"]:
            break
    return numbers


def of_generations(name):
    """A file of every generation; ``name`` holds the number as {0}."""
    return lambda wildcards: [
        f"{generation_folder(wildcards.run, number)}/{name.format(number)}"
        for number in generations(wildcards.run)
    ]


def last_generations(wildcards):
    """The last generation of every run, so that a run with more of them goes on."""
    return [
        f"{generation_folder(run, number)}/generation_{number}_status.json"
        for run in RUNS
        for number in generations(run)[-1:]
    ]
