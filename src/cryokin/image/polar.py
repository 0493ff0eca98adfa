"""Particles as rows of polar Fourier coefficients.

A masked image, band-limited, is its Fourier transform on a polar grid of radii and
directions. There a shift is a phase. After a Fourier series over the direction, into
*angular orders* m, an in-plane rotation by ``a`` is a phase ``exp(i m a)``, the mirror
is a complex conjugation and a low-pass a factor per radius: nothing is ever
interpolated, and comparing images with references is matrix multiplication.

Two forms are used:

grid
    ``(n, directions, radii)`` complex64, half a circle of directions, since the
    transform of a real image obeys ``F(phi + pi) = conj F(phi)``. This is what is kept
    on disk; one row per image.
spectra
    ``(2, orders, 2, radii, n)`` float32: parity of the order (even ``m = 0, 2, ...``;
    odd ``m = 1, 3, ...``), order, real and imaginary part, radius, image. Real numbers
    and this order of the axes let every product below be a plain real GEMM.

Both are weighted so that the plain inner product of two rows is that of the images.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import ArrayLike, NDArray

from cryokin.device import beside, write

Float32 = NDArray[np.float32]
Complex64 = NDArray[np.complex64]


@dataclass(frozen=True)
class Band:
    """How many radii, and orders of each parity, a comparison uses."""

    radii: int
    orders: int


@dataclass(frozen=True)
class PolarBasis:
    """A polar grid in Fourier space for particles of one radius.

    Parameters
    ----------
    radius : int
        Radius of the circular mask around the centre of the box [pixel].
    highest : float
        Highest frequency of the grid [cycles/pixel].
    inner : int, default=1
        Innermost ring of pixels that is used [pixel].
    step : int, default=1
        Step between the radii of the grid, in units of ``1 / (2 radius + 2)``.
    """

    radius: int
    highest: float
    inner: int = 1
    step: int = 1

    @cached_property
    def radii(self) -> NDArray[np.float64]:
        """Frequencies of the radii, shape (n_radii,) [cycles/pixel]."""
        spacing = 1.0 / (2 * self.radius + 2)
        last = max(self.step, int(self.highest / spacing + 1e-6))
        return np.arange(self.step, last + 1, self.step, dtype=float) * spacing

    @cached_property
    def n_orders(self) -> int:
        """Number of orders of each parity; the grid has twice as many directions."""
        # A disc of radius R holds angular orders up to about 2 pi R k. A little less
        # suffices, because the rim is a small part of the disc's area.
        return self._orders(float(self.radii[-1]))

    def _orders(self, frequency: float) -> int:
        highest = 0.875 * 2 * np.pi * self.radius * frequency
        return max(4, 4 * int(np.ceil(highest / 8)))

    @cached_property
    def directions(self) -> NDArray[np.float64]:
        """Directions of the half circle, shape (2 n_orders,) [radian]."""
        n = 2 * self.n_orders
        return np.arange(n, dtype=float) * (np.pi / n)

    @cached_property
    def frequencies(self) -> NDArray[np.float64]:
        """Frequency vectors ``(x, y)``, shape (n_directions, n_radii, 2)."""
        unit = np.stack([np.cos(self.directions), np.sin(self.directions)], axis=-1)
        return unit[:, None, :] * self.radii[None, :, None]

    def band(self, highest: float) -> Band:
        """Return the radii and orders that hold frequencies up to ``highest``."""
        n_radii = int(np.searchsorted(self.radii, highest + 1e-9))
        n_radii = min(max(n_radii, 2), len(self.radii))
        orders = min(self._orders(float(self.radii[n_radii - 1])), self.n_orders)
        return Band(n_radii, orders)

    @cached_property
    def whole(self) -> Band:
        """The band of all radii and orders."""
        return Band(len(self.radii), self.n_orders)

    # ------------------------------------------------------------- image -> grid
    def mask(self, box: int) -> NDArray[np.bool_]:
        """Return the mask of the particle in a box of ``box`` pixel, (box, box)."""
        axis = np.arange(box) - box // 2
        square = axis[:, None] ** 2 + axis[None, :] ** 2
        return (square <= self.radius**2) & (square >= (self.inner - 1) ** 2)

    def analysis(self, box: int) -> tuple[NDArray[np.bool_], Float32]:
        """Return the mask (box, box) and the matrix that takes its pixels to the grid.

        The matrix has shape (pixels in the mask, 2 * directions * radii); its columns
        are the real parts, then the imaginary parts.
        """
        inside = self.mask(box)
        y, x = np.nonzero(inside)
        points = np.stack([x, y], axis=-1) - box // 2
        phase = -2 * np.pi * points @ self.frequencies.reshape(-1, 2).T
        weight = np.tile(np.sqrt(self.radii), len(self.directions))
        parts = [np.cos(phase) * weight, np.sin(phase) * weight]
        return inside, np.concatenate(parts, axis=1).astype(np.float32)

    def grid(
        self, images: ArrayLike, analysis: tuple[NDArray[np.bool_], Float32]
    ) -> Complex64:
        """Return images (n, box, box) as grid rows of unit length.

        The mean inside the mask is removed first. A constant image gives zeros.

        Parameters
        ----------
        images : array_like, shape (n, box, box)
        analysis : tuple
            From `analysis`, made once for all blocks of images.

        Returns
        -------
        ndarray of complex64, shape (n, directions, radii)
        """
        inside, matrix = analysis
        pixels = np.asarray(images, np.float32)[:, inside]
        pixels = pixels - pixels.mean(axis=1, dtype=np.float64, keepdims=True)
        parts = pixels.astype(np.float32) @ matrix
        half = matrix.shape[1] // 2
        rows = parts[:, :half] + 1j * parts[:, half:]
        square = np.sum(parts.astype(np.float64) ** 2, axis=1)
        length = np.sqrt(square / len(self.directions))
        rows /= np.where(length > 0, length, 1.0)[:, None]
        shape = (len(rows), len(self.directions), len(self.radii))
        grid: Complex64 = rows.astype(np.complex64).reshape(shape)
        return grid

    # ----------------------------------------------------------- grid -> spectra
    @cached_property
    def _series(self) -> Float32:
        """Matrices (2, 2 * n_orders, directions) from grid values to even, odd orders.

        Even orders see the real part of the half circle alone, odd orders the
        imaginary part, because the other half is the conjugate of the first. The
        weight sqrt(2) of orders m > 0 stands for the orders -m.
        """
        n = self.n_orders
        scale = 1.0 / len(self.directions)
        even = 2 * np.arange(n)[:, None] * self.directions
        odd = (2 * np.arange(n)[:, None] + 1) * self.directions
        weight = np.sqrt(np.where(np.arange(n) > 0, 2.0, 1.0))[:, None]
        from_real = np.stack([np.cos(even) * weight, -np.sin(even) * weight], axis=1)
        from_imaginary = np.stack([np.sin(odd), np.cos(odd)], axis=1) * np.sqrt(2.0)
        both = scale * np.stack([from_real, from_imaginary])
        return both.reshape(2, 2 * n, -1).astype(np.float32)

    def images_last(self, grid: Complex64) -> Float32:
        """Return real and imaginary parts of grid rows, (2, directions, radii, n)."""
        moved = np.moveaxis(grid, 0, -1)
        parts = np.empty((2, *moved.shape), np.float32)
        parts[0], parts[1] = moved.real, moved.imag
        return parts

    def spectra(
        self,
        parts: Float32,
        centres: ArrayLike | None = None,
        band: Band | None = None,
    ) -> Float32:
        """Return the spectra of images after their ``centres`` are moved to the origin.

        Parameters
        ----------
        parts : array, shape (2, directions, radii, n)
            From `images_last`.
        centres : array_like, shape (..., n, 2), optional
            Points ``(x, y)`` that become the origin [pixel]; leading axes stand for
            several trials with the same images. Default: the centre of the box.
        band : Band, optional
            Default: all radii and orders.

        Returns
        -------
        array of float32, shape (..., 2, orders, 2, radii, n)
            Of the kind of ``parts``.
        """
        band = band or self.whole
        parts = parts[:, :, : band.radii, :]
        if centres is not None:
            parts = self._moved(parts, np.asarray(centres, np.float32))
        xp = array_namespace(parts)
        *lead, _, n_directions, n_radii, n = parts.shape
        series = beside(self._series[:, : 2 * band.orders], parts)
        out = xp.matmul(
            series, xp.reshape(parts, (*lead, 2, n_directions, n_radii * n))
        )
        return xp.reshape(out, (*lead, 2, band.orders, 2, n_radii, n))

    def _moved(self, parts: Float32, points: Float32) -> Float32:
        """Multiply grid values (2, directions, radii, n) by the phases of a shift.

        The radii are multiples of the first, so the phases of radius j are the j-th
        powers of those of the first, which is cheaper than a sine each.
        """
        xp = array_namespace(parts)
        unit = np.stack([np.cos(self.directions), np.sin(self.directions)], axis=-1)
        unit = (2 * np.pi * self.radii[0] * unit).astype(np.float32)
        first = unit[:, 0, None] * points[..., None, :, 0]
        first += unit[:, 1, None] * points[..., None, :, 1]
        cos_1, sin_1 = (beside(part, parts) for part in (np.cos(first), np.sin(first)))
        cos, sin = cos_1, sin_1
        *lead, n_directions, n = first.shape
        n_radii = parts.shape[2]
        out = xp.empty(
            (*lead, 2, n_directions, n_radii, n),
            dtype=xp.float32,
            device=device(parts),
        )
        for j in range(n_radii):
            if j:
                cos, sin = cos * cos_1 - sin * sin_1, cos * sin_1 + sin * cos_1
            re, im = parts[0, :, j, :], parts[1, :, j, :]
            write(out, np.s_[..., 0, :, j, :], xp.subtract, re * cos, im * sin)
            write(out, np.s_[..., 1, :, j, :], xp.add, re * sin, im * cos)
        return out

    def _grid_values(self, flat: Float32) -> Float32:
        """Return grid values (2, directions, ...), see `images_last`, of spectra.

        The series' rows are orthogonal, so their transpose is the inverse but for the
        scale; even orders make the real part of the half circle, odd ones the rest.
        """
        xp = array_namespace(flat)
        series = beside(self._series[:, : flat.shape[1]], flat)
        values: Float32 = xp.matmul(xp.matrix_transpose(series), flat)
        return values * float(len(self.directions))

    def shifted(self, spectra: Float32, shifts: ArrayLike) -> Float32:
        """Return spectra of images shifted so that ``shifts`` (s, 2) become the origin.

        Parameters
        ----------
        spectra : array, shape (2, orders, 2, radii, n)
        shifts : array_like, shape (s, 2)
            [pixel]

        Returns
        -------
        array of float32, shape (s, 2, orders, 2, radii, n)
        """
        xp = array_namespace(spectra)
        _, orders, _, n_radii, n = spectra.shape
        values = self._grid_values(xp.reshape(spectra, (2, 2 * orders, n_radii * n)))
        parts = xp.reshape(values, (2, len(self.directions), n_radii, n))
        shifts = np.asarray(shifts, np.float32)
        points = np.broadcast_to(shifts[:, None, :], (len(shifts), n, 2))
        return self.spectra(parts, points, Band(n_radii, orders))

    # ------------------------------------------------------------ back to pixels
    def image(
        self, spectrum: Float32, analysis: tuple[NDArray[np.bool_], Float32]
    ) -> Float32:
        """Return the band-limited image (box, box) of one spectrum, 0 outside the mask.

        The grid is fine enough for the mask's disc, so the inverse transform is a sum
        over it, with the area ``k dk dphi`` of each point; its scale is arbitrary.

        Parameters
        ----------
        spectrum : ndarray, shape (2, orders, 2, radii)
            Of all orders and radii.
        analysis : tuple
            From `analysis`.
        """
        inside, matrix = analysis
        values = self._grid_values(
            spectrum.reshape(2, 2 * self.n_orders, len(self.radii))
        )
        image = np.zeros(inside.shape, np.float32)
        image[inside] = matrix @ values.ravel()
        return image
