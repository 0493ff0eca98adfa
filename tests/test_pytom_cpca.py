import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.partition.agreement import adjusted_rand_index
from cryokin.subtomo import ccc, cpca
from cryokin.subtomo.pose_errors import consensus, correct, refine
from simulated import simulate

BLOCKS = 0.1 + np.kron(np.eye(2), [[0.9, 0.7], [0.7, 0.9]])


def test_the_example_of_two_blocks():
    found = cpca.components(BLOCKS, 4)
    np.testing.assert_allclose(found.eigenvalues, [2, 1.6, 0.2, 0.2], atol=1e-12)
    np.testing.assert_allclose(found.coefficients[:, 0], 0.70710678)
    np.testing.assert_allclose(np.abs(found.coefficients[:, 1]), 0.63245553, atol=1e-8)
    assert found.explained.sum() == pytest.approx(1)
    for method in ("mixture", "kmeans"):
        for seed in range(10):
            labels = cpca.cluster(found.coefficients[:, :2], 2, seed, method)
            assert labels.tolist() == [0, 0, 1, 1]


def test_coefficients_are_pytoms(shared):
    folder = shared / "data/pytom_small2/expected"
    matrix = ccc.read_matrix(folder / "correlation_matrix.csv")
    expected = np.load(folder / "cpca_coefficients_e2.npy")
    for by_size in (False, True):
        found = cpca.components(matrix, expected.shape[1], by_size).coefficients
        signs = np.sign((found * expected).sum(axis=0))
        np.testing.assert_allclose(found * signs, expected, atol=1e-8)


def test_pytoms_particles_are_split_as_pytom_does(shared):
    from cryokin.io.pytom_xml import read_particle_list

    folder = shared / "data/pytom_small2/expected"
    coefficients = np.load(folder / "cpca_coefficients_e2.npy")
    expected = [p.label for p in read_particle_list(folder / "cpca_classified.xml")]
    labels = cpca.cluster(coefficients, 2, 1, "kmeans")
    assert adjusted_rand_index(labels, np.array(expected)) == 1


def test_large_negative_eigenvalues_are_structure_only_for_pytom():
    matrix = np.diag([3.0, -5, 1, 2])
    np.testing.assert_allclose(cpca.components(matrix, 2).eigenvalues, [3, 2])
    np.testing.assert_allclose(cpca.components(matrix, 2, True).eigenvalues, [-5, 3])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: cpca.components(BLOCKS, 5), "neig = 5"),
        (lambda: cpca.cluster(BLOCKS, 5, 0), "nclass = 5"),
    ],
)
def test_refuses_more_than_there_are(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()


def blobs(sizes, distance, seed=0):
    rng = np.random.default_rng(seed)
    centres = distance * np.stack(
        [np.cos(np.arange(len(sizes))), np.arange(len(sizes))], 1
    )
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return centres[labels] + rng.normal(size=(len(labels), 2)) * (1, 0.3), labels


@pytest.mark.parametrize("method", ["mixture", "kmeans"])
def test_separate_blobs_are_found_for_every_seed(method):
    data, truth = blobs([30] * 5, 12)
    for seed in range(20):
        labels = cpca.cluster(data, 5, seed, method)
        assert adjusted_rand_index(labels, truth) == 1


def test_the_mixture_finds_a_small_class():
    data, truth = blobs([400, 40], 2.2, seed=3)
    mixture = adjusted_rand_index(cpca.cluster(data, 2, 0, "mixture"), truth)
    kmeans = adjusted_rand_index(cpca.cluster(data, 2, 0, "kmeans"), truth)
    assert mixture > 0.9 > kmeans


def test_the_same_seed_gives_the_same_classes_the_largest_first():
    data, _ = blobs([20, 50, 30], 2)
    first = cpca.cluster(data, 3, 7)
    np.testing.assert_array_equal(first, cpca.cluster(data, 3, 7))
    counts = np.bincount(first)
    assert (np.diff(counts) <= 0).all()


def test_turning_the_components_does_not_change_the_classes():
    data, _ = blobs([40, 20], 6)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    np.testing.assert_array_equal(
        cpca.cluster(data, 2, 0), cpca.cluster(data @ turn, 2, 0)
    )


@pytest.mark.parametrize("method", ["mixture", "kmeans"])
def test_identical_particles_do_no_harm(method):
    labels = cpca.cluster(np.ones((6, 2)), 2, 0, method)
    assert len(labels) == 6


def test_classes_are_found_in_spite_of_wrong_poses():
    particles = simulate((90, 40), noise=1.0, turn=0.05, shift=0.5, difference=2.0)
    refined = refine(particles.rows, particles.rotations, particles.shifts, 2)
    corrected = refined.corrected

    def found(corrected):
        matrix = ccc.matrix(corrected.weighted(), corrected.w)
        coefficients = cpca.components(matrix, 2).coefficients
        return adjusted_rand_index(cpca.cluster(coefficients, 2, 0), particles.labels)

    assert found(corrected) > 0.8
    assert found(correct(particles.rows(), project=False)) < 0.3


def test_pose_errors_lead_the_spectrum_until_they_are_taken_out():
    particles = simulate((60,), noise=1.0, turn=0.06, shift=0.5)
    kept, without = (
        cpca.components(ccc.matrix(c.weighted(), c.w), 6).eigenvalues
        for c in (correct(particles.rows(), project) for project in (False, True))
    )
    assert kept[0] > 2 * without[0]


def test_an_eigenvolume_is_what_the_classes_differ_by():
    particles = simulate((40, 40), noise=0.5)
    rows = particles.rows()
    corrected = correct(rows, project=False)
    matrix = ccc.matrix(corrected.weighted(), corrected.w)
    (first, *_) = cpca.eigenvolumes(corrected, cpca.components(matrix, 3))
    members = [np.flatnonzero(particles.labels == c) for c in (0, 1)]
    averages = [consensus(rows.take(ids))[0] for ids in members]
    difference = averages[1] - averages[0]
    alike = np.abs(np.vdot(first, difference))
    assert alike > 0.95 * np.linalg.norm(first) * np.linalg.norm(difference)


def test_many_particles_have_the_components_of_the_dense_solver(monkeypatch):
    matrix = np.corrcoef(np.random.default_rng(1).normal(size=(60, 8)))
    for by_size in (False, True):
        dense = cpca.components(matrix, 4, by_size)
        monkeypatch.setattr(cpca, "DENSE", 50)
        sparse = cpca.components(matrix, 4, by_size)
        monkeypatch.undo()
        np.testing.assert_allclose(sparse.coefficients, dense.coefficients, atol=1e-10)
        assert sparse.total == dense.total


def with_axes(n, strengths, seed=0):
    """A correlation matrix of particles that vary along some axes, and in noise."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(2000, len(strengths))))[0]
    signal = (rng.normal(size=(n, len(strengths))) * strengths) @ axes.T
    rows = signal + rng.normal(size=(n, 2000)) / np.sqrt(2000)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows @ rows.T


@pytest.mark.parametrize(
    ("strengths", "expected"), [([0.5], 1), ([0.6, 0.5, 0.45], 3), ([0.0], None)]
)
def test_components_that_halves_do_not_share_are_not_used(strengths, expected):
    for seed in range(3):
        matrix = with_axes(200, np.array(strengths), seed)
        leading = cpca.components(matrix, 8)
        shared = cpca.reproduced(matrix, leading, 1)
        assert (shared >= 0).all() and (shared <= 1).all()
        if expected is None:
            assert (shared < cpca.REPRODUCED).all()
        else:
            assert cpca.number_used(shared) == expected
            assert shared[:expected].min() > 2 * shared[expected:].max()


def test_one_component_is_used_at_least():
    assert cpca.number_used(np.array([0.1, 0.3, 0.2])) == 2
    assert cpca.number_used(np.array([0.9, 0.1, 0.6, 0.2])) == 3
