from pathlib import Path

from cryokin.files import atomic_folder_for_team
from cryokin.options import McoExmx
from cryokin.parallel import Team
from cryokin.script import Folder
from cryokin.subtomo.compat_runs import run_compat
from cryokin.subtomo.courses import (
    best_course,
    informed,
    load_courses,
    make_model,
    refilled,
    scorer,
    write_course,
)
from cryokin.subtomo.files import load_import, save_outcome
from cryokin.subtomo.prepare import load_prepared


def mco_exmx(
    *,
    team: Team,
    imported: Folder,
    prepared: Folder,
    courses: list[Path],
    options: McoExmx,
    labels: Path,
    scores: Path,
    report: Path,
    iterations: Path,
) -> None:
    """Take the best of all starts of MCO-EXMX, or run PyTom's own (an MPI program)."""
    particles = load_import(imported)
    with atomic_folder_for_team(team, iterations) as folder:
        if options.compat == "pytom":
            found, score, told = run_compat(folder, particles, options, team)
        else:
            made = load_prepared(prepared)
            model = make_model(made, options)
            went, told = best_course(
                [one for path in courses for one in load_courses(path)],
                options.nclass,
                informed(options),
                lambda best: refilled(model, best, options, team),
            )
            found, score = went.labels[-1], None
            if team.leads:
                placed = particles.placed(made.rotations, made.shifts)
                by = scorer(made, options)
                score = write_course(folder, placed, made.rows, went, by)
    outcome = (labels, scores, report)
    save_outcome(team, outcome, found, score, told, options.nclass)
