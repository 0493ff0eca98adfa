from pathlib import Path

import h5py

from cryokin.subtomo.ccc import write_matrix


def ccc_csv(*, matrix: Path, csv: Path) -> None:
    """Write a correlation matrix as text."""
    with h5py.File(matrix) as file:
        rows = file["correlation"]
        write_matrix(csv, rows, rows.attrs.get("of", ""))
