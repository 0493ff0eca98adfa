def flipped_stack(run):
    """The phase-flipped images, where the run asks for them or its table has a CTF."""
    flips = RUNS[run].CTF
    if flips == "auto":
        told = f"results/{run}/import/import.json"
        if run not in KEPT:
            told = made(checkpoints.isac_import, run=run).info
        flips = read_json(told)["flips"]
    return [f"results/{run}/phase_flipped.mrcs"] * flips


def known(path):
    """A file of the run that a run extends, if it extends one."""

    def of_run(wildcards):
        earlier = RUNS[wildcards.run].extends
        return [f"results/{earlier}/{path}"] if earlier else []

    return of_run


checkpoint isac_import:
    input:
        drawn_seed,
        images_behind,
        particles=table_or_slabs,
    output:
        table="results/{run}/import/particles.star",
        images="results/{run}/import/images.npz",
        info="results/{run}/import/import.json",
    log:
        "results/{run}/logs/isac_import.log",
    benchmark:
        "results/{run}/benchmarks/isac_import.tsv"
    wildcard_constraints:
        run=only(run for run in RUNS_2D if run not in KEPT),
    localrule: True
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=4000,
        runtime=minutes(60),
    params:
        files=files,
        depends=options("radius", "diameter", "CTF", "pixel_size", "ctf_convention"),
        options=all_options,
    message:
        "{wildcards.run}: reading {input.particles}"
    shell:
        command("isac_import", "params.options")


rule isac_phase_flip:
    input:
        images="results/{run}/import/images.npz",
    output:
        flipped="results/{run}/phase_flipped.mrcs",
    log:
        "results/{run}/logs/isac_phase_flip.log",
    benchmark:
        "results/{run}/benchmarks/isac_phase_flip.tsv"
    wildcard_constraints:
        run=only(RUNS_2D),
    conda:
        "../../envs/core.yaml"
    threads: N_RANKS
    resources:
        mpi="mpiexec",
        tasks=N_RANKS,
        mem_mb=memory(500, 1),
        runtime=minutes(120, 600),
    params:
        files=files,
    message:
        "{wildcards.run}: flipping phases on {resources.tasks} ranks"
    shell:
        command("isac_phase_flip", mpi=True)


rule isac_prealign:
    input:
        images="results/{run}/import/images.npz",
        info="results/{run}/import/import.json",
        flipped=lambda wildcards: flipped_stack(wildcards.run),
        known_images=known("import/images.npz"),
        known_average=known("2dalignment/aqfinal.hdf"),
        known_shifts=known("2dalignment/initial2Dparams.txt"),
    output:
        average="results/{run}/2dalignment/aqfinal.hdf",
        shifts="results/{run}/2dalignment/initial2Dparams.txt",
    log:
        "results/{run}/logs/isac_prealign.log",
    benchmark:
        "results/{run}/benchmarks/isac_prealign.tsv"
    wildcard_constraints:
        run=only(RUNS_2D),
    conda:
        "../../envs/core.yaml"
    threads: N_RANKS
    resources:
        mpi="mpiexec",
        tasks=N_RANKS,
        mem_mb=memory(700, 2),
        runtime=minutes(120, 600),
    params:
        files=files,
        options=options(
            *("target_radius", "highpass_A", "center_method", "skip_prealignment")
        ),
    message:
        "{wildcards.run}: prealigning on {resources.tasks} ranks"
    shell:
        command("isac_prealign", "params.options", mpi=True)


rule isac_shrink:
    input:
        images="results/{run}/import/images.npz",
        info="results/{run}/import/import.json",
        flipped=lambda wildcards: flipped_stack(wildcards.run),
        shifts="results/{run}/2dalignment/initial2Dparams.txt",
    output:
        stack="results/{run}/working_stack.mrcs",
        stack_info="results/{run}/working_stack.json",
        coefficients="results/{run}/coefficients.npy",
        readme="results/{run}/README_shrink_ratio.txt",
        ids="results/{run}/generation_0000/generation_0_unaccounted.txt",
    log:
        "results/{run}/logs/isac_shrink.log",
    benchmark:
        "results/{run}/benchmarks/isac_shrink.tsv"
    wildcard_constraints:
        run=only(RUNS_2D),
    conda:
        "../../envs/core.yaml"
    threads: N_RANKS
    resources:
        mpi="mpiexec",
        tasks=N_RANKS,
        mem_mb=memory(500, 2),
        runtime=minutes(120, 600),
    params:
        files=files,
        options=options(
            *("target_radius", "target_nx", "highpass_A", "xr", "ir", "rs", "FH")
        ),
    message:
        "{wildcards.run}: making the working stack on {resources.tasks} ranks"
    shell:
        command("isac_shrink", "params.options", mpi=True)
