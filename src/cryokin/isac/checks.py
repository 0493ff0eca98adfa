"""What particles a run of ISAC can use."""

from __future__ import annotations

import os

from cryokin.errors import InputError


def check_radius(particles: str | os.PathLike[str], radius: int, box: int) -> None:
    """Raise `InputError` where a particle does not fit its image [pixel]."""
    largest = box // 2 - 1
    if not 1 <= radius <= largest:
        raise InputError(
            f"{particles}: radius = {radius} pixel does not fit the box of {box} pixel"
            f" (allowed: 1 to {largest}); change radius in the config or"
            " extract the particles in a larger box."
        )


def check_number(
    particles: str | os.PathLike[str], n: int, excluded: int, img_per_grp: int
) -> None:
    """Raise `InputError` where n images without the excluded make too few classes."""
    if n - excluded < 4 * img_per_grp:
        without = f" (without {excluded} constant or not finite)" if excluded else ""
        raise InputError(
            f"{particles}: {n - excluded} usable particles{without} are too few for"
            f" img_per_grp = {img_per_grp} (at least {4 * img_per_grp}, four classes);"
            " lower img_per_grp in the config or give more particles."
        )
