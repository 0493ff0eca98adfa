import sys
from pathlib import Path

from snakemake.utils import min_version

from cryokin.config import check_config_files, draw_seeds, load_runs
from cryokin.errors import InputError
from cryokin.progress import Progress

min_version("9.27")


# The runs of a --configfile take the place of the example's, they are not added to them.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


try:
    check_config_files(workflow.configfiles)
    RUNS = load_runs(
        config,
        source=", ".join(map(str, workflow.configfiles)),
    )
    draw_seeds(RUNS)
except InputError as error:
    sys.exit(f"error: {error}")


include: "workflow/rules/common.smk"
include: "workflow/rules/estimate.smk"
include: "workflow/rules/selftest.smk"
include: "workflow/rules/simulate.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/isac.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/pytom.smk"
include: "workflow/rules/pytom_report.smk"
include: "workflow/rules/select.smk"
include: "workflow/rules/full_size.smk"
include: "workflow/rules/rct.smk"


check_files()
# Also where nothing is to be done, and no job starts: a result that was cut off, or made
# with other options that Snakemake has forgotten, would be taken for up to date.
if workflow.is_main_process:
    check_call()
    check_results()
    check_options()
    tell_interrupts()
# Says where the runs are while they go on.
PROGRESS = Progress(RUNS, ranks_of_rules)


onstart:
    hold_folder()
    check_disk()
    check_clocks()
    PROGRESS.start(logger)


onsuccess:
    PROGRESS.stop()
    # Only now: it needs NumPy, and Snakemake itself should start without.
    from cryokin.pytom.beam import wedge_sentences

    for run in RUNS_3D:
        for sentence in wedge_sentences(Path("results", run)):
            print(f"{run}: {sentence}", file=sys.stderr)


onerror:
    PROGRESS.stop(failed=True, interrupted=bool(INTERRUPTS))
    check_disk()


rule all:
    default_target: True
    input:
        expand("results/{run}/estimate.json", run=RUNS),
        lost_parts,
        results_2d,
        expand("results/{run}/report/index.html", run=RUNS),
        results_3d,
        selected_particles,


rule candidates:
    input:
        last_rounds_of_first_generation,
        expand(
            "results/{run}/generation_0001/class_averages_candidate_generation_1.hdf",
            run=RUNS_2D,
        ),


rule full_size:
    input:
        expand("results/{run}/class_averages_ordered.mrcs", run=RUNS_2D),
