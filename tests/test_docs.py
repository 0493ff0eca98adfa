"""The documentation: its commands run, its links lead somewhere, its names exist.

Every line that begins with ``$`` in a ``console`` block is run, in the order of its
page, in a folder like a checkout whose examples are smaller ones. A comment above the
block makes an exception, and must give the reason:

- ``<!-- not run: REASON -->``: the commands need what a test has not, or wait for
  people;
- ``<!-- dry run: REASON -->``: Snakemake says only what it would do, and make, too.
"""

import importlib.util
import json
import re
import shutil
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import yaml
from scipy import ndimage
from scipy.spatial.transform import Rotation

from conftest import ROOT
from cryokin.config import load_runs
from cryokin.io.pytom_xml import read_particle_list
from cryokin.io.star import read_star
from cryokin.report.page import standalone
from cryokin.selection import KEYS as SELECTION_KEYS
from cryokin.simulate.files import write_image_set
from cryokin.simulate.images import simulate_images
from cryokin.simulate.volumes import simulate_volumes, write_volume_set
from places import IMAGES, ISAC, SUBTOMOGRAMS, VOLUMES, Checkout

PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in (
        "*.md",
        "config/*.md",
        "docs/*.md",
        "profiles/*.md",
        "resources/*.md",
    )
    for path in ROOT.glob(pattern)
)
#: Pages whose commands another test runs, with programs and data of its own.
RUN_ELSEWHERE = {"docs/interop.md": "test_interop.py"}
LANGUAGES = {"console", "yaml", "text"}
LARGEST_IMAGE = 200_000  # bytes
FEWEST_WORDS = 3  # of a reason
SCHEMA = ROOT / "workflow/schemas/config.schema.json"


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, and the exception that a comment above it makes."""

    page: str
    line: int
    language: str
    text: str
    exception: str
    reason: str

    @property
    def commands(self):
        """The commands, without their prompts; a line that ends in \\ goes on."""
        joined = self.text.replace("\\\n", " ")
        return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]

    def __str__(self):
        return f"{self.page}:{self.line}"


@cache
def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


FENCE = re.compile(
    r"(?:^<!-- (?P<exception>[a-z ]+): (?P<reason>[^>]*?) -->\n)?"
    r"^(?P<fence>```+)(?P<language>[^\n]*)\n(?P<text>.*?)^(?P=fence)$",
    re.M | re.S,
)


def blocks(page):
    return [
        Block(
            page,
            read(page)[: found.start("fence")].count("\n") + 1,
            found["language"].strip(),
            found["text"],
            found["exception"] or "",
            found["reason"] or "",
        )
        for found in FENCE.finditer(read(page))
    ]


def prose(page):
    """Return a page without its blocks."""
    return FENCE.sub("\n", read(page))


ALL = [block for page in PAGES for block in blocks(page)]


def of_language(language):
    return [block for block in ALL if block.language == language]


# ------------------------------------------------------------------------ commands


class Reader(Checkout):
    """Someone who types what a page says, in a checkout with small examples."""

    def __init__(self, root, folder):
        super().__init__(root, folder)
        for name in ("Makefile", "pyproject.toml", "requirements.lock", "benchmarks"):
            (folder / name).symlink_to(root / name)
        shutil.copytree(root / "docs", folder / "docs")
        shutil.copy(root / "config/tutorial.yaml", folder / "config")
        (folder / "resources").mkdir(exist_ok=True)
        (folder / "resources/tutorial").symlink_to(root / "resources/tutorial")
        for name in ("demo_2d", "demo_3d"):
            (folder / "resources" / name).mkdir(parents=True)
        write_image_set(folder / "resources/demo_2d", simulate_images(IMAGES))
        write_volume_set(folder / "resources/demo_3d", simulate_volumes(VOLUMES))
        # `make setup` finds that there is nothing left to do.
        (folder / ".venv").mkdir()
        for path in Path(sys.prefix).iterdir():
            if path.name in {"bin", "lib", "lib64", "pyvenv.cfg"}:
                (folder / ".venv" / path.name).symlink_to(path)
        (folder / ".venv/.complete").touch()
        images = ISAC | {"particles": "resources/demo_2d/particles.star"}
        volumes = SUBTOMOGRAMS | {"particles": "resources/demo_3d/particles.star"}
        volumes |= {"method": "mco_exmx", "starts": 3}
        self.write("config/config.yaml", {"demo": images, "demo_3d": volumes})
        # The configuration that pages call your own; it starts in another folder.
        particles = str(folder / "resources/demo_2d/particles.star")
        self.write("my.yaml", {"my_first": images | {"particles": particles}})

    def type(self, block):
        """Type the commands of a block into one shell, which must not fail."""
        dry = [
            f'{name}() {{ command {name} --dry-run "$@"; }}'
            for name in ("snakemake", "make")
            if block.exception == "dry run"
        ]
        return self.shell("\n".join(["set -e", *dry, *block.commands])).stdout


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    """A checkout in which the examples are finished."""
    reader = Reader(root, tmp_path_factory.mktemp("docs") / "checkout")
    reader.run()
    return reader


RUNNABLE = [block for block in of_language("console") if block.exception != "not run"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [p for p in dict.fromkeys(b.page for b in RUNNABLE) if p not in RUN_ELSEWHERE],
)
def test_the_commands_of_a_page_run(page, finished):
    for block in RUNNABLE:
        if block.page == page:
            finished.type(block)


@pytest.mark.slow
def test_figures_are_the_same_each_time_and_for_dark_pages(finished, root):
    spec = importlib.util.spec_from_file_location("figures", root / "docs/figures.py")
    figures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(figures)
    folders = [finished.folder / name for name in ("results/demo", "resources/demo_2d")]
    first, again = (
        [standalone(figures.isac_steps(demo, 12)), standalone(figures.isac_views(demo))]
        for demo in (figures.read_demo(*folders), figures.read_demo(*folders))
    )
    assert first == again
    for text in first:
        assert "light-dark(" in text


def test_images_are_small(root):
    for path in (root / "docs/images").iterdir():
        assert path.stat().st_size < LARGEST_IMAGE, path.name


@pytest.mark.parametrize("page", RUN_ELSEWHERE)
def test_pages_that_are_run_elsewhere_are(page, root):
    assert page in (root / "tests" / RUN_ELSEWHERE[page]).read_text()


@pytest.mark.parametrize("page", PAGES)
def test_blocks_say_what_they_are(page):
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block}: {block.language!r}"
        if block.language == "console":
            assert block.commands, f"{block}: no line begins with '$ '"
        if block.exception:
            assert block.exception in ("not run", "dry run"), str(block)
            assert len(block.reason.split()) >= FEWEST_WORDS, f"{block}: no reason"


@pytest.mark.parametrize("page", PAGES)
def test_no_command_hides_in_an_indented_block(page):
    hidden = re.findall(r"\n\n((?: {4}|\t)[^\s*-].*)", prose(page))
    assert hidden == [], "use a console block with '$ ', or a text block"


# ------------------------------------------------------------------ files of results


def described(heading):
    """Return the files that a table of docs/conventions.md names, as patterns."""
    page = read("docs/conventions.md")
    table = page.partition(f"## {heading}")[2].partition("\n## ")[0]
    patterns = []
    for row in re.findall(r"^\| (`.*?) \|", table, re.M):
        for name in re.findall(r"`([^`]+)`", row):
            if name.startswith("."):  # another ending of the file before
                patterns.append(patterns[-1].rpartition(r"\.")[0] + re.escape(name))
                continue
            pattern = re.escape(name)
            for letters in ("000N", "000R", "000K", "00G"):
                pattern = pattern.replace(letters, rf"\d{{{len(letters)}}}")
            pattern = re.sub(r"_[NK](?![a-z])", r"_\\d+", pattern)
            patterns.append(pattern + (".*" if name.endswith("/") else ""))
    return patterns


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "heading"),
    [("demo", "Results of an ISAC run"), ("demo_3d", "Results of a run for subtom")],
)
def test_every_file_of_a_run_is_described(run, heading, finished):
    patterns = described(heading)
    assert len(patterns) > 20
    results = finished.folder / "results" / run
    files = [
        str(path.relative_to(results))
        for path in sorted(results.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    ]
    assert [f for f in files if not any(re.fullmatch(p, f) for p in patterns)] == []


@pytest.mark.slow
def test_poses_of_subtomograms_are_as_described(finished):
    """From the lists alone, by the formulas of docs/conventions.md and by SciPy."""
    results = finished.folder / "results/demo_3d"
    table = read_star(results / "classified.star")
    size = float(table["optics"]["rlnImagePixelSize"].iloc[0])
    averages = {}
    for particle, (_, row) in zip(
        read_particle_list(results / "classified.xml"),
        table["particles"].iterrows(),
        strict=True,
    ):
        z1, z2, x = particle.rotation
        star = [float(row[f"rlnAngle{name}"]) for name in ("Rot", "Tilt", "Psi")]
        turns = np.radians(np.subtract(star, [90 - z1, x, -90 - z2]))
        np.testing.assert_allclose(np.cos(turns), 1, atol=1e-6)
        shift = -np.array([float(row[f"rlnOrigin{a}Angst"]) for a in "XYZ"]) / size
        np.testing.assert_allclose(particle.shift, shift, atol=1e-5)
        assert int(row["rlnClassNumber"]) == int(particle.label)
        with mrcfile.open(finished.folder / row["rlnImageName"]) as mrc:
            volume = mrc.data.astype(float)
        centre = np.array(volume.shape) // 2
        grid = np.indices(volume.shape).reshape(3, -1)[::-1] - centre[:, None]
        rotation = Rotation.from_euler("zxz", [z1, x, z2], degrees=True)
        at = rotation.apply(grid.T) + shift + centre
        seen = ndimage.map_coordinates(volume, at.T[::-1], order=1, mode="nearest")
        averages.setdefault(int(particle.label), []).append(seen.reshape(volume.shape))
    for label, members in averages.items():
        with mrcfile.open(results / f"class_averages/class_{label}.mrc") as mrc:
            # Without weights for the missing wedge, but otherwise the same.
            alike = np.corrcoef(np.mean(members, axis=0).ravel(), mrc.data.ravel())
        assert alike[0, 1] > 0.8, label


# ------------------------------------------------------------- configurations, names


@pytest.mark.parametrize("block", of_language("yaml"), ids=str)
def test_yaml_is_a_valid_configuration(block):
    given = yaml.safe_load(block.text)
    if set(given) <= {"set-resources", "default-resources"}:
        named = {rule for key in given if key.startswith("set-") for rule in given[key]}
        assert named <= rules(), "a rule that is not there"
    elif "keep" in given:
        assert set(given) <= set(SELECTION_KEYS)
    else:
        load_runs(given, str(block))


@cache
def rules():
    """Return the names of all rules."""
    text = "\n".join(p.read_text() for p in ROOT.glob("workflow/rules/*.smk"))
    text += (ROOT / "Snakefile").read_text()
    return set(re.findall(r"^\s*(?:rule|checkpoint) (\w+):", text, re.M))


def keys_below(node):
    """Return the names of all properties of a schema, of whatever depth."""
    found = set()
    if isinstance(node, dict):
        found |= set(node.get("properties", {}))
        found |= {key for value in node.values() for key in keys_below(value)}
    elif isinstance(node, list):
        found |= {key for value in node for key in keys_below(value)}
    return found


@cache
def known_words():
    """Return every word of the program's own text."""
    words = set()
    for folder in ("src", "workflow", "profiles", "config", "benchmarks"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".smk", ".yaml", ".html", ".js", ".css"}:
                words |= set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    text = (ROOT / "Snakefile").read_text() + (ROOT / "Makefile").read_text()
    return words | set(re.findall(r"\w+", text))


#: Names in other programs, which these pages compare with.
OF_OTHERS = {"ISPG", "ipytom", "relion_reconstruct", "MPI4PY_MPIABI"}


@pytest.mark.parametrize("page", PAGES)
def test_names_in_the_text_exist(page):
    keys = keys_below(json.loads(SCHEMA.read_text()))
    for text in re.findall(r"`([^`\n]+)`", prose(page)):
        if option := re.fullmatch(r"(\w+): \S.*", text):
            assert option[1] in keys | set(SELECTION_KEYS) | known_resources(), text
        elif re.fullmatch(r"[A-Za-z]\w*[A-Za-z0-9]", text) and text not in OF_OTHERS:
            # _N, as in generation_N, stands for a number.
            names = {text, re.sub("_N$", "_", text)}
            assert names & known_words(), f"{text} is no name in the program"


@cache
def known_resources():
    """Return the options of profiles."""
    text = "\n".join(p.read_text() for p in (ROOT / "profiles").glob("*/config.yaml"))
    return set(re.findall(r"^\s*#? ?([\w-]+):", text, re.M))


# --------------------------------------------------------------------- links, images


def anchors(page):
    """Return the anchors of the headings of a page, as GitHub makes them."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.M):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-")
        number = 0
        while (name := slug if not number else f"{slug}-{number}") in found:
            number += 1
        found.add(name)
    return found


def links(page):
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in links(page):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page}: {link}"
        if anchor:
            name = str(target.resolve().relative_to(ROOT))
            assert anchor in anchors(name), f"{page}: {link}"


def test_every_page_and_image_is_linked():
    linked = {
        ((ROOT / page).parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in links(page)
        if not link.startswith("http")
    }
    there = [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/images/*")]
    assert [str(path) for path in there if path.resolve() not in linked] == []
