"""The options of the methods for subtomograms, beside the flags of PyTom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

from cryokin.errors import InputError
from cryokin.options.option import Mapped, Options, option

#: Classes that a run is split into where as many are to remain as differ.
MANY_CLASSES = 12
_AT_LEAST_0 = {"type": "number", "minimum": 0}
_ABOVE_0 = {"type": "number", "exclusiveMinimum": 0}
_CENTRE = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}


def _sphere(**parts: Mapped) -> Mapped:
    """Return the shape of a sphere under a key of that name."""
    size = {"radius": _ABOVE_0, "diameter": _ABOVE_0}
    sphere = {
        "type": "object",
        "additionalProperties": False,
        "oneOf": [{"required": [key]} for key in size],
        "properties": {**size, "edge": _AT_LEAST_0, **parts},
    }
    return {"properties": {"sphere": sphere}, "required": ["sphere"]}


@dataclass(frozen=True, kw_only=True)
class SubtomogramOptions(Options):
    """What every method for subtomograms takes."""

    particles: str = option(
        meaning=(
            "aligned subtomograms: a ParticleList (.xml) of PyTom, a STAR file "
            "(.star) of RELION, its optimisation set, or a table (.tbl) of Dynamo "
            "beside its particles; the path is relative to the working folder"
        ),
        was="-p",
    )
    pixel_size: float | None = option(
        None,
        meaning=(
            "pixel size of the subtomograms; overrides what their files say; null "
            "= as in the files"
        ),
        unit="Å",
        was="--pixelSize",
        above=0,
    )
    tomograms: str | None = option(
        None,
        meaning=(
            "RELION's table of tomograms (.star), for particles that are stacks of "
            "tilt images; null = the one that the optimisation set names"
        ),
        examples=("the path of a file",),
    )
    wedge: Mapped | None = option(
        None,
        meaning=(
            "missing wedge of all particles, {angles: [a, b]}: a = 90 + lowest "
            "tilt, b = 90 - highest tilt, right-handed about y [degree]; null = as "
            "the table says, by the list's wedges or by rlnCtfImage"
        ),
        unit="degree",
        was="--wedge1, --wedge2",
        examples=("{angles: [30, 30]}",),
        shape={
            "properties": {
                "angles": {
                    "type": "array",
                    "items": {"type": "number", "minimum": 0, "exclusiveMaximum": 90},
                    "minItems": 2,
                    "maxItems": 2,
                }
            },
            "required": ["angles"],
        },
    )
    mask: str | Mapped = option(
        meaning=(
            "mask in the frame of the reference, where particles are compared: an "
            "EM or MRC file of the unbinned box, or {sphere: {radius: 12, edge: "
            "3}} [voxel of the unbinned box], or {sphere: {diameter: 240}} [Å]"
        ),
        unit="voxel",
        was="-m",
        examples=("the path of a file", "{sphere: {radius: 12, edge: 3}}"),
        shape=_sphere(),
    )
    focus_mask: str | Mapped | None = option(
        None,
        meaning=(
            "a second mask, around the region where classes are to differ: poses "
            "are found under mask, classes under both; a file, or {sphere: "
            "{radius: 4, edge: 2, centre: [5, -3, 0]}} with the centre (x, y, z) "
            "from that of the box [voxel of the unbinned box]; null = mask alone"
        ),
        unit="voxel",
        examples=(
            "the path of a file",
            "{sphere: {radius: 4, edge: 2, centre: [5, -3, 0]}}",
        ),
        shape=_sphere(centre=_CENTRE),
    )
    lowpass: float = option(
        meaning="upper end of the band, itself outside",
        unit="Fourier pixel",
        was="-f, --highestFrequency",
        above=1,
        at_most=5000,
        unless="lowpass_A",
    )
    lowpass_A: float = option(
        meaning="the finest detail of the band, in the place of `lowpass`",
        unit="Å",
        above=0,
        unless="lowpass",
    )
    highpass: float = option(
        0.0,
        meaning="lower end of the band",
        unit="Fourier pixel",
        was="-l, --lowestFrequency",
        at_least=0,
        unless="highpass_A",
    )
    highpass_A: float | None = option(
        None,
        meaning="the coarsest detail of the band, in the place of `highpass`",
        unit="Å",
        above=0,
        unless="highpass",
    )
    binning: int = option(
        1,
        meaning=(
            "factor by which the subtomograms are binned for comparing them, 1 = "
            "not; averages are unbinned"
        ),
        was="-b",
        at_least=1,
    )
    nclass: int = option(
        meaning=(
            f"number of classes; auto = {MANY_CLASSES}, of which those that do not "
            "differ beyond chance are merged (merge: {number: auto})"
        ),
        unit="classes",
        was="-n of CPCA, -c of MCO",
        at_least=1,
        word="auto",
        examples=("auto", "2"),
    )
    symmetry: str | None = option(
        None,
        meaning=(
            "point group of all classes, C6, D7, T, O or I, its main axis along z "
            "of the reference: averages and comparisons use that each particle "
            "lies in as many ways; null = C1"
        ),
        was="--symmetry, averages alone",
        pattern="^(C[1-9][0-9]?|D[1-9][0-9]?|T|O|I)$",
        examples=("C6", "D7", "O"),
    )
    compat: Literal["none", "pytom"] = option(
        "none",
        meaning=(
            "whose rules apply: none = those of this program, pytom = PyTom's "
            "interpolation, wedges, scores, ties and averages, with poses as given"
        ),
    )
    pose_errors: Literal["project", "keep"] = option(
        "project",
        meaning=(
            "what becomes of the share that small errors of the poses have in a "
            "particle: project = it is taken out, keep = it stays, as with exact: "
            "true"
        ),
    )
    pose_refinement: int = option(
        2,
        meaning=(
            "Gauss-Newton steps that refine the poses against the average of all "
            "particles before they are classified; the lists have the refined "
            "poses; 0 = poses as given"
        ),
        unit="steps",
        at_least=0,
        at_most=10,
    )
    rand_seed: int = option(
        0,
        meaning=(
            "seed of everything random; the same seed gives the same bytes, "
            "whatever the number of ranks"
        ),
        at_least=0,
    )
    average: str = option(
        "class",
        meaning="first part of the names of class averages, <average>_<class>.em",
        was="-a",
        pattern="^[A-Za-z0-9_.-]+$",
        examples=("class",),
    )
    reproducible: Mapped | None = option(
        None,
        meaning=(
            "classes that independent runs agree on, {runs: 4}, from 2 to 8 runs; "
            "other particles stay unaccounted, class -1; null = off"
        ),
        examples=("{runs: 4}",),
        shape={
            "properties": {"runs": {"type": "integer", "minimum": 2, "maximum": 8}},
            "required": ["runs"],
        },
    )
    merge: Mapped | None = option(
        None,
        meaning=(
            "how classes that are alike are merged: {number: 3} classes, {number: "
            "auto} as many as differ beyond chance, up to a {height: 10}, or your "
            "own {groups: {a: [1, 3], b: [2]}}; linkage: significance (the default) "
            "joins those whose difference is least "
            "significant [standard deviations of the noise], average, single and "
            "complete those whose averages correlate best [1 - correlation], "
            "manual_compat: true as the manual's recipe does; null = off"
        ),
        was="the manual's section on merging",
        examples=("{number: 3}", "{height: 10}", "{groups: {a: [1, 3], b: [2]}}"),
        shape={
            "properties": {
                "number": {
                    "type": ["integer", "string"],
                    "minimum": 1,
                    "pattern": "^auto$",
                },
                "height": _ABOVE_0,
                "groups": {
                    "type": "object",
                    "minProperties": 1,
                    "additionalProperties": {
                        "type": "array",
                        "items": {"type": ["integer", "string"]},
                    },
                },
                "linkage": {"enum": ["significance", "average", "single", "complete"]},
                "manual_compat": {"type": "boolean"},
            },
            "minProperties": 1,
        },
    )
    select: Mapped | None = option(
        None,
        meaning=(
            "classes whose particles are written to a list of their own, by name "
            "or with at least so many particles and at most so many Å; merged "
            "classes where there are; null = off"
        ),
        unit="subtomograms, Å",
        was="extractClassesFromParticleList.py -c",
        examples=("{classes: [1, 3]}", "{size: 20}"),
        shape={
            "properties": {
                "size": {"type": "integer", "minimum": 1},
                "resolution": _ABOVE_0,
                "classes": {
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": ["integer", "string"]},
                },
            },
            "minProperties": 1,
        },
    )
    selection: str | None = option(
        None,
        meaning=(
            "the file of the selection by hand; null = "
            "`config/selection/<run>.yaml`, where there is one"
        ),
    )
    neig: int | Literal["auto"] = option(
        "auto",
        meaning=(
            "leading components of the correlation matrix that are used; auto = "
            "those that two halves of the particles both find, in compat: pytom 4"
        ),
        unit="components",
        was="-e",
        at_least=1,
        word="auto",
        examples=("auto", "4"),
    )
    clustering: Literal["mixture", "kmeans"] = option(
        "mixture",
        meaning=(
            "how particles are grouped by their components: mixture = Gaussians of "
            "one common covariance, kmeans = k-means with k-means++ starts"
        ),
        was="k-means",
    )
    restarts: int = option(
        20,
        meaning="starts of the clustering, of which the best counts",
        unit="starts",
        at_least=1,
    )

    def scaled(self, box: int, pixel_size: float | None) -> Self:
        """Return the options with lengths [A] as voxels and Fourier pixels.

        Parameters
        ----------
        box : int
            Voxels of an edge, unbinned.
        pixel_size : float or None
            [A]

        Raises
        ------
        InputError
            If there are such lengths, and the pixel size is not known.
        """
        values = self.as_dict()

        def pixel(key: str) -> float:
            if pixel_size:
                return pixel_size
            raise InputError(
                f"{key} is given in A, but no file says the pixel size of the"
                " subtomograms; set pixel_size [A] in the config."
            )

        for key in ("lowpass", "highpass"):
            if length := values.pop(f"{key}_A", None):
                values[key] = box * pixel(f"{key}_A") / length
        for key in ("mask", "focus_mask"):
            mask = values.get(key)
            sphere = dict(mask["sphere"]) if isinstance(mask, Mapping) else {}
            if diameter := sphere.pop("diameter", None):
                sphere["radius"] = diameter / 2 / pixel(f"{key}.sphere.diameter")
                values[key] = {"sphere": sphere}
        return self.some(values)


@dataclass(frozen=True, kw_only=True)
class Cpca(SubtomogramOptions):
    """Correlation of all pairs, principal components and clustering.

    Foerster et al. 2008, J. Struct. Biol. 161:276-286.
    """

    exact: bool = option(
        False,
        meaning=(
            "whether each pair is correlated under the mask after both wedges, by "
            "two transforms a pair, instead of masking once; compat: pytom always "
            "does so"
        ),
    )
    ccc_csv: bool = option(
        True,
        meaning=(
            "whether the correlation matrix is also written as text, "
            "correlation_matrix.csv: 25 bytes a number, 2.5 GB for 10,000 "
            "particles; of residuals, without what pose_errors takes out, of which "
            "its first line tells then; PyTom's own with compat: pytom"
        ),
    )
    ccc: str | None = option(
        None,
        meaning=(
            "a correlation_matrix.csv that is there already, of these particles in "
            "this order; null = it is computed"
        ),
        was="-c of classifyCPCA.py",
    )


@dataclass(frozen=True, kw_only=True)
class Mco(SubtomogramOptions):
    """What both ways of multiple correlation optimisation take."""

    score: Literal["likelihood", "correlation"] = option(
        "likelihood",
        meaning=(
            "how a particle is compared with a class average: likelihood = gain "
            "over the average of all, correlation = constrained correlation"
        ),
        was="FLCFScore, which compat: pytom uses",
    )
    leave_one_out: bool = option(
        True,
        meaning=(
            "whether a particle is compared with the average of its class without "
            "itself"
        ),
    )
    start_from: Literal["cpca", "random", "labels"] = option(
        "cpca",
        meaning=(
            "where to start: cpca = from the classes of CPCA, from those of the "
            "list if they are several, and from random ones, random = from random "
            "ones, labels = from those of the list"
        ),
        was="as the list has one class or several",
    )
    starts: int = option(
        20,
        meaning="random starts; the result of the highest objective counts",
        unit="starts",
        at_least=0,
        at_most=1000,
    )
    end_threshold: float = option(
        0.0,
        meaning="stop when at most this fraction of the particles changed class",
        unit="fraction",
        was="-t, --endThreshold",
        at_least=0,
        at_most=1,
    )


@dataclass(frozen=True, kw_only=True)
class McoExmx(Mco):
    """Multiple correlation optimisation by expectation maximisation.

    Hrabe et al. 2012, J. Struct. Biol. 178:177-188.
    """

    iterations: int = option(
        50,
        meaning="most iterations of each start",
        unit="iterations",
        was="-n, --numberIterations",
        at_least=1,
    )
    starts_per_job: int = option(
        25,
        meaning=(
            "starts that share one job of the cluster, of which each goes to a "
            "rank; a job that was killed loses no more than these"
        ),
        unit="starts",
        at_least=1,
    )


@dataclass(frozen=True, kw_only=True)
class McoAc(Mco):
    """Multiple correlation optimisation by simulated annealing.

    Hrabe et al. 2012, J. Struct. Biol. 178:177-188.
    """

    starts: int = option(
        5,
        meaning=(
            "random starts, each annealed; the result of the highest objective counts"
        ),
        unit="starts",
        at_least=0,
        at_most=1000,
    )
    temperature: float = option(
        1.0,
        meaning="temperature of the first round",
        unit="`temperature_unit`",
        was="--startTemperature",
        above=0,
    )
    temperature_step: float = option(
        0.34,
        meaning=(
            "what the temperature falls by from round to round; the rounds end at 0"
        ),
        unit="`temperature_unit`",
        was="--annealingStep",
        above=0,
    )
    temperature_unit: Literal["sigma", "score"] = option(
        "sigma",
        meaning=(
            "unit of the temperature: sigma = standard deviation of all scores of "
            "the round, score = the scores themselves"
        ),
        was="SigmaTemperature, AnnealingTemperature",
    )
    local_iterations: int = option(
        5,
        meaning="iterations of EXMX in every round",
        unit="iterations",
        was="-n, --numberRefinementIterations",
        at_least=1,
    )
    criterion: Literal["metropolis", "heat_bath", "threshold", "pytom"] = option(
        "metropolis",
        meaning=(
            "how particles move to a worse class: metropolis, heat_bath, threshold "
            "(accepting), or pytom = PyTom's scan of the classes, which compat: "
            "pytom takes"
        ),
        was="MetropolisCriterion, ThresholdAcceptance",
    )
    allow_class_collapse: bool = option(
        False,
        meaning="whether the moves may empty a class",
        was="AllowClassCollapse",
    )
