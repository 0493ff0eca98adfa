rule isac_full_averages:
    input:
        images="results/{run}/import/images.npz",
        info="results/{run}/import/import.json",
        particles="results/{run}/particles.star",
        classes="results/{run}/class_averages.hdf",
    output:
        stack="results/{run}/class_averages_full.mrcs",
        hdf="results/{run}/class_averages_full.hdf",
        table="results/{run}/class_averages_full.star",
        frc="results/{run}/frc_full.json",
    log:
        "results/{run}/logs/isac_full_averages.log",
    benchmark:
        "results/{run}/benchmarks/isac_full_averages.tsv"
    wildcard_constraints:
        run=only(RUNS_2D),
    conda:
        "../../envs/core.yaml"
    threads: N_RANKS
    resources:
        mpi="mpiexec",
        tasks=N_RANKS,
        mem_mb=memory(700, 4),
        runtime=minutes(240, 600),
    params:
        files=files,
    message:
        "{wildcards.run}: averaging the original images on {resources.tasks} ranks"
    shell:
        command("isac_full_averages", mpi=True)


rule isac_ordered_averages:
    input:
        averages="results/{run}/class_averages.hdf",
        full="results/{run}/class_averages_full.hdf",
        stack_info="results/{run}/working_stack.json",
    output:
        stack="results/{run}/class_averages_ordered.mrcs",
        hdf="results/{run}/class_averages_ordered.hdf",
        table="results/{run}/class_averages_ordered.star",
    log:
        "results/{run}/logs/isac_ordered_averages.log",
    benchmark:
        "results/{run}/benchmarks/isac_ordered_averages.tsv"
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
        options=options("target_radius", "ir", "rs", "FH", "FF"),
    message:
        "{wildcards.run}: ordering class averages by likeness"
    shell:
        command("isac_ordered_averages", "params.options")
