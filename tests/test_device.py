"""One code path for NumPy, PyTorch and any package of the standard; same bytes."""

import re
import shutil
import sys
from dataclasses import replace
from functools import partial

import array_api_strict
import numpy as np
import pytest
from array_api_compat import array_namespace

from cryokin.device import HOST, Device, on_host, open_device
from cryokin.errors import InputError
from cryokin.image.geometry import Alignment, identity
from cryokin.image.polar import Band, PolarBasis
from cryokin.isac import alignment as kernels
from cryokin.isac import assignment
from cryokin.isac import sac as module
from cryokin.isac.assignment import MARGIN, assign_equal_size
from cryokin.isac.particles import Particles
from cryokin.isac.sac import Run, SacOptions, sac
from cryokin.isac.within_group import Refinement, refine
from cryokin.parallel import Team
from cryokin.random import stream
from cryokin.subtomo import ccc, mco, pose_errors
from cryokin.volume.bands import Rows
from ranks import on_ranks

BASIS = PolarBasis(radius=20, highest=0.3)
SHIFTS = kernels.shift_grid(1, 1, 1)

try:
    import torch
except ImportError:
    torch = None
needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
PUT = {"strict": array_api_strict.asarray, "torch": getattr(torch, "asarray", None)}
SMALL = Refinement(xr=1, yr=1, ts=1.0, maxit=9, dst=90, FH=0.3, FF=0.2, max_shift=4)
OPTIONS = SacOptions(SMALL, FL=0.2, stab_ali=2, iter_reali=1, thld_err=0.7)


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def spectra(seed: int, n: int, *lead: int) -> np.ndarray:
    rows = noise(seed, *lead, 2, BASIS.n_orders, 2, len(BASIS.radii), n)
    return rows / np.linalg.norm(rows.reshape(*lead, -1, n), axis=-2).reshape(
        *lead, 1, 1, 1, 1, n
    )


REFERENCES, IMAGES = spectra(1, 12), spectra(2, 30, 2)
OPERAND = kernels.correlation_operand(np.stack([REFERENCES[..., :9]] * 2))
ONE = kernels.correlation_operand(np.stack([REFERENCES[..., :1]] * 2))
ANGLES = np.abs(noise(3, 2, 30))
HANDS = noise(4, 2, 30) > 0
PRODUCTS = kernels.self_products(IMAGES, np.abs(noise(5, 2, len(BASIS.radii))))
PARTS = noise(6, 2, len(BASIS.directions), len(BASIS.radii), 30)
SAMPLED = (noise(7, 20, 15) > 0).astype(np.float32)
#: Subtomograms of more than one block, some of which are in none of three classes.
SOME = (noise(13, 100, 60) > 0).astype(np.float32)
MODEL = mco.Model(
    noise(14, 100, 120) * np.repeat(SOME, 2, 1),
    SOME,
    np.abs(noise(15, 120)) + 1,
    np.arange(120) // 20,
    np.ones(120, np.float32),
    0.5,
    "likelihood",
)
LABELS = np.arange(100) % 4 - 1
POSES = Alignment(ANGLES[0], np.zeros((30, 2)), HANDS[0])


def scores(score: str, leave_one_out: bool, y, w):
    """Return MCO's scores, objective and sums of classes, of particles of any kind."""
    model = replace(MODEL, y=y, w=w, score=score)
    found = mco.compare(model, LABELS, 3, leave_one_out)
    return (*found, *mco.class_sums(model, LABELS, 3))


def consensus(x, w):
    return pose_errors.consensus(Rows(None, x, w))


#: Functions that the standard has all that they need for.
OF_THE_STANDARD = {
    "spectra": (partial(BASIS.spectra, centres=noise(8, 3, 30, 2)), PARTS),
    "band": (partial(BASIS.spectra, band=Band(3, 8)), PARTS),
    "shifted": (partial(BASIS.shifted, shifts=SHIFTS), REFERENCES),
    "operand": (kernels.correlation_operand, REFERENCES),
    "best_scores": (kernels.best_scores, OPERAND[0], IMAGES[0], 3),
    "search": (kernels.search, OPERAND, IMAGES, 9),
    "angles": (
        kernels.search,
        ONE,
        IMAGES,
        1,
        0.0,
        kernels.own_terms(PRODUCTS, ANGLES, HANDS),
    ),
    "coarse": (kernels.search, ONE, IMAGES, 1, 1.5),
    "best_shift": (
        partial(kernels.best_shift, shifts=SHIFTS),
        OPERAND,
        IMAGES,
        ANGLES,
        HANDS,
    ),
    "average": (kernels.average, IMAGES, ANGLES, HANDS),
    "own_terms": (kernels.own_terms, PRODUCTS, ANGLES, HANDS),
    "signal_share": (
        kernels.signal_share,
        REFERENCES[..., 0],
        np.abs(noise(9, len(BASIS.radii))) / 50,
    ),
    "products_at": (
        partial(kernels.products_at, alignment=POSES),
        IMAGES[0],
        IMAGES[1],
    ),
    "curves": (kernels.angular_curves, ONE[0], IMAGES[0]),
    "ccc": (
        ccc.tile,
        noise(10, 20, 30) * np.repeat(SAMPLED, 2, 1),
        SAMPLED,
        noise(11, 20, 30) * np.repeat(SAMPLED, 2, 1),
        SAMPLED,
    ),
    "likelihoods": (scores, "likelihood", True, MODEL.y, MODEL.w),
    "likelihoods of all": (scores, "likelihood", False, MODEL.y, MODEL.w),
    "correlations": (scores, "correlation", True, MODEL.y, MODEL.w),
    "correlations of all": (scores, "correlation", False, MODEL.y, MODEL.w),
    "pose errors": (pose_errors.without, MODEL.y, MODEL.w, noise(16, 7, 120)),
    "consensus": (consensus, MODEL.y.view(np.complex64), MODEL.w),
}
#: What is for bookkeeping comes back as NumPy's.
ON_HOST = ("refine", "consensus", "likelihoods", "correlations")
#: Those that sum by a function which the packages have, but the standard has not.
OTHERS = {
    "self_products": (
        kernels.self_products,
        IMAGES,
        np.abs(noise(5, 2, len(BASIS.radii))),
    ),
    "noise_power": (kernels.noise_power, IMAGES),
    "refine": (
        lambda parts: tuple(
            refine(BASIS, parts, 0.1 * noise(12, 2, 30, 2), ANGLES, HANDS, SMALL)
        ),
        PARTS,
    ),
}


@pytest.mark.parametrize(
    ("package", "name"),
    [("strict", name) for name in OF_THE_STANDARD]
    + [
        pytest.param("torch", name, marks=needs_torch)
        for name in OF_THE_STANDARD | OTHERS
    ],
)
def test_kernels_are_the_same_on_arrays_of_any_package(package, name):
    function, *operands = (OF_THE_STANDARD | OTHERS)[name]

    def put(value):
        if isinstance(value, tuple):
            return tuple(map(put, value))
        return PUT[package](value) if isinstance(value, np.ndarray) else value

    expected, found = function(*operands), function(*map(put, operands))
    if not isinstance(expected, tuple):
        expected, found = (expected,), (found,)
    for one, other in zip(expected, found, strict=True):
        kept = array_namespace(other) is not array_namespace(one)
        assert kept != name.startswith(ON_HOST)
        other = on_host(other)
        assert other.dtype == one.dtype
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=2e-5)


# ------------------------------------------------------------------ the same bytes
@pytest.fixture(scope="module")
def particles() -> Particles:
    """Return images of 6 objects in noise; some objects and images are nearly alike."""
    rng = np.random.default_rng(1)
    n, shape = 270, (len(BASIS.directions), len(BASIS.radii))
    objects = noise(20, 6, *shape) + 1j * noise(21, 6, *shape)
    objects[5] = objects[4] * (1 + 1e-7)
    hidden = noise(22, n, *shape) + 1j * noise(23, n, *shape)
    grid = objects[rng.integers(0, 6, n)] + 2 * hidden
    grid[40:80] = grid[:40] + 1e-6 * hidden[:40]
    length = np.linalg.norm(grid.reshape(n, -1), axis=1) / np.sqrt(shape[0])
    grid /= length[:, None, None]
    return Particles(BASIS, grid.astype(np.complex64), np.arange(n))


@pytest.fixture
def disturbed(monkeypatch) -> Device:
    """A device that rounds a hundred times worse than float32 does."""
    rng = np.random.default_rng(2)

    def worse(operand, images, n_shifts):
        scores = kernels.best_scores(operand, images, n_shifts)
        if isinstance(images, np.ndarray):
            return scores
        return scores + torch.asarray(rng.uniform(-2e-6, 2e-6, scores.shape))

    monkeypatch.setattr(module, "best_scores", worse)
    return open_device("torch-cpu")


def clustered(particles: Particles, classes: int, device: Device, team: Team):
    """Return a run after a pass, whose first references are nearly equal in pairs."""
    team.device = device
    n, half = len(particles), np.arange(classes // 2)
    ids = np.concatenate([half, 40 + half])
    averaged = [np.array([i]) for i in ids]
    runs = [Run.start(particles.images(ids), identity(n), averaged)]
    return sac(team, particles, runs, 1, False, OPTIONS, lambda *w: stream(3, *w))


def assert_same_bytes(one: list[Run], other: list[Run]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.references, b.references)
        for x, y in zip(a.alignment, b.alignment, strict=True):
            np.testing.assert_array_equal(x, y)
        for x, y in zip(a.members, b.members, strict=True):
            np.testing.assert_array_equal(x, y)


@needs_torch
@pytest.mark.parametrize(("classes", "size"), [(6, 1), (24, 2)])
def test_a_device_gives_the_same_bytes(particles, disturbed, classes, size, capsys):
    """Whatever it says within the margin, on any number of ranks."""
    expected = clustered(particles, classes, HOST, Team())
    for found in on_ranks(
        size, lambda team: clustered(particles, classes, disturbed, team)
    ):
        assert_same_bytes(expected, found)
    told = re.findall(
        r"; of (\d+) scores of the device (\d+) were", capsys.readouterr().out
    )
    assert [int(of) for of, _ in told] == [2 * classes * len(particles)]
    assert 0 < sum(int(again) for _, again in told) < classes * len(particles)


@needs_torch
def test_without_a_second_look_a_device_would_decide(particles, disturbed, monkeypatch):
    """The images of the test above tell whether anything is looked at again."""
    expected = clustered(particles, 6, HOST, Team())
    monkeypatch.setattr(assignment, "MARGIN", 0.0)
    monkeypatch.setattr(module, "MARGIN", 0.0)
    with pytest.raises(AssertionError):
        assert_same_bytes(expected, clustered(particles, 6, disturbed, Team()))


@pytest.mark.parametrize("size", [1, 3])
def test_classes_are_right_when_nothing_is_in_doubt(size):
    """Scores that are off by the margin give, looked at again, the right classes."""
    rng = np.random.default_rng(5)
    again = 0
    for _ in range(12):
        k, n = int(rng.integers(1, 8)), int(rng.integers(8, 50))
        # Not equal, but many of them closer than the margin.
        right = MARGIN * rng.permutation(k * n).reshape(k, n) / 20
        near = right + rng.uniform(-MARGIN / 4, MARGIN / 4, (k, n))
        expected = assign_equal_size(Team(), right, n)[0]

        def work(team, k=k, n=n, right=right, near=near):
            own = team.mine(n)
            scores, sure = near[:, own], np.zeros((k, len(own)), bool)
            while True:
                labels, doubts = assign_equal_size(team, scores, n, sure)
                if not len(doubts):
                    return labels, sure.mean() if sure.size else 0.0
                for c, i in doubts:
                    if i in own:
                        scores[c, i - own[0]] = right[c, i]
                        sure[c, i - own[0]] = True

        for labels, share in on_ranks(size, work):
            np.testing.assert_array_equal(labels, expected)
            again += share
    assert 0 < again < 10 * size


# ------------------------------------------------------------------ what is said
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gpu", "allowed are cpu, cuda"),
        pytest.param("cuda", "no GPU", marks=needs_torch),
        ("cupy", "cryokin\\[gpu\\]"),
    ],
)
def test_a_device_that_is_not_there_is_told_in_a_sentence(name, reason, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    if torch:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match=f"device of the profile is {name}.*{reason}"):
        open_device(name)


@needs_torch
@pytest.mark.slow
def test_a_run_through_a_device_gives_the_same_files(undisturbed):
    """All of a small run, from the first clusters on, by PyTorch on the processor."""
    work = "on_device"
    shutil.copytree(undisturbed.folder / "prepared", undisturbed.folder / work)
    rules = ("isac_clusters", "isac_candidates_round", "isac_reproducible")
    chosen = [f"{rule}:device=torch-cpu" for rule in rules]
    undisturbed.run("--set-resources", *chosen, work=work)
    logs = sorted((undisturbed.results(work) / "logs/isac_clusters").glob("*.log"))
    assert all("scores of the device" in log.read_text() for log in logs) and logs
    names = ["classes.csv", "class_averages.mrcs", "generation_0001"]
    for name in names:
        path = undisturbed.results() / name
        for file in path.rglob("*") if path.is_dir() else [path]:
            if file.is_file():
                other = undisturbed.results(work) / file.relative_to(
                    undisturbed.results()
                )
                assert file.read_bytes() == other.read_bytes(), file
