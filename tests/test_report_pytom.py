"""The report of a classification of subtomograms: page, figures, files."""

import base64
import dataclasses
import hashlib
import io
import json
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from scipy.cluster import hierarchy

from cryokin.config import load_runs
from cryokin.errors import InputError
from cryokin.estimate import RuleUsage
from cryokin.files import write_json
from cryokin.io.mrc import write_volume
from cryokin.provenance import sha256
from cryokin.report import pytom_figures as figures
from cryokin.report.images import montage, slices, stretch
from cryokin.report.interim import interim_page
from cryokin.report.page import option_table
from cryokin.report.pytom_files import PytomFiles, beam_of, read_labels
from cryokin.report.pytom_page import (
    STEPS,
    SubtomogramClass,
    figure_files,
    page,
    strip,
)
from cryokin.subtomo.chains import Chain, save_chains
from pytom_report import pytom_report
from reports import HOSTILE, Elements, bare_report, data_of, directions, full_report

PARTS = ("components", "course", "merging", "tilt")


def test_page_shows_every_class_once_from_the_largest():
    report = full_report(7)
    tiles = Elements(page(report)).named("button", "tile")
    numbers = [int(tile["data-class"]) for tile in tiles]
    sizes = [report.sizes[number] for number in numbers]
    assert sorted(numbers) == list(range(1, 8))
    assert sizes == sorted(sizes, reverse=True)


def test_members_of_the_page_are_those_of_the_table():
    report = full_report()
    data = data_of(page(report))
    labels = np.full(report.particles, -1)
    for c in data["classes"]:
        labels[np.cumsum(c["m"])] = c["k"]
    np.testing.assert_array_equal(labels, report.labels)
    assert data["particles"] == report.particles


def test_points_of_the_page_are_the_coefficients():
    report = full_report()
    columns = data_of(page(report))["points"]["coefficients"]
    assert len(columns) == 5
    for column, values in zip(columns, report.coefficients.T, strict=True):
        parts = np.array(column["parts"]) / STEPS
        span = column["high"] - column["low"]
        found = column["low"] + span * parts
        np.testing.assert_allclose(found, values, atol=span / STEPS)


def test_same_report_same_bytes():
    assert page(full_report()) == page(full_report())


@pytest.mark.parametrize("make", [bare_report, full_report])
def test_page_holds_all_it_needs_and_runs_its_own_script_alone(make):
    html = page(make())
    elements = Elements(html)
    for _, attributes in elements.tags:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("data:image/", "#"))
    assert "url(" not in html and "@import" not in html
    policy = next(m["content"] for m in elements.named("meta") if "http-equiv" in m)
    digest = hashlib.sha256(elements.scripts[1].encode()).digest()
    assert base64.b64encode(digest).decode() in policy


def test_what_a_run_lacks_is_not_on_its_page():
    bare, full = page(bare_report()), page(full_report())
    for part in PARTS:
        assert f'<section id="{part}"' in full and f'href="#{part}"' in full
        assert f'<section id="{part}"' not in bare and f'href="#{part}"' not in bare
    text = re.sub(r"base64,\S+|provenance", "", bare.lower())
    assert "nan" not in text and not re.search("none</(?!button)", text)


@pytest.mark.parametrize(
    "missing",
    [
        {"eigenvalues": None, "eigenvalues_before": None, "used": None},
        {"eigenvalues_before": None},
        {"coefficients": None},
        {"eigenvolumes": ()},
        {"exmx": (), "starts": ()},
        {"annealing": ()},
        {"tree": None},
        {"directions": None},
        {"shifts": None},
        {"radius": None},
        {"pixel_size": math.nan},
        {"usage": (), "provenance": {}},
    ],
)
def test_any_part_may_be_missing(missing):
    html = page(full_report(**missing))
    assert len(Elements(html).named("button", "tile")) == 4


def test_a_run_that_goes_on_shows_what_it_has(tmp_path):
    given = {"method": "mco_ac", "nclass": 4, "particles": "a.xml", "mask": "m.em"}
    options = load_runs({"runs": {"demo": given | {"lowpass": 5}}})["demo"].as_dict()

    def text(*made):
        for name in made:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (there / name.rpartition("/")[2]).rename(tmp_path / name)
            (tmp_path / name).touch()
        return interim_page("demo", options, tmp_path)

    there = tmp_path / "made"
    there.mkdir()
    with pytest.raises(InputError, match="nothing is there to report yet"):
        text()
    report = full_report()
    write_run(there, report)
    imported = {"n": 60, "box": 12, "pixel_size": 10.0, "source": "a", "sha256": "b"}
    write_json(there / "import.json", imported)
    write_json(there / "prepared.json", {})
    assert "Done last: reading the particles." in text("import/import.json")
    html = text("prepared/poses.npz", "prepared/prepared.json")
    assert "Done last: bringing particles into the common frame." in html
    for volume in there.glob("eigenvolume_*"):
        volume.rename(tmp_path / volume.name)
    html = text("coefficients.npy", "eigen.json")
    assert "Done last: leading components." in html and 'id="components"' in html
    assert not Elements(html).named("button", "tile")
    none, classes = np.zeros(60), np.zeros(60, int)
    chain = Chain(
        **{"start": classes, "labels": classes, "best_labels": classes},
        **{"best_fits": np.ones(60), "best_scores": none, "last_labels": classes},
        **{"scores": none[:, None], "objective": 1.0, "worse": none > 0},
        **{"random": none, "temperature": 1.0, "changed": 0.5, "round": 0},
        done=False,
    )
    (tmp_path / "mco_ac").mkdir()
    save_chains(tmp_path / "mco_ac/round_0000.npz", [chain])
    html = text()
    assert "Done last: annealing, round 1." in html and 'id="course"' in html
    for average in there.glob("average_*"):
        average.rename(tmp_path / average.name)
    html = text("classes.csv", "classes.json")
    assert len(Elements(html).named("button", "tile")) == 4
    assert data_of(html)["unfinished"]


def test_classes_that_runs_agree_on_tell_how_far(tmp_path):
    report = full_report()
    write_run(tmp_path, report)
    agreed = {"runs": 4, "agreement": 0.83, "reproduction": [0.9, 0.8, 0.7, 0.6]}
    write_json(tmp_path / "reproducible.json", agreed)
    names = {"classes": "classes.json", "reproducible": "reproducible.json"}
    run_script(tmp_path, {"method": "cpca"}, labels="classes.csv", **names)
    html = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    assert [c["r"] for c in data_of(html)["classes"]] == agreed["reproduction"]
    assert "4 of 4 runs" in html and "Rand index of 0.83" in html


def test_figures_are_files_too(root):
    captions = (root / "workflow/report/figure.rst").read_text()
    files = figure_files(full_report())
    assert len(files) == 8
    for name, text in files.items():
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
        assert f'"{name}":' in captions
    assert set(figure_files(bare_report())) == {"averages", "fsc"}
    # There is always something to show.
    assert set(figure_files(bare_report(0))) == {"averages"}


def test_class_without_average_and_curve_is_still_there():
    report = bare_report()
    classes = [SubtomogramClass(number=c.number) for c in report.classes]
    html = page(dataclasses.replace(report, classes=classes))
    assert len(Elements(html).named("button", "tile")) == 4
    assert not any(image.get("src") for image in Elements(html).named("img"))


def test_no_class_is_told_in_words():
    html = page(bare_report(0))
    assert "No reproducible class was found" in html
    assert not Elements(html).named("button", "tile")


def test_text_of_the_user_stays_text():
    harmless = full_report()
    tree = dataclasses.replace(harmless.tree, groups=[HOSTILE, "b", "b", "b"])
    classes = [dataclasses.replace(c, name=HOSTILE) for c in harmless.classes]
    html = page(
        dataclasses.replace(
            harmless,
            run=HOSTILE,
            method=HOSTILE,
            classes=classes,
            tree=tree,
            options={"nclass": HOSTILE},
            usage=[RuleUsage(HOSTILE, 1, 1.0, 1.0, 1.0, 1.0, 1, None)],
        )
    )
    assert len(Elements(html).named("script")) == 2
    assert "<img src=x" not in html
    assert data_of(html)["run"] == HOSTILE


def test_page_of_many_classes_and_particles_stays_small():
    report = full_report(100, n=10_000, box=32)
    assert len(page(report).encode()) < 3e6
    noise = np.random.default_rng(1).normal(size=(96, 96, 96))
    for n in (20, 1000):
        assert n * len(strip(noise, 40.0, n)) < 19e6


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda r: {"classes": r.classes[:-1]}, "classes.csv together"),
        (
            lambda r: {"coefficients": r.coefficients[1:]},
            "coefficients of 59 particles",
        ),
        (lambda r: {"directions": r.directions * np.nan}, "not all finite"),
        (lambda r: {"tree": dataclasses.replace(r.tree, groups=[1])}, "merge.json"),
        (
            lambda r: {
                "classes": [
                    dataclasses.replace(c, average=c.average * np.nan)
                    for c in r.classes
                ]
            },
            "class 1 holds voxels",
        ),
        (
            lambda r: {
                "classes": [
                    dataclasses.replace(r.classes[0], average=np.zeros((2, 2, 2))),
                    *r.classes[1:],
                ]
            },
            "cubes of one size",
        ),
    ],
)
def test_contradictions_are_refused(change, sentence):
    report = full_report()
    with pytest.raises(InputError, match=sentence):
        dataclasses.replace(report, **change(report))


def test_montage_shows_the_three_central_slices():
    volume = np.random.default_rng(0).normal(size=(9, 9, 9))
    xy, xz, yz = slices(volume)
    np.testing.assert_array_equal(xy, volume[4])
    np.testing.assert_array_equal(xz, volume[:, 4])
    np.testing.assert_array_equal(yz, volume[:, :, 4].T)
    # Rows of xy and yz are y, columns of xy and xz are x.
    np.testing.assert_array_equal(xy[:, 4], yz[:, 4])
    np.testing.assert_array_equal(xy[4], xz[4])
    together = stretch(np.concatenate([xy, xz, yz], axis=1))
    np.testing.assert_array_equal(montage(volume), together)


def test_images_of_the_page_are_the_montages():
    report = full_report()
    found = Elements(page(report)).named("img")[0]["src"]
    grey = np.asarray(Image.open(io.BytesIO(base64.b64decode(found.split(",")[1]))))
    largest = report.by_size()[0]
    np.testing.assert_array_equal(grey, montage(largest.average, report.radius))


def test_dendrogram_has_every_leaf_and_join():
    tree = hierarchy.linkage(np.array([[0.0], [1], [5], [6], [20]]), "average")
    groups = ["a", "a", "b", "b", "c"]
    svg = str(figures.dendrogram(tree, groups, 3.0, list("vwxyz"), [None] * 5, "d"))
    for name in "vwxyz":
        assert svg.count(f">{name}</text>") == 1
    kinds = re.findall(r'<polyline [^>]*class="(branch[^"]*)"', svg)
    assert sorted(kinds) == ["branch", "branch", "branch c0", "branch c1"]
    assert "cut 3" in svg


def test_association_tells_chance_from_missing_wedge():
    d = directions(4000, seed=1)
    chance = np.random.default_rng(2).integers(5, size=len(d))
    assert figures.association(d, chance, range(5)) < 0.05
    by_wedge = (np.abs(d[:, 2]) > 0.5).astype(int)
    assert figures.association(d, by_wedge, range(2)) > 0.7
    # A beam has no sign.
    flipped = d * np.where(chance % 2 == 0, 1, -1)[:, None]
    one, other = (figures.association(x, by_wedge, range(2)) for x in (d, flipped))
    assert one == pytest.approx(other)
    assert math.isnan(figures.association(d, chance * 0, [0]))


def test_projection_keeps_areas():
    xy = figures.equal_area(directions(20_000, seed=3))
    r2 = (xy**2).sum(axis=1)
    assert r2.max() <= 1 + 1e-12
    inner = [np.mean(r2 < part) for part in (0.25, 0.5, 0.75)]
    np.testing.assert_allclose(inner, [0.25, 0.5, 0.75], atol=0.01)


@pytest.mark.parametrize(
    "values", [[0.0], [1e-9, 0], [-1.0, 2.0], [5e5, 1.0, math.nan], [0.3] * 100]
)
def test_course_draws_any_values(values):
    svg = str(figures.course([figures.Panel("p", [values, values[:1]])]))
    assert "nan" not in svg and "inf" not in svg


def test_level_line_lies_between_numbers_of_its_axis():
    svg = str(figures.course([figures.Panel("p", [[219.0] * 3], from_zero=False)]))
    assert ">200<" in svg and ">220<" in svg and ">400<" not in svg


@pytest.mark.parametrize("values", [[0.0], [3.0], [2.0, -1.0], [1e-9, 1e-10]])
def test_eigenvalues_draw_any_values(values):
    svg = str(figures.eigenvalue_plot(values, values, 1))
    assert "nan" not in svg and svg.count("<circle") == 2 * len(values)


def test_direction_is_the_beam_seen_from_the_particle():
    turn = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # y to z
    np.testing.assert_allclose(turn @ beam_of(turn[None])[0], [0, 0, 1])


def test_options_read_as_in_the_configuration():
    options = {"method": "cpca", "wedge": {"angles": [30.0, 25.0]}}
    _, row = option_table(options)
    assert row["value"] == "{angles: [30.0, 25.0]}"
    assert row["unit"] == "degree"
    assert row["meaning"].startswith("missing wedge of all particles")
    assert row["changed"]


@pytest.mark.parametrize(
    "text", ["particle_id,class\n2,0\n", "id,class\n1,0\n", "particle_id,class\n1,a\n"]
)
def test_table_of_another_kind_is_refused(tmp_path, text):
    path = tmp_path / "classes.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(str(path))):
        read_labels(path)


def write_run(folder, report):
    """Write the files of a run as its rules do."""
    rows = [f"{i},{c}\n" for i, c in enumerate(report.labels, start=1)]
    (folder / "classes.csv").write_text("particle_id,class\n" + "".join(rows))
    entries = []
    for c in report.classes:
        write_volume(folder / f"average_{c.number}.mrc", c.average, report.pixel_size)
        entries.append(
            {
                "class": c.number,
                "name": str(c.number),
                "n": report.sizes[c.number],
                "mrc": f"average_{c.number}.mrc",
                "fsc": c.curve.tolist(),
                "resolution": None if math.isnan(c.resolution) else c.resolution,
            }
        )
    table = {"pixel_size": report.pixel_size, "classes": entries}
    write_json(folder / "classes.json", table)
    names = []
    for i, volume in enumerate(report.eigenvolumes):
        names.append(f"eigenvolume_{i}.mrc")
        write_volume(folder / names[-1], volume, report.pixel_size)
    write_json(
        folder / "eigen.json",
        {
            "eigenvalues": report.eigenvalues[: report.used].tolist(),
            "spectrum": report.eigenvalues.tolist(),
            "eigenvalues_before": report.eigenvalues_before.tolist(),
            "eigenvolumes": names,
        },
    )
    np.save(folder / "coefficients.npy", report.coefficients)
    exmx = {
        "iterations": report.exmx,
        "objectives": [s.objective for s in report.starts],
        "agreement": [s.agreement for s in report.starts],
    }
    write_json(folder / "exmx.json", exmx)
    write_json(folder / "annealing.json", {"iterations": report.annealing})
    tree, names = report.tree, sorted(set(report.tree.groups))
    merge = {
        "linkage": tree.linkage.tolist(),
        "labels": tree.leaves,
        "groups": [names.index(group) for group in tree.groups],
        "names": names,
        "height": tree.cut,
    }
    write_json(folder / "merge.json", merge)
    rotations = np.zeros((report.particles, 3, 3))
    rotations[:, 2] = report.directions
    np.savez(folder / "poses.npz", rotations=rotations, shifts=report.shifts)


def run_script(folder, options, **names):
    pytom_report(
        run="demo",
        options=options,
        files=PytomFiles(**{key: folder / name for key, name in names.items()}),
        page=folder / "report/index.html",
        surfaces=folder / "report/classes.cxc",
        figures=folder / "report/figures",
    )


def test_script_makes_the_same_page_from_files(tmp_path):
    options = {
        "method": "cpca",
        "mask": {"sphere": {"radius": 4.0, "edge": 1.0}},
        "rand_seed": 3,
    }
    warnings = ["An odd wedge.", "An odd contrast.", "An empty class."]
    report = full_report(options=options, usage=[], warnings=warnings)
    write_run(tmp_path, report)
    write_json(tmp_path / "import.json", {"warnings": warnings[:1]})
    write_json(tmp_path / "prepared.json", {"warnings": warnings[1:2]})
    exmx = json.loads((tmp_path / "exmx.json").read_text())
    write_json(tmp_path / "exmx.json", exmx | {"warnings": warnings[2:]})
    run_script(
        tmp_path,
        options,
        labels="classes.csv",
        classes="classes.json",
        eigen="eigen.json",
        coefficients="coefficients.npy",
        exmx="exmx.json",
        annealing="annealing.json",
        merge="merge.json",
        poses="poses.npz",
        imported="import.json",
    )
    tree = dataclasses.replace(
        report.tree,
        averages={str(c.number): c.average for c in report.classes},
        sizes={str(k): size for k, size in report.sizes.items()},
    )
    checksum = sha256(tmp_path / "classes.json")
    expected = dataclasses.replace(report, tree=tree, checksum=checksum)
    html = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    assert html == page(expected)
    assert all(f"<li>{warning}</li>" in html for warning in warnings)


def test_merged_classes_are_those_of_the_page(tmp_path):
    report = full_report()
    write_run(tmp_path, report)
    write_json(
        tmp_path / "merge.json",
        {
            "linkage": report.tree.linkage.tolist(),
            "labels": ["1", "2", "3", "4"],
            "groups": [0, 1, 0, -1],
            "names": ["open", "shut"],
            "height": None,
        },
    )
    group = {1: 1, 2: 2, 3: 1}
    labels = np.array([group.get(k, -1) for k in report.labels])
    rows = [f"{i},{c}\n" for i, c in enumerate(labels, start=1)]
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged/classes.csv").write_text("particle_id,class\n" + "".join(rows))
    merged = [
        {
            "class": k,
            "name": name,
            "n": int((labels == k).sum()),
            "fsc": [],
            "resolution": None,
            "mrc": f"../average_{k}.mrc",
        }
        for k, name in enumerate(("open", "shut"), start=1)
    ]
    write_json(tmp_path / "merged/classes.json", {"classes": merged})
    names = {
        "classes": "classes.json",
        "merge": "merge.json",
        "merged": "merged/classes.json",
    }
    options = {"method": "cpca", "merge": {"groups": {}, "manual_compat": False}}
    run_script(tmp_path, options, labels="classes.csv", **names)
    html = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    part = html[html.index('id="merging"') :]
    assert "cut into 2 groups" in part
    assert 'class="group none"' in part  # class 4 is in no group
    assert part.count("<image") == 4
    assert "of 1, 3</span>" in html and "of 2</span>" in html
    data = data_of(html)
    assert data["checksum"] == sha256(tmp_path / "merged/classes.json")
    for c, entry in zip(data["classes"], merged, strict=True):
        assert (c["t"], len(c["m"])) == (entry["name"], entry["n"])


def test_resolution_without_pixel_size_is_in_voxels():
    html = page(bare_report(pixel_size=math.nan))
    assert data_of(html)["unit"] == "voxels"
    assert (
        "31.0\N{NO-BREAK SPACE}voxels" in html and "Å" not in html.split("<script")[0]
    )


def test_script_makes_a_page_of_the_labels_alone(tmp_path):
    write_run(tmp_path, full_report())
    run_script(tmp_path, {"method": "cpca"}, labels="classes.csv")
    html = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    assert len(Elements(html).named("button", "tile")) == 4


def test_script_refuses_tables_that_disagree(tmp_path):
    report = full_report()
    write_run(tmp_path, report)
    (tmp_path / "classes.csv").write_text("particle_id,class\n1,1\n2,2\n")
    names = {"labels": "classes.csv", "classes": "classes.json"}
    with pytest.raises(InputError):
        run_script(tmp_path, {"method": "cpca"}, **names)
    assert not (tmp_path / "report").exists()
