"""Stable alignment and clustering (SAC).

Equal-size K-means with alignment: every image is compared with every class average,
classes of equal size are formed, each is aligned ab initio and, if wanted, pruned to
the images that repeated alignments place alike. Several independent runs advance side
by side, so that any number of ranks has work.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryokin.device import HOST, Device, on_host
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
    references_of_tile,
    search,
    shift_grid,
    some_references,
)
from cryokin.isac.assignment import MARGIN, assign_equal_size
from cryokin.isac.particles import BLOCK, Particles
from cryokin.isac.stability import stability
from cryokin.isac.symmetry import symmetry_of
from cryokin.isac.within_group import Refinement, refine
from cryokin.parallel import Team, blocks
from cryokin.partition.labels import labels_of, members_of

CUTOFF_STEP = 0.05  # rise of the low-pass between two assignments [cycles/pixel]
# References compared at a time: their shifted copies take 0.25 GB at the default size.
REFERENCES = 1024
ARRANGED = 32  # references put in order for the comparison at a time
# After a comparison with all references at one shift, so many, and at least that share
# of them, are compared at all. The best of all is among them for 99 images in 100.
FEWEST_LISTED = 8
LISTED = 0.1
KEPT = 20_000  # images whose spectra a rank keeps: 0.14 GB at the default size
LEAST_SQUARE = 0.25  # of what is left of a reference without an image of its own
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
        return cls(references, [], alignment, _untested(len(alignment.angle)), averaged)

    def labels(self, n: int) -> NDArray[np.intp]:
        """Return the class of each particle, -1 for those that are no members."""
        return labels_of(self.members, n)


def _untested(n: int) -> NDArray[np.float64]:
    """Return the errors of n images where there was no test: one number."""
    return np.broadcast_to(np.inf, n)


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
        tally: Counter[str] = Counter()
        for cutoff in cutoffs(options.FL, options.refinement.FH):
            runs = _reassign(team, particles, runs, cutoff, options, tally)
        # The last pass is always tested, whatever the interval.
        test = check and (passes - 1 - turn) % options.iter_reali == 0
        runs = _regroup(team, particles, runs, turn, test, options, draw)
        decided = (
            "; of {scores} scores of the device {again} were too close to decide and"
            " computed again, which moved {moved} images"
        )
        told = decided.format_map(tally) if tally else ""
        team.log(f"pass {turn + 1} of {passes}{told}")
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
    """Low-passed references of unit length, made of the run's when they are needed.

    ``share`` (radii, K) is the weight that the power of an image has in its score with
    a reference that it is part of: a mean of n images holds 1/n of each.
    """

    raw: Float32
    gain: Float32
    length: Float32
    band: Band
    share: Float32

    def references(self, some: slice | NDArray[np.intp]) -> Float32:
        """Return some of them, shape (2, orders, 2, radii, number)."""
        return self.raw[..., some] * self.gain / self.length[some]


def _prepared(
    particles: Particles, run: Run, cutoff: float, fall_off: float
) -> _Prepared:
    """Prepare the references of a run for the comparison with all images."""
    basis = particles.basis
    band = basis.band(band_end(cutoff, fall_off))
    gain = tangent_lowpass(basis.radii[: band.radii], cutoff, fall_off)[:, None]
    low = gain.astype(np.float32)
    raw = run.references[:, : band.orders, :, : band.radii]
    length = np.sqrt(power(raw, low))
    length = np.where(length > 0, length, 1).astype(np.float32)
    sizes = np.array([max(len(part), 1) for part in run.averaged])
    share = (gain / (length * sizes)).astype(np.float32)
    return _Prepared(raw, low, length, band, share)


def power(references: Float32, gain: Float32 | float = 1.0) -> Float32:
    """Return the power of each of some references, weighted by radius.

    Parameters
    ----------
    references : ndarray, shape (2, orders, 2, radii, K)
    gain : float or ndarray, shape (radii, 1)

    Returns
    -------
    ndarray, shape (K,)
    """
    return np.concatenate(
        [
            np.sum((references[..., chunk] * gain) ** 2, axis=(0, 1, 2, 3))
            for chunk in _chunks(references.shape[-1])
        ]
    )


def _chunks(count: int) -> list[slice]:
    """Return the references that are handled at a time."""
    return blocks(count, REFERENCES)


class _Own(NamedTuple):
    """How to compare images that are part of a reference with the mean of the others.

    A reference r of unit length holds the share s of an image a, at the pose with which
    it was averaged. The image's score with what the others make of it is then
    ``(r . a - s a . a) / |r - s a|``.

    Attributes
    ----------
    images, holders : ndarray of int, shape (m,)
        Images that are part of a reference, and of which one.
    product, taken, square : ndarray, shape (m,)
        ``r . a`` at that pose, ``s a . a``, and the square of ``|r - s a|``.
    """

    images: NDArray[np.intp]
    holders: NDArray[np.intp]
    product: Float32
    taken: Float32
    square: Float32

    @classmethod
    def of(
        cls,
        images: Float32,
        holder: NDArray[np.intp],
        alignment: Alignment,
        ready: _Prepared,
    ) -> _Own:
        """Prepare images at their own centres.

        Parameters
        ----------
        images : ndarray, shape (2, orders, 2, radii, n)
        holder : ndarray of int, shape (n,)
            The reference that an image is part of; -1: none.
        alignment : Alignment
            Shape (n,): how each was averaged.
        ready : _Prepared
        """
        held = np.flatnonzero(holder >= 0)
        own, references = images[..., held], ready.references(holder[held])
        share = ready.share[:, holder[held]]
        power = np.sum(np.square(own), axis=(0, 1, 2))
        products = products_at(references, own, take(alignment, held))
        along = np.sum(share * products, axis=0)
        square = 1 - 2 * along + np.sum(share**2 * power, axis=0)
        taken = np.sum(share * power, axis=0)
        return cls(held, holder[held], products.sum(axis=0), taken, square)

    def apply(self, scores: Float32, some: NDArray[Any] | slice = np.s_[:]) -> None:
        """Correct some of the scores (K, n) with the own reference, in place."""
        images, holders, product, taken, square = (part[some] for part in self)
        # Nothing is left of a reference that is one image; what is, is rounding.
        alone = square < 1e-6
        # The angles that were tried may have missed the very one of the average.
        found = np.maximum(scores[holders, images], product) - taken
        scores[holders, images] = np.where(
            alone, 0, found / np.sqrt(np.where(alone, 1, square))
        )


def _shifted_operand(
    particles: Particles, references: Float32, shifts: Float32
) -> Float32:
    """Return the operand of references (..., r) at all shifts, shifts fastest."""
    _, orders, _, radii, count = references.shape
    moved = np.moveaxis(particles.basis.shifted(references, shifts), 0, -1)
    operand = np.empty((2, orders, 4, count, len(shifts), 2 * radii), np.float32)
    # In parts, which are put in order in little memory; products have one shape.
    for first in range(0, count, ARRANGED):
        part = operand[:, :, :, first : first + ARRANGED]
        some = moved[..., first : first + ARRANGED, :].reshape(2, orders, 2, radii, -1)
        part[:] = correlation_operand(some).reshape(part.shape)
    return operand.reshape(2, orders, -1, 2 * radii)


def _reassign(
    team: Team,
    particles: Particles,
    runs: list[Run],
    cutoff: float,
    options: SacOptions,
    tally: Counter[str],
) -> list[Run]:
    """Compare all images with all references, form equal classes, average them."""
    n = len(particles)
    refinement = options.refinement
    shifts = shift_grid(refinement.xr, refinement.yr, refinement.ts)
    prepared = [_prepared(particles, run, cutoff, refinement.FF) for run in runs]
    blocks = particles.blocks(team)
    members = []
    # One run after the other, so that there are scores of one alone.
    for run, ready in zip(runs, prepared, strict=True):
        scores = Scores(particles, run, ready, shifts, blocks, team.device)
        members.append(members_of(_assigned(team, scores, n, tally), len(ready.length)))
        del scores
    items = [(r, k) for r, lists in enumerate(members) for k in range(len(lists))]

    def update(item: tuple[int, int]) -> tuple[Alignment, Float32]:
        r, k = item
        return _align_class(
            particles,
            members[r][k],
            centre(take(runs[r].alignment, members[r][k])).astype(np.float32),
            prepared[r].references(slice(k, k + 1)),
            prepared[r].band,
            shifts,
            refinement,
        )

    updated = team.each(update, items)
    renewed = []
    for run, lists in zip(runs, members, strict=True):
        alignment, references = identity(n), np.empty_like(run.references)
        for k, indices in enumerate(lists):
            part, references[..., k] = next(updated)
            put(alignment, indices, part)
        renewed.append(Run(references, lists, alignment, _untested(n), lists))
    return renewed


def _assigned(
    team: Team, scores: Scores, n: int, tally: Counter[str]
) -> NDArray[np.intp]:
    """Form classes of equal size; where that hangs on a device, the processor decides.

    Classes are formed from what the device says, what was in doubt is compared again,
    and so on until nothing is: then they are those of the processor alone. How often it
    mattered is added to the tally.
    """
    if team.device.is_host:
        return assign_equal_size(team, scores.values, n)[0]
    own = np.concatenate([np.arange(0), *scores.blocks])
    first = None
    while True:
        labels, doubts = assign_equal_size(team, scores.values, n, scores.sure)
        first = labels if first is None else first
        if not len(doubts):
            break
        classes, images = doubts.T
        mine = np.isin(images, own)
        scores.settle(classes[mine], images[mine] - (own[0] if len(own) else 0))
    tally.update(
        scores=len(scores.values) * n,
        again=sum(team.gather([scores.settled])),
        moved=int(np.count_nonzero(first != labels)),
    )
    return labels


class Scores:
    """How similar this rank's images are to the references of a run.

    All references are compared at the images' centres as they were found last; those
    that come out best are then compared at all shifts. On a device the scores are only
    nearly right, but which references come out best is not left to it.

    Attributes
    ----------
    values : ndarray of float32, shape (K, own images)
    sure : ndarray of bool, shape (K, own images)
        Which of them the processor has computed.
    settled : int
        How many were computed again because something hung on them.
    blocks : list of ndarray of int
        This rank's images.
    """

    def __init__(
        self,
        particles: Particles,
        run: Run,
        ready: _Prepared,
        shifts: Float32,
        blocks: list[NDArray[np.intp]],
        device: Device = HOST,
    ) -> None:
        self.blocks = blocks
        self._particles, self._ready, self._shifts = particles, ready, shifts
        self._centres = centre(run.alignment).astype(np.float32)
        count = len(ready.length)
        stops = np.cumsum([0, *(len(block) for block in blocks)])
        self._places = [slice(a, b) for a, b in pairwise(stops)]
        self._chunks = _chunks(count)
        self.values = np.empty((count, stops[-1]), np.float32)
        self.sure = np.broadcast_to(True, self.values.shape)
        if not device.is_host:
            self.sure = np.zeros(self.values.shape, bool)
        self.settled = 0
        self._own: list[_Own] = []
        # Spectra are needed twice, and kept where they are few.
        keep = stops[-1] <= KEPT
        self._kept = [self._spectra(b) for b in range(len(blocks))] if keep else None
        self._listed = [np.zeros((count, len(block)), bool) for block in blocks]
        few = number_listed(count)
        if few < count and len(shifts) > 1:
            self._compare(device, 1)
            self._list(few)
        else:
            for listed in self._listed:
                listed[:] = True
        self._compare(device, len(shifts), run)
        for own, place in zip(self._own, self._places, strict=True):
            own.apply(self.values[:, place])
            if not device.is_host:
                # Where little is left of a reference, rounding is larger.
                small = own.square < LEAST_SQUARE
                self.settle(own.holders[small], own.images[small] + place.start)

    def _spectra(self, b: int) -> Float32:
        block = self.blocks[b]
        parts = self._particles.parts(block)
        basis, band = self._particles.basis, self._ready.band
        return basis.spectra(parts, self._centres[block], band)

    def _images(self, b: int) -> Float32:
        return self._kept[b] if self._kept else self._spectra(b)

    def _operand(self, chunk: slice, n_shifts: int) -> Float32:
        references = self._ready.references(chunk)
        if n_shifts == 1:
            return correlation_operand(references)
        return _shifted_operand(self._particles, references, self._shifts)

    def _compare(self, device: Device, n_shifts: int, run: Run | None = None) -> None:
        """Compare all images with all references; at last, with those that are listed.

        ``run`` tells at last which images are part of a reference. With these they are
        compared, too, while their spectra are at hand.
        """
        holder = labels_of(run.averaged, len(self._particles)) if run else None
        for chunk in self._chunks:
            operand = device.put(self._operand(chunk, n_shifts))
            for b, place in enumerate(self._places):
                images, width = self._images(b), place.stop - place.start
                chosen = np.ones((chunk.stop - chunk.start, width), bool)
                if run:
                    chosen = self._listed[b][chunk]
                if device.is_host:
                    found = _exact(operand, images, n_shifts, chosen, chosen.all())
                else:
                    # Blocks of one shape; all of them, which takes no longer.
                    padded = np.pad(images, [*[(0, 0)] * 4, (0, BLOCK - width)])
                    scores = best_scores(operand, device.put(padded), n_shifts)
                    found = on_host(scores)[:, :width][chosen]
                    self.sure[chunk, place][chosen] = False
                self.values[chunk, place][chosen] = found
                if run and holder is not None and chunk is self._chunks[-1]:
                    block = self.blocks[b]
                    part = take(run.alignment, block)
                    self._own.append(_Own.of(images, holder[block], part, self._ready))
            del operand  # before there is the next

    def _list(self, few: int) -> None:
        """Choose the references that each image is compared with at all shifts."""
        chosen, waiting = list(self._listed), list(range(len(self.blocks)))
        while waiting:
            doubts = []
            for b in waiting:
                place = self._places[b]
                values = self.values[:, place]
                chosen[b] = shortlist(values, few)
                doubt = _in_doubt(values, chosen[b]) & ~self.sure[:, place]
                classes, images = np.nonzero(doubt)
                doubts.append((classes, images + place.start))
            waiting = [b for b, d in zip(waiting, doubts, strict=True) if len(d[0])]
            self.settle(*map(np.concatenate, zip(*doubts, strict=True)))
        self._listed = chosen

    def settle(self, classes: NDArray[np.intp], images: NDArray[np.intp]) -> None:
        """Compute some scores, given by class and own image, as the processor does.

        That is in the very tiles in which it computes all, or bits would differ.
        """
        self.settled += int(np.count_nonzero(~self.sure[classes, images]))
        starts = [place.start for place in self._places]
        of_block = np.searchsorted(starts, images, side="right") - 1
        of_chunk = classes // REFERENCES
        for c, chunk in enumerate(self._chunks):
            operands: dict[int, Float32] = {}
            for b in sorted(set(of_block[of_chunk == c].tolist())):
                some = (of_chunk == c) & (of_block == b)
                rows, place = classes[some], self._places[b]
                before = self.sure[:, place].copy()
                listed = self._listed[b][rows, images[some] - place.start]
                for at_all, n_shifts in ((False, 1), (True, len(self._shifts))):
                    lines = np.unique(rows[listed == at_all]) - chunk.start
                    if len(lines) and n_shifts not in operands:
                        operands[n_shifts] = self._operand(chunk, n_shifts)
                    if len(lines):
                        self._settle(operands[n_shifts], c, b, lines, n_shifts, at_all)
                if self._own:
                    new = self.sure[:, place] & ~before
                    own = self._own[b]
                    own.apply(self.values[:, place], new[own.holders, own.images])

    def _settle(
        self,
        operand: Float32,
        c: int,
        b: int,
        lines: NDArray[np.intp],
        n_shifts: int,
        at_all: bool,
    ) -> None:
        """Compute lines of a chunk and a block, listed ones or the others."""
        chunk, place = self._chunks[c], self._places[b]
        images, listed = self._images(b), self._listed[b][chunk]
        values, sure = self.values[chunk, place], self.sure[chunk, place]
        wide = listed.all() | (not at_all)
        height = references_of_tile(images.shape[-1], n_shifts) if wide else 1
        for tile in np.unique(lines // height).tolist():
            some = slice(tile * height, min((tile + 1) * height, len(listed)))
            part = some_references(operand, n_shifts, some)
            chosen = listed[some] == at_all
            found = np.zeros(chosen.shape, np.float32)
            found[chosen] = _exact(part, images, n_shifts, chosen, wide)
            fresh = chosen & ~sure[some]
            values[some][fresh] = found[fresh]
            sure[some][fresh] = True


def _exact(
    operand: Float32,
    images: Float32,
    n_shifts: int,
    chosen: NDArray[np.bool_],
    wide: np.bool_,
) -> Float32:
    """Return the scores of the chosen pairs (K, n), in a row."""
    if wide:
        return best_scores(operand, images, n_shifts)[chosen]
    return listed_scores(operand, images, n_shifts, chosen)


def number_listed(classes: int) -> int:
    """Return how many of some classes an image is compared with at all shifts."""
    return min(classes, max(FEWEST_LISTED, math.ceil(LISTED * classes)))


def shortlist(scores: Float32, few: int) -> NDArray[np.bool_]:
    """Tell for every image (K, n) which references it is most similar to."""
    listed = np.zeros(scores.shape, bool)
    best = np.argpartition(-scores, few - 1, axis=0)[:few]
    np.put_along_axis(listed, best, True, axis=0)
    return listed


def _in_doubt(scores: Float32, listed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which scores (K, n), if only nearly right, may change a shortlist."""
    worst = np.where(listed, scores, np.inf).min(axis=0)
    next_one = np.where(listed, -np.inf, scores).max(axis=0)
    close = np.where(listed, scores <= next_one + MARGIN, scores >= worst - MARGIN)
    # Which of equal ones is taken depends on all others.
    close |= worst == next_one
    doubts: NDArray[np.bool_] = close & (next_one >= worst - MARGIN)
    return doubts


def nearest(
    team: Team, particles: Particles, run: Run, options: SacOptions
) -> tuple[NDArray[np.intp], Float32]:
    """Return the class that each particle is most similar to, and how similar.

    Other than in the equal-size assignment, classes have any size. A particle that is
    part of an average is compared with the average of the others. How similar they are
    is wanted to the last digit, so that a device is of no use.

    Returns
    -------
    classes : ndarray of int, shape (n,)
    scores : ndarray, shape (n,)
    """
    refinement = options.refinement
    shifts = shift_grid(refinement.xr, refinement.yr, refinement.ts)
    ready = _prepared(particles, run, refinement.FH, refinement.FF)
    scores = Scores(particles, run, ready, shifts, particles.blocks(team)).values
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
    one = replace(
        run, references=run.references[..., [k]], averaged=run.averaged[k : k + 1]
    )
    ready = _prepared(particles, one, refinement.FH, refinement.FF)
    centres = centre(take(run.alignment, indices)).astype(np.float32)
    shifts = shift_grid(refinement.xr, refinement.yr, refinement.ts)
    moved = _aligned(
        particles, indices, centres, ready.references(np.s_[:]), ready.band, shifts
    )
    return _limited(moved, refinement)


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
    ) -> tuple[NDArray[np.intp], NDArray[np.float64], Alignment, Float32]:
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
        kept = _averaged(stable, len(members))
        mean = particles.average(members[kept], take(aligned, kept))
        return stable, errors, aligned, mean

    updated = team.each(update, items)
    renewed = []
    for run in runs:
        alignment, references = identity(len(particles)), np.empty_like(run.references)
        errors = np.full(len(particles), np.inf)
        members, averaged = [], []
        for k, indices in enumerate(run.members):
            stable, found, part, references[..., k] = next(updated)
            put(alignment, indices, part)
            errors[indices] = found
            members.append(indices[stable])
            averaged.append(indices[_averaged(stable, len(indices))])
        renewed.append(Run(references, members, alignment, errors, averaged))
    return renewed


def _averaged(stable: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """Return which images of a class of a size make its average."""
    return stable if len(stable) >= FEWEST_FOR_AVERAGE else np.arange(size)


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
