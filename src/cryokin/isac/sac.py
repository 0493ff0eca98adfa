"""Stable alignment and clustering (SAC).

Equal-size K-means with alignment: every image is compared with every class average,
classes of equal size are formed, each is aligned ab initio and, if wanted, pruned to
the images that repeated alignments place alike. Several independent runs advance side
by side, so that any number of ranks has work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cryokin.image.filters import band_end, tangent_lowpass
from cryokin.image.geometry import (
    Alignment,
    centre,
    flip,
    from_centre,
    identity,
    take,
)
from cryokin.image.polar import Band, Float32
from cryokin.isac.alignment import (
    best_scores,
    best_shift,
    correlation_operand,
    listed_scores,
    products_at,
    search,
    shift_grid,
)
from cryokin.isac.assignment import assign_equal_size
from cryokin.isac.particles import Particles
from cryokin.isac.stability import stability
from cryokin.isac.symmetry import symmetry_of
from cryokin.isac.within_group import Refinement, refine
from cryokin.parallel import Team
from cryokin.partition.labels import labels_of, members_of

CUTOFF_STEP = 0.05  # rise of the low-pass between two assignments [cycles/pixel]
# References compared at a time: their shifted copies take 0.25 GB at the default size.
REFERENCES = 1024
# After a comparison with all references at one shift, so many, and at least that share
# of them, are compared at all. The best of all is among them for 99 images in 100.
FEWEST_LISTED = 8
LISTED = 0.1
KEPT = 20_000  # images whose spectra a rank keeps: 0.14 GB at the default size
FEWEST_FOR_AVERAGE = 5  # fewer stable images do not make a reference on their own


@dataclass(frozen=True)
class SacOptions:
    """Options of SAC, under the manual's names.

    Attributes
    ----------
    refinement : Refinement
        Options of the within-group alignment; its ``xr, yr, ts, FH, FF`` hold here too.
    FL : float
        Low-pass cut-off of the first class averages [cycles/pixel].
    stab_ali : int
        Alignments of the stability test.
    iter_reali : int
        A stability test follows every so many passes.
    thld_err : float
        Pixel error below which an image is stable [pixel].
    """

    refinement: Refinement
    FL: float
    stab_ali: int
    iter_reali: int
    thld_err: float


@dataclass(frozen=True)
class Run:
    """State of one independent run over n particles and K classes.

    Attributes
    ----------
    references : ndarray, shape (2, orders, 2, radii, K)
    members : list of K ndarrays of int
        Indices of the class members, ascending: all images of the class or, after a
        stability test, the stable ones.
    alignment : Alignment
        Of all particles, shape (n,), each to its own class.
    errors : ndarray, shape (n,)
        Pixel error at the last stability test [pixel]; inf where there was none.
    averaged : list of K ndarrays of int
        Indices of the particles whose mean each reference is; empty if unknown.
    """

    references: Float32
    members: list[NDArray[np.intp]]
    alignment: Alignment
    errors: NDArray[np.float64]
    averaged: list[NDArray[np.intp]]

    @classmethod
    def start(
        cls,
        references: Float32,
        alignment: Alignment,
        averaged: list[NDArray[np.intp]],
    ) -> Run:
        """Return a run that has references but no members yet."""
        return cls(
            references, [], alignment, np.full(len(alignment.angle), np.inf), averaged
        )

    def labels(self, n: int) -> NDArray[np.intp]:
        """Return the class of each particle, -1 for those that are no members."""
        return labels_of(self.members, n)


def put(target: Alignment, indices: NDArray[np.intp], part: Alignment) -> None:
    """Store alignments of some particles in place."""
    for whole, piece in zip(target, part, strict=True):
        whole[indices] = piece


def sac(
    team: Team,
    particles: Particles,
    runs: Sequence[Run],
    passes: int,
    check: bool,
    options: SacOptions,
    draw: Callable[..., np.random.Generator],
) -> list[Run]:
    """Run SAC several times, each from a state of its own.

    Parameters
    ----------
    team : Team
    particles : Particles
    runs : sequence of Run
        What each run starts from: class averages, which particles these are made of,
        and where the particles' centres have been found so far.
    passes : int
        Number of passes: assignments with a rising low-pass, then one within-group
        alignment.
    check : bool
        Whether to test stability.
    options : SacOptions
    draw : callable
        ``draw(run, pass, class)`` returns the random stream of that piece of work.

    Returns
    -------
    list of Run
    """
    runs = list(runs)
    for turn in range(passes):
        for cutoff in cutoffs(options.FL, options.refinement.FH):
            runs = _reassign(team, particles, runs, cutoff, options)
        # The last pass is always tested, whatever the interval.
        test = check and (passes - 1 - turn) % options.iter_reali == 0
        runs = _regroup(team, particles, runs, turn, test, options, draw)
        team.log(f"pass {turn + 1} of {passes}")
    return runs


def cutoffs(lowest: float, highest: float) -> list[float]:
    """Return the low-passes of the assignments of one pass, the highest first."""
    found, rising = [highest], lowest
    while rising + CUTOFF_STEP < highest - 1e-9:
        found.append(rising)
        rising += CUTOFF_STEP
    return found


@dataclass(frozen=True)
class _Prepared:
    """Low-passed references of unit length, and how they came about.

    ``share`` (radii, K) is the weight that the power of an image has in its score with
    a reference that it is part of: a mean of n images holds 1/n of each.
    """

    references: Float32
    band: Band
    share: Float32


def _prepared(
    particles: Particles, run: Run, cutoff: float, fall_off: float
) -> _Prepared:
    """Prepare the references of a run for the comparison with all images."""
    basis = particles.basis
    band = basis.band(band_end(cutoff, fall_off))
    gain = tangent_lowpass(basis.radii[: band.radii], cutoff, fall_off)[:, None]
    kept = run.references[:, : band.orders, :, : band.radii] * gain.astype(np.float32)
    length = np.sqrt(np.sum(kept**2, axis=(0, 1, 2, 3)))
    length = np.where(length > 0, length, 1).astype(np.float32)
    sizes = np.array([max(len(part), 1) for part in run.averaged])
    return _Prepared(kept / length, band, (gain / (length * sizes)).astype(np.float32))


def _without_self(
    scores: Float32,
    images: Float32,
    holder: NDArray[np.intp],
    alignment: Alignment,
    ready: _Prepared,
) -> None:
    """Compare images that are part of a reference with the mean of the others.

    A reference r of unit length holds the share s of an image a, at the pose with which
    it was averaged. The image's score with what the others make of it is then
    ``(r . a - s a . a) / |r - s a|``.

    Parameters
    ----------
    scores : ndarray, shape (K, n)
        Changed in place.
    images : ndarray, shape (2, orders, 2, radii, n)
        At their own centres.
    holder : ndarray of int, shape (n,)
        The reference that an image is part of; -1: none.
    alignment : Alignment
        Shape (n,): how each was averaged.
    ready : _Prepared
    """
    held = np.flatnonzero(holder >= 0)
    if not len(held):
        return
    own, references = images[..., held], ready.references[..., holder[held]]
    share = ready.share[:, holder[held]]
    power = np.sum(np.square(own), axis=(0, 1, 2))
    products = products_at(references, own, take(alignment, held))
    along = np.sum(share * products, axis=0)
    length = 1 - 2 * along + np.sum(share**2 * power, axis=0)
    # Nothing is left of a reference that is one image; what is, is rounding.
    alone = length < 1e-6
    # The angles that were tried may have missed the very one of the average.
    found = np.maximum(scores[holder[held], held], products.sum(axis=0))
    found -= np.sum(share * power, axis=0)
    scores[holder[held], held] = np.where(
        alone, 0, found / np.sqrt(np.where(alone, 1, length))
    )


def _shifted_operand(
    particles: Particles, references: Float32, shifts: Float32
) -> Float32:
    """Return the operand of references (..., r) at all shifts, shifts fastest."""
    moved = np.moveaxis(particles.basis.shifted(references, shifts), 0, -1)
    return correlation_operand(moved.reshape(*moved.shape[:4], -1))


def _reassign(
    team: Team,
    particles: Particles,
    runs: list[Run],
    cutoff: float,
    options: SacOptions,
) -> list[Run]:
    """Compare all images with all references, form equal classes, average them."""
    n = len(particles)
    refinement = options.refinement
    shifts = shift_grid(refinement.xr, refinement.yr, refinement.ts)
    prepared = [_prepared(particles, run, cutoff, refinement.FF) for run in runs]
    blocks = particles.blocks(team)
    scores = [
        _scores(particles, run, ready, shifts, blocks)
        for run, ready in zip(runs, prepared, strict=True)
    ]
    labels = assign_equal_size(team, scores, n)
    members = [
        members_of(label, len(score))
        for label, score in zip(labels, scores, strict=True)
    ]
    items = [(r, k) for r, lists in enumerate(members) for k in range(len(lists))]

    def update(item: tuple[int, int]) -> tuple[Alignment, Float32]:
        r, k = item
        return _align_class(
            particles,
            members[r][k],
            centre(take(runs[r].alignment, members[r][k])).astype(np.float32),
            prepared[r].references[..., k : k + 1],
            prepared[r].band,
            shifts,
            refinement,
        )

    updated = iter(team.map(update, items))
    renewed = []
    for lists in members:
        alignment = identity(n)
        averages = []
        for indices in lists:
            part, mean = next(updated)
            put(alignment, indices, part)
            averages.append(mean)
        references = np.stack(averages, axis=-1)
        renewed.append(Run(references, lists, alignment, np.full(n, np.inf), lists))
    return renewed


def _scores(
    particles: Particles,
    run: Run,
    ready: _Prepared,
    shifts: Float32,
    blocks: list[NDArray[np.intp]],
) -> Float32:
    """Compare this rank's blocks of images with the references, (K, own images).

    All references are compared at the images' centres as they were found last; those
    that come out best are then compared at all shifts.
    """
    count = ready.references.shape[-1]
    centres = centre(run.alignment).astype(np.float32)
    holder = labels_of(run.averaged, len(particles))
    stops = np.cumsum([0, *(len(block) for block in blocks)])
    places = [slice(a, b) for a, b in pairwise(stops)]
    few = number_listed(count)
    found = np.empty((count, stops[-1]), np.float32)

    def spectra(block: NDArray[np.intp]) -> Float32:
        parts = particles.parts(block)
        return particles.basis.spectra(parts, centres[block], ready.band)

    # Spectra are needed twice, and kept where they are few.
    keep = [spectra(block) for block in blocks] if stops[-1] <= KEPT else None
    operands = [
        slice(first, first + REFERENCES) for first in range(0, count, REFERENCES)
    ]
    if few < count and len(shifts) > 1:
        for some in operands:
            operand = correlation_operand(ready.references[..., some])
            for b, place in enumerate(places):
                images = keep[b] if keep else spectra(blocks[b])
                found[some, place] = best_scores(operand, images, 1)
        listed = [shortlist(found[:, place], few) for place in places]
    else:
        listed = [np.ones((count, len(block)), bool) for block in blocks]
    for some in operands:
        operand = _shifted_operand(particles, ready.references[..., some], shifts)
        for b, place in enumerate(places):
            images = keep[b] if keep else spectra(blocks[b])
            chosen = listed[b][some]
            part = found[some, place]
            if chosen.all():
                part[:] = best_scores(operand, images, len(shifts))
            else:
                part[chosen] = listed_scores(operand, images, len(shifts), chosen)
            if some is operands[-1]:
                alignment = take(run.alignment, blocks[b])
                own = found[:, place]
                _without_self(own, images, holder[blocks[b]], alignment, ready)
    return found


def number_listed(classes: int) -> int:
    """Return how many of some classes an image is compared with at all shifts."""
    return min(classes, max(FEWEST_LISTED, math.ceil(LISTED * classes)))


def shortlist(scores: Float32, few: int) -> NDArray[np.bool_]:
    """Tell for every image (K, n) which references it is most similar to."""
    listed = np.zeros(scores.shape, bool)
    best = np.argpartition(-scores, few - 1, axis=0)[:few]
    np.put_along_axis(listed, best, True, axis=0)
    return listed


def nearest(
    team: Team, particles: Particles, run: Run, options: SacOptions
) -> tuple[NDArray[np.intp], Float32]:
    """Return the class that each particle is most similar to, and how similar.

    Other than in the equal-size assignment, classes have any size. A particle that is
    part of an average is compared with the average of the others.

    Returns
    -------
    classes : ndarray of int, shape (n,)
    scores : ndarray, shape (n,)
    """
    refinement = options.refinement
    shifts = shift_grid(refinement.xr, refinement.yr, refinement.ts)
    ready = _prepared(particles, run, refinement.FH, refinement.FF)
    scores = _scores(particles, run, ready, shifts, particles.blocks(team))
    found = team.gather([(scores.argmax(axis=0), scores.max(axis=0))])
    classes, best = (np.concatenate(part) for part in zip(*found, strict=True))
    return classes, best


def _align_class(
    particles: Particles,
    members: NDArray[np.intp],
    centres: Float32,
    reference: Float32,
    band: Band,
    shifts: Float32,
    refinement: Refinement,
) -> tuple[Alignment, Float32]:
    """Align the images of one class to its reference; return their average too."""
    moved = _aligned(particles, members, centres, reference, band, shifts)
    # A class whose members drift to one side is brought back as a whole.
    drift = flip(moved.mirror, moved.shift).mean(axis=0)
    moved = moved._replace(shift=moved.shift - flip(moved.mirror, drift[None]))
    aligned = _limited(moved, refinement)
    return aligned, particles.average(members, aligned)


def place(
    particles: Particles,
    run: Run,
    k: int,
    indices: NDArray[np.intp],
    options: SacOptions,
) -> Alignment:
    """Align particles to the average of class ``k`` of a run, which stays as it is.

    Returns
    -------
    Alignment
        Shape (number of indices,), in the frame of the class.
    """
    refinement = options.refinement
    ready = _prepared(particles, run, refinement.FH, refinement.FF)
    centres = centre(take(run.alignment, indices)).astype(np.float32)
    shifts = shift_grid(refinement.xr, refinement.yr, refinement.ts)
    reference = ready.references[..., k : k + 1]
    return _limited(
        _aligned(particles, indices, centres, reference, ready.band, shifts), refinement
    )


def _aligned(
    particles: Particles,
    indices: NDArray[np.intp],
    centres: Float32,
    reference: Float32,
    band: Band,
    shifts: Float32,
) -> Alignment:
    """Align images to a reference, each around a centre of its own."""
    parts = particles.parts(indices)
    images = particles.basis.spectra(parts, centres[None], band)
    operand = _shifted_operand(particles, reference, shifts)[None]
    angle, mirror, _ = search(operand, images, len(shifts))
    offset = best_shift(operand, images, angle, mirror, shifts)
    start = from_centre(angle[0], centres, mirror[0])
    return Alignment(angle[0], start.shift + flip(mirror[0], offset[0]), mirror[0])


def _limited(alignment: Alignment, refinement: Refinement) -> Alignment:
    """Return an alignment whose centres lie within the range of the search."""
    limit = refinement.max_shift
    limited = np.clip(centre(alignment), -limit, limit)
    return from_centre(alignment.angle, limited, alignment.mirror)


def _regroup(
    team: Team,
    particles: Particles,
    runs: list[Run],
    turn: int,
    test: bool,
    options: SacOptions,
    draw: Callable[..., np.random.Generator],
) -> list[Run]:
    """Align every class ab initio and, in a test, keep the stable images alone."""
    items = [(r, k) for r, run in enumerate(runs) for k in range(len(run.members))]

    def update(
        item: tuple[int, int],
    ) -> tuple[
        NDArray[np.intp], NDArray[np.float64], Alignment, Float32, NDArray[np.intp]
    ]:
        r, k = item
        members = runs[r].members[k]
        aligned, stable, errors = align_group(
            particles,
            members,
            centre(take(runs[r].alignment, members)),
            options.stab_ali if test else 1,
            options,
            draw(r, turn, k),
        )
        kept = stable if len(stable) >= FEWEST_FOR_AVERAGE else np.arange(len(members))
        mean = particles.average(members[kept], take(aligned, kept))
        return stable, errors, aligned, mean, members[kept]

    updated = iter(team.map(update, items))
    renewed = []
    for run in runs:
        alignment = identity(len(particles))
        errors = np.full(len(particles), np.inf)
        members, averages, averaged = [], [], []
        for indices in run.members:
            stable, found, part, mean, kept = next(updated)
            put(alignment, indices, part)
            errors[indices] = found
            members.append(indices[stable])
            averages.append(mean)
            averaged.append(kept)
        references = np.stack(averages, axis=-1)
        renewed.append(Run(references, members, alignment, errors, averaged))
    return renewed


def align_group(
    particles: Particles,
    members: NDArray[np.intp],
    centres: NDArray[np.floating],
    repeats: int,
    options: SacOptions,
    rng: np.random.Generator,
) -> tuple[Alignment, NDArray[np.intp], NDArray[np.float64]]:
    """Align one group ab initio ``repeats`` times and test its stability.

    Parameters
    ----------
    particles : Particles
    members : ndarray of int, shape (k,)
    centres : ndarray, shape (k, 2)
        Where the particles' centres are searched around [pixel].
    repeats : int
        1: no test.
    options : SacOptions
    rng : numpy.random.Generator
        Draws the angles and hands that the repeats start from.

    Returns
    -------
    alignment : Alignment
        Shape (k,): mean over the repeats, in the frame of the last.
    stable : ndarray of int
        Indices into ``members`` of the stable images; all without a test.
    errors : ndarray, shape (k,)
        Pixel errors; inf without a test.
    """
    k = len(members)
    start = np.broadcast_to(centres.astype(np.float32), (repeats, k, 2))
    found = refine(
        particles.basis,
        particles.parts(members),
        start,
        rng.uniform(0, 2 * np.pi, (repeats, k)).astype(np.float32),
        rng.random((repeats, k)) < 0.5,
        options.refinement,
    )
    if repeats == 1:
        return take(found, 0), np.arange(k), np.full(k, np.inf)
    last = take(found, -1)
    symmetry = symmetry_of(particles.average(members, last), k)
    outcome = stability(found, particles.basis.radius, options.thld_err, symmetry)
    return outcome.mean, outcome.stable, outcome.error
