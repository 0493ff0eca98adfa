"""Classification jobs of PyTom become runs, or one sentence."""

import re

import numpy as np
import pytest

from cryokin.errors import InputError
from cryokin.io.em import write_em
from cryokin.subtomo import job as job_module

JOB = """<MCOEXMXJob NumberIterations="8" NumberClasses="2" EndThreshold="0.01">
<ExpectationMaximisationJob><Description Binning="1"><ParticleList>
<Particle Filename="particles/p0.em"/><Particle Filename="particles/p1.em"/>
</ParticleList><Mask Filename="mask.em"/><Score Type="FLCFScore"/><Preprocessing>
<Bandpass LowestFrequency="0.0" HighestFrequency="1.0" Smooth="0.0"/></Preprocessing>
<Symmetry Type="PointSymmetry" NFold="1"/></Description></ExpectationMaximisationJob>
</MCOEXMXJob>"""


@pytest.fixture
def convert(tmp_path):
    """Return a function that converts a job, changed, in a sub-folder or not."""

    def of(*changes, name="class.xml", box=21, compat="none"):
        volume = np.random.default_rng(0).normal(size=(box,) * 3).astype(np.float32)
        for i in range(2):
            write_em(tmp_path / f"particles/p{i}.em", volume, 10.0)
        write_em(tmp_path / "mask.em", np.ones((box,) * 3, np.float32))
        text = JOB
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        job = tmp_path / name
        job.parent.mkdir(exist_ok=True)
        job.write_text(text)
        config, told = job_module.convert(job, compat=compat)
        return config["runs"]["job"], told

    return of


@pytest.mark.parametrize(
    ("high", "binning", "box", "lowpass"),
    [
        ("1.0", 1, 21, 10),  # PyTom's form for "no limit", of an odd box
        ("1.0", 3, 21, 3),
        ("0.35", 1, 20, 7),
        ("7.0", 1, 20, 7),
        ("40", 1, 20, 10),
    ],
)
def test_the_band_ends_inside_the_box(convert, high, binning, box, lowpass):
    run, told = convert(
        ('HighestFrequency="1.0"', f'HighestFrequency="{high}"'),
        ('Binning="1"', f'Binning="{binning}"'),
        box=box,
    )
    assert run["lowpass"] == pytest.approx(lowpass)
    assert told == []


@pytest.mark.parametrize(
    "told", ['Type="PointSymmetry" NFold="6"', 'NumberSymmetries="6" Psi="0.0"']
)
def test_symmetry_of_a_job_is_that_of_the_run(convert, told):
    run, _ = convert(('Type="PointSymmetry" NFold="1"', told))
    assert run["symmetry"] == "C6"


def test_particles_of_a_job_in_a_folder_of_its_own_are_found(convert, tmp_path):
    run, _ = convert(name="jobs/class.xml")
    assert run["lowpass"] == 10
    assert run["mask"] == str(tmp_path / "mask.em")


def test_classes_of_the_list_are_started_from(convert):
    run, _ = convert(
        ('<Particle Filename="particles/p1.em"/>',) * 2,
        (
            '<Particle Filename="particles/p1.em"/>',
            '<Particle Filename="particles/p1.em"><Class Name="1"/></Particle>',
        ),
    )
    assert run["start_from"] == "labels"
    assert convert()[0]["start_from"] == "cpca"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('NFold="1"', 'NFold="6" Z2="30"', "not along z is not supported"),
        ('NFold="1"', 'NFold="2.5"', "symmetry of 2.5 is not supported"),
        (
            'Type="PointSymmetry" NFold="1"',
            'NumberSymmetries="6" Theta="90"',
            "not along z is not supported",
        ),
        ('"PointSymmetry"', '"HelicalSymmetry"', "HelicalSymmetry is not supported"),
        ("<Bandpass", "<Prerotation/><Bandpass", "Prerotation is not supported"),
        ('NumberIterations="8"', 'NumberIterations="None"', "a whole number"),
        ('NumberClasses="2"', 'NumberClasses="nan"', "a whole number"),
        ('Binning="1"', 'Binning="0"', "1 to 2147483647"),
        ('EndThreshold="0.01"', 'EndThreshold="5"', "at most 1"),
        ('HighestFrequency="1.0"', 'HighestFrequency="inf"', "0 to 1000000"),
    ],
)
def test_what_no_run_can_do_is_refused(convert, old, new, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        convert((old, new))


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("FLCFScore", "nxcfScore", "Score nxcfScore"),
        ('Smooth="0.0"', 'Smooth="3.0"', "Bandpass Smooth 3"),
        ("<Mask ", '<Mask isSphere="False" ', "a mask that is no sphere"),
    ],
)
def test_what_a_run_does_in_its_own_way_is_told(convert, old, new, what):
    """And refused where the rules are PyTom's."""
    assert [told.startswith(what) for told in convert((old, new))[1]] == [True]
    with pytest.raises(InputError, match=re.escape(what)):
        convert((old, new), compat="pytom")
