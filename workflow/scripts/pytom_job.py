"""Turn a classification job of PyTom (class.xml) into a run of the configuration.

    python workflow/scripts/pytom_job.py JOB.xml > my.yaml

The job's particles are written to JOB_particles.xml beside it, unless it names a list.
"""

import argparse
import sys
from pathlib import Path

import yaml

from cryokin.errors import InputError, exit_on_input_error
from cryokin.io.pytom_xml import read_job, write_particle_list
from cryokin.io.volumes import read_size

CRITERIA = {"MetropolisCriterion": "metropolis", "ThresholdAcceptance": "threshold"}
UNITS = {"SigmaTemperature": "sigma", "AnnealingTemperature": "score"}


def mask_of(job: Path, name: str) -> Path:
    """Return where the mask is: as named from here or from the job, or beside it."""
    places = (Path(name), job.parent / name, job.parent / Path(name).name)
    for place in places:
        if place.is_file():
            return place.resolve()
    raise InputError(
        f"{job}: the mask {name} is not there, nor beside the job; call this in the"
        " folder where the job was made."
    )


def main() -> None:
    """Read the job, write its particles, print the configuration."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("job", type=Path, help="MCOEXMXJob or MCOACJob, .xml")
    parser.add_argument("--name", default="job", help="of the run")
    parser.add_argument(
        "--compat", default="none", choices=("none", "pytom"), help="whose rules"
    )
    arguments = parser.parse_args()
    job = read_job(arguments.job)
    for wrong, what in (
        (job["symmetry"] > 1, f"symmetry of {job['symmetry']}"),
        (job["frm_alignment"], "FRMAlignment"),
        (job["adaptive_resolution"], "AdaptiveResolution"),
    ):
        if wrong:
            raise InputError(
                f"{arguments.job}: {what} is not supported; take it out of the job."
            )
    if not job["particles"]:
        raise InputError(f"{arguments.job}: there is no particle in it.")
    folder = arguments.job.parent
    listed = arguments.job.with_name(f"{arguments.job.stem}_particles.xml")
    write_particle_list(listed, job["particles"])
    run = {
        "method": job["method"],
        "particles": str(listed.absolute()),
        "mask": str(mask_of(arguments.job, job["mask"])),
        "lowpass": job["highest_frequency"],
        "highpass": job["lowest_frequency"],
        "binning": job["binning"],
        "nclass": job["nclass"],
        "end_threshold": job["end_threshold"],
        "compat": arguments.compat,
        "start_from": "labels" if arguments.compat == "pytom" else "cpca",
    }
    if job["highest_frequency"] <= 1:  # fractions of the box
        (_, _, box), _ = read_size(folder / job["particles"][0].file)
        for key in ("lowpass", "highpass"):
            run[key] = min(run[key] * box / job["binning"], box / job["binning"] / 2)
    if job["pixel_size"] > 0:
        run["pixel_size"] = job["pixel_size"]
    if job["method"] == "mco_exmx":
        run["iterations"] = job["iterations"]
    else:
        if job["criterion"] not in CRITERIA:
            raise InputError(
                f"{arguments.job}: the criterion {job['criterion']} is unknown (known:"
                f" {', '.join(CRITERIA)}); correct the job."
            )
        run |= {
            "temperature": job["temperature"],
            "temperature_step": job["temperature_step"],
            "temperature_unit": UNITS.get(job["temperature_type"], "sigma"),
            "local_iterations": max(job["local_iterations"], 1),
            "criterion": CRITERIA[job["criterion"]],
            "allow_class_collapse": job["allow_class_collapse"],
        }
    yaml.safe_dump({"runs": {arguments.name: run}}, sys.stdout, sort_keys=False)


if __name__ == "__main__":
    exit_on_input_error(main)
