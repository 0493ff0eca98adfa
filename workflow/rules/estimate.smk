localrules:
    estimate_run,
    estimate,


def runs_that_can_be_counted():
    """The runs whose particles are known now, not only when another run is done."""
    return [
        run
        for run, options in RUNS.items()
        if not reference(options["particles"]) or os.path.exists(particles_of(run))
    ]


def ranks_of_rules():
    """The MPI ranks of the rules that have some, as the profile sets them."""
    found = {
        known.name: known.resources["tasks"].value
        for known in workflow.rules
        if "tasks" in known.resources
    }
    # A profile may also give an expression, which only a job has a value of.
    return {name: ranks for name, ranks in found.items() if isinstance(ranks, int)}


rule estimate_run:
    input:
        particles=table_or_stack,
    output:
        estimated="results/{run}/estimate.json",
    log:
        "results/{run}/logs/estimate_run.log",
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=500,
        runtime=30,
    params:
        files=files,
        options=lambda wildcards: json.dumps(RUNS[wildcards.run]),
        images=lambda wildcards: state_of_images(wildcards.run),
    message:
        "{wildcards.run}: estimating jobs, time, memory and disk"
    shell:
        command("estimate_run", "wildcards.run", "params.options")


rule estimate:
    input:
        estimates=expand("results/{run}/estimate.json", run=runs_that_can_be_counted()),
    conda:
        "../../envs/core.yaml"
    params:
        files=files,
        ranks=lambda wildcards: json.dumps(ranks_of_rules()),
    message:
        "What the runs are estimated to take:"
    shell:
        f"{SCRIPT}/estimate.py {{params.files}} --ranks {{params.ranks:q}}"
