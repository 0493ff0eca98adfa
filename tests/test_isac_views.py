"""Runs agree on a particle if they see it the same way, wherever they put borders."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from blobs import CHIRAL, moved, render
from cryokin.files import write_ids, write_json
from cryokin.image.geometry import Alignment, centre, from_centre, invert, take
from cryokin.image.polar import PolarBasis
from cryokin.isac.classes import load_classes
from cryokin.isac.clusters import save_clusters
from cryokin.isac.particles import Particles
from cryokin.isac.sac import Run
from cryokin.isac.views import agreement, centre_of_power
from cryokin.options import Isac
from cryokin.options.option import options_of
from cryokin.parallel import Team
from isac_candidates_round import isac_candidates_round
from ranks import on_ranks

BOX, RADIUS, N, VIEWS = 48, 18, 120, 2
BASIS = PolarBasis(radius=RADIUS, highest=0.3)


def other_view() -> np.ndarray:
    blobs = CHIRAL.copy()
    blobs[:, :2] = blobs[::-1, 1::-1] * [1.1, -0.8]
    return blobs


@dataclass
class Seen:
    particles: Particles
    view: np.ndarray
    truth: Alignment

    def run(self, classes: list[np.ndarray], seed: int) -> Run:
        """Return a run with such classes, each in a frame of its own, well aligned."""
        rng = np.random.default_rng(seed)
        alignment = Alignment(*(np.copy(part) for part in self.truth))
        for members in classes:
            turn = rng.uniform(0, 2 * np.pi)
            sign = np.where(alignment.mirror[members], -1, 1)
            angle = alignment.angle[members] + sign * turn
            alignment.angle[members] = angle
            alignment.shift[members] = from_centre(
                angle, self.places[members], alignment.mirror[members]
            ).shift
        averages = [
            self.particles.average(members, take(alignment, members))
            for members in classes
        ]
        return Run(
            np.stack(averages, axis=-1), classes, alignment, np.zeros(N), classes
        )

    @property
    def places(self) -> np.ndarray:
        return centre(self.truth)


def seen(objects: list[np.ndarray], snr: float = 0.5) -> Seen:
    rng = np.random.default_rng(1)
    view = np.arange(N) % len(objects)
    truth = from_centre(
        rng.uniform(0, 2 * np.pi, N), rng.normal(0, 0.5, (N, 2)), rng.random(N) < 0.5
    )
    clean = np.zeros((N, BOX, BOX), np.float32)
    for i in range(N):
        lies = invert(take(truth, i))
        clean[i] = render(BOX, moved(lies, objects[view[i]]))
    sigma = clean[:, BASIS.mask(BOX)].std() / np.sqrt(snr)
    images = clean + rng.normal(0, sigma, clean.shape).astype(np.float32)
    rows = BASIS.grid(images, BASIS.analysis(BOX))
    return Seen(Particles(BASIS, rows, np.arange(N)), view, truth)


@pytest.fixture(scope="module")
def two_views() -> Seen:
    return seen([CHIRAL, other_view()])


def halves(data: Seen, seed: int) -> list[np.ndarray]:
    """Cut each view into two classes anywhere."""
    rng = np.random.default_rng(seed)
    classes = []
    for v in range(VIEWS):
        members = rng.permutation(np.flatnonzero(data.view == v))
        classes += [np.sort(members[:30]), np.sort(members[30:])]
    return classes


def test_borders_between_classes_do_not_matter(two_views):
    runs = [two_views.run(halves(two_views, s), s) for s in range(3)]
    counts = agreement(Team(), two_views.particles, runs)
    assert counts.shape == (3, N)
    np.testing.assert_array_equal(counts, 2)


def test_a_particle_in_a_class_of_another_view_is_not_agreed_on(two_views):
    runs = [two_views.run(halves(two_views, s), s) for s in range(2)]
    classes = halves(two_views, 2)
    stray = classes[0][:3]
    classes[0] = classes[0][3:]
    classes[2] = np.sort(np.concatenate([classes[2], stray]))
    runs.append(two_views.run(classes, 2))
    counts = agreement(Team(), two_views.particles, runs)
    np.testing.assert_array_equal(counts[2][stray], 0)
    np.testing.assert_array_equal(counts[0][stray], 1)
    others = np.setdiff1d(np.arange(N), stray)
    np.testing.assert_array_equal(counts[:, others], 2)


def test_a_particle_that_lies_otherwise_is_not_agreed_on(two_views):
    runs = [two_views.run(halves(two_views, s), s) for s in range(2)]
    wrong = np.arange(0, N, 10)
    angle = runs[1].alignment.angle.copy()
    angle[wrong] += 0.5
    shifted = from_centre(angle, two_views.places, runs[1].alignment.mirror)
    counts = agreement(
        Team(), two_views.particles, [runs[0], replace(runs[1], alignment=shifted)]
    )
    np.testing.assert_array_equal(counts[:, wrong], 0)
    assert counts.sum() == 2 * (N - len(wrong))


@pytest.mark.parametrize(("turn", "agree"), [(2 * np.pi / 7, 1), (np.pi / 7, 0)])
def test_a_turn_that_leaves_the_picture_as_it_is_makes_no_difference(turn, agree):
    angles = 2 * np.pi * np.arange(7) / 7
    x, y = 11 * np.cos(angles), 11 * np.sin(angles)
    ring = np.stack([x, y, np.full(7, 2.0), np.ones(7)], axis=1)
    data = seen([ring])
    runs = [data.run([np.arange(N)], s) for s in range(2)]
    turned = np.arange(0, N, 10)
    angle = runs[1].alignment.angle.copy()
    angle[turned] += turn
    other = from_centre(angle, data.places, runs[1].alignment.mirror)
    runs[1] = replace(runs[1], alignment=other)
    counts = agreement(Team(), data.particles, runs)
    np.testing.assert_array_equal(counts[:, turned], agree)
    assert counts.sum() == 2 * N - 2 * len(turned) * (1 - agree)


def test_what_is_not_stable_is_not_agreed_on(two_views):
    runs = [two_views.run(halves(two_views, s), s) for s in range(2)]
    members = [m[5:] for m in runs[1].members]
    counts = agreement(
        Team(), two_views.particles, [runs[0], replace(runs[1], members=members)]
    )
    left = np.concatenate([m[:5] for m in runs[1].members])
    np.testing.assert_array_equal(counts[:, left], 0)
    assert counts.sum() == 2 * (N - len(left))


def test_classes_of_noise_show_no_view():
    """Even if all were placed alike, there is nothing that averages have in common."""
    data = seen([CHIRAL * [1, 1, 1, 0.0]], snr=np.inf)
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(N, BOX, BOX)).astype(np.float32)
    rows = BASIS.grid(noise, BASIS.analysis(BOX))
    data = Seen(Particles(BASIS, rows, np.arange(N)), data.view, data.truth)
    cut = [np.array_split(rng.permutation(N), 4) for _ in range(2)]
    runs = [data.run([np.sort(c) for c in cut[s]], s) for s in range(2)]
    assert agreement(Team(), data.particles, runs).sum() == 0


def test_what_shows_at_the_edge_alone_is_no_view_of_a_particle():
    edge = np.array([[17.0, 0.0, 4.0, 1.0]])
    data = seen([edge], snr=2.0)
    runs = [data.run([np.arange(0, 60), np.arange(60, N)], s) for s in range(2)]
    assert agreement(Team(), data.particles, runs).sum() == 0
    assert centre_of_power(render(BOX, edge)) > 14
    assert centre_of_power(render(BOX)) < 0.2 * RADIUS


def test_any_number_of_ranks_counts_the_same(two_views):
    runs = [two_views.run(halves(two_views, s), s) for s in range(3)]
    alone = agreement(Team(), two_views.particles, runs)
    for found in on_ranks(3, lambda team: agreement(team, two_views.particles, runs)):
        np.testing.assert_array_equal(found, alone)


@pytest.mark.parametrize(("blank", "found"), [(False, 8), (True, 0)])
def test_agreement_on_a_smooth_background_is_no_evidence(
    two_views, tmp_path, blank, found
):
    runs = [two_views.run(halves(two_views, s), s) for s in range(2)]
    save_clusters(tmp_path / "clusters.npz", runs)
    np.save(tmp_path / "coefficients.npy", two_views.particles.coefficients)
    write_ids(tmp_path / "ids.txt", np.arange(N))
    write_json(tmp_path / "working_stack.json", {"box": BOX, "blank": blank})
    values = {key: known.default for key, known in options_of(Isac).items()}
    values |= {"radius": RADIUS, "target_radius": RADIUS, "indep_run": 2}
    isac_candidates_round(
        team=Team(),
        coefficients=tmp_path / "coefficients.npy",
        stack_info=tmp_path / "working_stack.json",
        ids=tmp_path / "ids.txt",
        clusters=tmp_path / "clusters.npz",
        generation=1,
        round=1,
        options=Isac.some(values),
        classes=tmp_path / "classes.npz",
        left=tmp_path / "left.txt",
        state=tmp_path / "state.json",
    )
    assert len(load_classes(tmp_path / "classes.npz")) == found
