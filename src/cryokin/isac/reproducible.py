"""Phase two of a generation: classes that all independent runs reproduce."""

from __future__ import annotations

import numpy as np

from cryokin.image.geometry import Alignment, centre, identity, take
from cryokin.isac.candidates import (
    match_in_ring,
    n_classes,
    random_start,
    restart,
    unique_classes,
)
from cryokin.isac.classes import Class
from cryokin.isac.matching import match
from cryokin.isac.options import IsacOptions
from cryokin.isac.particles import Particles
from cryokin.isac.sac import Run, align_group, nearest, sac
from cryokin.parallel import Team
from cryokin.random import stream


def ways(iteration: int, match_second: int, indep_run: int) -> int:
    """Return how many runs are matched after an iteration (from 1) of phase two.

    Two in the first half, three in the second, all (at most four) in the last.
    """
    if iteration == match_second:
        return min(4, indep_run)
    return min(2 if iteration <= match_second // 2 else 3, indep_run)


def reproducible_classes(
    team: Team,
    particles: Particles,
    candidates: list[Class],
    generation: int,
    options: IsacOptions,
) -> list[Class]:
    """Find the reproducible classes of a generation.

    Parameters
    ----------
    team : Team
    particles : Particles
        All particles of the generation.
    candidates : list of Class
        From phase one.
    generation : int
        From 1.
    options : IsacOptions

    Returns
    -------
    list of Class
        Disjoint classes of at least ``thld_grp`` stable members, of which the runs
        agree on the share ``thld_rep`` of their classes; largest first.
    """
    count = n_classes(len(particles), options.img_per_grp)
    if not count or not candidates:
        return []
    seed, n_runs = options.rand_seed, options.indep_run
    address = (generation, 2)
    blocks: list[list[Class | None]] = [list(candidates)] * n_runs
    alignments = [identity(len(particles))] * n_runs
    for iteration in range(1, options.match_second + 1):
        starts = _starts(
            team, particles, blocks, alignments, count, (*address, iteration), options
        )
        runs = sac(
            team,
            particles,
            starts,
            options.main_iter,
            True,
            options.sac,
            lambda *work, i=iteration: stream(seed, *address, i, 1, *work),
        )
        if iteration == options.match_second:
            break
        order = stream(seed, *address, iteration, 2).permutation(n_runs)
        alignments = [runs[int(r)].alignment for r in order]
        n_ways = ways(iteration, options.match_second, n_runs)
        blocks = match_in_ring(team, particles, runs, order, n_ways, options.thld_grp)
        if iteration == options.match_second // 2:
            blocks = [list(unique_classes(blocks))] * n_runs
        team.log(
            f"iteration {iteration}: {n_ways}-way matching leaves"
            f" {[sum(c is not None for c in b) for b in blocks]} of {count} classes"
        )
    return _confirmed(team, particles, runs, address, options)


def _starts(
    team: Team,
    particles: Particles,
    blocks: list[list[Class | None]],
    alignments: list[Alignment],
    count: int,
    address: tuple[int, ...],
    options: IsacOptions,
) -> list[Run]:
    """Return what each run starts from: ``count`` averages, and centres so far.

    What the classes at hand leave over is classified first; its averages, and then
    random particles, take the places that no class holds.
    """
    seed = options.rand_seed
    filled = [[c for c in block if c is not None][:count] for block in blocks]
    held = np.concatenate([[-1], *(c.members for b in filled for c in b)])
    left = np.flatnonzero(~np.isin(particles.ids, held))
    empty = max(count - len(block) for block in filled)
    spare_count = min(n_classes(len(left), options.img_per_grp), empty)
    spare: list[Run] = []
    if spare_count:
        rest = particles.subset(left)
        spare = sac(
            team,
            rest,
            [
                random_start(rest, spare_count, stream(seed, *address, 4, run))
                for run in range(len(blocks))
            ],
            options.init_iter,
            False,
            options.sac,
            lambda *work: stream(seed, *address, 5, *work),
        )
    starts = []
    for run, block in enumerate(filled):
        first = len(block)
        start = random_start(particles, count, stream(seed, *address, 3, run))
        references, averaged = start.references, start.averaged
        for k in range(min(spare_count, count - first)):
            references[..., first + k] = spare[run].references[..., k]
            averaged[first + k] = left[spare[run].averaged[k]]
        padded: list[Class | None] = [*block, *[None] * (count - first)]
        filling = Run.start(references, alignments[run], averaged)
        starts.append(restart(team, particles, padded, filling))
    return starts


def _confirmed(
    team: Team,
    particles: Particles,
    runs: list[Run],
    address: tuple[int, ...],
    options: IsacOptions,
) -> list[Class]:
    """Match all runs, realign each match and keep its stable members."""
    n = len(particles)
    labels = [run.labels(n) for run in runs]
    matches = team.from_leader(lambda: match(np.stack(labels), options.thld_grp))

    def realign(index: int) -> Class:
        found = matches[index]
        members = found.members
        aligned, stable, errors = align_group(
            particles,
            members,
            centre(take(runs[0].alignment, members)),
            max(options.sac.stab_ali, 2),
            options.sac,
            stream(options.rand_seed, *address, 0, index),
        )
        sizes = [
            len(run.members[k]) for run, k in zip(runs, found.classes, strict=True)
        ]
        return Class(
            particles.ids[members[stable]],
            take(aligned, stable),
            errors[stable],
            len(members) / float(np.mean(sizes)),
        )

    realigned = team.map(realign, range(len(matches)))
    stable = [c for c in realigned if len(c.members) >= options.thld_grp]
    classes = _without_strangers(team, particles, stable, options)
    kept = [
        c
        for c in classes
        if len(c.members) >= options.thld_grp and c.reproduction >= options.thld_rep
    ]
    team.log(
        f"{len(matches)} classes matched in {len(runs)} runs, {len(stable)} stable,"
        f" {len(kept)} reproducible"
    )
    return sorted(kept, key=lambda c: (-len(c.members), int(c.members[0])))


def _without_strangers(
    team: Team, particles: Particles, classes: list[Class], options: IsacOptions
) -> list[Class]:
    """Leave out members that are more similar to another class than to their own.

    Classes of equal size take in particles that have their like elsewhere. None of the
    classes may be empty.
    """
    if len(classes) < 2:
        return classes
    # A run of which every reference is replaced.
    start = random_start(particles, len(classes), stream(options.rand_seed))
    run = restart(team, particles, list(classes), start)
    labels = np.full(len(particles.coefficients), -1, np.intp)
    labels[particles.ids] = nearest(team, particles, run, options.sac)
    return [found.subset(labels[found.members] == k) for k, found in enumerate(classes)]
