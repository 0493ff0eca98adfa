"""What several test modules share."""

import dataclasses
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def root() -> Path:
    """Folder of the project."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real files beside the project; tests that need it skip without."""
    if not SHARED.is_dir():
        pytest.skip("the folder of shared example files is not there")
    return SHARED


@pytest.fixture(scope="session")
def undisturbed(root, tmp_path_factory):
    """Small runs of both families that nothing happened to, on one machine.

    The folder ``prepared`` holds the same when the images were only prepared.
    """
    from cryokin.simulate.files import write_image_set
    from cryokin.simulate.images import simulate_images
    from cryokin.simulate.volumes import (
        VolumeRecipe,
        simulate_volumes,
        write_volume_set,
    )
    from places import IMAGES, ISAC, Place

    folder = tmp_path_factory.mktemp("undisturbed")
    recipe = dataclasses.replace(IMAGES, n_images=120, n_views=3, junk=0.2)
    write_image_set(folder / "images", simulate_images(recipe))
    volumes = VolumeRecipe(n_particles=24, box=16, pixel_size=16.0, snr=1.0)
    write_volume_set(folder / "volumes", simulate_volumes(volumes))
    place = Place(root, folder, folder / "images/particles.star")
    runs = {
        "tiny": ISAC
        | {"particles": str(place.particles), "thld_err": 0.6, "n_generations": 1},
        "solid": {
            "method": "cpca",
            "particles": str(folder / "volumes/particles.star"),
            "wedge": {"angles": [30, 30]},
            "mask": {"sphere": {"radius": 6, "edge": 1}},
            "lowpass": 5,
            "nclass": 2,
        },
    }
    place.write("my.yaml", runs)
    place.run("results/tiny/coefficients.npy")
    shutil.copytree(folder / "work", folder / "prepared")
    place.run()
    return place


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A Slurm of two nodes with two CPUs each; tests that need it skip without."""
    from slurm import Cluster, why_not

    if reason := why_not():
        pytest.skip(reason)
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    cluster.up()
    yield cluster
    cluster.down()
