import time


rule selftest_mpi_ranks:
    output:
        found="results/selftest_mpi.json",
        summary="results/selftest_mpi.txt",
    log:
        "results/selftest_mpi.log",
    retries: 0
    conda:
        "../../envs/core.yaml"
    threads: N_RANKS
    resources:
        mpi="mpiexec",
        tasks=N_RANKS,
        mem_mb=memory(500, 0),
        runtime=minutes(10),
    params:
        files=files,
        # A proof is of the moment: whoever asks for it again wants another.
        asked=time.time(),
    message:
        "trying MPI on {resources.tasks} ranks"
    shell:
        command("selftest_mpi_ranks", mpi=True)


# No log: what it tells is for the terminal.
rule selftest_mpi:
    input:
        rules.selftest_mpi_ranks.output.summary,
    localrule: True
    conda:
        "../../envs/core.yaml"
    message:
        "The test of MPI:"
    shell:
        "cat {input}"
