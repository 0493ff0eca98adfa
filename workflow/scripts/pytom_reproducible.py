from pathlib import Path

import numpy as np

from cryokin.files import write_json
from cryokin.options import SubtomogramOptions
from cryokin.parallel import Team
from cryokin.partition.agreement import shares
from cryokin.partition.labels import by_size
from cryokin.script import Folder
from cryokin.subtomo import mco
from cryokin.subtomo.beam import without_wedge
from cryokin.subtomo.files import save_labels
from cryokin.subtomo.prepare import load_prepared
from cryokin.subtomo.reproducible import classify


def pytom_reproducible(
    *,
    team: Team,
    prepared: Folder,
    options: SubtomogramOptions,
    labels: Path,
    report: Path,
) -> None:
    """Find the classes that independent runs agree on (an MPI program)."""
    made = load_prepared(prepared)
    found = classify(
        mco.model(made.corrected),
        options.nclass,
        options.rand_seed,
        (options.reproducible or {})["runs"],
        team=team,
    )
    # What is reproduced may be the wedge, which is no noise.
    classes, only_wedge = without_wedge(found.labels, made.rotations[:, 2, :])
    if (classes >= 0).any():
        classes[classes >= 0] = by_size(classes[classes >= 0])
    if team.leads:
        save_labels(labels, classes)
        accounted = float(np.mean(classes >= 0))
        write_json(
            report,
            {
                "runs": len(found.partitions),
                "agreement": found.agreement,
                "accounted": accounted,
                "only_wedge": only_wedge,
                "reproduction": shares(classes, found.partitions).round(6).tolist(),
                "counts": np.bincount(classes[classes >= 0]).tolist(),
            },
        )
        team.log(f"{accounted:.1%} of the particles are in classes that agree")
        if only_wedge:
            team.log(f"set aside as nothing but the missing wedge: {only_wedge}")
