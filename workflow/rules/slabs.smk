SLABS = "results/{run}/slabs/"
OF_SLABS = plan.of_slabs(RUNS)


def table_or_slabs(wildcards):
    """The particles that a run starts from, once there are slabs of them."""
    if getattr(RUNS[wildcards.run], "slab", None):
        return f"results/{wildcards.run}/slabs/slabs.star"
    return table_or_stack(wildcards)


def behind_slabs(wildcards):
    """The subtomograms of the run that made the slabs which another goes on with."""
    stem = f"results/{OF_SLABS[wildcards.run]}/slabs/subtomograms"
    return dict(of_star=f"{stem}.star", of_xml=f"{stem}.xml")


def listed_slabs(wildcards):
    """The list of slabs that a list of subtomograms follows."""
    if wildcards.which.startswith("selected"):
        folder = f"results/{wildcards.run}/{wildcards.which}"
        return f"{folder}/particles_selected.star"
    return f"results/{wildcards.run}/subsets/{wildcards.which}.star"


rule slabs:
    input:
        images_behind,
        particles=table_or_stack,
    output:
        folder=multiext(
            SLABS,
            *("slabs.mrcs", "slabs.star", "subtomograms.xml", "subtomograms.star"),
        ),
    log:
        "results/{run}/logs/slabs.log",
    benchmark:
        "results/{run}/benchmarks/slabs.tsv"
    wildcard_constraints:
        run=only(run for run in RUNS_2D if RUNS[run].slab and run not in KEPT),
    localrule: True
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=memory(4000, 1),
        runtime=minutes(60, 60),
    params:
        files=files,
        options=options("slab", "pixel_size"),
    message:
        "{wildcards.run}: slabs of {input.particles}"
    shell:
        command("slabs", "params.options")


rule slab_subtomograms:
    input:
        unpack(behind_slabs),
        slabs=listed_slabs,
    output:
        star="results/{run}/subtomograms/{which}.star",
        xml="results/{run}/subtomograms/{which}.xml",
    log:
        "results/{run}/logs/slab_subtomograms/{which}.log",
    benchmark:
        "results/{run}/benchmarks/slab_subtomograms/{which}.tsv"
    wildcard_constraints:
        run=only(OF_SLABS),
        which=rf"{SELECTED}|unaccounted|class_0*[1-9]\d*",
    localrule: True
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=memory(1000, 4),
        runtime=minutes(30),
    params:
        files=files,
    message:
        "{wildcards.run}: the subtomograms behind the slabs of {wildcards.which}"
    shell:
        command("slab_subtomograms")
