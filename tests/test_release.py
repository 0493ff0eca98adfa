"""What a release and the site take for granted."""

import hashlib
import re
import tomllib

import pytest
import yaml

from conftest import ROOT
from cryokin.config import load_runs

TUTORIAL = ROOT / "resources/tutorial"
LARGEST = 8_000_000  # bytes of all experimental particles in the repository
SIGNED_BYTE = 0  # mode of an MRC file, a number of four bytes after three others


def version():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_version_is_one_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == version()
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## (\S+)$", changes, re.M)[1] == version()


def pages_of(nav):
    """Return the pages that the navigation of the site leads to."""
    if isinstance(nav, str):
        return [nav]
    inner = nav.values() if isinstance(nav, dict) else nav
    return [page for one in inner for page in pages_of(one)]


def test_the_site_leads_to_every_page():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    folders = (".", "docs", "config", "profiles", "resources", "resources/tutorial")
    there = {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).glob("*.md")
    }
    assert sorted(pages_of(nav)) == sorted(there)


def test_what_makes_the_site_is_pinned():
    lines = (ROOT / "docs/requirements.txt").read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert any(line.startswith("mkdocs-material==") for line in wanted)
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in wanted)


def test_the_particles_of_the_tutorial_are_those_that_were_made():
    listed = {}
    for line in (TUTORIAL / "SHA256SUMS").read_text().splitlines():
        checksum, name = line.split()
        listed[name] = checksum
    files = [
        path
        for folder in ("bgal", "apoferritin", "ribosomes")
        for path in (TUTORIAL / folder).rglob("*")
        if path.is_file()
    ]
    for path in files:
        name = str(path.relative_to(TUTORIAL))
        assert hashlib.sha256(path.read_bytes()).hexdigest() == listed.pop(name), name
    assert listed == {}
    assert sum(path.stat().st_size for path in files) < LARGEST
    for path in files:
        if path.suffix in (".mrc", ".mrcs"):
            mode = int.from_bytes(path.read_bytes()[12:16], "little")
            assert mode == SIGNED_BYTE, path


@pytest.mark.parametrize("run", ["bgal", "apoferritin", "ribosomes"])
def test_the_tutorial_is_configured(run):
    runs = load_runs(
        yaml.safe_load((ROOT / "config/tutorial.yaml").read_text()), "tutorial.yaml"
    )
    assert (ROOT / runs[run].particles).exists()
