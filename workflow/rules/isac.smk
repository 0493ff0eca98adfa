from snakemake.exceptions import IncompleteCheckpointException
from snakemake.io import checkpoint_target

GENERATION = "results/{run}/generation_{folder}"

# What the classification of a generation depends on. The options that are not here
# (max_round, n_generations) only say how many rounds and generations there may be.
SAC_OPTIONS = (
    *("target_radius", "ir", "rs", "xr", "yr", "ts", "maxit", "dst", "FL", "FH", "FF"),
    *("stab_ali", "iter_reali", "thld_err", "img_per_grp", "init_iter", "main_iter"),
    *("match_first", "match_second", "indep_run", "thld_grp", "match_by"),
    *("thld_rep", "last_assignment", "rand_seed"),
)


# What the candidates of a round do not depend on, and its clusters neither: they come
# before they are matched.
OF_REPRODUCTION = ("thld_rep", "last_assignment", "match_second")
ROUND_OPTIONS = [key for key in SAC_OPTIONS if key not in OF_REPRODUCTION]
OF_MATCHING = ("thld_grp", "match_by", "match_first")
CLUSTER_OPTIONS = [key for key in ROUND_OPTIONS if key not in OF_MATCHING]


def pool(wildcards):
    """The particles that a generation starts from: what the one before left over."""
    return plan.pool(wildcards.run, int(wildcards.folder))


def left_over(wildcards):
    """The particles that a round starts from: in no candidate of the generation yet."""
    place = int(wildcards.folder), int(wildcards.round)
    return plan.left_over(wildcards.run, *place)


def is_last(told):
    """Whether a round or a generation says that it is the last.

    Where Snakemake only touches files, one may stay away.
    """
    return not Path(told).exists() or read_json(told)["stop"]


def made(checkpoint, **place):
    """The outputs of a checkpoint; else what is asked for is one that is missing.

    Snakemake would ask for the first, and wait for the others without end.
    """
    try:
        return checkpoint.get(**place).output
    except IncompleteCheckpointException:
        for path in checkpoint.rule.expand_output(place)[0]:
            if not Path(path).exists():
                missing = checkpoint_target(path)
                raise IncompleteCheckpointException(checkpoint.rule, missing)
        raise


def rounds(run, number):
    """The candidates of a generation's rounds, asking each round if it was the last."""
    classes = []
    if number == 1 and RUNS[run].extends:
        return classes  # it starts from the classes of another run
    for round_number in range(1, RUNS[run].max_round + 1):
        place = dict(run=run, folder=f"{number:04d}", round=f"{round_number:04d}")
        output = made(checkpoints.isac_candidates_round, **place)
        classes.append(output.classes)
        if is_last(output.state):
            break
    return classes


def rounds_of_generation(wildcards):
    """The candidates of the rounds of the generation that a file's name tells."""
    place = wildcards.folder, wildcards.generation
    return rounds(wildcards.run, checked(plan.same_generation, *place))


def generations(run):
    """The numbers of a run's generations, asking each if it was the last."""
    for number in range(1, RUNS[run].n_generations + 1):
        yield number
        place = dict(run=run, folder=f"{number:04d}", generation=number)
        if is_last(made(checkpoints.isac_account, **place).status):
            break


def of_generations(name):
    """A file of every generation; ``name`` holds the number as {0}."""
    return lambda wildcards: [
        f"{plan.generation_folder(wildcards.run, number)}/{name.format(number)}"
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
    of_round = [rules.isac_clusters, rules.isac_candidates_round]
    wanted = []
    for run in RUNS_2D:
        wanted += outputs(of_run, run=run) + flipped_stack(run)
        for number in generations(run):
            place = dict(run=run, folder=f"{number:04d}", generation=number)
            wanted += outputs(of_generation, **place)
            for k in range(len(rounds(run, number))):
                wanted += outputs(of_round, **place, round=f"{k + 1:04d}")
    return wanted


def last_rounds_of_first_generation(wildcards):
    """The last round of the first generation of every run."""
    return [last for run in RUNS_2D for last in rounds(run, 1)[-1:]]


rule isac_clusters:
    input:
        coefficients="results/{run}/coefficients.npy",
        stack_info="results/{run}/working_stack.json",
        ids=left_over,
    output:
        clusters=f"{GENERATION}/round_{{round}}/clusters.npz",
    log:
        "results/{run}/logs/isac_clusters/{folder}_{round}.log",
    benchmark:
        "results/{run}/benchmarks/isac_clusters/{folder}_{round}.tsv"
    conda:
        "../../envs/core.yaml"
    threads: N_RANKS
    resources:
        mpi="mpiexec",
        tasks=N_RANKS,
        device="cpu",
        mem_mb=memory(700, 4),
        runtime=minutes(240, 60),
    params:
        files=files,
        options=options(*CLUSTER_OPTIONS),
    message:
        "{wildcards.run}: generation {wildcards.folder}, clustering for round"
        " {wildcards.round} on {resources.tasks} ranks"
    shell:
        command(
            "isac_clusters",
            "wildcards.round",
            "params.options",
            "resources.device",
            mpi=True,
            generation="wildcards.folder",
        )


checkpoint isac_candidates_round:
    input:
        coefficients="results/{run}/coefficients.npy",
        stack_info="results/{run}/working_stack.json",
        ids=left_over,
        clusters=f"{GENERATION}/round_{{round}}/clusters.npz",
    output:
        classes=f"{GENERATION}/round_{{round}}/classes.npz",
        left=f"{GENERATION}/round_{{round}}/left.txt",
        state=f"{GENERATION}/round_{{round}}/state.json",
    log:
        "results/{run}/logs/isac_candidates_round/{folder}_{round}.log",
    benchmark:
        "results/{run}/benchmarks/isac_candidates_round/{folder}_{round}.tsv"
    conda:
        "../../envs/core.yaml"
    threads: N_RANKS
    resources:
        mpi="mpiexec",
        tasks=N_RANKS,
        device="cpu",
        mem_mb=memory(700, 4),
        runtime=minutes(240, 60),
    params:
        files=files,
        options=options(*ROUND_OPTIONS),
    message:
        "{wildcards.run}: generation {wildcards.folder}, candidates of round"
        " {wildcards.round} on {resources.tasks} ranks"
    shell:
        command(
            "isac_candidates_round",
            "wildcards.round",
            "params.options",
            "resources.device",
            mpi=True,
            generation="wildcards.folder",
        )


rule isac_candidates:
    input:
        rounds=rounds_of_generation,
        stack="results/{run}/working_stack.mrcs",
        stack_info="results/{run}/working_stack.json",
    output:
        classes=f"{GENERATION}/candidates_generation_{{generation}}.npz",
        averages=f"{GENERATION}/class_averages_candidate_generation_{{generation}}.hdf",
    log:
        "results/{run}/logs/isac_candidates/{folder}_{generation}.log",
    benchmark:
        "results/{run}/benchmarks/isac_candidates/{folder}_{generation}.tsv"
    conda:
        "../../envs/core.yaml"
    threads: N_RANKS
    resources:
        mpi="mpiexec",
        tasks=N_RANKS,
        mem_mb=memory(700, 1),
        runtime=minutes(60, 15),
    params:
        files=files,
        options=options("target_radius", "FH", "FF"),
    message:
        "{wildcards.run}: averaging the candidates of generation {wildcards.generation} on"
        " {resources.tasks} ranks"
    shell:
        command("isac_candidates", "wildcards.generation", "params.options", mpi=True)


rule isac_reproducible:
    input:
        coefficients="results/{run}/coefficients.npy",
        stack="results/{run}/working_stack.mrcs",
        stack_info="results/{run}/working_stack.json",
        ids=pool,
        candidates=f"{GENERATION}/candidates_generation_{{generation}}.npz",
    output:
        classes=f"{GENERATION}/classes_generation_{{generation}}.npz",
        averages=f"{GENERATION}/class_averages_generation_{{generation}}.hdf",
    log:
        "results/{run}/logs/isac_reproducible/{folder}_{generation}.log",
    benchmark:
        "results/{run}/benchmarks/isac_reproducible/{folder}_{generation}.tsv"
    conda:
        "../../envs/core.yaml"
    threads: N_RANKS
    resources:
        mpi="mpiexec",
        tasks=N_RANKS,
        device="cpu",
        mem_mb=memory(700, 1),  # a quarter of it is coefficients
        runtime=minutes(480, 15),
    params:
        files=files,
        options=options(*SAC_OPTIONS),
    message:
        "{wildcards.run}: reproducible classes of generation {wildcards.generation} on"
        " {resources.tasks} ranks"
    shell:
        command(
            "isac_reproducible",
            "wildcards.generation",
            "params.options",
            "resources.device",
            mpi=True,
        )


def classes_of_extended(wildcards):
    """The classes of all generations of the run that a run extends."""
    earlier = RUNS[wildcards.run].extends
    return [
        f"{plan.generation_folder(earlier, number)}/classes_generation_{number}.npz"
        for number in generations(earlier)
    ]


# The first generation of a run that extends another.
ruleorder: isac_join > isac_candidates
ruleorder: isac_join > isac_reproducible


rule isac_join:
    input:
        coefficients="results/{run}/coefficients.npy",
        stack="results/{run}/working_stack.mrcs",
        stack_info="results/{run}/working_stack.json",
        ids="results/{run}/generation_0000/generation_0_unaccounted.txt",
        known=classes_of_extended,
    output:
        candidates="results/{run}/generation_0001/candidates_generation_1.npz",
        candidate_averages="results/{run}/generation_0001/class_averages_candidate_generation_1.hdf",
        classes="results/{run}/generation_0001/classes_generation_1.npz",
        averages="results/{run}/generation_0001/class_averages_generation_1.hdf",
    log:
        "results/{run}/logs/isac_join.log",
    benchmark:
        "results/{run}/benchmarks/isac_join.tsv"
    wildcard_constraints:
        run=only(run for run in RUNS_2D if RUNS[run].extends),
    conda:
        "../../envs/core.yaml"
    threads: N_RANKS
    resources:
        mpi="mpiexec",
        tasks=N_RANKS,
        mem_mb=memory(700, 1),  # a quarter of it is coefficients
        runtime=minutes(240, 15),
    params:
        files=files,
        options=options(*SAC_OPTIONS),
    message:
        "{wildcards.run}: new images join the classes of an earlier run on"
        " {resources.tasks} ranks"
    shell:
        command("isac_join", "params.options", mpi=True)


checkpoint isac_account:
    input:
        classes=f"{GENERATION}/classes_generation_{{generation}}.npz",
        candidates=f"{GENERATION}/candidates_generation_{{generation}}.npz",
        ids=pool,
    output:
        accounted=f"{GENERATION}/generation_{{generation}}_accounted.txt",
        unaccounted=f"{GENERATION}/generation_{{generation}}_unaccounted.txt",
        status=f"{GENERATION}/generation_{{generation}}_status.json",
    log:
        "results/{run}/logs/isac_account/{folder}_{generation}.log",
    benchmark:
        "results/{run}/benchmarks/isac_account/{folder}_{generation}.tsv"
    localrule: True
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=memory(1000, 1),
        runtime=minutes(60),
    params:
        files=files,
        options=options("img_per_grp"),
    message:
        "{wildcards.run}: accounting for generation {wildcards.generation}"
    shell:
        command("isac_account", "wildcards.generation", "params.options")


rule isac_class_averages:
    input:
        table="results/{run}/import/particles.star",
        flipped=lambda wildcards: flipped_stack(wildcards.run),
        shifts="results/{run}/2dalignment/initial2Dparams.txt",
        stack_info="results/{run}/working_stack.json",
        classes=of_generations("classes_generation_{0}.npz"),
        averages=of_generations("class_averages_generation_{0}.hdf"),
    output:
        hdf="results/{run}/class_averages.hdf",
        mrcs="results/{run}/class_averages.mrcs",
        class_table="results/{run}/classes.star",
        particles="results/{run}/particles.star",
        csv="results/{run}/classes.csv",
        frc="results/{run}/frc.json",
        relion=multiext(
            "results/{run}/relion/run_it000_",
            *("optimiser.star", "model.star", "data.star"),
        ),
    log:
        "results/{run}/logs/isac_class_averages.log",
    benchmark:
        "results/{run}/benchmarks/isac_class_averages.tsv"
    wildcard_constraints:
        run=only(RUNS_2D),
    localrule: True
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=memory(1000, 4),
        runtime=minutes(60),
    params:
        files=files,
    message:
        "{wildcards.run}: joining the classes of all generations"
    shell:
        command("isac_class_averages")
