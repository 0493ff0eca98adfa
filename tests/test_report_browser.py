"""The reports in a real browser: looked at, picked from, saved."""

import dataclasses
import getpass
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import numpy as np
import pytest

import browser
from cryokin.errors import InputError
from cryokin.provenance import sha256
from cryokin.report import isac_page, pytom_page
from cryokin.report.images import levels, stretch
from cryokin.report.server import SelectionServer
from cryokin.selection import (
    Selection,
    read_selection,
    write_selection,
)
from reports import full_report, make_isac_report, serving, write_isac_run

PHONE, DESK = (360, 740), (1280, 900)
LIMIT = 100  # between a wish and the picture that shows it [ms]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not browser.is_installed(), reason="no chromium and chromedriver"
    ),
]


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def window(downloads):
    with browser.browser(downloads) as opened:
        yield opened


def isac_report(n_classes):
    """A report of classes whose quantities are all different and of no round number."""
    rng = np.random.default_rng(8)
    report = make_isac_report(n_classes, box=64, radius=25.0)
    classes = [
        dataclasses.replace(
            c,
            resolution=float("nan") if i == 2 else rng.gamma(20, 1.0) + 8,
            pixel_error=rng.gamma(3, 0.1),
            reproduction=rng.uniform(0.3, 1.0),
        )
        for i, c in enumerate(report.classes)
    ]
    return dataclasses.replace(report, classes=classes, checksum="ab" * 32)


def named_report():
    """A report of classes that were merged and have the user's names."""
    report = full_report(3)
    named = [
        dataclasses.replace(c, name=name)
        for c, name in zip(report.classes, ("open", "half shut", "7"), strict=True)
    ]
    return dataclasses.replace(report, classes=named)


@pytest.fixture(scope="module")
def reports():
    return {
        "3d_named": named_report(),
        "2d": isac_report(20),
        "2d_large": isac_report(1000),
        "2d_goes_on": dataclasses.replace(isac_report(6), unfinished="Round 1."),
        "3d": dataclasses.replace(
            full_report(5), checksum="cd" * 32, excluded=[0, 7, 61]
        ),
    }


@pytest.fixture(scope="module")
def pages(reports, tmp_path_factory):
    """The files of these reports."""
    folder = tmp_path_factory.mktemp("pages")
    for name, report in reports.items():
        module = isac_page if name.startswith("2d") else pytom_page
        (folder / f"{name}.html").write_text(module.page(report), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in reports}


@pytest.fixture
def page(window, pages, request):
    """A page that has just been opened, of 20 classes if the test names no other."""
    window.show_as(*DESK)
    window.open("about:blank")
    window.log(), window.requests()
    window.open(pages[getattr(request, "param", "2d")])
    yield window
    assert [entry["message"] for entry in window.log()] == []


def picked(window):
    script = """return [...document.querySelectorAll(".tile[aria-selected=true]")]
        .map((tile) => Number(tile.dataset.class))"""
    return sorted(window.run(script))


def shown(window, selector):
    return window.run(f"return document.querySelector('{selector}').textContent")


def order(window):
    """Numbers of the classes as they stand in the gallery."""
    script = """return [...document.querySelectorAll(".tile")]
        .map((tile) => Number(tile.dataset.class))"""
    return window.run(script)


def focus_first(window):
    window.run("document.querySelector('.tile').focus()")


def slide(window, key, *values):
    """Pull a threshold over some values, and let it go."""
    window.run(
        f"""const slider = document.querySelector("#limit-{key}");
        for (const value of {json.dumps(values)}) {{
            slider.value = value;
            slider.dispatchEvent(new Event("input"));
        }}
        slider.dispatchEvent(new Event("change"));"""
    )


def groups(window):
    """Letter of each class that is to be merged."""
    script = """return [...document.querySelectorAll(".group:not([hidden])")]
        .map((mark) => [mark.parentElement.dataset.class, mark.dataset.letter])"""
    return dict(window.run(script))


def saved(window, downloads, save, name="demo.yaml"):
    """The selection that a way to save it downloads."""
    path = downloads / name
    path.unlink(missing_ok=True)
    save()
    browser.wait_until(path.exists)
    return read_selection(path)


def drop(window, text, name="selection.yaml"):
    """Drop a file on the page; return what the page says of it."""
    window.run(
        f"""const files = new DataTransfer();
        files.items.add(new File([{json.dumps(text)}], {json.dumps(name)}));
        document.dispatchEvent(new DragEvent("drop", {{ dataTransfer: files }}));
        await new Promise((done) => setTimeout(done, 50));"""
    )
    return shown(window, "#s-message")


def test_keys_pick_and_save(page, downloads, reports):
    numbers = order(page)
    focus_first(page)
    page.press("Space", "ArrowRight", "ArrowRight", "Space")
    assert picked(page) == sorted([numbers[0], numbers[2]])
    page.press("Shift+ArrowRight", "Shift+ArrowRight", "ArrowLeft", "Space")
    kept = sorted([numbers[0], numbers[2], numbers[4]])
    assert picked(page) == kept
    found = saved(page, downloads, lambda: page.press("s"))
    assert found == Selection("demo", tuple(kept), (), reports["2d"].checksum)


def test_mouse_picks_and_saves(page, downloads):
    numbers = order(page)
    page.click(f"#class-{numbers[3]} .pick")
    assert picked(page) == [numbers[3]]
    page.click(f"#class-{numbers[5]} .line")  # which only looks at a class
    assert picked(page) == [numbers[3]]
    assert shown(page, "#d-number") == str(numbers[5])
    page.click("#d-pick")
    page.click("#s-invert")
    rest = set(numbers) - {numbers[3], numbers[5]}
    found = saved(page, downloads, lambda: page.click("#s-save"))
    assert set(found.keep) == rest


def test_all_none_and_the_others(page):
    focus_first(page)
    page.press("a")
    assert len(picked(page)) == 20
    page.click(f"#class-{order(page)[0]} .pick")
    page.press("i")
    assert picked(page) == [order(page)[0]]
    page.press("n")
    assert picked(page) == []
    assert shown(page, "#s-count") == "None of 20 classes picked"


@pytest.mark.parametrize("page", ["2d", "3d"], indirect=True)
def test_classes_are_merged(page, downloads):
    one, two, three, *_ = order(page)
    focus_first(page)
    page.press("m", "ArrowRight", "Space", "m")
    group = tuple(sorted([one, two]))
    assert "Group A: 2 classes" in shown(page, "#s-message")
    page.click(f"#class-{three} .pick")
    found = saved(page, downloads, lambda: page.press("s"))
    assert found.keep == tuple(sorted([one, two, three]))
    assert found.merge == (group,)
    page.click(f"#class-{two} .pick")  # what is not kept is in no group
    found = saved(page, downloads, lambda: page.press("s"))
    assert found.keep == tuple(sorted([one, three])) and found.merge == ()


@pytest.mark.parametrize("page", ["3d_named"], indirect=True)
def test_named_classes_are_picked_by_their_names(page, downloads):
    for k in (1, 2, 3):
        page.click(f"#class-{k} .pick")
    found = saved(page, downloads, lambda: page.press("s"))
    assert found == Selection("demo", ("open", "half shut", 7))
    page.press("n")
    drop(page, "run: demo\nkeep: [open, '7']\n")
    assert picked(page) == [1, 3]
    drop(page, (downloads / "demo.yaml").read_text())
    assert picked(page) == [1, 2, 3]


def test_a_class_is_in_one_group_at_most(page, downloads):
    first, second, third, *_ = order(page)
    focus_first(page)
    page.press("m", "ArrowRight", "Space", "m", "ArrowRight", "m", "ArrowLeft", "Space")
    page.press("m")
    found = saved(page, downloads, lambda: page.press("s"))
    assert found.merge == (tuple(sorted([second, third])),)
    assert first in found.keep


@pytest.mark.parametrize(
    ("key", "value", "passes"),
    [
        ("n", 17, lambda c: c.size >= 17),
        ("d", 27.5, lambda c: c.resolution <= 27.5),
        ("e", 0.21, lambda c: c.pixel_error <= 0.21),
        ("r", 61, lambda c: 100 * c.reproduction >= 61),
    ],
)
def test_thresholds_pick_what_passes(page, reports, key, value, passes):
    """Of all classes, where none is picked."""
    page.click("#s-limits")
    slide(page, key, value)
    classes = reports["2d"].classes
    expected = [c.number for c in classes if passes(c)]
    assert 0 < len(expected) < len(classes)
    assert picked(page) == expected
    members = sum(c.size for c in classes if passes(c))
    assert f"{members} particles" in shown(page, "#s-count")


def test_thresholds_take_away_and_give_back(page):
    """What was picked and merged by hand is all there when a slider is back."""
    one, two, three, *_ = order(page)
    focus_first(page)
    page.press("m", "ArrowRight", "Space", "m", "ArrowRight", "Space")
    before = groups(page)
    assert picked(page) == sorted([one, two, three]) and len(before) == 2
    slide(page, "n", 20, 25, 28)
    assert picked(page) == sorted([one, two])  # of 29 and 28 members
    assert "Of 3 picked classes 2 pass the thresholds; 1 come" in shown(
        page, "#s-message"
    )
    slide(page, "n", 29)
    assert picked(page) == [one] and groups(page) == {}
    slide(page, "n", 10)
    assert picked(page) == sorted([one, two, three]) and groups(page) == before


def test_every_change_can_be_taken_back_and_done_again(page):
    """All of a merging, and of one pull at a slider, is one change."""
    focus_first(page)
    changes = (
        lambda: page.press("Space"),
        lambda: page.press("m", "ArrowRight", "Space", "m"),
        lambda: page.press("Shift+ArrowRight"),
        lambda: slide(page, "n", 20, 28, 29),
        lambda: page.click("#s-invert"),
        lambda: page.click("#s-all"),
        lambda: drop(page, "run: demo\nkeep: [3, 4, 7]\nmerge: [[3, 4]]\n"),
        lambda: page.click("#s-none"),
    )

    def state():
        values = page.run(
            "return [...document.querySelectorAll('#limits input')].map((i) => i.value)"
        )
        return picked(page), groups(page), values

    states = [state()]
    for change in changes:
        change()
        states.append(state())
        assert states[-1] != states[-2]
    page.press("Control+z", "Control+Shift+Z", "Control+z")
    assert state() == states[-2]
    focus_first(page)
    for expected in reversed(states[:-2]):
        page.press("u")
        assert state() == expected
    assert page.run("return document.querySelector('#s-undo').disabled")
    for expected in states[1:]:
        page.click("#s-redo")
        assert state() == expected


def test_letters_count_where_a_class_has_the_focus_alone(page):
    """Who dictates, or searches in the page, picks nothing by mistake."""
    page.press(*"anim")
    page.run("document.querySelector('#key').focus()")
    page.press(*"aim")
    page.run("document.querySelector('#s-name').focus()")
    page.press(*"aims")
    assert picked(page) == []
    page.click(f"#class-{order(page)[3]} .line")
    page.press("a")
    assert len(picked(page)) == 20


def test_a_run_has_several_selections_by_name(page, downloads):
    one, two, three, *_ = order(page)
    page.click(f"#class-{one} .pick")
    saved(page, downloads, lambda: page.press("s"))
    page.click("#s-name")
    page.press(*"top_1")
    page.click(f"#class-{two} .pick")
    found = saved(page, downloads, lambda: page.press("s"), "demo.top_1.yaml")
    assert found.keep == tuple(sorted([one, two]))
    # Back to the one without a name, and from a file to the other.
    page.click("#s-saved button")
    assert picked(page) == [one]
    assert page.run("return document.querySelector('#s-name').value") == ""
    drop(page, f"run: demo\nkeep: [{three}]\n", "demo.junk.yaml")
    assert page.run("return document.querySelector('#s-name').value") == "junk"
    assert picked(page) == [three]
    page.click("#s-name")
    page.press(*"./x")
    page.click("#s-save")
    assert not list(downloads.glob("*junk*"))


def test_ticks_of_the_bar_turn_the_order_and_draw_masks(page):
    def ring():
        script = """const style = getComputedStyle(
                document.querySelector("#gallery .image"), "::after");
            return [style.content, style.width];"""
        return page.run(script)

    numbers = order(page)
    page.click("#turn")
    assert order(page) == numbers[::-1]
    assert ring()[0] == "none"
    page.click("#masks")
    content, width = ring()
    side = page.run("return document.querySelector('#gallery .image').offsetWidth")
    assert content == '""'
    # The mask has a radius of 25 pixels of 64.
    np.testing.assert_allclose(
        float(width.removesuffix("px")), side * 50 / 64, rtol=0.02
    )


GREY = """
    const picture = document.querySelector("#class-{} img");
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
    const context = canvas.getContext("2d");
    context.filter = getComputedStyle(picture).filter;
    context.drawImage(picture, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    return [...pixels.filter((_, i) => i % 4 === 0)];"""


def test_grey_values_can_be_set(page, reports):
    """What is seen is what the numbers say, to the rounding of bytes."""

    def seen(k):
        return np.array(page.run(GREY.format(k)), float)

    def put(name, value):
        page.run(
            f"""const input = document.querySelector("#{name}");
            input.{"checked" if isinstance(value, bool) else "value"} =
                {json.dumps(value)};
            input.dispatchEvent(new Event("input"));"""
        )

    report = reports["2d"]
    plain = {k: seen(k) for k in (3, 5)}
    np.testing.assert_array_equal(
        plain[3], stretch(report.averages[2], report.radius).ravel()
    )
    put("contrast", 1)
    np.testing.assert_allclose(seen(3), np.clip(2 * plain[3] - 127.5, 0, 255), atol=2)
    put("brightness", 0.3)
    expected = np.clip(2 * plain[3] - 127.5 + 0.3 * 255, 0, 255)
    np.testing.assert_allclose(seen(3), expected, atol=2)
    put("inverted", True)
    np.testing.assert_allclose(seen(3), 255 - expected, atol=6)
    put("contrast", -1), put("brightness", 0), put("inverted", False)
    np.testing.assert_allclose(seen(3), 0.5 * plain[3] + 0.25 * 255, atol=2)
    # One scale: the same density is the same grey in any class.
    put("contrast", 0), put("common", True)
    ends = np.array([levels(image, report.radius) for image in report.averages])
    black, white = np.sort(ends[:, 0])[1], np.sort(ends[:, 1])[18]
    for k in (3, 5):
        grey = 255 * (report.averages[k - 1] - black) / (white - black)
        low, high = 255 * (ends[k - 1] - black) / (white - black)
        expected = np.clip(np.clip(grey, low, high), 0, 255).ravel()
        np.testing.assert_allclose(seen(k), expected, atol=3)
        assert np.abs(seen(k) - plain[k]).max() > 8


def test_an_older_selection_is_taken_up(page, reports, tmp_path):
    checksum = reports["2d"].checksum
    write_selection(
        tmp_path / "a.yaml", Selection("demo", (2, 7, 9), ((2, 9),), checksum)
    )
    assert "Read" in drop(page, (tmp_path / "a.yaml").read_text())
    assert picked(page) == [2, 7, 9]
    # As a person would write it.
    drop(page, "run: demo # mine\nkeep:\n  - 3\n  - 4\nmerge:\n  - [3, 4]\n")
    assert picked(page) == [3, 4]
    assert groups(page) == {"3": "A", "4": "A"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("run: other\nkeep: [1]\n", "it is of the run other"),
        (f"run: demo\nclasses: {'0' * 64}\nkeep: [1]\n", "made for other classes"),
        ("run: demo\nkeep: [1, 99]\n", "there is no class 99"),
        ("something else", "keeps no class"),
    ],
)
def test_a_selection_that_does_not_fit_is_refused(page, text, words):
    page.click("#s-all")
    assert words in drop(page, text)
    assert len(picked(page)) == 20


@pytest.mark.parametrize("page", ["2d", "2d_large", "3d"], indirect=True)
def test_the_page_asks_the_network_for_nothing(page, pages):
    page.click("#s-all")
    asked = [url for url in page.requests() if not url.startswith("data:image/")]
    assert len(asked) == 1 and asked[0].startswith("file://")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["2d", "2d_large", "2d_goes_on", "3d"])
def test_nothing_is_wider_than_a_phone(window, pages, name, theme):
    window.show_as(*PHONE, theme)
    window.open(pages[name])
    window.run("document.querySelector('#s-limits').click()")
    assert window.run("return document.documentElement.scrollWidth") == PHONE[0]


@pytest.mark.parametrize("page", ["2d_goes_on"], indirect=True)
def test_classes_of_a_run_that_goes_on_are_looked_at_only(page):
    page.click(f"#class-{order(page)[2]}")
    page.press("a", "ArrowRight", "Space", "s")
    assert shown(page, "#d-number") == str(order(page)[3])
    assert picked(page) == []
    assert page.run("return document.querySelector('#selection').hidden")


@pytest.mark.parametrize("page", ["2d", "3d"], indirect=True)
def test_arrows_move_by_columns_and_rows(page):
    def place():
        script = """const place = document.activeElement.getBoundingClientRect();
            return [place.left, place.top + window.scrollY];"""
        return page.run(script)

    focus_first(page)
    start = place()
    page.press("ArrowDown")
    assert place()[0] == start[0] and place()[1] > start[1] + 20
    page.press("ArrowUp")
    assert place() == start
    page.press("ArrowRight")
    assert place()[1] == start[1] and place()[0] > start[0] + 20
    page.press("End")
    assert shown(page, "#d-number") == str(order(page)[-1])


@pytest.mark.parametrize("page", ["2d_large"], indirect=True)
def test_the_class_that_has_the_focus_is_in_sight(page):
    focus_first(page)
    page.press("End", *["ArrowUp"] * 12)
    tile, bar, height = page.run(
        """const place = (node) => node.getBoundingClientRect();
        await new Promise((done) => setTimeout(done, 300));
        const picture = document.activeElement.querySelector("img");
        const bar = document.querySelector("#selection");
        return [place(picture), place(bar), window.innerHeight];"""
    )
    assert bar["top"] == 0  # it stays
    assert bar["bottom"] <= tile["top"] and tile["bottom"] <= height


def spoken(window):
    """What a screen reader is told of the gallery: role, name, whether it is picked."""
    nodes = window.devtools("Accessibility.getFullAXTree")["nodes"]
    for node in nodes:
        states = {
            p["name"]: p["value"].get("value") for p in node.get("properties", ())
        }
        if node.get("role", {}).get("value") in ("option", "listbox"):
            yield node["role"]["value"], node["name"]["value"], states


def test_a_screen_reader_is_told_what_is_seen(page, reports):
    focus_first(page)
    page.press("m", "ArrowRight", "Space", "m")
    told = list(spoken(page))
    assert ("listbox", "Class averages") in [(role, name) for role, name, _ in told]
    options = [(name, s) for _, name, s in told if name.startswith("Class ")]
    largest = reports["2d"].by_size()
    for (name, states), i in zip(options[1:], largest, strict=True):
        c = reports["2d"].classes[i]
        assert name.startswith(f"Class {c.number} {c.size} particles")
        assert f"pixel error {c.pixel_error:.2f}\xa0px" in name
        assert states["selected"] == (i in largest[:2])
        assert name.endswith("to be merged in group A") == (i in largest[:2])


@pytest.mark.parametrize("page", ["2d", "3d"], indirect=True)
def test_what_scrolls_can_be_reached_by_keys(page):
    page.show_as(*PHONE)
    left = page.run(
        """document.querySelectorAll("details").forEach((d) => (d.open = true));
        return [...document.querySelectorAll("main *")].filter((node) =>
            /auto|scroll/.test(getComputedStyle(node).overflow) &&
            (node.scrollHeight > node.clientHeight ||
                node.scrollWidth > node.clientWidth) &&
            node.tabIndex < 0 && !node.querySelector("button, a, input, [tabindex]"))
            .map((node) => node.outerHTML.slice(0, 80));"""
    )
    assert left == []


@pytest.mark.parametrize("page", ["2d", "3d"], indirect=True)
def test_paper_is_white_and_has_all_pictures(page):
    page.show_as(*DESK, "dark")
    page.devtools("Emulation.setEmulatedMedia", media="print")
    try:
        seen = page.run(
            """const style = (name) => getComputedStyle(document.querySelector(name));
            return [style("body").backgroundColor, style("body").color,
                style("#gallery li").contentVisibility, style("h2").breakAfter,
                style("i.key").printColorAdjust, style("#selection").display];"""
        )
    finally:
        page.devtools("Emulation.setEmulatedMedia", media="")
    white, ink = "rgb(255, 255, 255)", "rgb(28, 27, 25)"
    assert seen == [white, ink, "visible", "avoid", "exact", "none"]


@pytest.mark.parametrize("page", ["2d_large"], indirect=True)
def test_fifty_of_a_thousand_classes_are_picked_at_once(page):
    times = page.run(
        """const frame = () => new Promise((done) =>
            requestAnimationFrame(() => setTimeout(done)));
        const tiles = [...document.querySelectorAll(".tile")];
        const times = [];
        for (let i = 0; i < 7; i++) {
            document.querySelector("#s-none").click();
            await frame();
            const start = performance.now();
            tiles[0].querySelector(".pick").click();
            const more = { bubbles: true, shiftKey: true };
            tiles[49].dispatchEvent(new MouseEvent("click", more));
            await frame();
            times.push(performance.now() - start);
        }
        return times;"""
    )
    assert len(picked(page)) == 50
    assert statistics.median(times) < LIMIT


@pytest.mark.parametrize("page", ["3d"], indirect=True)
def test_a_class_of_a_volume_tells_how_its_members_lie(page, reports):
    page.click("#class-2")
    drawn = page.run("return document.querySelectorAll('#d-spread .member').length")
    assert drawn == 2 * reports["3d"].sizes[2]
    members = page.run("return document.querySelector('#d-members').value").split()
    report = reports["3d"]
    rows = np.delete(np.arange(report.particles + 3), report.excluded)
    found = np.array(members, int)  # of the input, where some were left out
    np.testing.assert_array_equal(found, rows[report.members(2)])


# The server that takes the selection from the browser


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    results = write_results(folder, isac_report(9))
    page, classes = results / "report/index.html", results / "classes.star"
    with serving(page, folder, classes) as started:
        yield started


@pytest.fixture
def selection(server):
    """The file that the server writes, not there yet."""
    path = server.directory / server.target
    shutil.rmtree(path.parent, ignore_errors=True)
    return path


def put(server, text="run: demo\nkeep: [1]\n", path=None, **headers):
    """Return status and answer of a request that a program sends."""
    host = f"127.0.0.1:{server.server_port}"
    own = {"Host": host, "Origin": f"http://{host}"}
    sent = {k: v for k, v in (own | headers).items() if v is not None}
    address = f"http://{host}/{server.token if path is None else path}/selection.yaml"
    request = urllib.request.Request(address, text.encode(), sent, method="PUT")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_what_is_picked_lands_in_the_file(window, server, selection):
    window.show_as(*DESK)
    window.open(server.url)
    window.log()
    focus_first(window)
    window.press("m", "ArrowRight", "Space", "m", "s")
    browser.wait_until(selection.exists)
    one, two, *_ = order(window)
    found = read_selection(selection)
    assert found.keep == tuple(sorted([one, two])) and found.merge == (found.keep,)
    assert found.classes == sha256(server.classes)
    window.open(server.url)
    browser.wait_until(lambda: picked(window) == sorted([one, two]))
    assert [entry["message"] for entry in window.log()] == []


def test_selections_with_names_are_files_beside_it(window, server, selection):
    window.show_as(*DESK)
    window.open(server.url)
    one, two, *_ = order(window)
    other = selection.with_name("demo.small.yaml")
    for number, name, path in ((one, "", selection), (two, "small", other)):
        window.click("#s-none")
        window.click(f"#class-{number} .pick")
        window.click("#s-name")
        window.press(*name)
        window.click("#s-save")
        browser.wait_until(path.exists)
        assert read_selection(path).keep == (number,)
    assert "Next: cryokin run" in shown(window, "#s-message")
    window.open(server.url)
    browser.wait_until(lambda: picked(window) == [one])
    known = """return [...document.querySelectorAll("#s-saved button")]
        .map((button) => button.textContent)"""
    assert window.run(known) == ["no name", "small"]
    window.click("#s-saved button:last-child")
    assert picked(window) == [two]


@pytest.mark.parametrize(
    "sent",
    [
        {"path": "A" * 32},
        {"path": ""},
        {"Host": "selection.example", "Origin": "http://selection.example"},
        {"Origin": "http://selection.example"},
        {"Origin": "null"},
        {"Origin": None},
        {"Origin": "http://127.0.0.1:1"},
    ],
)
def test_what_comes_from_elsewhere_is_refused(server, selection, sent):
    assert put(server, **sent)[0] == 403
    assert not selection.exists()
    assert put(server)[0] == 200
    assert selection.exists()


def test_another_page_cannot_write(window, server, selection, pages):
    window.open(pages["2d"])
    address = f"http://localhost:{server.server_port}/{server.token}/selection.yaml"
    for script in (
        f"await fetch('{address}', {{method: 'PUT', body: 'run: demo'}})",
        f"""const frame = document.createElement("iframe");
        frame.src = "{server.url}";
        document.body.append(frame);""",
    ):
        window.run(script)
    window.log()
    assert not selection.exists()


def test_the_server_listens_to_this_machine_alone(server):
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("run: other\nkeep: [1]\n", "run is other"),
        ("run: demo\nkeep: [10]\n", "classes 1 to 9"),
        ("run: demo\nkeep: []\n", "at least one class"),
        ("run: demo\nkeep: [1]\nmerge: [[1, 2]]\n", "not in keep"),
        (f"run: demo\nclasses: {'0' * 64}\nkeep: [1]\n", "for other classes"),
        ("{[", "no usable YAML"),
    ],
)
def test_what_is_no_selection_of_these_classes_is_refused(
    server, selection, text, words
):
    status, answer = put(server, text)
    assert status == 422 and words in answer
    assert not selection.exists()


def test_a_run_without_a_report_is_told_in_a_sentence(tmp_path):
    missing = tmp_path / "index.html"
    with pytest.raises(InputError, match="there is no report of run demo yet"):
        SelectionServer("demo", missing, tmp_path, "a", tmp_path / "b", "c", 0)


# The commands


def write_results(folder, report):
    """The files of a finished run below a folder."""
    results = folder / "results/demo"
    (results / "report").mkdir(parents=True)
    write_isac_run(results, report)
    report = dataclasses.replace(report, checksum=sha256(results / "classes.star"))
    html = isac_page.page(report)
    (results / "report/index.html").write_text(html, encoding="utf-8")
    return results


def command(root, folder, *arguments):
    script = root / "workflow/scripts/select_in_browser.py"
    return [sys.executable, script, "--directory", folder, *arguments]


def test_the_command_serves_the_run_of_a_folder(root, window, tmp_path):
    write_results(tmp_path, isac_report(5))
    (tmp_path / "config").mkdir()
    config = tmp_path / "config/config.yaml"
    config.write_text("runs: {demo: {selection: mine/picked.yaml}}")
    environment = {k: v for k, v in os.environ.items() if "DISPLAY" not in k}
    with subprocess.Popen(
        command(root, tmp_path, "--run", "demo"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    ) as started:
        url = started.stdout.readline().split()[-1]
        assert "mine/picked.yaml" in started.stdout.readline()
        assert f"127.0.0.1:{urlsplit(url).port} {getpass.getuser()}@" in (
            started.stdout.readline()
        )
        window.open(url)
        focus_first(window)
        window.press("Space", "s")
        picked_file = tmp_path / "mine/picked.yaml"
        browser.wait_until(picked_file.exists)
        assert read_selection(picked_file).keep == (order(window)[0],)
        window.open("about:blank")
        started.send_signal(signal.SIGINT)
        assert started.wait(10) == 0
        assert started.stderr.read() == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--run", "other"), "no report of run other yet"),
        (("--run", "demo", "--directory", "nowhere"), "there is no such folder"),
    ],
)
def test_the_command_tells_a_mistake_in_a_sentence(root, tmp_path, arguments, words):
    done = subprocess.run(
        command(root, tmp_path, *arguments), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert words in done.stderr
