"""Keep some class averages of one file, and list the ids of their members.

What the manual of sxisac does with e2display.py and sxprocess.py, for the candidates or
the classes of one generation.
"""

import argparse
from pathlib import Path

import numpy as np

from cryokin.errors import exit_on_input_error
from cryokin.files import atomic_folder, write_ids
from cryokin.io.eman_hdf import read_images, write_images
from cryokin.io.particles import read_particles
from cryokin.isac.selected import original_ids, read_kept


def main() -> None:
    """Take the classes that a selection names, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--run", required=True, help="name of the run")
    add("--averages", required=True, type=Path, help="class averages, .hdf")
    add("--particles", required=True, type=Path, help="particles.star of the import")
    add("--selection", type=Path, help="the user's selection; default: all classes")
    add("--folder", required=True, type=Path, help="output folder")
    arguments = parser.parse_args()
    folder = arguments.folder

    averages, headers = read_images(arguments.averages)
    numbers = list(range(1, len(headers) + 1))
    keep = numbers
    if arguments.selection is not None:
        selection = read_kept(arguments.selection, arguments.run, headers)
        keep = sorted(selection.keep)
    members = [np.atleast_1d(headers[n - 1]["members"]) for n in keep]
    first = original_ids(read_particles(arguments.particles))
    kept = [headers[n - 1] | {"class_number": n} for n in keep]
    write_images(folder / "selected.hdf", averages[[n - 1 for n in keep]], kept)
    ids = np.sort(np.concatenate([np.empty(0, np.int64), *members]))
    write_ids(folder / "isacselect.txt", ids)
    with atomic_folder(folder / "isacgroup") as place:
        for number, group in zip(keep, members, strict=True):
            write_ids(place / f"class_{number:04d}.txt", first[group])
    print(f"{len(ids)} particles in {len(keep)} of {len(headers)} classes")


if __name__ == "__main__":
    exit_on_input_error(main)
