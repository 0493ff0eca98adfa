"""The configuration: defaults, refusals, and the documents that describe it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cryokin.config import (
    PARTICLE_SUFFIXES,
    check_config_files,
    draw_seeds,
    load_runs,
    reference,
    working_box,
)
from cryokin.errors import InputError
from cryokin.options import METHODS, Cpca, Isac, options_of
from cryokin.options.__main__ import schema, written

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = options_of(Isac)
METHODS_3D = ("cpca", "mco_exmx", "mco_ac")

# The manual of sxisac: every option that is no property of a workflow.
MANUAL = {
    **{"img_per_grp": 100, "xr": 1, "yr": -1, "ts": 1.0},
    **{"thld_err": 0.7, "target_radius": 29, "target_nx": 76, "ir": 1, "rs": 1},
    **{"maxit": 30, "center_method": -1, "dst": 90.0, "FL": 0.2, "FH": 0.3},
    **{"FF": 0.2, "init_iter": 3, "main_iter": 3, "iter_reali": 1},
    **{"match_first": 1, "max_round": 20, "match_second": 5, "stab_ali": 5},
    **{"indep_run": 4, "thld_grp": 10, "n_generations": 10},
    **{"skip_prealignment": False},
}


def load(run=None, /, **options):
    """Return the options of one run, complete."""
    given = {"method": "isac", "particles": "p.star", "radius": 30} | options
    config = {"runs": {"a": given if run is None else run}}
    return load_runs(config, "my.yaml")["a"].as_dict()


def sentence(call, *args, **options):
    """Return the sentence of a refusal."""
    with pytest.raises(InputError) as caught:
        call(*args, **options)
    text = str(caught.value)
    assert text.startswith("my.yaml: ")
    assert "\n" not in text
    return text.removeprefix("my.yaml: ")


class TestDefaults:
    def test_are_those_of_the_manual(self):
        run = load()
        assert {key: OPTIONS[key].default for key in MANUAL} == MANUAL
        assert {key: run[key] for key in MANUAL} == MANUAL | {"yr": 1}

    def test_every_option_is_filled_in_the_order_of_the_schema(self):
        assert list(load()) == list(OPTIONS)

    def test_a_default_written_out_makes_no_difference(self):
        written = {
            key: option.default for key, option in OPTIONS.items() if not option.needed
        }
        assert repr(load(**written)) == repr(load())

    def test_the_example_is_complete(self):
        config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
        assert load_runs(config)["demo"].radius == 25

    def test_negative_yr_means_as_xr(self):
        assert load(xr=3)["yr"] == 3
        assert load(xr=3, yr=-1)["yr"] == 3
        assert load(xr=3, yr=0)["yr"] == 0


class TestValues:
    @pytest.mark.parametrize(("xr", "box"), [(0, 76), (1, 76), (3, 78)])
    def test_the_working_box_is_that_of_the_manual(self, xr, box):
        assert working_box(76, xr) == box

    @pytest.mark.parametrize(
        ("key", "given", "value"),
        [
            ("radius", "30", 30),
            ("radius", 30.0, 30),
            ("ts", 1, 1.0),
            ("ts", "0.5", 0.5),
            ("thld_err", "1e-1", 0.1),
            ("CTF", "true", True),
            ("CTF", "False", False),
            ("CTF", "auto", "auto"),
            ("pixel_size", "null", None),
            ("pixel_size", "1.5", 1.5),
            ("rand_seed", "123456789012345678901", 123456789012345678901),
            ("particles", "./a//b.star", "a/b.star"),
        ],
    )
    def test_mean_the_same_however_they_are_written(self, key, given, value):
        got = load(**{key: given})[key]
        assert got == value
        assert type(got) is type(value)

    @pytest.mark.parametrize("suffix", PARTICLE_SUFFIXES)
    def test_particles_of_every_kind(self, suffix):
        assert load(particles=f"p{suffix}")["particles"] == f"p{suffix}"

    def test_the_home_folder_is_found(self, monkeypatch):
        monkeypatch.setenv("HOME", "/somewhere")
        assert load(particles="~/p.star")["particles"] == "/somewhere/p.star"

    def test_a_length_is_given_in_pixels_or_in_angstrom(self):
        run = load({"method": "isac", "particles": "p.star", "diameter": 180})
        assert (run["radius"], run["diameter"]) == (None, 180.0)
        assert load(diameter=None) == load()
        run = load(LENGTHS_3D | {"highpass_A": 400})
        assert (run["lowpass"], run["highpass"]) == (None, None)

    def test_subtomograms_are_compared_in_voxels_and_fourier_pixels(self):
        run = load_runs({"runs": {"a": LENGTHS_3D | {"highpass_A": 400}}})["a"]
        scaled = run.scaled(100, 4.0)
        assert (scaled.lowpass, scaled.highpass) == (20.0, 1.0)
        assert scaled.mask == {"sphere": {"radius": 25.0, "edge": 3.0}}
        with pytest.raises(InputError, match="set pixel_size"):
            run.scaled(100, None)
        pixels = Cpca.some(load(SMALLEST_3D | {"method": "cpca"}))
        assert pixels.scaled(100, None).lowpass == 10

    def test_of_every_run(self):
        first = {"method": "isac", "particles": "p.star", "radius": 30}
        runs = load_runs({"runs": {"a": first, "b-2": first | {"xr": 2}}})
        assert (runs["a"].xr, runs["b-2"].xr) == (1, 2)


LENGTHS_3D = {
    **{"method": "cpca", "particles": "p.star", "nclass": 2, "lowpass_A": 20},
    "mask": {"sphere": {"diameter": 200}},
}
FROM_FILE = {"method": "isac", "particles": "p.star", "radius": 30}


class TestParticlesOfAnotherRun:
    @pytest.mark.parametrize(
        "which", ["unaccounted", "selected", "selected.top_1", "class/12"]
    )
    def test_are_named_by_the_run(self, which):
        runs = {"b": FROM_FILE | {"particles": f"run:a-1/{which}"}, "a-1": FROM_FILE}
        loaded = load_runs({"runs": runs})
        assert reference(loaded["b"].particles) == ("a-1", which)
        assert reference(loaded["a-1"].particles) is None

    @pytest.mark.parametrize(
        ("particles", "words"),
        [
            ("run:a", "are named run:<run>/unaccounted, run:<run>/selected or"),
            ("run:a/good", "are named run:<run>/unaccounted"),
            ("run:a/selected.", "are named run:<run>/unaccounted"),
            ("run:a/class/-1", "are named run:<run>/unaccounted"),
            ("run:c/selected", "names run c, but there are only a, b, cubes;"),
            ("run:b/selected", "leads back to run b;"),
            ("run:cubes/selected", "names run cubes of method cpca, whose particles"),
        ],
    )
    def test_that_cannot_be_had_are_refused(self, particles, words):
        runs = {"a": FROM_FILE, "b": FROM_FILE | {"particles": particles}}
        with pytest.raises(InputError) as error:
            load_runs({"runs": runs | {"cubes": SMALLEST_3D | {"method": "cpca"}}})
        assert f'runs.b.particles = "{particles}" ' in str(error.value)
        assert words in str(error.value)

    def test_are_never_those_of_a_ring_of_runs(self):
        runs = {
            "a": FROM_FILE | {"particles": "run:b/selected"},
            "b": FROM_FILE | {"particles": "run:a/selected"},
        }
        with pytest.raises(InputError, match="leads back to run a"):
            load_runs({"runs": runs})


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"raduis": 3}, "runs.a.raduis is no option of method isac, did you mean"
             " radius?"),
            ({"ctf": True}, "runs.a.ctf is no option of method isac, did you mean"
             " CTF?"),
            ({"colour": 3}, "runs.a.colour is no option of method isac;"
             " config/README.md lists all that there are."),
            ({"stop_after_candidates": True}, "runs.a.stop_after_candidates is no"
             " option of method isac: ask for the target candidates; see"
             " config/README.md."),
            ({"radius": "wide"}, 'runs.a.radius = "wide" cannot be used, it must be'
             " an integer of at least 1."),
            ({"radius": True}, "runs.a.radius = true cannot be used, it must be an"
             " integer of at least 1."),
            ({"radius": 0}, "runs.a.radius = 0 cannot be used, it must be an integer"
             " of at least 1."),
            ({"radius": 2.5}, "runs.a.radius = 2.5 cannot be used, it must be an"
             " integer of at least 1."),
            ({"radius": None}, "runs.a.radius = null cannot be used, it must be an"
             " integer of at least 1."),
            ({"center_method": 8}, "runs.a.center_method = 8 cannot be used, it must"
             " be an integer of at least -1 and at most 7."),
            ({"indep_run": 5}, "runs.a.indep_run = 5 cannot be used, it must be an"
             " integer of at least 2 and at most 4."),
            ({"ts": 0}, "runs.a.ts = 0 cannot be used, it must be a number above 0."),
            ({"ts": float("nan")}, "runs.a.ts = NaN cannot be used, it must be a"
             " number above 0."),
            ({"FH": "inf"}, 'runs.a.FH = "inf" cannot be used, it must be a number'
             " above 0 and at most 0.5."),
            ({"CTF": "maybe"}, 'runs.a.CTF = "maybe" cannot be used, it must be'
             " auto, true or false."),
            ({"CTF": 1}, "runs.a.CTF = 1 cannot be used, it must be auto, true or"
             " false."),
            ({"diameter": 200}, "runs.a.radius = 30 and diameter = 200 say the same in"
             " two ways; leave one of them out."),
            ({"rand_seed": -1}, "runs.a.rand_seed = -1 cannot be used, it must be an"
             " integer of at least 0."),
            ({"particles": ["a"]}, 'runs.a.particles = ["a"] cannot be used, it must'
             " be the path of a file."),
            ({"particles": "a.txt"}, 'runs.a.particles = "a.txt" cannot be read, its'
             " name must end in one of " + ", ".join(PARTICLE_SUFFIXES) + "."),
            ({"particles": "bdb:d#set"}, 'runs.a.particles = "bdb:d#set" is a BDB'
             " database, which only EMAN2 can read: convert it by 'e2proc2d.py"
             " bdb:d#set set.hdf' and give set.hdf."),
            ({"main_iter": 4, "iter_reali": 3}, "runs.a.iter_reali = 3 cannot be"
             " used, it must divide main_iter = 4."),
            ({"FL": 0.3}, "runs.a.FL = 0.3 cannot be used, it must be below FH ="
             " 0.3."),
            ({"ir": 29}, "runs.a.ir = 29 cannot be used, it must be below"
             " target_radius = 29."),
            ({"img_per_grp": 5}, "runs.a.thld_grp = 10 cannot be used, it must be at"
             " most img_per_grp = 5, or no class could ever be large enough."),
            ({"target_nx": 60}, "runs.a.target_nx = 60 cannot be used, it must be at"
             " least 62, so that a particle of target_radius = 29 stays inside the"
             " box when the search shifts it by 1 pixel."),
            ({"xr": 9, "yr": 20}, "runs.a.target_nx = 76 cannot be used, it must be"
             " at least 92, so that a particle of target_radius = 29 stays inside"
             " the box when the search shifts it by 20 pixel."),
        ],
    )  # fmt: skip
    def test_say_what_and_what_to_do(self, options, expected):
        assert sentence(load, **options) == expected

    @pytest.mark.parametrize("xr", range(6))
    def test_the_smallest_box_named_is_accepted(self, xr):
        options = {"xr": xr, "target_radius": 20}
        refusal = sentence(load, **options, target_nx=12)
        least = int(re.search(r"at least (\d+)", refusal)[1])
        assert load(**options, target_nx=least)["target_nx"] == least
        assert "at least" in sentence(load, **options, target_nx=least - 1)

    @pytest.mark.parametrize(
        ("run", "expected"),
        [
            ({}, "runs.a.method is missing: give the method of the run, one of isac,"
             " cpca, mco_exmx, mco_ac."),
            ({"method": "cpa"}, 'runs.a.method = "cpa" cannot be used, it must be one'
             " of isac, cpca, mco_exmx, mco_ac."),
            ({"method": ["isac"]}, 'runs.a.method = ["isac"] cannot be used, it must'
             " be one of isac, cpca, mco_exmx, mco_ac."),
            ({"method": "isac"}, "runs.a.particles is missing: give particle images,"
             " the path of a file."),
            ({"method": "isac", "particles": "p.star"}, "runs.a.radius is missing:"
             " give particle radius in the input images [pixel], an integer of at least"
             " 1, or diameter [Å]."),
            (5, "runs.a = 5 cannot be used, it must be a mapping of options, e.g."
             " 'method: isac'."),
        ],
    )  # fmt: skip
    def test_of_an_incomplete_run(self, run, expected):
        assert sentence(load, run) == expected

    @pytest.mark.parametrize("name", ["a b", "a/b", "-a", "", "ä", "a\n", 7, True])
    def test_of_the_name_of_a_run(self, name):
        run = {"method": "isac", "particles": "p.star", "radius": 30}
        text = sentence(load_runs, {"runs": {name: run}}, "my.yaml")
        assert "cannot be the name of a run" in text

    @pytest.mark.parametrize("runs", [None, {}, [], "demo"])
    def test_of_no_runs(self, runs):
        text = sentence(load_runs, {"runs": runs}, "my.yaml")
        assert "must name at least one run" in text

    def test_of_a_key_beside_the_runs(self):
        text = sentence(load_runs, {"run": {}}, "my.yaml")
        assert text == "run is no key of the top level, did you mean runs?"

    def test_are_of_the_same_particles_as_the_reader_refuses(self, tmp_path):
        particles = pytest.importorskip("cryokin.io.particles")
        path = tmp_path / "p.txt"
        path.touch()
        with pytest.raises(InputError):
            particles.read_particles(path)


class TestWhatIsWritten:
    """The schema and the tables of the manual, which are made of the options."""

    @pytest.mark.parametrize("path", written(ROOT))
    def test_is_as_the_options_are(self, path):
        assert path.read_text() == written(ROOT)[path], "say make options"

    def test_is_a_schema_that_the_example_passes(self):
        jsonschema = pytest.importorskip("jsonschema")
        made = schema()
        jsonschema.Draft202012Validator.check_schema(made)
        config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
        jsonschema.Draft202012Validator(made).validate(config)
        config["runs"]["demo"]["raduis"] = 1
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(made).validate(config)

    @pytest.mark.parametrize("key", MANUAL)
    def test_names_the_flag_of_the_manual(self, key):
        assert OPTIONS[key].was.startswith(f"--{key}")

    @pytest.mark.parametrize("method", METHODS)
    def test_has_every_option_with_its_default(self, method):
        text = (ROOT / "config" / "README.md").read_text()
        rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|.*\|$", text, re.MULTILINE)
        for key, option in options_of(METHODS[method]).items():
            if key != "method":
                needed = f"or `{option.unless}`" if option.unless else "must be given"
                shown = needed if option.needed else option.default
                shown = shown if isinstance(shown, str) else json.dumps(shown)
                assert (key, shown) in rows


def test_an_option_that_a_step_was_not_given_has_no_value():
    some = Isac.some({"FH": 0.25})
    assert some.FH == 0.25
    with pytest.raises(AttributeError, match="FL was not handed over"):
        some.FL  # noqa: B018


SMALLEST_3D = {
    "particles": "p.xml",
    "mask": {"sphere": {"radius": 12}},
    "lowpass": 10,
    "nclass": 2,
}


class TestSubtomograms:
    @pytest.mark.parametrize("method", METHODS_3D)
    def test_every_option_has_its_default(self, method):
        run = load(SMALLEST_3D | {"method": method})
        options = options_of(METHODS[method])
        assert list(run) == list(options)
        given = {key: option.default for key, option in options.items()}
        assert all(run[k] == given[k] for k in options if not options[k].needed)

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"particles": "p.mrcs"}, 'runs.a.particles = "p.mrcs" cannot be read, its'
             " name must end in one of .xml, .star, .tbl."),
            ({"mask": 3}, "runs.a.mask = 3 cannot be used, it must be the path of a"
             " file or e.g. {sphere: {radius: 12, edge: 3}}."),
            ({"highpass": 10}, "runs.a.highpass = 10.0 cannot be used, it must be below"
             " lowpass = 10."),
            ({"merge": {"number": 2, "height": 1}}, 'runs.a.merge = {"number": 2,'
             ' "height": 1} cannot be used, it must have exactly one of number, height'
             " and groups."),
            ({"reproducible": {"runs": 1}}, 'runs.a.reproducible = {"runs": 1} cannot'
             " be used, it must be e.g. {runs: 4} or null."),
            ({"mask": {"sphere": {"radius": 9, "edge": float("nan")}}}, "runs.a.mask ="
             ' {"sphere": {"radius": 9, "edge": NaN}} cannot be used, it must be the'
             " path of a file or e.g. {sphere: {radius: 12, edge: 3}}."),
            ({"merge": {"height": float("nan")}}, 'runs.a.merge = {"height": NaN}'
             " cannot be used, it must be e.g. {number: 3} or e.g. {height: 10} or"
             " e.g. {groups: {a: [1, 3], b: [2]}} or null."),
            ({"average": "class\n"}, 'runs.a.average = "class\\n" cannot be used, it'
             " must be e.g. class."),
            ({"exact": True, "pose_errors": "project"}, 'runs.a.pose_errors ='
             ' "project" cannot be used, it must be keep with exact: true, which'
             " correlates the particles themselves."),
            ({"compat": "pytom", "clustering": "mixture"}, 'runs.a.clustering ='
             ' "mixture" cannot be used, it must be "kmeans" under compat: pytom, or be'
             " left out."),
            ({"compat": "pytom", "pose_refinement": 2}, "runs.a.pose_refinement = 2"
             " cannot be used, it must be 0 under compat: pytom, or be left out."),
        ],
    )  # fmt: skip
    def test_refusals_say_what_to_do(self, options, expected):
        run = SMALLEST_3D | {"method": "cpca"} | options
        assert sentence(load, run) == expected

    @pytest.mark.parametrize(
        ("method", "key", "value", "taken"),
        [
            ("mco_exmx", "score", "likelihood", "correlation"),
            ("mco_exmx", "leave_one_out", True, False),
            ("mco_exmx", "starts", 20, 1),
            ("mco_exmx", "start_from", "cpca", "labels"),
            ("mco_ac", "start_from", "cpca", "random"),
            ("mco_ac", "criterion", "threshold", "pytom"),
        ],
    )
    def test_what_pytom_s_rules_would_ignore_is_refused(
        self, method, key, value, taken
    ):
        run = SMALLEST_3D | {"method": method, key: value}
        assert load(run)[key] == value
        words = sentence(load, run | {"compat": "pytom"})
        assert words.startswith(f"runs.a.{key} = ")
        assert load(run | {"compat": "pytom", key: taken})[key] == taken

    def test_exact_correlations_keep_the_pose_errors(self):
        run = SMALLEST_3D | {"method": "cpca", "exact": True}
        assert load(run)["pose_errors"] == "keep"
        assert load(run | {"exact": False})["pose_errors"] == "project"

    @pytest.mark.parametrize("step", [1e-9, 1e-300, 5e-5])
    def test_rounds_of_annealing_are_bounded(self, step):
        run = SMALLEST_3D | {"method": "mco_ac", "temperature_step": step}
        assert "at least temperature / 1000" in sentence(load, run)
        run = SMALLEST_3D | {"method": "mco_ac", "temperature": 1e20}
        assert "at least temperature / 1000" in sentence(load, run)

    def test_a_sphere_has_an_edge(self):
        run = load(SMALLEST_3D | {"method": "cpca"})
        assert run["mask"] == {"sphere": {"radius": 12.0, "edge": 3.0}}


def test_the_core_does_not_need_the_workflow():
    code = (
        "import sys, cryokin.config;"
        "assert not {'jsonschema', 'snakemake'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("radius", 10**400),
        ("radius", "9" * 5000),
        ("thld_err", 1e300),
        ("thld_err", float("nan")),
        ("rand_seed", 10**40),
        ("select", {"resolution": float("nan")}),
        ("select", {"size": 10**400}),
        ("selection", "a\nb.yaml"),
        ("particles", "a\n.star"),
    ],
)
def test_values_beyond_all_measure_are_refused_in_a_sentence(key, value):
    with pytest.raises(InputError, match=rf"my\.yaml: runs\.a\.{key} = ") as caught:
        load(**{key: value})
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["p{run}.star", "{0}/p.star", "a}.star"])
def test_a_path_is_no_pattern(name):
    """Snakemake would put the name of the run into it, and read another file."""
    with pytest.raises(InputError, match="for a wildcard"):
        load(particles=name)
    with pytest.raises(InputError, match="for a wildcard"):
        load(tilted={"particles": name, "match": "myPair"})


def test_a_path_means_the_same_however_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("set/p.star", "./set/../set/p.star", str(tmp_path / "set/p.star")):
        assert load(particles=name)["particles"] == "set/p.star"
    assert load(particles="/elsewhere/p.star")["particles"] == "/elsewhere/p.star"
    assert load(particles="-p.star")["particles"] == str(tmp_path / "-p.star")


def seeded(seed):
    return Isac(**load(rand_seed=seed))


def test_a_seed_is_drawn_once(tmp_path):
    runs = {"a": seeded(None), "b": seeded("null"), "c": seeded(0)}
    assert draw_seeds(runs, tmp_path) == ["a", "b"]
    assert not list(tmp_path.iterdir())  # a rule writes them
    seeds = [runs[run].rand_seed for run in "abc"]
    assert seeds[2] == 0
    assert seeds[0] != seeds[1]
    (tmp_path / "a").mkdir()
    (tmp_path / "a/rand_seed.txt").write_text(f"{seeds[0]}\n")
    again = {"a": seeded(None)}
    draw_seeds(again, tmp_path)
    assert again["a"].rand_seed == seeds[0]
    (tmp_path / "a/rand_seed.txt").write_text("soon")
    with pytest.raises(InputError, match=r"rand_seed\.txt: holds 'soon'"):
        draw_seeds({"a": seeded(None)}, tmp_path)


def test_a_configuration_with_a_key_twice_is_refused(tmp_path):
    (tmp_path / "my.yaml").write_text(
        "runs: {a: {radius: 1}}\nruns: {b: {radius: 2}}\n"
    )
    with pytest.raises(InputError, match=r"my\.yaml, line 2.* runs stands twice"):
        check_config_files([tmp_path / "my.yaml"])
