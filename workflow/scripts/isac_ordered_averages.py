"""Put class averages in an order in which neighbours are alike, and turn them so."""

import argparse
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from cryokin.errors import exit_on_input_error
from cryokin.files import read_json
from cryokin.image.geometry import Alignment, take, to_relion, transform_image
from cryokin.io.eman_hdf import read_images, write_images
from cryokin.io.mrc import write_stack
from cryokin.io.star import write_star
from cryokin.isac.basis import polar_basis
from cryokin.isac.compare import average_spectra, similarity, tour, tour_alignment
from cryokin.isac.tables import class_columns


def main() -> None:
    """Compare the small averages, order and turn the large ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--averages", required=True, type=Path, help="class_averages.hdf")
    add("--full", required=True, type=Path, help="class_averages_full.hdf")
    add("--stack-info", required=True, type=Path, help="working_stack.json")
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--stack", required=True, type=Path, help="output, .mrcs")
    add("--hdf", required=True, type=Path, help="output, .hdf")
    add("--table", required=True, type=Path, help="output, .star")
    arguments = parser.parse_args()

    averages, _ = read_images(arguments.averages)
    full, headers = read_images(arguments.full)
    working = read_json(arguments.stack_info)
    ratio = working["shrink_ratio"]
    pixel = working["pixel_size"] * ratio
    order, found = np.arange(0), Alignment(np.zeros(0), np.zeros((0, 2)), np.zeros(0))
    alike = np.zeros((0, 0))
    if headers:
        basis = polar_basis(arguments.options)
        spectra = average_spectra(averages, basis)
        alike = similarity(spectra, basis)
        order = tour(alike)
        found = tour_alignment(spectra, order, basis)
    placed = found._replace(shift=found.shift / ratio)
    images = [transform_image(full[k], take(placed, i)) for i, k in enumerate(order)]
    ordered = np.stack(images) if headers else full
    psi, centre, flipped = to_relion(placed)
    numbers = [int(k) + 1 for k in order]
    ordered_headers = [headers[k] | {"class_number": int(k) + 1} for k in order]
    write_stack(arguments.stack, ordered, pixel)
    write_images(arguments.hdf, ordered, ordered_headers)
    columns = class_columns(ordered_headers, arguments.stack.name, numbers)
    columns["rlnAnglePsi"] = [f"{v:.4f}" for v in psi]
    for axis, values in zip("XY", -pixel * centre.T, strict=True):
        columns[f"rlnOrigin{axis}Angst"] = [f"{v:.4f}" for v in values]
    columns["rlnIsFlip"] = [str(int(v)) for v in flipped]
    near = [0.0, *(alike[a, b] for a, b in pairwise(order))]
    columns["cryokinSimilarity"] = [f"{v:.4f}" for v in near[: len(order)]]
    write_star(arguments.table, {"classes": pd.DataFrame(columns)})
    print(f"{len(order)} averages in order")


if __name__ == "__main__":
    exit_on_input_error(main)
