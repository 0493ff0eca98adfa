"""Particles of tables and stacks in every dialect, counted without reading images."""

import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.io.em import write_em
from cryokin.io.eman_hdf import write_images
from cryokin.io.listed import count_particles
from cryokin.io.mrc import write_stack
from cryokin.io.particles import check_images, read_particles
from cryokin.io.pytom_xml import Particle, write_particle_list

STAR = """
data_optics

loop_
_rlnOpticsGroup #1
_rlnImagePixelSize #2
1 2.0

data_particles

loop_
_rlnCoordinateX #1
_rlnImageName #2
1.0 1@stack.mrcs
# a comment
2.0 3@stack.mrcs
3.0 2@stack.mrcs

"""


def test_particles_are_counted_in_every_dialect(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "set"
    folder.mkdir()
    images = np.random.default_rng(0).normal(size=(3, 18, 18)).astype(np.float32)
    write_stack(folder / "stack.mrcs", images, 2.0)
    write_images(folder / "stack.hdf", images, [{}] * 3)
    (folder / "particles.star").write_text(STAR)
    write_em(folder / "volume.em", np.zeros((18, 18, 18), np.float32))
    write_particle_list(folder / "list.xml", [Particle("volume.em")] * 3)
    table = np.zeros(3, [("blob/path", "S20"), ("blob/idx", "u4")])
    table["blob/path"] = b"stack.mrcs"
    with open(folder / "table.cs", "wb") as file:
        np.save(file, table)
    rows = (" ".join([tag, "1", "1", *["0"] * 32]) for tag in "457")
    (folder / "crop.tbl").write_text("\n".join(rows) + "\n")
    write_em(folder / "particle_000004.em", np.zeros((18, 18, 18), np.float32))
    for path in sorted(folder.iterdir()):
        if path.suffix != ".em":
            assert count_particles(path) == (3, 18), path


QUOTED = STAR.replace("1@stack", '"1@my stack').replace(".mrcs\n", '.mrcs"\n', 1)
UNUSUAL = {
    "a quoted name with a blank": QUOTED,
    "a comment behind the block": STAR.replace("data_particles", "data_particles # x"),
    "an empty block before": "data_\n\n" + STAR,
    "a block without a name": "data_\nloop_\n_rlnImageName #1\n1@stack.mrcs\n",
    "images beside particles": STAR + "\ndata_images\n_rlnImageName 9@x.mrcs\n",
    "a byte order mark": "\ufeff" + STAR,
    "large letters": STAR.replace("data_particles", "data_Particles"),
    "pairs": "data_particles\n_rlnImageName 1@stack.mrcs\n_rlnCoordinateX 1.0\n",
    "no number": STAR.replace("1@stack", "stack"),
    "a mark of the format": STAR.replace("stack.mrcs", "stack.mrc:mrcs"),
}


@pytest.mark.parametrize("what", UNUSUAL)
def test_the_estimate_counts_what_the_import_reads(tmp_path, monkeypatch, what):
    """In a folder whose name has blanks, too."""
    folder = tmp_path / "my folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    images = np.random.default_rng(0).normal(size=(3, 18, 18)).astype(np.float32)
    for name in ("stack.mrcs", "my stack.mrcs", "stack.mrc"):
        write_stack(folder / name, images, 2.0)
    (folder / "p.star").write_text(UNUSUAL[what], encoding="utf-8")
    table = read_particles("p.star")
    assert count_particles("p.star") == (table.n, check_images(table).box)


LISTS = {
    "a line break": '<ParticleList><Particle\n Filename="v.em"/></ParticleList>',
    "blanks": '<ParticleList><Particle Filename = "v.em" /></ParticleList>',
    "an entity": '<ParticleList><Particle Filename="a&amp;b.em"/></ParticleList>',
    "a comment": (
        '<ParticleList><!-- <Particle Filename="w.em"/> -->'
        '<Particle Filename="v.em"/></ParticleList>'
    ),
}


@pytest.mark.parametrize("what", LISTS)
def test_particles_of_any_list_are_counted(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    for name in ("v.em", "a&b.em"):
        write_em(tmp_path / name, np.zeros((18, 18, 18), np.float32))
    for encoding in ("utf-8", "utf-16"):
        head = f'<?xml version="1.0" encoding="{encoding}"?>\n'
        (tmp_path / "l.xml").write_text(head + LISTS[what], encoding=encoding)
        assert count_particles(tmp_path / "l.xml") == (1, 18)


def test_what_cannot_be_counted_is_told_in_a_sentence(tmp_path):
    path = tmp_path / "particles.star"
    path.write_text(STAR)
    with pytest.raises(InputError, match=r"stack\.mrcs is not there"):
        count_particles(path)
    path.write_text(STAR[: STAR.index("1.0 1@")])
    with pytest.raises(InputError, match="no particle"):
        count_particles(path)
