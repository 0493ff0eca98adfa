"""Alignments are rotations, shifts and mirrors: they obey the laws of matrices."""

from itertools import product

import numpy as np
import pytest

from cryokin.image.centring import centre_of_mass
from cryokin.image.geometry import (
    Alignment,
    apply,
    centre,
    compose,
    flip,
    from_centre,
    from_relion,
    invert,
    rotate,
    to_relion,
    transform_image,
)

HANDS = (False, True)


def matrix(angle: float, shift: np.ndarray, mirror: bool) -> np.ndarray:
    """The definition, as a matrix on ``(x, y, 1)``."""
    cos, sin = np.cos(angle), np.sin(angle)
    moved = np.array([[cos, sin, shift[0]], [-sin, cos, shift[1]], [0, 0, 1]])
    return np.diag([-1 if mirror else 1, 1, 1]) @ moved


def random_alignment(seed: int, n: int, mirror: bool) -> Alignment:
    rng = np.random.default_rng(seed)
    angle = rng.uniform(-10, 10, n)
    return Alignment(angle, rng.normal(0, 5, (n, 2)), np.full(n, mirror))


def matrices(alignment: Alignment) -> np.ndarray:
    return np.array([matrix(*one) for one in zip(*alignment, strict=True)])


def test_rotation_turns_x_towards_minus_y():
    quarter = rotate(np.pi / 2, [1.0, 0.0])
    np.testing.assert_allclose(quarter, [0, -1], atol=1e-15)


def test_flip_reverses_x():
    np.testing.assert_array_equal(flip(True, [3.0, 4.0]), [-3, 4])
    np.testing.assert_array_equal(flip(False, [3.0, 4.0]), [3, 4])


@pytest.mark.parametrize("mirror", HANDS)
def test_apply_is_the_matrix(mirror):
    alignment = random_alignment(1, 20, mirror)
    points = np.random.default_rng(2).normal(0, 9, (20, 2))
    expected = np.einsum(
        "nij,nj->ni", matrices(alignment), np.column_stack([points, np.ones(20)])
    )
    np.testing.assert_allclose(apply(alignment, points), expected[:, :2], atol=1e-12)


@pytest.mark.parametrize(("first", "then"), list(product(HANDS, HANDS)))
def test_composition_is_the_product_of_matrices(first, then):
    a, b = random_alignment(3, 20, first), random_alignment(4, 20, then)
    both = compose(a, b)
    np.testing.assert_allclose(matrices(both), matrices(b) @ matrices(a), atol=1e-12)
    assert np.all((both.angle >= 0) & (both.angle < 2 * np.pi))


@pytest.mark.parametrize("mirror", HANDS)
def test_inverse_undoes_from_both_sides(mirror):
    a = random_alignment(5, 20, mirror)
    identity = np.broadcast_to(np.eye(3), (20, 3, 3))
    for both in (compose(a, invert(a)), compose(invert(a), a)):
        np.testing.assert_allclose(matrices(both), identity, atol=1e-12)


def test_composition_mixes_hands_within_an_array():
    mirror = np.array([False, False, True, True])
    a = random_alignment(6, 4, False)._replace(mirror=mirror)
    b = random_alignment(7, 4, False)._replace(mirror=mirror[::-1])
    np.testing.assert_allclose(
        matrices(compose(a, b)), matrices(b) @ matrices(a), atol=1e-12
    )


@pytest.mark.parametrize("mirror", HANDS)
def test_the_centre_comes_to_the_origin(mirror):
    a = random_alignment(8, 20, mirror)
    np.testing.assert_allclose(apply(a, centre(a)), 0, atol=1e-12)
    back = from_centre(a.angle, centre(a), a.mirror)
    np.testing.assert_allclose(matrices(back), matrices(a), atol=1e-12)


@pytest.mark.parametrize("mirror", HANDS)
def test_relion_angles_describe_the_same_movement(mirror):
    """``q = Rz(psi) diag(1, -1)^flip (p - s)``, Rz a rotation of x towards y."""
    a = random_alignment(9, 20, mirror)
    psi, s, flipped = to_relion(a)
    assert np.all((psi >= -180) & (psi < 180))
    np.testing.assert_array_equal(flipped, a.mirror)
    for k, whole in enumerate(matrices(a)):
        cos, sin = np.cos(np.radians(psi[k])), np.sin(np.radians(psi[k]))
        turn = np.array([[cos, -sin], [sin, cos]]) @ np.diag([1, -1 if mirror else 1])
        np.testing.assert_allclose(turn, whole[:2, :2], atol=1e-12)
        np.testing.assert_allclose(-turn @ s[k], whole[:2, 2], atol=1e-12)


@pytest.mark.parametrize("mirror", HANDS)
def test_relion_angles_come_back(mirror):
    a = random_alignment(10, 20, mirror)
    back = from_relion(*to_relion(a))
    np.testing.assert_allclose(matrices(back), matrices(a), atol=1e-12)


def blob(box: int, x: float, y: float) -> np.ndarray:
    axis = np.arange(box) - box // 2
    square = (axis[None, :] - x) ** 2 + (axis[:, None] - y) ** 2
    return np.exp(-square / (2 * 2.0**2))


@pytest.mark.parametrize("box", [48, 49])
@pytest.mark.parametrize("mirror", HANDS)
@pytest.mark.parametrize("degrees", [0, 40, 90, 123.75, 250, 359])
def test_an_image_moves_as_its_points_do(box, mirror, degrees):
    one = Alignment(np.radians(degrees), np.array([2.5, -1.25]), np.bool_(mirror))
    point = np.array([6.0, 3.0])
    moved = transform_image(blob(box, *point), one)
    assert moved.dtype == np.float32
    np.testing.assert_allclose(centre_of_mass(moved), apply(one, point), atol=0.02)


@pytest.mark.parametrize("box", [16, 17])
def test_a_mirrored_image_keeps_its_centre_column(box):
    image = np.random.default_rng(11).normal(size=(box, box)).astype(np.float32)
    mirrored = transform_image(image, Alignment(0.0, np.zeros(2), np.True_))
    inner = slice(1 - box % 2, box)  # of an even box the first column has no partner
    np.testing.assert_allclose(mirrored[:, inner], image[:, inner][:, ::-1], atol=1e-5)


def test_two_transformations_of_an_image_are_their_composition():
    image = blob(48, 5, -3) + 0.5 * blob(48, -6, 2)
    a = Alignment(0.7, np.array([1.5, -2.0]), np.True_)
    b = Alignment(2.1, np.array([-0.5, 1.0]), np.False_)
    np.testing.assert_allclose(
        transform_image(transform_image(image, a), b),
        transform_image(image, compose(a, b)),
        atol=0.02,
    )
