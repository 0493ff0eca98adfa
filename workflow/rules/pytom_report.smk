def averages_shown(wildcards):
    """The folders of averages; how many there are is known to classes.json alone."""
    folder = f"results/{wildcards.run}"
    merged = [f"{folder}/merged/class_averages"] * bool(RUNS[wildcards.run].merge)
    return [f"{folder}/class_averages", *merged]


rule pytom_report:
    input:
        averages_shown,
        unpack(lambda w: plan.report_files(w.run, RUNS[w.run])),
    output:
        page=report(
            "results/{run}/report/index.html",
            caption="../report/pytom_page.rst",
            category="{run}",
            labels={"figure": "page"},
        ),
        surfaces="results/{run}/report/classes.cxc",
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
    localrule: True
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=memory(1000, 4),
        runtime=minutes(30),
    params:
        files=files,
        options=lambda wildcards: json.dumps(RUNS[wildcards.run].as_dict()),
        results=lambda wildcards, output: str(Path(output.page).parents[1]),
    message:
        "{wildcards.run}: writing the report"
    shell:
        command("pytom_report", "wildcards.run", "params.options", "params.results")
