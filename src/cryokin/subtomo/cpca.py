"""Classification by the leading components of the correlation matrix (CPCA)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.parallel import blocks
from cryokin.partition.labels import by_size
from cryokin.random import stream
from cryokin.subtomo.pose_errors import BLOCK, Corrected
from cryokin.volume.averages import FLOOR
from cryokin.volume.bands import as_complex

DENSE = 1000  # particles up to which all of the matrix is decomposed
KMEANS_ITERATIONS = 50
MIXTURE_ITERATIONS = 500
MIXTURE_TOLERANCE = 1e-8  # relative gain of the likelihood at which it has converged
LEAST_VARIANCE = 1e-6  # of a mixture, relative to the variance of the data

SPLITS = 4  # of the particles into halves, to see which components both find
HALVES = 1  # address of their random streams
REPRODUCED = 0.5  # least share of signal in a component that is used
TRIED = 12  # leading components among which those that are reproduced are sought
TOLD = 4  # components that are told, at least, though fewer are used

Clustering = Literal["mixture", "kmeans"]


@dataclass(frozen=True)
class Components:
    """Leading components of a correlation matrix.

    Attributes
    ----------
    eigenvalues : ndarray, shape (n_components,)
        Largest first.
    coefficients : ndarray, shape (n, n_components)
        Eigenvectors times the square root of the eigenvalues.
    total : float
        Sum of all eigenvalues.
    """

    eigenvalues: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    total: float

    def first(self, n: int) -> Components:
        """Return the first n of them."""
        return Components(self.eigenvalues[:n], self.coefficients[:, :n], self.total)

    @property
    def explained(self) -> NDArray[np.float64]:
        """Fraction of the sum of all eigenvalues, shape (n_components,)."""
        return self.eigenvalues / self.total


def components(
    matrix: NDArray[np.floating], neig: int, by_size: bool = False
) -> Components:
    """Return the leading components of a symmetric matrix.

    Parameters
    ----------
    matrix : ndarray, shape (n, n)
        Constrained correlations, symmetric.
    neig : int
        Number of components.
    by_size : bool, optional
        Order by the absolute eigenvalue, as PyTom's singular value decomposition does,
        which takes a large negative eigenvalue for structure.

    Raises
    ------
    InputError
        If there are fewer particles than components.

    Notes
    -----
    Signs are fixed: the entry of largest size of each component is positive.
    """
    n = len(matrix)
    if not 1 <= neig <= n:
        raise InputError(
            f"neig = {neig} components cannot be taken from {n} particles (allowed:"
            f" 1 to {n}); lower neig in the config."
        )
    # Slow to import, and most steps need no more of this module than `by_size`.
    import scipy.linalg
    import scipy.sparse.linalg

    if n > DENSE and neig < n / 10:
        # The vector to start from is fixed: the library would draw one.
        start = stream(0).standard_normal(n)
        which = "LM" if by_size else "LA"
        values, vectors = scipy.sparse.linalg.eigsh(matrix, neig, which=which, v0=start)
    else:
        values, vectors = scipy.linalg.eigh(
            matrix, subset_by_index=None if by_size else [n - neig, n - 1]
        )
    order = np.argsort(-np.abs(values) if by_size else -values, kind="stable")[:neig]
    values, vectors = values[order], vectors[:, order]
    largest = np.abs(vectors).argmax(axis=0)
    vectors = vectors * np.sign(vectors[largest, np.arange(neig)])
    coefficients = vectors * np.sqrt(np.abs(values))
    return Components(values, coefficients, float(np.trace(matrix)))


def reproduced(
    matrix: NDArray[np.floating], found: Components, seed: int
) -> NDArray[np.float64]:
    """Return how much of each component two halves of the particles have in common.

    Each half has components of its own, on which all particles are placed; those that
    match a component of all particles best are compared. Half the particles tell less
    than all: of a correlation c of halves, 2 c / (1 + c) counts, as for resolution.

    Parameters
    ----------
    matrix : ndarray, shape (n, n)
        Correlations, see `components`.
    found : Components
        Components of all particles.
    seed : int
        The user's ``rand_seed``; halves are drawn several times, and the mean counts.

    Returns
    -------
    ndarray, shape (n_components,)
        From 0 to 1; noise alone has about 0.2.
    """
    from scipy.optimize import linear_sum_assignment

    n, count = len(matrix), len(found.eigenvalues)
    correlation = np.zeros(count)
    for split in range(SPLITS):
        order = stream(seed, HALVES, split).permutation(n)
        matched = np.zeros((2, n, count))
        for half in range(2):
            part = np.sort(order[half::2])
            own = components(matrix[np.ix_(part, part)], min(count, len(part)))
            axes = own.coefficients / np.maximum(own.eigenvalues, 1e-300)
            placed = matrix[:, part] @ axes
            alike = np.abs(_standard(found.coefficients).T @ _standard(placed))
            one, other = linear_sum_assignment(-alike)
            matched[half][:, one] = placed[:, other]
        first, second = map(_standard, matched)
        correlation += np.abs((first * second).sum(axis=0)) / SPLITS
    shared: NDArray[np.float64] = 2 * correlation / (1 + correlation)
    return shared


def _standard(columns: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return columns of mean 0 and norm 1."""
    centred = columns - columns.mean(axis=0)
    norm = np.sqrt(np.square(centred).sum(axis=0))
    unit: NDArray[np.float64] = centred / np.where(norm > 0, norm, 1)
    return unit


def number_used(shared: NDArray[np.floating]) -> int:
    """Return how many components to use: all up to the last that is reproduced.

    Parameters
    ----------
    shared : ndarray, shape (n_components,)
        See `reproduced`; where none is, the one that is reproduced best is the last.
    """
    good = np.flatnonzero(shared >= REPRODUCED)
    return int(good[-1] if len(good) else np.argmax(shared)) + 1


def leading(
    matrix: NDArray[np.floating], neig: int | str, seed: int, by_pytom: bool
) -> tuple[int, NDArray[np.float64] | None, Components]:
    """Return the components of a correlation matrix, and how many of them to use.

    Parameters
    ----------
    matrix : ndarray, shape (n, n)
        See `components`.
    neig : int or str
        How many to use; ``auto``: those that are reproduced.
    seed : int
        The user's ``rand_seed``.
    by_pytom : bool
        By PyTom's rules, which reproduce nothing.

    Returns
    -------
    number : int
    shared : ndarray or None
        What `reproduced` says of the first ones, where the number follows from it.
    found : Components
        More than are used: they show where the spectrum flattens.
    """
    shared, n = None, len(matrix)
    if neig != "auto":
        used = int(neig)
    elif by_pytom:
        used = min(TOLD, n)
    else:
        tried = components(matrix, min(TRIED, max(1, n // 4)))
        shared = reproduced(matrix, tried, seed)
        used = number_used(shared)
    count = max(used, min(n, 4 * max(used, TOLD)))
    return used, shared, components(matrix, count, by_pytom)


def eigenvolumes(corrected: Corrected, found: Components) -> NDArray[np.complex64]:
    """Return the volumes that the components add to the consensus.

    Each is the least-squares volume behind the residuals of the particles, of which
    particle i holds as much as its entry of the eigenvector.

    Parameters
    ----------
    corrected : Corrected
        Of the particles of the matrix.
    found : Components
        Its components.

    Returns
    -------
    ndarray of complex64, shape (n_components, m)
        Band coefficients, for an entry that is one standard deviation.
    """
    size = np.sqrt(np.mean(found.coefficients**2, axis=0))
    share = (found.coefficients / np.maximum(size, 1e-300)).astype(np.float32)
    n, n_components = share.shape
    signal = np.zeros((n_components, corrected.w.shape[1]), np.complex128)
    weight = np.zeros(signal.shape)
    for part in blocks(n, BLOCK):
        w = corrected.w[part]
        signal += share[part].T @ (w * as_complex(corrected.y[part], corrected.band))
        weight += np.square(share[part]).T @ np.square(w)
    white = signal / np.maximum(weight, FLOOR * n)
    divisor = np.where(corrected.whitening > 0, corrected.whitening, np.inf)
    volumes: NDArray[np.complex64] = (white / divisor).astype(np.complex64)
    return volumes


def cluster(
    coefficients: NDArray[np.floating],
    nclass: int,
    seed: int,
    method: Clustering = "mixture",
    restarts: int = 20,
) -> NDArray[np.intp]:
    """Return classes of particles from their coefficients.

    Parameters
    ----------
    coefficients : ndarray, shape (n, neig)
        See `components`.
    nclass : int
        Number of classes.
    seed : int
        The user's ``rand_seed``.
    method : {"mixture", "kmeans"}
        Gaussians of one common covariance and free weights, which finds small classes,
        or k-means.
    restarts : int
        Independent starts, of which the best counts.

    Returns
    -------
    ndarray of int, shape (n,)
        Classes from 0, the largest first.

    Raises
    ------
    InputError
        If there are fewer particles than classes.
    """
    n = len(coefficients)
    if not 1 <= nclass <= n:
        raise InputError(
            f"nclass = {nclass} classes cannot be made of {n} particles (allowed: 1 to"
            f" {n}); lower nclass in the config."
        )
    best: tuple[float, NDArray[np.intp]] | None = None
    for start in range(restarts):
        generator = stream(seed, start)
        score, labels = kmeans(coefficients, nclass, generator)
        if method == "mixture":
            score, labels = mixture(coefficients, labels, nclass)
        if best is None or score > best[0]:
            best = score, labels
    assert best is not None
    return by_size(best[1])


def kmeans(
    coefficients: NDArray[np.floating], nclass: int, generator: np.random.Generator
) -> tuple[float, NDArray[np.intp]]:
    """Return minus the inertia, and the classes, of one k-means++ start."""
    from scipy.cluster.vq import ClusterError, kmeans2

    data = np.asarray(coefficients, np.float64)
    seeds = _seeds(data, nclass, generator)
    try:
        centres, labels = kmeans2(
            data, seeds, KMEANS_ITERATIONS, minit="matrix", missing="raise"
        )
    except ClusterError:  # a class emptied: what there was before counts
        centres = seeds
        labels = ((data[:, None] - seeds) ** 2).sum(axis=2).argmin(axis=1)
    inertia = ((data - centres[labels]) ** 2).sum()
    return -float(inertia), labels.astype(np.intp)


def _seeds(
    data: NDArray[np.float64], nclass: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Return centres drawn by k-means++, shape (nclass, d)."""
    centres = data[[generator.integers(len(data))]]
    while len(centres) < nclass:
        distance = ((data[:, None] - centres) ** 2).sum(axis=2).min(axis=1)
        total = distance.sum()
        share = distance / total if total > 0 else None
        drawn = generator.choice(len(data), p=share)
        centres = np.concatenate([centres, data[[drawn]]])
    return centres


def mixture(
    coefficients: NDArray[np.floating], labels: NDArray[np.intp], nclass: int
) -> tuple[float, NDArray[np.intp]]:
    """Return the log-likelihood, and the classes, of a mixture of Gaussians.

    The classes have weights and means of their own and one covariance in common:
    noise scatters particles of every class alike. Expectation maximisation from
    ``labels``.

    Parameters
    ----------
    coefficients : ndarray, shape (n, d)
        Data.
    labels : ndarray of int, shape (n,)
        Where to start.
    nclass : int
        Number of Gaussians.
    """
    data = np.asarray(coefficients, np.float64)
    n, d = data.shape
    share = np.eye(nclass)[labels]
    ridge = LEAST_VARIANCE * max(float(data.var(axis=0).mean()), 1e-300) * np.eye(d)
    last = -np.inf
    for _ in range(MIXTURE_ITERATIONS):
        weight = np.maximum(share.sum(axis=0), 1e-12)
        means = share.T @ data / weight[:, None]
        scatter = data.T @ data - (means.T * weight) @ means
        precision = np.linalg.inv(scatter / n + ridge)
        from_mean = data[:, None] - means
        squares = np.einsum("ncd,de,nce->nc", from_mean, precision, from_mean)
        logs = np.log(weight / n) - squares / 2
        top = logs.max(axis=1, keepdims=True)
        parts = np.exp(logs - top)
        total = parts.sum(axis=1, keepdims=True)
        share = parts / total
        _, determinant = np.linalg.slogdet(precision)
        likelihood = float((top + np.log(total)).sum() + n * determinant / 2)
        if likelihood - last < MIXTURE_TOLERANCE * abs(likelihood):
            break
        last = likelihood
    return likelihood, share.argmax(axis=1)
