"""The report of an ISAC run: gallery, page, provenance."""

import base64
import dataclasses
import hashlib
import html as html_module
import io
import itertools
import json
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from PIL import Image

from cryokin.config import load_runs
from cryokin.errors import InputError
from cryokin.estimate import RuleUsage
from cryokin.io.eman_hdf import write_images
from cryokin.provenance import provenance, sha256
from cryokin.report import figures
from cryokin.report.gallery import Caption, Layout, gallery
from cryokin.report.images import (
    MOST_PIXELS,
    data_uri,
    png,
    reduce_to,
    stretch,
    width_on_page,
)
from cryokin.report.isac_files import IsacFiles
from cryokin.report.isac_page import (
    contact_sheet,
    figure_files,
    page,
)
from cryokin.report.page import NONE
from cryokin.report.svg import TOP
from isac_report import isac_report
from reports import (
    HOSTILE,
    Elements,
    data_of,
    make_isac_report,
    write_isac_run,
)

FIGURES = ("accounted", "sizes", "rounds", "frc", "shifts", "prealigned")
ROUNDS = [
    {"generation": 1, "round": 1, "candidates": 4, "left": 40},
    {"generation": 1, "round": 2, "candidates": 2, "left": 20},
    {"generation": 2, "round": 1, "candidates": 1, "left": 30},
]


def text_of(html, element_id):
    return re.search(rf'id="{element_id}"[^>]*>(.*?)</dd>', html)[1]


def test_page_shows_every_class_once_from_the_largest():
    report = make_isac_report()
    tiles = Elements(page(report)).named("button", "tile")
    numbers = [int(tile["data-class"]) for tile in tiles]
    assert numbers == [7, 6, 5, 4, 3, 2, 1]


def test_counts_of_the_page_are_those_of_the_tables():
    report = make_isac_report()
    html = page(report)
    data = data_of(html)
    members = [np.cumsum(c["m"]) for c in data["classes"]]
    for shown, c in zip(members, report.classes, strict=True):
        np.testing.assert_array_equal(shown, c.members)
    assert text_of(html, "n-classes") == str(len(report.classes))
    assert text_of(html, "n-particles") == str(report.imported["n"])
    percent = 100 * sum(map(len, members)) / report.imported["n"]
    assert text_of(html, "n-accounted").startswith(f"{percent:.1f}<")
    assert len(Elements(html).named("tbody")) >= 1
    for status in report.generations:
        assert f'<td class="number">{status["unaccounted"]}</td>' in html


def test_images_of_the_page_are_the_stretched_averages():
    report = make_isac_report(3)
    found = Elements(page(report)).named("img")[0]["src"]
    grey = np.asarray(Image.open(io.BytesIO(base64.b64decode(found.split(",")[1]))))
    largest = report.averages[2]
    np.testing.assert_array_equal(grey, stretch(largest, report.radius))


def test_same_report_same_bytes():
    assert page(make_isac_report()) == page(make_isac_report())
    assert contact_sheet(make_isac_report()) == contact_sheet(make_isac_report())


def test_page_asks_for_nothing_outside_itself():
    html = page(make_isac_report())
    elements = Elements(html)
    for _, attributes in elements.tags:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("data:image/", "#"))
    assert "url(" not in html and "@import" not in html
    assert [link["rel"] for link in elements.named("link")] == ["icon"]


def test_page_allows_its_own_script_alone():
    elements = Elements(page(make_isac_report()))
    policy = next(m["content"] for m in elements.named("meta") if "http-equiv" in m)
    digest = hashlib.sha256(elements.scripts[1].encode()).digest()
    assert f"script-src 'sha256-{base64.b64encode(digest).decode()}'" in policy
    assert "default-src 'none'" in policy
    assert len(elements.named("script")) == 2


def test_hostile_texts_stay_texts():
    harmless = make_isac_report()
    excluded = [{"id": 3, "image": HOSTILE, "reason": HOSTILE}]
    hostile = make_isac_report(
        run=HOSTILE,
        options={**harmless.options, "particles": HOSTILE},
        imported={**harmless.imported, "source": HOSTILE, "excluded": excluded},
        usage=[RuleUsage(HOSTILE, 1, 1.0, 1.0, 1.0, 1.0, 1, None)],
        warnings=[HOSTILE],
        provenance={
            "seed": 1,
            "versions": {"numpy": HOSTILE},
            "machine": {"system": HOSTILE},
            "inputs": [{"path": HOSTILE, "sha256": HOSTILE}],
        },
    )
    html = page(hostile)
    assert len(Elements(html).named("script")) == 2
    assert "<img src=x" not in html
    assert data_of(html)["run"] == HOSTILE
    contact_sheet(hostile)


@pytest.mark.parametrize("box", [76, 120])
def test_page_of_a_thousand_classes_stays_small(box):
    report = make_isac_report(1000, box=box, radius=29.0)
    assert len(page(report).encode()) < 20e6


def test_pictures_shrink_where_there_are_too_many():
    for width, images in itertools.product((10, 76, 500), (1, 20, 1000, 50_000)):
        shown = width_on_page(width, images)
        assert shown <= width and shown**2 * images <= MOST_PIXELS
        assert shown == width or (shown + 1) ** 2 * images > MOST_PIXELS


def test_no_class_is_told_in_words():
    report = make_isac_report(0)
    html = page(report)
    assert "No reproducible class was found" in html
    assert not Elements(html).named("button")
    assert text_of(html, "n-classes") == "0"
    Image.open(io.BytesIO(contact_sheet(report))).verify()


def test_what_was_not_measured_is_left_out():
    report = make_isac_report(
        prealigned=None, shifts=None, usage=[], provenance={}, pixel_size=math.nan
    )
    html = page(report)
    assert 'id="prealignment"' not in html
    assert "nan" not in re.sub(r"base64,\S+", "", html).lower().replace(
        "provenance", ""
    )
    data = data_of(html)
    assert data["pixel"] is None
    assert data["classes"][2]["d"] is None


def test_options_show_unit_and_change():
    html = page(make_isac_report())
    row = re.search(r"<tr[^>]*><th[^>]*><code>img_per_grp.*?</tr>", html)[0]
    assert 'class="changed"' in row
    assert '<td class="unit">images</td><td class="meaning">images per class:' in row
    assert "<code>img_per_grp</code> images are needed</td>" in row
    row = re.search(r"<tr[^>]*><th[^>]*><code>yr.*?</tr>", html)[0]
    assert "changed" not in row  # -1 stands for the value of xr


def test_figures_are_files_too(root):
    report = make_isac_report(rounds=ROUNDS)
    files = figure_files(report)
    assert set(files) == {*FIGURES}
    captions = (root / "workflow/report/figure.rst").read_text()
    for name, text in files.items():
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
        assert f'"{name}":' in captions
    assert set(figure_files(make_isac_report(0, shifts=None, prealigned=None))) == {
        "accounted"
    }


def test_rounds_are_drawn_as_parts_of_their_generation():
    svg = str(figures.rounds_figure([{**state, "given": 100} for state in ROUNDS]))
    lines = re.findall(r'<polyline points="([^"]*)" class="(\w+)"', svg)
    found = {
        kind: [float(point.split(",")[1]) for point in points.split()]
        for points, kind in lines
    }
    floor = found["curve"][0]  # nothing is in a candidate at first
    share = [(floor - y) / (floor - TOP) for y in found["curve"]]
    np.testing.assert_allclose(share, [0, 0.6, 0.8], atol=1e-3)
    assert len(found["thin"]) == 2


def test_band_of_correlations_holds_its_share_of_the_classes():
    curves = [np.full(4, value) for value in np.linspace(0, 1, 101)]
    svg = str(figures.frc_band(curves, np.arange(4) / 8, math.nan))
    heights = []
    for points in re.findall(r'<polygon points="([^"]*)"', svg):
        y = [float(point.split(",")[1]) for point in points.split()]
        heights.append(max(y) - min(y))
    np.testing.assert_allclose(heights[1] / heights[0], 0.5 / 0.9, atol=1e-3)


def test_what_rules_took_stands_beside_the_estimate():
    def cells(rule):
        row = re.search(rf"<tr><th[^>]*>(<code>)?{rule}.*?</tr>", html, re.S)[0]
        return re.findall(r"<td[^>]*>(.*?)</td>", row)

    html = page(make_isac_report())
    guess = ["2.0 min", "60 s \N{EN DASH} 2.0 h"]
    took = ["2", "95 s", "2.5 min"]
    assert cells("isac_sac") == [*took, *guess, "2.0 GB", "1.0 GB"]
    assert cells("isac_join") == ["1", "5.0 s", NONE, NONE, "", NONE, NONE]
    assert cells("all") == ["3", "1.7 min", "2.5 min", *guess, "", ""]


def test_averages_of_the_original_images_are_shown_where_there_are_any():
    """Cut to what the working images show, their mask on the same places."""
    report = make_isac_report(3, box=24, radius=9.0, prealigned_radius=30.0)
    full = np.random.default_rng(3).normal(size=(3, 120, 120)).astype(np.float32)
    html = page(dataclasses.replace(report, full=full))
    tiles = Elements(html).named("img")[:3]
    assert {tile["width"] for tile in tiles} == {"80"}
    inside = stretch(full[report.by_size()[0]][20:100, 20:100], 30.0)
    assert tiles[0]["src"] == data_uri(inside)
    assert "--mask: 75.00%" in html
    assert page(report).count("of the original images") < html.count(
        "of the original images"
    )


def test_averages_of_many_classes_fit_on_a_page():
    n, box = 40, 900
    full = np.broadcast_to(np.eye(box, dtype=np.float32), (n, box, box))
    html = page(dataclasses.replace(make_isac_report(n), full=full))
    encoded = Elements(html).named("img")[0]["src"].partition(",")[2]
    shown = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert n * shown.width**2 <= MOST_PIXELS


def test_classes_that_are_alike_are_neighbours(tmp_path):
    """An object at growing distances from another, in any order, turned as it likes."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:76, :76] - 38.0
    first, last = (
        sum(a * np.exp(-((x - u) ** 2 + (y - v) ** 2) / 18) for a, u, v in spots)
        for spots in rng.uniform((1, -15, -15), (2, 15, 15), (2, 5, 3))
    )
    mixed = [(1 - t) * first + t * last for t in np.linspace(0, 1, 6)]
    order = rng.permutation(6)
    averages = np.array([np.rot90(mixed[i], i % 4) for i in order], np.float32)
    report = make_isac_report(6, box=76, averages=averages, usage=[])
    write_isac_run(tmp_path, report)
    whole = load_runs(
        {"runs": {"demo": dict(report.options) | {"particles": "p.star"}}}
    )
    run_script(tmp_path, whole["demo"].as_dict())
    data = data_of((tmp_path / "report/index.html").read_text(encoding="utf-8"))
    toured = order[np.argsort([c["o"] for c in data["classes"]])]
    assert list(toured) in ([*range(6)], [*range(5, -1, -1)])


def test_configuration_makes_the_run_again():
    report = make_isac_report()
    text = re.search(r"<pre[^>]*>(.*?)</pre>", page(report), re.S)[1]
    assert yaml.safe_load(html_module.unescape(text)) == {
        "runs": {"demo": dict(report.options)}
    }


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda r: {"averages": r.averages[:-1]}, "6 class averages, but 7 classes"),
        (
            lambda r: {"classes": [r.classes[0], r.classes[0], *r.classes[2:]]},
            "a member of two classes",
        ),
        (lambda r: {"generations": r.generations[:1]}, "account for"),
        (
            lambda r: {
                "generations": [
                    r.generations[0],
                    {**r.generations[1], "unaccounted": 1},
                ]
            },
            "generation 2 accounts for",
        ),
        (lambda r: {"averages": r.averages * np.nan}, r"class 1 \(generation 1\)"),
    ],
)
def test_contradictions_are_refused(change, sentence):
    report = make_isac_report()
    with pytest.raises(InputError, match=sentence):
        dataclasses.replace(report, **change(report))


def test_gallery_has_a_tile_for_each_image():
    n = 11
    grey = np.zeros((n, 16, 16))
    grey[:, :8] = 1.0  # white above black
    captions = [Caption("", "", "", "", "")] * n
    sheet = np.asarray(Image.open(io.BytesIO(gallery(grey, captions))))
    assert sheet.dtype == np.uint8 and sheet.ndim == 2
    layout = Layout(n)
    assert sheet.shape == layout.sheet[::-1]
    for i in range(n):
        x, y = layout.corner(i)
        tile = sheet[y : y + layout.tile, x : x + layout.tile]
        assert (tile[: layout.tile // 3] == 255).all()
        assert (tile[-layout.tile // 3 :] == 0).all()
    below = sheet[layout.corner(n - 1)[1] : -layout.margin // 2]
    x = layout.corner(n - 1)[0] + layout.tile
    assert (below[: layout.tile, x:] == 255).all()  # and no tile more


@pytest.mark.parametrize("n", [1, 2, 20, 137, 1000])
def test_captions_fit_below_their_tiles(n):
    layout = Layout(n)
    first = layout.bold.getlength(f"{n} ") + layout.small.getlength("g10")
    assert first + layout.plain.getlength("n = 117") < layout.tile
    width = layout.small.getlength("0.45 px") + layout.small.getlength("14.2 Å")
    assert width < layout.tile
    assert 2 * layout.line < layout.pitch - layout.tile


def test_gallery_refuses_another_number_of_captions():
    with pytest.raises(ValueError, match="2 images but 1 captions"):
        gallery(np.zeros((2, 8, 8)), [Caption("1", "", "", "", "")])


def test_png_holds_nothing_but_the_image():
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    encoded = png(grey)
    chunks = re.findall(rb"[a-zI][A-Z][A-Z][A-Z]", encoded)
    assert [c for c in chunks if c in (b"tIME", b"tEXt", b"iTXt", b"zTXt")] == []
    np.testing.assert_array_equal(Image.open(io.BytesIO(encoded)), grey)
    assert data_uri(grey).startswith("data:image/png;base64,")


def test_contrast_is_that_of_the_mask():
    rng = np.random.default_rng(1)
    image = rng.normal(size=(32, 32))
    bright = image.copy()
    bright[0, 0] = 1e6  # outside the circle
    inside = stretch(image, 10)
    np.testing.assert_array_equal(stretch(bright, 10).ravel()[1:], inside.ravel()[1:])
    np.testing.assert_array_equal(stretch(3 * image + 2, 10), inside)
    assert inside.min() == 0 and inside.max() == 255
    np.testing.assert_array_equal(stretch(np.ones((8, 8)), 3), 128)
    with pytest.raises(ValueError, match="finite"):
        stretch(np.full((8, 8), np.nan))


def test_reduced_image_keeps_its_mean():
    image = np.random.default_rng(2).normal(size=(60, 60)).astype(np.float32)
    small = reduce_to(image, 20)
    assert small.shape == (20, 20)
    np.testing.assert_allclose(small.mean(), image.mean(), atol=1e-6)
    assert reduce_to(image, 60).shape == (60, 60)


def test_size_histogram_counts_every_class():
    sizes = [3, 10, 10, 57, 99, 100]
    svg = str(figures.size_histogram(sizes, 10, 100))
    heights = [float(h) for h in re.findall(r'height="([\d.]+)" class="mark"', svg)]
    unit = min(heights)
    assert sum(round(h / unit) for h in heights) == len(sizes)
    assert "thld_grp" in svg and "img_per_grp" in svg


@pytest.mark.parametrize("shifts", [np.zeros((4, 2)), [[0.2, -31.0]], [[900, 1]]])
def test_shift_figure_draws_any_shifts(shifts):
    svg = str(figures.shift_figure(shifts))
    assert "nan" not in svg and "inf" not in svg
    assert svg.count('class="mark"') >= 1


@pytest.mark.parametrize("pieces", [4, 6, 16])
@pytest.mark.parametrize("span", [0.3, 1, 7, 99, 100, 101, 12345])
def test_nice_step_is_fine_and_not_too_fine(span, pieces):
    step = figures.nice_step(span, pieces)
    assert span / pieces * (1 - 1e-6) <= step <= 2.5 * span / pieces
    assert f"{step:e}"[0] in "125"


def test_provenance_is_of_the_software_and_the_inputs(tmp_path):
    path = tmp_path / "a.star"
    path.write_bytes(b"abc")
    made_by = provenance(7, [path])
    assert made_by == provenance(7, [path])
    assert made_by["seed"] == 7
    assert made_by["versions"]["numpy"] == np.__version__
    assert made_by["inputs"] == [
        {"path": str(path), "sha256": hashlib.sha256(b"abc").hexdigest()}
    ]
    json.dumps(made_by)


def run_script(folder, options):
    files = IsacFiles(
        imported=folder / "import.json",
        working_stack=folder / "working_stack.json",
        averages=folder / "class_averages.mrcs",
        classes=folder / "classes.star",
        members=folder / "class_averages.hdf",
        frc=folder / "frc.json",
        status=sorted(folder.glob("generation_*/status.json")),
        poses=folder / "classes.csv",
        prealigned=folder / "aqfinal.hdf",
        shifts=folder / "initial2Dparams.txt",
    )
    isac_report(
        run="demo",
        options=options,
        files=files,
        page=folder / "report/index.html",
        gallery=folder / "report/gallery.png",
        figures=folder / "report/figures",
    )


@pytest.mark.parametrize("n_classes", [0, 3])
def test_script_makes_the_same_page_from_files(tmp_path, n_classes):
    report = make_isac_report(n_classes, usage=[], warnings=["An odd one."])
    write_isac_run(tmp_path, report)
    run_script(tmp_path, report.options)
    source = [{"path": "particles.star", "sha256": "0" * 64}]
    expected = dataclasses.replace(
        report,
        provenance={**provenance(None, []), "inputs": source},
        checksum=sha256(tmp_path / "classes.star"),
    )
    html = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    assert "<li>An odd one.</li>" in html
    if n_classes:
        expected_data, found = data_of(page(expected)), data_of(html)
        assert found == expected_data
    assert html == page(expected)
    assert (tmp_path / "report/gallery.png").read_bytes() == contact_sheet(expected)


def test_script_refuses_poses_of_other_members(tmp_path):
    report = make_isac_report(3)
    write_isac_run(tmp_path, report)
    table = (tmp_path / "classes.csv").read_text()
    (tmp_path / "classes.csv").write_text(table.replace(",1,", ",2,"))
    with pytest.raises(InputError, match="the members of class 1 are not those of"):
        run_script(tmp_path, report.options)


def test_script_refuses_tables_that_disagree(tmp_path):
    report = make_isac_report(3)
    write_isac_run(tmp_path, report)
    attributes = [{"members": [1, 2], "n_objects": 2} for _ in report.classes]
    write_images(tmp_path / "class_averages.hdf", report.averages, attributes)
    with pytest.raises(InputError, match="class 1 lists 2 members"):
        run_script(tmp_path, report.options)
    assert not (tmp_path / "report").exists()
