"""PyTom's own example, `data/pytom_small2`, read for the tests."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryokin.io.em import read_em
from cryokin.io.pytom_xml import read_particle_list
from cryokin.io.wedges import from_particle
from cryokin.volume import euler

BOX = (40, 40, 40)
BAND = 12


@dataclass
class Example:
    folder: Path
    particles: list
    volumes: list
    rotations: np.ndarray
    shifts: np.ndarray
    wedges: list
    mask: np.ndarray

    def take(self, n):
        return Example(
            self.folder,
            self.particles[:n],
            self.volumes[:n],
            self.rotations[:n],
            self.shifts[:n],
            self.wedges[:n],
            self.mask,
        )


def load(shared, name="particleList.xml"):
    folder = shared / "data/pytom_small2"
    particles = read_particle_list(folder / name)
    return Example(
        folder,
        particles,
        [read_em(folder / p.file) for p in particles],
        euler.matrix(np.radians([p.rotation for p in particles])),
        np.array([p.shift for p in particles]),
        [from_particle(p.wedge) for p in particles],
        read_em(folder / "mask.em"),
    )


def ribosome_mask(shared):
    """An MRC file of the days before the map identifier."""
    path = shared / "data/subtomograms/human_ribo_mask_32_8_5.mrc"
    return np.fromfile(path, "<f4", 32**3, offset=1024).reshape(32, 32, 32)
