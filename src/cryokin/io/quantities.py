"""What files tell: the unit and the range of every quantity, in one place.

A reader that takes a number from a file takes it through `numbers` or `number`, which
refuse what is no number, not finite or impossible, and say where it stands. A range is
that of what can be, not of what is usual: what lies outside is a mistake of unit (volts
for kilovolts, per cent for a fraction) or a broken file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryokin.errors import InputError


@dataclass(frozen=True)
class Quantity:
    """A kind of number that files hold.

    Attributes
    ----------
    name : str
        In words, for messages.
    unit : str
        In words; empty if it has none.
    low, high : float
        The range, both ends in it.
    above_low : bool
        Whether the lower end itself is outside.
    whole : bool
        Whether it counts something, so that 1.5 is none.
    """

    name: str
    unit: str
    low: float
    high: float
    above_low: bool = False
    whole: bool = False

    def holds(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which numbers can be such a quantity."""
        above = values > self.low if self.above_low else values >= self.low
        # A comparison with nan is false.
        inside: NDArray[np.bool_] = above & (values <= self.high)
        if self.whole:
            inside &= values == np.floor(values)
        return inside

    def __str__(self) -> str:
        """Return name, range and unit."""
        low = f"above {self.low:.10g}" if self.above_low else f"{self.low:.10g}"
        kind = ", a whole number" if self.whole else ""
        return f"{self.name}{kind}, {low} to {self.high:.10g} {self.unit}".rstrip()


VOLTAGE = Quantity("acceleration voltage", "kV", 50, 1000)
# Below 0 in microscopes with a corrector.
SPHERICAL_ABERRATION = Quantity("spherical aberration", "mm", -10, 10)
AMPLITUDE_CONTRAST = Quantity("amplitude contrast", "(a fraction)", 0, 1)
DEFOCUS = Quantity("defocus", "A", -500_000, 500_000)
DEFOCUS_MICROMETRE = Quantity("defocus", "micrometre", -50, 50)
# EMAN2 has a phase shift of up to half a turn in it.
CONTRAST_PERCENT = Quantity("amplitude contrast", "per cent", -200, 200)
PHASE_SHIFT = Quantity("phase shift", "degree", -360, 360)
PIXEL_SIZE = Quantity("pixel size", "A", 0, 1000, above_low=True)
SAME_SIZE = 0.01  # relative difference of pixel sizes that rounding explains
DETECTOR_PIXEL = Quantity("pixel of the detector", "micrometre", 0, 1e4, above_low=True)
MAGNIFICATION = Quantity("magnification", "", 0, 1e8, above_low=True)
# Angles may have been added up over several turns.
ANGLE = Quantity("angle", "degree", -3600, 3600)
TILT = Quantity("tilt", "degree", -90, 90)
#: What is missing on one side: 90 - largest tilt. Two of 90 leave nothing.
WEDGE_ANGLE = Quantity("angle of the missing wedge", "degree", 0, 90)
WEDGE_SMOOTH = Quantity("smoothing of the wedge", "Fourier pixel", 0, 1000)
SHIFT = Quantity("shift", "pixel", -10_000, 10_000)
SHIFT_A = Quantity("shift", "A", -100_000, 100_000)
POSITION = Quantity("coordinate", "pixel", -1e7, 1e7)
IMAGE_NUMBER = Quantity("number of an image, from 1", "", 1, 2**31 - 1, whole=True)
IMAGE_INDEX = Quantity("number of an image, from 0", "", 0, 2**31 - 2, whole=True)
BOX = Quantity("image size", "pixel", 1, 2**13, whole=True)
PLACE_A = Quantity("coordinate", "A", -1e8, 1e8)
DOSE = Quantity("electron dose", "electron / A^2", 0, 10_000)
# Programs before RELION 4 wrote one below 0 for what falls off.
B_FACTOR = Quantity("B-factor", "A^2", -10_000, 10_000)
PER_DOSE = Quantity("B-factor per dose", "A^4 / electron", 0, 1000)
CTF_SCALE = Quantity("scale of the CTF", "", 0, 1000)
EDGE = Quantity("size of a tomogram", "pixel", 1, 1e6)
SIGN = Quantity("sign", "", -1, 1)
CORRELATION = Quantity("correlation", "", -1.001, 1.001)

#: The columns of RELION's tables that are numbers this program uses.
OF_COLUMN = {
    "rlnVoltage": VOLTAGE,
    "rlnSphericalAberration": SPHERICAL_ABERRATION,
    "rlnAmplitudeContrast": AMPLITUDE_CONTRAST,
    "rlnDefocusU": DEFOCUS,
    "rlnDefocusV": DEFOCUS,
    "rlnDefocusAngle": ANGLE,
    "rlnPhaseShift": PHASE_SHIFT,
    "rlnImagePixelSize": PIXEL_SIZE,
    "rlnPixelSize": PIXEL_SIZE,
    "rlnMicrographPixelSize": PIXEL_SIZE,
    "rlnMicrographOriginalPixelSize": PIXEL_SIZE,
    "rlnTomoTiltSeriesPixelSize": PIXEL_SIZE,
    "rlnDetectorPixelSize": DETECTOR_PIXEL,
    "rlnMagnification": MAGNIFICATION,
    "rlnImageSize": BOX,
    "rlnAngleRot": ANGLE,
    "rlnAngleTilt": ANGLE,
    "rlnAnglePsi": ANGLE,
    "rlnTomoSubtomogramRot": ANGLE,
    "rlnTomoSubtomogramTilt": ANGLE,
    "rlnTomoSubtomogramPsi": ANGLE,
    "rlnOriginX": SHIFT,
    "rlnOriginY": SHIFT,
    "rlnOriginZ": SHIFT,
    "rlnOriginXAngst": SHIFT_A,
    "rlnOriginYAngst": SHIFT_A,
    "rlnOriginZAngst": SHIFT_A,
    "rlnCoordinateX": POSITION,
    "rlnCoordinateY": POSITION,
    "rlnCoordinateZ": POSITION,
    "rlnCenteredCoordinateXAngst": PLACE_A,
    "rlnCenteredCoordinateYAngst": PLACE_A,
    "rlnCenteredCoordinateZAngst": PLACE_A,
    "rlnTomoXTilt": ANGLE,
    "rlnTomoYTilt": ANGLE,
    "rlnTomoZRot": ANGLE,
    "rlnTomoSizeX": EDGE,
    "rlnTomoSizeY": EDGE,
    "rlnTomoSizeZ": EDGE,
    "rlnTomoHand": SIGN,
    "rlnMicrographPreExposure": DOSE,
    "rlnCtfBfactor": B_FACTOR,
    "rlnCtfBfactorPerElectronDose": PER_DOSE,
    "rlnCtfScalefactor": CTF_SCALE,
    "cryosparc_blob_sign": SIGN,
}


def numbers(
    source: str | os.PathLike[str],
    column: str,
    values: Sequence[Any] | NDArray[Any],
    quantity: Quantity | None = None,
    rows: str = "particle",
    names: Sequence[str] = (),
) -> NDArray[np.float64]:
    """Return a column of a file as numbers that can be.

    Parameters
    ----------
    source : path-like
        The file, for messages.
    column : str
        Its name there.
    values : sequence (n,)
        Text or numbers.
    quantity : Quantity, optional
        What the column holds; default: by its name in `OF_COLUMN`, else any finite
        number.
    rows : str, optional
        What a row is, for messages.
    names : sequence of str, optional
        What each row is called there; default: its number, from 1.

    Returns
    -------
    array (n,) float64

    Raises
    ------
    InputError
        At the first value that is no number, not finite or out of range.
    """
    known = quantity or OF_COLUMN.get(column)
    array = np.asarray(values, dtype=object)
    try:
        found = array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        found = np.array([_as_float(value) for value in array])
    right = np.isfinite(found) if known is None else known.holds(found)
    wrong = np.flatnonzero(~right)
    if len(wrong):
        row = int(wrong[0])
        more = f" ({len(wrong) - 1} more like it)" if len(wrong) > 1 else ""
        raise InputError(
            f"{source}: {column} of {rows} {names[row] if names else row + 1} is"
            f" {_shown(array[row])}{more},"
            f" expected {known or 'a finite number'}; repair the table."
        )
    return found


def number(
    source: str | os.PathLike[str],
    where: str,
    value: Any,
    quantity: Quantity | None = None,
) -> float:
    """Return a single value of a file as a number that can be.

    Parameters
    ----------
    source : path-like
        The file, for messages.
    where : str
        Where in it, such as "AngleWedge1 of particle 3".
    value : object
        Text or a number.
    quantity : Quantity, optional
        What it is; default: any finite number.

    Raises
    ------
    InputError
        If it is no number, not finite or out of range.
    """
    found = _as_float(value)
    one = np.array([found])
    right = np.isfinite(one) if quantity is None else quantity.holds(one)
    if not right[0]:
        raise InputError(
            f"{source}: {where} is {_shown(value)}, expected"
            f" {quantity or 'a finite number'}; correct it there."
        )
    return found


#: What programs write for yes, and for no or not known.
YES, NO = (
    ("1", "true", "yes", "t"),
    ("0", "false", "no", "f", "none", "nan", "<na>", ""),
)


def flags(
    source: str | os.PathLike[str], column: str, values: Iterable[Any]
) -> list[bool]:
    """Return which values of a column of a file say yes.

    Raises
    ------
    InputError
        If one says neither yes nor no: it may mean the other.
    """
    known: dict[str, bool] = {}
    found = []
    for row, value in enumerate(values, start=1):
        text = str(value)
        if text not in known:
            known[text] = flag(source, f"{column} of row {row}", text)
        found.append(known[text])
    return found


def flag(source: str | os.PathLike[str], where: str, value: Any) -> bool:
    """Return whether a single value of a file says yes, see `flags`."""
    text = str(value).strip().lower()
    if text in NO or text in YES:
        return text in YES
    as_number = _as_float(text)
    if as_number not in (0, 1):
        raise InputError(
            f"{source}: {where} is {_shown(value)}, expected 1 or 0; correct it there."
        )
    return as_number == 1


def _as_float(value: Any) -> float:
    """Return a value as a number; nan if it is none."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _shown(value: Any) -> str:
    """Return a value as it stands in the file, cut where it is long."""
    try:
        text = repr(value.item() if isinstance(value, np.generic) else value)
    except ValueError:  # Python writes no integer of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."
