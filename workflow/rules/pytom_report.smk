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
        "differences": "differences.json",
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
    # How many averages there are is known to classes.json alone, which names them.
    folders = {"averages": "class_averages"}
    if chosen["merge"]:
        names |= {"merge": "merge.json", "merged": "merged/classes.json"}
        folders["merged_averages"] = "merged/class_averages"
    return {
        key: f"results/{wildcards.run}/{name}"
        for key, name in (names | folders).items()
    }


def pytom_report_files(wildcards, input):
    """The options that hand these files over to the script."""
    return " ".join(
        f"--{key} {shlex.quote(str(path))}"
        for key, path in input.items()
        if not key.endswith("averages")
    )


rule pytom_report:
    input:
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
        options=lambda wildcards: json.dumps(RUNS[wildcards.run]),
        schema=f"{workflow.basedir}/workflow/schemas/config.schema.yaml",
        results="results/{run}",
        files=pytom_report_files,
    message:
        "{wildcards.run}: writing the report"
    shell:
        f"{SCRIPT}/pytom_report.py --run {{wildcards.run}}"
        " --options {params.options:q} --schema {params.schema:q} {params.files}"
        " --results {params.results} --page {output.page}"
        " --figures {output.figures} > {log} 2>&1"
