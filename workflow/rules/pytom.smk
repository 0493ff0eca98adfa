IMPORT_3D = multiext(
    "results/{run}/import/", "particles.xml", "particles.star", "import.json"
)
PREPARED = multiext(
    "results/{run}/prepared/",
    *("rows.npy", "weights.npy", "residuals.npy", "mask.npy"),
    *("corrected.npz", "poses.npz", "prepared.json", "spectrum_before.npy"),
)
RESULTS_3D = ("classes.csv", "classes.json", "classified.xml", "classified.star")

# What the rows of a run depend on.
BAND_OPTIONS = (
    *("mask", "focus_mask", "lowpass", "highpass", "binning", "compat"),
    *("pose_errors", "pose_refinement", "symmetry"),
)
MCO_OPTIONS = (
    *("nclass", "score", "leave_one_out", "start_from", "starts"),
    *("end_threshold", "rand_seed"),
)
ANNEALING_OPTIONS = (
    *("temperature", "temperature_step", "temperature_unit", "local_iterations"),
    *("criterion", "allow_class_collapse"),
)
EXMX_COMPAT_OPTIONS = ("iterations", "end_threshold", "rand_seed")
COMPAT_OPTIONS = ("mask", "lowpass", "highpass", "binning", "compat", "symmetry")
AVERAGE_OPTIONS = ("mask", "compat", "average", "symmetry")


def import_of_other(wildcards):
    """What is known of another run's particles, if they are what is classified."""
    other, _ = reference(RUNS[wildcards.run].particles) or (None, None)
    # Behind slabs there are subtomograms that nobody has imported yet.
    return f"results/{other}/import/import.json" if other in RUNS_3D else ""


def rows_memory(wildcards, input, threads, attempt):
    """Memory of `pytom_prepare` [MB]: the ranks share the rows of all particles."""
    imported = next(name for name in input.imported if name.endswith("import.json"))
    coefficients = 2.1 * RUNS[wildcards.run].lowpass ** 3  # half a ball
    # A coefficient, its weight and its residual, mapped from files.
    rows = read_json(imported)["n"] * coefficients * 20 / 1e6
    return int((1 + attempt) / 2 * (threads * 800 + rows))


def differences_needed(wildcards):
    """Which classes are distinct, where as many are to remain."""
    merging = RUNS[wildcards.run].merge or {}
    automatic = merging.get("number") == "auto"
    return f"results/{wildcards.run}/differences.json" if automatic else []


def annealing_before(wildcards):
    """The state of the round before, of all but the first."""
    run = wildcards.run
    return checked(plan.annealing_before, run, RUNS[run], int(wildcards.step))


def results_3d(wildcards):
    """All files of the runs for subtomograms, so that one that is lost is made again."""
    of_run = [rules.pytom_import, rules.pytom_prepare]
    of_run += [rules.pytom_class_averages, rules.pytom_report]
    by_method = dict(cpca="kmeans", mco_exmx="mco_exmx", mco_ac="mco_ac")
    wanted = []
    for run in RUNS_3D:
        method = RUNS[run].method
        of_classes = getattr(rules, by_method[method])
        if RUNS[run].reproducible:
            of_classes = rules.pytom_reproducible
        of_components = [rules.ccc_matrix, rules.eigen_projection] * (method == "cpca")
        wanted += outputs([*of_run, of_classes, *of_components], run=run)
        if getattr(RUNS[run], "ccc_csv", False):
            wanted.append(f"results/{run}/correlation_matrix.csv")
        if RUNS[run].merge:
            wanted.append(f"results/{run}/merge.json")
    return wanted


rule pytom_import:
    input:
        file_option("mask"),
        file_option("tomograms"),
        images_behind,
        particles=table_or_stack,
    output:
        folder=IMPORT_3D,
    log:
        "results/{run}/logs/pytom_import.log",
    benchmark:
        "results/{run}/benchmarks/pytom_import.tsv"
    wildcard_constraints:
        run=only(run for run in RUNS_3D if run not in KEPT),
    retries: 0
    localrule: True
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=4000,
        runtime=minutes(60),
    params:
        files=files,
        # For a check alone: made of input, it is none by which jobs are made again.
        nclass=lambda wildcards, input: RUNS[wildcards.run].nclass,
        options=options(
            *("method", "compat", "pixel_size", "wedge", "mask", "binning"),
            "tomograms",
        ),
        other=import_of_other,
    message:
        "{wildcards.run}: reading {input.particles}"
    shell:
        command("pytom_import", "params.options", "params.nclass", "params.other")


rule pytom_prepare:
    input:
        file_option("mask"),
        file_option("focus_mask"),
        imported=IMPORT_3D,
    output:
        prepared=PREPARED,
    log:
        "results/{run}/logs/pytom_prepare.log",
    benchmark:
        "results/{run}/benchmarks/pytom_prepare.tsv"
    wildcard_constraints:
        run=only(RUNS_3D),
    conda:
        "../../envs/core.yaml"
    threads: N_RANKS
    resources:
        mpi="mpiexec",
        tasks=N_RANKS,
        mem_mb=rows_memory,
        runtime=minutes(120, 10000),
    params:
        files=files,
        options=options(*BAND_OPTIONS, "exact"),
    message:
        "{wildcards.run}: subtomograms in the common frame, on {resources.tasks} ranks"
    shell:
        command("pytom_prepare", "params.options", mpi=True)


rule ccc_matrix:
    input:
        file_option("mask"),
        file_option("focus_mask"),
        imported=IMPORT_3D,
        prepared=PREPARED,
        given=file_option("ccc"),
    output:
        matrix="results/{run}/correlation_matrix.h5",
    log:
        "results/{run}/logs/ccc_matrix.log",
    benchmark:
        "results/{run}/benchmarks/ccc_matrix.tsv"
    wildcard_constraints:
        run=only(RUNS_3D),
    conda:
        "../../envs/core.yaml"
    threads: N_RANKS
    resources:
        mpi="mpiexec",
        tasks=N_RANKS,
        mem_mb=memory(800, 2),
        runtime=minutes(120, 60),
    params:
        files=files,
        options=options("mask", "focus_mask", "binning", "compat", "pose_errors"),
    message:
        "{wildcards.run}: correlating all pairs on {resources.tasks} ranks"
    shell:
        command("ccc_matrix", "params.options", mpi=True)


rule ccc_csv:
    input:
        matrix="results/{run}/correlation_matrix.h5",
    output:
        csv="results/{run}/correlation_matrix.csv",
    log:
        "results/{run}/logs/ccc_csv.log",
    benchmark:
        "results/{run}/benchmarks/ccc_csv.tsv"
    wildcard_constraints:
        run=only(RUNS_3D),
    localrule: True
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=1000,
        runtime=minutes(60, 60),
    params:
        files=files,
    message:
        "{wildcards.run}: the correlation matrix as text"
    shell:
        command("ccc_csv")


rule eigen_projection:
    input:
        file_option("mask"),
        file_option("focus_mask"),
        matrix="results/{run}/correlation_matrix.h5",
        imported=IMPORT_3D,
        prepared=PREPARED,
    output:
        coefficients="results/{run}/coefficients.npy",
        eigen="results/{run}/eigen.json",
        volumes=directory("results/{run}/eigenvolumes"),
    log:
        "results/{run}/logs/eigen_projection.log",
    benchmark:
        "results/{run}/benchmarks/eigen_projection.tsv"
    wildcard_constraints:
        run=only(RUNS_3D),
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=memory(1000, 3),
        runtime=minutes(60, 60),
    params:
        files=files,
        options=options(
            *("neig", "rand_seed", "compat", "pose_errors", "symmetry"),
            *("mask", "focus_mask", "binning"),
        ),
    message:
        "{wildcards.run}: the leading components"
    shell:
        command("eigen_projection", "params.options")


rule kmeans:
    input:
        coefficients="results/{run}/coefficients.npy",
        eigen="results/{run}/eigen.json",
    output:
        labels="results/{run}/cpca/labels.npy",
    log:
        "results/{run}/logs/kmeans.log",
    benchmark:
        "results/{run}/benchmarks/kmeans.tsv"
    wildcard_constraints:
        run=only(RUNS_3D),
    localrule: True
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=memory(1000, 4),
        runtime=minutes(60),
    params:
        files=files,
        options=options("nclass", "clustering", "restarts", "compat", "rand_seed"),
    message:
        "{wildcards.run}: grouping particles by their components"
    shell:
        command("kmeans", "params.options")


rule mco_exmx_starts:
    input:
        imported=IMPORT_3D,
        prepared=PREPARED,
        start=lambda w: plan.cpca_start(w.run, RUNS[w.run]),
    output:
        courses="results/{run}/mco_exmx/starts_{batch}.npz",
    log:
        "results/{run}/logs/mco_exmx_starts/{batch}.log",
    benchmark:
        "results/{run}/benchmarks/mco_exmx_starts/{batch}.tsv"
    wildcard_constraints:
        run=only(runs_of("mco_exmx")),
        batch=r"\d{4}",
    conda:
        "../../envs/core.yaml"
    threads: N_RANKS
    resources:
        mpi="mpiexec",
        tasks=N_RANKS,
        mem_mb=memory(800, 2, 1),
        runtime=minutes(120, 60),
    params:
        files=files,
        options=options(*MCO_OPTIONS, "starts_per_job", "iterations"),
    message:
        "{wildcards.run}: MCO-EXMX, starts of job {wildcards.batch}"
    shell:
        command("mco_exmx_starts", "wildcards.batch", "params.options", mpi=True)


rule mco_exmx:
    input:
        file_option("mask"),
        imported=IMPORT_3D,
        prepared=PREPARED,
        courses=lambda w: plan.exmx_starts(w.run, RUNS[w.run]),
    output:
        labels="results/{run}/mco_exmx/labels.npy",
        scores="results/{run}/mco_exmx/scores.npy",
        report="results/{run}/exmx.json",
        iterations=directory("results/{run}/iterations"),
    log:
        "results/{run}/logs/mco_exmx.log",
    benchmark:
        "results/{run}/benchmarks/mco_exmx.tsv"
    wildcard_constraints:
        run=only(runs_of("mco_exmx")),
    conda:
        "../../envs/core.yaml"
    threads: N_RANKS
    resources:
        mpi="mpiexec",
        tasks=N_RANKS,
        mem_mb=memory(800, 2, 1),
        runtime=minutes(240, 60),
    params:
        files=files,
        options=options(
            *("nclass", "score", "leave_one_out", "start_from"),
            *(*COMPAT_OPTIONS, *EXMX_COMPAT_OPTIONS),
        ),
    message:
        "{wildcards.run}: the best start of MCO-EXMX"
    shell:
        command("mco_exmx", "params.options", mpi=True)


rule mco_ac_round:
    input:
        file_option("mask"),
        imported=IMPORT_3D,
        prepared=PREPARED,
        start=lambda w: plan.cpca_start(w.run, RUNS[w.run]),
        before=annealing_before,
    output:
        state="results/{run}/mco_ac/round_{step}.npz",
    log:
        "results/{run}/logs/mco_ac_round/{step}.log",
    benchmark:
        "results/{run}/benchmarks/mco_ac_round/{step}.tsv"
    wildcard_constraints:
        run=only(runs_of("mco_ac")),
        step=r"\d{4}",
    conda:
        "../../envs/core.yaml"
    threads: N_RANKS
    resources:
        mpi="mpiexec",
        tasks=N_RANKS,
        mem_mb=memory(800, 2, 1),
        runtime=minutes(240, 60),
    params:
        files=files,
        options=options(*MCO_OPTIONS, *ANNEALING_OPTIONS, *COMPAT_OPTIONS),
    message:
        "{wildcards.run}: annealing, round {wildcards.step}"
    shell:
        command("mco_ac_round", "wildcards.step", "params.options", mpi=True)


rule mco_ac:
    input:
        imported=IMPORT_3D,
        prepared=PREPARED,
        rounds=lambda w: plan.annealing_rounds(w.run, RUNS[w.run]),
    output:
        labels="results/{run}/mco_ac/labels.npy",
        scores="results/{run}/mco_ac/scores.npy",
        report="results/{run}/annealing.json",
        annealing=directory("results/{run}/annealing"),
    log:
        "results/{run}/logs/mco_ac.log",
    benchmark:
        "results/{run}/benchmarks/mco_ac.tsv"
    wildcard_constraints:
        run=only(runs_of("mco_ac")),
    localrule: True
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=memory(1000, 4),
        runtime=minutes(60),
    params:
        files=files,
        options=options(
            *("nclass", "temperature", "temperature_step"),
            *("start_from", "compat"),
        ),
    message:
        "{wildcards.run}: the best of all chains and rounds"
    shell:
        command("mco_ac", "params.options")


rule pytom_reproducible:
    input:
        IMPORT_3D,
        prepared=PREPARED,
    output:
        labels="results/{run}/reproducible/labels.npy",
        report="results/{run}/reproducible.json",
    log:
        "results/{run}/logs/pytom_reproducible.log",
    benchmark:
        "results/{run}/benchmarks/pytom_reproducible.tsv"
    wildcard_constraints:
        run=only(RUNS_3D),
    conda:
        "../../envs/core.yaml"
    threads: N_RANKS
    resources:
        mpi="mpiexec",
        tasks=N_RANKS,
        mem_mb=memory(800, 2, 1),
        runtime=minutes(240, 60),
    params:
        files=files,
        options=options("nclass", "rand_seed", "reproducible"),
    message:
        "{wildcards.run}: classes that independent runs agree on"
    shell:
        command("pytom_reproducible", "params.options", mpi=True)


rule pytom_differences:
    input:
        imported=IMPORT_3D,
        prepared=PREPARED,
        labels=lambda w: plan.labels(w.run, RUNS[w.run]),
    output:
        differences="results/{run}/differences.json",
    log:
        "results/{run}/logs/pytom_differences.log",
    benchmark:
        "results/{run}/benchmarks/pytom_differences.tsv"
    wildcard_constraints:
        run=only(RUNS_3D),
    conda:
        "../../envs/core.yaml"
    threads: N_RANKS
    resources:
        mpi="mpiexec",
        tasks=N_RANKS,
        mem_mb=memory(800, 2, 1),
        runtime=minutes(240, 60),
    params:
        files=files,
        options=options("rand_seed", "binning"),
    message:
        "{wildcards.run}: which classes differ beyond chance"
    shell:
        command("pytom_differences", "params.options", mpi=True)


rule hierarchical_merge:
    input:
        file_option("mask"),
        "results/{run}/class_averages",
        imported=IMPORT_3D,
        prepared=PREPARED,
        labels=lambda w: plan.labels(w.run, RUNS[w.run]),
        classes="results/{run}/classes.json",
        differences=differences_needed,
    output:
        expand("results/{{run}}/merged/{name}", name=RESULTS_3D),
        directory("results/{run}/merged/class_averages"),
        merged="results/{run}/merged/labels.npy",
        merge="results/{run}/merge.json",
        folder=multiext(
            "results/{run}/merged/",
            *(
                "classAverageList.xml",
                "correlationMatrix.em",
                "correlationMatrix-R.txt",
            ),
        ),
    log:
        "results/{run}/logs/hierarchical_merge.log",
    benchmark:
        "results/{run}/benchmarks/hierarchical_merge.tsv"
    wildcard_constraints:
        run=only(RUNS_3D),
    conda:
        "../../envs/core.yaml"
    threads: N_RANKS
    resources:
        mpi="mpiexec",
        tasks=N_RANKS,
        mem_mb=memory(800, 4),
        runtime=minutes(120, 600),
    params:
        files=files,
        options=options(*AVERAGE_OPTIONS, "merge", "lowpass", "highpass", "binning"),
    message:
        "{wildcards.run}: merging classes that are alike"
    shell:
        command("hierarchical_merge", "params.options", mpi=True)


rule select_classes:
    input:
        file_option("mask"),
        lambda w: f"{Path(plan.classes(w.run, RUNS[w.run])).parent}/class_averages",
        selection=selection_needed,
        imported=IMPORT_3D,
        poses="results/{run}/prepared/poses.npz",
        labels=lambda w: plan.labels(w.run, RUNS[w.run], merged=True),
        classes=lambda w: plan.classes(w.run, RUNS[w.run]),
    output:
        folder=multiext(
            "results/{run}/{selected}/",
            *("filtered_pl.xml", "filtered_pl.star", "selected.csv"),
            "backup_selection.star",
            *("filteredIniRef.em", "filteredIniRef.mrc"),
        ),
        page="results/{run}/{selected}/index.html",
    log:
        "results/{run}/logs/select_classes/{selected}.log",
    benchmark:
        "results/{run}/benchmarks/select_classes/{selected}.tsv"
    wildcard_constraints:
        run=only(RUNS_3D),
        selected=SELECTED,
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=memory(1000, 4),
        runtime=minutes(60),
    params:
        files=files,
        options=options_and_select(*AVERAGE_OPTIONS),
    message:
        "{wildcards.run}: selecting classes ({wildcards.selected})"
    shell:
        command("select_classes", "wildcards.run", "params.options")


rule pytom_class_averages:
    input:
        file_option("mask"),
        imported=IMPORT_3D,
        poses="results/{run}/prepared/poses.npz",
        labels=lambda w: plan.labels(w.run, RUNS[w.run]),
    output:
        directory("results/{run}/class_averages"),
        folder=expand("results/{{run}}/{name}", name=RESULTS_3D),
    log:
        "results/{run}/logs/pytom_class_averages.log",
    benchmark:
        "results/{run}/benchmarks/pytom_class_averages.tsv"
    wildcard_constraints:
        run=only(RUNS_3D),
    conda:
        "../../envs/core.yaml"
    threads: N_RANKS
    resources:
        mpi="mpiexec",
        tasks=N_RANKS,
        mem_mb=memory(800, 4),
        runtime=minutes(120, 600),
    params:
        files=files,
        options=options(*AVERAGE_OPTIONS),
    message:
        "{wildcards.run}: averaging the classes on {resources.tasks} ranks"
    shell:
        command("pytom_class_averages", "params.options", mpi=True)


rule pytom_subset:
    input:
        imported=IMPORT_3D,
        poses="results/{run}/prepared/poses.npz",
        labels=lambda w: plan.labels(w.run, RUNS[w.run], merged=True),
    output:
        xml="results/{run}/subsets/{which}.xml",
        star="results/{run}/subsets/{which}.star",
    log:
        "results/{run}/logs/pytom_subset/{which}.log",
    benchmark:
        "results/{run}/benchmarks/pytom_subset/{which}.tsv"
    wildcard_constraints:
        run=only(RUNS_3D),
        which=r"unaccounted|class_0*[1-9]\d*",
    localrule: True
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=memory(1000, 4),
        runtime=minutes(30),
    params:
        files=files,
        class_number=class_number,
    message:
        "{wildcards.run}: listing the particles of {wildcards.which}"
    shell:
        command("pytom_subset", "params.class_number")
