rule simulate_2d:
    output:
        multiext("resources/demo_2d/particles", ".mrcs", ".star"),
        "resources/demo_2d/truth.csv",
    log:
        "resources/demo_2d/simulate_2d.log",
    conda:
        "../../envs/core.yaml"
    message:
        "simulating the images of the example"
    shell:
        f"{SCRIPT}/simulate_2d.py --folder resources/demo_2d > {{log}} 2>&1"
