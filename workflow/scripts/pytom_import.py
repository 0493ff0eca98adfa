from dataclasses import asdict
from pathlib import Path

from cryokin.files import portable, read_json, write_json
from cryokin.io.subtomograms import load, read_subtomograms
from cryokin.options import SubtomogramOptions
from cryokin.provenance import sha256
from cryokin.script import Folder
from cryokin.subtomo.checks import check_number, check_rules, look, mask_warnings
from cryokin.subtomo.mask import make_mask


def pytom_import(
    *,
    particles: Path,
    other: Path | None = None,
    options: SubtomogramOptions,
    nclass: int,
    folder: Folder,
) -> None:
    """Read and check subtomograms; a refused input leaves no file.

    ``other`` is the import.json of the run whose list the particles are.
    """
    angles = options.wedge["angles"] if options.wedge else None
    if other is None:
        size, tomograms = options.pixel_size, options.tomograms
        table = read_subtomograms(particles, None, size, angles, tomograms)
    else:
        info = read_json(other)
        table = load(
            particles.with_suffix(""),
            info["box"],
            options.pixel_size or info["pixel_size"],
            info.get("weight_scale", 1.0),
            options.tomograms or info.get("tomograms", ""),
        ).with_wedges(angles)
    check_rules(particles, table, options.compat)
    mask = make_mask(options.mask, table.box, options.binning)
    found = look(table, options.compat == "pytom" and options.method != "cpca")
    n = len(table) - len(found.excluded)
    check_number(particles, n, found, nclass)
    found.warnings += mask_warnings(options.mask, mask, table.pixel_size)
    table.write(folder / "particles")
    write_json(
        folder / "import.json",
        {
            "n": n,
            "box": table.box,
            "pixel_size": table.pixel_size,
            "weight_scale": table.weight_scale,
            "tomograms": table.tomograms,
            "source": portable(particles),
            "sha256": sha256(particles),
            **asdict(found),
        },
    )
    print(f"{n} subtomograms of {table.box} voxels")
    for warning in found.warnings:
        print(f"warning: {warning}")
