"""A set of noisy images of one particle, with the truth about each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.spatial.transform import Rotation

from cryokin.errors import InputError
from cryokin.random import stream
from cryokin.simulate.density import Density, chiral_density, project
from cryokin.simulate.orientations import clustered

VOLTAGE = 300.0  # [kV]
SPHERICAL_ABERRATION = 2.7  # [mm]
AMPLITUDE_CONTRAST = 0.1
IMAGES_PER_MICROGRAPH = 100
JUNK_KINDS = ("noise", "blobs")

# What a random stream is for; a particle's own streams carry its number, too.
_POSES, _DEFOCUS, _JUNK, _NOISE = range(4)


@dataclass(frozen=True)
class Recipe:
    """What to simulate.

    Attributes
    ----------
    n_images : int
        Number of images.
    box : int
        Their size [pixel].
    pixel_size : float
        Size of a pixel [A].
    snr : float
        Variance of the noise-free images inside the particle's circle, averaged over
        the particles, over the variance of the noise of a pixel; the noise is white
        and the same everywhere.
    n_views : int
        Number of directions around which views gather.
    view_share : float
        Share of the views that gather; the others are uniform.
    view_spread : float
        Standard deviation of a gathered view along either axis [degree].
    shift_sd : float
        Standard deviation of the particle's place along either axis [pixel].
    ctf : bool
        Whether the images carry a contrast transfer function.
    junk : float
        Share of the images that show no particle.
    seed : int
        Of everything random.
    """

    n_images: int = 600
    box: int = 64
    pixel_size: float = 5.0
    snr: float = 0.3
    n_views: int = 8
    view_share: float = 0.85
    view_spread: float = 5.0
    shift_sd: float = 1.0
    ctf: bool = False
    junk: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class ImageSet:
    """Simulated images and the truth about them.

    Attributes
    ----------
    recipe : Recipe
        What was asked for.
    images : ndarray, shape (n, box, box), float32
        Mean 0 and standard deviation 1 outside the particle's circle.
    orientations : Rotation
        One for each image; see `cryokin.simulate.density.project`.
    shifts : ndarray, shape (n, 2)
        Where the particle lies, ``(x, y)`` from ``box // 2`` [pixel].
    defocus : ndarray, shape (n, 3)
        Defocus along the two axes [A] and the angle of the first one [degree].
    micrograph : ndarray of int, shape (n,)
        Number of the micrograph, from 0.
    kind : ndarray of str, shape (n,)
        ``particle``, ``junk_noise`` or ``junk_blobs``.
    """

    recipe: Recipe
    images: NDArray[np.float32]
    orientations: Rotation
    shifts: NDArray[np.float64]
    defocus: NDArray[np.float64]
    micrograph: NDArray[np.int64]
    kind: NDArray[np.str_]


def simulate_images(recipe: Recipe, density: Density | None = None) -> ImageSet:
    """Return simulated images.

    Parameters
    ----------
    recipe : Recipe
        What to simulate.
    density : Density, optional
        The particle; default: `chiral_density`.

    Returns
    -------
    ImageSet

    Raises
    ------
    InputError
        If the particle does not fit the box.
    """
    density = density or chiral_density()
    radius = density.radius / recipe.pixel_size
    if radius > recipe.box // 2 - 2:
        raise InputError(
            f"a particle of radius {radius:.1f} pixel does not fit a box of"
            f" {recipe.box} pixel; simulate a larger box or larger pixels."
        )
    n = recipe.n_images
    poses = stream(recipe.seed, _POSES)
    orientations = clustered(
        n, recipe.n_views, np.radians(recipe.view_spread), recipe.view_share, poses
    )
    shifts = poses.normal(0, recipe.shift_sd, (n, 2))
    micrograph = np.arange(n) // IMAGES_PER_MICROGRAPH
    defocus = _draw_defocus(micrograph, recipe.seed)
    kind = _draw_kinds(recipe)

    # CTFs spread the particle beyond the box: twice the box, cut at the end.
    large = 2 * recipe.box if recipe.ctf else recipe.box
    images = project(density, orientations, shifts, large, recipe.pixel_size)
    contrast = float(images.std())
    for i in np.flatnonzero(kind != "particle"):
        blobs = _blobs(large, recipe.box, stream(recipe.seed, _JUNK, int(i)))
        images[i] = contrast * blobs if kind[i] == "junk_blobs" else 0
    if recipe.ctf:
        images = _with_ctf(images, recipe.pixel_size, defocus)
        first = large // 2 - recipe.box // 2
        images = images[:, first : first + recipe.box, first : first + recipe.box]
    return ImageSet(
        recipe=recipe,
        images=_with_noise(images, kind == "particle", radius, recipe),
        orientations=orientations,
        shifts=shifts,
        defocus=defocus,
        micrograph=micrograph,
        kind=kind,
    )


def contrast_transfer(
    box: int, pixel_size: float, defocus: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the contrast transfer functions of white particles.

    ``sin(pi L d k^2 - pi/2 Cs L^3 k^4 + asin(A))``, RELION's convention: positive at
    the origin, so that particles stay white. It stands here for the simulator alone,
    so that a simulated image does not test a function by itself.

    Parameters
    ----------
    box : int
        Size of the images [pixel].
    pixel_size : float
        Size of a pixel [A].
    defocus : ndarray, shape (n, 3)
        Defocus along the two axes [A], positive = under focus, and the angle of the
        first axis to x [degree].

    Returns
    -------
    ndarray, shape (n, box, box // 2 + 1)
        On the grid of ``rfft2``.
    """
    volts = 1e3 * VOLTAGE
    wavelength = 12.2643247 / np.sqrt(volts * (1 + 0.978466e-6 * volts))  # [A]
    ky = np.fft.fftfreq(box, pixel_size)[:, None]
    kx = np.fft.rfftfreq(box, pixel_size)
    k2 = kx**2 + ky**2
    along, across, angle = np.moveaxis(defocus[:, :, None, None], 1, 0)
    azimuth = np.arctan2(ky, kx) - np.radians(angle)
    depth = (along + across) / 2 + (along - across) / 2 * np.cos(2 * azimuth)
    aberration = np.pi / 2 * 1e7 * SPHERICAL_ABERRATION * wavelength**3 * k2**2
    phase = np.pi * wavelength * depth * k2 - aberration
    transfer: NDArray[np.float64] = np.sin(phase + np.arcsin(AMPLITUDE_CONTRAST))
    return transfer


def _draw_defocus(micrograph: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Return a defocus (n, 3) for each image, alike within a micrograph."""
    generator = stream(seed, _DEFOCUS)
    n = int(micrograph.max()) + 1
    mean = generator.uniform(10_000, 30_000, n)[micrograph]
    astigmatism = generator.normal(0, 250, n)[micrograph]
    angle = generator.uniform(0, 180, n)[micrograph]
    height = generator.normal(0, 200, len(micrograph))
    along, across = mean + height + astigmatism / 2, mean + height - astigmatism / 2
    return np.stack([along, across, angle], axis=1)


def _draw_kinds(recipe: Recipe) -> NDArray[np.str_]:
    """Return what each image shows."""
    generator = stream(recipe.seed, _JUNK)
    kind = np.full(recipe.n_images, "particle", dtype="<U10")
    n_junk = round(recipe.junk * recipe.n_images)
    for i in generator.choice(recipe.n_images, n_junk, replace=False):
        kind[i] = f"junk_{generator.choice(JUNK_KINDS)}"
    return kind


def _blobs(large: int, box: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Return an image (large, large) of a few drops of ice, of unit contrast."""
    axis = np.arange(large) - large // 2
    image = np.zeros((large, large))
    for _ in range(generator.integers(2, 6)):
        x, y = generator.uniform(-0.4, 0.4, 2) * box
        width = generator.uniform(0.03, 0.12) * box
        along_y, along_x = (np.exp(-0.5 * ((axis - c) / width) ** 2) for c in (y, x))
        image += np.outer(along_y, along_x)
    scaled: NDArray[np.float64] = image / image.std()
    return scaled.astype(np.float32)


def _with_ctf(
    images: NDArray[np.float32], pixel_size: float, defocus: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return images multiplied by their contrast transfer in Fourier space."""
    done = np.empty_like(images)
    for first in range(0, len(images), 256):
        block = slice(first, first + 256)
        transfer = contrast_transfer(images.shape[-1], pixel_size, defocus[block])
        done[block] = fft.irfft2(fft.rfft2(images[block]) * transfer, images.shape[-2:])
    return done


def _with_noise(
    images: NDArray[np.float32],
    real: NDArray[np.bool_],
    radius: float,
    recipe: Recipe,
) -> NDArray[np.float32]:
    """Return images with white noise, of mean 0 and deviation 1 outside the circle."""
    axis = np.arange(recipe.box) - recipe.box // 2
    inside = axis[:, None] ** 2 + axis**2 <= radius**2
    signal = images[real][:, inside].var(axis=1).mean() if real.any() else 1.0
    sigma = np.sqrt(signal / recipe.snr)
    noisy = np.empty_like(images)
    for i, image in enumerate(images):
        noise = stream(recipe.seed, _NOISE, i).standard_normal(image.shape)
        noisy[i] = image + sigma * noise
    background = noisy[:, ~inside]
    mean = background.mean(axis=1, dtype=np.float64)[:, None, None]
    deviation = background.std(axis=1, dtype=np.float64)[:, None, None]
    normalised: NDArray[np.float64] = (noisy - mean) / deviation
    return normalised.astype(np.float32)
