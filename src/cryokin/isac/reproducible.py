"""Phase two of a generation: classes that independent runs reproduce.

Every run classifies all particles again, from its own candidates. What others agree on
starts the next iteration; in the end one run's classes remain, with the members that
enough other runs see the same way, and whatever particle is left and belongs to one of
these by the same test of stability joins it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryokin.image.geometry import Alignment, centre, identity, take
from cryokin.isac.candidates import (
    agreed_classes,
    match_in_ring,
    matched,
    n_classes,
    random_start,
    restart,
    unique_classes,
)
from cryokin.isac.classes import Class, held
from cryokin.isac.options import IsacOptions
from cryokin.isac.particles import Particles
from cryokin.isac.sac import Run, align_group, nearest, place, put, sac
from cryokin.isac.views import agreement, is_central
from cryokin.parallel import Team
from cryokin.partition.labels import members_of
from cryokin.random import stream

LEAST_STEP = 0.02  # an iteration by which runs agree on less than that more is the last
FEW = 0.05  # share of a class's members that joining particles may be less similar than
SETTLING = 2  # times that the centres of particles that join are found anew


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
        Disjoint classes of at least ``thld_grp`` stable members, largest first.
    """
    count = n_classes(len(particles), options.img_per_grp)
    if not count or not candidates:
        return []
    seed, n_runs = options.rand_seed, options.indep_run
    address = (generation, 2)
    blocks: list[list[Class | None]] = [
        [c for c in candidates if c.run in (run, -1)] for run in range(n_runs)
    ]
    alignments = [identity(len(particles))] * n_runs
    counts, reached = None, 0.0
    for iteration in range(1, options.match_second + 1):
        here = (*address, iteration)
        # What runs start from has no name: it goes when they have begun.
        runs = sac(
            team,
            particles,
            _starts(team, particles, blocks, alignments, count, here, options),
            options.main_iter,
            True,
            options.sac,
            lambda *work, i=iteration: stream(seed, *address, i, 1, *work),
        )
        is_last = iteration == options.match_second
        if options.match_by == "view":
            counts = agreement(team, particles, runs)
            before, reached = reached, float((counts >= options.others()).mean())
            team.log(f"iteration {iteration}: runs agree on {reached:.1%} of particles")
            is_last |= iteration > 1 and reached < before + LEAST_STEP
        if is_last:
            break
        n_ways = ways(iteration, options.match_second, n_runs)
        order, blocks = matched(
            team, particles, runs, n_ways, (*here, 2), options, counts
        )
        alignments = [runs[r].alignment for r in order]
        if options.match_by == "members" and iteration == options.match_second // 2:
            blocks = [list(unique_classes(blocks))] * n_runs
        team.log(
            f"iteration {iteration}: {n_ways}-way matching leaves"
            f" {[sum(c is not None for c in b) for b in blocks]} of {count} classes"
        )
    if counts is None:
        classes, shares = _held_by_all(team, particles, runs, options)
    else:
        classes, shares = _seen_alike(particles, runs, counts, options)
    confirmed = _confirmed(team, particles, classes, shares, address, options)
    team.log(
        f"{len(classes)} classes matched in {n_runs} runs, {len(confirmed)} of them"
        f" stable, with {len(held(confirmed))} particles"
    )
    return confirmed


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
    left = np.flatnonzero(
        ~np.isin(particles.ids, held([c for block in filled for c in block]))
    )
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


def _held_by_all(
    team: Team, particles: Particles, runs: list[Run], options: IsacOptions
) -> tuple[list[Class], NDArray[np.float64]]:
    """Return what all runs have in the same class, if it is enough of their classes.

    Returns
    -------
    the classes, and the agreement of each particle, (n,)
    """
    order = np.arange(len(runs))
    block = match_in_ring(team, particles, runs, order, len(runs), options.thld_grp)[0]
    found = [c for c in block if c is not None and c.reproduction >= options.thld_rep]
    shares = np.zeros(len(particles))
    position = particles.positions()
    for c in found:
        shares[position[c.members]] = c.agreement
    return found, shares


def _seen_alike(
    particles: Particles,
    runs: list[Run],
    counts: NDArray[np.intp],
    options: IsacOptions,
) -> tuple[list[Class], NDArray[np.float64]]:
    """Return the classes of the run with which the others agree on most particles.

    Returns
    -------
    the classes, and the agreement of each particle, (n,)
    """
    blocks = agreed_classes(particles, runs, counts, options.others(), options.thld_grp)
    found = [[c for c in block if c is not None] for block in blocks]
    best = int(np.argmax([len(held(classes)) for classes in found]))
    return found[best], counts[best] / max(len(runs) - 1, 1)


def _confirmed(
    team: Team,
    particles: Particles,
    classes: list[Class],
    shares: NDArray[np.float64],
    address: tuple[int, ...],
    options: IsacOptions,
) -> list[Class]:
    """Let particles that are left join, and keep what repeated alignments place alike.

    By view, a class of which the runs agree on too few members, or that shows nothing
    in the middle any more, is none.

    Parameters
    ----------
    shares : ndarray, shape (n,)
        Agreement of each particle.

    Returns
    -------
    list of Class
        Largest first.
    """
    if not classes:
        return []
    by_view = options.match_by == "view"
    position = particles.positions()
    is_member = np.isin(particles.ids, held(classes))
    if options.last_assignment:
        groups, run = joined(team, particles, classes, options)
        centres = centre(run.alignment)
    else:
        groups = [position[c.members] for c in classes]
        centres = np.zeros((len(particles), 2))
        for c, group in zip(classes, groups, strict=True):
            centres[group] = centre(c.alignment)
    # Those that joined may unsettle a class, which is then tried without them.
    alone = [group[is_member[group]] for group in groups]

    def realign(item: tuple[int, int]) -> Class | None:
        k, attempt = item
        members = (groups, alone)[attempt][k]
        if len(members) < options.thld_grp:
            return None
        aligned, stable, errors = align_group(
            particles,
            members,
            centres[members],
            max(options.sac.stab_ali, 2),
            options.sac,
            stream(options.rand_seed, *address, attempt, k),
        )
        if len(stable) < options.thld_grp:
            return None
        members, aligned = members[stable], take(aligned, stable)
        made = Class(particles.ids[members], aligned, errors[stable], shares[members])
        if by_view and (
            made.reproduction < options.thld_rep / 2
            or not is_central(
                particles.average(members, aligned), len(members), particles.basis
            )
        ):
            return None
        return made

    found = team.map(realign, [(k, 0) for k in range(len(classes))])
    poor = [k for k, c in enumerate(found) if c is None or _size(c) < len(alone[k])]
    again = team.map(realign, [(k, 1) for k in poor])
    for k, second in zip(poor, again, strict=True):
        found[k] = max(found[k], second, key=_size)
    kept = [c for c in found if c is not None]
    return sorted(kept, key=lambda c: (-len(c.members), int(c.members[0])))


def _size(found: Class | None) -> int:
    return 0 if found is None else len(found.members)


def joined(
    team: Team, particles: Particles, classes: list[Class], options: IsacOptions
) -> tuple[list[NDArray[np.intp]], Run]:
    """Find the particles that belong to each of some reproduced classes.

    Each particle is compared with the averages of all classes. A member goes to the
    class that it is most similar to, whatever the sizes; any other particle, too, if it
    is as similar to the average as all but a few of the members are.

    Returns
    -------
    groups : list of ndarray of int
        Indices of the particles of each class.
    run : Run
        The averages, and where the particles' centres were found.
    """
    start = random_start(particles, len(classes), stream(options.rand_seed))
    run = restart(team, particles, list(classes), start)
    labels, scores = nearest(team, particles, run, options.sac)
    is_member = np.isin(particles.ids, held(classes))
    # The centres of members were found in their classes. Those of the others are known
    # from the prealignment alone, and would make them seem less similar than they are.
    others = np.flatnonzero(~is_member)
    rest = particles.subset(others)
    nobody = [np.empty(0, np.intp)] * len(classes)
    for _ in range(SETTLING if len(others) else 0):
        alone = Run.start(run.references, take(run.alignment, others), nobody)
        lists = members_of(labels[others], len(classes))

        def placed(
            k: int, alone: Run = alone, lists: list[NDArray[np.intp]] = lists
        ) -> Alignment:
            return place(rest, alone, k, lists[k], options.sac)

        filled = [k for k, indices in enumerate(lists) if len(indices)]
        for k, part in zip(filled, team.map(placed, filled), strict=True):
            put(alone.alignment, lists[k], part)
        put(run.alignment, others, alone.alignment)
        labels[others], scores[others] = nearest(team, rest, alone, options.sac)
    groups = []
    for k in range(len(classes)):
        group = np.flatnonzero(labels == k)
        members = group[is_member[group]]
        least = np.quantile(scores[members], FEW) if len(members) else np.inf
        groups.append(group[is_member[group] | (scores[group] >= least)])
    return groups, run
