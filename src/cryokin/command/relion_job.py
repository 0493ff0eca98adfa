"""A job of RELION's type External: `workflow/scripts/relion_external.py` calls this."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import yaml

from cryokin.config import load_runs
from cryokin.errors import InputError, exit_on_input_error
from cryokin.files import write_text
from cryokin.io.star import Block, as_table, read_star, write_star
from cryokin.isac.relion import NAMES
from cryokin.yaml_files import load_yaml

FILES = ["rlnImageName", "rlnCtfImage"]  # columns with names of files
TABLES = ["rlnModelStarFile", "rlnExperimentalDataStarFile"]
POLL = 0.5  # between two looks whether RELION asks to abort [s]
# RELION's own names of its inputs, and what they are here.
INPUTS = {"in_parts": "particles", "in_mask": "mask"}


def read_options(words: list[str]) -> dict[str, str]:
    """Return the options of a run from ``--key value`` pairs."""
    if len(words) % 2:
        raise InputError(f"{words[-1]} has no value; give '--option value' pairs.")
    pairs = zip(words[::2], words[1::2], strict=True)
    options = {label.removeprefix("--"): value for label, value in pairs}
    for key in options:
        if key.startswith("in_") and key not in INPUTS:
            raise InputError(
                f"--{key}: an input of this kind is not used; give --in_parts."
            )
    return {INPUTS.get(key, key): value for key, value in options.items()}


def absolute_table(path: Path) -> dict[str, Block]:
    """Return a STAR table with absolute names of files, not from RELION's project."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; give --in_parts.")
    blocks = read_star(path)
    for block in blocks.values():
        if isinstance(block, dict):
            continue
        for column in block.columns.intersection(FILES):
            parts = [str(value).rpartition("@") for value in block[column]]
            block[column] = [
                f"{number}{at}{found(file, path.parent)}" for number, at, file in parts
            ]
    return blocks


def found(name: str, folder: Path) -> str:
    """Return where a file is, seen from here or from its table; else its name."""
    for place in (Path(name), folder / name):
        if place.is_file():
            return str(place.absolute())
    return name


def command(root: Path, folder: Path, config: Path, cores: int) -> list[str]:
    """Return the call of Snakemake; every MPI rule gets all cores of the job."""
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(root / "Snakefile")),
        *("--profile", str(root / "profiles/local")),
        *("--cores", str(cores), "--max-threads", str(cores)),
        *("--directory", str(folder), "--configfile", str(config)),
    ]


def run(words: list[str], folder: Path) -> bool:
    """Run a command; return whether it ended before RELION asked to abort it."""
    process = subprocess.Popen(words)
    try:
        while process.poll() is None:
            if (folder / "RELION_JOB_ABORT_NOW").exists():
                (folder / "RELION_JOB_ABORT_NOW").unlink()
                return False
            time.sleep(POLL)
    finally:
        process.terminate()
        process.wait()
    if process.returncode:
        raise InputError(f"{folder}: the workflow failed; its messages say why.")
    return True


def outputs_2d(folder: Path, results: Path, selected: bool) -> dict[str, str]:
    """Write what the next job takes; return RELION's types of these files."""
    blocks = read_star(results / "particles.star")
    table = as_table(blocks["particles"])
    accounted = table["rlnClassNumber"] != "-1"
    left = blocks | {"particles": table[~accounted]}
    if selected:
        blocks = read_star(results / "selected/particles_selected.star")
    else:
        blocks = blocks | {"particles": table[accounted]}
    write_star(folder / "particles.star", blocks)
    write_star(folder / "unaccounted.star", left)
    classes = read_star(results / "classes.star")
    write_star(folder / "class_averages.star", {"": moved(classes, folder)["classes"]})
    for name in NAMES.values():
        tables = read_star(results / "relion" / name)
        write_star(folder / name, moved(tables, folder))
    return {
        "particles.star": "ParticlesData.star.relion",
        "unaccounted.star": "ParticlesData.star.relion",
        "class_averages.star": "Class2DReferences.star.relion",
        NAMES["optimiser"]: "ProcessData.star.relion.optimiser.class2d",
        NAMES["model"]: "ProcessData.star.relion.model.class2d",
    }


def moved(blocks: dict[str, Block], folder: Path) -> dict[str, Block]:
    """Return tables of a job whose files are named as seen from RELION's project."""
    for block in blocks.values():
        if isinstance(block, dict):
            for key, value in block.items():
                if key in TABLES:
                    block[key] = str(folder / Path(value).name)
        elif "rlnReferenceImage" in block:
            parts = [name.partition("@") for name in block["rlnReferenceImage"]]
            block["rlnReferenceImage"] = [
                f"{i}@{folder / name}" for i, _, name in parts
            ]
    return blocks


def outputs_3d(folder: Path, results: Path, selected: bool) -> dict[str, str]:
    """As `outputs_2d`, of subtomograms."""
    blocks = read_star(results / "classified.star")
    table = as_table(blocks["particles"])
    if selected:
        blocks = read_star(results / "selected/filtered_pl.star")
    else:
        blocks["particles"] = table[table["rlnClassNumber"] != "-1"]
    write_star(folder / "particles.star", blocks)
    return {"particles.star": "ParticlesData.star.relion"}


# Numbers of the types of nodes before RELION 4.
NUMBERS = {
    "ParticlesData.star.relion": 3,
    "Class2DReferences.star.relion": 5,
    "ProcessData.star.relion.model.class2d": 8,
    "ProcessData.star.relion.optimiser.class2d": 9,
}


def write_nodes(folder: Path, nodes: dict[str, str]) -> None:
    """Tell RELION of the files that other jobs can take."""
    table = pd.DataFrame(
        {
            "rlnPipeLineNodeName": [str(folder / name) for name in nodes],
            "rlnPipeLineNodeType": [str(NUMBERS[kind]) for kind in nodes.values()],
            "rlnPipeLineNodeTypeLabel": list(nodes.values()),
        }
    )
    write_star(folder / "RELION_OUTPUT_NODES.star", {"output_nodes": table})


def finished(root: Path, folder: Path, words: list[str], cores: int) -> bool:
    """Do a job, and return whether it was finished; a mistake ends the process.

    Parameters
    ----------
    root : Path
        Where the Snakefile is.
    folder : Path
        Of the job, as RELION names it.
    words : list of str
        Particles, and options of a run, as pairs.
    cores : int
    """
    done = []
    exit_on_input_error(lambda: done.append(work(root, folder, words, cores)))
    return done[0]


def work(root: Path, folder: Path, words: list[str], cores: int) -> bool:
    """Configure, run and hand over; return whether it was not aborted."""
    given = read_options(words)
    if "particles" not in given:
        raise InputError("--in_parts is missing; give a particle table.")
    write_star(folder / "input.star", absolute_table(Path(given["particles"])))
    name = "".join(c if c.isalnum() else "_" for c in folder.name) or "run"
    options = {key: load_yaml(value, f"--{key}") for key, value in given.items()}
    options = {"method": "isac"} | options | {"particles": "input.star"}
    if isinstance(options.get("mask"), str):
        options["mask"] = str(Path(options["mask"]).absolute())
    config = folder / "config.yaml"
    checked = load_runs({"runs": {name: options}}, "the options")[name]
    write_text(config, yaml.safe_dump({"runs": {name: options}}, sort_keys=False))
    if not run(command(root, folder, config, cores), folder):
        return False
    outputs = outputs_2d if checked.method == "isac" else outputs_3d
    by_hand = folder / f"config/selection/{name}.yaml"
    selected = bool(checked.select or checked.selection or by_hand.exists())
    write_nodes(folder, outputs(folder, folder / "results" / name, selected))
    return True
