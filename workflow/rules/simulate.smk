DEMO_PARTICLES = multiext("resources/demo_2d/particles", ".mrcs", ".star")
DEMO_SUBTOMOGRAMS = ["resources/demo_3d/particles.star"]


rule simulate_2d:
    output:
        DEMO_PARTICLES,
        truth="resources/demo_2d/truth.csv",
    log:
        "resources/demo_2d/simulate_2d.log",
    benchmark:
        "resources/demo_2d/simulate_2d.tsv"
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=memory(1000, 0),
        runtime=minutes(10),
    params:
        files=files,
    message:
        "simulating the images of the example"
    shell:
        command("simulate_2d")


rule simulate_3d:
    output:
        DEMO_SUBTOMOGRAMS,
        directory("resources/demo_3d/subtomograms"),
        truth="resources/demo_3d/truth.csv",
    log:
        "resources/demo_3d/simulate_3d.log",
    benchmark:
        "resources/demo_3d/simulate_3d.tsv"
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=memory(1000, 0),
        runtime=minutes(10),
    params:
        files=files,
    message:
        "simulating the subtomograms of the example"
    shell:
        command("simulate_3d")
