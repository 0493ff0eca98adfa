from cryokin.files import atomic_folder_for_team
from cryokin.options import SubtomogramOptions
from cryokin.parallel import Team
from cryokin.script import Folder
from cryokin.subtomo.files import load_import
from cryokin.subtomo.prepare import contrast_warnings, prepare, save_prepared


def pytom_prepare(
    *, team: Team, imported: Folder, options: SubtomogramOptions, prepared: Folder
) -> None:
    """Bring subtomograms into the common frame, as coefficients (an MPI program)."""
    particles = load_import(imported)
    with atomic_folder_for_team(team, prepared) as folder:
        made, inverted = prepare(particles, options, team, folder)
        if team.leads:
            pixel = particles.pixel_size
            voxel = pixel * options.binning if pixel else None
            warnings = contrast_warnings(particles, inverted)
            save_prepared(folder, made, voxel, warnings)
            for warning in warnings:
                team.log(f"warning: {warning}")
    n, m = made.rows.x.shape
    team.log(f"{n} particles, {m} coefficients each")
