"""Slabs of subtomograms: junk is left out of them before volumes are classified."""

import csv

import mrcfile
import numpy as np
import pytest

from cryokin.config import load_runs
from cryokin.errors import InputError
from cryokin.io.star import read_star
from cryokin.io.subtomograms import read_subtomograms
from cryokin.isac.slabs import read_for_slabs, slab, slabs
from cryokin.partition.agreement import adjusted_rand_index
from cryokin.random import stream
from cryokin.simulate.density import Density, chiral_density
from cryokin.simulate.orientations import clustered
from cryokin.simulate.volumes import (
    ARM,
    VolumeRecipe,
    VolumeSet,
    render,
    simulate_volumes,
    write_volume_set,
)
from cryokin.volume.filters import filtered, frequencies
from cryokin.volume.wedge import TiltWedge
from places import Place
from tilted import projections, write_set


@pytest.mark.parametrize("thickness", [1.0, 2.0, 3.7, 12.0])
@pytest.mark.parametrize("height", [0.0, -1.3])
def test_a_slab_is_the_mean_between_two_planes(thickness, height):
    steps = 1000
    z = (np.arange(12 * steps) + 0.5) / steps - 0.5 - 6
    inside = np.abs(z - height) < thickness / 2
    share = inside.reshape(12, steps).mean(axis=1)
    volume = np.random.default_rng(0).normal(size=(12, 5, 5))
    expected = np.average(volume, axis=0, weights=share)
    np.testing.assert_allclose(slab(volume, height, thickness), expected, atol=0.02)


def test_slabs_are_cut_about_the_centres_along_the_beam(tmp_path):
    recipe = VolumeRecipe(n_particles=6, box=16, pixel_size=16, shift_sd=0)
    write_volume_set(tmp_path, simulate_volumes(recipe))
    path = tmp_path / "particles.star"
    table = read_for_slabs(path, None)
    found = slabs(table, 48.0)
    for image, particle, (_, _, z) in zip(
        found, table.particles, table.shifts, strict=True
    ):
        with mrcfile.open(particle.file) as mrc:
            np.testing.assert_allclose(image, slab(mrc.data, z, 3.0), rtol=1e-6)
    for thickness in (10.0, 300.0):
        with pytest.raises(InputError, match=r"allowed: 16 to 256 A"):
            slabs(table, thickness)
    with pytest.raises(InputError, match="wedge"):
        read_subtomograms(path)


def test_slabs_of_tilt_images_show_the_particle(tmp_path):
    one = write_set(tmp_path / "set", n=2, noise=0.01)
    table = read_for_slabs(one.path, None)
    for image, rotation, shift in zip(
        slabs(table, 240.0), one.rotations, one.shifts, strict=True
    ):
        seen = projections(np.eye(3)[None], rotation, shift)[0]
        assert np.corrcoef(image.ravel(), seen.ravel())[0, 1] > 0.8


RUN = {"method": "isac", "particles": "p.star", "radius": 10}
SOLID = {"method": "cpca", "mask": "m.em", "lowpass": 8, "nclass": 2}


@pytest.mark.parametrize(
    ("runs", "sentence"),
    [
        ({"a": RUN | {"slab": 100, "CTF": True}}, "a.slab = 100.0 cannot be used"),
        ({"a": RUN | {"slab": 100, "particles": "p.mrcs"}}, "one of .xml, .star, .tbl"),
        (
            {"a": RUN, "b": RUN | {"slab": 100, "particles": "run:a/selected"}},
            "leave slab out",
        ),
        ({"a": RUN, "b": SOLID | {"particles": "run:a/selected"}}, "or one of slabs"),
    ],
)
def test_runs_of_slabs_that_cannot_be_are_refused(runs, sentence):
    with pytest.raises(InputError, match=sentence):
        load_runs({"runs": runs})


def particles_and_junk(n=120, junk=50, box=24, pixel=12.0):
    """Two structures on a membrane, seen from three sides, and what is none of them."""
    rng = stream(1)
    labels = rng.permutation(np.repeat([0, 1, -1], [n // 2, n // 2, junk]))
    whole = chiral_density()
    kinds = [whole, Density(*(v[:-ARM] for v in vars(whole).values()))]
    views = clustered(len(labels), 3, np.radians(6), 1.0, rng)
    rotations = views.as_matrix().transpose(0, 2, 1)
    shifts = rng.normal(0, 0.7, (len(labels), 3))
    opening = TiltWedge(np.pi / 6, np.pi / 6)
    weight = opening.weight(frequencies((box,) * 3), (box,) * 3)
    noise = 2.2 * render(whole, np.eye(3), np.zeros(3), box, pixel).std()
    volumes = np.empty((len(labels), box, box, box), np.float32)
    for i, kind in enumerate(labels):
        m = rng.integers(0, 5)
        places, widths = rng.uniform(-90, 90, (m, 3)), rng.uniform(10, 30, m)
        drops = Density(places, widths, rng.uniform(1, 6, m))
        shown = drops if kind < 0 else kinds[kind]
        signal = render(shown, rotations[i], shifts[i], box, pixel)
        seen = signal + noise * rng.normal(size=signal.shape)
        volumes[i] = filtered(seen, weight)
    recipe = VolumeRecipe(n_particles=len(labels), box=box, pixel_size=pixel)
    return VolumeSet(recipe, volumes, labels, rotations, shifts)


@pytest.mark.slow
def test_junk_is_left_out_and_the_rest_goes_on_as_subtomograms(root, tmp_path):
    made = particles_and_junk()
    write_volume_set(tmp_path / "set", made)
    place = Place(root, tmp_path, tmp_path / "set/particles.star")
    small = {"radius": 10, "target_radius": 10, "target_nx": 26, "thld_err": 0.5}
    sizes = {"img_per_grp": 20, "thld_grp": 5, "n_generations": 2}
    slabs_of = {
        "particles": "../set/particles.star",
        "slab": 120,
        "select": {"size": 5},
    }
    goes_on = {"particles": "run:junk/selected", "wedge": {"angles": [30, 30]}}
    mask = {"sphere": {"radius": 9, "edge": 2}}
    runs = {
        "junk": {"method": "isac"} | slabs_of | small | sizes,
        "states": SOLID | goes_on | {"mask": mask},
    }
    place.write("my.yaml", runs)
    place.run()
    kept = read_star(place.results(run="junk") / "subtomograms/selected.star")
    given = read_star(place.particles)["particles"]
    assert list(kept["particles"]) == list(given)
    ids = np.array([int(n[-8:-4]) - 1 for n in kept["particles"]["rlnImageName"]])
    truth = made.labels[ids]
    assert np.mean(truth < 0) < 0.1
    assert np.sum(truth >= 0) > 0.8 * np.sum(made.labels >= 0)
    with (place.results(run="states") / "classes.csv").open() as file:
        found = np.array([int(row["class"]) for row in csv.DictReader(file)])
    assert adjusted_rand_index(found[truth >= 0], truth[truth >= 0]) > 0.9
