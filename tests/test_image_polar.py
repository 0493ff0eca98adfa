"""Rows of polar coefficients are the images: same products, exact movements."""

from itertools import pairwise

import numpy as np
import pytest

from blobs import BALANCED, CHIRAL, alignment, moved, render
from cryokin.image.geometry import centre as centre_of
from cryokin.image.geometry import invert
from cryokin.image.masks import disc
from cryokin.image.polar import PolarBasis

BOX = 48
BASIS = PolarBasis(20, 0.33)
ANALYSIS = BASIS.analysis(BOX)

#: The balanced object, small enough to be moved about within the mask.
COMPACT = BALANCED * [0.75, 0.75, 0.75, 1]


def grid(*images: np.ndarray) -> np.ndarray:
    return BASIS.grid(np.stack(images), ANALYSIS)


def spectra(*images: np.ndarray, centres: object = None) -> np.ndarray:
    return BASIS.spectra(BASIS.images_last(grid(*images)), centres)


def complex_orders(rows: np.ndarray) -> np.ndarray:
    """Return spectra as complex numbers (m, radii, n), m from 0."""
    numbers = rows[:, :, 0] + 1j * rows[:, :, 1]
    return np.moveaxis(numbers, 0, 1).reshape(-1, *numbers.shape[2:])


def random_objects(n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    objects = []
    for _ in range(n):
        blobs = CHIRAL.copy()
        blobs[:, :2] = 0.8 * blobs[:, :2] + rng.normal(0, 1.5, (6, 2))
        blobs[:, 3] += rng.normal(0, 0.5, 6)
        objects.append(render(BOX, blobs))
    return objects


# ------------------------------------------------------------------ products
def test_products_of_grid_rows_are_those_of_the_masked_images():
    images = random_objects(8)
    pixels = np.stack(images)[:, disc(BOX, BASIS.radius)]
    rows = grid(*images)
    products = np.einsum("adr,bdr->ab", rows, rows.conj()).real / rows.shape[1]
    np.testing.assert_allclose(products, np.corrcoef(pixels), atol=0.015)


def test_products_of_spectra_are_those_of_grid_rows():
    images = random_objects(8)
    rows, flat = grid(*images), spectra(*images).reshape(-1, 8)
    products = np.einsum("adr,bdr->ab", rows, rows.conj()).real / rows.shape[1]
    np.testing.assert_allclose(flat.T @ flat, products, atol=1e-3)


def test_rows_have_unit_length_whatever_offset_and_scale():
    image = random_objects(1)[0]
    np.testing.assert_allclose(grid(5 * image - 3), grid(image), atol=1e-4)
    row = grid(image)[0]
    assert np.sum(np.abs(row) ** 2) / len(row) == pytest.approx(1, rel=1e-5)


def test_a_constant_image_gives_zeros():
    assert not grid(np.full((BOX, BOX), 3.0)).any()


def test_what_lies_outside_the_mask_does_not_count():
    image = random_objects(1)[0]
    outside = np.where(disc(BOX, BASIS.radius), image, 99)
    np.testing.assert_array_equal(grid(outside), grid(image))


def test_inner_rings_can_be_left_out():
    hollow = PolarBasis(20, 0.33, inner=4)
    inside = hollow.mask(BOX)
    np.testing.assert_array_equal(inside, disc(BOX, 20) & ~disc(BOX, 2.99))
    assert PolarBasis(20, 0.33).mask(BOX).sum() == disc(BOX, 20).sum()


def test_a_box_of_odd_size_gives_the_same_rows():
    odd = BASIS.grid(render(BOX + 1)[None], BASIS.analysis(BOX + 1))
    np.testing.assert_allclose(odd, grid(render(BOX)), atol=1e-5)


# ------------------------------------------------------------------ movements
@pytest.mark.parametrize("centre", [(0.0, 0.0), (1.7, -2.2), (-4.0, 3.0)])
def test_a_shift_keeps_the_length(centre):
    rng = np.random.default_rng(2)
    images = [*random_objects(3), *rng.normal(size=(3, BOX, BOX))]
    rows = spectra(*images, centres=np.tile(centre, (6, 1)))
    length = np.sum(rows.astype(float) ** 2, axis=(0, 1, 2, 3))
    np.testing.assert_allclose(length[:3], 1, atol=1e-3)  # particles
    np.testing.assert_allclose(length[3:], 1, atol=2e-2)  # noise up to the rim


@pytest.mark.parametrize("centre", [(3, 0), (0, -2), (2, 3), (-4, 1)])
def test_a_shift_by_whole_pixels_is_a_roll(centre):
    image = render(BOX, COMPACT)
    rolled = np.roll(image, (centre[1], centre[0]), axis=(0, 1))
    back = spectra(rolled, centres=np.array([centre], float))
    np.testing.assert_allclose(back, spectra(image), atol=2e-3)


def test_a_shift_by_fractions_moves_the_point_to_the_origin():
    centre = np.array([1.37, -2.61])
    away = render(BOX, moved(alignment(0, centre, False), COMPACT))
    back = spectra(away, centres=centre[None])
    np.testing.assert_allclose(back, spectra(render(BOX, COMPACT)), atol=2e-3)


def test_each_image_and_each_trial_has_its_own_centre():
    images = random_objects(3)
    centres = np.random.default_rng(3).normal(0, 2, (2, 3, 2))
    rows = spectra(*images, centres=centres)
    assert rows.shape[0] == 2
    for trial in range(2):
        for i, image in enumerate(images):
            one = spectra(image, centres=centres[trial, i : i + 1])
            np.testing.assert_allclose(rows[trial, ..., i], one[..., 0], atol=1e-6)


def test_shifted_spectra_are_the_spectra_at_that_centre():
    """But for orders beyond the last, which a shift would bring back into the range."""
    images = random_objects(3)
    centres = np.array([[0, 0], [1, 0], [-0.5, 1.5]])
    both = BASIS.shifted(spectra(*images), centres)
    for trial, centre in enumerate(centres):
        direct = spectra(*images, centres=np.tile(centre, (3, 1)))
        np.testing.assert_allclose(both[trial], direct, atol=5e-3)


@pytest.mark.parametrize("degrees", [0, 40, 90, 123.75, 250, 311.1])
@pytest.mark.parametrize(("blobs", "close"), [(COMPACT, 2e-3), (CHIRAL, 2e-2)])
def test_a_rotation_is_a_phase_per_order(degrees, blobs, close):
    """Nearly so where the object reaches the rim of the mask, which is of pixels."""
    one = alignment(degrees, (0, 0), False)
    turned = complex_orders(spectra(render(BOX, moved(one, blobs))))
    still = complex_orders(spectra(render(BOX, blobs)))
    phase = np.exp(1j * one.angle * np.arange(len(still)))
    np.testing.assert_allclose(turned, still * phase[:, None, None], atol=close)


def test_the_mirror_is_a_conjugation():
    mirrored = spectra(render(BOX, moved(alignment(0, (0, 0), True))))
    np.testing.assert_allclose(
        complex_orders(mirrored), complex_orders(spectra(render(BOX))).conj(), atol=1e-5
    )


def test_an_alignment_is_shift_phase_and_conjugation():
    """The particle at a centre, turned and mirrored onto its reference."""
    one = alignment(77, (1.5, -2.25), True)
    reference = complex_orders(spectra(render(BOX, COMPACT)))
    particle = render(BOX, moved(invert(one), COMPACT))
    rows = complex_orders(spectra(particle, centres=centre_of(one)[None]))
    phase = np.exp(1j * one.angle * np.arange(len(rows)))[:, None, None]
    np.testing.assert_allclose((rows * phase).conj(), reference, atol=3e-3)


# ------------------------------------------------------------------ band and back
def test_radii_reach_the_highest_frequency():
    assert BASIS.radii[-1] <= 0.33 < BASIS.radii[-1] + BASIS.radii[0]
    np.testing.assert_allclose(np.diff(BASIS.radii), 1 / 42)
    sparse = PolarBasis(20, 0.33, step=2)
    np.testing.assert_allclose(np.diff(sparse.radii), 2 / 42)


def test_a_band_is_a_part_of_the_spectra():
    rows = spectra(*random_objects(2))
    centres = np.full((2, 2), 0.5)
    shifted = spectra(*random_objects(2), centres=centres)
    parts = BASIS.images_last(grid(*random_objects(2)))
    for highest in (0.1, 0.2, 0.33):
        band = BASIS.band(highest)
        inside = (slice(None), slice(band.orders), slice(None), slice(band.radii))
        np.testing.assert_allclose(
            BASIS.spectra(parts, None, band), rows[inside], atol=1e-6
        )
        np.testing.assert_allclose(
            BASIS.spectra(parts, centres, band), shifted[inside], atol=1e-6
        )


def test_a_band_grows_with_its_end_and_ends_with_the_grid():
    bands = [BASIS.band(f) for f in (0.0, 0.1, 0.2, 0.3, 0.5)]
    assert all(a.radii <= b.radii and a.orders <= b.orders for a, b in pairwise(bands))
    assert bands[-1] == BASIS.whole
    assert BASIS.radii[bands[2].radii - 1] <= 0.2 < BASIS.radii[bands[2].radii]


def test_the_orders_of_a_band_hold_nearly_all_its_power():
    """Of particles as of noise up to the rim of the mask."""
    noise = np.random.default_rng(4).normal(size=(4, BOX, BOX))
    rows = spectra(*random_objects(4), *noise)
    for highest in (0.1, 0.2):
        band = BASIS.band(highest)
        inside = rows[:, :, :, : band.radii].astype(float) ** 2
        kept = inside[:, : band.orders].sum(axis=(0, 1, 2, 3))
        np.testing.assert_array_less(0.97, kept / inside.sum(axis=(0, 1, 2, 3)))


def test_an_image_comes_back_from_its_spectrum():
    inside = disc(BOX, BASIS.radius)
    for image in random_objects(4):
        back = BASIS.image(spectra(image)[..., 0], ANALYSIS)
        assert back.shape == (BOX, BOX)
        assert not back[~inside].any()
        assert np.corrcoef(back[inside], image[inside])[0, 1] > 0.995
