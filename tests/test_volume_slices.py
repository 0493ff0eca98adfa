import numpy as np
import pytest
import scipy.fft

from cryokin.volume import averages, euler
from cryokin.volume.bands import band, coefficients, row
from cryokin.volume.resample import fourier_crop
from cryokin.volume.slices import FINER, Slices, dose_weight, slices
from cryokin.volume.wedge import TiltWedge
from tilted import BOX, contrast, projections, tilts, volume

POSE = euler.matrix([0.4, 1.9, 1.1])
SHIFT = np.array([0.7, -0.4, 0.3])
FLAT = np.ones((21, FINER * BOX, FINER * BOX))


def seen(pose=POSE, shift=SHIFT, c=FLAT):
    _, turns = tilts()
    return slices(projections(turns, pose, shift), c, turns, premultiplied=False)


def agreement(x, y):
    product = np.vdot(x, y).real
    return product / np.sqrt(np.vdot(x, x).real * np.vdot(y, y).real)


def test_slices_in_the_common_frame_are_the_structure_in_its_own_hand():
    where = band((BOX,) * 3, 8)
    x, w = row(seen(), POSE, SHIFT, TiltWedge(), None, where)
    truth, mirrored = (
        w * coefficients(one, where) for one in (volume(), volume()[::-1])
    )
    assert (w == 0).mean() > 0.1  # the missing wedge
    assert agreement(x, truth) > 0.97
    assert agreement(x, mirrored) < 0.8
    wrong_pose, _ = row(seen(), POSE.T, SHIFT, TiltWedge(), None, where)
    assert agreement(wrong_pose, truth) < 0.8


def test_sums_are_the_spectrum_where_something_was_sampled():
    """In scale, too: trilinear shares damp what is far from the centre, no more."""
    signal, weight = seen().placed(POSE, SHIFT)
    there = weight > 0.5
    line = np.sinc((np.arange(BOX) - BOX // 2) / BOX) ** 2
    damped = volume() * line[:, None, None] * line[:, None] * line
    spectrum = scipy.fft.rfftn(np.fft.ifftshift(damped))[there]
    product = np.vdot(spectrum, signal[there] / weight[there]).real
    assert product / np.vdot(spectrum, spectrum).real == pytest.approx(1, abs=0.02)


def test_the_information_of_images_is_that_of_their_coefficients():
    """Weights sum up to c^2 over the points of the slices, whatever their sampling."""
    _, weight = seen().placed(np.eye(3), np.zeros(3))
    whole = 2 * weight.sum() - weight[..., 0].sum()
    circle = np.pi * (BOX / 2) ** 2
    assert whole == pytest.approx(21 * circle, rel=0.05)


def test_contrast_of_either_sign_adds_up():
    """As images are, or multiplied by their contrast: signal c^2 F, weight c^2."""
    _, turns = tilts()
    doses, scale = np.linspace(0, 60, 21), np.linspace(0.5, 1, 21)
    coarse = contrast(doses, np.zeros(21), scale)
    fine = np.zeros_like(FLAT)
    fine[:, ::FINER, ::FINER] = coarse  # compared at the coefficients of the images
    images = projections(turns, POSE)
    spectra = np.fft.fft2(np.fft.ifftshift(images, axes=(1, 2))) * coarse
    assert (coarse.min(), coarse.max()) < (0, 1)

    def back(spectra):
        return np.fft.fftshift(np.fft.ifft2(spectra).real, axes=(1, 2))

    plain = slices(back(spectra), fine, turns, premultiplied=False)
    multiplied = slices(back(spectra * coarse), fine, turns, premultiplied=True)
    at = (slice(None), slice(None, None, FINER), slice(None, None, FINER))
    np.testing.assert_allclose(
        multiplied.signal[at], plain.signal[at], atol=1e-3 * np.abs(plain.signal).max()
    )
    np.testing.assert_array_equal(multiplied.weight, plain.weight)


def test_binned_slices_are_those_of_binned_images():
    _, turns = tilts()
    images = projections(turns, POSE)
    whole = slices(images, FLAT, turns, premultiplied=False).binned(16)
    size = (len(images), 16, 16)
    again = slices(
        fourier_crop(images, size), FLAT[:, :32, :32], turns, premultiplied=False
    )
    assert isinstance(whole, Slices)
    found, wanted = (one.aligned(POSE, np.zeros(3))[0] for one in (whole, again))
    assert agreement(found, wanted) > 0.99


def test_an_average_of_slices_is_the_structure():
    poses = euler.matrix(np.random.default_rng(0).uniform(-3, 3, (6, 3)))
    read = [seen(pose, np.zeros(3)) for pose in poses].__getitem__
    parts = averages.sums(read, range(6), poses, np.zeros((6, 3)), [TiltWedge()] * 6)
    found = averages.average(parts[0] + parts[1])
    truth = volume() - volume().mean()
    assert agreement(found, truth) > 0.98


def test_dose_weight_falls_with_dose_and_frequency():
    """Half the critical exposure, about 8 electrons at 8 A, leaves exp(-1/4)."""
    k = 0.125
    critical = 0.245 * k**-1.665 + 2.81
    assert critical == pytest.approx(10.6, abs=0.1)
    assert dose_weight(k, critical / 2) == pytest.approx(np.exp(-0.25))
    assert dose_weight(0.0, 100.0) == 1
    assert dose_weight(k, 10.0, 4.0) == pytest.approx(np.exp(-10 * k**2))
