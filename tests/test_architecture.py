"""Rooms of the library use those below them alone."""

import ast
import re
import subprocess
import sys

import pytest

from conftest import ROOT

#: From the lowest to the highest; what stands in one line may use each other.
LAYERS = (
    {
        "errors",
        "device",
        "npy",
        "random",
        "parallel",
        "files",
        "usage",
        "provenance",
        "__init__",
    },
    {"options", "yaml_files", "config", "selection", "script", "selftest"},
    {"rings", "image", "volume", "partition"},
    {"io"},
    {"simulate", "isac", "subtomo"},
    {"checks", "steps", "plan", "estimate", "progress", "workflow"},
    {"report"},
    {"command"},
)


def rooms_used(path):
    """Return the rooms that a module imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "cryokin."
        ):
            yield node.module.split(".")[1]


def test_no_room_uses_one_above_it():
    level = {room: i for i, layer in enumerate(LAYERS) for room in layer}
    source = ROOT / "src/cryokin"
    wrong = []
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        for used in rooms_used(path):
            if level[used] > level[parts[0]]:
                wrong.append((str(path.relative_to(source)), used))
    assert wrong == []


def test_what_the_two_families_share_stands_below_them():
    source = ROOT / "src/cryokin"
    used = {
        (path.parts[-2], room)
        for family in ("isac", "subtomo")
        for path in (source / family).glob("*.py")
        for room in rooms_used(path)
        if room in ("isac", "subtomo") and room != family
    }
    assert used == set()


def test_no_test_module_needs_another():
    """What several need stands in modules of its own, whose names say so."""
    for path in (ROOT / "tests").glob("*.py"):
        assert not re.search(r"^ *(from|import) test_", path.read_text(), re.M), path


def test_what_starts_the_workflow_or_a_browser_is_none_of_the_quick_tests():
    for path in (ROOT / "tests").glob("test_*.py"):
        text = path.read_text()
        if re.search("^(import|from) (browser|places)", text, re.M):
            assert "mark.slow" in text, path


@pytest.mark.parametrize("heavy", ["numpy", "scipy", "pandas", "h5py", "mpi4py"])
def test_what_snakemake_loads_needs_no_library(heavy):
    program = (
        f"import sys; sys.modules[{heavy!r}] = None\n"
        "import cryokin.workflow, cryokin.progress, cryokin.subtomo.told"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
