import pytest

from cryokin.errors import InputError
from cryokin.io.pytom_xml import (
    DoubleTiltWedge,
    GeneralWedge,
    Particle,
    Score,
    SingleTiltWedge,
    Wedge3dCTF,
    read_job,
    read_particle_list,
    split_by_class,
    write_alignment_list,
    write_particle_list,
    write_swap_list,
)


def read_text(tmp_path, body):
    path = tmp_path / "list.xml"
    path.write_text(f"<ParticleList Path='old'>{body}</ParticleList>")
    return read_particle_list(path)


@pytest.mark.parametrize(
    "name",
    [
        "data/pytom_small2/particleList_rand0.xml",
        "data/pytom_small2/expected/cpca_classified.xml",
        "data/pytom_small2/expected/exmx_rand0/1/classifiedParticles.xml",
        "data/tables/pytom_pickpos_format.xml",
    ],
)
def test_a_list_of_pytom_is_written_back_to_the_letter(shared, tmp_path, name):
    particles = read_particle_list(shared / name)
    write_particle_list(tmp_path / "copy.xml", particles)
    text = (shared / name).read_text().rstrip("\n")
    assert (tmp_path / "copy.xml").read_text() == text


def test_an_alignment_list_is_written_as_pytom_writes_it(shared, tmp_path):
    folder = shared / "data/pytom_small2"
    expected = (folder / "expected/exmx_rand0/0/AlignmentList0.xml").read_text()
    start = read_particle_list(folder / "particleList_rand0.xml")
    order = [i for members in split_by_class(start).values() for i in members]
    values = expected.split("</Reference>")[0].split('Value="')
    values = [v.split('"')[0] for v in expected.split('Value="')[1:]]
    write_alignment_list(
        tmp_path / "AlignmentList0.xml",
        [start[i] for i in order],
        [float(v) for v in values[1::2]],
        "exmx_rand0//0/class0/clusterCenter0-0.em",
    )
    assert (tmp_path / "AlignmentList0.xml").read_text() == expected


def test_every_wedge_survives_a_round_trip(tmp_path):
    single = SingleTiltWedge(30.0, 20.0, 16.0, 1.5, (90.0, 0.0, 0.5))
    wedges = [
        single,
        DoubleTiltWedge(single, SingleTiltWedge(1.0, 2.0)),
        GeneralWedge("weight.em"),
        Wedge3dCTF("ctf.mrc", 6.5),
        Wedge3dCTF("weights.mrc", premultiplied=True),
    ]
    particles = [
        Particle(
            f"{i}.em",
            (1.5, -2.0, 3.0),
            (0.1, 0.2, -0.3),
            (5.0, 6.0, 7.0),
            "tomo",
            wedge=wedge,
            label=label,
            score=Score(value=value),
        )
        for i, (wedge, label, value) in enumerate(
            zip(
                wedges,
                ["a", None, "10", "2", "3"],
                [None, 0.1, -3.0, 1e-9, 0],
                strict=True,
            )
        )
    ]
    write_particle_list(tmp_path / "list.xml", particles)
    assert read_particle_list(tmp_path / "list.xml") == particles


def test_every_child_is_optional(tmp_path):
    assert read_text(tmp_path, '<Particle Filename="a.em"/>') == [
        Particle("a.em", label=None)
    ]


@pytest.mark.parametrize(
    ("body", "wedge"),
    [
        ('<WedgeInfo Angle="30" CutoffRadius="0.0"/>', SingleTiltWedge(30, 30)),
        ('<SingleTiltWedge Angle1="30" Angle2="20"/>', SingleTiltWedge(30, 20)),
        ('<GeneralWedge Filename="w.em"/>', GeneralWedge("w.em")),
        (
            "<DoubleTiltWedge><SingleTiltWedge Angle='1'/><WedgeInfo Angle='2'/>"
            "</DoubleTiltWedge>",
            DoubleTiltWedge(SingleTiltWedge(1, 1), SingleTiltWedge(2, 2)),
        ),
        (
            "<Wedge Type='Wedge3dCTF'><Wedge3dCTF Filename='c' CtfMaxResolution='3'/>"
            "</Wedge>",
            Wedge3dCTF("c", 3),
        ),
    ],
)
def test_older_forms_of_the_wedge_are_read(tmp_path, body, wedge):
    (particle,) = read_text(tmp_path, f'<Particle Filename="a">{body}</Particle>')
    assert particle.wedge == wedge


def test_older_forms_of_the_score_are_read(tmp_path):
    (particle,) = read_text(
        tmp_path,
        '<Particle Filename="a"><Score Type="undefined" Value="NAN">'
        '<DistanceFunction Filename="" Mean="2.0" Deviation="3.0"/></Score></Particle>',
    )
    assert particle.score.type == "FLCFScore"
    assert particle.score.value is None
    assert dict(particle.score.prior)["Radius"] == "2.0"


def test_classes_are_split_as_text():
    particles = [Particle("a", label=x) for x in ("2", "10", "2", None, "10")]
    assert split_by_class(particles) == {"10": [1, 4], "2": [0, 2]}


def test_jobs_become_options(shared):
    folder = shared / "data/pytom_small2"
    job = read_job(folder / "exmx_rand0.job.xml")
    assert job["particles"] == read_particle_list(folder / "particleList_rand0.xml")
    assert job["method"] == "mco_exmx"
    assert (job["mask"], job["mask_is_sphere"]) == ("../mask.em", True)
    assert (job["nclass"], job["iterations"], job["end_threshold"]) == (2, 8, 0.01)
    assert (job["lowest_frequency"], job["highest_frequency"]) == (0, 12)
    assert job["pixel_size"] == 10
    annealing = read_job(folder / "ac_rand0.job.xml")
    assert annealing["method"] == "mco_ac"
    assert (annealing["temperature"], annealing["temperature_step"]) == (2, 1)
    assert annealing["local_iterations"] == 2
    assert annealing["allow_class_collapse"] is False


def test_a_swap_list_can_be_read_as_xml(tmp_path):
    jump = {
        "particle": Particle("a"),
        "old_score": 0.5,
        "new_score": 0.4,
        "random": 0.1,
        "reference": "class1.em",
        "temperature": 1.0,
        "step": 0.5,
    }
    write_swap_list(tmp_path / "swapList.xml", [jump])
    text = (tmp_path / "swapList.xml").read_text()
    assert '<Jump OldScore="0.5" NewScore="0.4" RandomNumber="0.1"' in text


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("<Particle/>", "no Filename"),
        (
            "<Particle Filename='a'><Shift X='q'/></Particle>",
            r"X of Shift of particle 1 \(a\) is 'q'",
        ),
        (
            "<Particle Filename='a'><Rotation Z1='1' Z2='2' X='3'/></Particle>"
            "<Particle Filename='b'><Rotation Z1='1' Z2='nan' X='3'/></Particle>",
            r"Z2 of Rotation of particle 2 \(b\) is 'nan'",
        ),
        (
            "<Particle Filename='a'><Rotation z1='1' z2='2' x='3'/></Particle>",
            r"Z1 of Rotation of particle 1 \(a\) is ''",
        ),
        (
            "<Particle Filename='a'><Shift X='1' Y='1' Z='1'/></Particle>"
            "<Particle Filename='b'/>",
            "particle 2 has no Shift, but others have one",
        ),
        ("<Particle Filename='a'><Shift X='1' Y='-inf'/></Particle>", "Y of Shift"),
        (
            "<Particle Filename='a'><Shift X='1' Y='1e308'/></Particle>",
            "-10000 to 10000",
        ),
        (
            "<Particle Filename='a'><WedgeInfo Angle='-30'/></Particle>",
            "0 to 90 degree",
        ),
        (
            "<Particle Filename='a'><WedgeInfo Angle1='95'/></Particle>",
            "0 to 90 degree",
        ),
        ("<Particle Filename='a'><WedgeInfo Angle='90'/></Particle>", "nothing was"),
        ("<Particle Filename='a'><WedgeInfo Smooth='nan'/></Particle>", "Smooth of"),
        ("<Particle Filename='a&#10;b'/>", "line break"),
        (
            "<Particle Filename='a'><PickPosition Origin='it&apos;s &quot;a&quot; b'/>"
            "</Particle>",
            "quotation marks, which no table can hold",
        ),
        ("<Particle Filename='a'><Rotation Paradigm='ZYZ'/></Particle>", "ZYZ"),
        ("<Particle Filename='a'><DoubleTiltWedge/></Particle>", "expected 2"),
        ("<Particle", "not readable as XML"),
    ],
)
def test_refuses_what_it_cannot_understand(tmp_path, body, sentence):
    with pytest.raises(InputError, match=sentence):
        read_text(tmp_path, body)


def test_refuses_an_encoding_that_is_not_known(tmp_path):
    path = tmp_path / "list.xml"
    path.write_text('<?xml version="1.0" encoding="klingon"?><ParticleList/>')
    with pytest.raises(InputError, match="not readable as XML"):
        read_particle_list(path)


def test_one_angle_of_90_is_half_a_series(tmp_path):
    body = "<Particle Filename='a'><WedgeInfo Angle1='90' Angle2='30'/></Particle>"
    assert read_text(tmp_path, body)[0].wedge == SingleTiltWedge(90, 30)


def test_refuses_another_kind_of_file(shared):
    with pytest.raises(InputError, match="root element is ParticleList"):
        read_job(shared / "data/pytom_small2/particleList.xml")
