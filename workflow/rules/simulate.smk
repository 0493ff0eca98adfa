DEMO_PARTICLES = multiext("resources/demo_2d/particles", ".mrcs", ".star")
DEMO_SUBTOMOGRAMS = ["resources/demo_3d/particles.star"]


rule simulate_2d:
    output:
        DEMO_PARTICLES,
        "resources/demo_2d/truth.csv",
    log:
        "resources/demo_2d/simulate_2d.log",
    benchmark:
        "resources/demo_2d/simulate_2d.tsv"
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=memory(1000, 0),
        runtime=minutes(10),
    message:
        "simulating the images of the example"
    shell:
        f"{SCRIPT}/simulate_2d.py --folder resources/demo_2d > {{log}} 2>&1"


rule simulate_3d:
    output:
        DEMO_SUBTOMOGRAMS,
        "resources/demo_3d/truth.csv",
        directory("resources/demo_3d/subtomograms"),
    log:
        "resources/demo_3d/simulate_3d.log",
    benchmark:
        "resources/demo_3d/simulate_3d.tsv"
    conda:
        "../../envs/core.yaml"
    resources:
        mem_mb=memory(1000, 0),
        runtime=minutes(10),
    message:
        "simulating the subtomograms of the example"
    shell:
        f"{SCRIPT}/simulate_3d.py --folder resources/demo_3d > {{log}} 2>&1"
