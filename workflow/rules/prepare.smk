localrules:
    isac_import,


rule isac_import:
    input:
        particles=table_or_stack,
    output:
        table="results/{run}/import/particles.star",
        images="results/{run}/import/images.npz",
        info="results/{run}/import/import.json",
    log:
        "results/{run}/logs/isac_import.log",
    benchmark:
        "results/{run}/benchmarks/isac_import.tsv"
    wildcard_constraints:
        run=only(RUNS_2D),
    retries: 0
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=memory(1000, 2),
        runtime=minutes(60),
        # For a check alone: as a parameter, another number would make all again.
        img_per_grp=lambda w: RUNS[w.run]["img_per_grp"],
    params:
        need_ctf=lambda w: "--need-ctf" if RUNS[w.run]["CTF"] else "",
        pixel_size=lambda w: (
            f"--pixel-size {RUNS[w.run]['pixel_size']}"
            if RUNS[w.run]["pixel_size"]
            else ""
        ),
        radius=lambda w: RUNS[w.run]["radius"],
        ctf_convention=lambda w: (
            f"--ctf-convention {RUNS[w.run]['ctf_convention']}"
            if RUNS[w.run]["ctf_convention"] != "auto"
            else ""
        ),
        images=lambda w: state_of_images(w.run),
    message:
        "{wildcards.run}: reading {input.particles}"
    shell:
        f"{SCRIPT}/isac_import.py --particles {{input.particles:q}}"
        " --table {output.table} --source {output.images} --info {output.info}"
        " {params.need_ctf} {params.pixel_size} --radius {params.radius}"
        " {params.ctf_convention} --img-per-grp {resources.img_per_grp} > {log} 2>&1"
        f"{NOTE_IMAGES}"


rule isac_phase_flip:
    input:
        images="results/{run}/import/images.npz",
    output:
        "results/{run}/phase_flipped.mrcs",
    log:
        "results/{run}/logs/isac_phase_flip.log",
    benchmark:
        "results/{run}/benchmarks/isac_phase_flip.tsv"
    wildcard_constraints:
        run=only(RUNS_2D),
    conda:
        "../../envs/core.yaml"
    threads: 2
    resources:
        mpi="mpiexec",
        tasks=2,
        mem_mb=memory(500, 1),
        runtime=minutes(120, 600),
    message:
        "{wildcards.run}: flipping phases on {resources.tasks} ranks"
    shell:
        f"{MPI_SCRIPT}/isac_phase_flip.py --images {{input.images}} --flipped {{output}}"
        " --ranks {resources.tasks} > {log} 2>&1"


rule isac_prealign:
    input:
        images="results/{run}/import/images.npz",
        info="results/{run}/import/import.json",
        flipped=flipped_stack,
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
    threads: 2
    resources:
        mpi="mpiexec",
        tasks=2,
        mem_mb=memory(700, 2),
        runtime=minutes(120, 600),
    params:
        flipped=flipped_option,
        options=options("radius", "target_radius", "center_method", "skip_prealignment"),
    message:
        "{wildcards.run}: prealigning on {resources.tasks} ranks"
    shell:
        f"{MPI_SCRIPT}/isac_prealign.py --images {{input.images}} --info {{input.info}}"
        " {params.flipped} --options {params.options:q} --average {output.average}"
        " --shifts {output.shifts} --ranks {resources.tasks} > {log} 2>&1"


rule isac_shrink:
    input:
        images="results/{run}/import/images.npz",
        info="results/{run}/import/import.json",
        flipped=flipped_stack,
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
    threads: 2
    resources:
        mpi="mpiexec",
        tasks=2,
        mem_mb=memory(500, 2),
        runtime=minutes(120, 600),
    params:
        flipped=flipped_option,
        options=options("radius", "target_radius", "target_nx", "xr", "ir", "rs", "FH"),
    message:
        "{wildcards.run}: making the working stack on {resources.tasks} ranks"
    shell:
        f"{MPI_SCRIPT}/isac_shrink.py --images {{input.images}} --info {{input.info}}"
        " {params.flipped} --shifts {input.shifts} --options {params.options:q}"
        " --stack {output.stack} --coefficients {output.coefficients}"
        " --stack-info {output.stack_info} --readme {output.readme}"
        " --ids {output.ids} --ranks {resources.tasks} > {log} 2>&1"
