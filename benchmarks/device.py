"""What a device does and how fast, beside one core: see gpu.sh."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import yaml
from array_api_compat import array_namespace
from numpy.typing import NDArray

from cryokin.device import HOST, Device, on_host, open_device
from cryokin.image.polar import PolarBasis
from cryokin.isac.alignment import best_scores, correlation_operand, shift_grid
from cryokin.isac.assignment import MARGIN
from cryokin.isac.particles import BLOCK
from cryokin.parallel import blocks
from cryokin.simulate.files import write_image_set
from cryokin.simulate.images import Recipe, simulate_images
from cryokin.subtomo import ccc, mco, pose_errors

ROOT = Path(__file__).resolve().parents[1]
SIZES = (20, 100, 500)
RULES = ("isac_clusters", "isac_candidates_round", "isac_reproducible")
COEFFICIENTS = 1000  # of a subtomogram
CLASSES = 8  # of subtomograms
LIMIT = 240  # for the whole run, in all [s]


def fastest(work: Callable[[], Any], repeats: int, clock: Callable[[], float]) -> float:
    """Return the least time of several calls, whose results are fetched [s]."""
    on_host(work())
    times = []
    for _ in range(repeats):
        start = clock()
        on_host(work())
        times.append(clock() - start)
    return min(times)


def comparisons(device: Device) -> list[dict[str, float]]:
    """Compare a block of images with averages, at all shifts."""
    basis, shifts = PolarBasis(29, 0.3), shift_grid(1, 1, 1)
    rng = np.random.default_rng(1)
    pixels = rng.standard_normal((BLOCK, 76, 76), dtype=np.float32)
    parts = basis.images_last(basis.grid(pixels, basis.analysis(76)))
    images = basis.spectra(parts)
    found = []
    for count in SIZES:
        references = images[..., rng.integers(0, BLOCK, count)]
        moved = np.moveaxis(basis.shifted(references, shifts), 0, -1)
        operand = correlation_operand(moved.reshape(*moved.shape[:4], -1))
        there = device.put(operand)

        def on_device(there: Any = there) -> Any:
            return best_scores(there, device.put(images), len(shifts))

        def on_core(operand: Any = operand) -> Any:
            return best_scores(operand, images, len(shifts))

        number = count * BLOCK * len(shifts)
        error = float(np.abs(on_host(on_device()) - on_core()).max())
        found.append(
            {
                "references": count,
                "largest error": error,
                "within a quarter of the margin": error < MARGIN / 4,
                "device, million a second": number
                / fastest(on_device, 3, time.perf_counter)
                / 1e6,
                "core, million a second": number
                / fastest(on_core, 1, time.process_time)
                / 1e6,
            }
        )
    return found


def subtomograms(n: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return made-up coefficients as reals, and the weights of their wedges."""
    rng = np.random.default_rng(0)
    w = (rng.random((n, COEFFICIENTS)) < 0.6).astype(np.float32)
    y = rng.standard_normal((n, 2 * COEFFICIENTS), np.float32)
    return y * np.repeat(w, 2, axis=1), w


def correlations(device: Device, n: int) -> dict[str, float]:
    """Correlate all pairs of made-up subtomograms, tile by tile."""
    g, w = subtomograms(n)
    tiles = ccc.tiles(n, ccc.TILE)
    i, j = tiles[-1]
    start, tile = time.perf_counter(), None
    for i, j in tiles:
        parts = (device.put(part) for part in (g[i], w[i], g[j], w[j]))
        tile = on_host(ccc.tile(*parts))
    seconds = time.perf_counter() - start
    error = float(np.abs(tile - ccc.tile(g[i], w[i], g[j], w[j])).max())
    return {"subtomograms": n, "seconds": seconds, "largest error": error}


def scores(device: Device, n: int) -> dict[str, Any]:
    """Score made-up subtomograms in classes by both scores of MCO."""
    y, w = subtomograms(n)
    labels = np.arange(n) % CLASSES
    shell = np.arange(2 * COEFFICIENTS) // 100
    one = np.ones(2 * COEFFICIENTS, np.float32)

    def score(y: Any, w: Any, name: mco.Score) -> Any:
        model = mco.Model(y, w, one, shell, one, 0.2, name)
        return mco.scores(model, labels, CLASSES)

    there = device.put(y), device.put(w)
    found: dict[str, Any] = {"subtomograms": n, "classes": CLASSES}
    for name in get_args(mco.Score):
        found[name] = beside_core(partial(score, name=name), there, (y, w))
    return found


def pose_fit(device: Device, n: int) -> dict[str, float]:
    """Fit seven derivatives in made-up subtomograms, a block at a time."""
    y, w = subtomograms(n)
    basis = np.random.default_rng(1).standard_normal((7, y.shape[1]), np.float32)

    def fit(y: Any, w: Any, basis: Any) -> Any:
        xp = array_namespace(y)
        parts = blocks(n, pose_errors.BLOCK)
        return xp.concat(
            [pose_errors.without(y[some], w[some], basis)[1] for some in parts]
        )

    there = device.put(y), device.put(w), device.put(basis)
    return {"subtomograms": n, **beside_core(fit, there, (y, w, basis))}


def beside_core(
    work: Callable[..., Any], there: tuple[Any, ...], here: tuple[Any, ...]
) -> dict[str, float]:
    """Do the same on the device, where its operands are, and on one core."""
    error = float(np.abs(on_host(work(*there)) - work(*here)).max())
    return {
        "largest error": error,
        "device, seconds": fastest(lambda: work(*there), 3, time.perf_counter),
        "core, seconds": fastest(lambda: work(*here), 1, time.process_time),
    }


def whole_run(device: str, n: int) -> dict[str, Any]:
    """Classify simulated images, from their file to the tables."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = Recipe(n, box=64, pixel_size=5.0, snr=0.2)
        write_image_set(Path(folder, "set"), simulate_images(recipe))
        run = {"method": "isac", "particles": "set/particles.star", "radius": 25}
        run |= {"img_per_grp": min(100, max(20, n // 10))}
        Path(folder, "run.yaml").write_text(yaml.safe_dump({"runs": {"large": run}}))
        command = [
            *(sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile"),
            *("--profile", ROOT / "profiles/local", "--configfile", "run.yaml"),
            *("--set-resources", *(f"{rule}:device={device}" for rule in RULES)),
        ]
        start = time.perf_counter()
        done = subprocess.Popen(command, cwd=folder, stdout=sys.stderr)
        try:
            code = done.wait(LIMIT)
        except subprocess.TimeoutExpired:
            done.terminate()
            done.wait()
            code = None
        seconds = time.perf_counter() - start
        told = sorted(Path(folder).glob("results/large/generation_*/*_status.json"))
        accounted = sum(json.loads(path.read_text())["accounted"] for path in told)
    return {
        "images": n,
        "seconds": seconds,
        "finished": code == 0,
        "generations": len(told),
        "accounted": accounted,
    }


def main() -> None:
    """Read the command line, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--subtomograms", type=int, default=20_000)
    parser.add_argument("--file", type=Path, default="gpu.json")
    given = parser.parse_args()
    device = open_device(given.device)
    assert device is not HOST, "the processor by NumPy is what is compared with"
    card = platform.processor() or platform.machine()
    if given.device == "cuda":
        import torch

        card = torch.cuda.get_device_name()
    found = {"device": given.device, "card": card}
    for name, measure in (
        ("comparisons", lambda: comparisons(device)),
        ("correlations", lambda: correlations(device, given.subtomograms)),
        ("scores of classes", lambda: scores(device, given.subtomograms)),
        ("pose fit", lambda: pose_fit(device, given.subtomograms)),
        ("whole run", lambda: whole_run(given.device, given.images)),
    ):
        found[name] = measure()
        # After each, so that what was measured is there whatever comes.
        given.file.write_text(json.dumps(found, indent=2) + "\n")
        print(json.dumps({name: found[name]}, indent=2), flush=True)


if __name__ == "__main__":
    main()
