"""Phase one of a generation: candidate classes, found in rounds.

Each round classifies the particles that no candidate of the generation holds yet, in
several runs that start from random particles of their own, and keeps as candidates what
two runs agree on. Each run goes on with what others confirm of its own classes, so that
the runs stay independent of each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cryokin.image.geometry import identity, take
from cryokin.isac.classes import Class
from cryokin.isac.options import IsacOptions
from cryokin.isac.particles import Particles
from cryokin.isac.sac import Run, put, sac
from cryokin.isac.views import agreement
from cryokin.parallel import Team
from cryokin.partition.matching import match, unique
from cryokin.random import stream

FEWEST_CLASSES = 4  # fewer classes are not worth a classification
# A round that puts a smaller share of its particles into candidates is the last, and so
# is a generation that accounts for less: what is left over costs as much to classify,
# and brings ever less.
LEAST_GAIN = 0.1
LEAST_ACCOUNTED = 0.05


def n_classes(n_particles: int, img_per_grp: int) -> int:
    """Return the number of classes, or 0 if there are too few particles for ISAC."""
    count = n_particles // img_per_grp
    return count if count >= FEWEST_CLASSES else 0


def random_start(particles: Particles, count: int, rng: np.random.Generator) -> Run:
    """Return a run that starts from ``count`` distinct particles as references."""
    chosen = np.sort(rng.choice(len(particles), count, replace=False))
    averaged = [chosen[k : k + 1] for k in range(count)]
    return Run.start(particles.images(chosen), identity(len(particles)), averaged)


def run_class(
    particles: Particles,
    run: Run,
    members: NDArray[np.intp],
    agreement: NDArray[np.float64],
    number: int = -1,
) -> Class:
    """Return a class of particles (by index) as one run, of a number, aligns them."""
    return Class(
        particles.ids[members],
        take(run.alignment, members),
        run.errors[members],
        agreement,
        number,
    )


def agreed_classes(
    particles: Particles,
    runs: Sequence[Run],
    counts: NDArray[np.intp],
    fewest: int,
    smallest: int,
) -> list[list[Class | None]]:
    """Return of the classes of each run the members that other runs see the same way.

    Parameters
    ----------
    particles : Particles
    runs : sequence of Run
    counts : ndarray of int, shape (runs, n)
        From `agreement`.
    fewest : int
        Other runs that must agree on a member.
    smallest : int
        Fewest members of a class.

    Returns
    -------
    list of lists
        For each run its classes in their order, or None where too few members are left.
    """
    blocks: list[list[Class | None]] = []
    for number, (run, count) in enumerate(zip(runs, counts, strict=True)):
        block: list[Class | None] = []
        for members in run.members:
            agreed = members[count[members] >= fewest]
            share = count[agreed] / max(len(runs) - 1, 1)
            found = run_class(particles, run, agreed, share, number)
            block.append(found if len(agreed) >= smallest else None)
        blocks.append(block)
    return blocks


def match_in_ring(
    team: Team,
    particles: Particles,
    runs: list[Run],
    order: NDArray[np.intp],
    ways: int,
    smallest: int,
) -> list[list[Class | None]]:
    """Match every run with the next ``ways - 1`` runs of a ring.

    Parameters
    ----------
    team : Team
        One of its ranks matches.
    particles : Particles
    runs : list of Run
    order : ndarray of int
        The ring: a permutation of the runs.
    ways : int
        Number of runs in a match.
    smallest : int
        Fewest members of a match.

    Returns
    -------
    list of lists
        For each place of the ring the classes of its run in their order: what is left
        of each after the matching, or None.
    """
    n = len(particles)
    labels = [run.labels(n) for run in runs]
    partners = [
        [int(order[(place + w) % len(runs)]) for w in range(ways)]
        for place in range(len(runs))
    ]
    matches = team.from_leader(
        lambda: [
            match(np.stack([labels[p] for p in some]), smallest) for some in partners
        ]
    )
    blocks: list[list[Class | None]] = []
    for place in range(len(runs)):
        run = runs[partners[place][0]]
        block: list[Class | None] = [None] * len(run.members)
        for found in matches[place]:
            sizes = [
                len(runs[p].members[c])
                for p, c in zip(partners[place], found.classes, strict=True)
            ]
            share = len(found.members) / float(np.mean(sizes))
            block[found.classes[0]] = run_class(
                particles, run, found.members, np.full(len(found.members), share)
            )
        blocks.append(block)
    return blocks


def unique_classes(blocks: list[list[Class | None]]) -> list[Class]:
    """Return the matched classes of all places once, those found repeatedly first."""
    empty = np.empty(0, np.intp)
    chosen = unique([[c.members if c else empty for c in block] for block in blocks])
    kept = [blocks[b][i] for b, i in chosen]
    return [c for c in kept if c is not None]


def clusters(
    team: Team,
    particles: Particles,
    generation: int,
    round_number: int,
    options: IsacOptions,
) -> list[Run]:
    """Cluster particles that are in no candidate yet, in independent runs.

    Parameters
    ----------
    team : Team
    particles : Particles
        Particles of the generation that no earlier round put into a candidate.
    generation, round_number : int
        From 1; they address the random streams.
    options : IsacOptions

    Returns
    -------
    list of Run
        With tested members, before the first matching; empty if there are too few
        particles.
    """
    count = n_classes(len(particles), options.img_per_grp)
    if not count:
        return []
    seed = options.rand_seed
    address = (generation, 1, round_number)
    runs = sac(
        team,
        particles,
        [
            random_start(particles, count, stream(seed, *address, 0, run))
            for run in range(options.indep_run)
        ],
        options.init_iter,
        False,
        options.sac,
        lambda *work: stream(seed, *address, 1, *work),
    )
    return _main_sac(team, particles, runs, 0, generation, round_number, options)


def _main_sac(
    team: Team,
    particles: Particles,
    runs: list[Run],
    iteration: int,
    generation: int,
    round_number: int,
    options: IsacOptions,
) -> list[Run]:
    """Run the SAC before a matching of a round."""
    address = (generation, 1, round_number, 2, iteration)
    return sac(
        team,
        particles,
        runs,
        options.main_iter,
        True,
        options.sac,
        lambda *work: stream(options.rand_seed, *address, *work),
    )


def candidates_round(
    team: Team,
    particles: Particles,
    runs: list[Run],
    generation: int,
    round_number: int,
    options: IsacOptions,
) -> list[Class]:
    """Match independent runs, in turns with further clustering.

    Parameters
    ----------
    runs : list of Run
        See `clusters`, as for the other parameters.

    Returns
    -------
    list of Class
        Candidates; empty if none was found or there are too few particles.
    """
    if not runs:
        return []
    address = (generation, 1, round_number, 3)
    for iteration in range(options.match_first):
        if iteration > 0:
            runs = _main_sac(
                team, particles, runs, iteration, generation, round_number, options
            )
        order, blocks = matched(
            team, particles, runs, 2, (*address, iteration), options
        )
        if iteration < options.match_first - 1:
            runs = [
                restart(team, particles, block, runs[r])
                for block, r in zip(blocks, order, strict=True)
            ]
    if options.match_by == "members":
        return unique_classes(blocks)
    return [c for block in blocks for c in block if c is not None]


def matched(
    team: Team,
    particles: Particles,
    runs: list[Run],
    ways: int,
    address: tuple[int, ...],
    options: IsacOptions,
    counts: NDArray[np.intp] | None = None,
) -> tuple[list[int], list[list[Class | None]]]:
    """Match runs by view or by members.

    Parameters
    ----------
    team : Team
    particles : Particles
    runs : list of Run
    ways : int
        Runs that must agree, the one whose class it is among them.
    address : tuple of int
        Of the random stream that draws the ring of `match_in_ring`.
    options : IsacOptions
    counts : ndarray of int, shape (runs, n), optional
        From `agreement`, where they are known already.

    Returns
    -------
    order : list of int
        The run of each of ...
    blocks : list of lists
        ... what is left of the runs' classes.
    """
    if options.match_by == "members":
        order = stream(options.rand_seed, *address).permutation(len(runs))
        blocks = match_in_ring(team, particles, runs, order, ways, options.thld_grp)
        return [int(r) for r in order], blocks
    if counts is None:
        counts = agreement(team, particles, runs)
    blocks = agreed_classes(particles, runs, counts, ways - 1, options.thld_grp)
    return list(range(len(runs))), blocks


def restart(
    team: Team, particles: Particles, classes: list[Class | None], run: Run
) -> Run:
    """Return a run that starts from matched classes.

    Where there is no class, the run's own reference stays; the centres of the classes'
    members are the classes', all others the run's.
    """
    position = particles.positions()
    filled = [
        (k, c, position[c.members]) for k, c in enumerate(classes) if c is not None
    ]
    averages = team.map(
        lambda item: particles.average(item[2], item[1].alignment), filled
    )
    references = run.references.copy()
    averaged = list(run.averaged)
    alignment = take(run.alignment, np.arange(len(particles)))  # a copy
    for (k, found, indices), mean in zip(filled, averages, strict=True):
        references[..., k] = mean
        averaged[k] = indices
        put(alignment, indices, found.alignment)
    return Run.start(references, alignment, averaged)
