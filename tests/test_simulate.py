"""Simulated images are what they are said to be."""

import csv
import hashlib
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryokin.errors import InputError
from cryokin.io.mrc import open_stack, read_stack_header
from cryokin.io.star import read_star
from cryokin.script import run
from cryokin.simulate.density import Density, chiral_density, project
from cryokin.simulate.files import TRUTH_COLUMNS, write_image_set
from cryokin.simulate.images import (
    Recipe,
    contrast_transfer,
    simulate_images,
)
from cryokin.simulate.orientations import clustered, half_sphere, seen_from
from simulate_2d import simulate_2d

SMALL = Recipe(n_images=40)
AXIS = np.arange(64) - 32


def views_of(orientations):
    return orientations.apply([0.0, 0.0, 1.0])


class TestProjection:
    def test_keeps_the_mass(self):
        density = chiral_density()
        orientations = Rotation.random(5, np.random.default_rng(1))
        images = project(density, orientations, np.zeros((5, 2)), 64, 5.0)
        mass = images.sum(axis=(1, 2), dtype=float) * 5.0**2
        np.testing.assert_allclose(mass, density.masses.sum(), rtol=1e-5)

    def test_of_a_point_lies_where_the_convention_puts_it(self):
        # r of the image's frame is R r of the particle's
        rng = np.random.default_rng(2)
        point = np.array([30.0, -50.0, 20.0])
        density = Density(point[None], np.array([8.0]), np.array([1.0]))
        orientations = Rotation.random(6, rng)
        shifts = rng.normal(0, 3, (6, 2))
        images = project(density, orientations, shifts, 64, 5.0).astype(float)
        images /= images.sum(axis=(1, 2), keepdims=True)
        found = np.stack([images.sum(axis=1) @ AXIS, images.sum(axis=2) @ AXIS], 1)
        expected = orientations.inv().apply(point)[:, :2] / 5.0 + shifts
        np.testing.assert_allclose(found, expected, atol=1e-4)

    def test_obeys_the_central_slice_theorem(self):
        # the transform of a sum of Gaussians is known in closed form
        density = chiral_density()
        orientation = Rotation.random(1, np.random.default_rng(3))
        image = project(density, orientation, np.zeros((1, 2)), 64, 5.0)[0]
        k = np.fft.fftfreq(64, 5.0)
        plane = np.stack([*np.meshgrid(k, k), np.zeros((64, 64))], axis=-1)
        points = orientation.apply(plane.reshape(-1, 3))
        waves = np.exp(-2j * np.pi * points @ density.centres.T)
        k2 = np.sum(points**2, axis=1)[:, None]
        decay = np.exp(-2 * np.pi**2 * density.widths**2 * k2)
        slice_ = ((waves * decay) @ density.masses).reshape(64, 64)
        spectrum = np.fft.fft2(np.fft.ifftshift(image)) * 5.0**2
        np.testing.assert_allclose(spectrum, slice_, atol=2e-3)

    def test_from_opposite_directions_is_mirrored(self):
        density = chiral_density()
        one = Rotation.random(1, np.random.default_rng(4))
        # half a turn about the image's y axis: x and the beam change their signs
        other = one * Rotation.from_euler("Y", 180, degrees=True)
        shifts = np.zeros((1, 2))
        a, b = (project(density, o, shifts, 65, 5.0)[0] for o in (one, other))
        np.testing.assert_allclose(a, b[:, ::-1], atol=1e-9)

    def test_the_particle_is_centred_and_fits_the_radius(self):
        density = chiral_density()
        centre = np.average(density.centres, axis=0, weights=density.masses)
        np.testing.assert_allclose(centre, 0, atol=1e-9)
        assert density.radius < 125
        orientations = Rotation.random(8, np.random.default_rng(5))
        images = project(density, orientations, np.zeros((8, 2)), 64, 5.0)
        outside = AXIS[:, None] ** 2 + AXIS**2 > 25**2
        assert images[:, outside].sum() < 0.02 * images.sum()

    def test_the_particle_is_chiral(self):
        # no rotation of the mirrored particle puts its blobs onto those of the other
        density = chiral_density()
        mirrored = density.centres * [1, 1, -1]
        weights = density.masses
        _, rmsd = Rotation.align_vectors(density.centres, mirrored, weights)
        assert rmsd / np.sqrt(weights.sum()) > 10  # [A]


class TestOrientations:
    def test_uniform_ones_have_no_preference(self):
        views = views_of(clustered(4000, 8, 0.1, 0.0, np.random.default_rng(6)))
        np.testing.assert_allclose(views.mean(axis=0), 0, atol=0.05)
        np.testing.assert_allclose(views.T @ views / 4000, np.eye(3) / 3, atol=0.03)

    def test_gathered_ones_have_the_spread_asked_for(self):
        spread = np.radians(5.0)
        views = views_of(clustered(4000, 8, spread, 1.0, np.random.default_rng(7)))
        angle = np.arccos(np.clip((views @ half_sphere(8).T).max(axis=1), -1, 1))
        # two normal components of a tilt: a Rayleigh distribution
        np.testing.assert_allclose(np.mean(angle**2), 2 * spread**2, rtol=0.06)

    def test_directions_are_far_apart_mirrors_included(self):
        directions = half_sphere(8)
        np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
        nearest = np.abs(directions @ directions.T) - np.eye(8)
        assert np.degrees(np.arccos(nearest.max())) > 35

    def test_are_seen_from_the_direction_given(self):
        views = half_sphere(20)
        orientations = seen_from(views, np.random.default_rng(8))
        np.testing.assert_allclose(views_of(orientations), views, atol=1e-9)


class TestImages:
    def test_noise_has_the_ratio_asked_for(self):
        noisy = simulate_images(replace(SMALL, n_images=300, snr=0.5)).images
        inside = AXIS[:, None] ** 2 + AXIS**2 <= 24**2
        # the variance inside is that of the noise, which is 1, and of the signal
        signal = noisy[:, inside].var(axis=1).mean() - 1
        assert signal == pytest.approx(0.5, rel=0.1)

    def test_the_background_is_normalised(self):
        made = simulate_images(SMALL)
        outside = AXIS[:, None] ** 2 + AXIS**2 > (chiral_density().radius / 5) ** 2
        background = made.images[:, outside]
        np.testing.assert_allclose(background.mean(axis=1), 0, atol=1e-5)
        np.testing.assert_allclose(background.std(axis=1), 1, atol=1e-5)

    def test_without_noise_they_are_the_projections(self):
        made = simulate_images(replace(SMALL, snr=1e8))
        clean = project(chiral_density(), made.orientations, made.shifts, 64, 5.0)
        for got, expected in zip(made.images, clean, strict=True):
            assert np.corrcoef(got.ravel(), expected.ravel())[0, 1] > 0.9999

    def test_more_images_leave_the_noise_of_the_first_alone(self):
        few = simulate_images(replace(SMALL, snr=1e-9, n_images=3))
        more = simulate_images(replace(SMALL, snr=1e-9, n_images=5))
        np.testing.assert_allclose(few.images, more.images[:3], atol=1e-3)

    def test_junk_shows_no_particle(self):
        made = simulate_images(replace(SMALL, junk=0.25, snr=1e6))
        assert np.count_nonzero(made.kind != "particle") == 10
        assert set(made.kind) == {"particle", "junk_noise", "junk_blobs"}
        clean = project(chiral_density(), made.orientations, made.shifts, 64, 5.0)
        for kind, image, like in zip(made.kind, made.images, clean, strict=True):
            similarity = np.corrcoef(image.ravel(), like.ravel())[0, 1]
            assert (similarity > 0.99) == (kind == "particle")

    def test_a_particle_too_large_for_the_box_is_refused(self):
        with pytest.raises(InputError, match="does not fit a box of 48 pixel"):
            simulate_images(replace(SMALL, box=48))


class TestContrastTransfer:
    def test_is_that_of_the_textbook(self):
        defocus = np.array([[20_000.0, 18_000.0, 30.0]])
        transfer = contrast_transfer(128, 2.0, defocus)[0]
        assert transfer[0, 0] == pytest.approx(0.1)  # amplitude contrast
        # along x: 30 degrees off the first axis
        depth = 19_000 + 1_000 * np.cos(np.radians(2 * -30))
        k = np.arange(65) / 256
        wavelength = 0.0196875  # 300 kV [A]
        phase = np.pi * wavelength * depth * k**2
        phase -= np.pi / 2 * 2.7e7 * wavelength**3 * k**4
        expected = np.sin(phase + np.arcsin(0.1))
        np.testing.assert_allclose(transfer[0], expected, atol=1e-3)

    def test_multiplies_the_spectrum_of_the_particle(self):
        made = simulate_images(replace(SMALL, snr=1e8, ctf=True, n_images=6))
        clean = project(chiral_density(), made.orientations, made.shifts, 128, 5.0)
        transfer = contrast_transfer(128, 5.0, made.defocus)
        expected = np.fft.irfft2(np.fft.rfft2(clean) * transfer)[:, 32:96, 32:96]
        for got, like, bare in zip(made.images, expected, clean, strict=True):
            assert np.corrcoef(got.ravel(), like.ravel())[0, 1] > 0.9999
            bare = bare[32:96, 32:96]
            assert np.corrcoef(got.ravel(), bare.ravel())[0, 1] < 0.95


class TestFiles:
    def test_tell_the_same_as_the_set(self, tmp_path):
        made = simulate_images(replace(SMALL, ctf=True, junk=0.1))
        write_image_set(tmp_path, made)
        np.testing.assert_array_equal(
            open_stack(tmp_path / "particles.mrcs"), made.images
        )
        assert read_stack_header(tmp_path / "particles.mrcs").pixel_size == 5.0
        blocks = read_star(tmp_path / "particles.star")
        assert list(blocks) == ["optics", "particles"]
        names = blocks["particles"]["rlnImageName"]
        assert list(names[:2]) == ["000001@particles.mrcs", "000002@particles.mrcs"]
        defocus = blocks["particles"]["rlnDefocusU"].astype(float)
        np.testing.assert_allclose(defocus, made.defocus[:, 0], atol=1e-3)
        with (tmp_path / "truth.csv").open(newline="") as handle:
            rows = list(csv.DictReader(handle))
        assert tuple(rows[0]) == TRUTH_COLUMNS
        assert [int(row["particle_id"]) for row in rows] == list(range(1, 41))
        junk = np.array([int(row["map_id"]) == -1 for row in rows])
        np.testing.assert_array_equal(junk, made.kind != "particle")
        angles = [[float(row[key]) for key in ("rot", "tilt", "psi")] for row in rows]
        told = Rotation.from_euler("ZYZ", angles, degrees=True)
        assert np.degrees((told.inv() * made.orientations).magnitude()).max() < 1e-3

    def test_nothing_of_the_truth_stands_in_the_star(self, tmp_path):
        write_image_set(tmp_path, simulate_images(SMALL))
        columns = read_star(tmp_path / "particles.star")["particles"].columns
        assert not [name for name in columns if "Angle" in name or "Origin" in name]

    def test_the_script_gives_the_same_bytes_for_the_same_seed(self, tmp_path):
        def digest(folder, *arguments):
            words = ["--truth", str(folder / "truth.csv"), "--n-images", "8"]
            run(simulate_2d, [*words, *arguments])
            return [
                hashlib.sha256((folder / name).read_bytes()).hexdigest()
                for name in ("particles.mrcs", "particles.star", "truth.csv")
            ]

        one = digest(tmp_path / "a")
        assert digest(tmp_path / "b" / "c") == one
        other = digest(tmp_path / "d", "--seed", "1")
        assert other[0] != one[0]
        assert other[2] != one[2]

    def test_the_script_refuses_in_a_sentence(self, tmp_path):
        with pytest.raises(InputError, match=r"^a particle of radius 24\.5 pixel does"):
            simulate_2d(truth=tmp_path / "a/truth.csv", recipe=Recipe(box=30))
        assert not (tmp_path / "a").exists()
