localrules:
    isac_candidates,
    isac_account,
    isac_class_averages,


GENERATION = "results/{run}/generation_{folder}"

# What the classification of a generation depends on. The options that are not here
# (max_round, n_generations) only say how many rounds and generations there may be.
SAC_OPTIONS = (
    *("target_radius", "ir", "rs", "xr", "yr", "ts", "maxit", "dst", "FL", "FH", "FF"),
    *("stab_ali", "iter_reali", "thld_err", "img_per_grp", "init_iter", "main_iter"),
    *("match_first", "match_second", "indep_run", "thld_grp", "match_by"),
    *("thld_rep", "last_assignment", "rand_seed"),
)


checkpoint isac_candidates_round:
    input:
        coefficients="results/{run}/coefficients.npy",
        stack_info="results/{run}/working_stack.json",
        ids=left_over,
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
        mem_mb=memory(700, 4),
        runtime=minutes(240, 60),
    params:
        files=files,
        options=options(*SAC_OPTIONS),
    message:
        "{wildcards.run}: generation {wildcards.folder}, candidates of round"
        " {wildcards.round} on {resources.tasks} ranks"
    shell:
        command(
            "isac_candidates_round",
            "wildcards.round",
            "params.options",
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
    resources:
        mem_mb=memory(1000, 1),
        runtime=minutes(60),
    params:
        files=files,
        options=options("target_radius", "FH", "FF"),
    message:
        "{wildcards.run}: averaging the candidates of generation {wildcards.generation}"
    shell:
        command("isac_candidates", "wildcards.generation", "params.options")


rule isac_reproducible:
    input:
        coefficients="results/{run}/coefficients.npy",
        stack_info="results/{run}/working_stack.json",
        ids=pool,
        candidates=f"{GENERATION}/candidates_generation_{{generation}}.npz",
    output:
        classes=f"{GENERATION}/classes_generation_{{generation}}.npz",
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
        mem_mb=memory(700, 4),
        runtime=minutes(480, 60),
    params:
        files=files,
        options=options(*SAC_OPTIONS),
    message:
        "{wildcards.run}: reproducible classes of generation {wildcards.generation} on"
        " {resources.tasks} ranks"
    shell:
        command("isac_reproducible", "wildcards.generation", "params.options", mpi=True)


checkpoint isac_account:
    input:
        classes=f"{GENERATION}/classes_generation_{{generation}}.npz",
        candidates=f"{GENERATION}/candidates_generation_{{generation}}.npz",
        ids=pool,
        stack="results/{run}/working_stack.mrcs",
        stack_info="results/{run}/working_stack.json",
    output:
        averages=f"{GENERATION}/class_averages_generation_{{generation}}.hdf",
        accounted=f"{GENERATION}/generation_{{generation}}_accounted.txt",
        unaccounted=f"{GENERATION}/generation_{{generation}}_unaccounted.txt",
        status=f"{GENERATION}/generation_{{generation}}_status.json",
    log:
        "results/{run}/logs/isac_account/{folder}_{generation}.log",
    benchmark:
        "results/{run}/benchmarks/isac_account/{folder}_{generation}.tsv"
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=memory(1000, 1),
        runtime=minutes(60),
    params:
        files=files,
        options=options("target_radius", "FH", "FF", "img_per_grp"),
    message:
        "{wildcards.run}: accounting for generation {wildcards.generation}"
    shell:
        command("isac_account", "wildcards.generation", "params.options")


rule isac_class_averages:
    input:
        table="results/{run}/import/particles.star",
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
    log:
        "results/{run}/logs/isac_class_averages.log",
    benchmark:
        "results/{run}/benchmarks/isac_class_averages.tsv"
    wildcard_constraints:
        run=only(RUNS_2D),
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
