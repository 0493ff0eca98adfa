import h5py
import numpy as np
import pytest

from cryokin import provenance
from cryokin.errors import InputError
from cryokin.io.em import read_em
from cryokin.parallel import Team
from cryokin.subtomo import ccc
from cryokin.volume import euler, masks
from cryokin.volume.bands import band, rows
from cryokin.volume.filters import filtered, frequencies, lowpass
from cryokin.volume.resample import align, centred, place
from cryokin.volume.wedge import TiltWedge
from ranks import on_ranks
from small2 import BAND, BOX, load, ribosome_mask

WEDGE = TiltWedge(np.pi / 6, np.pi / 6)
LATTICE = euler.matrix(np.radians([(0, 0, 0), (0, 0, 90), (90, 0, 90)]))


def particles(n=6, box=16, seed=0):
    """Random volumes in random orientations."""
    rng = np.random.default_rng(seed)
    volumes = rng.normal(size=(n, box, box, box)).astype(np.float32)
    return volumes, euler.matrix(rng.uniform(-3, 3, (n, 3))), rng.normal(0, 1, (n, 3))


def made(volumes, rotations, shifts, mask, high=6, wedges=None, **options):
    where = band(volumes[0].shape, high)
    wedges = wedges or [WEDGE] * len(volumes)
    return rows(volumes.__getitem__, rotations, shifts, wedges, mask, where, **options)


def pair_by_pair(r, mask):
    """The definition: both wedges on both volumes, correlation under the mask."""
    out = np.eye(len(r))
    weight = np.ones(r.band.box) if mask is None else mask
    from cryokin.volume.bands import volume_of

    for i in range(len(r)):
        for j in range(i):
            both = r.w[i] * r.w[j]
            a, b = volume_of(both * r.x[i], r.band), volume_of(both * r.x[j], r.band)
            covariance = np.cov(a.ravel(), b.ravel(), aweights=weight.ravel(), ddof=0)
            out[i, j] = out[j, i] = covariance[0, 1] / np.sqrt(
                covariance[0, 0] * covariance[1, 1]
            )
    return out


@pytest.mark.parametrize("box", [15, 16])
def test_without_a_mask_the_products_are_the_definition(box):
    r = made(*particles(box=box), None)
    np.testing.assert_allclose(
        ccc.matrix(r.weighted(), r.w), pair_by_pair(r, None), atol=2e-6
    )
    np.testing.assert_allclose(
        ccc.exact_matrix(r, None), pair_by_pair(r, None), atol=1e-6
    )


@pytest.mark.parametrize("high", [3, 6])
def test_the_exact_form_is_the_definition_also_on_a_coarser_grid(high):
    volumes, rotations, shifts = particles(box=20)
    mask = masks.sphere((20, 20, 20), 6, 2)
    r = made(volumes, rotations, shifts, None, high)
    np.testing.assert_allclose(
        ccc.exact_matrix(r, mask), pair_by_pair(r, mask), atol=1e-6
    )


def test_with_everything_sampled_it_is_numpys_correlation():
    volumes, rotations, shifts = particles()
    mask = masks.sphere((16,) * 3, 5, 0)
    r = made(volumes, rotations, shifts, None, 6, [TiltWedge()] * 6)
    aligned = [
        lowpass(align(centred(v), q, s), 6)
        for v, q, s in zip(volumes, rotations, shifts, strict=True)
    ]
    expected = np.corrcoef([v[mask > 0] for v in aligned])
    np.testing.assert_allclose(ccc.exact_matrix(r, mask), expected, atol=1e-6)


def test_it_is_symmetric_bounded_and_knows_itself():
    volumes, rotations, shifts = particles(12)
    rotations[6:], shifts[6:] = rotations[:6], shifts[:6]
    volumes[6:9] = 3 * volumes[:3] + 7
    volumes[9:] = -volumes[3:6]
    mask = masks.sphere((16,) * 3, 5, 2)
    for matrix in (
        ccc.matrix(
            *(lambda r: (r.weighted(), r.w))(made(volumes, rotations, shifts, mask))
        ),
        ccc.exact_matrix(made(volumes, rotations, shifts, None), mask),
    ):
        np.testing.assert_array_equal(matrix, matrix.T)
        assert (np.diag(matrix) == 1).all()
        assert np.abs(matrix).max() <= 1
        np.testing.assert_allclose(np.diag(matrix[:3, 6:9]), 1, atol=1e-5)
        np.testing.assert_allclose(np.diag(matrix[3:6, 9:]), -1, atol=1e-5)


def test_what_only_one_particle_sampled_does_not_count():
    r = made(*particles(), None)
    before = ccc.matrix(r.weighted(), r.w)
    only = (r.w[0] > 0) & (r.w[1] == 0)
    r.x[0, only] *= -5
    assert ccc.matrix(r.weighted(), r.w)[0, 1] == pytest.approx(before[0, 1], abs=1e-6)


def test_particles_without_anything_in_common_have_zero_not_nan():
    volumes, rotations, shifts = particles(4)
    volumes[0] = 1.0
    r = made(volumes, rotations, shifts, None)
    half = r.band.k[:, 1] > 0
    r.w[1], r.w[2] = half, ~half
    r.x[1], r.x[2] = r.x[1] * half, r.x[2] * ~half
    for matrix in (ccc.matrix(r.weighted(), r.w), ccc.exact_matrix(r, None)):
        assert np.isfinite(matrix).all()
        assert matrix[1, 2] == 0
        assert matrix[0, 3] == 0


def test_tiles_and_ranks_do_not_matter():
    class Half(Team):
        """Does the items backwards, as another rank might."""

        def map(self, function, items):
            return [function(item) for item in list(items)[::-1]][::-1]

    r = made(*particles(9), masks.sphere((16,) * 3, 6, 2))
    whole = ccc.matrix(r.weighted(), r.w)
    np.testing.assert_allclose(ccc.matrix(r.weighted(), r.w, size=4), whole, atol=1e-6)
    np.testing.assert_array_equal(
        ccc.matrix(r.weighted(), r.w, Half(), 4), ccc.matrix(r.weighted(), r.w, size=4)
    )
    order = np.array([3, 1, 4, 0, 8, 5, 2, 6, 7])
    np.testing.assert_allclose(
        ccc.matrix(r.weighted()[order], r.w[order]),
        whole[np.ix_(order, order)],
        atol=1e-6,
    )


def lattice_particles(shared):
    """Two maps in three lattice orientations, seen through a wedge, without noise."""
    folder = shared / "data/subtomograms"
    names = ("human_ribo_21A.em", "human_ribo_21A_Mirrored.em")
    maps = [read_em(folder / name) for name in names]
    weight = WEDGE.weight(frequencies((32,) * 3), (32,) * 3)
    rotations = np.concatenate([LATTICE, LATTICE])
    volumes = [filtered(place(maps[i // 3], rotations[i]), weight) for i in range(6)]
    return volumes, rotations


def test_golden_correlations_of_noise_free_particles(shared):
    mask = ribosome_mask(shared)
    volumes, rotations = lattice_particles(shared)
    r = made(volumes, rotations, np.zeros((6, 3)), None, 10, own_wedge=False)
    between = [
        [0.2849, 0.2694, 0.3862],
        [0.2694, 0.2677, 0.3438],
        [0.3865, 0.3436, 0.3187],
    ]
    found = ccc.exact_matrix(r, mask, "other")
    np.testing.assert_allclose(found[:3, :3], 1, atol=2e-4)
    np.testing.assert_allclose(found[:3, 3:], between, atol=2e-3)
    unmasked = [
        [0.3590, 0.3403, 0.4442],
        [0.3402, 0.3378, 0.4194],
        [0.4449, 0.4193, 0.3911],
    ]
    np.testing.assert_allclose(
        # Computed with 0, not the particle's mean, outside of the rotated box.
        ccc.exact_matrix(r, None, "other")[:3, 3:],
        unmasked,
        atol=6e-3,
    )
    r = made(volumes, rotations, np.zeros((6, 3)), mask, 10)
    premasked = ccc.matrix(r.weighted(), r.w)
    np.testing.assert_allclose(
        premasked[[0, 0, 1], [1, 2, 2]], [0.9839, 0.9555, 0.9538], atol=2e-3
    )


def test_the_exact_form_reproduces_pytoms_matrix(shared):
    example = load(shared).take(14)
    expected = ccc.read_matrix(example.folder / "expected/correlation_matrix.csv", 40)[
        :14, :14
    ]

    def error(**options):
        r = rows(
            example.volumes.__getitem__,
            example.rotations,
            example.shifts,
            example.wedges,
            None,
            band(BOX, BAND),
            own_wedge=False,
            **options,
        )
        return ccc.exact_matrix(r, example.mask, "other") - expected

    assert np.abs(error(kernel="pytom")).max() < 5e-5
    assert np.sqrt(np.mean(error() ** 2)) < 0.005


def test_a_matrix_is_written_as_pytom_writes_it(shared, tmp_path):
    path = shared / "data/pytom_small2/expected/correlation_matrix.csv"
    matrix = ccc.read_matrix(path)
    ccc.write_matrix(tmp_path / "correlation_matrix.csv", matrix)
    assert (tmp_path / "correlation_matrix.csv").read_text() == path.read_text()


def test_a_matrix_says_what_it_is_of_and_is_read_all_the_same(tmp_path):
    matrix = np.array([[1, 0.25], [0.25, 1]])
    ccc.write_matrix(tmp_path / "m.csv", matrix, "correlations of residuals")
    text = (tmp_path / "m.csv").read_text()
    assert text.startswith("# correlations of residuals\n1.0")
    np.testing.assert_array_equal(ccc.read_matrix(tmp_path / "m.csv", 2), matrix)
    read = np.genfromtxt(tmp_path / "m.csv", delimiter=",")
    np.testing.assert_array_equal(read, matrix)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1,2\n3,4\n", "2 x 2 correlations do not fit 3 particles"),
        ("1,a\n3,4\n", "not a comma-separated matrix"),
        ("1,nan,0\n0,1,0\n0,0,1\n", "line 1, column 2 is nan"),
        ("1,0,0\n0,1,7\n0,7,1\n", "line 2, column 3 is 7"),
        ("1,0,0\n0,1,0.4\n0,0.2,1\n", "0.4, and the other way round 0.2"),
    ],
)
def test_refuses_another_matrix(tmp_path, text, sentence):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(InputError, match=sentence):
        ccc.read_matrix(tmp_path / "m.csv", 3)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("exact", [False, True])
def test_the_matrix_on_disk_is_that_in_memory(tmp_path, ranks, exact, monkeypatch):
    monkeypatch.setattr(ccc, "EXACT_TILE", 2)
    volumes, rotations, shifts = particles(7)
    mask = masks.sphere((16,) * 3, 5, 2)
    r = made(volumes, rotations, shifts, None if exact else mask)
    file = tmp_path / "matrix.h5"

    def part(i, j):
        if exact:
            return ccc.exact_tiles(r, mask, i, j)
        return ccc.tile(r.weighted(i), r.w[i], r.weighted(j), r.w[j])

    on_ranks(ranks, lambda team: ccc.compute(file, 7, 3, part, "these", team))
    expected = (
        ccc.exact_matrix(r, mask) if exact else ccc.matrix(r.weighted(), r.w, size=3)
    )
    with h5py.File(file) as stored:
        whole = stored["correlation"][:]
        ccc.write_matrix(tmp_path / "matrix.csv", stored["correlation"])
    np.testing.assert_allclose(whole, expected, atol=1e-6 if not exact else 1e-12)
    np.testing.assert_array_equal(whole, whole.T)
    np.testing.assert_array_equal(ccc.read_matrix(tmp_path / "matrix.csv"), whole)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "matrix.csv", file]


def test_tiles_are_of_one_version_of_the_software(tmp_path, monkeypatch):
    """Of the same options and inputs, by other code or libraries, they are others."""
    rows, code = tmp_path / "rows.npy", tmp_path / "code"
    code.mkdir()
    rows.write_bytes(b"rows")
    names = [provenance.fingerprint({"lowpass": 9}, [rows])]
    monkeypatch.setattr(provenance, "CODE", code)
    for text in ("TILE = 1024", "TILE = 512"):
        (code / "ccc.py").write_text(text)
        names.append(provenance.fingerprint({"lowpass": 9}, [rows]))
    assert names[-1] == provenance.fingerprint({"lowpass": 9}, [rows])
    monkeypatch.setattr(provenance, "_version", lambda name: "of tomorrow")
    names.append(provenance.fingerprint({"lowpass": 9}, [rows]))
    assert len(set(names)) == 4


def test_a_killed_matrix_goes_on_with_its_own_tiles_alone(tmp_path):
    file = tmp_path / "matrix.h5"
    values = np.arange(81.0).reshape(9, 9)
    values += values.T
    np.fill_diagonal(values, 1)
    done = []

    def killed(i, j):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append((i.start, j.start))
        return values[i, j]

    def part(i, j):
        done.append((i.start, j.start))
        return values[i, j]

    for inputs, kept in (("others", 0), ("these", 0), ("these", 4)):
        done.clear()
        if kept == 0:
            with pytest.raises(KeyboardInterrupt):
                ccc.compute(file, 9, 3, killed, inputs, Team())
            assert not file.exists()
        else:
            before = set(done)
            ccc.compute(file, 9, 3, part, inputs, Team())
            assert len(done) == 6 - kept
            assert not before & set(done)
    with h5py.File(file) as stored:
        np.testing.assert_array_equal(stored["correlation"][:], values)
