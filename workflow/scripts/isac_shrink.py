from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryokin.config import working_box
from cryokin.files import atomic, read_json, write_ids, write_json, write_text
from cryokin.io.mrc import StackWriter
from cryokin.isac.basis import polar_basis
from cryokin.isac.files import (
    open_particles,
    read_shifts,
    shrink_readme,
    working_stack_info,
)
from cryokin.isac.stack import (
    BLOCK,
    Middles,
    Shrinking,
    highpass_cutoff,
    is_blank,
    radial_power,
    told_of_filter,
    working_images,
)
from cryokin.npy import NpyWriter
from cryokin.options import Isac
from cryokin.parallel import Team


def isac_shrink(
    *,
    team: Team,
    images: Path,
    info: Path,
    flipped: Path | None = None,
    shifts: Path,
    options: Isac,
    stack: Path,
    coefficients: Path,
    stack_info: Path,
    readme: Path,
    ids: Path,
) -> None:
    """Make the working stack and its Fourier coefficients (an MPI program)."""
    source, told = open_particles(images, flipped), read_json(info)
    excluded = [entry["id"] for entry in told["excluded"]]
    moved = read_shifts(shifts)
    box = working_box(options.target_nx, options.xr)
    highpass = highpass_cutoff(options.highpass_A, source.pixel_size)
    how = Shrinking(source.box, told["radius"], options.target_radius, box, highpass)
    basis = polar_basis(options)
    analysis = basis.analysis(box)
    pixel = source.pixel_size / how.ratio

    def make(some: NDArray[np.intp]) -> tuple[NDArray[Any], NDArray[Any]]:
        pixels = source.read(some)
        pixels[np.isin(some, excluded)] = 0
        block = working_images(pixels, moved[some], how)
        return block, basis.grid(block, analysis)

    blocks = np.split(np.arange(source.n), range(BLOCK, source.n, BLOCK))
    made = team.to_leader(make, blocks)
    if not team.leads:
        list(made)  # these ranks compute and write nothing
        return
    power, middles = np.zeros(len(basis.radii)), Middles()
    shape = (source.n, len(basis.directions), len(basis.radii))
    with (
        atomic(stack) as stack_path,
        atomic(coefficients) as coefficients_path,
        StackWriter(stack_path, (source.n, box, box), pixel) as stack_file,
        NpyWriter(coefficients_path, np.complex64, shape) as coefficients_file,
    ):
        for some, (block, rows) in made:
            stack_file.write(int(some[0]), block)
            coefficients_file.write(rows)
            power += radial_power(rows, basis)
            middles.add(rows)
    write_text(readme, shrink_readme(how.ratio, how.target_radius))
    write_ids(ids, np.setdiff1d(np.arange(source.n), excluded))
    warnings = told_of_filter(power, middles.share, basis, pixel)
    made_from = working_stack_info(how, source.pixel_size, images)
    blank = is_blank(power, middles.share)
    write_json(stack_info, made_from | {"warnings": warnings, "blank": blank})
    for warning in warnings:
        team.log(f"warning: {warning}")
    team.log(f"{source.n} working images of {box} x {box} pixel, {pixel:.3f} A")
