"""Small subtomograms with known classes and known errors of their poses."""

from dataclasses import dataclass

import numpy as np

from cryokin.volume import euler, masks
from cryokin.volume.bands import Rows, band, rows
from cryokin.volume.filters import filtered, frequencies, lowpass
from cryokin.volume.resample import place
from cryokin.volume.wedge import TiltWedge

BOX = 20
BAND = 6
WEDGE = TiltWedge(np.pi / 6, np.pi / 6)


@dataclass
class Particles:
    volumes: list
    rotations: np.ndarray  # as given, with errors
    shifts: np.ndarray
    true_rotations: np.ndarray
    true_shifts: np.ndarray
    labels: np.ndarray
    maps: list

    def rows(self, rotations=None, shifts=None) -> Rows:
        return rows(
            self.volumes.__getitem__,
            self.rotations if rotations is None else rotations,
            self.shifts if shifts is None else shifts,
            [WEDGE] * len(self.volumes),
            masks.sphere((BOX,) * 3, 7, 2),
            band((BOX,) * 3, BAND),
        )


def blob(centre, width):
    axis = np.arange(BOX) - BOX // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    place = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2
    return np.exp(-place / (2 * width**2))


def maps(difference=1.0):
    """Two bodies; the second lacks part of one domain."""
    rng = np.random.default_rng(5)
    body = lowpass(rng.normal(size=(BOX,) * 3), 5)
    body = body / body.std() * masks.sphere((BOX,) * 3, 4, 3)
    return [body, body - difference * blob((2.0, -2.5, 1.5), 1.8)]


def simulate(
    counts=(40, 20), noise=1.0, turn=0.0, shift=0.0, difference=1.0, seed=0, truth=None
) -> Particles:
    """Return particles whose given poses have errors of the stated deviations.

    ``turn`` [radian] and ``shift`` [voxel] are per axis. Others than `maps` are shown
    where ``truth`` has them.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    n = len(labels)
    true = euler.matrix(rng.uniform(-3, 3, (n, 3)))
    centres = rng.normal(0, 0.5, (n, 3))
    truth = maps(difference) if truth is None else truth
    weight = WEDGE.weight(frequencies((BOX,) * 3), (BOX,) * 3)
    volumes = [
        filtered(place(truth[c], r, s) + noise * rng.normal(size=(BOX,) * 3), weight)
        for c, r, s in zip(labels, true, centres, strict=True)
    ]
    given = true @ euler.from_vector(rng.normal(0, 1, (n, 3)) * turn)
    given_shifts = centres + shift * rng.normal(0, 1, (n, 3))
    return Particles(volumes, given, given_shifts, true, centres, labels, truth)
