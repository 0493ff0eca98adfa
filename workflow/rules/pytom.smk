localrules:
    pytom_import,
    ccc_csv,
    kmeans,
    mco_ac,


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


def mask_file(wildcards):
    """The mask, where it is a file."""
    mask = RUNS[wildcards.run]["mask"]
    return [mask] if isinstance(mask, str) else []


def import_of_other(wildcards):
    """The option that hands over what is known of another run's particles."""
    other, _ = reference(RUNS[wildcards.run]["particles"]) or (None, None)
    return f"--import-of results/{other}/import/import.json" if other else ""


def focus_mask_file(wildcards):
    """The mask around the region of interest, where it is a file."""
    mask = RUNS[wildcards.run]["focus_mask"]
    return [mask] if isinstance(mask, str) else []


def differences_needed(wildcards):
    """Which classes are distinct, where as many are to remain."""
    merging = RUNS[wildcards.run]["merge"] or {}
    automatic = merging.get("number") == "auto"
    return [f"results/{wildcards.run}/differences.json"] if automatic else []


def given_matrix(wildcards):
    """The correlation matrix, where the run has one already."""
    given = RUNS[wildcards.run].get("ccc")
    return [given] if given else []


def existing_options(*keys):
    """As `options`, of the keys that the method of the run has."""
    return lambda wildcards: json.dumps(
        {key: RUNS[wildcards.run][key] for key in keys if key in RUNS[wildcards.run]}
    )


def rows_memory(wildcards, input, threads, attempt):
    """Memory of `pytom_prepare` [MB]: the ranks share the rows of all particles."""
    imported = next(name for name in input.imported if name.endswith("import.json"))
    coefficients = 2.1 * RUNS[wildcards.run]["lowpass"] ** 3  # half a ball
    # A coefficient, its weight and its residual, mapped from files.
    rows = read_json(imported)["n"] * coefficients * 20 / 1e6
    return int((1 + attempt) / 2 * (threads * 800 + rows))


def cpca_start(wildcards):
    """The classes of CPCA, where the run starts from them."""
    chosen = RUNS[wildcards.run]
    wanted = chosen["start_from"] == "cpca" and chosen["compat"] == "none"
    return [f"results/{wildcards.run}/cpca/labels.npy"] * wanted


def exmx_starts(wildcards):
    """The jobs that run the starts of EXMX; PyTom's own way has one start."""
    chosen = RUNS[wildcards.run]
    if chosen["compat"] == "pytom":
        return []
    jobs = math.ceil(number_of_starts(chosen) / chosen["starts_per_job"])
    folder = f"results/{wildcards.run}/mco_exmx"
    return [f"{folder}/starts_{number:04d}.npz" for number in range(jobs)]


def annealing_rounds(wildcards):
    """The states of all rounds of annealing."""
    chosen = RUNS[wildcards.run]
    rounds = len(schedule(chosen["temperature"], chosen["temperature_step"]))
    return [f"results/{wildcards.run}/mco_ac/round_{r:04d}.npz" for r in range(rounds)]


def annealing_before(wildcards):
    """The state of the round before, of all but the first."""
    rounds = annealing_rounds(wildcards)
    number = int(wildcards.step)
    if number >= len(rounds):
        raise WorkflowError(f"{wildcards.run}: there are {len(rounds)} rounds only.")
    return rounds[number - 1 : number] if number else []


def labels_of_method(wildcards):
    """The classes that the method of a run finds."""
    method = RUNS[wildcards.run]["method"]
    return f"results/{wildcards.run}/{method}/labels.npy"


def final_labels(wildcards):
    """The classes of a run: of its method, or what its independent runs agree on."""
    if RUNS[wildcards.run]["reproducible"]:
        return f"results/{wildcards.run}/reproducible/labels.npy"
    return labels_of_method(wildcards)


def labels_to_select(wildcards):
    """The classes among which the user selects: merged ones where there are."""
    if RUNS[wildcards.run]["merge"]:
        return f"results/{wildcards.run}/merged/labels.npy"
    return final_labels(wildcards)


def classes_to_select(wildcards):
    """What is known of these classes."""
    folder = "merged/" if RUNS[wildcards.run]["merge"] else ""
    return f"results/{wildcards.run}/{folder}classes.json"


def results_3d(wildcards):
    """All files of the runs for subtomograms, so that one that is lost is made again."""
    of_run = [rules.pytom_import, rules.pytom_prepare]
    of_run += [rules.pytom_class_averages, rules.pytom_report]
    by_method = dict(cpca="kmeans", mco_exmx="mco_exmx", mco_ac="mco_ac")
    wanted = []
    for run in RUNS_3D:
        method = RUNS[run]["method"]
        of_classes = getattr(rules, by_method[method])
        if RUNS[run]["reproducible"]:
            of_classes = rules.pytom_reproducible
        of_components = [rules.ccc_matrix, rules.eigen_projection] * (method == "cpca")
        wanted += outputs([*of_run, of_classes, *of_components], run=run)
        if RUNS[run].get("ccc_csv"):
            wanted.append(f"results/{run}/correlation_matrix.csv")
        if RUNS[run]["merge"]:
            wanted.append(f"results/{run}/merge.json")
    return wanted


rule pytom_import:
    input:
        particles=table_or_stack,
        mask=mask_file,
    output:
        IMPORT_3D,
    log:
        "results/{run}/logs/pytom_import.log",
    benchmark:
        "results/{run}/benchmarks/pytom_import.tsv"
    wildcard_constraints:
        run=only(RUNS_3D),
    retries: 0
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=memory(1000, 2),
        runtime=minutes(60),
        # For a check alone: as a parameter, another number would make all again.
        nclass=lambda w: RUNS[w.run]["nclass"],
    params:
        options=options("method", "compat", "pixel_size", "wedge", "mask", "binning"),
        other=import_of_other,
        folder="results/{run}/import",
        images=lambda w: state_of_images(w.run),
    message:
        "{wildcards.run}: reading {input.particles}"
    shell:
        f"{SCRIPT}/pytom_import.py --particles {{input.particles:q}} {{params.other}}"
        " --options {params.options:q} --nclass {resources.nclass}"
        " --folder {params.folder} > {log} 2>&1"
        f"{NOTE_IMAGES}"


rule pytom_prepare:
    input:
        imported=IMPORT_3D,
        mask=mask_file,
        focus=focus_mask_file,
    output:
        PREPARED,
    log:
        "results/{run}/logs/pytom_prepare.log",
    benchmark:
        "results/{run}/benchmarks/pytom_prepare.tsv"
    wildcard_constraints:
        run=only(RUNS_3D),
    conda:
        "../../envs/core.yaml"
    threads: 2
    resources:
        mpi="mpiexec",
        tasks=2,
        mem_mb=rows_memory,
        runtime=minutes(120, 10000),
    params:
        options=existing_options(*BAND_OPTIONS, "exact"),
        imported="results/{run}/import",
        folder="results/{run}/prepared",
    message:
        "{wildcards.run}: subtomograms in the common frame, on {resources.tasks} ranks"
    shell:
        f"{MPI_SCRIPT}/pytom_prepare.py --imported {{params.imported}}"
        " --options {params.options:q} --folder {params.folder}"
        " --ranks {resources.tasks} > {log} 2>&1"


rule ccc_matrix:
    input:
        imported=IMPORT_3D,
        prepared=PREPARED,
        given=given_matrix,
        mask=mask_file,
        focus=focus_mask_file,
    output:
        "results/{run}/correlation_matrix.h5",
    log:
        "results/{run}/logs/ccc_matrix.log",
    benchmark:
        "results/{run}/benchmarks/ccc_matrix.tsv"
    wildcard_constraints:
        run=only(RUNS_3D),
    conda:
        "../../envs/core.yaml"
    threads: 2
    resources:
        mpi="mpiexec",
        tasks=2,
        mem_mb=memory(800, 2),
        runtime=minutes(120, 60),
    params:
        options=options("mask", "focus_mask", "binning", "compat", "pose_errors"),
        imported="results/{run}/import",
        prepared="results/{run}/prepared",
        given=lambda w, input: (
            f"--given {shlex.quote(str(input.given))}" if input.given else ""
        ),
    message:
        "{wildcards.run}: correlating all pairs on {resources.tasks} ranks"
    shell:
        f"{MPI_SCRIPT}/pytom_ccc_matrix.py --imported {{params.imported}}"
        " --prepared {params.prepared} {params.given} --options {params.options:q}"
        " --hdf {output} --ranks {resources.tasks} > {log} 2>&1"


rule ccc_csv:
    input:
        "results/{run}/correlation_matrix.h5",
    output:
        "results/{run}/correlation_matrix.csv",
    log:
        "results/{run}/logs/ccc_csv.log",
    benchmark:
        "results/{run}/benchmarks/ccc_csv.tsv"
    wildcard_constraints:
        run=only(RUNS_3D),
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=1000,
        runtime=minutes(60, 60),
    message:
        "{wildcards.run}: the correlation matrix as text"
    shell:
        f"{SCRIPT}/pytom_ccc_csv.py --matrix {{input}} --csv {{output}} > {{log}} 2>&1"


rule eigen_projection:
    input:
        matrix="results/{run}/correlation_matrix.h5",
        imported=IMPORT_3D,
        prepared=PREPARED,
        mask=mask_file,
        focus=focus_mask_file,
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
        options=options(
            *("neig", "rand_seed", "compat", "pose_errors", "symmetry"),
            *("mask", "focus_mask", "binning"),
        ),
        imported="results/{run}/import",
        prepared="results/{run}/prepared",
    message:
        "{wildcards.run}: the leading components"
    shell:
        f"{SCRIPT}/pytom_eigen_projection.py --matrix {{input.matrix}}"
        " --imported {params.imported} --prepared {params.prepared}"
        " --options {params.options:q} --coefficients {output.coefficients}"
        " --eigen {output.eigen} --volumes {output.volumes} > {log} 2>&1"


rule kmeans:
    input:
        coefficients="results/{run}/coefficients.npy",
        eigen="results/{run}/eigen.json",
    output:
        "results/{run}/cpca/labels.npy",
    log:
        "results/{run}/logs/kmeans.log",
    benchmark:
        "results/{run}/benchmarks/kmeans.tsv"
    wildcard_constraints:
        run=only(RUNS_3D),
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=memory(1000, 4),
        runtime=minutes(60),
    params:
        options=options("nclass", "clustering", "restarts", "compat", "rand_seed"),
    message:
        "{wildcards.run}: grouping particles by their components"
    shell:
        f"{SCRIPT}/pytom_kmeans.py --coefficients {{input.coefficients}}"
        " --eigen {input.eigen}"
        " --options {params.options:q} --labels {output} > {log} 2>&1"


rule mco_exmx_starts:
    input:
        imported=IMPORT_3D,
        prepared=PREPARED,
        start=cpca_start,
    output:
        "results/{run}/mco_exmx/starts_{batch}.npz",
    log:
        "results/{run}/logs/mco_exmx_starts/{batch}.log",
    benchmark:
        "results/{run}/benchmarks/mco_exmx_starts/{batch}.tsv"
    wildcard_constraints:
        run=only(runs_of("mco_exmx")),
        batch=r"\d{4}",
    conda:
        "../../envs/core.yaml"
    threads: 2
    resources:
        mpi="mpiexec",
        tasks=2,
        mem_mb=memory(800, 2, 1),
        runtime=minutes(120, 60),
    params:
        options=options(*MCO_OPTIONS, "starts_per_job", "iterations"),
        imported="results/{run}/import",
        prepared="results/{run}/prepared",
        start=lambda w, input: f"--start {input.start}" if input.start else "",
    message:
        "{wildcards.run}: MCO-EXMX, starts of job {wildcards.batch}"
    shell:
        f"{MPI_SCRIPT}/pytom_mco_exmx_starts.py --imported {{params.imported}}"
        " --prepared {params.prepared} {params.start} --batch {wildcards.batch}"
        " --options {params.options:q} --courses {output}"
        " --ranks {resources.tasks} > {log} 2>&1"


rule mco_exmx:
    input:
        imported=IMPORT_3D,
        prepared=PREPARED,
        starts=exmx_starts,
        mask=mask_file,
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
    threads: 2
    resources:
        mpi="mpiexec",
        tasks=2,
        mem_mb=memory(800, 2, 1),
        runtime=minutes(240, 60),
    params:
        options=options(
            *("nclass", "score", "leave_one_out", "start_from"),
            *(*COMPAT_OPTIONS, *EXMX_COMPAT_OPTIONS),
        ),
        imported="results/{run}/import",
        prepared="results/{run}/prepared",
    message:
        "{wildcards.run}: the best start of MCO-EXMX"
    shell:
        f"{MPI_SCRIPT}/pytom_mco_exmx.py --imported {{params.imported}}"
        " --prepared {params.prepared} --courses {input.starts}"
        " --options {params.options:q} --folder {output.iterations} --labels {output.labels}"
        " --scores {output.scores} --report {output.report} --ranks {resources.tasks} > {log} 2>&1"


rule mco_ac_round:
    input:
        imported=IMPORT_3D,
        prepared=PREPARED,
        start=cpca_start,
        before=annealing_before,
        mask=mask_file,
    output:
        "results/{run}/mco_ac/round_{step}.npz",
    log:
        "results/{run}/logs/mco_ac_round/{step}.log",
    benchmark:
        "results/{run}/benchmarks/mco_ac_round/{step}.tsv"
    wildcard_constraints:
        run=only(runs_of("mco_ac")),
        step=r"\d{4}",
    conda:
        "../../envs/core.yaml"
    threads: 2
    resources:
        mpi="mpiexec",
        tasks=2,
        mem_mb=memory(800, 2, 1),
        runtime=minutes(240, 60),
    params:
        options=options(*MCO_OPTIONS, *ANNEALING_OPTIONS, *COMPAT_OPTIONS),
        imported="results/{run}/import",
        prepared="results/{run}/prepared",
        start=lambda w, input: f"--start {input.start}" if input.start else "",
        before=lambda w, input: f"--before {input.before}" if input.before else "",
    message:
        "{wildcards.run}: annealing, round {wildcards.step}"
    shell:
        f"{MPI_SCRIPT}/pytom_mco_ac_round.py --imported {{params.imported}}"
        " --prepared {params.prepared} {params.start} {params.before}"
        " --round {wildcards.step} --options {params.options:q} --state {output}"
        " --ranks {resources.tasks} > {log} 2>&1"


rule mco_ac:
    input:
        imported=IMPORT_3D,
        poses="results/{run}/prepared/poses.npz",
        rounds=annealing_rounds,
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
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=memory(1000, 4),
        runtime=minutes(60),
    params:
        options=options(
            *("nclass", "temperature", "temperature_step"),
            *("start_from", "compat"),
        ),
        imported="results/{run}/import",
    message:
        "{wildcards.run}: the best of all chains and rounds"
    shell:
        f"{SCRIPT}/pytom_mco_ac.py --imported {{params.imported}}"
        " --poses {input.poses} --rounds {input.rounds} --options {params.options:q}"
        " --folder {output.annealing} --labels {output.labels}"
        " --scores {output.scores} --report {output.report} > {log} 2>&1"


rule pytom_reproducible:
    input:
        imported=IMPORT_3D,
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
    threads: 2
    resources:
        mpi="mpiexec",
        tasks=2,
        mem_mb=memory(800, 2, 1),
        runtime=minutes(240, 60),
    params:
        options=options("nclass", "rand_seed", "reproducible"),
        prepared="results/{run}/prepared",
    message:
        "{wildcards.run}: classes that independent runs agree on"
    shell:
        f"{MPI_SCRIPT}/pytom_reproducible.py --prepared {{params.prepared}}"
        " --options {params.options:q} --labels {output.labels}"
        " --report {output.report} --ranks {resources.tasks} > {log} 2>&1"


rule pytom_differences:
    input:
        imported=IMPORT_3D,
        prepared=PREPARED,
        labels=final_labels,
    output:
        "results/{run}/differences.json",
    log:
        "results/{run}/logs/pytom_differences.log",
    benchmark:
        "results/{run}/benchmarks/pytom_differences.tsv"
    wildcard_constraints:
        run=only(RUNS_3D),
    conda:
        "../../envs/core.yaml"
    threads: 2
    resources:
        mpi="mpiexec",
        tasks=2,
        mem_mb=memory(800, 2, 1),
        runtime=minutes(240, 60),
    params:
        options=options("rand_seed", "binning"),
        imported="results/{run}/import",
        prepared="results/{run}/prepared",
    message:
        "{wildcards.run}: which classes differ beyond chance"
    shell:
        f"{MPI_SCRIPT}/pytom_differences.py --imported {{params.imported}}"
        " --prepared {params.prepared} --labels {input.labels}"
        " --options {params.options:q} --differences {output}"
        " --ranks {resources.tasks} > {log} 2>&1"


rule hierarchical_merge:
    input:
        imported=IMPORT_3D,
        prepared=PREPARED,
        labels=final_labels,
        averages="results/{run}/class_averages",
        classes="results/{run}/classes.json",
        mask=mask_file,
        differences=differences_needed,
    output:
        expand("results/{{run}}/merged/{name}", name=RESULTS_3D),
        averages=directory("results/{run}/merged/class_averages"),
        labels="results/{run}/merged/labels.npy",
        merge="results/{run}/merge.json",
        lists=multiext(
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
    threads: 2
    resources:
        mpi="mpiexec",
        tasks=2,
        mem_mb=memory(800, 4),
        runtime=minutes(120, 600),
    params:
        options=options(*AVERAGE_OPTIONS, "merge", "lowpass", "highpass", "binning"),
        imported="results/{run}/import",
        prepared="results/{run}/prepared",
        differences=lambda w, input: (
            f"--differences {input.differences}" if input.differences else ""
        ),
    message:
        "{wildcards.run}: merging classes that are alike"
    shell:
        f"{MPI_SCRIPT}/pytom_merge.py --imported {{params.imported}}"
        " --prepared {params.prepared} --labels {input.labels} --classes {input.classes}"
        " {params.differences}"
        " --options {params.options:q} --folder results/{wildcards.run}/merged"
        " --merged-labels {output.labels} --merge {output.merge}"
        " --ranks {resources.tasks} > {log} 2>&1"


rule select_classes:
    input:
        selection=selection_needed,
        imported=IMPORT_3D,
        poses="results/{run}/prepared/poses.npz",
        labels=labels_to_select,
        classes=classes_to_select,
        mask=mask_file,
    output:
        multiext(
            "results/{run}/selected/",
            *("filtered_pl.xml", "filtered_pl.star", "selected.csv"),
            "backup_selection.star",
            *("filteredIniRef.em", "filteredIniRef.mrc"),
        ),
    log:
        "results/{run}/logs/select_classes.log",
    benchmark:
        "results/{run}/benchmarks/select_classes.tsv"
    wildcard_constraints:
        run=only(RUNS_3D),
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=memory(1000, 4),
        runtime=minutes(60),
    params:
        options=lambda wildcards: json.dumps(
            {key: RUNS[wildcards.run][key] for key in AVERAGE_OPTIONS}
            | select_option(wildcards)
        ),
        selection=selection_option,
        imported="results/{run}/import",
        folder="results/{run}/selected",
    message:
        "{wildcards.run}: selecting classes"
    shell:
        f"{SCRIPT}/pytom_select.py --run {{wildcards.run}} {{params.selection}}"
        " --imported {params.imported}"
        " --poses {input.poses} --labels {input.labels} --classes {input.classes}"
        " --options {params.options:q} --folder {params.folder} > {log} 2>&1"


rule pytom_class_averages:
    input:
        imported=IMPORT_3D,
        poses="results/{run}/prepared/poses.npz",
        labels=final_labels,
        mask=mask_file,
    output:
        expand("results/{{run}}/{name}", name=RESULTS_3D),
        averages=directory("results/{run}/class_averages"),
    log:
        "results/{run}/logs/pytom_class_averages.log",
    benchmark:
        "results/{run}/benchmarks/pytom_class_averages.tsv"
    wildcard_constraints:
        run=only(RUNS_3D),
    conda:
        "../../envs/core.yaml"
    threads: 2
    resources:
        mpi="mpiexec",
        tasks=2,
        mem_mb=memory(800, 4),
        runtime=minutes(120, 600),
    params:
        options=options(*AVERAGE_OPTIONS),
        imported="results/{run}/import",
    message:
        "{wildcards.run}: averaging the classes on {resources.tasks} ranks"
    shell:
        f"{MPI_SCRIPT}/pytom_class_averages.py --imported {{params.imported}}"
        " --poses {input.poses} --labels {input.labels} --options {params.options:q}"
        " --folder results/{wildcards.run} --ranks {resources.tasks} > {log} 2>&1"
