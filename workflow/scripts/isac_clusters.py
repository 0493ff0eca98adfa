from pathlib import Path

from cryokin.files import read_json
from cryokin.isac.candidates import clusters as found
from cryokin.isac.clusters import save_clusters
from cryokin.isac.options import isac_options
from cryokin.isac.particles import load_particles
from cryokin.options import Isac
from cryokin.parallel import Team


def isac_clusters(
    *,
    team: Team,
    coefficients: Path,
    stack_info: Path,
    ids: Path,
    generation: int,
    round: int,
    options: Isac,
    device: str = "cpu",
    clusters: Path,
) -> None:
    """Cluster the particles left over, in independent runs (an MPI program)."""
    team.use(device)
    chosen = isac_options(options, read_json(stack_info)["box"])
    particles = load_particles(coefficients, ids, options)
    runs = found(team, particles, generation, round, chosen)
    if team.leads:
        save_clusters(clusters, runs)
