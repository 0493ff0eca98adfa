"""PyTom's particle lists, alignment lists, swap lists and classification jobs (XML).

Angles are in degrees and shifts in voxels of the unbinned subtomogram here, as in the
files; numbers are kept so that what is read and written again stays the same text.
"""

from __future__ import annotations

import math
import os
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryokin.errors import InputError
from cryokin.files import write_text
from cryokin.io import quantities
from cryokin.io.quantities import Quantity

COMMENT = "<!-- PyTom Version: 1.0 -->"
WORST_SCORE_OF_OTHERS = -1e10
SINGLE_WEDGES = ("SingleTiltWedge", "WedgeInfo")
WEDGES = (*SINGLE_WEDGES, "DoubleTiltWedge", "GeneralWedge", "Wedge3dCTF")
LOCAL_SEARCH = Quantity("number of iterations", "", 0, 2**31 - 1)
COUNT = Quantity("number", "", 1, 2**31 - 1, whole=True)
FREQUENCY = Quantity("frequency", "Fourier pixel", 0, 1e6)
EULER, AXES = ("Z1", "Z2", "X"), ("X", "Y", "Z")
UNACCOUNTED = "-1"  # class of the particles that are in none, in lists of this program


@dataclass(frozen=True)
class SingleTiltWedge:
    """The missing wedge of one tilt series about an axis.

    Attributes
    ----------
    angle1, angle2 : float
        Half openings, 90 - largest tilt, on the +x and the -x side [degree].
    cutoff : float
        Radius beyond which nothing is sampled [Fourier pixel]; 0: half the box.
    smooth : float
        Width of the wedge's edge [Fourier pixel].
    tilt_axis : tuple of float
        Rotation (Z1, Z2, X) that takes the y axis to the tilt axis [degree].
    """

    angle1: float = 0.0
    angle2: float = 0.0
    cutoff: float = 0.0
    smooth: float = 0.0
    tilt_axis: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class DoubleTiltWedge:
    """The wedge of two tilt series about two axes."""

    first: SingleTiltWedge
    second: SingleTiltWedge


@dataclass(frozen=True)
class GeneralWedge:
    """A weight volume in a file, full size, zero frequency in the centre."""

    file: str


@dataclass(frozen=True)
class Wedge3dCTF:
    """A three-dimensional CTF in a file, half size, zero frequency at index 0.

    Attributes
    ----------
    file : str
    max_resolution : float
        PyTom's, kept as it is.
    premultiplied : bool
        The data are a sum of images that were each multiplied by their CTF, and the
        file holds the sum of the squares of these CTFs (RELION 4 and 5).
    """

    file: str
    max_resolution: float = 0.0
    premultiplied: bool = False


Wedge = SingleTiltWedge | DoubleTiltWedge | GeneralWedge | Wedge3dCTF


@dataclass(frozen=True)
class Score:
    """A score; ``value`` is None where it was never set."""

    type: str = "FLCFScore"
    value: float | None = 0.0
    remove_autocorrelation: str = "False"
    prior: tuple[tuple[str, str], ...] = (
        ("Filename", ""),
        ("Radius", "0.0"),
        ("Smooth", "-1.0"),
    )
    extra: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Particle:
    """One subtomogram: the file is the reference, rotated, then shifted.

    Attributes
    ----------
    file : str
        Volume; a relative name belongs to the folder where the list is used.
    rotation : tuple of float
        (Z1, Z2, X), ZXZ [degree].
    shift : tuple of float
        (x, y, z) [voxel].
    position : tuple of float
        (x, y, z) in the tomogram [voxel].
    origin : str
        The tomogram.
    position_binning, reference_marker : str
        Further attributes of the position, kept as they are.
    wedge : Wedge
        What was sampled; zero angles: everything.
    project : str
        PyTom's project folder.
    score : Score
        Score of the last comparison.
    label : str or None
        Class; None where the list has none.
    """

    file: str
    rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    origin: str = ""
    position_binning: str = "1"
    reference_marker: str = "1"
    wedge: Wedge = field(default_factory=SingleTiltWedge)
    project: str = ""
    score: Score = field(default_factory=Score)
    label: str | None = "0"

    def classified(self, label: str | None, score: float | None = None) -> Particle:
        """Return the particle with another class and, if given, another score."""
        if score is None:
            return replace(self, label=label)
        return replace(self, label=label, score=replace(self.score, value=score))


def read_particle_list(path: str | os.PathLike[str]) -> list[Particle]:
    """Read a ParticleList; every child element is optional, where all lack it.

    Raises
    ------
    InputError
        If the file is no ParticleList, or a number in it is none.
    """
    root = _root(path, ("ParticleList",))
    return _particles(path, root)


def write_particle_list(
    path: str | os.PathLike[str], particles: Iterable[Particle]
) -> None:
    """Write a ParticleList in PyTom's layout, atomically."""
    root = ET.Element("ParticleList")
    root.extend(_particle_element(particle) for particle in particles)
    _write(path, root)


def split_by_class(particles: Sequence[Particle]) -> dict[str, list[int]]:
    """Return the members of every class, as PyTom's ``splitByClass`` orders them.

    Labels are sorted as text ("10" before "2"); particles without a class are in none.

    Returns
    -------
    dict of str to list of int
        Positions in ``particles`` by label.
    """
    labels = sorted({p.label for p in particles if p.label is not None})
    return {
        label: [i for i, p in enumerate(particles) if p.label == label]
        for label in labels
    }


def write_alignment_list(
    path: str | os.PathLike[str],
    particles: Sequence[Particle],
    scores: Sequence[float],
    reference: str,
) -> None:
    """Write PyTom's AlignmentList: the score of every particle against one average.

    Parameters
    ----------
    path : path-like
        Name of the file.
    particles : sequence of Particle
        With the class and the score they had before the comparison.
    scores : sequence of float
        Their scores against ``reference``.
    reference : str
        File of the class average (``.em``); its side files are named after it.
    """
    root = ET.Element("AlignmentList")
    for particle, score in zip(particles, scores, strict=True):
        result = ET.SubElement(root, "Result")
        _fill_result(result, particle, score, reference)
    _write(path, root)


def write_swap_list(
    path: str | os.PathLike[str], jumps: Iterable[dict[str, Any]]
) -> None:
    """Write PyTom's ``swapList.xml``: the moves to a worse class.

    Parameters
    ----------
    path : path-like
        Name of the file.
    jumps : iterable of dict
        Each with ``particle`` (Particle), ``old_score``, ``new_score``, ``random``,
        ``reference``, ``temperature`` and ``step``.
    """
    root = ET.Element("ClusterSwapList")
    for jump in jumps:
        element = ET.SubElement(
            root,
            "Jump",
            OldScore=_text(jump["old_score"]),
            NewScore=_text(jump["new_score"]),
            RandomNumber=_text(jump["random"]),
            Criterion="MetropolisCriterion",
        )
        result = ET.SubElement(element, "Result")
        _fill_result(result, jump["particle"], jump["new_score"], jump["reference"])
        ET.SubElement(
            element,
            "AnnealingTemperature",
            Name="SigmaTemperature",
            Temperature=_text(jump["temperature"]),
            TemperatureStep=_text(jump["step"]),
        )
    _write(path, root)


def read_job(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a classification job of PyTom (MCOEXMXJob or MCOACJob).

    Returns
    -------
    dict
        ``method`` ("mco_exmx" or "mco_ac"), ``particles`` (list of Particle), ``mask``,
        ``mask_is_sphere``, ``nclass``,
        ``iterations``, ``end_threshold``, ``binning``, ``lowest_frequency`` and
        ``highest_frequency`` [Fourier pixel of the binned box; below 1: fraction of
        the box], ``smooth``, ``score``, ``symmetry``, ``symmetry_type``,
        ``symmetry_z2``, ``symmetry_x`` [degree], ``pixel_size`` [angstrom],
        ``adaptive_resolution``, ``frm_alignment``, ``unknown`` (further elements that
        change the result); for mco_ac also ``temperature_type``, ``temperature``,
        ``temperature_step``, ``local_iterations``, ``criterion``,
        ``allow_class_collapse``.

    Raises
    ------
    InputError
        If the file is no such job, or a part of it is missing or unreadable.
    """
    root = _root(path, ("MCOEXMXJob", "MCOACJob"))
    description = _find(path, root, "ExpectationMaximisationJob/Description")
    mask = _find(path, description, "Mask")
    bandpass = description.find("Preprocessing/Bandpass")
    symmetry = description.find("Symmetry")
    sample = description.find("SampleInformation")
    score = description.find("Score")

    def number(
        element: ET.Element | None,
        name: str,
        default: float,
        quantity: Quantity | None = None,
    ) -> float:
        if element is None:
            return default
        return _number(path, element, name, default, quantity)

    def count(element: ET.Element, name: str, default: float | None = None) -> int:
        return int(_number(path, element, name, default, COUNT))

    def truth(element: ET.Element, name: str, default: str = "") -> bool:
        return _truth(path, element, name, default)

    options: dict[str, Any] = {
        "method": "mco_exmx" if root.tag == "MCOEXMXJob" else "mco_ac",
        "particles": _job_particles(path, description),
        "mask": mask.get("Filename", ""),
        "mask_is_sphere": truth(mask, "isSphere", "True"),
        "nclass": count(root, "NumberClasses"),
        "iterations": count(root, "NumberIterations"),
        "end_threshold": _number(path, root, "EndThreshold"),
        "binning": count(description, "Binning", 1),
        "lowest_frequency": number(bandpass, "LowestFrequency", 0.0, FREQUENCY),
        "highest_frequency": number(bandpass, "HighestFrequency", 1.0, FREQUENCY),
        "smooth": number(bandpass, "Smooth", 0.0),
        "score": score.get("Type", "FLCFScore") if score is not None else "FLCFScore",
        # NumberSymmetries, Psi and Theta are the older names.
        "symmetry": number(symmetry, "NFold", number(symmetry, "NumberSymmetries", 1)),
        "symmetry_type": "" if symmetry is None else symmetry.get("Type", ""),
        "symmetry_z2": number(symmetry, "Z2", number(symmetry, "Psi", 0.0)),
        "symmetry_x": number(symmetry, "X", number(symmetry, "Theta", 0.0)),
        "pixel_size": number(sample, "PixelSize", 0.0),
        "adaptive_resolution": truth(description, "AdaptiveResolution"),
        "frm_alignment": truth(root, "FRMAlignment"),
        "unknown": [
            e.tag
            for e in description.iterfind("Preprocessing/*")
            if e.tag != "Bandpass"
        ],
    }
    if root.tag == "MCOACJob":
        temperature = _find(path, root, "AnnealingTemperature")
        criterion = root.find("AnnealingCriterion")
        if criterion is None:
            criterion = ET.Element("AnnealingCriterion")
        options |= {
            "temperature_type": temperature.get("Name", "SigmaTemperature"),
            "temperature": _number(path, temperature, "Temperature"),
            "temperature_step": _number(path, temperature, "TemperatureStep"),
            "local_iterations": int(
                _number(path, root, "LocalSearchIncrement", 1, LOCAL_SEARCH)
            ),
            "criterion": criterion.get("Name", "MetropolisCriterion"),
            "allow_class_collapse": truth(criterion, "AllowClassCollapse"),
        }
    return options


# ---------------------------------------------------------------------------- reading


def _root(path: str | os.PathLike[str], allowed: tuple[str, ...]) -> ET.Element:
    try:
        root = ET.parse(path).getroot()
    except (ET.ParseError, LookupError, ValueError) as error:  # unknown encoding, too
        raise InputError(
            f"{path}: not readable as XML ({error}); give a file written by PyTom."
        ) from None
    if root.tag not in allowed:
        raise InputError(
            f"{path}: the root element is {root.tag}, expected"
            f" {' or '.join(allowed)}; give a file of that kind."
        )
    return root


def _find(path: str | os.PathLike[str], parent: ET.Element, name: str) -> ET.Element:
    found = parent.find(name)
    if found is None:
        raise InputError(
            f"{path}: {parent.tag} has no {name}; write the job again with PyTom's"
            " job script or add the element."
        )
    return found


def _number(
    path: str | os.PathLike[str],
    element: ET.Element,
    name: str,
    default: float | None = None,
    quantity: Quantity | None = None,
    of: str = "",
) -> float:
    """Return a number that can be; ``of`` says of which particle, for a message."""
    text = element.get(name)
    if text is None and default is not None:
        return default
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    low, high = (quantity.low, quantity.high) if quantity else (-1e300, 1e300)
    if low <= value <= high and not (quantity and quantity.whole):
        return value
    where = f"{name} of {element.tag}{of}"
    return quantities.number(path, where, text or "", quantity)


def _truth(
    path: str | os.PathLike[str],
    element: ET.Element,
    name: str,
    default: str = "",
    of: str = "",
) -> bool:
    where = f"{name} of {element.tag}{of}"
    return quantities.flag(path, where, element.get(name, default))


def _triple(
    path: str | os.PathLike[str],
    element: ET.Element | None,
    names: tuple[str, str, str],
    quantity: Quantity,
    of: str,
    default: float | None = 0.0,
) -> tuple[float, float, float]:
    if element is None:
        return (0.0, 0.0, 0.0)
    first, second, third = (
        _number(path, element, name, default, quantity, of) for name in names
    )
    return (first, second, third)


def _particles(path: str | os.PathLike[str], parent: ET.Element) -> list[Particle]:
    elements = parent.findall("Particle")
    for tag in ("Rotation", "Shift", "Wedge"):
        has = [element.find(tag) is not None for element in elements]
        if any(has) and not all(has):
            raise InputError(
                f"{path}: particle {has.index(False) + 1} has no {tag}, but others have"
                " one; give it to all particles, or to none."
            )
    return [_particle(path, *known) for known in enumerate(elements, start=1)]


def _name(path: str | os.PathLike[str], text: str, of: str) -> str:
    """Return a name, which a STAR table must be able to hold, too."""
    if len(text.splitlines()) > 1 or ("'" in text and '"' in text):
        raise InputError(
            f"{path}: the name {text!r}{of} holds a line break or both kinds of"
            " quotation marks, which no table can hold; rename it."
        )
    return text


def _particle(
    path: str | os.PathLike[str], number: int, element: ET.Element
) -> Particle:
    """Return a particle; ``number`` counts from 1, for messages."""
    of = f" of particle {number}"
    file = _name(path, element.get("Filename", ""), of)
    if not file:
        raise InputError(
            f"{path}: particle {number} has no Filename; give every particle its"
            " volume."
        )
    of = f"{of} ({file})"
    rotation = element.find("Rotation")
    paradigm = "ZXZ" if rotation is None else rotation.get("Paradigm", "ZXZ")
    if paradigm.upper() != "ZXZ":
        raise InputError(
            f"{path}: {file} has angles of paradigm {paradigm}, expected ZXZ;"
            " convert the list to ZXZ angles."
        )
    shift, pick = element.find("Shift"), element.find("PickPosition")
    info = element.find("InfoGUI")
    label = element.find("Class")
    return Particle(
        file=file,
        rotation=_triple(path, rotation, EULER, quantities.ANGLE, of, None),
        shift=_triple(path, shift, AXES, quantities.SHIFT, of, None),
        position=_triple(path, pick, AXES, quantities.POSITION, of),
        origin="" if pick is None else _name(path, pick.get("Origin", ""), of),
        position_binning="1" if pick is None else pick.get("Binning", "1"),
        reference_marker="1" if pick is None else pick.get("RefMarkIndex", "1"),
        wedge=_wedge(path, element, of),
        project="" if info is None else info.get("ProjectDir", ""),
        score=_score(path, element.find("Score"), of),
        label=None if label is None else label.get("Name", "0"),
    )


def _wedge(path: str | os.PathLike[str], particle: ET.Element, of: str) -> Wedge:
    parent = particle.find("Wedge")
    found = None
    for place in (parent, particle) if parent is not None else (particle,):
        found = found if found is not None else _first(place, WEDGES)
    if found is None:
        return SingleTiltWedge()
    if found.tag in SINGLE_WEDGES:
        return checked(_single_wedge(path, found, of), path, of)
    if found.tag == "DoubleTiltWedge":
        singles = [child for child in found if child.tag in SINGLE_WEDGES]
        if len(singles) != 2:
            raise InputError(
                f"{path}: a DoubleTiltWedge has {len(singles)} SingleTiltWedge"
                " elements, expected 2; correct the list."
            )
        both = DoubleTiltWedge(*(_single_wedge(path, child, of) for child in singles))
        return checked(both, path, of)
    if found.tag == "GeneralWedge":
        return GeneralWedge(found.get("Filename", ""))
    resolution = _number(path, found, "CtfMaxResolution", 0.0, None, of)
    premultiplied = _truth(path, found, "CtfPremultiplied", of=of)
    return Wedge3dCTF(found.get("Filename", ""), resolution, premultiplied)


def checked(
    wedge: SingleTiltWedge | DoubleTiltWedge, path: str | os.PathLike[str], of: str
) -> SingleTiltWedge | DoubleTiltWedge:
    """Return a wedge, or raise `InputError` where it leaves nothing but a plane.

    Parameters
    ----------
    wedge : SingleTiltWedge or DoubleTiltWedge
    path : path-like
        Where it was read, for messages.
    of : str
        Of what it is the wedge, for messages, such as `` of particle 3``.
    """
    parts = [wedge] if isinstance(wedge, SingleTiltWedge) else vars(wedge).values()
    if all(part.angle1 == part.angle2 == 90 for part in parts):
        raise InputError(
            f"{path}: both angles of the missing wedge{of} are 90 degrees, so nothing"
            " was sampled, expected 90 - largest tilt on either side, such as 30 and"
            " 30; correct them."
        )
    return wedge


def _first(parent: ET.Element, tags: tuple[str, ...]) -> ET.Element | None:
    return next((child for child in parent if child.tag in tags), None)


def _single_wedge(
    path: str | os.PathLike[str], element: ET.Element, of: str
) -> SingleTiltWedge:
    def number(name: str, default: float, quantity: Quantity) -> float:
        return _number(path, element, name, default, quantity, of)

    axis = element.find("TiltAxisRotation")
    both = number("Angle", 0.0, quantities.WEDGE_ANGLE)
    return SingleTiltWedge(
        angle1=number("Angle1", both, quantities.WEDGE_ANGLE),
        angle2=number("Angle2", both, quantities.WEDGE_ANGLE),
        cutoff=number("CutoffRadius", 0.0, FREQUENCY),
        smooth=number("Smooth", 0.0, quantities.WEDGE_SMOOTH),
        tilt_axis=_triple(path, axis, EULER, quantities.ANGLE, of),
    )


def _score(path: str | os.PathLike[str], element: ET.Element | None, of: str) -> Score:
    if element is None:
        return Score()
    kind = element.get("Type", "FLCFScore")
    unset = element.get("Value", "NAN").upper() == "NAN"
    prior = element.find("PeakPrior")
    if prior is None:
        prior = element.find("DistanceFunction")
    known = ("Type", "Value", "RemoveAutocorr")
    return Score(
        type="FLCFScore" if kind == "undefined" else kind,
        value=None if unset else _number(path, element, "Value", of=of),
        remove_autocorrelation=element.get("RemoveAutocorr", "False"),
        prior=Score.prior if prior is None else _prior(prior),
        extra=tuple((k, v) for k, v in element.attrib.items() if k not in known),
    )


def _prior(element: ET.Element) -> tuple[tuple[str, str], ...]:
    """Return the attributes of a PeakPrior; the older DistanceFunction is one, too."""
    if element.tag == "PeakPrior":
        return tuple(element.attrib.items())
    return (
        ("Filename", element.get("Filename", "")),
        ("Radius", element.get("Mean", "0.0")),
        ("Smooth", element.get("Deviation", "-1.0")),
    )


def _job_particles(
    path: str | os.PathLike[str], description: ET.Element
) -> list[Particle]:
    particles = _find(path, description, "ParticleList")
    if particles.get("Filename"):
        folder = Path(path).parent
        return read_particle_list(folder / particles.attrib["Filename"])
    return _particles(path, particles)


# ---------------------------------------------------------------------------- writing


def _text(value: float | None) -> str:
    return "NAN" if value is None else repr(float(value))


def _write(path: str | os.PathLike[str], root: ET.Element) -> None:
    ET.indent(root)
    # PyTom's library closes empty elements without a blank before the slash.
    body = ET.tostring(root, encoding="unicode").replace(" />", "/>")
    write_text(path, f"{COMMENT}\n{body}")


def _particle_element(particle: Particle) -> ET.Element:
    element = ET.Element("Particle", Filename=particle.file)
    _rotation(element, particle.rotation)
    _shift(element, particle.shift)
    ET.SubElement(
        element,
        "PickPosition",
        dict(zip("XYZ", map(_text, particle.position), strict=True)),
        Origin=particle.origin,
        Binning=particle.position_binning,
        RefMarkIndex=particle.reference_marker,
    )
    wedge = ET.SubElement(element, "Wedge", Type=type(particle.wedge).__name__)
    wedge.append(_wedge_element(particle.wedge))
    ET.SubElement(element, "InfoGUI", ProjectDir=particle.project)
    _score_element(element, particle.score)
    if particle.label is not None:
        ET.SubElement(element, "Class", Name=particle.label)
    return element


def _rotation(parent: ET.Element, angles: tuple[float, float, float]) -> ET.Element:
    names = dict(zip(("Z1", "Z2", "X"), map(_text, angles), strict=True))
    return ET.SubElement(parent, "Rotation", names, Paradigm="ZXZ")


def _shift(parent: ET.Element, shift: tuple[float, float, float]) -> None:
    ET.SubElement(parent, "Shift", dict(zip("XYZ", map(_text, shift), strict=True)))


def _wedge_element(wedge: Wedge) -> ET.Element:
    if isinstance(wedge, SingleTiltWedge):
        element = ET.Element(
            "SingleTiltWedge",
            Angle1=_text(wedge.angle1),
            Angle2=_text(wedge.angle2),
            CutoffRadius=_text(wedge.cutoff),
            Smooth=_text(wedge.smooth),
        )
        names = dict(zip(("Z1", "Z2", "X"), map(_text, wedge.tilt_axis), strict=True))
        ET.SubElement(element, "TiltAxisRotation", names)
        return element
    if isinstance(wedge, DoubleTiltWedge):
        element = ET.Element("DoubleTiltWedge")
        element.extend(map(_wedge_element, (wedge.first, wedge.second)))
        return element
    if isinstance(wedge, GeneralWedge):
        return ET.Element("GeneralWedge", Filename=wedge.file)
    resolution = _text(wedge.max_resolution)
    element = ET.Element("Wedge3dCTF", Filename=wedge.file, CtfMaxResolution=resolution)
    if wedge.premultiplied:  # PyTom knows no such data, and reads over it
        element.set("CtfPremultiplied", "True")
    return element


def _score_element(parent: ET.Element, score: Score) -> None:
    element = ET.SubElement(
        parent,
        "Score",
        Type=score.type,
        Value=_text(score.value),
        RemoveAutocorr=score.remove_autocorrelation,
    )
    element.attrib.update(score.extra)
    ET.SubElement(element, "PeakPrior", dict(score.prior))


def _fill_result(
    result: ET.Element, particle: Particle, score: float, reference: str
) -> None:
    result.append(_particle_element(particle))
    stem = reference.removesuffix(".em")
    ET.SubElement(
        result,
        "Reference",
        File=reference,
        Weighting=f"{stem}-WedgeSumUnscaled.em",
        PreWedge=f"{stem}-PreWedge.em",
        FSCFilter="",
    )
    _shift(result, particle.shift)
    _rotation(result, particle.rotation)
    _score_element(result, replace(particle.score, value=score))
    angles = ET.SubElement(result, "Angles", Type="OneAngleList")
    _rotation(angles, particle.rotation).set("Index", "0")
