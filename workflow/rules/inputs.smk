import os

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


def import_of_other(wildcards):
    """What is known of another run's particles, if they are what is classified."""
    other, _ = reference(RUNS[wildcards.run].particles) or (None, None)
    # Behind slabs there are subtomograms that nobody has imported yet.
    return f"results/{other}/import/import.json" if other in RUNS_3D else ""


def all_options(wildcards, input):
    """All options of a run, for checks of those that no output of a rule depends on.

    Made of input, it is no parameter by which jobs are made again.
    """
    return json.dumps(RUNS[wildcards.run].as_dict())


def check_starts(jobs):
    """Say before any job what is wrong with the particles of runs that start now.

    Where Snakemake stands without NumPy the imports say it, the first jobs of a run.
    """
    from cryokin.checks import check_run

    starting = {job.wildcards.run for job in jobs if job.rule.name.endswith("_import")}
    for run in sorted(starting):
        particles = plan.particles_of(run, RUNS)
        if reference(RUNS[run].particles) or not os.path.exists(particles):
            continue  # Another run makes them, or the workflow itself.
        try:
            check_run(RUNS[run], particles)
        except ModuleNotFoundError:
            return
        except InputError as error:
            raise InputError(f"{SOURCE}: runs.{run}: {error}") from None


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
