"""Make the particles of the tutorial from larger sets: fewer, coarser, of 8 bits.

    python resources/tutorial/make.py FOLDER

FOLDER has the sets as README.md names them. The same sets give the same bytes.
"""

import sys
from pathlib import Path

import mrcfile
import numpy as np
from numpy.typing import NDArray

from cryokin.image.resample import resample
from cryokin.io.star import as_table, find_block, read_star, write_star

HERE = Path(__file__).parent
N_IMAGES = 1000
BOXES = {"apoferritin": 40, "bgal": 48}  # [pixel]
LARGEST = 6.0  # standard deviations that 127 steps stand for
# Without these RELION reads no table, also where nothing is done with the CTF.
MICROSCOPE = {"rlnVoltage": "300", "rlnSphericalAberration": "2.0"}
MICROSCOPE |= {"rlnAmplitudeContrast": "0.1"}
PIXEL_SIZES = ("rlnImagePixelSize", "rlnDetectorPixelSize")


def write(path: Path, data: NDArray[np.floating], pixel_size: float, steps: float):
    """Write images or a volume as integers from -127 to 127."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(np.rint(data * steps).clip(-127, 127).astype(np.int8))
        if path.suffix == ".mrcs":
            mrc.set_image_stack()
        mrc.voxel_size = pixel_size
        mrc.header.label[:] = b""
        mrc.header.nlabl = 0


def images(source: Path, target: Path, box: int) -> None:
    """Shrink the first images of a set into a box that shows the same."""
    blocks = read_star(source / "particles.star")
    with mrcfile.mmap(source / "particles.mrcs") as mrc:
        large = np.asarray(mrc.data[:N_IMAGES], np.float32)
    ratio = box / large.shape[-1]
    small = resample(large, ratio, box)
    for block in blocks.values():
        for name in PIXEL_SIZES:
            if name in block:
                sizes = as_table(block)[name].astype(float) / ratio
                block[name] = [f"{size:.6f}" for size in sizes]
                pixel_size = float(sizes.iloc[0])
        if "rlnImageSize" in block:
            block["rlnImageSize"] = str(box)
    name = find_block(blocks, ("particles", ""))
    blocks[name] = as_table(blocks[name]).iloc[:N_IMAGES]
    if "optics" not in blocks:
        blocks[name] = blocks[name].assign(**MICROSCOPE)
    scale = 127 / (LARGEST * small.std())
    write(target / "particles.mrcs", small, pixel_size, scale)
    table = target / "particles.star"
    write_star(table, blocks)
    if "optics" not in blocks:  # RELION takes a table without them for an older one
        table.write_text(table.read_text().replace("# version 30001\n", ""))


def volumes(source: Path, target: Path) -> None:
    """Take the set of which every other particle is mirrored."""
    blocks = read_star(source / "particles_mirror.star")
    table = as_table(blocks["particles"])
    size = float(as_table(blocks["optics"])["rlnImagePixelSize"].iloc[0])
    for name in table["rlnImageName"]:
        volume = mrcfile.read(source / name)
        scale = 127 / (LARGEST * volume.std())
        write(target / name, volume, size, scale)
    for name in table["rlnCtfImage"]:
        weights = mrcfile.read(source / name)
        write(target / name, weights, size, 127 / weights.max())
    write_star(target / "particles.star", blocks)
    mirrored = (source / "truth_mirror.txt").read_text().split()
    (target / "mirrored.txt").write_text("\n".join(mirrored) + "\n")


if __name__ == "__main__":
    given = Path(sys.argv[1])
    for name, box in BOXES.items():
        images(given / name, HERE / name, box)
    volumes(given / "ribosomes", HERE / "ribosomes")
