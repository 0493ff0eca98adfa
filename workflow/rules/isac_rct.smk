def classes_of_group(wildcards):
    """The classes among which a group is."""
    where, _ = plan.group_of_name(wildcards.group)
    if where is None:
        return of_generations("classes_generation_{0}.npz")(wildcards)
    kind, number = where
    name = "candidates" if kind else "classes"
    folder = plan.generation_folder(wildcards.run, number)
    return [f"{folder}/{name}_generation_{number}.npz"]


def averages_of_group(wildcards):
    """The averages of these classes."""
    where, _ = plan.group_of_name(wildcards.group)
    if where is None:
        return f"results/{wildcards.run}/class_averages.hdf"
    kind, number = where
    folder = plan.generation_folder(wildcards.run, number)
    return f"{folder}/class_averages_{kind}generation_{number}.hdf"


def tilted_particles(wildcards):
    """The tilted counterparts of a run's particles."""
    tilted = RUNS[wildcards.run].tilted
    if tilted is None:
        sys.exit(
            f"error: {wildcards.run}: nothing says where the tilted counterparts of the"
            f" particles are; give runs.{wildcards.run}.tilted in the config."
        )
    return tilted["particles"]


def match_column(wildcards):
    """The name of the column that pairs share, if the run has one."""
    return (RUNS[wildcards.run].tilted or {}).get("match") or ""


rule isac_rct:
    input:
        classes=classes_of_group,
        averages=averages_of_group,
        particles="results/{run}/import/particles.star",
        shifts="results/{run}/2dalignment/initial2Dparams.txt",
        stack_info="results/{run}/working_stack.json",
        tilted=tilted_particles,
    output:
        folder=multiext(
            "results/{run}/rct/{group}/",
            *("members.txt", "tilted.txt", "params.txt"),
            *("tilted.mrcs", "tilted.star", "average.hdf"),
        ),
    log:
        "results/{run}/logs/isac_rct/{group}.log",
    benchmark:
        "results/{run}/benchmarks/isac_rct/{group}.tsv"
    wildcard_constraints:
        run=only(RUNS_2D),
        group=r"(candidate_)?generation_(?!0000)\d{4}_group_\d+|class_0*[1-9]\d*",
    localrule: True
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=memory(1000, 2),
        runtime=minutes(60),
    params:
        files=files,
        number=lambda wildcards: plan.group_of_name(wildcards.group)[1],
        match=match_column,
    message:
        "{wildcards.run}: tilted counterparts of {wildcards.group}"
    shell:
        command("isac_rct", "params.number", "params.match")
