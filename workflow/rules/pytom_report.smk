localrules:
    pytom_report,


def pytom_report_input(wildcards):
    """The files that the report of a run shows, as its method and options make them."""
    chosen = RUNS[wildcards.run]
    names = {
        "labels": "classes.csv",
        "classes": "classes.json",
        "imported": "import/import.json",
        "poses": "prepared/poses.npz",
    }
    from_cpca = chosen.get("start_from") == "cpca" and chosen["compat"] == "none"
    if chosen["method"] == "cpca" or from_cpca:
        names |= {"eigen": "eigen.json", "coefficients": "coefficients.npy"}
    # Classes that independent runs agree on come from runs of their own.
    if chosen["reproducible"]:
        names["reproducible"] = "reproducible.json"
    if chosen["method"] == "mco_exmx" and not chosen["reproducible"]:
        names["exmx"] = "exmx.json"
    if chosen["method"] == "mco_ac" and not chosen["reproducible"]:
        names["annealing"] = "annealing.json"
    if chosen["merge"]:
        names |= {"merge": "merge.json", "merged": "merged/classes.json"}
    return {key: f"results/{wildcards.run}/{name}" for key, name in names.items()}


def averages_shown(wildcards):
    """The folders of averages; how many there are is known to classes.json alone."""
    folder = f"results/{wildcards.run}"
    merged = [f"{folder}/merged/class_averages"] * bool(RUNS[wildcards.run]["merge"])
    return [f"{folder}/class_averages", *merged]


rule pytom_report:
    input:
        averages_shown,
        unpack(pytom_report_input),
    output:
        page=report(
            "results/{run}/report/index.html",
            caption="../report/pytom_page.rst",
            category="{run}",
            labels={"figure": "page"},
        ),
        figures=report(
            directory("results/{run}/report/figures"),
            patterns=["{figure}.svg"],
            caption="../report/figure.rst",
            category="{run}",
            labels={"figure": "{figure}"},
        ),
    log:
        "results/{run}/logs/pytom_report.log",
    wildcard_constraints:
        run=only(RUNS_3D),
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=memory(1000, 4),
        runtime=minutes(30),
    params:
        files=files,
        options=lambda wildcards: json.dumps(RUNS[wildcards.run]),
        results="results/{run}",
    message:
        "{wildcards.run}: writing the report"
    shell:
        command("pytom_report", "wildcards.run", "params.options", "params.results")
