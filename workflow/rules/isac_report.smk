def states_of_rounds(wildcards):
    """What the rounds of candidates left, of every generation."""
    return [
        str(Path(classes).with_name("state.json"))
        for number in generations(wildcards.run)
        for classes in rounds(wildcards.run, number)
    ]


rule isac_report:
    input:
        imported="results/{run}/import/import.json",
        working_stack="results/{run}/working_stack.json",
        stack="results/{run}/working_stack.mrcs",
        prealigned="results/{run}/2dalignment/aqfinal.hdf",
        shifts="results/{run}/2dalignment/initial2Dparams.txt",
        averages="results/{run}/class_averages.mrcs",
        classes="results/{run}/classes.star",
        members="results/{run}/class_averages.hdf",
        poses="results/{run}/classes.csv",
        frc="results/{run}/frc.json",
        candidates="results/{run}/generation_0001/class_averages_candidate_generation_1.hdf",
        status=of_generations("generation_{0}_status.json"),
        rounds=states_of_rounds,
        full=lambda w: plan.existing(f"results/{w.run}/class_averages_full.mrcs"),
    output:
        page=report(
            "results/{run}/report/index.html",
            caption="../report/page.rst",
            category="{run}",
            labels={"figure": "page"},
        ),
        gallery=report(
            "results/{run}/report/gallery.png",
            caption="../report/gallery.rst",
            category="{run}",
            labels={"figure": "gallery"},
        ),
        figures=report(
            directory("results/{run}/report/figures"),
            patterns=["{figure}.svg"],
            caption="../report/figure.rst",
            category="{run}",
            labels={"figure": "{figure}"},
        ),
    log:
        "results/{run}/logs/isac_report.log",
    wildcard_constraints:
        run=only(RUNS_2D),
    localrule: True
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=memory(1500, 0.25),  # of the working stack few images are read
        runtime=minutes(30),
    params:
        files=files,
        options=lambda wildcards: json.dumps(RUNS[wildcards.run].as_dict()),
        results=lambda wildcards, output: str(Path(output.page).parents[1]),
    message:
        "{wildcards.run}: writing the report"
    shell:
        command("isac_report", "wildcards.run", "params.options", "params.results")
