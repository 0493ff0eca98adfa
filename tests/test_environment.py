"""All lists of versions say the same."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def normal(name):
    """Return the name of a package as all indexes know it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def locked():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    return {normal(name): version for name, version in pins.items()}


def needed(*extras):
    """Return the requirements of the package with some of its extras."""
    texts = list(PROJECT["dependencies"])
    for extra in extras:
        texts += PROJECT["optional-dependencies"][extra]
    return [Requirement(text) for text in texts]


def test_the_lock_satisfies_the_project(locked):
    # A GPU is for those who have one: what it needs is large.
    extras = set(PROJECT["optional-dependencies"]) - {"all", "gpu"}
    (everything,) = PROJECT["optional-dependencies"]["all"]
    assert Requirement(everything).extras == extras
    for requirement in needed(*extras):
        assert requirement.specifier.contains(locked[normal(requirement.name)])


def test_the_lock_names_no_place():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    for line in lines:
        assert line.startswith("#") or re.fullmatch(r"[\w.-]+==[\w.]+", line)


@pytest.mark.parametrize(
    ("name", "extras"), [("core", ["mpi"]), ("report", ["report"])]
)
def test_the_conda_environments_have_the_locked_versions(locked, name, extras):
    listed = yaml.safe_load((ROOT / "envs" / f"{name}.yaml").read_text())
    by_conda = [pin for pin in listed["dependencies"] if isinstance(pin, str)]
    by_pip = [
        one
        for pin in listed["dependencies"]
        if pin not in by_conda
        for one in pin["pip"]
    ]
    pins = dict(re.split("=+", pin) for pin in by_conda + by_pip if pin != "pip")
    python = pins.pop("python")
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python)
    assert pins == {key: locked[key] for key in pins}
    names = {requirement.name for requirement in needed(*extras)}
    if name == "report":
        names -= {"mpi4py", "dynamotable"}  # for computing, not for drawing
    assert set(pins) == names


def imported(path):
    """Return the packages that a module imports, by the name they are installed by."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module)
    tops = {module.partition(".")[0] for module in modules}
    installed_by = {"yaml": "pyyaml", "PIL": "pillow"}
    names = {installed_by.get(top, top) for top in tops - sys.stdlib_module_names}
    return {normal(name) if name.startswith("array_api") else name for name in names}


@pytest.mark.parametrize(
    ("pattern", "extras"),
    [
        ("src/cryokin/*.py", ["workflow"]),
        ("src/cryokin/[!r]*/*.py", []),
        ("src/cryokin/report/*.py", ["report"]),
        ("workflow/scripts/*.py", []),
        ("tests/*.py", ["workflow", "report", "dev", "gpu"]),
    ],
)
def test_what_is_imported_is_a_requirement(pattern, extras):
    # These come with others that are named: with Snakemake, pytest and Jinja.
    names = {"cryokin", "jsonschema", "packaging", "markupsafe"}
    names |= {requirement.name for requirement in needed(*extras)}
    # What stands beside the tests, and the scripts that they call, needs no package.
    names |= {path.stem for path in ROOT.glob("tests/*.py")}
    names |= {path.stem for path in ROOT.glob("workflow/scripts/*.py")}
    paths = list(ROOT.glob(pattern))
    assert paths
    assert set().union(*map(imported, paths)) <= names
