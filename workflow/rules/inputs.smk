# Who has taken the images away keeps what was made of them, as files that no rule makes.
KEPT = [run for run in RUNS if workflow.is_main_process and plan.lost_images(run)]
for run in KEPT:
    logger.warning(f"{run}: the images are gone; results are kept as they are.")


def table_or_stack(wildcards):
    """The particles that a run starts from: a file, or a list of another run."""
    return plan.particles_of(wildcards.run, RUNS)


def images_behind(wildcards):
    """The list of the files with a run's images, and these: others make all again.

    Images that the workflow makes itself are made again with their table.
    """
    if not plan.needs_images(RUNS[wildcards.run], DEMO_PARTICLES + DEMO_SUBTOMOGRAMS):
        return []
    listed = checkpoints.list_images.get(run=wildcards.run).output[0]
    return [listed, *Path(listed).read_text().splitlines()]


def drawn_seed(wildcards):
    """The seed that was drawn, where none is given: whatever needs it comes later."""
    return [f"results/{wildcards.run}/rand_seed.txt"] * (wildcards.run in DRAWN)


rule rand_seed:
    output:
        "results/{run}/rand_seed.txt",
    log:
        "results/{run}/logs/rand_seed.log",
    wildcard_constraints:
        run=only(DRAWN),
    localrule: True
    conda:
        "../../envs/core.yaml"
    params:
        # Made of output, it is none by which it would be drawn again.
        seed=lambda wildcards, output: RUNS[wildcards.run].rand_seed,
    message:
        "{wildcards.run}: drawing a seed"
    shell:
        "echo {params.seed} > {output} 2> {log}"


checkpoint list_images:
    input:
        particles=table_or_stack,
    output:
        images="results/{run}/import/images.txt",
    log:
        "results/{run}/logs/list_images.log",
    retries: 0
    localrule: True
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=memory(1000, 2),
        runtime=minutes(30),
    params:
        files=files,
    message:
        "{wildcards.run}: looking for the images of {input.particles}"
    shell:
        command("list_images")
