from pathlib import Path

import numpy as np

from cryokin.files import read_json
from cryokin.npy import load_array
from cryokin.options import SubtomogramOptions
from cryokin.subtomo import cpca
from cryokin.subtomo.files import save_labels


def kmeans(
    *, coefficients: Path, eigen: Path, options: SubtomogramOptions, labels: Path
) -> None:
    """Group particles by their leading components, from many seeded starts."""
    method: cpca.Clustering = options.clustering
    if options.compat == "pytom":
        method = "kmeans"
    classes = cpca.cluster(
        load_array(coefficients)[:, : read_json(eigen)["neig"]],
        options.nclass,
        options.rand_seed,
        method,
        options.restarts,
    )
    save_labels(labels, classes)
    print(f"members of the classes: {np.bincount(classes).tolist()}")
