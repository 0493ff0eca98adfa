"""What users carry on with: selections, full size, tilted pairs, other programs.

One small run, named as the example, in a folder that looks like a checkout, so that the
commands of docs/interop.md run in it as they stand there.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from itertools import chain, pairwise
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import starfile
import yaml
from scipy import ndimage

from cryokin.files import read_ids, read_json
from cryokin.image.filters import filter_image
from cryokin.image.masks import disc
from cryokin.io.eman_hdf import read_headers, read_images
from cryokin.io.mrc import write_stack, write_volume
from cryokin.io.pytom_xml import read_particle_list
from cryokin.io.star import read_star, write_star
from cryokin.provenance import sha256
from cryokin.rings import correlation
from cryokin.simulate.density import chiral_density, project
from cryokin.simulate.files import write_image_set
from cryokin.simulate.images import Recipe, simulate_images
from cryokin.simulate.volumes import VolumeRecipe, simulate_volumes, write_volume_set
from cryokin.volume.masks import sphere
from places import ISAC, Checkout

pytestmark = pytest.mark.slow

RADIUS = 25
RECIPE = Recipe(
    n_images=240,
    box=64,
    pixel_size=5.0,
    snr=2.0,
    n_views=4,
    view_share=1.0,
    view_spread=3.0,
    shift_sd=1.0,
    ctf=True,
    junk=0.4,
)
DEMO = ISAC | {
    "particles": "resources/demo_2d/particles.star",
    "radius": RADIUS,
    "CTF": True,
}
CUBES = {
    "method": "cpca",
    "particles": "cubes/particles.star",
    "wedge": {"angles": [30, 30]},
    "mask": {"sphere": {"radius": 8, "edge": 1}},
    "lowpass": 7,
    "nclass": 3,
}
BY_HAND = {"demo": DEMO | {"selection": "hand.yaml"}}


@pytest.fixture(scope="module")
def place(root, tmp_path_factory):
    """A finished run of 2D images with a selection by hand, and one of subtomograms."""
    place = Checkout(root, tmp_path_factory.mktemp("place"))
    place.write("config/config.yaml", {"demo": DEMO})
    made = simulate_images(RECIPE)
    folder = place.particles.parent
    write_image_set(folder, made)
    blocks = read_star(place.particles)
    blocks["particles"]["myPair"] = [f"pair_{i}" for i in range(RECIPE.n_images)]
    write_star(place.particles, blocks)
    # Tilted counterparts that tell which they are, in another order, not all there.
    order = np.random.default_rng(4).permutation(RECIPE.n_images)[:-20]
    tilted = np.zeros((len(order), 16, 16), np.float32)
    tilted[:, 0, 0] = order
    tilted[:, 8, 8] = 1
    write_stack(folder / "tilted.mrcs", tilted, 7.0)
    names = [f"{i + 1:06d}@tilted.mrcs" for i in range(len(order))]
    table = blocks["particles"].iloc[order].assign(rlnImageName=names)
    optics = blocks["optics"].assign(rlnImagePixelSize="7.0", rlnImageSize="16")
    write_star(folder / "tilted.star", {"optics": optics, "particles": table})
    volumes = simulate_volumes(
        VolumeRecipe(n_particles=30, box=20, pixel_size=14.0, snr=2.0)
    )
    write_volume_set(place.folder / "cubes", volumes)
    write_volume(folder / "mask.mrc", sphere((20,) * 3, 8, 1), 14.0)
    place.write("cubes.yaml", {"cubes": CUBES})
    place.run()
    select(place, keep=[1, 2, 4], merge=[[2, 4]])
    place.write("by_hand.yaml", BY_HAND)
    place.run(config="by_hand.yaml")
    place.run(config="cubes.yaml")
    return place


def select(place, name="hand.yaml", run="demo", **what):
    (place.folder / name).write_text(yaml.safe_dump({"run": run, **what}))


def table_of(path):
    """Return the particles of a STAR file as another program's reader has them."""
    return starfile.read(path, always_dict=True)["particles"]


def under_disc(image):
    return np.asarray(image)[disc(len(image), len(image) * RADIUS / RECIPE.box)]


def likeness(one, other):
    return np.corrcoef(under_disc(one), under_disc(other))[0, 1]


# ------------------------------------------------------------------------ selections


def test_lists_tables_and_stacks_of_a_selection_agree(place):
    folder = place.results() / "selected"
    every = table_of(place.results() / "particles.star")
    chosen = table_of(folder / "particles_selected.star")
    ids = read_ids(folder / "isacselect.txt")
    assert ids == sorted(ids)
    assert ids == list(np.flatnonzero(every["rlnClassNumber"].isin([1, 2, 4])))
    assert list(chosen["cryokinOriginalId"]) == ids
    becomes = every["rlnClassNumber"].replace({4: 2})
    assert list(chosen["rlnClassNumber"]) == list(becomes[ids])

    classes = starfile.read(folder / "classes_selected.star")
    assert list(classes["rlnClassNumber"]) == [1, 2]
    assert list(classes["cryokinMergedFrom"].astype(str)) == ["1", "2,4"]
    counts = chosen["rlnClassNumber"].value_counts()
    headers = read_headers(folder / "class_averages_selected.hdf")
    images = read_images(folder / "class_averages_selected.hdf")[0]
    with mrcfile.open(folder / "class_averages_selected.mrcs") as stack:
        np.testing.assert_array_equal(stack.data, images)
    for row, header in zip(classes.itertuples(), headers, strict=True):
        number = row.rlnClassNumber
        members = np.flatnonzero(becomes == number)
        assert row.cryokinMembers == counts[number] == header["n_objects"]
        assert list(np.atleast_1d(header["members"])) == list(members)
        listed = folder / f"isacgroup/class_{number:04d}.txt"
        assert read_ids(listed) == list(members)
    assert len(list((folder / "isacgroup").glob("*.txt"))) == 2

    flags = starfile.read(folder / "backup_selection.star")["rlnSelected"]
    averages = read_headers(place.results() / "class_averages.hdf")
    assert list(np.flatnonzero(flags) + 1) == [1, 2, 4]
    assert len(flags) == len(averages)


def test_columns_of_the_input_are_untouched_in_a_selection(place):
    before = read_star(place.particles)["particles"]
    after = read_star(place.results() / "selected/particles_selected.star")["particles"]
    ids = after["cryokinOriginalId"].astype(int)
    for name in before:
        if name == "rlnImageName":  # became the whole path
            continue
        assert list(after[name]) == list(before[name].iloc[ids]), name


def test_a_class_that_is_not_merged_stays_as_it_is(place):
    whole, headers = read_images(place.results() / "class_averages.hdf")
    part, chosen = read_images(place.results() / "selected/class_averages_selected.hdf")
    np.testing.assert_array_equal(part[0], whole[0])
    for key in ("members", "n_objects", "pixel_error", "resolution", "generation"):
        np.testing.assert_array_equal(chosen[0][key], headers[0][key])
    before = table_of(place.results() / "particles.star")
    after = table_of(place.results() / "selected/particles_selected.star")
    first = after[after["rlnClassNumber"] == 1].drop(columns="cryokinOriginalId")
    same = before[before["rlnClassNumber"] == 1].reset_index(drop=True)
    assert first.reset_index(drop=True).equals(same)


def average_by_scipy(table, images, number):
    """Average a class by RELION's columns and their documentation, with SciPy alone."""
    box, pixel = images.shape[-1], RECIPE.pixel_size
    axis = np.arange(box) - box // 2
    q = np.stack(np.meshgrid(axis, axis), axis=-1).astype(float)
    mean = np.zeros((box, box))
    inside = disc(box, RADIUS)
    for row in table[table["rlnClassNumber"] == number].itertuples():
        image = images[int(row.rlnImageName.partition("@")[0]) - 1]
        image = image - image[~inside].mean()
        psi = np.radians(row.rlnAnglePsi)
        s = -np.array([row.rlnOriginXAngst, row.rlnOriginYAngst]) / pixel
        turn = np.array([[np.cos(psi), -np.sin(psi)], [np.sin(psi), np.cos(psi)]])
        p = q @ (turn @ np.diag([1, -1 if row.rlnIsFlip else 1])) + s + box // 2
        mean += ndimage.map_coordinates(
            image / image[inside].std(), [p[..., 1], p[..., 0]], mode="nearest"
        )
    return mean


@pytest.mark.parametrize("number", [1, 2])
def test_selected_averages_can_be_made_again_from_the_table(place, number):
    """That of the merged class, too: its members are all in one frame."""
    folder = place.results() / "selected"
    table = table_of(folder / "particles_selected.star")
    with mrcfile.open(place.results() / "phase_flipped.mrcs") as stack:
        again = average_by_scipy(table, stack.data, number)
    ours = read_images(folder / "class_averages_selected.hdf")[0][number - 1]
    ratio = read_json(place.results() / "working_stack.json")["shrink_ratio"]
    coarse = (np.arange(len(ours)) - len(ours) // 2) / ratio + RECIPE.box // 2
    smooth = filter_image(again, 0.3 * ratio, 0.2)  # FH and FF of the working images
    small = ndimage.map_coordinates(smooth, np.meshgrid(coarse, coarse, indexing="ij"))
    inside = disc(len(ours), 12)
    assert np.corrcoef(small[inside], ours[inside])[0, 1] > 0.99


def test_a_changed_selection_makes_one_step_again(place):
    assert place.planned(config="by_hand.yaml") == {}
    path = place.folder / "hand.yaml"
    text = path.read_text()
    try:
        select(place, keep=[2, 1])
        planned = place.planned(config="by_hand.yaml")
        assert planned == {"select_particles": 1, "all": 1}
    finally:
        path.write_text(text)
        os.utime(path, (0, 0))
    assert place.planned(config="by_hand.yaml") == {}


def test_the_selection_beside_the_config_is_found(place):
    path = place.folder / "config/selection/demo.yaml"
    path.parent.mkdir()
    try:
        path.write_text((place.folder / "hand.yaml").read_text())
        assert "select_particles" in place.planned("--forcerun", "select_particles")
        text = place.run("--dry-run", "--forcerun", "select_particles", "-p")
        assert "--selection config/selection/demo.yaml" in text
        # Further selections have names; another run can start from one.
        select(place, "config/selection/demo.best.yaml", keep=[3])
        few = {"img_per_grp": 2, "thld_grp": 2, "CTF": False}
        best = DEMO | few | {"particles": "run:demo/selected.best"}
        place.write("best.yaml", {"demo": DEMO, "best": best})
        place.run("results/best/import/import.json", config="best.yaml")
        every = table_of(place.results() / "particles.star")["rlnClassNumber"]
        imported = table_of(place.results(run="best") / "import/particles.star")
        ids = list(imported["cryokinOriginalId"])
        assert ids == list(np.flatnonzero(every == 3))
        assert place.results().joinpath("selected.best/isacselect.txt").is_file()
    finally:
        shutil.rmtree(path.parent)
    assert "select_particles" not in place.planned()


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ({"keep": [1, 99]}, "keep names class 99, but run demo has classes 1 to"),
        ({"keep": [1], "run": "other"}, "run is other, but the classes are those"),
        ({"keep": [1], "classes": "0" * 64}, "made for other classes than those of"),
        ({"keep": []}, "keep = [] cannot be used"),
    ],
)
def test_a_wrong_selection_is_refused_with_one_sentence(place, what, sentence):
    select(place, "wrong.yaml", **what)
    runs = {"demo": DEMO | {"selection": "wrong.yaml"}}
    place.write("wrong_config.yaml", runs)
    work = place.copied("wrong")
    done = place.snakemake(
        "results/demo/selected/isacselect.txt", config="wrong_config.yaml", work=work
    )
    assert done.returncode == 1
    told = [line for line in done.text.splitlines() if "error: " in line]
    assert any(sentence in line for line in told), done.text
    assert "Traceback" not in done.text
    assert not list((place.results(work) / "selected").glob("*.star"))


def test_a_selection_for_the_very_classes_is_taken(place):
    checksum = sha256(place.results() / "classes.star")
    select(place, "exact.yaml", keep=[1, 2, 4], merge=[[2, 4]], classes=checksum)
    place.write("exact_config.yaml", {"demo": DEMO | {"selection": "exact.yaml"}})
    before = (place.results() / "selected/particles_selected.star").read_bytes()
    place.run("results/demo/selected/isacselect.txt", config="exact_config.yaml")
    after = (place.results() / "selected/particles_selected.star").read_bytes()
    assert after == before


def test_a_missing_selection_starts_no_job(place):
    place.write("none.yaml", {"demo": DEMO | {"selection": "nosuch.yaml"}})
    done = place.snakemake(config="none.yaml")
    assert done.returncode == 1
    assert "runs.demo.selection = nosuch.yaml: there is no such file" in done.text
    done = place.snakemake("results/demo/selected/isacselect.txt")
    assert done.returncode == 1
    assert "demo: nothing says which classes are kept; save a selection" in done.text


def test_the_rule_keeps_what_is_within_its_limits(place):
    sizes = [
        header["n_objects"]
        for header in read_headers(place.results() / "class_averages.hdf")
    ]
    size = int(np.median(sizes))
    rule = {"size": size, "pixel_error": 10, "reproduction": 0.01, "resolution": 1e4}
    place.write("rule.yaml", {"demo": DEMO | {"select": rule}})
    work = place.copied("ruled")
    place.run(config="rule.yaml", work=work)
    folder = place.results(work) / "selected"
    kept = starfile.read(folder / "classes_selected.star")["rlnClassNumber"]
    assert list(kept) == [n for n, s in enumerate(sizes, start=1) if s >= size]

    place.write("rule.yaml", {"demo": DEMO | {"select": {"size": 1000}}})
    done = place.snakemake(config="rule.yaml", work=work)
    assert done.returncode == 1
    assert f"keeps none of the {len(sizes)} classes of run demo; loosen" in done.text


# -------------------------------------------------- particles of one run for another


def test_particles_of_a_run_are_the_input_of_another(place):
    chained = DEMO | {"img_per_grp": 2, "thld_grp": 2, "CTF": False}
    runs = BY_HAND | {
        name: chained | {"particles": f"run:{source}"}
        for name, source in (
            ("left", "demo/unaccounted"),
            ("good", "demo/selected"),
            ("one", "demo/class/3"),
            ("again", "left/unaccounted"),
        )
    }
    place.write("chain.yaml", runs)
    names = ("left", "good", "one")
    place.run(
        *(f"results/{name}/import/import.json" for name in names), config="chain.yaml"
    )
    every = table_of(place.results() / "particles.star")["rlnClassNumber"]
    expected = {
        "left": np.flatnonzero(every == -1),
        "good": np.flatnonzero(every.isin([1, 2, 4])),
        "one": np.flatnonzero(every == 3),
    }
    for name in names:
        imported = table_of(place.results(run=name) / "import/particles.star")
        assert list(imported["cryokinOriginalId"]) == list(expected[name])
        assert read_json(place.results(run=name) / "import/import.json")["n"] == len(
            expected[name]
        )
        assert list(imported["myPair"]) == [f"pair_{i}" for i in expected[name]]
    # Runs follow runs, and a change of the first is one of the last.
    planned = place.planned("results/again/import/import.json", config="chain.yaml")
    assert planned["isac_prealign"] == 1  # of the run left
    planned = place.planned(
        "results/left/import/import.json",
        "--forcerun",
        "isac_class_averages",
        config="chain.yaml",
    )
    assert planned["isac_class_averages"] == 1


def test_particles_that_nothing_selects_start_no_job(place):
    runs = {"demo": DEMO, "more": DEMO | {"particles": "run:demo/selected"}}
    place.write("unselected.yaml", runs)
    done = place.snakemake(config="unselected.yaml")
    assert done.returncode == 1
    assert "nothing says which classes of run demo are kept; save a" in done.text


def test_subtomograms_are_selected_and_go_on_likewise(place):
    results = place.results(run="cubes")
    described = read_json(results / "classes.json")["classes"]
    select(
        place,
        "cubes_hand.yaml",
        run="cubes",
        keep=[3, 1],
        merge=[[3, 1]],
        classes=sha256(results / "classes.json"),
    )
    again = CUBES | {"nclass": 2, "wedge": None}
    runs = {
        "cubes": CUBES | {"selection": "cubes_hand.yaml"},
        "good_3d": again | {"particles": "run:cubes/selected"},
        "one_3d": again | {"particles": "run:cubes/class/1"},
    }
    place.write("cubes_hand_config.yaml", runs)
    targets = [f"results/{name}/import/import.json" for name in ("good_3d", "one_3d")]
    place.run(*targets, config="cubes_hand_config.yaml")
    labels = np.loadtxt(results / "classes.csv", delimiter=",", skiprows=1, dtype=int)
    kept = np.flatnonzero(np.isin(labels[:, 1], [1, 3]))
    every = read_particle_list(results / "classified.xml")
    listed = read_particle_list(results / "selected/filtered_pl.xml")
    assert [p.file for p in listed] == [every[i].file for i in kept]
    assert {p.label for p in listed} == {"3"}
    table = table_of(results / "selected/filtered_pl.star")
    assert set(table["rlnClassNumber"]) == {3}
    flags = starfile.read(results / "selected/backup_selection.star")["rlnSelected"]
    assert list(flags) == [int(e["class"] in (1, 3)) for e in described]
    # Wedges and pixel size, which came from the config or the files, go along.
    for name, ids in (("good_3d", kept), ("one_3d", np.flatnonzero(labels[:, 1] == 1))):
        taken = read_particle_list(place.results(run=name) / "import/particles.xml")
        assert [p.file for p in taken] == [every[i].file for i in ids]
        assert {p.wedge for p in taken} == {p.wedge for p in every}
        info = read_json(place.results(run=name) / "import/import.json")
        assert info["pixel_size"] == 14.0


# ------------------------------------------------------------ recipes of the manual


def test_members_of_candidates_are_listed(place):
    name = "class_averages_candidate_generation_1"
    folder = place.results() / "generation_0001"
    target = f"results/demo/generation_0001/selected/{name}/isacselect.txt"
    place.run(target)
    headers = read_headers(folder / f"{name}.hdf")
    members = [list(np.atleast_1d(header["members"])) for header in headers]
    assert read_ids(folder / f"selected/{name}/isacselect.txt") == sorted(
        chain(*members)
    )
    for number, group in enumerate(members, start=1):
        path = folder / f"selected/{name}/isacgroup/class_{number:04d}.txt"
        assert read_ids(path) == group

    hand = place.folder / f"config/selection/demo/{name}.yaml"
    hand.parent.mkdir(parents=True)
    try:
        hand.write_text(yaml.safe_dump({"run": "demo", "keep": [2]}))
        place.run(target)
        kept = read_headers(folder / f"selected/{name}/selected.hdf")
        assert read_ids(folder / f"selected/{name}/isacselect.txt") == members[1]
        assert [header["n_objects"] for header in kept] == [len(members[1])]
    finally:
        shutil.rmtree(place.folder / "config/selection")


def test_tilted_counterparts_of_a_group_by_their_column(place):
    tilted = {"particles": "resources/demo_2d/tilted.star", "match": "myPair"}
    place.write("tilted.yaml", {"demo": DEMO | {"tilted": tilted}})
    paired = {
        int(pair.partition("_")[2])
        for pair in table_of(place.folder / tilted["particles"])["myPair"]
    }
    # A class of the first generation of which not all have a counterpart.
    headers = read_headers(
        place.results() / "generation_0001/class_averages_generation_1.hdf"
    )
    k = next(
        k
        for k, header in enumerate(headers)
        if not set(np.atleast_1d(header["members"])) <= paired
    )
    names = (f"generation_0001_group_{k:03d}", f"class_{k + 1:04d}")
    targets = [f"results/demo/rct/{name}/tilted.star" for name in names]
    place.run(*targets, config="tilted.yaml")
    group, same = (place.results() / "rct" / name for name in names)
    assert (group / "params.txt").read_bytes() == (same / "params.txt").read_bytes()

    header = read_headers(place.results() / "class_averages.hdf")[k]
    members = read_ids(group / "members.txt")
    assert members == list(np.atleast_1d(header["members"]))
    table = table_of(group / "tilted.star")
    pairs = [int(pair.partition("_")[2]) for pair in table["myPair"]]
    assert set(pairs) < set(members)
    assert list(table["cryokinOriginalId"]) == pairs == sorted(pairs)
    given = table_of(place.folder / tilted["particles"])
    rows = read_ids(group / "tilted.txt")
    assert list(given["myPair"].iloc[rows]) == list(table["myPair"])
    with mrcfile.open(group / "tilted.mrcs") as stack:
        assert list(stack.data[:, 0, 0]) == pairs  # each image tells its number
        assert stack.voxel_size.x == 7.0

    # phi, sx, sy, mirror say the same as RELION's columns of the particles.
    params = np.loadtxt(group / "params.txt")
    untilted = table_of(place.results() / "particles.star").iloc[pairs]
    mirror = untilted["rlnIsFlip"].to_numpy() == 1
    np.testing.assert_array_equal(params[:, 3], mirror)
    psi = np.where(mirror, params[:, 0] + 180, -params[:, 0])
    apart = (psi - untilted["rlnAnglePsi"].to_numpy() + 180) % 360 - 180
    np.testing.assert_allclose(apart, 0, atol=1e-3)
    a = np.radians(params[:, 0])
    # What is shifted to the origin is the particle's centre: R(a) s + t = 0.
    s = -untilted[["rlnOriginXAngst", "rlnOriginYAngst"]].to_numpy() / RECIPE.pixel_size
    turned = np.stack(
        [np.cos(a) * s[:, 0] + np.sin(a) * s[:, 1],
         np.cos(a) * s[:, 1] - np.sin(a) * s[:, 0]], axis=1,
    )  # fmt: skip
    np.testing.assert_allclose(turned, -params[:, 1:3], atol=1e-3)


@pytest.mark.parametrize(
    ("tilted", "sentence"),
    [
        ("resources/demo_2d/tilted.star", "holds 220 tilted particles, but there are"),
        (
            {"particles": "resources/demo_2d/tilted.star", "match": "rlnOpticsGroup"},
            "rlnOpticsGroup is 1 for several particles",
        ),
        (
            {"particles": "resources/demo_2d/tilted.star", "match": "noSuch"},
            "there is no column noSuch",
        ),
        (None, "give runs.demo.tilted in the config"),
    ],
)
def test_pairs_that_cannot_be_are_refused(place, tilted, sentence):
    place.write("wrong_tilted.yaml", {"demo": DEMO | {"tilted": tilted}})
    target = "results/demo/rct/class_1/tilted.star"
    done = place.snakemake(target, config="wrong_tilted.yaml")
    assert done.returncode == 1
    assert sentence in done.text
    assert not (place.results() / "rct/class_1/tilted.star").exists()


# -------------------------------------------------------------------------- full size


@pytest.fixture(scope="module")
def full(place):
    place.run("full_size")
    return place.results()


def test_full_size_has_the_same_bytes_on_any_number_of_ranks(place, full):
    names = [
        f"class_averages_{kind}.{suffix}"
        for kind in ("full", "ordered")
        for suffix in ("mrcs", "hdf", "star")
    ]
    before = {name: (full / name).read_bytes() for name in (*names, "frc_full.json")}
    for ranks in (1, 3):
        ask = ["--set-resources", f"isac_full_averages:tasks={ranks}"]
        place.run("full_size", "--forcerun", "isac_full_averages", *ask)
        for name, content in before.items():
            assert (full / name).read_bytes() == content, (name, ranks)


def test_full_size_shows_more_of_the_object(place, full):
    """Nearer to the noise-free views than the working averages are, at any radius."""
    made = simulate_images(RECIPE)
    clean = project(
        chiral_density(), made.orientations, made.shifts, RECIPE.box, RECIPE.pixel_size
    )
    table = table_of(full / "particles.star")
    small = read_images(full / "class_averages.hdf")[0]
    large = read_images(full / "class_averages_full.hdf")[0]
    ratio = read_json(full / "working_stack.json")["shrink_ratio"]
    gains, curves = [], []
    for number, (one, other) in enumerate(zip(small, large, strict=True), start=1):
        truth = average_by_scipy(table, clean, number)
        fine = (np.arange(RECIPE.box) - RECIPE.box // 2) * ratio + len(one) // 2
        grown = ndimage.map_coordinates(
            one.astype(float), np.meshgrid(fine, fine, indexing="ij"), mode="nearest"
        )
        gains.append([likeness(grown, truth), likeness(other, truth)])
        inside = disc(RECIPE.box, RADIUS)
        curves.append(
            [
                correlation(*(np.where(inside, i, 0) for i in (image, truth)))
                for image in (grown, other)
            ]
        )
    before, after = np.mean(gains, axis=0)
    assert after > before + 0.02, (before, after)
    beyond = slice(int(0.45 * ratio * RECIPE.box), 24)  # what shrinking lost
    working, whole = np.mean(curves, axis=0)
    assert whole[beyond].mean() > working[beyond].mean() + 0.1


def test_full_size_tells_what_it_is(full):
    headers = read_headers(full / "class_averages_full.hdf")
    table = starfile.read(full / "class_averages_full.star")
    known = read_headers(full / "class_averages.hdf")
    curves = read_json(full / "frc_full.json")
    for header, row, old, curve in zip(
        headers, table.itertuples(), known, curves["frc"], strict=True
    ):
        np.testing.assert_array_equal(header["members"], old["members"])
        np.testing.assert_allclose(header["frc"], curve, atol=1e-5)
        assert header["apix_x"] == RECIPE.pixel_size
        assert abs(row.cryokinResolution0143 - header["resolution_0143"]) < 1e-3
        assert row.cryokinResolution0143 <= row.cryokinResolution


def test_the_tour_holds_every_average_once_and_neighbours_are_alike(full):
    table = starfile.read(full / "class_averages_ordered.star")
    numbers = list(table["rlnClassNumber"])
    whole = read_images(full / "class_averages_full.hdf")[0]
    ordered = read_images(full / "class_averages_ordered.hdf")[0]
    assert sorted(numbers) == list(range(1, len(whole) + 1))
    np.testing.assert_allclose(ordered[0], whole[numbers[0] - 1], atol=1e-5)
    inside = disc(RECIPE.box, RADIUS)

    def rough(images):
        pairs = pairwise(images)
        return np.mean([np.corrcoef(a[inside], b[inside])[0, 1] for a, b in pairs])

    assert rough(ordered) > rough(whole) + 0.1


@pytest.mark.parametrize("name", ["class_averages", "class_averages_full"])
def test_viewers_find_valid_files_with_sizes(full, name):
    path = full / f"{name}.mrcs"
    assert mrcfile.validate(path)
    with mrcfile.open(path) as stack:
        assert stack.is_image_stack()
        assert stack.header.origin.item() == (0, 0, 0)
        assert stack.header.nxstart == stack.header.nystart == 0
        if name.endswith("full"):
            assert stack.voxel_size.x == RECIPE.pixel_size


# ------------------------------------------------------------------- other programs


def relion_is_there():
    return shutil.which("relion_refine") is not None


needs_relion = pytest.mark.skipif(
    not relion_is_there(), reason="RELION is not installed"
)


def documented_commands(root):
    """Return the commands of the page, in their order."""
    text = (root / "docs/interop.md").read_text()
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.M | re.S)
    return [
        line[2:] for b in blocks for line in b.splitlines() if line.startswith("$ ")
    ]


def test_the_commands_of_the_page_work(place, full, root):
    commands = documented_commands(root)
    assert len(commands) >= 10
    for command in commands:
        if command.startswith("relion_") and not relion_is_there():
            continue
        if command.startswith("e2") and not shutil.which(command.split()[0]):
            continue  # EMAN2 is in no package repository
        if "External/" not in command:  # those have the true example, below
            place.shell(command)


@pytest.fixture(scope="module")
def relion_project(root, tmp_path_factory):
    """A folder of RELION in which the page's job was done on the true example."""
    place = Checkout(root, tmp_path_factory.mktemp("project"))
    write_image_set(place.particles.parent, simulate_images(Recipe()))
    for command in documented_commands(root):
        if "External/" in command:
            place.shell(command)
    return place


def test_what_a_job_of_relion_hands_over(relion_project):
    job = relion_project.folder / "External/job002"
    assert (job / "RELION_JOB_EXIT_SUCCESS").exists()
    nodes = starfile.read(job / "RELION_OUTPUT_NODES.star")
    for name in nodes["rlnPipeLineNodeName"]:
        assert (relion_project.folder / name).exists()
    parts, left = (table_of(job / f"{n}.star") for n in ("particles", "unaccounted"))
    classes = starfile.read(job / "class_averages.star")
    assert (parts["rlnClassNumber"] > 0).all()
    assert (left["rlnClassNumber"] == -1).all()
    assert set(parts["rlnClassNumber"]) <= set(classes["rlnClassNumber"])
    assert len(classes) > 4
    assert len(parts) > len(left)
    stack = classes["rlnReferenceImage"].iloc[0].partition("@")[2]
    assert (relion_project.folder / stack).exists()
    told = starfile.read(job / "run_it000_optimiser.star")
    for key in ("rlnModelStarFile", "rlnExperimentalDataStarFile"):
        assert (relion_project.folder / told[key]).exists()
    model = starfile.read(job / "run_it000_model.star")["model_classes"]
    assert list(model["rlnReferenceImage"]) == list(classes["rlnReferenceImage"])


@pytest.mark.skipif(
    not all(map(shutil.which, ("relion_display", "Xvfb"))),
    reason="RELION's display, or a screen for it, is not installed",
)
@pytest.mark.parametrize("job", ["results/demo/relion/", "External/job002/"])
def test_relion_shows_the_classes_of_a_run_and_of_a_job(job, place, relion_project):
    """By the folder of its project alone; it waits for its user once it shows them."""
    show = f"relion_display --class --allow_save --i {job}run_it000_model.star"
    there = relion_project if job.startswith("External") else place
    done = there.shell(f"timeout 6 xvfb-run -a {show} --fn_parts p.star", check=False)
    assert done.returncode == 124, done.stdout
    assert "ERROR" not in done.stdout
    assert "Reading in all images" in done.stdout


BARE = {"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": "/nonexistent"}


def external(script, folder, python):
    """Start a job that lacks its particles, where only the system's Python is known."""
    return subprocess.run(
        [python, script, "--o", "job/", "--in_parts", "nosuch.star", "--radius", "5"],
        cwd=folder,
        env=BARE,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_job_finds_its_own_python(root, tmp_path):
    """RELION is started from an environment that knows nothing of this one."""
    if not (root / ".venv/bin/python").exists():
        pytest.skip("there is no environment of the checkout")
    script = root / "workflow/scripts/relion_external.py"
    done = external(script, tmp_path, sys._base_executable)
    assert "nosuch.star: there is no such file" in done.stderr, done.stderr
    assert [path.name for path in (tmp_path / "job").iterdir()] == [
        "RELION_JOB_EXIT_FAILURE"
    ]


def test_a_job_without_its_environment_fails_and_says_so(root, tmp_path):
    script = tmp_path / "copy/workflow/scripts/relion_external.py"
    script.parent.mkdir(parents=True)
    shutil.copy(root / "workflow/scripts/relion_external.py", script)
    done = external(script, tmp_path, sys._base_executable)
    assert "make setup" in done.stderr
    assert (tmp_path / "job/RELION_JOB_EXIT_FAILURE").exists()


def test_subtomograms_are_a_job_of_relion_likewise(place):
    """The mask as RELION hands it over, limits for the selection, files by name."""
    place.shell(
        '"$CRYOKIN"/workflow/scripts/relion_external.py --o External/job003/'
        " --in_parts cubes/particles.star --in_mask resources/demo_2d/mask.mrc"
        " --method cpca --wedge '{angles: [30, 30]}' --lowpass 7 --nclass 2"
        " --select '{size: 3}' --j 2"
    )
    job = place.folder / "External/job003"
    assert (job / "RELION_JOB_EXIT_SUCCESS").exists()
    given = table_of(place.folder / "cubes/particles.star")
    chosen = table_of(job / "particles.star")
    assert 0 < len(chosen) <= len(given)
    assert set(chosen["rlnClassNumber"]) <= {1, 2}
    assert all(Path(name).is_absolute() for name in chosen["rlnImageName"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--in_parts nosuch.star --radius 25", "nosuch.star: there is no such file"),
        ("--radius 25", "--in_parts is missing"),
        ("--in_parts resources/demo_2d/particles.star --raduis 25", "did you mean"),
        ("--in_parts resources/demo_2d/particles.star --radius", "has no value"),
    ],
)
def test_a_failed_job_says_so_to_relion_and_to_people(place, words, sentence):
    done = place.shell(
        f'"$CRYOKIN"/workflow/scripts/relion_external.py --o External/job9/ {words}',
        check=False,
    )
    assert done.returncode == 1
    assert sentence in done.stdout
    assert "Traceback" not in done.stdout
    left = {path.name for path in (place.folder / "External/job9").iterdir()}
    assert "RELION_JOB_EXIT_FAILURE" in left
    assert "RELION_JOB_EXIT_SUCCESS" not in left


def test_a_job_ends_when_relion_asks_for_it(place, root):
    job = place.folder / "External/job8"
    process = subprocess.Popen(
        [
            *(sys.executable, root / "workflow/scripts/relion_external.py"),
            *("--o", "External/job8/", "--radius", "25"),
            *("--in_parts", "resources/demo_2d/particles.star"),
            *("--img_per_grp", "20"),
        ],
        cwd=place.folder,
        env=os.environ | {"PYTHONPATH": str(root / "src")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not (job / "results").exists():
            assert process.poll() is None
            time.sleep(0.05)
        (job / "RELION_JOB_ABORT_NOW").touch()
        assert process.wait(60) == 1
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert (job / "RELION_JOB_EXIT_ABORTED").exists()
    assert not (job / "RELION_JOB_ABORT_NOW").exists()


@needs_relion
def test_relion_goes_on_from_a_selection(place):
    """Every particle is read, and comes out with the columns that RELION ignores."""
    (place.folder / "refined").mkdir(exist_ok=True)
    place.shell(
        "relion_refine --o refined/run --K 2 --iter 1 --ctf --particle_diameter 240"
        " --i results/demo/selected/particles_selected.star --oversampling 0"
        " --psi_step 24 --offset_range 2 --offset_step 2 --norm --scale"
    )
    given = table_of(place.results() / "selected/particles_selected.star")
    refined = table_of(place.folder / "refined/run_it001_data.star")
    kept = ["rlnImageName", "myPair", "cryokinOriginalId", "cryokinGeneration"]
    assert refined[kept].equals(given[kept])


@needs_relion
def test_relion_makes_the_same_averages_from_the_table(place, full):
    """With its own CTF; mirrored members by the sign of psi, as the page says."""
    blocks = read_star(full / "particles.star")
    table = blocks["particles"]
    flipped = table["rlnIsFlip"] == "1"
    table["rlnAnglePsi"] = np.where(
        flipped, -table["rlnAnglePsi"].astype(float), table["rlnAnglePsi"].astype(float)
    ).astype(str)
    ours = read_images(full / "class_averages_full.hdf")[0]
    compared = 0
    for number in range(1, len(ours) + 1):
        total = np.zeros((RECIPE.box, RECIPE.box))
        for mirror in (False, True):
            chosen = (table["rlnClassNumber"] == str(number)) & (flipped == mirror)
            if chosen.sum() == 0:
                continue
            write_star(
                place.folder / "part.star",
                {"optics": blocks["optics"], "particles": table[chosen]},
            )
            place.shell(
                "relion_reconstruct --i part.star --o part.mrc --refdim 2 --ctf"
            )
            with mrcfile.open(place.folder / "part.mrc", permissive=True) as part:
                image = np.squeeze(part.data).astype(float)
            if mirror:  # about the x axis; its centre stays
                image = np.roll(image[::-1], 1, axis=0)
            total += chosen.sum() * image
        # Up to where halves agree, and not where a CTF passes next to nothing.
        header = read_headers(full / "class_averages_full.hdf")[number - 1]
        end = RECIPE.pixel_size / header["resolution"]
        same = likeness(band(total, end), band(ours[number - 1], end))
        assert same > 0.99, number
        compared += 1
    assert compared >= 3


def band(image, end):
    """Return an image without its mean and slow waves, up to a frequency."""
    f = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in image.shape)))
    return np.fft.ifft2(np.fft.fft2(image) * ((f < end) & (f > 0.03))).real


@needs_relion
def test_relion_runs_the_workflow_as_a_job_of_its_own(place, root):
    """Its own pipeline program schedules and starts the job."""
    words = {
        "External executable:": root / "workflow/scripts/relion_external.py",
        "Input particles: ": "resources/demo_2d/particles.star",
        "Number of threads:": 2,
    }
    options = {"radius": 25, "target_radius": 12, "target_nx": 30, "img_per_grp": 20}
    options |= {"max_round": 1, "n_generations": 1, "indep_run": 2, "match_second": 2}
    options |= {"maxit": DEMO["maxit"], "stab_ali": 3}
    for i, (name, value) in enumerate(options.items(), start=1):
        words |= {f"Param{i} - label:": name, f"Param{i} - value:": value}
    (place.folder / "default_pipeline.star").write_text(
        "\ndata_pipeline_general\n\n_rlnPipeLineJobCounter 11\n\n"
    )
    listed = ";".join(f"{key} == {value}" for key, value in words.items())
    place.shell(f"relion_pipeliner --addJob External --addJobOptions '{listed}'")
    place.shell(
        "relion_pipeliner --schedule one --RunJobs External/job011/ --sec_wait_after 1"
    )
    job = place.folder / "External/job011"
    assert (job / "RELION_JOB_EXIT_SUCCESS").exists(), (job / "run.err").read_text()
    pipeline = starfile.read(place.folder / "default_pipeline.star", always_dict=True)
    made = set(pipeline["pipeline_nodes"]["rlnPipeLineNodeName"])
    assert {
        f"External/job011/{n}.star" for n in ("particles", "class_averages")
    } <= made
