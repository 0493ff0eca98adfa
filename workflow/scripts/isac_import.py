"""Read and check the particles of a 2D run; write what the later steps read."""

from __future__ import annotations

import argparse
from pathlib import Path

from cryokin.errors import InputError, exit_on_input_error
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
from cryokin.provenance import sha256


def parse_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    # Text, not Path: a bdb: name is no path, and must be refused by its own sentence.
    parser.add_argument("--particles", required=True, help="table or stack")
    parser.add_argument("--table", type=Path, required=True, help="output, .star")
    parser.add_argument("--source", type=Path, required=True, help="output, .npz")
    parser.add_argument("--info", type=Path, required=True, help="output, .json")
    parser.add_argument("--need-ctf", action="store_true", help="refuse without CTF")
    parser.add_argument("--pixel-size", type=float, help="instead of the table's [A]")
    parser.add_argument("--ctf-convention", choices=("eman2", "sphire"))
    parser.add_argument("--radius", type=int, help="of the particle [pixel]")
    parser.add_argument("--img-per-grp", type=int, help="particles per class")
    return parser.parse_args()


def check_radius(particles: str, radius: int, box: int) -> None:
    """Refuse a particle that does not fit its image."""
    largest = box // 2 - 1
    if not 1 <= radius <= largest:
        raise InputError(
            f"{particles}: radius = {radius} pixel does not fit the box of {box} pixel"
            f" (allowed: 1 to {largest}); change radius in the configuration or"
            " extract the particles in a larger box."
        )


def check_number(particles: str, n: int, excluded: int, img_per_grp: int) -> None:
    """Refuse fewer particles than classes can be made of."""
    if n - excluded < 4 * img_per_grp:
        without = f" (without {excluded} constant or not finite)" if excluded else ""
        raise InputError(
            f"{particles}: {n - excluded} usable particles{without} are too few for"
            f" img_per_grp = {img_per_grp} (at least {4 * img_per_grp}, four classes);"
            " lower img_per_grp in the configuration or give more particles."
        )


def main() -> None:
    """Check first, then write: a refused input leaves no file behind."""
    args = parse_arguments()
    table = read_particles(
        args.particles, pixel_size=args.pixel_size, ctf_convention=args.ctf_convention
    )
    box = image_box(table)
    source = image_source(table, box, with_ctf=args.need_ctf)
    if args.radius is not None:
        check_radius(args.particles, args.radius, box)
    if args.img_per_grp is not None:
        check_number(args.particles, table.n, 0, args.img_per_grp)
    report = check_images(table)
    excluded = report.excluded
    if args.img_per_grp is not None:
        check_number(args.particles, table.n, len(excluded), args.img_per_grp)
    told = notes(table, report)
    write_particles(args.table, canonical(table, box))
    source.save(args.source)
    write_json(
        args.info,
        {
            "n": table.n,
            "box": box,
            "pixel_size": table.pixel_size,
            "has_ctf": has_ctf(table),
            "source": portable(args.particles),
            "sha256": sha256(args.particles),
            "excluded": excluded,
            "warnings": told,
        },
    )
    for sentence in told:
        print(f"warning: {sentence}")
    print(f"{table.n} particles of {box} x {box} pixel, {len(excluded)} excluded")


if __name__ == "__main__":
    exit_on_input_error(main)
