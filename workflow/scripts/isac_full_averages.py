"""Average the classes of the original images at full size (an MPI program)."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from cryokin.errors import exit_on_input_error
from cryokin.files import atomic, write_json
from cryokin.image.geometry import Alignment, from_relion, take
from cryokin.io.eman_hdf import read_headers, write_images
from cryokin.io.mrc import StackWriter, open_stack
from cryokin.io.particles import read_particles
from cryokin.io.stacks import ImageSource
from cryokin.io.star import write_star
from cryokin.isac.full_size import FullAverage, full_average
from cryokin.isac.tables import class_columns
from cryokin.parallel import world


def read_alignment(path: Path) -> Alignment:
    """Return the alignments of all particles [pixel], as the table has them."""
    table = read_particles(path)
    origin = [table.numbers(f"rlnOrigin{axis}Angst") for axis in "XY"]
    centre = -np.stack(origin, axis=-1) / table.pixel_size
    return from_relion(
        table.numbers("rlnAnglePsi"), centre, table.numbers("rlnIsFlip") > 0
    )


def main() -> None:
    """Have all ranks average classes, and one write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--images", required=True, type=Path, help="images.npz of the import")
    add("--particles", required=True, type=Path, help="particles.star of the run")
    add("--classes", required=True, type=Path, help="class_averages.hdf")
    add("--radius", required=True, type=int, help="of the particle [pixel]")
    add("--stack", required=True, type=Path, help="output, .mrcs")
    add("--hdf", required=True, type=Path, help="output, .hdf")
    add("--table", required=True, type=Path, help="output, .star")
    add("--frc", required=True, type=Path, help="output, .json")
    add("--ranks", required=True, type=int, help="MPI ranks that were asked for")
    arguments = parser.parse_args()

    team = world(arguments.ranks)
    source = ImageSource.load(arguments.images)
    alignment = team.from_leader(lambda: read_alignment(arguments.particles))
    headers = read_headers(arguments.classes)
    box, pixel = source.box, source.pixel_size

    def make(k: int) -> FullAverage:
        members = np.atleast_1d(headers[k]["members"])
        optics = None
        if source.ctf is not None:
            names = source.ctf.dtype.names
            rows = source.ctf[members]
            optics = [{n: float(row[n]) for n in names} for row in rows]
        return full_average(
            source.read(members),
            take(alignment, members),
            arguments.radius,
            pixel,
            optics,
        )

    averages = team.to_leader(make, range(len(headers)))
    if not team.leads:
        list(averages)  # these ranks compute and write nothing
        return
    made = []
    with (
        atomic(arguments.stack) as partial,
        StackWriter(partial, (len(headers), box, box), pixel) as stack,
    ):
        for k, average in averages:
            stack.write(k, average.image[None])
            made.append(average._replace(image=None))
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
    images = open_stack(arguments.stack) if made else np.zeros((0, box, box))
    write_images(arguments.hdf, images, headers)
    columns = class_columns(headers, arguments.stack.name)
    columns["cryokinResolution0143"] = [f"{one.resolution:.3f}" for one in made]
    write_star(arguments.table, {"classes": pd.DataFrame(columns)})
    frequency = (np.arange(box // 2) / (box * pixel)).round(6).tolist()
    curves = [one.frc.round(5).tolist() for one in made]
    write_json(arguments.frc, {"frequency": frequency, "frc": curves})
    team.log(f"{len(made)} averages of {box} x {box} pixel, {pixel:.3f} A")


if __name__ == "__main__":
    exit_on_input_error(main)
