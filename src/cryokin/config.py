"""The configuration: checked against the options, with its defaults filled in."""

from __future__ import annotations

import difflib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryokin.errors import InputError
from cryokin.files import portable
from cryokin.options import METHODS, Option, Options, options_of
from cryokin.options.subtomograms import MANY_CLASSES
from cryokin.yaml_files import read_yaml

#: Endings of the tables of subtomograms that `particles` may name.
SUBTOMOGRAM_SUFFIXES = (".xml", ".star", ".tbl")

#: Width of a sphere's edge where none is given [voxel].
EDGE = 3.0

#: No option is as large; Python's integers may be too large for any float.
LARGEST = 10**30

#: Endings of the files that `particles` may name.
PARTICLE_SUFFIXES = (
    ".star",
    ".mrcs",
    ".mrc",
    ".st",
    ".hdf",
    ".hdf5",
    ".h5",
    ".cs",
)

#: Options that make the working images, in which the poses of members are.
SAME_WHERE_EXTENDED = (
    *("radius", "diameter", "target_radius", "target_nx", "xr", "yr", "ir", "rs", "FH"),
    *("CTF", "pixel_size", "ctf_convention", "highpass_A", "center_method"),
    "skip_prealignment",
)

#: What PyTom's own rules take for options that they do not know.
BY_PYTOM: dict[str, tuple[Any, ...]] = {
    "score": ("correlation",),
    "leave_one_out": (False,),
    "clustering": ("kmeans",),
    "criterion": ("pytom",),
    "exact": (True,),
    "pose_errors": ("keep",),
    "pose_refinement": (0,),
}

#: What the name of a run may be.
RUN_NAME = re.compile("[A-Za-z0-9_][A-Za-z0-9_-]*")

#: Most rounds of annealing; each is a job.
MOST_ROUNDS = 1000

#: Particles of another run, as `particles` names them: the run, and which of its own.
REFERENCE = re.compile(
    r"run:([A-Za-z0-9_-]+)/"
    r"(unaccounted|selected(?:\.[A-Za-z0-9_-]+)?|class/[1-9]\d*)"
)

#: What was an option of sxisac and is a property of a workflow: what to do instead.
WORKFLOW_FLAGS = {
    "stop_after_candidates": "ask for the target candidates",
    "restart_section": "ask for the file or force the rule to start from",
    "use_latest_master_directory": "a run is continued by the same command again",
    "new": "sxisac ignored it",
    "debug": "every rule keeps a log below results/<run>/logs",
    "stack_file": "give the images as particles",
    "output_directory": "outputs go to results/<run>, and the name of the run is yours",
}


def load_runs(
    config: Mapping[str, Any], source: str = "config/config.yaml"
) -> dict[str, Options]:
    """Check a configuration and return its runs, complete.

    Parameters
    ----------
    config : mapping
        The configuration as it was read; values given as text, as the command line
        gives them, are understood.
    source : str, optional
        The name of the configuration in messages.

    Returns
    -------
    dict of Options
        By name of the run; of the class of its method. Two ways to write the same
        value, and an option that is left out or given its default, make no
        difference. ``yr`` is never -1.

    Raises
    ------
    InputError
        At the first key or value that cannot be used.
    """
    _refuse_unknown(config, ["runs"], f"{source}: ", "key of the top level")
    runs = config.get("runs")
    if not isinstance(runs, Mapping) or not runs:
        raise InputError(
            f"{source}: runs = {_shown(runs)} cannot be used, it must name at least one"
            " run with its options, e.g. 'runs: {demo: {method: isac, ...}}'."
        )
    loaded = {name: _load_run(name, run, source) for name, run in runs.items()}
    for name in loaded:
        _check_reference(name, loaded, source)
        _check_extended(name, loaded, source)
    return loaded


def reference(particles: str) -> tuple[str, str] | None:
    """Return the run whose particles are meant and which of them; None for a file.

    Examples
    --------
    >>> reference("run:demo/class/7")
    ('demo', 'class/7')
    >>> reference("particles.star")
    """
    found = REFERENCE.fullmatch(particles)
    return (found[1], found[2]) if found else None


def root(name: str, runs: Mapping[str, Options]) -> str:
    """Return the run that starts from a file, whose particles a run goes on with."""
    while (found := reference(runs[name].particles)) is not None:
        name = found[0]
    return name


def _check_reference(name: str, runs: Mapping[str, Options], source: str) -> None:
    """Raise `InputError` if a run takes particles of one that does not fit, or its own.

    Particles of another run are followed to the run that starts from a file.
    """
    where = f"{source}: runs.{name}.particles = {_shown(runs[name].particles)}"
    passed = [name]
    while (found := reference(runs[passed[-1]].particles)) is not None:
        other = found[0]
        if other not in runs:
            raise InputError(
                f"{where} names run {other}, but there are only {', '.join(runs)};"
                " correct the name, or add the run to the config."
            )
        if other in passed:
            raise InputError(
                f"{where} leads back to run {other}; let one of the runs start from"
                " a file."
            )
        passed.append(other)
    slabs = getattr(runs[passed[-1]], "slab", None)
    for other in passed[1:]:
        alike = (runs[other].method == "isac") == (runs[name].method == "isac")
        if not alike and not (slabs and runs[other].method == "isac"):
            raise InputError(
                f"{where} names run {other} of method {runs[other].method}, whose"
                f" particles are of another kind than method {runs[name].method}"
                " takes; name a run of the same kind, or one of slabs."
            )


def _check_extended(name: str, runs: Mapping[str, Options], source: str) -> None:
    """Raise `InputError` if a run extends one whose images are not as its own."""
    earlier = getattr(runs[name], "extends", None)
    if earlier is None:
        return
    where = f"{source}: runs.{name}.extends = {_shown(earlier)}"
    others = [run for run in runs if runs[run].method == "isac" and run != name]
    if earlier not in others:
        raise InputError(
            f"{where} must name another run of method isac, of which there are"
            f" {', '.join(others) or 'none'}; keep the earlier run in the config."
        )
    passed = [name]
    while earlier is not None:
        if earlier in passed:
            raise InputError(f"{where} leads back to run {earlier}; extend one only.")
        passed.append(earlier)
        earlier = getattr(runs[earlier], "extends", None)
    own, before = runs[name].as_dict(), runs[passed[1]].as_dict()
    for key in SAME_WHERE_EXTENDED:
        mine, theirs = own.get(key), before.get(key)
        if mine != theirs:
            raise InputError(
                f"{where}, whose {key} is {theirs}, not {mine}: its classes hold"
                f" for images made alike; set runs.{name}.{key} as there."
            )


def working_box(target_nx: int, xr: int) -> int:
    """Return the box of the working images [pixel], as the manual of sxisac has it."""
    return target_nx + max(xr - 1, 0)


def _load_run(name: Any, run: Any, source: str) -> Options:
    """Return the options of one run, checked and complete."""
    if not isinstance(name, str) or not RUN_NAME.fullmatch(name):
        raise InputError(
            f"{source}: {_shown(name)} cannot be the name of a run, which is made of"
            " letters, digits, _ and - (a number or yes/no in quotation marks)."
        )
    where = f"{source}: runs.{name}"
    if not isinstance(run, Mapping):
        raise InputError(
            f"{where} = {_shown(run)} cannot be used, it must be a mapping of options,"
            " e.g. 'method: isac'."
        )
    methods = {"description": "the method of the run", "enum": list(METHODS)}
    method = _value(run, "method", methods, where)
    known = options_of(METHODS[method])
    _refuse_unknown(run, known, f"{where}.", f"option of method {method}")
    values: dict[str, Any] = {
        key: None
        if _is_given_otherwise(run, key, option, where)
        else _value(run, key, option.schema(), where, option.unless)
        for key, option in known.items()
    }
    _CHECKS[method](values, where)
    if method != "isac":
        _check_without_effect(run, values, where)
    return METHODS[method](**values)


def check_config_files(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Raise `InputError` for configurations that do not mean what they seem to.

    What Snakemake reads takes the last of two equal keys, and aliases that refer to
    themselves.

    Parameters
    ----------
    paths : iterable of path-like
        Files in YAML, or in JSON, which is YAML.
    """
    for path in paths:
        read_yaml(path)


def draw_seeds(
    runs: dict[str, Options], results: str | os.PathLike[str] = "results"
) -> list[str]:
    """Give a run whose ``rand_seed`` is null a random one.

    The workflow keeps it in ``<results>/<run>/rand_seed.txt``, which is read if it is
    there.

    Returns
    -------
    list of str
        The runs with such a seed.

    Raises
    ------
    InputError
        If that file holds no seed.
    """
    drawn = [run for run, options in runs.items() if options.rand_seed is None]
    for run in drawn:
        path = Path(results, run, "rand_seed.txt")
        there = path.exists()
        text = path.read_text().strip() if there else str(secrets.randbelow(2**31))
        if not text.isdecimal() or len(text) > 30:
            raise InputError(
                f"{path}: holds {text[:40]!r}, expected the seed of the run, a whole"
                " number; remove it, to draw another."
            )
        runs[run] = replace(runs[run], rand_seed=int(text))
    return drawn


def _refuse_unknown(
    given: Mapping[Any, Any], known: Iterable[str], where: str, kind: str
) -> None:
    """Raise `InputError` if a key is not known, with the key that may be meant."""
    spelling = {key.lower(): key for key in known}
    for key in map(str, given):
        if key in spelling.values():
            continue
        sentence = f"{where}{key} is no {kind}"
        near = difflib.get_close_matches(key.lower(), spelling, n=1)
        if key in WORKFLOW_FLAGS:
            sentence += f": {WORKFLOW_FLAGS[key]}; see config/README.md."
        elif near:
            sentence += f", did you mean {spelling[near[0]]}?"
        else:
            sentence += "; config/README.md lists all that there are."
        raise InputError(sentence)


def _is_given_otherwise(
    run: Mapping[str, Any], key: str, option: Option, where: str
) -> bool:
    """Whether what may be given in the place of an option is given."""
    other = option.unless
    if run.get(other) is None:
        return False
    if run.get(key) is not None:
        raise InputError(
            f"{where}.{key} = {_shown(run[key])} and {other} = {_shown(run[other])} say"
            " the same in two ways; leave one of them out."
        )
    return True


def _value(
    run: Mapping[str, Any],
    key: str,
    option: Mapping[str, Any],
    where: str,
    unless: str = "",
) -> Any:
    """Return the value of an option, or its default, as the type of the option."""
    if key not in run:
        if "default" in option:
            return _as_type(option["default"], option)
        what = re.split(r"[:;.(]", option["description"])[0].strip()
        unit = f" [{option['unit']}]" if "unit" in option else ""
        otherwise = f", or {unless} [Å]" * bool(unless)
        raise InputError(
            f"{where}.{key} is missing: give {what}{unit}, {_allowed(option)}"
            f"{otherwise}."
        )
    from jsonschema import Draft202012Validator  # comes with Snakemake

    value = _as_type(run[key], option)
    if _is_plain(value) and Draft202012Validator(option).is_valid(value):
        return value
    raise InputError(
        f"{where}.{key} = {_shown(run[key])} cannot be used, it must be"
        f" {_allowed(option)}."
    )


def _is_plain(value: Any) -> bool:
    """Whether all numbers in a value are finite and of a size, all text one line."""
    if isinstance(value, Mapping):
        return all(_is_plain(part) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, str):
        return value.isprintable()
    # A comparison with nan is false.
    return not isinstance(value, int | float) or abs(value) <= LARGEST


def _as_type(value: Any, option: Mapping[str, Any]) -> Any:
    """Return a value as the type of its option; as it is where that is impossible."""
    kind = _kind(option)
    if isinstance(value, str) and kind not in ("string", ""):
        # 1e-3 is text in YAML 1.1, and so is whatever stands on the command line.
        value = _number_or_word(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if not abs(value) <= LARGEST:
        return value
    if kind == "integer" and value == int(value):
        return int(value)
    return float(value) if kind == "number" else value


def _number_or_word(text: str) -> Any:
    """Return text as the number or the YAML word it spells; else as it is."""
    words = {"true": True, "false": False, "null": None}
    if text.strip().lower() in words:
        return words[text.strip().lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _kind(option: Mapping[str, Any]) -> str:
    """Return the name of the type of an option, without the null it may also be."""
    kind = option.get("type", "")
    return str(kind if isinstance(kind, str) else kind[0])


def _allowed(option: Mapping[str, Any]) -> str:
    """Return the values that an option may have, in words."""
    if "examples" in option:
        words = (e if e.startswith("the ") else f"e.g. {e}" for e in option["examples"])
        return " or ".join(words) + " or null" * ("null" in option["type"])
    if "enum" in option:
        return "one of " + ", ".join(map(str, option["enum"]))
    if _kind(option) == "boolean":
        return "auto, true or false" if "pattern" in option else "true or false"
    if _kind(option) == "string":
        return "the path of a file"
    bounds = [
        f"{words} {option[keyword]:g}"
        for keyword, words in (
            ("minimum", "of at least"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "below"),
        )
        if keyword in option
    ]
    noun = "an integer" if _kind(option) == "integer" else "a number"
    return f"{noun} {' and '.join(bounds)}".strip()


def _shown(value: Any) -> str:
    """Return a value as it would be written, cut where it is long."""
    try:
        text = json.dumps(value, default=str, ensure_ascii=False)
    except ValueError:  # Python writes no integer of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _file(path: str, where: str) -> str:
    """Return the path of a file, the same however it is written.

    Raises
    ------
    InputError
        If Snakemake would take a part of it for a wildcard.
    """
    if re.search(r"[{}]", path):
        raise InputError(
            f"{where} = {_shown(path)} cannot be used, Snakemake takes {{ and }} in the"
            " name of a file for a wildcard; give the file or its folder another name,"
            " or a link without them."
        )
    name = portable(os.path.expanduser(path))
    # The scripts would take it for an option.
    return os.path.abspath(name) if name.startswith("-") else name


def _check_isac(run: dict[str, Any], where: str) -> None:
    """Fill in ``yr``, and raise `InputError` for options that contradict each other."""
    if run["yr"] == -1:
        run["yr"] = run["xr"]
    _check_particles(run, where)
    if isinstance(run["tilted"], str):
        run["tilted"] = {"particles": run["tilted"], "match": None}
    for values, key in ((run, "selection"), (run["tilted"] or {}, "particles")):
        if isinstance(values.get(key), str):
            values[key] = _file(values[key], f"{where}.{key}")
    box, reach = working_box(run["target_nx"], run["xr"]), max(run["xr"], run["yr"])
    smallest = 2 * (run["target_radius"] + reach + 1)
    for fits, key, sentence in (
        (
            run["main_iter"] % run["iter_reali"] == 0,
            "iter_reali",
            f"must divide main_iter = {run['main_iter']}",
        ),
        (
            run["slab"] is None or not (run["CTF"] is True or run["tilted"]),
            "slab",
            "must be null with CTF or tilted, which are of projections",
        ),
        (
            run["FL"] < run["FH"],
            "FL",
            f"must be below FH = {run['FH']:g}",
        ),
        (
            run["ir"] < run["target_radius"],
            "ir",
            f"must be below target_radius = {run['target_radius']}",
        ),
        (
            run["thld_grp"] <= run["img_per_grp"],
            "thld_grp",
            f"must be at most img_per_grp = {run['img_per_grp']}, or no class could"
            " ever be large enough",
        ),
        (
            box >= smallest,
            "target_nx",
            f"must be at least {smallest - box + run['target_nx']}, so that a particle"
            f" of target_radius = {run['target_radius']} stays inside the box when the"
            f" search shifts it by {reach} pixel",
        ),
    ):
        if not fits:
            raise InputError(
                f"{where}.{key} = {_shown(run[key])} cannot be used, it {sentence}."
            )


def _check_particles(run: dict[str, Any], where: str) -> None:
    """Raise `InputError` for particles of a kind that cannot be read."""
    particles = run["particles"]
    what = f"{where}.particles = {_shown(particles)}"
    slabs = run["slab"] is not None
    if _is_reference(particles, where):
        if slabs:
            raise InputError(
                f"{where}.slab = {_shown(run['slab'])} cannot be used with particles of"
                " another run, whose images are there; give subtomograms, or leave slab"
                " out."
            )
        return
    if particles.startswith("bdb:"):
        name = re.split(r"[:/#]", particles)[-1]
        raise InputError(
            f"{what} is a BDB database, which only EMAN2 can read: convert it by"
            f" 'e2proc2d.py {particles} {name}.hdf' and give {name}.hdf."
        )
    suffixes = SUBTOMOGRAM_SUFFIXES if slabs else PARTICLE_SUFFIXES
    if not particles.lower().endswith(suffixes):
        raise InputError(
            f"{what} cannot be read, its name must end in one of {', '.join(suffixes)}."
        )
    run["particles"] = _file(particles, f"{where}.particles")


def _is_reference(particles: str, where: str) -> bool:
    """Whether another run's particles are meant; `InputError` if not clear which."""
    if not particles.startswith("run:"):
        return False
    if reference(particles) is None:
        raise InputError(
            f"{where}.particles = {_shown(particles)} cannot be used, particles of"
            " another run are named run:<run>/unaccounted, run:<run>/selected or"
            " run:<run>/class/7."
        )
    return True


def _check_subtomograms(run: dict[str, Any], where: str) -> None:
    """Complete a run for subtomograms, and raise `InputError` for contradictions."""
    particles = run["particles"]
    table = particles.lower().endswith(SUBTOMOGRAM_SUFFIXES)
    if not _is_reference(particles, where) and not table:
        raise InputError(
            f"{where}.particles = {_shown(particles)} cannot be read, its name must end"
            f" in one of {', '.join(SUBTOMOGRAM_SUFFIXES)}."
        )
    files = ("particles", "tomograms", "mask", "focus_mask", "ccc", "selection")
    for key in files:
        if isinstance(run.get(key), str) and not run[key].startswith("run:"):
            run[key] = _file(run[key], f"{where}.{key}")
    for key in ("mask", "focus_mask"):
        if isinstance(run[key], Mapping):
            given = {"edge": EDGE} | run[key]["sphere"]
            sizes = ("radius", "diameter", "edge")
            sphere: dict[str, Any] = {k: float(given[k]) for k in sizes if k in given}
            if "centre" in given:
                sphere["centre"] = [float(place) for place in given["centre"]]
            run[key] = {"sphere": sphere}
    if run["wedge"] is not None:
        run["wedge"] = {"angles": [float(angle) for angle in run["wedge"]["angles"]]}
    if run["nclass"] == "auto":
        run["nclass"] = MANY_CLASSES
        run["merge"] = run["merge"] or {"number": "auto"}
    if run["merge"] is not None:
        _check_merge(run, where)
    # PyTom's own way knows no start from CPCA.
    rounds = run.get("temperature", 0.0) / run.get("temperature_step", 1.0)
    random = run["method"] != "cpca" and (
        run["start_from"] == "random"
        or (run["start_from"] == "cpca" and run["compat"] == "pytom")
    )
    for fits, key, sentence in (
        (
            None in (run["highpass"], run["lowpass"])
            or run["highpass"] < run["lowpass"],
            "highpass",
            f"must be below lowpass = {run['lowpass'] or 0:g}",
        ),
        (
            None in (run["highpass_A"], run["lowpass_A"])
            or run["highpass_A"] > run["lowpass_A"],
            "highpass_A",
            f"must be above lowpass_A = {run['lowpass_A'] or 0:g}",
        ),
        (
            not random or run["starts"] > 0,
            "starts",
            "must be at least 1 where every start is random",
        ),
        (
            run["focus_mask"] is None or run["compat"] == "none",
            "focus_mask",
            "must be null under compat: pytom, which knows one mask",
        ),
        (
            run["focus_mask"] is None or run["symmetry"] in (None, "C1"),
            "focus_mask",
            "must be null with symmetry, which what differs in one place has not",
        ),
        (
            rounds <= MOST_ROUNDS,
            "temperature_step",
            f"must be at least temperature / {MOST_ROUNDS}, the most rounds there are",
        ),
    ):
        if not fits:
            raise InputError(
                f"{where}.{key} = {_shown(run[key])} cannot be used, it {sentence}."
            )


def _check_without_effect(
    given: Mapping[str, Any], run: dict[str, Any], where: str
) -> None:
    """Raise `InputError` for an option that is given and would change nothing."""
    if run.get("exact") and run["compat"] == "none":
        if given.get("pose_errors") == "project":
            raise InputError(
                f"{where}.pose_errors = {_shown('project')} cannot be used, it must be"
                " keep with exact: true, which correlates the particles themselves."
            )
        run["pose_errors"] = "keep"
    if run["compat"] == "none":
        return
    taken = dict(BY_PYTOM)
    if run["method"] == "mco_exmx":
        taken |= {"start_from": ("labels",), "starts": (1,)}
    if run["method"] == "mco_ac":
        taken |= {"start_from": ("labels", "random")}
    for key, values in taken.items():
        if key in given and key in run and run[key] not in values:
            raise InputError(
                f"{where}.{key} = {_shown(run[key])} cannot be used, it must be"
                f" {' or '.join(map(_shown, values))} under compat: pytom, or be left"
                " out."
            )


def _check_merge(run: dict[str, Any], where: str) -> None:
    """Complete the merging, and refuse more than one way to cut the tree."""
    ways = [key for key in ("number", "height", "groups") if key in run["merge"]]
    if len(ways) != 1:
        raise InputError(
            f"{where}.merge = {_shown(run['merge'])} cannot be used, it must have"
            " exactly one of number, height and groups."
        )
    linkage = "average" if run["merge"].get("manual_compat") else "significance"
    whole = {"linkage": linkage, "manual_compat": False} | run["merge"]
    run["merge"] = {key: whole[key] for key in sorted(whole)}


#: What no schema can say, by method.
_CHECKS: dict[str, Callable[[dict[str, Any], str], None]] = {
    "isac": _check_isac,
    "cpca": _check_subtomograms,
    "mco_exmx": _check_subtomograms,
    "mco_ac": _check_subtomograms,
}
