"""The experimental subtomograms of the tutorial, by the workflow."""

import csv

import numpy as np
import pytest

from conftest import ROOT
from places import Place

pytestmark = pytest.mark.slow

TUTORIAL = ROOT / "resources/tutorial"


@pytest.fixture(scope="module")
def place(root, tmp_path_factory):
    particles = TUTORIAL / "ribosomes/particles.star"
    place = Place(root, tmp_path_factory.mktemp("tutorial"), particles)
    options = {
        "method": "cpca",
        "particles": str(particles),
        "mask": {"sphere": {"radius": 12, "edge": 3}},
        "lowpass": 10,
        "nclass": 2,
    }
    place.write("ribosomes.yaml", {"ribosomes": options})
    place.run("results/ribosomes/classes.csv", config="ribosomes.yaml", work=".")
    return place


def test_mirrored_ribosomes_are_a_class_of_their_own(place):
    with (place.folder / "results/ribosomes/classes.csv").open() as file:
        found = np.array([int(row["class"]) for row in csv.DictReader(file)])
    mirrored = np.loadtxt(TUTORIAL / "ribosomes/mirrored.txt", int)
    assert set(found) == {1, 2}
    right = np.count_nonzero(found == mirrored + 1)
    assert max(right, len(found) - right) >= 32
