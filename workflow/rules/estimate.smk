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
    localrule: True
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=500,
        runtime=30,
    params:
        files=files,
        options=lambda wildcards: json.dumps(RUNS[wildcards.run].as_dict()),
        other=import_of_other,
    message:
        "{wildcards.run}: estimating jobs, time, memory and disk"
    shell:
        command("estimate_run", "wildcards.run", "params.options", "params.other")


# No log: what it tells is for the terminal.
rule estimate:
    input:
        estimates=expand("results/{run}/estimate.json", run=plan.countable(RUNS)),
    localrule: True
    conda:
        "../../envs/core.yaml"
    params:
        files=files,
        ranks=lambda wildcards: json.dumps(ranks_of_rules()),
    message:
        "What the runs are estimated to take:"
    shell:
        'python "$CRYOKIN"/workflow/scripts/estimate.py {params.files}'
        " --ranks {params.ranks:q}"
