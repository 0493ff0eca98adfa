"""Scores of images with the averages of classes."""

import tracemalloc
import weakref

import numpy as np
import pytest

from cryokin.config import load_runs
from cryokin.image.geometry import centre, identity, take
from cryokin.image.polar import PolarBasis
from cryokin.io.counts import Counts
from cryokin.isac import sac as module
from cryokin.isac.alignment import products_at
from cryokin.isac.basis import polar_basis
from cryokin.isac.candidates import random_start
from cryokin.isac.particles import Particles
from cryokin.isac.sac import Run, SacOptions, Scores, cutoffs, nearest, sac
from cryokin.isac.stack import Shrinking, working_images
from cryokin.isac.within_group import Refinement
from cryokin.parallel import Team
from cryokin.plan import IDLE, jobs_of
from cryokin.random import stream
from cryokin.simulate.images import Recipe, simulate_images
from cryokin.steps import CASES

BOX, RADIUS, N, K = 76, 29, 480, 24
BASIS = PolarBasis(radius=RADIUS, highest=0.3)
OPTIONS = SacOptions(
    Refinement(xr=1, yr=1, ts=1.0, maxit=9, dst=90, FH=0.3, FF=0.2, max_shift=4),
    FL=0.2,
    stab_ali=2,
    iter_reali=1,
    thld_err=0.7,
)


@pytest.fixture(scope="module")
def particles() -> Particles:
    """Return images whose views are spread evenly."""
    made = simulate_images(
        Recipe(N, box=76, pixel_size=4.6, snr=0.2, view_share=0.0, junk=0.0, seed=5)
    )
    working = working_images(
        made.images, np.zeros((N, 2)), Shrinking(76, RADIUS, RADIUS, BOX)
    )
    return Particles(BASIS, BASIS.grid(working, BASIS.analysis(BOX)), np.arange(N))


@pytest.fixture(scope="module")
def run(particles) -> Run:
    """Return a run after two passes."""
    chosen = np.arange(0, N, N // K)[:K]
    start = Run.start(
        particles.images(chosen), identity(N), [np.array([i]) for i in chosen]
    )
    return sac(Team(), particles, [start], 2, False, OPTIONS, lambda *w: stream(1, *w))[
        0
    ]


def all_scores(particles: Particles, run: Run) -> np.ndarray:
    refinement = OPTIONS.refinement
    ready = module._prepared(particles, run, refinement.FH, refinement.FF)
    shifts = module.shift_grid(refinement.xr, refinement.yr, refinement.ts)
    return Scores(particles, run, ready, shifts, particles.blocks(Team())).values


def test_the_best_few_hold_the_best_of_all(particles, run, monkeypatch):
    """Winners of the comparison in two stages are those of the full one."""
    fast = all_scores(particles, run)
    monkeypatch.setattr(module, "LISTED", 1.0)
    full = all_scores(particles, run)
    assert np.mean(fast.argmax(axis=0) != full.argmax(axis=0)) <= 0.01
    # What is compared at all shifts has the same score, the rest a lower one.
    assert np.all(fast <= full + 1e-5)
    best = full.argmax(axis=0), np.arange(N)
    assert np.mean(np.abs(fast[best] - full[best]) < 1e-5) > 0.99


def test_spectra_that_are_not_kept_give_the_same_scores(particles, run, monkeypatch):
    kept = all_scores(particles, run)
    monkeypatch.setattr(module, "KEPT", 0)
    np.testing.assert_array_equal(all_scores(particles, run), kept)


def test_an_image_is_compared_with_what_the_others_make_of_its_class(particles, run):
    """The score with an own class is that with the mean of its other members."""
    scores = all_scores(particles, run)
    refinement = OPTIONS.refinement
    ready = module._prepared(particles, run, refinement.FH, refinement.FF)
    gain = module.tangent_lowpass(
        BASIS.radii[: ready.band.radii], refinement.FH, refinement.FF
    ).astype(np.float32)
    exact, lower = 0, 0
    for k in range(0, K, 5):
        members = run.averaged[k]
        for place, i in enumerate(members[:6]):
            others = np.delete(members, place)
            mean = particles.average(others, take(run.alignment, others))
            mean = mean[:, : ready.band.orders, :, : ready.band.radii] * gain
            mean /= np.linalg.norm(mean)
            own = np.array([i])
            at = take(run.alignment, own)
            image = BASIS.spectra(
                particles.parts(own), centre(at).astype(np.float32), ready.band
            )
            expected = products_at(mean[..., None], image, at).sum()
            # The search may find another pose with a better score.
            exact += abs(scores[k, i] - expected) < 2e-3
            lower += scores[k, i] < expected - 2e-3
    assert lower == 0
    assert exact > 12


def test_a_rank_holds_the_scores_of_one_run_alone(particles, run, monkeypatch):
    alive, most = weakref.WeakSet(), []

    class Watched(Scores):
        def __init__(self, *given):
            super().__init__(*given)
            alive.add(self)
            most.append(len(alive))

    monkeypatch.setattr(module, "Scores", Watched)
    sac(Team(), particles, [run] * 3, 1, False, OPTIONS, lambda *w: stream(1, *w))
    assert most == [1] * 3 * len(cutoffs(OPTIONS.FL, OPTIONS.refinement.FH))


def test_a_reference_of_one_image_says_nothing_of_it(particles):
    chosen = np.arange(4)
    start = Run.start(
        particles.images(chosen), identity(N), [np.array([i]) for i in chosen]
    )
    scores = all_scores(particles, start)
    np.testing.assert_array_equal(np.diag(scores[:, :4]), 0)


def test_the_nearest_class_is_the_best_score(particles, run):
    classes, scores = nearest(Team(), particles, run, OPTIONS)
    every = all_scores(particles, run)
    np.testing.assert_array_equal(classes, every.argmax(axis=0))
    np.testing.assert_array_equal(scores, every.max(axis=0))


@pytest.mark.parametrize(
    ("lowest", "highest", "expected"),
    [
        (0.2, 0.3, [0.3, 0.2]),
        (0.1, 0.4, [0.4, 0.1, 0.15, 0.2, 0.25, 0.3]),
        (0.28, 0.3, [0.3]),
    ],
)
def test_the_low_pass_rises_after_the_first_assignment(lowest, highest, expected):
    np.testing.assert_allclose(cutoffs(lowest, highest), expected)


def test_a_pass_takes_no_more_memory_than_is_foretold():
    """Nor much less; what a process has before, and the mapped file, not counted."""
    given = {"method": "isac", "particles": "none.star", "radius": RADIUS}
    chosen = load_runs(
        {"runs": {"it": given | {"img_per_grp": 6, "thld_grp": 5, "indep_run": 2}}}
    )
    chosen = chosen["it"]
    basis = polar_basis(chosen)
    shape = (300, len(basis.directions), len(basis.radii))
    noise = np.random.default_rng(0).standard_normal((2, *shape), np.float32)
    particles = Particles(basis, noise[0] + 1j * noise[1], np.arange(300))
    starts = [random_start(particles, 50, stream(0, r)) for r in range(2)]
    tracemalloc.start()
    sac(Team(), particles, starts, 1, False, OPTIONS, lambda *work: stream(1, *work))
    _, measured = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    jobs = jobs_of(chosen, Counts(300, 76), CASES[1])
    job = next(job for job in jobs if job.rule == "isac_clusters")
    before = IDLE + particles.coefficients.nbytes
    foretold = 1e6 * (job.rank_mb + job.shared_mb) - before
    # Not all is there at the same time, and the starts were there before.
    assert measured < foretold < 2 * measured
