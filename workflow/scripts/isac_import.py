from pathlib import Path

from cryokin.files import portable, write_json
from cryokin.io.particles import (
    canonical,
    check_images,
    has_ctf,
    notes,
    write_particles,
)
from cryokin.isac.checks import check_number, read_checked
from cryokin.options import Isac
from cryokin.provenance import sha256


def isac_import(
    *,
    particles: str,  # not Path: a bdb: name is no path, and refused by its own sentence
    options: Isac,
    table: Path,
    images: Path,
    info: Path,
) -> None:
    """Read and check the particles of a 2D run; a refused input leaves no file."""
    read, source, found = read_checked(particles, options)
    report = check_images(read)
    check_number(particles, read.n, len(report.excluded), options.img_per_grp)
    told, box = notes(read, report), source.box
    write_particles(table, canonical(read, box))
    source.save(images)
    write_json(
        info,
        {
            **found,
            "has_ctf": has_ctf(read),
            "source": portable(particles),
            "sha256": sha256(particles),
            "excluded": report.excluded,
            "warnings": told,
        },
    )
    for sentence in told:
        print(f"warning: {sentence}")
    print(f"CTF: {found['ctf']}")
    print(f"{read.n} particles of {box} x {box} pixel, {len(report.excluded)} excluded")
