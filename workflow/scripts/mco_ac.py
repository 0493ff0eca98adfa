from pathlib import Path

from cryokin.files import atomic_folder
from cryokin.options import McoAc
from cryokin.parallel import Team
from cryokin.script import Folder
from cryokin.subtomo.chains import annealing_report, load_chains, write_annealing
from cryokin.subtomo.courses import informed
from cryokin.subtomo.files import load_import, save_outcome
from cryokin.subtomo.prepare import load_prepared
from cryokin.subtomo.schedule import schedule


def mco_ac(
    *,
    imported: Folder,
    prepared: Folder,
    rounds: list[Path],
    options: McoAc,
    labels: Path,
    scores: Path,
    report: Path,
    annealing: Path,
) -> None:
    """Take the best result of all chains and rounds of annealing."""
    chains = [load_chains(path) for path in rounds]
    made = load_prepared(prepared)
    particles = load_import(imported).placed(made.rotations, made.shifts)
    temperatures = schedule(options.temperature, options.temperature_step)
    nclass = options.nclass
    with atomic_folder(annealing) as folder:
        found = write_annealing(
            folder,
            particles,
            made.rows,
            chains,
            nclass,
            temperatures,
            informed(options),
        )
    told = annealing_report(chains, informed(options))
    save_outcome(Team(), (labels, scores, report), *found, told, nclass)
