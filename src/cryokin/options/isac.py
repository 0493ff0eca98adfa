"""The options of ISAC, under the names of the program sxisac."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cryokin.options.option import Mapped, Options, option


@dataclass(frozen=True, kw_only=True)
class Isac(Options):
    """Iterative stable alignment and clustering (ISAC).

    Yang et al. 2012, Structure 20:237-247.
    """

    particles: str = option(
        meaning=(
            "particle images: a STAR file (RELION 3.1, 4, 5 or older), a `.mrcs` "
            "or `.mrc` stack, an EMAN2 `.hdf` stack or a cryoSPARC `.cs` file; or "
            "particles of another run of the same kind, which is then done first"
        ),
        was="stack_file",
    )
    pixel_size: float | None = option(
        None,
        meaning="pixel size of the particle images; overrides what their file says",
        unit="Å",
        above=0,
    )
    slab: float | None = option(
        None,
        meaning=(
            "`particles` are subtomograms, of which central slabs of this thickness "
            "are classified; null = they are images"
        ),
        unit="Å",
        above=0,
    )
    radius: int = option(
        meaning="particle radius in the input images; the circle must fit the box",
        unit="pixel",
        was="--radius",
        at_least=1,
        unless="diameter",
    )
    diameter: float = option(
        meaning=(
            "particle diameter, in the place of `radius`, which is half of it to "
            "the next pixel"
        ),
        unit="Å",
        above=0,
        unless="radius",
    )
    img_per_grp: int = option(
        100,
        meaning=(
            "images per class: n images are sorted into n // `img_per_grp` classes "
            "of equal size, of which the stable members remain; at least 4 x "
            "`img_per_grp` images are needed"
        ),
        unit="images",
        was="--img_per_grp",
        at_least=1,
    )
    CTF: bool | Literal["auto"] = option(
        "auto",
        meaning=(
            "flip the phases with the CTF that the particle table describes; auto = "
            "if it describes one that the images still have"
        ),
        was="--CTF",
        word="auto",
    )
    ctf_convention: Literal["auto", "eman2", "sphire"] = option(
        "auto",
        meaning=(
            "whose convention the `ctf` attributes of an EMAN2 `.hdf` stack "
            "follow, which differ in astigmatism and phase plates: auto = as the "
            "stack tells, and refused where it does not"
        ),
    )
    highpass_A: float | None = option(
        None,
        meaning=(
            "the images that are aligned and classified lose what is coarser, with a "
            "soft edge that lets half through at this period: the density of a "
            "micelle, or of an uneven background; some diameters of the particle, "
            "null = nothing is lost"
        ),
        unit="Å",
        above=0,
    )
    xr: int = option(
        1,
        meaning="range of the shift search in x; the working box grows by `xr` - 1",
        unit="working pixel",
        was="--xr",
        at_least=0,
    )
    yr: int = option(
        -1,
        meaning="range of the shift search in y; -1 = as `xr`",
        unit="working pixel",
        was="--yr",
        at_least=-1,
    )
    ts: float = option(
        1.0,
        meaning="step of the shift search",
        unit="working pixel",
        was="--ts",
        above=0,
    )
    thld_err: float = option(
        0.7,
        meaning=(
            "largest pixel error of a stable member: the root mean square "
            "distance, over the disc of the particle and the repeated alignments, "
            "between where the alignments put a pixel and where their mean puts "
            "it; with another `target_radius`, scale it likewise"
        ),
        unit="working pixel",
        was="--thld_err",
        above=0,
    )
    target_radius: int = option(
        29,
        meaning=(
            "particle radius in the working images; the input is resampled by "
            "`target_radius` / `radius`"
        ),
        unit="working pixel",
        was="--target_radius",
        at_least=4,
    )
    target_nx: int = option(
        76,
        meaning=(
            "box of the working images: `target_nx` + `xr` - 1; at least 2 "
            "(`target_radius` + shift range + 1)"
        ),
        unit="working pixel",
        was="--target_nx",
        at_least=12,
    )
    ir: int = option(
        1,
        meaning="innermost ring of the polar sampling; below `target_radius`",
        unit="working pixel",
        was="--ir",
        at_least=1,
    )
    rs: int = option(
        1,
        meaning="distance of the rings of the polar sampling",
        unit="working pixel",
        was="--rs",
        at_least=1,
    )
    maxit: int = option(
        30,
        meaning=(
            "iterations of the reference-free alignment within a class, of which "
            "one in three is a pass; below 5 there would be a single one, and no "
            "class be found"
        ),
        unit="iterations",
        was="--maxit",
        at_least=5,
    )
    center_method: int = option(
        -1,
        meaning=(
            "how the global average is centred in the prealignment: -1 = by the "
            "mean shift of the particles, 0 = not at all, 1 = centre of gravity by "
            "phases, 2 = correlation with a Gaussian, 3 = with a ring, 4 = with "
            "the disc of the particle, 5 = with its own rotational average, 6 = "
            "centre of gravity above a threshold, 7 = centre of the thresholded "
            "shape"
        ),
        was="--center_method",
        at_least=-1,
        at_most=7,
    )
    dst: float = option(
        90.0,
        meaning=(
            "discrete angle of the early iterations within a class: every fourth "
            "tries only its multiples; 0 = never"
        ),
        unit="degree",
        was="--dst",
        at_least=0,
        below=360,
    )
    FL: float = option(
        0.2,
        meaning="lowest cut-off of the tangent low-pass filter; below `FH`",
        unit="1 / working pixel",
        was="--FL",
        above=0,
        at_most=0.5,
    )
    FH: float = option(
        0.3,
        meaning="highest cut-off of the tangent low-pass filter",
        unit="1 / working pixel",
        was="--FH",
        above=0,
        at_most=0.5,
    )
    FF: float = option(
        0.2,
        meaning="fall-off of the tangent low-pass filter",
        unit="relative to the cut-off",
        was="--FF",
        above=0,
        at_most=1,
    )
    init_iter: int = option(
        3,
        meaning="passes of the clustering that makes the first references",
        unit="passes",
        was="--init_iter",
        at_least=1,
    )
    main_iter: int = option(
        3,
        meaning="passes of the clustering whose classes are tested for stability",
        unit="passes",
        was="--main_iter",
        at_least=1,
    )
    iter_reali: int = option(
        1,
        meaning="stability is tested every so many passes; divides `main_iter`",
        unit="passes",
        was="--iter_reali",
        at_least=1,
    )
    match_first: int = option(
        1,
        meaning="clustering and 2-way matching in a round of candidates",
        unit="times",
        was="--match_first",
        at_least=1,
    )
    max_round: int = option(
        20,
        meaning=(
            "most rounds of candidates in a generation; one that puts less than a "
            "tenth of its particles into candidates is the last"
        ),
        unit="rounds",
        was="--max_round",
        at_least=1,
        at_most=9999,
    )
    match_second: int = option(
        5,
        meaning=(
            "most iterations of clustering and matching for the reproducible "
            "classes: in the first half 2 runs must agree, then 3, in the last as "
            "many as `thld_rep` says; by view, an iteration that brings next to "
            "nothing is the last; by members the last matches `indep_run`"
        ),
        unit="iterations",
        was="--match_second",
        at_least=1,
    )
    stab_ali: int = option(
        5,
        meaning="repeated alignments of a class that is tested for stability",
        unit="alignments",
        was="--stab_ali",
        at_least=2,
    )
    indep_run: int = option(
        4,
        meaning="independent runs, all of which the last matching compares",
        unit="runs",
        was="--indep_run",
        at_least=2,
        at_most=4,
    )
    thld_grp: int = option(
        10,
        meaning=(
            "fewest members of a reproducible class; a class of exactly this size "
            "counts; at most `img_per_grp`"
        ),
        unit="images",
        was="--thld_grp",
        at_least=1,
    )
    match_by: Literal["view", "members"] = option(
        "view",
        meaning=(
            "what independent runs must agree on: that a particle shows the same "
            "picture, the average of its class as it lies on it, or that the same "
            "particles are together in a class"
        ),
    )
    thld_rep: float = option(
        0.6,
        meaning=(
            "least reproduction: by view, the share of the other runs that agree "
            "on a particle, at least one run; by members, the share of the runs' "
            "classes that a class holds, where 0 is sxisac's rule"
        ),
        at_least=0,
        at_most=1,
    )
    last_assignment: bool = option(
        True,
        meaning=(
            "at the end of a generation all its particles are compared with the "
            "reproduced averages, and those that are stable in the nearest class "
            "are its members; false: only those that the runs agree on, as in "
            "sxisac"
        ),
    )
    n_generations: int = option(
        10,
        meaning=(
            "most generations; the run ends earlier when one accounts for less "
            "than one in 20 of its particles"
        ),
        unit="generations",
        was="--n_generations",
        at_least=1,
        at_most=9999,
    )
    rand_seed: int | None = option(
        0,
        meaning=(
            "seed of everything random: same seed, same bytes, whatever the number "
            "of ranks; null: a random one (`sxisac`: always), drawn at the first "
            "call and kept in `results/<run>/rand_seed.txt`, without which the "
            "next call draws another"
        ),
        was="--rand_seed, there a new one each time",
        at_least=0,
    )
    extends: str | None = option(
        None,
        meaning=(
            "an earlier run to whose table images were appended: its classes and "
            "their members stay, new images join them by the same test, and what "
            "is left starts the next generation; null = off"
        ),
        examples=("demo",),
    )
    skip_prealignment: bool = option(
        False,
        meaning="take the images as they are centred in their boxes",
        was="--skip_prealignment",
    )
    select: Mapped | None = option(
        None,
        meaning=(
            "classes that are kept where there is no selection by hand: at least "
            "so many particles, at most so many Å and pixels, at least this share; "
            "null = off; see below"
        ),
        unit="images, Å, working pixel, share",
        examples=("{size: 20, reproduction: 0.8}", "{classes: [1, 4]}"),
        shape={
            "properties": {
                "size": {"type": "integer", "minimum": 1},
                "resolution": {"type": "number", "exclusiveMinimum": 0},
                "pixel_error": {"type": "number", "exclusiveMinimum": 0},
                "reproduction": {"type": "number", "minimum": 0, "maximum": 1},
                "classes": {
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": "integer", "minimum": 1},
                },
            },
            "minProperties": 1,
        },
    )
    selection: str | None = option(
        None,
        meaning=(
            "the file of the selection by hand, or a stack of the averages to "
            "keep, as e2display.py saves it (`select1.hdf`); null = "
            "`config/selection/<run>.yaml`, where there is one"
        ),
    )
    tilted: str | Mapped | None = option(
        None,
        meaning=(
            "tilted counterparts of the particles, for random conical tilt: in the "
            "same order, or with the same value in the column `match`"
        ),
        examples=("the path of a file", "{particles: tilted.star, match: myPair}"),
        shape={
            "properties": {
                "particles": {"type": "string", "minLength": 1},
                "match": {"type": "string", "minLength": 1},
            },
            "required": ["particles", "match"],
        },
    )
