from pathlib import Path

from cryokin.files import portable, write_json
from cryokin.io.particles import (
    canonical,
    check_images,
    has_ctf,
    image_box,
    image_source,
    notes,
    read_particles,
    write_particles,
)
from cryokin.isac.checks import check_number, check_radius
from cryokin.options import Isac
from cryokin.provenance import sha256


def isac_import(
    *,
    particles: str,  # not Path: a bdb: name is no path, and refused by its own sentence
    options: Isac,
    img_per_grp: int,
    table: Path,
    images: Path,
    info: Path,
) -> None:
    """Read and check the particles of a 2D run; a refused input leaves no file."""
    convention = options.ctf_convention
    read = read_particles(
        particles,
        pixel_size=options.pixel_size,
        ctf_convention=None if convention == "auto" else convention,
    )
    box = image_box(read)
    source = image_source(read, box, with_ctf=options.CTF)
    check_radius(particles, options.radius, box)
    check_number(particles, read.n, 0, img_per_grp)
    report = check_images(read)
    check_number(particles, read.n, len(report.excluded), img_per_grp)
    told = notes(read, report)
    write_particles(table, canonical(read, box))
    source.save(images)
    write_json(
        info,
        {
            "n": read.n,
            "box": box,
            "pixel_size": read.pixel_size,
            "has_ctf": has_ctf(read),
            "source": portable(particles),
            "sha256": sha256(particles),
            "excluded": report.excluded,
            "warnings": told,
        },
    )
    for sentence in told:
        print(f"warning: {sentence}")
    print(f"{read.n} particles of {box} x {box} pixel, {len(report.excluded)} excluded")
