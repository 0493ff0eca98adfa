"""A generation finds the views that are in the images, and none in noise."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryokin.config import load_runs
from cryokin.image.geometry import Alignment, centre, from_centre, identity, take
from cryokin.isac import particles as particles_module
from cryokin.isac.basis import polar_basis
from cryokin.isac.candidates import (
    candidates_round,
    clusters,
    match_in_ring,
    n_classes,
    random_start,
    restart,
    unique_classes,
)
from cryokin.isac.classes import Class
from cryokin.isac.clusters import load_clusters, save_clusters
from cryokin.isac.join import join
from cryokin.isac.options import IsacOptions, isac_options
from cryokin.isac.particles import Particles
from cryokin.isac.reproducible import reproducible_classes, ways
from cryokin.isac.sac import Run, align_group, sac
from cryokin.isac.stability import stability
from cryokin.isac.stack import Shrinking, working_images
from cryokin.parallel import Team
from cryokin.random import stream
from cryokin.simulate.images import Recipe, simulate_images
from cryokin.simulate.orientations import half_sphere
from ranks import on_ranks

pytestmark = pytest.mark.slow

BOX, RADIUS = 40, 15
#: Fewer passes and runs than the defaults, enough for a few clear views.
QUICK = {"init_iter": 2, "main_iter": 1, "match_second": 2, "indep_run": 3}


@dataclass
class Case:
    """Particles, options, and what is true of each particle: its view, how it lies."""

    particles: Particles
    options: IsacOptions
    view: np.ndarray
    truth: Alignment

    def purity(self, classes: list[Class]) -> float:
        """Return the share of the members that show the view of most of their class."""
        right = [np.bincount(self.view[c.members]).max() for c in classes]
        return float(np.sum(right) / np.sum([len(c.members) for c in classes]))


def candidates_of(
    team: Team, particles: Particles, generation: int, number: int, options: IsacOptions
) -> list[Class]:
    """Return the candidates of a round, clustered and matched."""
    where = (generation, number, options)
    runs = clusters(team, particles, *where)
    return candidates_round(team, particles, runs, *where)


def in_plane(orientations: Rotation, view: np.ndarray) -> np.ndarray:
    """Return the in-plane angle of each image from the first one of its view."""
    _, first, index = np.unique(view, return_index=True, return_inverse=True)
    turn = (orientations[first][index].inv() * orientations).as_matrix()
    return np.arctan2(turn[:, 1, 0] - turn[:, 0, 1], turn[:, 0, 0] + turn[:, 1, 1])


def options_of(root: Any, **given: Any) -> dict[str, Any]:
    run = {
        "method": "isac",
        "particles": "x.star",
        "radius": RADIUS,
        "target_radius": RADIUS,
        "target_nx": BOX,
        "img_per_grp": 30,
        "thld_grp": 10,
        **given,
    }
    return load_runs({"runs": {"test": run}})["test"]


def case(
    root: Any,
    n: int,
    snr: float,
    views: int,
    seed: int = 1,
    mirrored: bool = False,
    **given: Any,
) -> Case:
    """Return a case of simulated particles; an SNR of 0 is noise alone.

    With ``mirrored``, every other image is seen in a mirror.
    """
    made = simulate_images(
        Recipe(
            n,
            box=46,
            pixel_size=9.0,
            snr=snr or 1.0,
            n_views=views,
            view_share=1.0,
            view_spread=3.0,
            shift_sd=0.7,
            junk=0.0 if snr else 1.0,
            seed=seed,
        )
    )
    images = made.images
    if not snr:
        images = np.random.default_rng(seed).normal(size=images.shape)
    if mirrored:
        images[::2] = np.roll(images[::2, :, ::-1], 1, axis=2)
    how = Shrinking(46, RADIUS, RADIUS, BOX)
    options = options_of(root, **given)
    basis = polar_basis(options)
    rows = basis.grid(
        working_images(images, np.zeros((n, 2)), how), basis.analysis(BOX)
    )
    seen = made.orientations.apply([0, 0, 1.0]) @ half_sphere(views).T
    view = seen.argmax(axis=1)
    return Case(
        Particles(basis, rows, np.arange(n)),
        isac_options(options, BOX),
        view,
        from_centre(-in_plane(made.orientations, view), made.shifts, np.zeros(n, bool)),
    )


@pytest.fixture(scope="module")
def six_views(root) -> Case:
    return case(root, 200, 0.5, 6, **QUICK)


@pytest.fixture(scope="module")
def candidates(six_views) -> list[Class]:
    return candidates_of(Team(), six_views.particles, 1, 1, six_views.options)


@pytest.fixture(scope="module")
def classes(six_views, candidates) -> list[Class]:
    return reproducible_classes(
        Team(), six_views.particles, candidates, 1, six_views.options
    )


def same(a: list[Class], b: list[Class]) -> bool:
    """Whether two lists of classes are equal to the last bit."""
    return len(a) == len(b) and all(
        one.members.tobytes() == two.members.tobytes()
        and all(
            f.tobytes() == g.tobytes()
            for f, g in zip(one.alignment, two.alignment, strict=True)
        )
        and one.errors.tobytes() == two.errors.tobytes()
        and one.agreement.tobytes() == two.agreement.tobytes()
        for one, two in zip(a, b, strict=True)
    )


# ------------------------------------------------------------------ truth recovered
def test_candidates_at_low_signal_are_pure(root):
    noisy = case(root, 240, 0.3, 8, init_iter=2, main_iter=2, indep_run=3)
    found = candidates_of(Team(), noisy.particles, 1, 1, noisy.options)
    assert len(found) >= 4
    assert noisy.purity(found) > 0.9


def test_candidates_hold_the_views(six_views, candidates):
    assert six_views.purity(candidates) > 0.9
    assert (
        len({np.bincount(six_views.view[c.members]).argmax() for c in candidates}) > 4
    )


def test_reproducible_classes_are_pure_and_disjoint(six_views, classes):
    assert len(classes) >= 4
    assert six_views.purity(classes) > 0.9
    members = np.concatenate([c.members for c in classes])
    assert len(np.unique(members)) == len(members)
    assert len(members) > 100


def test_classes_keep_the_promises_of_their_options(six_views, candidates, classes):
    options = six_views.options
    for found in [*candidates, *classes]:
        k = len(found.members)
        assert k >= options.thld_grp
        assert np.all(np.diff(found.members) > 0)
        assert found.errors.shape == (k,)
        assert np.all(found.errors < options.sac.thld_err)
        assert np.all((found.agreement >= 0) & (found.agreement <= 1))
        limit = options.sac.refinement.max_shift
        assert np.all(np.abs(centre(found.alignment)) <= limit + 1e-3)
    for found in candidates:
        assert np.all(found.agreement > 0)
    sizes = [len(c.members) for c in classes]
    assert sizes == sorted(sizes, reverse=True)


def test_without_a_last_assignment_all_members_are_reproduced(six_views, candidates):
    options = replace(six_views.options, last_assignment=False)
    classes = reproducible_classes(Team(), six_views.particles, candidates, 1, options)
    assert len(classes) >= 4
    for found in classes:
        assert np.all(found.agreement >= options.thld_rep)


def test_matching_by_members_asks_for_the_same_members(six_views):
    """The intersection of all runs' classes, as `matching` finds it; none is added."""
    options = replace(
        six_views.options, match_by="members", thld_rep=0.0, last_assignment=False
    )
    found = candidates_of(Team(), six_views.particles, 1, 1, options)
    assert six_views.purity(found) > 0.9
    classes = reproducible_classes(Team(), six_views.particles, found, 1, options)
    assert len(classes) >= 4
    assert six_views.purity(classes) > 0.9
    for one in classes:
        assert len(np.unique(one.agreement)) == 1  # a share of the class as a whole


def apart(found: Alignment, truth: Alignment) -> np.ndarray:
    """Return how far two sets of alignments disagree, image by image [pixel]."""
    both = Alignment(*(np.stack(fields) for fields in zip(found, truth, strict=True)))
    return stability(both, RADIUS, 1e3).error


def test_members_are_aligned_as_they_lie(six_views, classes):
    for found in classes:
        view = six_views.view[found.members]
        most = view == np.bincount(view).argmax()
        truth = take(six_views.truth, found.members[most])
        error = apart(take(found.alignment, most), truth)
        assert np.sqrt(np.mean(error**2)) < 0.5


def test_particles_and_their_mirror_images_come_together(root):
    both = case(root, 200, 0.5, 6, mirrored=True, **QUICK)
    found = candidates_of(Team(), both.particles, 1, 1, both.options)
    assert both.purity(found) > 0.9
    hands = [one.alignment.mirror ^ (one.members % 2 == 0) for one in found]
    right = sum(max(hand.sum(), (~hand).sum()) for hand in hands)
    assert right > 0.9 * sum(len(hand) for hand in hands)


@pytest.mark.parametrize("seed", [1, 2])
def test_noise_has_hardly_a_candidate_and_no_reproducible_class(root, seed):
    noise = case(root, 160, 0.0, 5, seed, **QUICK)
    found = candidates_of(Team(), noise.particles, 1, 1, noise.options)
    assert len(found) <= 1
    groups = np.random.default_rng(seed).permutation(160).reshape(5, 32)
    given = [Class(np.sort(g), identity(32), np.zeros(32), np.ones(32)) for g in groups]
    assert reproducible_classes(Team(), noise.particles, given, 1, noise.options) == []


# ------------------------------------------------------------------ seeds and ranks
def test_the_same_seed_gives_the_same_bytes(six_views, candidates):
    again = candidates_of(Team(), six_views.particles, 1, 1, six_views.options)
    assert same(candidates, again)


def test_any_number_of_ranks_gives_the_same_bytes(six_views, monkeypatch):
    monkeypatch.setattr(particles_module, "BLOCK", 64)

    def work(team: Team) -> tuple[list[Class], list[Class]]:
        found = candidates_of(team, six_views.particles, 1, 1, six_views.options)
        return found, reproducible_classes(
            team, six_views.particles, found, 1, six_views.options
        )

    alone = work(Team())
    for found in on_ranks(3, work):
        assert same(found[0], alone[0])
        assert same(found[1], alone[1])


def test_another_seed_round_or_generation_starts_anew(six_views, candidates):
    options = replace(six_views.options, rand_seed=99)
    for generation, number, given in (
        (1, 1, options),
        (1, 2, six_views.options),
        (2, 1, six_views.options),
    ):
        found = candidates_of(Team(), six_views.particles, generation, number, given)
        assert not same(found, candidates)
        assert six_views.purity(found) > 0.85


def test_random_references_are_distinct_particles(six_views):
    pool = six_views.particles
    every = pool.images(np.arange(len(pool)))
    drawn = [random_start(pool, 6, stream(seed, 1)).references for seed in (1, 2)]
    assert not np.array_equal(*drawn)
    for references in drawn:
        # Products of other widths may differ in their last bits.
        apart = [
            np.abs(every - references[..., k, None]).max(axis=(0, 1, 2, 3))
            for k in range(6)
        ]
        which = [int(distance.argmin()) for distance in apart]
        assert which == sorted(set(which))
        assert max(distance.min() for distance in apart) < 1e-5


def test_members_are_ids_of_the_run(six_views, candidates):
    """Also when the particles at hand are only some of the rows."""
    pool = six_views.particles
    rows = np.zeros((2 * len(pool) + 1, *pool.coefficients.shape[1:]), np.complex64)
    ids = 2 * np.arange(len(pool)) + 1
    rows[ids] = pool.coefficients
    some = Particles(pool.basis, rows, ids)
    found = candidates_of(Team(), some, 1, 1, six_views.options)
    assert same(found, [replace(c, members=ids[c.members]) for c in candidates])


# ------------------------------------------------------------------ too few
def test_too_few_particles_are_not_classified(six_views, candidates):
    few = six_views.particles.subset(np.arange(119))
    assert candidates_of(Team(), few, 1, 1, six_views.options) == []
    assert reproducible_classes(Team(), few, candidates, 1, six_views.options) == []
    assert (
        reproducible_classes(Team(), six_views.particles, [], 1, six_views.options)
        == []
    )


@pytest.mark.parametrize(
    ("n", "classes"), [(0, 0), (119, 0), (120, 4), (149, 4), (150, 5)]
)
def test_there_are_four_classes_or_none(n, classes):
    assert n_classes(n, 30) == classes


@pytest.mark.parametrize(
    ("match_second", "indep_run", "expected"),
    [
        (5, 4, [2, 2, 3, 3, 4]),
        (5, 3, [2, 2, 3, 3, 3]),
        (5, 2, [2, 2, 2, 2, 2]),
        (2, 4, [2, 4]),
        (1, 5, [4]),
        (6, 6, [2, 2, 2, 3, 3, 4]),
    ],
)
def test_more_and_more_runs_have_to_agree(match_second, indep_run, expected):
    found = [ways(i, match_second, indep_run) for i in range(1, match_second + 1)]
    assert found == expected


# ------------------------------------------------------------------ one group
def group(six_views: Case, view: int) -> np.ndarray:
    return np.flatnonzero(six_views.view == view)[:24]


def stable_share(six_views: Case, members: np.ndarray, seed: int = 1) -> float:
    _, stable, errors = align_group(
        six_views.particles,
        members,
        np.zeros((len(members), 2)),
        5,
        six_views.options.sac,
        np.random.default_rng(seed),
    )
    assert np.all(errors[stable] < six_views.options.sac.thld_err)
    return len(stable) / len(members)


def test_a_group_of_one_view_is_stable(six_views):
    # Now and then one repeat of five ends in another optimum.
    shares = [
        stable_share(six_views, group(six_views, view), seed)
        for view in range(6)
        for seed in (1, 2, 3)
    ]
    assert np.mean(shares) > 0.9
    assert np.median(shares) == 1


def test_a_group_of_noise_is_not_stable(root):
    noise = case(root, 40, 0.0, 5, **QUICK)
    assert stable_share(noise, np.arange(40)) < 0.2


def test_a_group_aligned_ab_initio_lies_as_it_should(six_views):
    members = group(six_views, 0)
    aligned, stable, _ = align_group(
        six_views.particles,
        members,
        np.zeros((len(members), 2)),
        5,
        six_views.options.sac,
        np.random.default_rng(2),
    )
    truth = take(six_views.truth, members[stable])
    error = apart(take(aligned, stable), truth)
    assert np.sqrt(np.mean(error**2)) < 0.5


# ------------------------------------------------------------------ SAC and matching
def test_sac_forms_equal_classes_and_prunes_them_in_the_last_pass(six_views):
    pool, options = six_views.particles, six_views.options
    start = random_start(pool, 6, stream(1, 2))

    def run(check: bool) -> Run:
        return sac(
            Team(), pool, [start], 1, check, options.sac, lambda *w: stream(1, *w)
        )[0]

    whole, pruned = run(False), run(True)
    sizes = sorted(len(m) for m in whole.members)
    assert sizes == [33, 33, 33, 33, 33, 35]
    np.testing.assert_array_equal(
        np.sort(np.concatenate(whole.members)), np.arange(200)
    )
    assert np.isinf(whole.errors).all()
    for kept, all_of_class in zip(pruned.members, whole.members, strict=True):
        assert set(kept) <= set(all_of_class)
    labels = pruned.labels(200)
    for k, members in enumerate(pruned.members):
        np.testing.assert_array_equal(np.flatnonzero(labels == k), members)
        assert np.all(pruned.errors[members] < options.sac.thld_err)


def made_up_run(pool: Particles, members: list[range]) -> Run:
    n = len(pool)
    members_of = [np.array(m, np.intp) for m in members]
    references = pool.images(np.arange(len(members)))
    return Run(references, members_of, identity(n), np.zeros(n), members_of)


def test_a_ring_of_runs_matches_each_with_the_next(six_views):
    pool = six_views.particles
    runs = [
        made_up_run(pool, [range(0, 20), range(20, 40), range(40, 60)]),
        made_up_run(pool, [range(22, 40), range(1, 20), range(60, 80)]),
        made_up_run(pool, [range(40, 60), range(0, 18), range(100, 120)]),
    ]
    blocks = match_in_ring(Team(), pool, runs, np.array([0, 1, 2]), 2, 10)
    sizes = [[None if c is None else len(c.members) for c in b] for b in blocks]
    assert sizes == [[19, 18, None], [None, 17, None], [20, 18, None]]
    first = blocks[0][0]
    np.testing.assert_array_equal(first.members, range(1, 20))
    assert first.reproduction == pytest.approx(19 / 19.5)
    kept = unique_classes(blocks)
    assert [int(c.members[0]) for c in kept] == [1, 22, 40]


def test_a_run_restarts_from_matched_classes_and_keeps_the_rest(six_views):
    pool = six_views.particles
    run = made_up_run(pool, [range(0, 20), range(20, 40)])
    lies = take(six_views.truth, np.arange(12))
    found = Class(np.arange(12), lies, np.zeros(12), np.ones(12))
    for size in (1, 3):
        for new in on_ranks(size, lambda team: restart(team, pool, [None, found], run)):
            old = run.references[..., 0]
            np.testing.assert_array_equal(new.references[..., 0], old)
            mean = pool.average(np.arange(12), lies)
            np.testing.assert_array_equal(new.references[..., 1], mean)
            places = centre(new.alignment)
            np.testing.assert_allclose(places[:12], centre(lies), atol=1e-6)
            np.testing.assert_array_equal(places[12:], 0)
    assert not run.alignment.shift.any()  # the run itself is as it was


# --------------------------------------------------------------- clusters in a file
def test_clusters_are_read_as_they_were(six_views, candidates, tmp_path):
    """Found without the options of the matching, on which they do not depend."""
    file = tmp_path / "clusters.npz"
    unknown = dict.fromkeys(("thld_grp", "match_by", "thld_rep"))
    options = replace(six_views.options, **unknown)
    save_clusters(file, clusters(Team(), six_views.particles, 1, 1, options))

    # Nor do the candidates of a round on what is asked of reproducible classes.
    unknown = dict.fromkeys(("thld_rep", "match_second", "last_assignment"))
    matched = replace(six_views.options, **unknown)

    def work(team: Team) -> list[Class]:
        where = (1, 1, matched)
        return candidates_round(team, six_views.particles, load_clusters(file), *where)

    for found in (work(Team()), *on_ranks(2, work)):
        assert same(found, candidates)


# ------------------------------------------------------------------- more images later


@pytest.fixture(scope="module")
def extended(root, six_views):
    """Even images in classes of their views; odd ones, and as many of noise, join."""
    noise = case(root, 100, 0, 6, seed=2, **QUICK).particles
    rows = np.concatenate([six_views.particles.coefficients, noise.coefficients])
    particles = Particles(noise.basis, rows, np.arange(len(rows)))
    groups = [np.flatnonzero(six_views.view[::2] == view) * 2 for view in range(6)]
    known = [
        Class(ids, take(six_views.truth, ids), *np.full((2, len(ids)), 0.5))
        for ids in groups
    ]
    return known, join(Team(), particles, known, six_views.options)


def test_late_images_join_the_class_of_their_view(six_views, extended):
    known, found = extended
    n = len(six_views.view)
    joined = [
        np.setdiff1d(c.members, k.members) for c, k in zip(found, known, strict=True)
    ]
    right = sum(np.sum(six_views.view[j[j < n]] == v) for v, j in enumerate(joined))
    images = np.concatenate(joined)
    assert np.sum(images < n) > 0.6 * n / 2
    assert right > 0.95 * np.sum(images < n)
    assert np.sum(images >= n) < 0.1 * n / 2


def test_members_stay_as_they_are_when_others_join(extended):
    for known, found in zip(*extended, strict=True):
        assert (np.diff(found.members) > 0).all()
        kept = found.subset(np.isin(found.members, known.members))
        for one, other in zip(
            (kept.members, *kept.alignment, kept.errors, kept.agreement),
            (known.members, *known.alignment, known.errors, known.agreement),
            strict=True,
        ):
            np.testing.assert_array_equal(one, other)


def test_late_images_lie_as_the_members_do(six_views, extended):
    for known, found in zip(*extended, strict=True):
        late = ~np.isin(found.members, known.members)
        late &= found.members < len(six_views.view)
        ids, placed = found.members[late], take(found.alignment, late)
        off = np.exp(1j * (placed.angle - six_views.truth.angle[ids]))
        assert np.median(np.abs(np.angle(off))) < np.radians(8)
        assert np.mean(placed.mirror) < 0.1
