SELECTED_2D = multiext(
    "results/{run}/{selected}/",
    *("particles_selected.star", "backup_selection.star", "classes_selected.star"),
    *("class_averages_selected.mrcs", "class_averages_selected.hdf"),
    "isacselect.txt",
)


def selection_of_averages(wildcards):
    """The user's selection among the averages of a generation, where there is one."""
    stem = f"config/selection/{wildcards.run}/{wildcards.stack}"
    return plan.existing(f"{stem}.yaml", f"{stem}.hdf")[:1]


def averages_of_generation(wildcards):
    """The averages of a generation that a file's name tells."""
    number = wildcards.stack.rpartition("_")[2]
    number = checked(plan.same_generation, wildcards.folder, number)
    return f"{plan.generation_folder(wildcards.run, number)}/{wildcards.stack}.hdf"


rule select_particles:
    input:
        selection=selection_needed,
        particles="results/{run}/particles.star",
        shifts="results/{run}/2dalignment/initial2Dparams.txt",
        hdf="results/{run}/class_averages.hdf",
        class_table="results/{run}/classes.star",
        classes=of_generations("classes_generation_{0}.npz"),
        stack="results/{run}/working_stack.mrcs",
        stack_info="results/{run}/working_stack.json",
    output:
        folder=SELECTED_2D,
        groups=directory("results/{run}/{selected}/isacgroup"),
        page="results/{run}/{selected}/index.html",
    log:
        "results/{run}/logs/select_particles/{selected}.log",
    benchmark:
        "results/{run}/benchmarks/select_particles/{selected}.tsv"
    wildcard_constraints:
        run=only(RUNS_2D),
        selected=SELECTED,
    localrule: True
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=memory(1000, 2),
        runtime=minutes(60),
    params:
        files=files,
        options=options_and_select("target_radius", "ir", "rs", "FH", "FF"),
    message:
        "{wildcards.run}: selecting particles ({wildcards.selected})"
    shell:
        command("select_particles", "wildcards.run", "params.options")


rule isac_select_averages:
    input:
        averages=averages_of_generation,
        particles="results/{run}/import/particles.star",
        selection=selection_of_averages,
    output:
        selected=f"{GENERATION}/selected/{{stack}}/selected.hdf",
        ids=f"{GENERATION}/selected/{{stack}}/isacselect.txt",
        groups=directory(f"{GENERATION}/selected/{{stack}}/isacgroup"),
    log:
        "results/{run}/logs/isac_select_averages/{folder}_{stack}.log",
    benchmark:
        "results/{run}/benchmarks/isac_select_averages/{folder}_{stack}.tsv"
    wildcard_constraints:
        run=only(RUNS_2D),
        stack=r"class_averages_(candidate_)?generation_[1-9]\d*",
    localrule: True
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=memory(1000, 2),
        runtime=minutes(30),
    params:
        files=files,
    message:
        "{wildcards.run}: listing members of {wildcards.stack}"
    shell:
        command("isac_select_averages", "wildcards.run")


rule isac_subset:
    input:
        particles="results/{run}/particles.star",
    output:
        table="results/{run}/subsets/{which}.star",
    log:
        "results/{run}/logs/isac_subset/{which}.log",
    benchmark:
        "results/{run}/benchmarks/isac_subset/{which}.tsv"
    wildcard_constraints:
        run=only(RUNS_2D),
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
        command("isac_subset", "params.class_number")
