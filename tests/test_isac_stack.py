"""Working images: the same particles, smaller, centred and normalised."""

import numpy as np
import pytest

from blobs import BALANCED, CHIRAL, alignment, moved, render
from cryokin.files import read_json, write_json
from cryokin.image.centring import centre_of_mass
from cryokin.image.masks import disc
from cryokin.image.polar import PolarBasis
from cryokin.io.mrc import write_stack
from cryokin.io.particles import image_source, read_particles
from cryokin.isac.files import (
    StackImages,
    read_shifts,
    shrink_readme,
    working_stack_info,
    write_shifts,
)
from cryokin.isac.stack import (
    Middles,
    Shrinking,
    highpass_cutoff,
    is_blank,
    original_centres,
    radial_power,
    shrink,
    told_of_filter,
    working_images,
)
from cryokin.options import Isac
from cryokin.parallel import Team
from cryokin.progress import remarks
from isac_shrink import isac_shrink

HOW = Shrinking(size=96, radius=30, target_radius=15, box=40)


def noisy(n: int, box: int, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(5, 0.3, (n, box, box))
    return noise + render(box, CHIRAL * [2, 2, 2, 1])


@pytest.mark.parametrize("size", [60, 61, 80, 96, 97, 130])
@pytest.mark.parametrize("box", [38, 40, 41])
def test_working_images_are_normalised_and_of_the_working_box(size, box):
    how = Shrinking(size, 28, 14, box)
    images = working_images(noisy(3, size), np.zeros((3, 2)), how)
    assert images.shape == (3, box, box)
    assert images.dtype == np.float32
    inner = min(how.whole, box)
    first = box // 2 - inner // 2
    padded = np.ones((box, box), bool)
    padded[first : first + inner, first : first + inner] = False
    assert not images[:, padded].any()
    radius = 14 if how.whole >= box else min(14, inner // 2 - 2)
    inside = disc(box, radius)
    np.testing.assert_allclose(images[:, inside].std(axis=1, ddof=1), 1, rtol=1e-4)
    outside = images[:, ~inside & ~padded]
    np.testing.assert_allclose(outside.mean(axis=1), 0, atol=1e-3)


@pytest.mark.parametrize(
    ("waves", "passes"),
    [((2, 0), 0), ((0, 8), 0.5), ((20, 0), 1), ((1, 1), 0), ((-14, 14), 1)],
)
def test_a_highpass_lets_half_through_at_its_period(waves, passes):
    """Waves in a box of 96 pixel, at a cut-off of 8 of them."""
    size, pixel = 96, 2.0
    place = 2 * np.pi * np.arange(size) / size
    image = np.cos(waves[0] * place[:, None] + waves[1] * place[None, :])
    how = HOW._replace(highpass=highpass_cutoff(size * pixel / 8, pixel))
    assert how.highpass == pytest.approx(8 / size)

    def amplitude(how):
        return np.abs(np.fft.rfft2(shrink([image], how)[0]))[waves]

    assert amplitude(how) / amplitude(HOW) == pytest.approx(passes, abs=0.03)
    # Working images are normalised: what passes in part is there as before.
    kept, lost = (working_images([image], [[0, 0]], h)[0] for h in (HOW, how))
    assert np.allclose(kept, lost, atol=0.3) == (passes > 0)


def test_offset_and_scale_of_an_image_do_not_matter():
    images, shifts = noisy(2, 96), np.array([[1.5, 0], [0, -2.0]])
    np.testing.assert_allclose(
        working_images(7 * images - 3, shifts, HOW),
        working_images(images, shifts, HOW),
        atol=1e-3,
    )


@pytest.mark.parametrize("size", [96, 97])
@pytest.mark.parametrize("shift", [(0, 0), (3.0, -5.0), (-2.5, 1.3)])
def test_a_particle_shifted_to_the_centre_is_at_the_centre(size, shift):
    how = HOW._replace(size=size)
    away = render(size, moved(alignment(0, [-v for v in shift], False), blob()))
    small = working_images(away[None], np.array([shift], float), how)[0]
    np.testing.assert_allclose(centre_of_mass(small.clip(0.5)), (0, 0), atol=0.6)
    brightest = np.unravel_index(small.argmax(), small.shape)
    assert brightest == (how.box // 2, how.box // 2)


def blob() -> np.ndarray:
    return np.array([[0.0, 0.0, 6.0, 1.0]])


def test_shrinking_for_the_prealignment_keeps_the_whole_image():
    small = shrink(noisy(2, 96), HOW)
    assert small.shape == (2, 48, 48)
    assert HOW.whole == 48
    assert HOW.ratio == 0.5


def test_original_centres_undo_shift_and_shrinking():
    """From its place in the working image a blob is found again in the image."""
    rng = np.random.default_rng(2)
    for _ in range(5):
        place, shift = rng.uniform(-8, 8, 2), rng.uniform(-4, 4, 2)
        image = render(96, moved(alignment(0, place, False), blob()))
        small = working_images(image[None], shift[None], HOW)[0]
        flat = small - np.median(small)
        at = centre_of_mass(np.where(flat > 0.02 * flat.max(), flat, 0))
        found = original_centres(at[None], shift[None], HOW.ratio)[0]
        np.testing.assert_allclose(found, place, atol=0.1)


def test_working_images_keep_the_particle_s_shape():
    image = render(96, BALANCED * [2, 2, 2, 1])
    small = working_images(image[None], np.zeros((1, 2)), HOW)[0]
    inside = disc(HOW.box, HOW.target_radius)
    expected = render(HOW.box, BALANCED)
    assert np.corrcoef(small[inside], expected[inside])[0, 1] > 0.9999


# ------------------------------------------------------------------ files
def test_shifts_come_back_from_their_file(tmp_path):
    shifts = np.array([[0.0, 0.0], [-12.34567, 0.00001], [3.5, -100.25]])
    write_shifts(tmp_path / "initial2Dparams.txt", shifts)
    text = (tmp_path / "initial2Dparams.txt").read_text().splitlines()
    assert [line.split()[0] for line in text] == ["0.00000"] * 3
    assert [line.split()[3] for line in text] == ["0"] * 3
    np.testing.assert_allclose(
        read_shifts(tmp_path / "initial2Dparams.txt"), shifts, atol=5e-6
    )


def test_one_shift_is_a_table_too(tmp_path):
    write_shifts(tmp_path / "one.txt", np.array([[1.0, 2.0]]))
    np.testing.assert_array_equal(read_shifts(tmp_path / "one.txt"), [[1, 2]])


def test_the_readme_tells_ratio_and_radius_in_lines_6_and_7():
    lines = shrink_readme(29 / 120, 29).splitlines()
    assert float(lines[5]) == pytest.approx(29 / 120, abs=1e-5)
    assert float(lines[6]) == 29
    assert set(lines[0]) == set(lines[4]) == set(lines[7]) == {"-"}


def test_the_info_tells_the_pixel_size_of_the_working_images(tmp_path):
    info = working_stack_info(HOW, 1.5, tmp_path / "images.npz")
    assert info["pixel_size"] == 3.0
    assert info["shrink_ratio"] == 0.5
    assert info["box"] == 40


def _power(images: np.ndarray) -> tuple[np.ndarray, float, PolarBasis]:
    basis = PolarBasis(29, 0.3)
    rows = basis.grid(images, basis.analysis(images.shape[-1]))
    middles = Middles()
    for block in np.array_split(rows, 3):
        middles.add(block)
    return radial_power(rows, basis), middles.share, basis


def _smoothed(images: np.ndarray, sigma: float) -> np.ndarray:
    """Low-pass to exp(-1/2) at frequency ``sigma`` [cycles/pixel]."""
    box = images.shape[-1]
    square = np.fft.fftfreq(box)[:, None] ** 2 + np.fft.rfftfreq(box)[None] ** 2
    gain = np.exp(-square / (2 * sigma**2))
    return np.fft.irfft2(np.fft.rfft2(images) * gain, (box, box))


def _lumps(n: int) -> np.ndarray:
    """Return images of a body that is longer than wide, at any angle, in noise."""
    y, x = np.mgrid[:64, :64] - 32
    angle = np.random.default_rng(5).uniform(0, np.pi, n)[:, None, None]
    along = x * np.cos(angle) + y * np.sin(angle)
    particle = 3 * np.exp(-(x**2 + y**2) / 120 - along**2 / 400)
    return particle + np.random.default_rng(3).normal(size=(n, 64, 64))


def test_white_noise_has_the_same_power_at_all_radii():
    power, in_common, _ = _power(np.random.default_rng(2).normal(size=(200, 64, 64)))
    np.testing.assert_allclose(power[1:] / power[1:].mean(), 1, atol=0.1)
    assert in_common < 0.02


def test_images_without_high_frequencies_are_told():
    images = _lumps(50)
    for clear in (images, np.zeros((5, 64, 64)), _smoothed(images, 0.25)):
        assert told_of_filter(*_power(clear), 3.0) == []
    power, in_common, basis = _power(_smoothed(images, 0.06))
    [sentence] = told_of_filter(power, in_common, basis, 3.0)
    assert sentence.startswith("beyond 11 A the images hold 0.")
    share = power[-3:].mean() / power.max()
    assert f"hold {100 * share:.1g} % of the power" in sentence
    assert "raw micrographs" in sentence


def test_smooth_images_with_nothing_in_common_are_blank():
    noise = np.random.default_rng(6).normal(size=(200, 64, 64))
    assert not is_blank(*_power(noise)[:2])  # sharp ones need not be told apart
    power, in_common, basis = _power(_smoothed(noise, 0.04))
    assert in_common < 0.05
    assert is_blank(power, in_common)
    [sentence] = told_of_filter(power, in_common, basis, 3.0)
    assert "none is accounted for" in sentence
    # A body in every other image is enough.
    half = np.concatenate([noise[:100], _lumps(100)])
    assert not is_blank(*_power(_smoothed(half, 0.04))[:2])


def test_a_flipped_stack_stands_for_the_images(tmp_path):
    images = noisy(4, 20).astype(np.float32)
    write_stack(tmp_path / "flipped.mrcs", images, 2.0)
    stack = StackImages(tmp_path / "flipped.mrcs", 2.0)
    assert (stack.n, stack.box, stack.pixel_size) == (4, 20, 2.0)
    picked = stack.read(np.array([3, 0]))
    np.testing.assert_array_equal(picked, images[[3, 0]])
    assert picked.dtype == np.float32


OPTIONS = {"target_radius": 29, "target_nx": 64, "xr": 1, "highpass_A": None}
OPTIONS |= {"ir": 1, "rs": 1, "FH": 0.3}


@pytest.mark.parametrize(("sigma", "told"), [(None, 0), (0.06, 1)])
def test_the_step_tells_of_filtered_images(tmp_path, capsys, sigma, told):
    images = np.random.default_rng(4).normal(size=(12, 64, 64))
    stack = tmp_path / "s.mrcs"
    write_stack(stack, images if sigma is None else _smoothed(images, sigma), 3.0)
    table = read_particles(stack)
    image_source(table, 64, with_ctf=False).save(tmp_path / "images.npz")
    write_json(tmp_path / "import.json", {"excluded": [], "radius": 29})
    write_shifts(tmp_path / "shifts.txt", np.zeros((12, 2)))
    isac_shrink(
        team=Team(),
        images=tmp_path / "images.npz",
        info=tmp_path / "import.json",
        shifts=tmp_path / "shifts.txt",
        options=Isac.some(OPTIONS),
        stack=tmp_path / "working.mrcs",
        coefficients=tmp_path / "coefficients.npy",
        stack_info=tmp_path / "working_stack.json",
        readme=tmp_path / "readme.txt",
        ids=tmp_path / "ids.txt",
    )
    assert len(remarks(tmp_path, "isac_shrink", "")) == told  # on the terminal
    assert capsys.readouterr().out.count("warning: beyond") == told
    assert read_json(tmp_path / "working_stack.json")["blank"] == bool(told)
