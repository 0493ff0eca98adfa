from pathlib import Path

import numpy as np

from cryokin.errors import InputError
from cryokin.npy import load_array
from cryokin.partition.labels import class_numbers
from cryokin.script import Folder
from cryokin.subtomo.files import load_placed


def pytom_subset(
    *,
    imported: Folder,
    poses: Path,
    labels: Path,
    class_number: int,
    xml: Path,
    star: Path,
) -> None:
    """Write the lists of the particles of a class, from 1; -1: of the unaccounted."""
    classes = load_array(labels)
    ids = np.flatnonzero(class_numbers(classes) == class_number)
    if len(ids) == 0:
        what = "unaccounted" if class_number < 0 else f"class {class_number}"
        raise InputError(
            f"{labels}: there is no {what} particle; change what asks for them."
        )
    particles = load_placed(imported, poses).classified(classes)
    particles.take(ids.tolist()).write(xml.with_suffix(""))
    print(f"{len(ids)} of {len(classes)} particles")
