from pathlib import Path

import numpy as np

from cryokin.files import read_ids, write_ids, write_json
from cryokin.isac.candidates import LEAST_ACCOUNTED, n_classes
from cryokin.isac.classes import held, load_classes
from cryokin.options import Isac


def isac_account(
    *,
    classes: Path,
    candidates: Path,
    ids: Path,
    generation: int,
    options: Isac,
    accounted: Path,
    unaccounted: Path,
    status: Path,
) -> None:
    """Close a generation: list who is in one of its classes and who is not."""
    found = load_classes(classes)
    particles = np.array(read_ids(ids), np.intp)
    members = held(found)
    left = np.setdiff1d(particles, members)
    write_ids(accounted, members)
    write_ids(unaccounted, left)
    worth_while = len(members) >= max(LEAST_ACCOUNTED * len(particles), 1)
    enough = n_classes(len(left), options.img_per_grp) > 0
    write_json(
        status,
        {
            "generation": generation,
            "candidates": len(load_classes(candidates)),
            "classes": len(found),
            "accounted": len(members),
            "unaccounted": len(left),
            "stop": not worth_while or not enough,
        },
    )
    print(f"{len(members)} accounted for in {len(found)} classes")
