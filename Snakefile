import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")

# The library stands beside the workflow and need not be installed. Here only modules of it
# are imported that Snakemake's own environment is enough for; jobs have theirs (envs/).
HOME = Path(workflow.current_basedir.get_path_or_uri(secret_free=True))
sys.path.insert(0, str(HOME / "src"))

from cryokin.config import check_config_files, draw_seeds, load_runs, reference
from cryokin.errors import InputError
from cryokin.progress import Progress
from cryokin.subtomo.told import run_sentences

# The runs of a --configfile take the place of the example's, they are not added to them.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


try:
    check_config_files(workflow.configfiles)
    SOURCE = ", ".join(map(str, workflow.configfiles))
    RUNS = load_runs(config, SOURCE)
    DRAWN = draw_seeds(RUNS)
except InputError as error:
    sys.exit(f"error: {error}")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/estimate.smk"
include: "workflow/rules/selftest.smk"
include: "workflow/rules/simulate.smk"
include: "workflow/rules/slabs.smk"
include: "workflow/rules/isac_prepare.smk"
include: "workflow/rules/isac.smk"
include: "workflow/rules/isac_report.smk"
include: "workflow/rules/isac_select.smk"
include: "workflow/rules/isac_full_size.smk"
include: "workflow/rules/isac_rct.smk"
include: "workflow/rules/pytom.smk"
include: "workflow/rules/pytom_report.smk"


checked(plan.check, RUNS, DEMO_PARTICLES + DEMO_SUBTOMOGRAMS)
INTERRUPTS = plan.heard_interrupts() if workflow.is_main_process else []


def give_up(rule):
    """Have a rule not tried again: what the user must mend no retry mends."""
    workflow.get_rule(rule).restart_times = 0


# Says where the runs are while they go on.
QUIET = "ALL" in {word.name for word in workflow.output_settings.quiet or ()}
PROGRESS = Progress(RUNS, ranks_of_rules, give_up=give_up, quiet=QUIET)
if workflow.is_main_process:
    logger.addHandler(PROGRESS)


onstart:
    if workflow.executor_plugin.name == "slurm":
        checked(plan.check_slurm)
    PROGRESS.start()
    checked(check_starts, workflow.dag.needrun_jobs())


onsuccess:
    PROGRESS.stop()
    for run in RUNS_3D:
        for sentence in run_sentences(Path("results", run)):
            print(f"{run}: {sentence}", file=sys.stderr)


onerror:
    PROGRESS.stop(failed=True, interrupted=bool(INTERRUPTS))
    print(plan.told_of_disk("results"), end="", file=sys.stderr)


rule all:
    default_target: True
    input:
        expand("results/{run}/estimate.json", run=RUNS),
        results_2d,
        expand("results/{run}/report/index.html", run=RUNS),
        results_3d,
        lambda _: plan.selected_particles(RUNS),


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
