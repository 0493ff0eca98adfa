"""Particles restricted to the part of the volume where classes are to differ.

Poses are found, and their errors taken out, under a mask around the whole structure: a
small region says little about a pose, and moves of that region would be taken for
errors of it. What is left is then looked at under a second mask, around the region: the
noise of the rest no longer counts.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryokin.parallel import Team, in_blocks
from cryokin.subtomo.pose_errors import Corrected, whitening_of
from cryokin.volume.bands import (
    BLOCK,
    Band,
    Rows,
    as_complex,
    as_real,
    coefficients,
    volume_of,
)


def focused(
    row: NDArray[np.complexfloating], mask: NDArray[np.floating], band: Band
) -> NDArray[np.complex64]:
    """Return the band coefficients of a volume under a mask, shape (m,)."""
    return coefficients(mask * volume_of(row, band), band)


def _under(
    x: NDArray[np.complexfloating],
    w: NDArray[np.floating],
    mask: NDArray[np.floating],
    band: Band,
) -> NDArray[np.complex64]:
    """Return rows under a mask, each still 0 where it was not sampled."""
    rows = zip(x, w, strict=True)
    return np.stack([focused(one, mask, band) * (weight != 0) for one, weight in rows])


def focus_rows(
    rows: Rows,
    mask: NDArray[np.floating],
    team: Team | None = None,
    file: Path | None = None,
) -> Rows:
    """Return particles under one more mask.

    Parameters
    ----------
    rows : Rows
        Pre-masked particles.
    mask : ndarray, shape ``rows.band.box``
        In the common frame, from 0 to 1.
    team : Team, optional
        Shares the particles; the result does not depend on it.
    file : path, optional
        File (.npy) for the coefficients, which are mapped then, not held in memory.
    """

    def block(part: slice) -> tuple[NDArray[np.complex64]]:
        return (_under(rows.x[part], rows.w[part], mask, rows.band),)

    (x,) = in_blocks(block, len(rows), BLOCK, team or Team(), (file,))
    both = mask if rows.mask is None else rows.mask * mask
    return Rows(rows.band, x, rows.w, both)


def focus(
    corrected: Corrected,
    mask: NDArray[np.floating],
    team: Team | None = None,
    file: Path | None = None,
) -> Corrected:
    """Return residuals, and the consensus, under one more mask, whitened again.

    Parameters
    ----------
    corrected : Corrected
        Residuals of particles under the mask of the whole structure; the fitted
        amounts and the strength remain those.
    mask, team, file
        See `focus_rows`.
    """
    band, w, team = corrected.band, corrected.w, team or Team()

    def residuals(part: slice) -> NDArray[np.complex64]:
        return _under(as_complex(corrected.y[part], band), w[part], mask, band)

    again = whitening_of(residuals, w, band, team)

    def block(part: slice) -> tuple[NDArray[np.float32]]:
        return (as_real(residuals(part) * again, band),)

    (y,) = in_blocks(block, len(w), BLOCK, team, (file,))
    white = focused(corrected.consensus * corrected.whitening, mask, band)
    # A shell without any data has no whitening.
    divisor = np.where(corrected.whitening > 0, corrected.whitening, 1)
    common = (white / divisor).astype(np.complex64)
    return replace(
        corrected,
        y=y,
        consensus=common,
        whitening=corrected.whitening * again,
        occupancy=float(np.square(mask, dtype=np.float64).mean()),
    )
