from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryokin.files import read_json
from cryokin.io.eman_hdf import read_images, write_images
from cryokin.isac.files import open_particles, read_shifts, write_shifts
from cryokin.isac.join import check_begins_with
from cryokin.isac.prealign import centres_by, prealign, unaligned_average
from cryokin.isac.stack import Shrinking, highpass_cutoff, shrink
from cryokin.options import Isac
from cryokin.parallel import Team


def isac_prealign(
    *,
    team: Team,
    images: Path,
    info: Path,
    flipped: Path | None = None,
    known_images: Path | None = None,
    known_average: Path | None = None,
    known_shifts: Path | None = None,
    options: Isac,
    average: Path,
    shifts: Path,
) -> None:
    """Align all images to their common average, to find centres (an MPI program).

    The images of an earlier run (``known``) stay as they are, and so does its average.
    """
    source, told = open_particles(images, flipped), read_json(info)
    radius = options.target_radius
    highpass = highpass_cutoff(options.highpass_A, source.pixel_size)
    how = Shrinking(source.box, told["radius"], radius, source.box, highpass)
    excluded = [entry["id"] for entry in told["excluded"]]
    usable = np.setdiff1d(np.arange(source.n), excluded)
    found = np.zeros((source.n, 2))

    def read(numbers: NDArray[np.intp]) -> NDArray[np.float32]:
        return shrink(source.read(usable[numbers]), how)

    if options.skip_prealignment:
        common = unaligned_average(team, read, len(usable))
    elif known_images and known_average and known_shifts:
        n = check_begins_with(images, known_images)
        common = read_images(known_average)[0][0]
        centres = centres_by(team, read, len(usable), common, radius)
        found[usable] = -centres / how.ratio
        found[:n] = read_shifts(known_shifts)
    else:
        aligned = prealign(
            team, read, len(usable), how.whole, radius, options.center_method
        )
        common, found[usable] = aligned.reference, -aligned.centres / how.ratio
    if team.leads:
        pixel = source.pixel_size / how.ratio
        header = {f"apix_{axis}": pixel for axis in "xyz"} | {"n_objects": len(usable)}
        write_images(average, common[None], [header])
        write_shifts(shifts, found)
    team.log(f"shifts of {np.sqrt(np.mean(np.sum(found**2, axis=1))):.2f} pixel (rms)")
