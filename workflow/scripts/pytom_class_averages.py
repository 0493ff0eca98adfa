from pathlib import Path

import numpy as np

from cryokin.npy import load_array
from cryokin.options import SubtomogramOptions
from cryokin.parallel import Team
from cryokin.script import Folder
from cryokin.subtomo.files import load_placed
from cryokin.subtomo.results import write_results


def pytom_class_averages(
    *,
    team: Team,
    imported: Folder,
    poses: Path,
    labels: Path,
    options: SubtomogramOptions,
    folder: Folder,
) -> None:
    """Average the classes; write lists, tables and averages (an MPI program)."""
    classes = load_array(labels)
    # MCO leaves the scores beside its classes.
    beside = labels.with_name("scores.npy")
    scores = load_array(beside) if beside.exists() else None
    particles = load_placed(imported, poses)
    write_results(folder, particles, classes, options, team, scores=scores)
    counts = np.bincount(classes[classes >= 0]).tolist()
    team.log(f"members of the classes: {counts}; {(classes < 0).sum()} unaccounted")
