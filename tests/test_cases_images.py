"""Small inputs from public reports: read as their programs meant them, or refused."""

import json

import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.image.ctf import phase_flip
from cryokin.io.particles import (
    canonical,
    check_images,
    image_source,
    notes,
    read_particles,
)
from cryokin.io.star import read_star

PIXEL = 5.0
CONTRAST = np.degrees(np.arcsin(0.1))  # as a phase [degree]
PLATE = 95.0  # contrast and phase plate of case 55 [degree]
PASSTHROUGH = "40_cs_passthrough/CS-proj/J95/P1_J95_passthrough_particles.cs"
PARTICLES = "40_cs_passthrough/CS-proj/J95/cryosparc_P1_J95_020_particles.cs"
READ = {
    "02_bom/p.star": "truth",
    "04_quoted/p.star": "truth",
    "05_xmipp/p.star": "truth",
    "10_colon_mrcs/p.star": "truth",
    "11_no_imagepixel/p.star": "truth",
    "13_relion30/p.star": "truth",
    "17_dups/p.star": "truth",
    "20_mode0_imod_unsigned/p.star": "truth",
    PASSTHROUGH: "truth",
    PARTICLES: "truth",
    "41_cs_large_header/J130/J130_particles.cs": "truth",
    "43_cs_sign/J95/J95_020_particles.cs": "truth",
    "53_eman2_astig/p.hdf": "truth_astigmatic",
    "54_sphire_astig/p.hdf": "truth_astigmatic",
    "55_sphire_vpp/p.hdf": "truth_phase_plate",
    "70_relion_project/Class2D/job010/run_it025_data.star": "truth",
}
CONVENTION = {"53": "eman2", "54": "sphire", "55": "sphire"}


@pytest.fixture
def cases(shared, tmp_path, monkeypatch):
    folder = shared / "cases/images"
    if not folder.is_dir():
        pytest.skip("the inputs are not here")
    monkeypatch.chdir(tmp_path)
    return folder


def correlation(one, other):
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


@pytest.mark.parametrize("name", READ)
def test_images_are_flipped_as_by_the_truth(cases, name):
    table = read_particles(cases / name, ctf_convention=CONVENTION.get(name[:2]))
    box = check_images(table).box
    source = image_source(table, box, with_ctf=True)
    assert source.pixel_size == PIXEL
    images = source.read(np.arange(source.n))
    truth = json.loads((cases / f"{READ[name]}.json").read_text())
    phase = PLATE if name.startswith("55") else CONTRAST
    found = []
    for image, at, own in zip(images, source.image_index, source.ctf, strict=True):
        ctf = dict(zip(own.dtype.names, own.tolist(), strict=True))
        right = phase_flip(
            image,
            PIXEL,
            defocus_u=truth[at]["du"],
            defocus_v=truth[at]["dv"],
            defocus_angle=truth[at]["ang"],
            voltage=300,
            cs=2.7,
            amplitude_contrast=0,
            phase_shift=phase,
        )
        found.append(correlation(phase_flip(image, PIXEL, **ctf), right))
    assert min(found) >= 0.998


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        (
            "07_imagesize/p.star",
            r"rlnImageSize is 64 pixel at 2\.5 A.* 32 x 32 pixel at 5",
        ),
        ("15_percent/p.star", "rlnAmplitudeContrast of optics group 1 is '10.0'"),
        ("81_volts/p.star", "rlnVoltage of optics group 1 is '300000'"),
        ("44_cs_html/p.cs", "not readable as a cryoSPARC table"),
        ("53_eman2_astig/p.hdf", "set ctf_convention: eman2 or"),
        ("54_sphire_astig/p.hdf", "set ctf_convention: eman2 or"),
    ],
)
def test_what_cannot_be_meant_is_refused(cases, name, pattern):
    with pytest.raises(InputError, match=pattern) as caught:
        image_source(read_particles(cases / name), 32, with_ctf=True)
    assert "\n" not in str(caught.value)


def test_unsigned_bytes_are_those_of_the_base(cases):
    both = [
        image_source(read_particles(cases / name / "p.star"), 32, with_ctf=False)
        for name in ("base", "20_mode0_imod_unsigned")
    ]
    base, stored = (source.read(np.arange(source.n)) for source in both)
    assert min(map(correlation, base, stored)) > 0.999


def test_a_phase_plate_of_eman2_is_read(cases):
    """Its contrast of 110 % is that of a phase beyond 90 degrees."""
    table = read_particles(cases / "50_eman_vpp/p.hdf")
    np.testing.assert_allclose(table.ctf["phase_shift"], 115.842, atol=1e-3)
    assert set(table.ctf["amplitude_contrast"]) == {0}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("17_dups/p.star", "20 of 140 particles are the same image"),
        ("43_cs_sign/J95/J95_020_particles.cs", "blob/sign is -1 for 120 of 120"),
        (PASSTHROUGH, "completed by cryosparc_P1_J95_020_particles.cs"),
        ("11_no_imagepixel/p.star", "5 A, is that of the stacks' headers"),
        ("50_eman_vpp/p.hdf", "RELION cannot read"),
    ],
)
def test_what_a_user_should_know_is_told(cases, name, words):
    table = read_particles(cases / name)
    told = notes(table, check_images(table))
    assert any(words in sentence for sentence in told)


def test_the_plain_set_is_told_nothing(cases):
    table = read_particles(cases / "base/p.star")
    assert notes(table, check_images(table)) == []


def test_output_tables_are_those_of_relion(cases):
    """Names that it opens, one origin, and the groups of the input."""
    names = canonical(
        read_particles(cases / "43_cs_sign/J95/J95_020_particles.cs"), 32
    ).particles["rlnImageName"]
    assert all(name.endswith(".mrc:mrcs") for name in names)
    old = read_particles(cases / "13_relion30/p.star")
    ours = canonical(old, 32).particles
    theirs = read_star(cases / "13_relion30/conv.star")["particles"]
    assert {"rlnOriginX", "rlnOriginY"} <= set(old.particles)
    assert not {"rlnOriginX", "rlnOriginY"} & (set(ours) | set(theirs))
    for column in ("rlnOriginXAngst", "rlnOriginYAngst"):
        np.testing.assert_allclose(
            ours[column].astype(float), theirs[column].astype(float), atol=1e-3
        )
    groups = read_particles(cases / "71_no_optics_block/p.star")
    assert set(canonical(groups, 32).particles["rlnOpticsGroup"]) == {"2", "3"}
