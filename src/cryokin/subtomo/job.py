"""Classification jobs of PyTom (class.xml) as runs of the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from cryokin.config import load_runs
from cryokin.errors import InputError
from cryokin.io.pytom_xml import read_job, write_particle_list
from cryokin.io.volumes import read_size
from cryokin.volume.resample import binned_size

Compat = Literal["none", "pytom"]

CRITERIA = {"MetropolisCriterion": "metropolis", "ThresholdAcceptance": "threshold"}
UNITS = {"SigmaTemperature": "sigma", "AnnealingTemperature": "score"}


def find(job: Path, name: str, what: str) -> Path:
    """Return where a file is: as named from here or from the job, or beside it."""
    places = (Path(name), job.parent / name, job.parent / Path(name).name)
    # A job in a folder of its own names files as seen from the folder of the project.
    above = (folder / name for folder in job.absolute().parents)
    for place in (*places, *above):
        if place.is_file():
            return place.resolve()
    raise InputError(
        f"{job}: the {what} {name} is not there, nor beside the job; call this in the"
        " folder where the job was made."
    )


def refused(job: Mapping[str, Any], by_pytom: bool) -> Iterator[str]:
    """Yield what the job asks for and no run can do."""
    if job["symmetry_type"] == "HelicalSymmetry":
        yield "HelicalSymmetry"
    elif job["symmetry"] not in range(1, 100):
        yield f"symmetry of {job['symmetry']:g}"
    elif job["symmetry"] > 1 and (job["symmetry_z2"] or job["symmetry_x"]):
        yield "an axis of symmetry that is not along z"
    if job["frm_alignment"]:
        yield "FRMAlignment"
    if job["adaptive_resolution"]:
        yield "AdaptiveResolution"
    if job["unknown"]:
        yield job["unknown"][0]
    if by_pytom:
        yield from by_pytom_alone(job)


def different(job: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a run does in its own way."""
    if job["score"] != "FLCFScore":
        yield f"Score {job['score']}"
    if job["smooth"] > 0:
        yield f"Bandpass Smooth {job['smooth']:g}"
    if not job["mask_is_sphere"]:
        yield "a mask that is no sphere (isSphere), turned with the particles,"


def by_pytom_alone(job: Mapping[str, Any]) -> Iterator[str]:
    """Yield what PyTom's own rules, as a run has them, cannot do."""
    yield from different(job)
    if job.get("criterion") == "ThresholdAcceptance":
        yield "ThresholdAcceptance under --compat pytom"


def band(job: Mapping[str, Any], path: Path) -> tuple[float, float]:
    """Return the ends of the band [Fourier pixel], the upper one inside the box."""
    low, high = job["lowest_frequency"], job["highest_frequency"]
    try:
        first = find(path, job["particles"][0].file, "particle")
    except InputError:
        if high <= 1:
            raise
        return low, high  # the particles may be elsewhere
    size = binned_size(read_size(first)[0][-1], job["binning"])
    if high <= 1:  # fractions of the box
        low, high = low * size, high * size
    return low, min(high, size // 2)


def run_of(
    job: Mapping[str, Any], path: Path, listed: Path, compat: Compat
) -> dict[str, Any]:
    """Return the options of the run."""
    low, high = band(job, path)
    run = {
        "method": job["method"],
        "particles": str(listed.absolute()),
        "mask": str(find(path, job["mask"], "mask")),
        "lowpass": high,
        "highpass": low,
        "binning": job["binning"],
        "nclass": job["nclass"],
        "end_threshold": job["end_threshold"],
        "compat": compat,
        # PyTom starts from the classes of the list where it has several.
        "start_from": "labels"
        if compat == "pytom" or len({p.label for p in job["particles"]}) > 1
        else "cpca",
    }
    if job["symmetry"] > 1:
        run["symmetry"] = f"C{job['symmetry']:g}"
    if job["pixel_size"] > 0:
        run["pixel_size"] = job["pixel_size"]
    if job["method"] == "mco_exmx":
        return run | {"iterations": job["iterations"]}
    for key, known in (("criterion", CRITERIA), ("temperature_type", UNITS)):
        if job[key] not in known:
            raise InputError(
                f"{path}: the {key.removesuffix('_type')} {job[key]} is unknown (known:"
                f" {', '.join(known)}); correct the job."
            )
    return run | {
        "temperature": job["temperature"],
        "temperature_step": job["temperature_step"],
        "temperature_unit": UNITS[job["temperature_type"]],
        "local_iterations": max(job["local_iterations"], 1),
        "criterion": "pytom" if compat == "pytom" else CRITERIA[job["criterion"]],
        "allow_class_collapse": job["allow_class_collapse"],
    }


def convert(
    path: Path, name: str = "job", compat: Compat = "none"
) -> tuple[dict[str, Any], list[str]]:
    """Return the configuration of a job; write its particles beside it.

    They go to ``<job>_particles.xml``.

    Parameters
    ----------
    path : Path
        MCOEXMXJob or MCOACJob, ``.xml``.
    name : str, optional
        Of the run.
    compat : str, optional
        Whose rules the run has.

    Returns
    -------
    config : dict
    told : list of str
        What of the job the run does not use.

    Raises
    ------
    InputError
        If no run can do what the job says.
    """
    job = read_job(path)
    for what in refused(job, compat == "pytom"):
        raise InputError(f"{path}: {what} is not supported; take it out of the job.")
    if not job["particles"]:
        raise InputError(f"{path}: there is no particle in it; list them in the job.")
    listed = path.with_name(f"{path.stem}_particles.xml")
    config = {"runs": {name: run_of(job, path, listed, compat)}}
    load_runs(config, str(path))
    write_particle_list(listed, job["particles"])
    return config, list(different(job))
