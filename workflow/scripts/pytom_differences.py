from pathlib import Path

import numpy as np

from cryokin.files import write_json
from cryokin.npy import load_array
from cryokin.options import SubtomogramOptions
from cryokin.parallel import Team
from cryokin.partition.labels import class_numbers
from cryokin.script import Folder
from cryokin.subtomo import mco, told
from cryokin.subtomo.distinct import distinct
from cryokin.subtomo.files import load_import
from cryokin.subtomo.pose_errors import removed, share_in_poses
from cryokin.subtomo.prepare import load_prepared


def pytom_differences(
    *,
    team: Team,
    imported: Folder,
    prepared: Folder,
    labels: Path,
    options: SubtomogramOptions,
    differences: Path,
) -> None:
    """Tell which classes differ beyond chance, and by what (an MPI program)."""
    classes, made = class_numbers(load_array(labels)), load_prepared(prepared)
    known = classes >= 0
    names, numbers = np.unique(classes[known], return_inverse=True)
    rows = np.full(len(classes), -1)
    rows[known] = numbers
    model, beam = mco.model(made.corrected), made.rotations[:, 2, :]
    found = distinct(model, rows, len(names), options.rand_seed, team, beam)
    if not team.leads:
        return
    given, binning = load_import(imported), options.binning
    amounts = removed(
        (given.rotations, given.shifts / binning),
        (made.rotations, made.shifts / binning),
        made.corrected.amounts,
    )
    mask = made.rows.mask
    support = None if mask is None else mask > 0
    shares = share_in_poses(made.corrected, amounts, rows, support)
    table = {
        "classes": names.tolist(),
        "groups": found.groups.tolist(),
        "distinct": found.number,
        "agreement": {str(k): round(a, 4) for k, a in found.agreement.items()},
        "pose_share": [round(shares[c], 4) for c in range(len(names))],
    }
    write_json(differences, table)
    for sentence in told.differences(table):
        team.log(sentence)
