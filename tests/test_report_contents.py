"""What the reports show beside the gallery, in a real browser."""

import dataclasses
import urllib.error
import urllib.request

import numpy as np
import pytest

import browser
import reports
from cryokin.image.geometry import identity
from cryokin.report import isac_page, pytom_page, selected_page
from cryokin.report.images import data_uri
from cryokin.report.members import SHEET, UNACCOUNTED, Members
from cryokin.report.selected_page import Kept

DESK, PHONE = (1280, 900), (360, 740)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not browser.is_installed(), reason="no chromium and chromedriver"
    ),
]


class Images:
    """A working stack of noise."""

    def __init__(self, n, box):
        self.n, self.box, self.pixel_size = n, box, 5.0
        self.all = np.random.default_rng(1).normal(size=(n, box, box))

    def read(self, ids):
        return self.all[ids].astype(np.float32)


def report_2d():
    """A report with pictures of members; class 9 has several pages of them."""
    report = reports.make_isac_report(9)
    n, numbers = report.particles, np.full(report.particles, UNACCOUNTED)
    for c in report.classes:
        numbers[c.members] = c.number
    shown = Members(numbers, Images(n, report.box), identity(n), report.radius)
    return dataclasses.replace(report, members=shown)


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    with browser.browser(tmp_path_factory.mktemp("downloads")) as opened:
        opened.show_as(*DESK)
        yield opened


@pytest.fixture(scope="module")
def page_2d(tmp_path_factory):
    """The report as a file."""
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(isac_page.page(report_2d()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def server(page_2d, tmp_path_factory):
    """The report as `make select` serves it."""
    folder = tmp_path_factory.mktemp("served")
    members = report_2d().members.page
    with reports.serving(page_2d, folder, folder / "classes.star", members) as served:
        yield served


def sheet_of(window, viewer):
    """What a viewer says, and where its picture is from, once it has loaded."""
    script = f"""const image = document.querySelector("#{viewer} .sheet");
        await image.decode();
        const said = document.querySelector("#{viewer} .said").textContent;
        return [said, image.getAttribute("src"), image.naturalWidth];"""
    return window.run(script)


def test_the_file_shows_a_few_members_of_the_class_that_is_looked_at(window, page_2d):
    report = report_2d()
    window.open(page_2d)
    seen = set()
    for c in (report.classes[8], report.classes[0]):
        window.click(f"#class-{c.number}")
        said, source, width = sheet_of(window, "members")
        assert said == f"A few of {c.size} members, aligned"
        assert source.startswith("data:image/png") and width == 4 * report.box
        seen.add(source)
    assert len(seen) == 2
    said, source, _ = sheet_of(window, "unaccounted")
    assert said == "A few of 30 unaccounted particles"
    assert source.startswith("data:image/png")
    assert window.run("return document.querySelector('#members .raw').hidden")


def test_the_server_shows_all_members_page_by_page(window, server):
    window.open(server.url)
    window.log(), window.requests()
    window.click("#class-9")
    n = 18
    said, source, _ = sheet_of(window, "members")
    assert said == f"1\N{EN DASH}{n} of {n} members, aligned"
    assert source == "members/9/aligned/0.png"
    window.click("#members .raw")
    assert sheet_of(window, "members")[1] == "members/9/raw/0.png"
    window.click("#unaccounted .on")
    said, source, _ = sheet_of(window, "unaccounted")
    assert said == f"{SHEET + 1}\N{EN DASH}30 of 30 unaccounted particles"
    assert source == "members/unaccounted/raw/1.png"
    assert window.run("return document.querySelector('#unaccounted .on').disabled")
    assert [e["message"] for e in window.log()] == []
    assert all(url.startswith((server.url, "data:")) for url in window.requests())


def test_the_server_shows_members_of_volumes(window, page_3d, tmp_path):
    window.open(page_3d)  # the file has none
    assert window.run("return document.querySelector('#members').hidden")

    def sheet(number, page, aligned):
        return np.full((8, 8), 100 + aligned, np.uint8) if number == 2 else None

    with reports.serving(page_3d, tmp_path, tmp_path / "classes.json", sheet) as served:
        window.open(served.url)
        window.click("#class-2")
        said, source, width = sheet_of(window, "members")
        assert said.endswith(" members, aligned") and width == 8
        assert source == "members/2/aligned/0.png"
        window.open("about:blank")


@pytest.mark.parametrize("viewer", ["members", "unaccounted"])
def test_members_fit_a_phone(window, server, viewer):
    window.show_as(*PHONE, "dark")
    try:
        window.open(server.url)
        window.click("#class-9")
        sheet_of(window, viewer)
        assert window.run("return document.documentElement.scrollWidth") == PHONE[0]
    finally:
        window.show_as(*DESK)


def answer(server, path, **headers):
    """Return the status and the kind of what a program is sent."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.server_port}/{path}", headers=headers
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as got:
            return got.status, got.headers["Content-Type"]
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"]


def test_members_are_sent_to_who_knows_the_token_alone(server):
    name = "members/9/aligned/0.png"
    own = f"{server.token}/{name}"
    assert answer(server, own) == (200, "image/png")
    assert answer(server, f"{'A' * 32}/{name}")[0] == 403
    assert answer(server, name)[0] == 403
    assert answer(server, own, Host="members.example")[0] == 403
    assert answer(server, own, Origin="http://127.0.0.1:1")[0] == 403


@pytest.mark.parametrize(
    "name",
    [
        *("members/0/aligned/0.png", "members/10/raw/0.png", "members/9/raw/9.png"),
        *("members/9/other/0.png", "members/-1/raw/0.png", "members/../../x.png"),
        *("members/9/raw/0.png/..", "members/" + "9" * 4000 + "/raw/0.png"),
    ],
)
def test_other_members_are_not_there(server, name):
    assert answer(server, f"{server.token}/{name}")[0] == 404


# Slices through volumes, links, what was selected


@pytest.fixture(scope="module")
def page_3d(tmp_path_factory):
    """A report of three classes of subtomograms, with links."""
    report = reports.full_report(3)
    classes = [
        dataclasses.replace(c, file=f"../class_averages/class_{c.number}.mrc")
        for c in report.classes
    ]
    links = {"../classes.csv": "the classes", "figures": "the `figures`"}
    path = tmp_path_factory.mktemp("page_3d") / "index.html"
    made = dataclasses.replace(report, classes=classes, links=links)
    path.write_text(pytom_page.page(made), encoding="utf-8")
    return path


def slices_seen(window):
    """Of each picture the slice that is in sight, and how wide it is drawn."""
    return window.run(
        """return [...document.querySelectorAll(".through span")].map((window) => {
            const [place, image] = [window, window.firstElementChild].map((node) =>
                node.getBoundingClientRect());
            return [Math.round((place.left - image.left) / place.width), place.width];
        });"""
    )


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_a_slider_goes_through_all_volumes_at_once(window, page_3d, size):
    window.show_as(*size)
    try:
        window.open(page_3d)
        number = window.run("return document.querySelector('#slices').dataset.z")
        n = len(number.split())
        for i in (0, n - 1):
            window.run(
                f"""const slider = document.querySelector("#slices input");
                slider.value = {i};
                slider.dispatchEvent(new Event("input"));"""
            )
            seen = slices_seen(window)
            assert len(seen) == 5  # three classes, two differences
            assert [at for at, _ in seen] == [i] * 5
        assert min(width for _, width in seen) > 120
        said = window.run("return document.querySelector('#slices output').textContent")
        assert said == f"{number.split()[-1]} voxels"
        assert window.run("return document.documentElement.scrollWidth") == size[0]
    finally:
        window.show_as(*DESK)


def test_links_lead_to_the_files_beside_the_page(window, page_3d, page_2d, server):
    script = """return [...document.querySelectorAll("a[href]")]
        .map((link) => link.getAttribute("href"))
        .filter((name) => !name.startsWith("#"))"""
    window.open(page_3d)
    found = window.run(script)
    assert {"../classes.csv", "figures", "classes.cxc"} <= set(found)
    assert "../class_averages/class_2.mrc" in found
    assert not any(":" in name or name.startswith("/") for name in found)
    window.open(server.url)  # which has the page alone
    assert window.run(script) == []


def test_the_page_of_a_selection_is_a_page_alone(window, tmp_path):
    hostile = '"><script>alert(1)</script>&amp;'
    picture = data_uri(np.zeros((4, 4), np.uint8))
    kept = [Kept("1", 1234, "9.0 Å", picture), Kept(hostile, 2, "", None, hostile)]
    path = tmp_path / "index.html"
    text = selected_page.page(hostile, kept, (1236, 2000, 7), {"a.star": "`x`"})
    path.write_text(text, encoding="utf-8")
    elements = reports.Elements(text)
    assert not elements.named("script")
    assert len(elements.named("img")) == 1
    window.show_as(*PHONE, "dark")
    try:
        window.open(path)
        assert window.run("return document.documentElement.scrollWidth") == PHONE[0]
        said = window.run("return document.querySelector('#n-particles').textContent")
        assert said == "1,236 of 2,000"
    finally:
        window.show_as(*DESK)
