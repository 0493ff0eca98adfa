"""Take the leading components of a correlation matrix."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np

from cryokin.errors import exit_on_input_error
from cryokin.files import atomic, atomic_folder, read_json, write_json
from cryokin.io.volumes import write_both
from cryokin.pytom import cpca
from cryokin.pytom.files import load_import, load_prepared, masking_on_sample
from cryokin.volume.bands import volume_of


def main() -> None:
    """Decompose, write coefficients, eigenvalues and eigenvolumes."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--matrix", required=True, type=Path, help="correlation_matrix.h5")
    add("--imported", required=True, type=Path, help="folder of the import")
    add("--prepared", required=True, type=Path, help="folder of the prepared rows")
    add("--options", required=True, type=json.loads, help="options of the run as JSON")
    add("--coefficients", required=True, type=Path, help="output, .npy")
    add("--eigen", required=True, type=Path, help="output, .json")
    add("--volumes", required=True, type=Path, help="output, folder of eigenvolumes")
    arguments = parser.parse_args()
    options = arguments.options

    with h5py.File(arguments.matrix) as file:
        matrix = file["correlation"][:]
    by_pytom = options["compat"] == "pytom"
    neig, shared = options["neig"], None
    if neig == "auto" and by_pytom:
        neig = min(cpca.TOLD, len(matrix))
    elif neig == "auto":
        count = min(cpca.TRIED, max(1, len(matrix) // 4))
        leading = cpca.components(matrix, count)
        shared = cpca.reproduced(matrix, leading, options["rand_seed"])
        neig = cpca.number_used(shared)
    # More of the spectrum than is used shows where it flattens.
    count = max(neig, min(len(matrix), 4 * max(neig, cpca.TOLD)))
    shown = cpca.components(matrix, count, by_pytom)
    told = max(neig, min(len(matrix), cpca.TOLD))
    found = shown.first(told)
    used = shown.first(neig)
    with atomic(arguments.coefficients) as partial:
        np.save(partial, found.coefficients)

    prepared = load_prepared(arguments.prepared)
    voxel = read_json(arguments.prepared / "prepared.json")["voxel"]
    names = [f"eigenvolume_{k}" for k in range(1, told + 1)]
    with atomic_folder(arguments.volumes) as folder:
        rows = cpca.eigenvolumes(prepared.corrected, found)
        for name, row in zip(names, rows, strict=True):
            volume = volume_of(row, prepared.rows.band).astype(np.float32)
            write_both(folder / name, volume, voxel)
    described = {
        "neig": neig,
        "eigenvalues": used.eigenvalues.tolist(),
        "explained": used.explained.tolist(),
        "spectrum": shown.eigenvalues.tolist(),
        "total": found.total,
        "coefficients": arguments.coefficients.name,
        "eigenvolumes": [f"{arguments.volumes.name}/{name}.mrc" for name in names],
    }
    if shared is not None:
        described["reproduced"] = shared.round(6).tolist()
    before = np.load(arguments.prepared / "spectrum_before.npy")
    # Of pairs under the mask there is no such spectrum.
    if before.size and prepared.rows.mask is not None:
        described["eigenvalues_before"] = before[:count].tolist()
    if not by_pytom:
        particles = load_import(arguments.imported)
        described["masking"] = asdict(masking_on_sample(particles, prepared, options))
    write_json(arguments.eigen, described)
    print(f"{neig} components explain {used.explained.sum():.3f}")


if __name__ == "__main__":
    exit_on_input_error(main)
