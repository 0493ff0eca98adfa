from pathlib import Path

from cryokin.simulate.volumes import VolumeRecipe, simulate_volumes, write_volume_set


def simulate_3d(*, truth: Path, recipe: VolumeRecipe) -> None:
    """Simulate subtomograms of two structures, with truth.csv."""
    write_volume_set(truth.parent, simulate_volumes(recipe))
