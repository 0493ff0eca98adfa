from pathlib import Path

import numpy as np
import pandas as pd

from cryokin.files import atomic, read_json, write_json
from cryokin.image.geometry import take
from cryokin.io.eman_hdf import read_headers, write_images
from cryokin.io.mrc import StackWriter, open_stack
from cryokin.io.particles import read_particles
from cryokin.io.stacks import ImageSource
from cryokin.io.star import write_star
from cryokin.isac.full_size import FullAverage, full_average
from cryokin.isac.tables import alignments, class_columns
from cryokin.parallel import Team


def isac_full_averages(
    *,
    team: Team,
    images: Path,
    particles: Path,
    classes: Path,
    info: Path,
    stack: Path,
    hdf: Path,
    table: Path,
    frc: Path,
) -> None:
    """Average the classes of the original images at full size (an MPI program)."""
    source = ImageSource.load(images)
    alignment = team.from_leader(lambda: alignments(read_particles(particles)))
    headers, radius = read_headers(classes), read_json(info)["radius"]
    box, pixel = source.box, source.pixel_size

    def make(k: int) -> FullAverage:
        members = np.atleast_1d(headers[k]["members"])
        placed = take(alignment, members)
        optics = source.optics(members)
        return full_average(source.read(members), placed, radius, pixel, optics)

    averages = team.to_leader(make, range(len(headers)))
    if not team.leads:
        list(averages)  # these ranks compute and write nothing
        return
    made = []
    with (
        atomic(stack) as partial,
        StackWriter(partial, (len(headers), box, box), pixel) as writer,
    ):
        for k, average in averages:
            writer.write(k, average.image[None])
            made.append(average._replace(image=np.empty(0, np.float32)))
    new = [
        {
            "resolution": one.resolution_half,
            "resolution_0143": one.resolution,
            "frc": one.frc.astype(np.float32),
            **{f"apix_{axis}": pixel for axis in "xyz"},
        }
        for one in made
    ]
    headers = [header | more for header, more in zip(headers, new, strict=True)]
    write_images(hdf, open_stack(stack) if made else np.zeros((0, box, box)), headers)
    columns = class_columns(headers, stack)
    columns["cryokinResolution0143"] = [f"{one.resolution:.3f}" for one in made]
    write_star(table, {"classes": pd.DataFrame(columns)})
    frequency = (np.arange(box // 2) / (box * pixel)).round(6).tolist()
    curves = [one.frc.round(5).tolist() for one in made]
    write_json(frc, {"frequency": frequency, "frc": curves})
    team.log(f"{len(made)} averages of {box} x {box} pixel, {pixel:.3f} A")
