"""An object made of round blobs: its image under any alignment is known exactly."""

import numpy as np

from cryokin.image.geometry import Alignment, apply

#: x, y, width [pixel] and height of the blobs; no symmetry, not even of mirrors.
CHIRAL = np.array(
    [
        [0.0, 0.0, 3.5, 1.0],
        [8.0, 3.0, 2.2, 1.0],
        [-4.0, 7.0, 2.4, 1.2],
        [3.0, -9.0, 2.0, 0.9],
        [-8.5, -4.0, 2.0, 0.8],
        [2.0, 9.5, 2.2, -0.5],
    ]
)

#: The same in a negative halo: its mean is 0, and its value where a mask may cut it.
BALANCED = np.concatenate([CHIRAL, [[0.0, 0.0, 6.0, 0.0]]])
BALANCED[-1, 3] = -np.sum(CHIRAL[:, 2] ** 2 * CHIRAL[:, 3]) / 36.0


def render(box: int, blobs: np.ndarray = CHIRAL) -> np.ndarray:
    """Return the image (box, box) of blobs."""
    axis = np.arange(box) - box // 2
    x, y, width, height = blobs.T[:, :, None]
    along_x = np.exp(-((axis - x) ** 2) / (2 * width**2))
    along_y = height * np.exp(-((axis - y) ** 2) / (2 * width**2))
    return (along_y.T @ along_x).astype(np.float32)


def moved(alignment: Alignment, blobs: np.ndarray = CHIRAL) -> np.ndarray:
    """Return blobs after one alignment."""
    places = apply(alignment, blobs[:, :2])
    return np.concatenate([places, blobs[:, 2:]], axis=1)


def alignment(degrees: float, shift: object, mirror: bool) -> Alignment:
    """Return one alignment."""
    return Alignment(
        np.float64(np.radians(degrees)), np.array(shift, float), np.bool_(mirror)
    )
