from pathlib import Path

from cryokin.npy import load_array
from cryokin.options import McoExmx
from cryokin.parallel import Team
from cryokin.script import Folder
from cryokin.subtomo.courses import course, make_model, save_courses, starts
from cryokin.subtomo.files import load_import
from cryokin.subtomo.prepare import load_prepared


def mco_exmx_starts(
    *,
    team: Team,
    imported: Folder,
    prepared: Folder,
    start: Path | None = None,
    batch: int,
    options: McoExmx,
    courses: Path,
) -> None:
    """Run the starts of MCO-EXMX that one job has, counted from 0 (an MPI program)."""
    labels = load_import(imported).labels
    of_cpca = load_array(start) if start else None
    size = options.starts_per_job
    mine = slice(batch * size, (batch + 1) * size)
    first = starts(options, len(labels), of_cpca, labels)[mine]
    model = make_model(load_prepared(prepared), options)
    found = team.map(lambda one: course(model, one, options), first)
    if team.leads:
        save_courses(courses, found)
        best = max(float(one.objective[-1]) for one in found)
        team.log(f"{len(found)} starts, best objective {best:.6g}")
