from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryokin.files import atomic
from cryokin.image.ctf import phase_flip
from cryokin.io.mrc import StackWriter
from cryokin.io.stacks import ImageSource
from cryokin.parallel import Team

BLOCK = 64  # images that a rank flips at a time


def isac_phase_flip(*, team: Team, images: Path, flipped: Path) -> None:
    """Flip the phases of the images where their CTF is negative (an MPI program)."""
    source = ImageSource.load(images)
    shape = (source.n, source.box, source.box)

    def flip(ids: NDArray[np.intp]) -> NDArray[np.float32]:
        pairs = zip(source.read(ids), source.optics(ids) or [], strict=True)
        return np.stack(
            [phase_flip(image, source.pixel_size, **o) for image, o in pairs]
        )

    blocks = np.split(np.arange(source.n), range(BLOCK, source.n, BLOCK))
    made = team.to_leader(flip, blocks)
    if not team.leads:
        list(made)  # these ranks compute and write nothing
        return
    with (
        atomic(flipped) as partial,
        StackWriter(partial, shape, source.pixel_size) as stack,
    ):
        for ids, block in made:
            stack.write(int(ids[0]), block)
    team.log(f"{source.n} images flipped")
