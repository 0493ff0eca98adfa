"""Throughput of the alignment kernel, beside the machine's own matrix product.

Counts image x reference x shift comparisons (both hands, all angles) per second of CPU
time on one core: *exact*, all at all shifts; and *effective*, as many comparisons in
the time of two stages, all at one shift, then the best few at all.

Usage: python benchmarks/alignment.py [--images 512]
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy starts

import argparse
import time
from collections.abc import Callable

import numpy as np

from cryokin.image.polar import PolarBasis
from cryokin.isac.alignment import (
    best_scores,
    correlation_operand,
    listed_scores,
    shift_grid,
)
from cryokin.isac.sac import number_listed, shortlist

SIZES = (20, 100, 500)


def fastest(work: Callable[[], object], repeats: int = 5) -> float:
    """Return the least CPU time of several calls [s]."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def sgemm_peak(n: int = 1500) -> float:
    """Return what a large single-precision matrix product reaches [flop/s]."""
    a = np.random.default_rng(0).standard_normal((n, n), dtype=np.float32)
    return 2 * n**3 / fastest(lambda: a @ a)


def main() -> None:
    """Print a line per number of references."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--box", type=int, default=76)
    parser.add_argument("--radius", type=int, default=29)
    parser.add_argument("--highest", type=float, default=0.3, help="[cycles/pixel]")
    arguments = parser.parse_args()

    rng = np.random.default_rng(1)
    box, n = arguments.box, arguments.images
    basis = PolarBasis(arguments.radius, arguments.highest)
    analysis = basis.analysis(box)
    pixels = rng.standard_normal((n, box, box), dtype=np.float32)
    grids = basis.grid(pixels, analysis)
    images = basis.spectra(basis.images_last(grids), rng.normal(size=(n, 2)))
    shifts = shift_grid(1, 1, 1)
    peak = sgemm_peak()
    radii, orders = len(basis.radii), 2 * basis.n_orders
    print(f"{radii} radii, {orders} orders, {len(shifts)} shifts, {2 * orders} angles")
    print(f"sgemm {peak / 1e9:.0f} GFLOP/s")
    # Products with the images, four real ones a coefficient, then the transform to
    # half of the angles for the even and the odd orders of both hands.
    flops = 16 * radii * orders + 2 * 2 * orders * orders
    for count in SIZES:
        chosen = rng.choice(n, count, replace=count > n)
        references = np.ascontiguousarray(images[..., chosen])
        moved = np.moveaxis(basis.shifted(references, shifts), 0, -1)
        operand = correlation_operand(moved.reshape(*moved.shape[:4], -1))
        seconds = fastest(lambda o=operand: best_scores(o, images, len(shifts)), 3)
        rate = n * count * len(shifts) / seconds
        few = number_listed(count)

        centred = correlation_operand(references)

        def two_stages(
            centred: np.ndarray = centred, shifted: np.ndarray = operand, few: int = few
        ) -> None:
            listed = shortlist(best_scores(centred, images, 1), few)
            listed_scores(shifted, images, len(shifts), listed)

        effective = n * count * len(shifts) / fastest(two_stages, 3)
        print(
            f"K = {count:3d}: {rate / 1e6:.2f} million comparisons/s exact,"
            f" {100 * rate * flops / peak:.0f} % of sgemm;"
            f" {effective / 1e6:.2f} effective, {few} of {count} at all shifts"
        )


if __name__ == "__main__":
    main()
