from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from cryokin.files import atomic
from cryokin.options import SubtomogramOptions
from cryokin.parallel import Team
from cryokin.provenance import fingerprint
from cryokin.script import Folder
from cryokin.subtomo import ccc
from cryokin.subtomo.files import load_import
from cryokin.subtomo.mask import narrowest_mask
from cryokin.subtomo.prepare import load_prepared

RESIDUALS = (
    "correlations of residuals, without the average of all and pose errors; of the"
    " particles themselves with pose_errors: keep, by PyTom's rules with compat: pytom"
)
INPUTS = ("rows.npy", "weights.npy", "residuals.npy", "corrected.npz")


def ccc_matrix(
    *,
    team: Team,
    imported: Folder,
    prepared: Folder,
    given: Path | None = None,
    options: SubtomogramOptions,
    matrix: Path,
) -> None:
    """Correlate all pairs of prepared subtomograms, or check a matrix that is given.

    An MPI program.
    """
    if given:
        if team.leads:
            # A matrix of the whole list has those that were left out, too.
            used = load_import(imported)
            whole = ccc.read_matrix(given, len(used.whole()))
            with atomic(matrix) as partial, h5py.File(partial, "w") as out:
                out["correlation"] = whole[np.ix_(used.ids, used.ids)]
        return
    made = load_prepared(prepared)
    rows = made.rows
    project = options.pose_errors == "project" and rows.mask is not None
    if rows.mask is None:
        given_as = load_import(imported)
        options = options.scaled(given_as.box, given_as.pixel_size)
        mask = narrowest_mask(options, given_as.box)
    by_pytom = options.compat == "pytom"
    source = made.corrected if project else rows

    def part(i: slice, j: slice) -> NDArray[Any]:
        if rows.mask is None:
            rule: ccc.WedgeRule = "other" if by_pytom else "both"
            return ccc.exact_tiles(rows, mask, i, j, rule)
        g_i, g_j = source.weighted(i), source.weighted(j)
        return ccc.tile(g_i, rows.w[i], g_j, rows.w[j])

    size = ccc.EXACT_FILE if rows.mask is None else ccc.TILE
    sources = [prepared / name for name in INPUTS]
    inputs = team.from_leader(lambda: fingerprint(options.as_dict(), sources))
    of = RESIDUALS if project else ""
    ccc.compute(matrix, len(rows), size, part, inputs, team, of)
    team.log(f"{len(rows)} x {len(rows)} correlations")
