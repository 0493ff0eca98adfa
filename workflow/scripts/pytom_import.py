from dataclasses import asdict
from pathlib import Path

from cryokin.files import portable, write_json
from cryokin.options import SubtomogramOptions
from cryokin.provenance import sha256
from cryokin.script import Folder
from cryokin.subtomo.checks import check_number, look, mask_warnings, read_checked


def pytom_import(
    *,
    particles: Path,
    other: Path | None = None,
    options: SubtomogramOptions,
    folder: Folder,
) -> None:
    """Read and check subtomograms; a refused input leaves no file.

    ``other`` is the import.json of the run whose list the particles are.
    """
    table, mask, told = read_checked(particles, options, other)
    found = look(table, options.compat == "pytom" and options.method != "cpca")
    n = len(table) - len(found.excluded)
    check_number(particles, n, found, options.nclass)
    found.warnings += mask_warnings(options.mask, mask, table.pixel_size)
    table.write(folder / "particles")
    write_json(
        folder / "import.json",
        {
            **told,
            "n": n,
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
