from pathlib import Path

import numpy as np

from cryokin.files import atomic_folder, write_ids
from cryokin.io.eman_hdf import read_images, write_images
from cryokin.io.particles import read_particles
from cryokin.isac.selected import original_ids, read_kept


def isac_select_averages(
    *,
    run: str,
    averages: Path,
    particles: Path,
    selection: Path | None = None,
    selected: Path,
    ids: Path,
    groups: Path,
) -> None:
    """Keep some class averages of one file, or all, and list the ids of their members.

    What the manual of sxisac does with e2display.py and sxprocess.py, for candidates or
    classes of one generation.
    """
    images, headers = read_images(averages)
    keep = list(range(1, len(headers) + 1))
    if selection is not None:
        keep = sorted(map(int, read_kept(selection, run, headers).keep))
    members = [np.atleast_1d(headers[n - 1]["members"]) for n in keep]
    first = original_ids(read_particles(particles))
    kept = [headers[n - 1] | {"class_number": n} for n in keep]
    write_images(selected, images[[n - 1 for n in keep]], kept)
    together = np.sort(np.concatenate([np.empty(0, np.int64), *members]))
    write_ids(ids, together)
    with atomic_folder(groups) as place:
        for number, group in zip(keep, members, strict=True):
            write_ids(place / f"class_{number:04d}.txt", first[group])
    print(f"{len(together)} particles in {len(keep)} of {len(headers)} classes")
