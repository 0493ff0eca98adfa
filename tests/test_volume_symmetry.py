"""Point groups, and what they make of subtomograms."""

import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.io.subtomograms import read_subtomograms
from cryokin.options import Cpca
from cryokin.parallel import Team
from cryokin.partition.agreement import adjusted_rand_index
from cryokin.simulate.density import Density, chiral_density
from cryokin.simulate.volumes import (
    ARM,
    VolumeRecipe,
    render,
    simulate_volumes,
    write_volume_set,
)
from cryokin.subtomo.mco import best_of, model, random_start
from cryokin.subtomo.prepare import prepare
from cryokin.volume import masks
from cryokin.volume.averages import average, sums
from cryokin.volume.bands import band, rows
from cryokin.volume.filters import filtered, frequencies, lowpass
from cryokin.volume.resample import align, centred
from cryokin.volume.symmetry import operations
from cryokin.volume.wedge import TiltWedge

ORDERS = {"C1": 1, "C2": 2, "C6": 6, "D1": 2, "D7": 14, "T": 12, "O": 24, "I": 60}


@pytest.mark.parametrize("name", ORDERS)
def test_operations_are_a_group_of_rotations(name):
    found = operations(name)
    assert len(found) == ORDERS[name]
    np.testing.assert_array_equal(found[0], np.eye(3))
    np.testing.assert_allclose(np.linalg.det(found), 1)
    products = np.einsum("aij,bjk->abik", found, found).reshape(-1, 1, 3, 3)
    apart = np.abs(products - found).max(axis=(2, 3))
    assert apart.min(axis=1).max() < 1e-9


def test_main_axes_are_along_z():
    turned = operations("C6") @ [0, 0, 1]
    np.testing.assert_allclose(turned, [[0, 0, 1]] * 6, atol=1e-12)


@pytest.mark.parametrize("name", ["C0", "C", "D100", "X", "c6", "O2"])
def test_there_are_no_others(name):
    with pytest.raises(InputError, match="is no point group"):
        operations(name)


def symmetric(recipe, group):
    """Return volumes of one density made symmetric, and where they lie."""
    made = simulate_volumes(recipe)
    volumes = []
    for label, rotation, shift in zip(
        made.labels, made.rotations, made.shifts, strict=True
    ):
        whole = chiral_density()
        kept = slice(None) if label == 0 else slice(None, -ARM)
        density = Density(*(values[kept] for values in vars(whole).values()))
        one = sum(
            render(density, rotation @ turn, shift, recipe.box, recipe.pixel_size)
            for turn in group
        )
        volumes.append(one)
    return np.array(volumes), made


RECIPE = VolumeRecipe(n_particles=6, box=18, pixel_size=16, turn_sd=0, shift_sd=0)


@pytest.mark.parametrize("name", ["C3", "D2"])
def test_an_average_fills_the_wedge_by_symmetry(name):
    """Of one particle, and it is symmetric."""
    group = operations(name)
    volumes, made = symmetric(RECIPE, group)
    tilts = TiltWedge(np.radians(40), np.radians(40))
    box = (RECIPE.box,) * 3
    seen = [filtered(v, tilts.weight(frequencies(box), box)) for v in volumes]
    pose = (made.rotations, made.shifts, [tilts] * len(seen))

    def average_of(symmetry):
        parts = sums(seen.__getitem__, [0], *pose, symmetry=symmetry)
        return average(parts[0] + parts[1])

    whole = align(centred(volumes[0]), made.rotations[0], made.shifts[0])
    true = lowpass(whole, RECIPE.box // 2 - 2)  # where an average ends
    ball = masks.sphere(box, 6, 0) > 0

    def agreement(one, other):
        return np.corrcoef(one[ball], other[ball])[0, 1]

    used, unused = average_of(group), average_of(None)
    assert agreement(used, true) > 0.9
    assert agreement(used, true) > agreement(unused, true) + 0.1
    turned = align(used, group[1])
    assert agreement(turned, used) > 0.97


def test_rows_do_not_depend_on_which_way_a_particle_is_said_to_lie():
    """And symmetry tells more than one way does."""
    group = operations("C4")  # turns of the lattice, which interpolate nothing
    volumes, made = symmetric(RECIPE, group)
    tilts = TiltWedge(np.radians(40), np.radians(40))
    box = (RECIPE.box,) * 3
    seen = [filtered(v, tilts.weight(frequencies(box), box)) for v in volumes]
    mask, where = masks.sphere(box, 7, 1), band(box, 6)

    def made_at(rotations, symmetry=group):
        return rows(
            seen.__getitem__,
            rotations,
            made.shifts,
            [tilts] * len(seen),
            mask,
            where,
            symmetry=symmetry,
        )

    first = made_at(made.rotations)
    turned = made_at(made.rotations @ group[[1, 2, 3, 1, 2, 3]])
    np.testing.assert_allclose(turned.w, first.w, atol=1e-5)
    np.testing.assert_allclose(turned.x, first.x, atol=1e-4 * np.abs(first.x).max())
    alone = made_at(made.rotations, None)
    assert (first.w > 0).mean() > (alone.w > 0).mean() + 0.1


def test_the_noise_of_a_coefficient_is_that_of_one_way_to_lie():
    rng = np.random.default_rng(0)
    box = (16,) * 3
    volumes = rng.normal(size=(20, *box))
    poses = (np.tile(np.eye(3), (20, 1, 1)), np.zeros((20, 3)), [TiltWedge()] * 20)
    where = band(box, 6, 2)
    made = [
        rows(volumes.__getitem__, *poses, None, where, symmetry=operations(name))
        for name in ("C1", "C2")
    ]
    one, two = (np.mean(np.abs(r.x) ** 2) for r in made)
    np.testing.assert_allclose(made[1].w, np.sqrt(2))
    assert two == pytest.approx(one, rel=0.1)


def test_symmetry_finds_classes_that_are_hidden_without(tmp_path):
    """Two structures of D2, one without its arms, in much noise."""
    recipe = VolumeRecipe(n_particles=40, box=18, pixel_size=16, snr=0.05)
    volumes, made = symmetric(recipe, operations("D2"))
    rng = np.random.default_rng(0)
    box = (recipe.box,) * 3
    tilts = TiltWedge(np.radians(30), np.radians(30)).weight(frequencies(box), box)
    for i, volume in enumerate(volumes):
        noise = rng.normal(size=box) * volume.std() / np.sqrt(recipe.snr)
        made.volumes[i] = filtered(volume + noise, tilts)
    write_volume_set(tmp_path, made)
    table = read_subtomograms(tmp_path / "particles.star", wedge_angles=(30, 30))
    options = {
        **{"mask": {"sphere": {"radius": 7, "edge": 2}}, "focus_mask": None},
        **{"lowpass": 7, "highpass": 0, "binning": 1, "compat": "none"},
        **{"pose_errors": "project", "pose_refinement": 2},
    }

    def agreement(name):
        given = options | {"symmetry": name}
        prepared, _ = prepare(table, Cpca.some(given), Team(), tmp_path)
        starts = [random_start(40, 2, 0, i) for i in range(8)]
        found = best_of(model(prepared.corrected), starts, 2).best.labels
        return adjusted_rand_index(found, made.labels)

    assert agreement("D2") > 0.8 > 0.5 > agreement(None)
