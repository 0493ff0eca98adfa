from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np

from cryokin.files import atomic, atomic_folder, read_json, write_json
from cryokin.io.volumes import write_both
from cryokin.npy import load_array
from cryokin.options import SubtomogramOptions
from cryokin.script import Folder
from cryokin.subtomo import cpca
from cryokin.subtomo.files import load_import
from cryokin.subtomo.prepare import load_prepared, masking_on_sample
from cryokin.volume.bands import volume_of


def eigen_projection(
    *,
    matrix: Path,
    imported: Folder,
    prepared: Folder,
    options: SubtomogramOptions,
    coefficients: Path,
    eigen: Path,
    volumes: Path,
) -> None:
    """Take the leading components of a correlation matrix."""
    with h5py.File(matrix) as file:
        correlations = file["correlation"][:]
    by_pytom = options.compat == "pytom"
    neig, shared, shown = cpca.leading(
        correlations, options.neig, options.rand_seed, by_pytom
    )
    told = max(neig, min(len(correlations), cpca.TOLD))
    found = shown.first(told)
    used = shown.first(neig)
    with atomic(coefficients) as partial:
        np.save(partial, found.coefficients)

    made = load_prepared(prepared)
    voxel = read_json(prepared / "prepared.json")["voxel"]
    names = [f"eigenvolume_{k}" for k in range(1, told + 1)]
    with atomic_folder(volumes) as folder:
        rows = cpca.eigenvolumes(made.corrected, found)
        for name, row in zip(names, rows, strict=True):
            volume = volume_of(row, made.rows.band).astype(np.float32)
            write_both(folder / name, volume, voxel)
    described = {
        "neig": neig,
        "eigenvalues": used.eigenvalues.tolist(),
        "explained": used.explained.tolist(),
        "spectrum": shown.eigenvalues.tolist(),
        "total": found.total,
        "coefficients": coefficients.name,
        "eigenvolumes": [f"{volumes.name}/{name}.mrc" for name in names],
    }
    if shared is not None:
        described["reproduced"] = shared.round(6).tolist()
    before = load_array(prepared / "spectrum_before.npy")
    # Of pairs under the mask there is no such spectrum.
    if before.size and made.rows.mask is not None:
        described["eigenvalues_before"] = before[: len(shown.eigenvalues)].tolist()
    if not by_pytom:
        masking = masking_on_sample(load_import(imported), made, options)
        described["masking"] = asdict(masking)
    write_json(eigen, described)
    print(f"{neig} components explain {used.explained.sum():.3f}")
