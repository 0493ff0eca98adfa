"""Time the constrained correlation of all pairs on one core.

    OPENBLAS_NUM_THREADS=1 python benchmarks/ccc.py
    OPENBLAS_NUM_THREADS=1 python benchmarks/ccc.py --large 10000

The first form writes subtomograms of noise, and times reading, interpolation and the
matrix; the second makes up coefficients and takes the matrix tile by tile.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from cryokin.io.em import read_em, write_em
from cryokin.subtomo import ccc
from cryokin.volume import euler, masks
from cryokin.volume.bands import Rows, band, rows
from cryokin.volume.wedge import TiltWedge, common_frame_weight

WEDGE = TiltWedge(np.pi / 6, np.pi / 6)


def small(n: int, box: int, high: float) -> None:
    """Time n subtomograms from their files to the matrix."""
    rng = np.random.default_rng(0)
    rotations = euler.matrix(rng.uniform(-3, 3, (n, 3)))
    shifts = rng.normal(0, 1, (n, 3))
    shape = (box, box, box)
    mask = masks.sphere(shape, 0.375 * box, 3)
    pairs = n * (n - 1) / 2
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"particle_{i:04d}.em" for i in range(n)]
        for path in paths:
            write_em(path, rng.normal(size=shape).astype(np.float32))
        start = time.process_time()
        made = rows(
            lambda i: read_em(paths[i]),
            rotations,
            shifts,
            [WEDGE] * n,
            mask,
            band(shape, high),
        )
        prepared = time.process_time()
        ccc.matrix(made.weighted(), made.w)
        end = time.process_time()
    print(
        f"{n} particles of {box}^3, band {high:g}, {pairs:.0f} pairs, CPU time a pair:"
        f" {1e6 * (end - start) / pairs:.1f} microseconds, of these"
        f" {1e6 * (end - prepared) / pairs:.2f} for the matrix products"
    )
    few = Rows(made.band, made.x[:32], made.w[:32])
    start = time.process_time()
    ccc.exact_matrix(few, mask)
    seconds = time.process_time() - start
    print(f"exact: {1e6 * seconds / (32 * 31 / 2):.0f} microseconds a pair")


def large(n: int, box: int, high: float) -> None:
    """Time n made-up particles, tile by tile; tiles are thrown away."""
    rng = np.random.default_rng(0)
    where = band((box,) * 3, high)
    g = rng.standard_normal((n, 2 * len(where)), np.float32)
    w = np.empty((n, len(where)), np.float32)
    for i in range(n):
        rotation = euler.matrix(rng.uniform(-3, 3, 3))
        w[i] = common_frame_weight(WEDGE, rotation, where.k, where.box)
    for start in range(0, n, 256):
        g[start : start + 256] *= np.repeat(w[start : start + 256], 2, axis=1)
    start_time = time.process_time()
    for i, j in ccc.tiles(n, ccc.TILE):
        ccc.tile(g[i], w[i], g[j], w[j])
    seconds = time.process_time() - start_time
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{n} particles, {len(where)} coefficients: {seconds:.0f} s,"
        f" {1e6 * seconds / (n * (n - 1) / 2):.2f} microseconds a pair,"
        f" {peak:.2f} GiB at most"
    )


def main() -> None:
    """Read the command line and time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--particles", type=int, default=400)
    parser.add_argument("--box", type=int, default=32, help="[voxel]")
    parser.add_argument("--band", type=float, default=8, help="[Fourier pixel]")
    parser.add_argument("--large", type=int, help="made-up particles")
    options = parser.parse_args()
    if options.large:
        large(options.large, options.box, options.band)
    else:
        small(options.particles, options.box, options.band)


if __name__ == "__main__":
    main()
