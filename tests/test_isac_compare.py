"""Averages compared, merged and put in order, whatever their rotation and hand."""

import numpy as np

from blobs import CHIRAL, moved, render
from cryokin.image.geometry import Alignment, apply, compose, from_centre, invert, take
from cryokin.image.polar import PolarBasis
from cryokin.isac.classes import Class
from cryokin.isac.compare import (
    average_spectra,
    laid_onto,
    similarity,
    tour_alignment,
)
from cryokin.isac.selected import merged
from cryokin.partition.trees import tour

BOX, RADIUS = 48, 18
BASIS = PolarBasis(radius=RADIUS, highest=0.3)


def random_alignments(n, seed=0, shift=0.6):
    rng = np.random.default_rng(seed)
    return from_centre(
        rng.uniform(0, 2 * np.pi, n), rng.normal(0, shift, (n, 2)), rng.random(n) < 0.5
    )


def views(alignments, blobs=CHIRAL):
    n = len(alignments.angle)
    return np.stack([render(BOX, moved(take(alignments, i), blobs)) for i in range(n)])


def apart(one, other):
    """Root mean square distance of points that two alignments move [pixel]."""
    rng = np.random.default_rng(1)
    points = rng.uniform(-RADIUS, RADIUS, (200, 2)) / np.sqrt(2)
    return np.sqrt(
        np.mean(np.sum((apply(one, points) - apply(other, points)) ** 2, axis=-1))
    )


def test_averages_are_brought_onto_another():
    given = random_alignments(12)
    spectra = average_spectra(np.concatenate([[render(BOX)], views(given)]), BASIS)
    found = laid_onto(spectra[..., 0], spectra[..., 1:], BASIS)
    for i in range(12):
        assert apart(take(found, i), invert(take(given, i))) < 0.3


def test_likeness_does_not_see_rotation_hand_and_small_shifts():
    other = CHIRAL.copy()  # another body
    other[1, :2] = -6, -7
    other[3, :2] = 9, -2
    images = np.concatenate(
        [views(random_alignments(4, 1)), views(random_alignments(4, 2), other)]
    )
    alike = similarity(average_spectra(images, BASIS), BASIS)
    np.testing.assert_allclose(alike, alike.T)
    np.testing.assert_allclose(np.diag(alike), 1)
    assert alike[:4, :4].min() > 0.95
    assert alike[4:, 4:].min() > 0.95
    assert alike[:4, 4:].max() < 0.9


def test_a_tour_goes_along_a_path():
    """Bodies that change step by step, in random order and orientation."""
    steps = np.random.default_rng(3).permutation(15)
    placed = random_alignments(15, 4, 0.3)
    images = []
    for i, step in enumerate(steps):
        blobs = CHIRAL.copy()
        blobs[1, :2] += [-0.9 * step, 0.5 * step]
        images.append(render(BOX, moved(take(placed, i), blobs)))
    spectra = average_spectra(np.stack(images), BASIS)
    order = tour(similarity(spectra, BASIS))
    path = steps[order]
    assert list(path) in (list(range(15)), list(range(14, -1, -1)))
    assert order[0] < order[-1]
    # Turned onto each other, all show the parts that do not move at the same places.
    found = tour_alignment(spectra, order, BASIS)
    still = CHIRAL[[2, 3, 4]]
    first = apply(take(placed, order[0]), still[:, :2])
    for i, k in enumerate(order):
        whole = compose(take(placed, k), take(found, i))
        assert (
            np.abs(apply(whole, still[:, :2]) - first).max() < 3.5
        )  # the body's middle moves


def test_merged_classes_have_one_frame():
    """What two classes' alignments say differently, those of the merged one do not."""
    n = 10
    truth = random_alignments(n, 5)
    frames = random_alignments(2, 6)
    parts, averages = [], []
    for k in range(2):
        ids = np.arange(k, n, 2)
        frame = Alignment(*(np.repeat(f[[k]], len(ids), axis=0) for f in frames))
        parts.append(
            Class(
                ids,
                compose(take(truth, ids), frame),
                np.full(len(ids), 0.1 * k),
                np.full(len(ids), float(k)),
            )
        )
        averages.append(render(BOX, moved(take(frames, k))))
    both = merged(parts, np.stack(averages), BASIS)
    assert list(both.members) == list(range(n))
    np.testing.assert_allclose(both.errors, 0.1 * (np.arange(n) % 2))
    assert both.reproduction == 0.5
    frame = Alignment(*(np.repeat(f[[0]], n, axis=0) for f in frames))
    expected = compose(truth, frame)
    for i in range(n):
        assert apart(take(both.alignment, i), take(expected, i)) < 0.5
    assert merged(parts[:1], np.stack(averages[:1]), BASIS) is parts[0]
