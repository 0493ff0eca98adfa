from pathlib import Path

from cryokin.simulate.files import write_image_set
from cryokin.simulate.images import Recipe, simulate_images


def simulate_2d(*, truth: Path, recipe: Recipe) -> None:
    """Simulate a set of 2D images, with truth.csv."""
    write_image_set(truth.parent, simulate_images(recipe))
