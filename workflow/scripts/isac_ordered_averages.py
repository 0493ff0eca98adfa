from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from cryokin.files import read_json
from cryokin.image.geometry import Alignment, take, to_relion, transform_image
from cryokin.io.eman_hdf import read_images, write_images
from cryokin.io.mrc import write_stack
from cryokin.io.star import write_star
from cryokin.isac.basis import polar_basis
from cryokin.isac.compare import average_spectra, similarity, tour_alignment
from cryokin.isac.tables import class_columns
from cryokin.options import Isac
from cryokin.partition.trees import tour


def isac_ordered_averages(
    *,
    averages: Path,
    full: Path,
    stack_info: Path,
    options: Isac,
    stack: Path,
    hdf: Path,
    table: Path,
) -> None:
    """Order class averages so that neighbours are alike, and turn them so."""
    small, _ = read_images(averages)
    large, headers = read_images(full)
    working = read_json(stack_info)
    ratio = working["shrink_ratio"]
    pixel = working["pixel_size"] * ratio
    order = np.arange(0)
    found = Alignment(np.zeros(0), np.zeros((0, 2)), np.zeros(0, bool))
    alike = np.zeros((0, 0), np.float32)
    if headers:
        basis = polar_basis(options)
        spectra = average_spectra(small, basis)
        alike = similarity(spectra, basis)
        order = tour(alike)
        found = tour_alignment(spectra, order, basis)
    placed = found._replace(shift=found.shift / ratio)
    images = [transform_image(large[k], take(placed, i)) for i, k in enumerate(order)]
    ordered = np.stack(images) if headers else large
    psi, centre, flipped = to_relion(placed)
    numbers = [int(k) + 1 for k in order]
    ordered_headers = [headers[k] | {"class_number": int(k) + 1} for k in order]
    write_stack(stack, ordered, pixel)
    write_images(hdf, ordered, ordered_headers)
    columns = class_columns(ordered_headers, stack, numbers)
    columns["rlnAnglePsi"] = [f"{v:.4f}" for v in psi]
    for axis, values in zip("XY", -pixel * centre.T, strict=True):
        columns[f"rlnOrigin{axis}Angst"] = [f"{v:.4f}" for v in values]
    columns["rlnIsFlip"] = [str(int(v)) for v in flipped]
    near = [0.0, *(alike[a, b] for a, b in pairwise(order))]
    columns["cryokinSimilarity"] = [f"{v:.4f}" for v in near[: len(order)]]
    write_star(table, {"classes": pd.DataFrame(columns)})
    print(f"{len(order)} averages in order")
