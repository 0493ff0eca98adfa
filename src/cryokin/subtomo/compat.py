"""MCO-EXMX exactly as PyTom does it, for taking up old projects.

Averages, scores, ties and the order of the output follow PyTom, its particularities
included: every score contains the particle's own share of the average, the score is
the highest correlation over all shifts, ties go to the later class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import starmap

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy import ndimage

from cryokin.io.pytom_xml import UNACCOUNTED, Particle, split_by_class
from cryokin.parallel import Team
from cryokin.volume.averages import FLOOR
from cryokin.volume.filters import bandpass_weight, filtered, frequencies, lowpass
from cryokin.volume.resample import align, place, pytom_kernel
from cryokin.volume.wedge import Wedge

LEAST_VARIANCE = 1e-9  # below it the fast local correlation takes the variance as 1
PEAK_CUBE = 8  # edge of the cube in which the peak is refined [voxel]
PEAK_STEPS = 10  # refined samples per voxel
AVERAGE_BLOCK = 16  # members per partial sum


@dataclass(frozen=True)
class Setting:
    """What does not change during a run.

    Attributes
    ----------
    read : callable
        Returns the (binned) subtomogram of a particle by its id.
    rotations : ndarray, shape (n, 3, 3)
        R of every particle.
    shifts : ndarray, shape (n, 3)
        (x, y, z) [voxel of the binned box].
    wedges : sequence of Wedge
        Of every particle.
    mask : ndarray, shape (n_z, n_y, n_x)
        Multiplied to the references.
    low, high, smooth : float
        Band [Fourier pixel]; ``high`` below 1: both are fractions of the box.
    symmetry : ndarray, shape (order, 3, 3)
        Rotations that leave the averages as they are.
    """

    read: Callable[[int], NDArray[np.floating]]
    rotations: NDArray[np.float64]
    shifts: NDArray[np.float64]
    wedges: Sequence[Wedge]
    mask: NDArray[np.floating]
    low: float
    high: float
    smooth: float = 0.0
    symmetry: NDArray[np.float64] = field(default_factory=lambda: np.eye(3)[None])

    @property
    def box(self) -> tuple[int, int, int]:
        """Shape of the volumes."""
        n_z, n_y, n_x = self.mask.shape
        return (n_z, n_y, n_x)


def class_average(
    setting: Setting, members: Sequence[int], team: Team | None = None
) -> NDArray[np.float32]:
    """Return PyTom's average of some particles.

    Particles are not normalised; the wedges are turned by trilinear interpolation.
    """
    box = setting.box
    centred = np.stack(
        np.meshgrid(*(np.arange(n) - n // 2 for n in box), indexing="ij")[::-1], -1
    ).astype(np.float64)
    centre = np.array(box) // 2

    def block(start: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        total, weight = np.zeros(box), np.zeros(box)
        for i in members[start : start + AVERAGE_BLOCK]:
            wedge = setting.wedges[i]
            seen = wedge.weight(centred, box)
            own = 1.0 if wedge.is_ctf else _reduced(seen)
            volume = filtered(setting.read(i), np.broadcast_to(own, _half(box)))
            for rotation in setting.rotations[i] @ setting.symmetry:
                total += align(volume, rotation, setting.shifts[i], "pytom")
                on_zyx = rotation[::-1, ::-1]
                weight += ndimage.affine_transform(
                    seen**2 if wedge.is_ctf else seen,
                    on_zyx,
                    centre - on_zyx @ centre,
                    order=1,
                    mode="constant",
                )
        return total, weight

    parts = (team or Team()).map(block, range(0, len(members), AVERAGE_BLOCK))
    total = sum((part[0] for part in parts[1:]), parts[0][0])
    weight = sum((part[1] for part in parts[1:]), parts[0][1])
    n = len(members) * len(setting.symmetry)
    inverse = 1 / np.maximum(_reduced(weight), FLOOR * n)
    inverse *= _pytom_cutoff(box, min(box) // 2 - 2)
    return filtered(lowpass(total, min(box) // 2 - 1), inverse).astype(np.float32)


def _half(box: tuple[int, int, int]) -> tuple[int, int, int]:
    return (*box[:2], box[2] // 2 + 1)


def _reduced(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rfftn half of a weight with its zero frequency in the centre."""
    whole = np.fft.ifftshift(centred)
    half: NDArray[np.float64] = whole[..., : centred.shape[-1] // 2 + 1]
    return half


def _pytom_cutoff(box: tuple[int, int, int], radius: float) -> NDArray[np.float64]:
    """Return the weight of |k| < radius as PyTom applies it to averages.

    It works on half a volume with kz >= 0, where negative kx and ky come out one too
    close to 0; in the plane kz = 0 a frequency and its partner may thus disagree.
    """
    k = frequencies(box)
    k = np.where(k[..., 2:] < 0, -k, k)

    def inside(k: NDArray[np.float64]) -> NDArray[np.float64]:
        counted = k.copy()
        counted[..., :2] += counted[..., :2] < 0
        kept: NDArray[np.bool_] = np.linalg.norm(counted, axis=-1) < radius
        return kept.astype(np.float64)

    partner = np.where(k[..., 2:] == 0, -k, k)
    weight: NDArray[np.float64] = (inside(k) + inside(partner)) / 2
    return weight


def score(setting: Setting, particle: int, average: NDArray[np.floating]) -> float:
    """Return PyTom's FLCF score of a particle against a class average.

    The average is brought into the particle's frame; the result is the highest fast
    local correlation over all shifts, refined to a tenth of a voxel.
    """
    box = setting.box
    wedge = setting.wedges[particle]
    k = frequencies(box)
    weight = wedge.weight(k, box)
    scale = min(box) if setting.high < 1 else 1
    passed = bandpass_weight(
        np.linalg.norm(k, axis=-1),
        setting.low * scale,
        setting.high * scale,
        setting.smooth,
    )
    volume = filtered(setting.read(particle), weight * passed)
    turned = place(
        average, setting.rotations[particle], setting.shifts[particle], "pytom"
    )
    reference = filtered(filtered(turned, weight) * setting.mask, passed)
    return peak(flcf(volume, reference, setting.mask))


def flcf(
    volume: NDArray[np.floating],
    reference: NDArray[np.floating],
    mask: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Return the fast local correlation of a volume with a masked reference.

    Parameters
    ----------
    volume, reference, mask : ndarray, shape (n_z, n_y, n_x)
        The mask weights the reference's voxels, and moves with it.

    Returns
    -------
    ndarray, shape (n_z, n_y, n_x)
        Correlation for every cyclic shift; no shift at n // 2.
    """
    total = mask.sum(dtype=np.float64)
    mean = np.vdot(mask, reference) / total
    variance = np.vdot(mask, np.asarray(reference, np.float64) ** 2) / total - mean**2
    template = mask * (reference - mean) / np.sqrt(max(variance, LEAST_VARIANCE**2))
    spectrum, squares = scipy.fft.rfftn(volume), scipy.fft.rfftn(volume**2)
    moving = scipy.fft.rfftn(np.asarray(mask, np.float64)).conj()

    def correlate(
        of: NDArray[np.complexfloating], along: NDArray[np.complexfloating]
    ) -> NDArray[np.float64]:
        product: NDArray[np.float64] = scipy.fft.irfftn(of * along, volume.shape)
        return product

    local = (
        correlate(squares, moving) / total - (correlate(spectrum, moving) / total) ** 2
    )
    local = np.where(local < LEAST_VARIANCE, 1.0, local)
    product = correlate(spectrum, scipy.fft.rfftn(template).conj())
    result: NDArray[np.float64] = np.fft.fftshift(product / (total * np.sqrt(local)))
    return result


def peak(correlation: NDArray[np.float64]) -> float:
    """Return the highest correlation, refined around the highest sample."""
    top = np.array(np.unravel_index(correlation.argmax(), correlation.shape))
    half = PEAK_CUBE // 2
    first = top - half
    highest = float(correlation[tuple(top)])
    if (first < 0).any() or (first + PEAK_CUBE > correlation.shape).any():
        return highest
    z, y, x = (slice(start, start + PEAK_CUBE) for start in first)
    # PyTom's kernel needs two samples on either side.
    fine = np.arange(2 * PEAK_STEPS, (PEAK_CUBE - 3) * PEAK_STEPS + 1) / PEAK_STEPS
    kernel = pytom_kernel(PEAK_CUBE, fine)
    refined = np.einsum(
        "az,by,cx,zyx->abc", *(kernel,) * 3, correlation[z, y, x], optimize=True
    )
    return max(highest, float(refined.max()))


@dataclass(frozen=True)
class Iteration:
    """One iteration of PyTom's EXMX.

    Attributes
    ----------
    averages : list of ndarray
        Class averages, in the order of their labels as text.
    before : list of Particle
        The particles the averages were made of, in the order of the lists.
    order : list of int
        Their ids.
    scores : ndarray, shape (n, n_classes)
        In that order; PyTom's AlignmentLists are sorted by class, `split_by_class`.
    particles : list of Particle
        The same, with new classes and scores.
    changed : float
        Fraction of the particles that changed class.
    """

    averages: list[NDArray[np.float32]]
    before: list[Particle]
    order: list[int]
    scores: NDArray[np.float64]
    particles: list[Particle]
    changed: float


def initial_lists(
    particles: Sequence[Particle], nclass: int, generator: np.random.Generator
) -> tuple[list[Particle], list[int]]:
    """Return the particles as PyTom starts with them, and their ids.

    A list of one class, or of none, is spread over ``nclass`` classes at random; one
    with more classes is taken as it is. Sorted by class, as text. Where some particles
    have a class, those without are in no list.
    """
    whole = [p.classified(None) if p.label == UNACCOUNTED else p for p in particles]
    members = split_by_class(whole)
    if len(members) == 0 or (
        len(members) == 1 and len(next(iter(members.values()))) == len(whole)
    ):
        drawn = (generator.random(len(whole)) * nclass).astype(int)
        whole = [p.classified(str(c)) for p, c in zip(whole, drawn, strict=True)]
        members = split_by_class(whole)
    order = [i for ids in members.values() for i in ids]
    return [whole[i] for i in order], order


def exmx_iteration(
    setting: Setting,
    particles: Sequence[Particle],
    order: Sequence[int],
    team: Team | None = None,
) -> Iteration:
    """Run one iteration: averages, scores of all particles, new classes.

    Parameters
    ----------
    setting : Setting
        Of the run.
    particles : sequence of Particle
        With their classes.
    order : sequence of int
        Their ids in ``setting``.
    team : Team, optional
        Shares the members of an average and the particles to score.
    """
    team = team or Team()
    lists = split_by_class(particles)
    averages = [
        class_average(setting, [order[i] for i in members], team)
        for members in lists.values()
    ]
    scores = np.array(
        team.map(
            lambda i: [score(setting, i, average) for average in averages], list(order)
        )
    )
    labels = last_maximum(scores)
    new = list(
        starmap(
            lambda p, c, s: p.classified(str(c), float(s)),
            zip(particles, labels, scores.max(axis=1), strict=True),
        )
    )
    changed = class_difference([p.label for p in particles], [p.label for p in new])
    return Iteration(averages, list(particles), list(order), scores, new, changed)


def last_maximum(scores: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return the class of the highest score of each row; ties go to the last."""
    from_the_end: NDArray[np.intp] = scores[:, ::-1].argmax(axis=1)
    last: NDArray[np.intp] = scores.shape[1] - 1 - from_the_end
    return last


def class_difference(old: Sequence[str | None], new: Sequence[str | None]) -> float:
    """Return the fraction of particles that left their class, as PyTom counts.

    Old classes, in the order of their labels as text, take the new class that holds
    most of their members and is not taken yet; members elsewhere have left.
    """
    stayed = 0
    free = sorted({str(label) for label in new})
    for label in sorted({str(label) for label in old}):
        members = [str(b) for a, b in zip(old, new, strict=True) if str(a) == label]
        counts = [members.count(candidate) for candidate in free]
        if counts and max(counts) > 0:
            best = counts.index(max(counts))
            stayed += counts[best]
            free.pop(best)
    return (len(old) - stayed) / len(old)
