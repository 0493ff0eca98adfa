"""What a subtomogram sampled of Fourier space.

The beam runs along z and the specimen is tilted about y, so the region that was never
seen, the missing wedge, surrounds the kz axis of the particle's own frame. A particle
in the common frame has the weight ``W(R k)``, with R its rotation.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cryokin.errors import InputError
from cryokin.volume.filters import filtered, frequencies

WEAKEST_CTF = 0.05  # coefficients under a weaker CTF hold noise alone and are dropped
IN_PLANE = 1e-4  # |kz| up to which a frequency lies in the untilted plane


class Wedge(Protocol):
    """Weight of the frequencies of a particle."""

    @property
    def is_ctf(self) -> bool:
        """Whether the data were multiplied by the weight when they were made."""

    def weight(
        self, k: NDArray[np.float64], box: tuple[int, int, int]
    ) -> NDArray[np.float64]:
        """Return the weight of frequencies.

        Parameters
        ----------
        k : ndarray, shape (..., 3)
            (x, y, z) in the particle's frame [cycle per box].
        box : tuple of int
            (n_z, n_y, n_x) of the subtomogram.

        Returns
        -------
        ndarray, shape (...)
            The same for k and -k.
        """


@dataclass(frozen=True)
class TiltWedge:
    """One tilt series.

    Attributes
    ----------
    angle1, angle2 : float
        90 degrees - largest tilt, on the +x and the -x side [radian]; 0: no wedge.
    cutoff : float
        Largest radius that was sampled [Fourier pixel]; 0: half the box.
    smooth : float
        Width of the ramp inside the wedge [Fourier pixel].
    axis : ndarray, shape (3, 3)
        Rotation that takes the y axis to the tilt axis.
    """

    angle1: float = 0.0
    angle2: float = 0.0
    cutoff: float = 0.0
    smooth: float = 0.0
    axis: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    is_ctf: bool = False

    def weight(
        self, k: NDArray[np.float64], box: tuple[int, int, int]
    ) -> NDArray[np.float64]:
        """Return the weight of frequencies, see `Wedge`."""
        if self.angle1 == 0 and self.angle2 == 0:
            return np.ones(k.shape[:-1])
        x, _, z = np.moveaxis(k @ self.axis, -1, 0)
        # k and -k carry the same information: look at the one with kz >= 0.
        x = np.where(z < 0, -x, x)
        z = np.abs(z)
        angle = np.where(x >= 0, self.angle1, self.angle2)
        seen = (z < IN_PLANE) | (np.abs(x) >= np.tan(angle) * z)
        weight: NDArray[np.float64] = seen.astype(np.float64)
        if self.smooth > 0:
            depth = z * np.sin(angle) - np.abs(x) * np.cos(angle)
            ramp = np.clip(1 - depth / self.smooth, 0, 1)
            weight = np.where(seen, 1.0, ramp)
        radius = np.linalg.norm(k, axis=-1)
        weight[radius > (self.cutoff or box[-1] // 2)] = 0.0
        return weight


@dataclass(frozen=True)
class DoubleTilt:
    """Two tilt series; what either saw was sampled."""

    first: TiltWedge
    second: TiltWedge
    is_ctf: bool = False

    def weight(
        self, k: NDArray[np.float64], box: tuple[int, int, int]
    ) -> NDArray[np.float64]:
        """Return the weight of frequencies, see `Wedge`."""
        both = self.first.weight(k, box) + self.second.weight(k, box)
        return np.minimum(both, 1.0)


@dataclass(frozen=True)
class WeightVolume:
    """A measured weight, e.g. a three-dimensional CTF.

    Attributes
    ----------
    volume : ndarray, shape (n_z, n_y, n_x)
        Zero frequency at n // 2.
    is_ctf : bool
        Whether it is a CTF, i.e. the data contain it already.
    """

    volume: NDArray[np.floating]
    is_ctf: bool = False

    def weight(
        self, k: NDArray[np.float64], box: tuple[int, int, int]
    ) -> NDArray[np.float64]:
        """Return the weight of frequencies, see `Wedge`; trilinear in the volume."""
        shape = np.array(self.volume.shape)
        # A volume of another size than the box samples the same physical frequencies.
        scale = shape / np.array(box)
        points = np.moveaxis(k[..., ::-1] * scale + shape // 2, -1, 0)
        # An even volume holds the frequency -n/2 alone, which is n/2 as well.
        weight: NDArray[np.float64] = ndimage.map_coordinates(
            np.asarray(self.volume, np.float64), points, order=1, mode="grid-wrap"
        )
        return weight


def unmultiplied(volume: NDArray[np.floating], wedge: Wedge) -> NDArray[np.float32]:
    """Return a CTF-premultiplied subtomogram as others are: signal times weight, noise.

    The sum over images ``i`` of ``CTF_i (CTF_i F + n_i)`` has the signal ``W F`` and
    noise of variance ``W``, with ``W`` the sum of ``CTF_i^2``. Divided by ``w``, the
    square root of W, it is ``w F`` and white noise.

    Parameters
    ----------
    volume : ndarray, shape (n_z, n_y, n_x)
        The subtomogram in its own frame.
    wedge : Wedge
        Its weight ``w``, about 1 where it is largest.

    Returns
    -------
    ndarray, shape (n_z, n_y, n_x)
        0 at frequencies of a weight below `WEAKEST_CTF`.
    """
    n_z, n_y, n_x = volume.shape
    box = (n_z, n_y, n_x)
    w = wedge.weight(frequencies(box), box)
    strong = w >= WEAKEST_CTF
    return filtered(volume, strong / np.where(strong, w, 1)).astype(np.float32)


def common_frame_weight(
    wedge: Wedge,
    rotation: NDArray[np.float64],
    k: NDArray[np.float64],
    box: tuple[int, int, int],
) -> NDArray[np.float64]:
    """Return the weight of a particle's wedge in the common frame.

    Parameters
    ----------
    wedge : Wedge
        In the particle's own frame.
    rotation : ndarray, shape (3, 3)
        R of the particle.
    k : ndarray, shape (..., 3)
        Frequencies (x, y, z) in the common frame [cycle per box].
    box : tuple of int
        (n_z, n_y, n_x).

    Returns
    -------
    ndarray, shape (...)
        ``W(R k)``.
    """
    return wedge.weight(k @ np.asarray(rotation).T, box)


def centred_weight(
    volume: NDArray[np.floating], path: str | os.PathLike[str] = "weight volume"
) -> NDArray[np.float64]:
    """Return a weight volume in full size with the zero frequency at n // 2.

    Full volumes are taken as centred already. Half volumes have the zero frequency at
    index 0; PyTom halves z, RELION halves x. RELION 4 and 5 put the number of images
    behind each frequency below the weights in one file; it is not used.

    Raises
    ------
    InputError
        If the shape is neither a cube nor half of one.
    """
    n_z, n_y = volume.shape[:2]
    axis = halved_axis(volume.shape, path)
    if axis is None:
        return np.asarray(volume, np.float64)
    if n_z == 2 * n_y:
        return centred_weight(volume[:n_y], path)
    index = np.arange(n_y) - n_y // 2
    full = np.empty((n_y,) * 3)
    k = np.meshgrid(index, index, index, indexing="ij")
    flip = k[axis] < 0
    places = tuple(np.where(flip, -part, part) % n_y for part in k)
    full[:] = np.asarray(volume, np.float64)[places]
    return full


def halved_axis(
    shape: tuple[int, ...], path: str | os.PathLike[str] = "weight volume"
) -> int | None:
    """Return which axis a weight volume is half of, see `centred_weight`; None: whole.

    Raises
    ------
    InputError
        If the shape is none of a weight volume.
    """
    n_z, n_y, n_x = shape
    half = n_y // 2 + 1
    if n_z == n_y == n_x:
        return None
    if n_x == n_y and n_z == half:
        return 0
    if n_z in (n_y, 2 * n_y) and n_x == half:
        return 2
    raise InputError(
        f"{path}: a weight volume of {n_x} x {n_y} x {n_z} voxels is neither a cube"
        " nor half of one along x or z, nor two halves as RELION 4 writes them; give"
        " the weight of the particle's box."
    )
