import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryokin.volume import euler

Z = np.array([0.0, 0.0, 1.0])


def drawn(n=200):
    turn = np.random.default_rng(3).uniform(-np.pi, np.pi, (n, 3))
    turn[:, 2] = np.abs(turn[:, 2])
    return turn


@pytest.mark.parametrize(
    ("angles", "moved"),
    [
        ((0, 0, 90), (0, -1, 0)),
        ((90, 90, 90), (1, 0, 0)),
        ((10, 10, 10), (0.030153690, -0.171010062, 0.984807750)),
    ],
)
def test_pytoms_own_examples(angles, moved):
    np.testing.assert_allclose(euler.matrix(np.radians(angles)) @ Z, moved, atol=1e-9)


def test_matrix_equals_scipys():
    angles = drawn()
    expected = Rotation.from_euler("zxz", angles[:, [0, 2, 1]]).as_matrix()
    np.testing.assert_allclose(euler.matrix(angles), expected, atol=1e-12)


def test_angles_are_the_inverse_of_matrix_also_at_the_poles():
    angles = drawn()
    angles[:3, 2] = (0, np.pi, 1e-9)
    rotation = euler.matrix(angles)
    np.testing.assert_allclose(
        euler.matrix(euler.angles(rotation)), rotation, atol=2e-9
    )
    assert (euler.angles(rotation)[:3, 0] == 0).all()


def test_inverse_undoes():
    angles = drawn()
    product = euler.matrix(euler.inverse(angles)) @ euler.matrix(angles)
    np.testing.assert_allclose(
        product, np.broadcast_to(np.eye(3), product.shape), atol=1e-12
    )


def test_relion_describes_the_same_orientation():
    angles = drawn()
    rot, tilt, psi = euler.to_relion(angles).T
    # RELION's Euler matrix takes the reference to the particle: the inverse of ZYZ.
    expected = Rotation.from_euler("ZYZ", np.stack([rot, tilt, psi], 1)).inv()
    np.testing.assert_allclose(euler.matrix(angles), expected.as_matrix(), atol=1e-12)
    back = euler.matrix(euler.from_relion(euler.to_relion(angles)))
    np.testing.assert_allclose(back, euler.matrix(angles), atol=1e-12)


def test_rotation_vectors():
    vectors = np.random.default_rng(1).normal(0, 1, (50, 3))
    vectors[0] = 0
    vectors[1] *= 1e-9
    np.testing.assert_allclose(
        euler.from_vector(vectors),
        Rotation.from_rotvec(vectors).as_matrix(),
        atol=1e-12,
    )
