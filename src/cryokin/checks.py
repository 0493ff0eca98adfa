"""What can be said of a run before any job: whatever follows from tables and headers.

The imports check the same by the same functions; here it is said before they start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryokin.options import Isac, Options, SubtomogramOptions


def check_run(
    options: Options, particles: str, other: Path | None = None
) -> dict[str, Any]:
    """Raise `InputError` if a run cannot start from its particles.

    Parameters
    ----------
    options : Options
        Of the run, complete.
    particles : str
        File of its particles.
    other : Path, optional
        The ``import.json`` of the run whose list they are.

    Returns
    -------
    dict
        What the run depends on, under the names of ``import.json``.
    """
    # Only now: Snakemake itself loads this module, and may have no NumPy.
    from cryokin.isac import checks as images
    from cryokin.isac.slabs import check_thickness, read_for_slabs
    from cryokin.subtomo import checks as volumes

    if isinstance(options, Isac) and options.slab:
        table = read_for_slabs(particles, options.pixel_size)
        check_thickness(table, options.slab)
        pixel = table.pixel_size or 1.0
        return images.check_fit(particles, options, len(table), table.box, pixel)
    if isinstance(options, Isac):
        return images.read_checked(particles, options).told
    assert isinstance(options, SubtomogramOptions)
    return volumes.read_checked(Path(particles), options, other).told


def resolved(options: Options, told: Mapping[str, Any]) -> Options:
    """Return the options of a run with what ``import.json`` adds: lengths, the CTF."""
    if isinstance(options, Isac):
        # What an earlier version wrote has neither.
        radius, flips = told.get("radius", options.radius), told.get("flips", False)
        return replace(options, radius=radius, CTF=flips)
    assert isinstance(options, SubtomogramOptions)
    return options.scaled(told["box"], told.get("pixel_size"))
