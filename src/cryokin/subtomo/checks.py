"""What subtomograms themselves say against their list, looked at before all else.

Blank particles are left out, copies are found, and a missing wedge that is not that of
the data is told: where it says that nothing was sampled there must be next to no power.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from cryokin.errors import InputError
from cryokin.files import read_json
from cryokin.io.pytom_xml import SingleTiltWedge
from cryokin.io.quantities import SAME_SIZE
from cryokin.io.stacks import (
    FILLED,
    filled_sentence,
    holds_nothing,
    left_out_sentence,
    one_value,
)
from cryokin.io.subtomograms import (
    Subtomograms,
    load,
    read_subtomograms,
)
from cryokin.io.volumes import read_size
from cryokin.io.wedges import from_particle
from cryokin.options import SubtomogramOptions
from cryokin.subtomo.mask import make_mask, narrowest_mask
from cryokin.volume import masks
from cryokin.volume.filters import frequencies
from cryokin.volume.resample import binned_size
from cryokin.volume.wedge import Wedge

NO_CLASS = "it has no Class, where others have one, and the rules are PyTom's"
PER_TOMOGRAM = 16  # particles that show what a tomogram sampled
TOMOGRAMS = 100  # that are looked at
LOWEST = 3  # Fourier pixel; further in, a wedge is narrower than a coefficient
ON_AXIS = 1.5  # Fourier pixels from an axis, where the faces of the box leave power
UNSEEN, SEEN = 1e-3, 0.3  # weight below and above which nothing and much was sampled
NO_POWER = 1e-9  # power of a shell over that of the strongest: it was filtered away
EMPTY = 0.01  # power of a coefficient over that of its shell that noise rarely has
MUCH_EMPTY = 0.1  # share of such coefficients that is told
LEAK = 0.3  # power where nothing was sampled over that elsewhere that is told
HAND = 0.01  # gain of agreement with another hand of the tilts that is told
MOST = 0.9  # share of the particles that must gain
DOUBTFUL, BETTER = 0.1, 0.1  # also above this, where another wedge leaves far less


@dataclass
class Findings:
    """What was found.

    Attributes
    ----------
    excluded : list of dict
        ``id`` (place in the list, from 0), ``image`` and ``reason`` of particles that
        cannot be used.
    copies : list of list of int
        Places of particles of the same data.
    warnings : list of str
        Sentences.
    """

    excluded: list[dict[str, Any]] = field(default_factory=list)
    copies: list[list[int]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def look(particles: Subtomograms, by_class: bool = False) -> Findings:
    """Read all particles once, and compare them with their list.

    Parameters
    ----------
    particles : Subtomograms
        As read.
    by_class : bool, optional
        Whether particles without a class are left out where others have one, as PyTom
        does.
    """
    classless = np.zeros(len(particles), bool)
    if by_class and (particles.labels >= 0).any():
        classless = particles.labels < 0
    found = Findings(warnings=list(particles.notes))
    shown = _shown(particles)
    powers = Powers(particles.box)
    same: dict[bytes, list[int]] = {}
    filled = []
    hands: list[tuple[float, float]] = []
    for i, particle in enumerate(particles.particles):
        volume = particles.data(i)
        reason = unusable(volume, particle.shift) or NO_CLASS * bool(classless[i])
        if reason:
            entry = {"id": i, "image": particle.file, "reason": reason}
            found.excluded.append(entry)
            continue
        same.setdefault(blake2b(volume.tobytes()).digest(), []).append(i)
        if one_value(volume) > FILLED:
            filled.append(i)
        if i in shown and particles.tomograms:
            # What they sampled is known; only depth may be told the wrong way round.
            if particles.stacks[i].premultiplied:
                size = particles.pixel_size or 1.0
                hands.append(particles.stacks[i].hands(particle.file, size))
        elif i in shown:
            powers.add(particle.origin, volume, _wedges(particles, i))
    found.copies = [ids for ids in same.values() if len(ids) > 1]

    def name(i: int) -> str:
        return particles.particles[i].file

    found.warnings += left_out_sentence(found.excluded, len(particles))
    if found.copies:
        a, b = found.copies[0][:2]
        more = sum(map(len, found.copies)) - len(found.copies)
        found.warnings.append(
            f"{more} of {len(particles)} particles have the data of another one, such"
            f" as {name(a)} and {name(b)}; they count as often as they are listed, and"
            " always in one half of a resolution: remove them where that is a mistake."
        )
    if filled:
        found.warnings += filled_sentence(filled, len(particles), name(filled[0]))
    found.warnings += powers.told()
    if hands and _other_hand(np.array(hands)):
        found.warnings.append(
            f"{particles.tomograms}: the tilt images are multiplied by CTFs that fit"
            " defocus growing with depth in the other direction better, in"
            f" {sum(b > a for a, b in hands)} of {len(hands)} particles looked at; see"
            " that rlnTomoHand has the right sign. If it has, the tilts are those of"
            " the mirrored specimen, and averages come out mirrored."
        )
    return found


def unusable(volume: NDArray[np.floating], shift: Sequence[float]) -> str:
    """Return why a particle cannot be used, or nothing.

    Parameters
    ----------
    volume : ndarray, shape (box, box, box) or (n_tilts, box, box)
        The subtomogram, or its tilt images.
    shift : sequence of float
        (x, y, z) [voxel].
    """
    if reason := holds_nothing(volume):
        return reason
    if np.abs(shift).max() >= volume.shape[-1] / 2:
        there = ", ".join(f"{value:g}" for value in shift)
        return f"its centre lies outside of its box (shift {there} voxels)"
    return ""


def mask_warnings(
    given: str | Mapping[str, Any],
    mask: NDArray[np.floating],
    pixel_size: float | None,
) -> list[str]:
    """Return what is odd in a mask.

    Parameters
    ----------
    given : str or mapping
        As in the configuration: a file, or a sphere.
    mask : ndarray, shape (size, size, size)
    pixel_size : float or None
        Of the particles [angstrom].
    """
    found = []
    if inverted(mask):
        found.append(
            f"{given}: the mask covers the faces of the box and leaves its middle out,"
            " as if inside and outside were exchanged; see that it is not."
        )
    own = read_size(given)[1] if isinstance(given, str) else None
    if own and pixel_size and abs(own / pixel_size - 1) > SAME_SIZE:
        found.append(
            f"{given}: has voxels of {own:g} A by its header, and the particles of"
            f" {pixel_size:g} A; see that the mask is as large as it shall be."
        )
    return found


def inverted(mask: NDArray[np.floating]) -> bool:
    """Whether a mask covers the faces of its box and leaves the middle out."""
    inside = masks.distance(mask.shape) < min(mask.shape) / 8
    faces = np.ones(mask.shape, bool)
    faces[1:-1, 1:-1, 1:-1] = False
    return bool(mask[inside].mean() < 0.1 < 0.5 < mask[faces].mean())


def _shown(particles: Subtomograms) -> set[int]:
    """Return particles that show what the tomograms sampled, some of each."""
    of: dict[str, list[int]] = {}
    for i, particle in enumerate(particles.particles):
        of.setdefault(particle.origin, []).append(i)
    names = list(of)
    some = [names[i * len(names) // TOMOGRAMS] for i in range(TOMOGRAMS)]
    shown = set()
    for name in dict.fromkeys(some):
        ids = of[name]
        shown |= {ids[i * len(ids) // PER_TOMOGRAM] for i in range(PER_TOMOGRAM)}
    return shown


def _wedges(particles: Subtomograms, i: int) -> dict[str, Wedge]:
    """Return the wedge of a particle, under no name, and others by their difference."""
    wedges = {"": particles.wedges[i]}
    given = particles.particles[i].wedge
    if not isinstance(given, SingleTiltWedge):
        return wedges
    a, b = given.angle1, given.angle2
    z1, z2, x = given.tilt_axis
    if a != b:
        wedges["the two angles in the other order"] = from_particle(
            replace(given, angle1=b, angle2=a)
        )
    if a or b:
        wedges["90 degrees minus each angle"] = from_particle(
            replace(given, angle1=90 - a, angle2=90 - b)
        )
        wedges["the tilt axis turned by 90 degrees about z"] = from_particle(
            replace(given, tilt_axis=(z1 - 90, z2, x))
        )
    return wedges


def _other_hand(agreements: NDArray[np.float64]) -> bool:
    """Whether particles fit another hand (second column) surely better."""
    gain = agreements[:, 1] - agreements[:, 0]
    return bool(gain.mean() > HAND and (gain > 0).mean() > MOST)


@dataclass
class _Sums:
    """Sums over particles of a tomogram."""

    unseen: float = 0.0  # power where nothing was sampled
    expected: float = 0.0  # what there were if it was as strong as elsewhere
    empty: int = 0  # coefficients without power where something was sampled
    seen: int = 0

    @property
    def ratio(self) -> float:
        return self.unseen / self.expected if self.expected else 0.0


class Powers:
    """Power where wedges say that nothing was sampled, over that elsewhere.

    Parameters
    ----------
    box : int
        Voxels of an edge.
    """

    def __init__(self, box: int) -> None:
        self.box = (box, box, box)
        k = frequencies(self.box)
        radius = np.linalg.norm(k, axis=-1)
        away = np.sort(np.abs(k), axis=-1)[..., 1] > ON_AXIS
        self._kept = (radius >= LOWEST) & (radius < box // 2) & away
        self._k, self._shell = k[self._kept], radius[self._kept].astype(np.intp)
        self._of: dict[str, dict[str, _Sums]] = {}

    def add(
        self, tomogram: str, volume: NDArray[np.floating], wedges: Mapping[str, Wedge]
    ) -> None:
        """Add a particle, and wedges that it may have, that of its list as ""."""
        if not self._kept.any():
            return
        spectrum = scipy.fft.rfftn(volume - volume.mean(dtype=np.float64))
        power = np.abs(spectrum[self._kept]) ** 2
        sums = self._of.setdefault(tomogram, {})
        for name, wedge in wedges.items():
            weight = np.abs(wedge.weight(self._k, self.box))
            self._add(sums.setdefault(name, _Sums()), power, weight)

    def _add(
        self, sums: _Sums, power: NDArray[np.float64], weight: NDArray[np.float64]
    ) -> None:
        shell, n = self._shell, self.box[0] // 2

        def per_shell(where: NDArray[np.bool_]) -> tuple[Any, Any]:
            return (
                np.bincount(shell[where], power[where], n),
                np.bincount(shell[where], minlength=n),
            )

        seen, unseen = weight > SEEN, weight < UNSEEN
        (p, count), (p_unseen, count_unseen) = per_shell(seen), per_shell(unseen)
        mean = p / np.maximum(count, 1)
        # A shell that both have, and that no filter has emptied.
        strong = mean > NO_POWER * mean.max(initial=0)
        both = strong & (count_unseen > 0)
        scale = mean[both].sum() or 1.0
        sums.unseen += float(p_unseen[both].sum() / scale)
        sums.expected += float((mean * count_unseen)[both].sum() / scale)
        looked = seen & strong[shell]
        sums.empty += int((power[looked] < EMPTY * mean[shell[looked]]).sum())
        sums.seen += int(looked.sum())

    def told(self) -> Iterator[str]:
        """Yield a sentence for each way in which wedges and data disagree."""
        wrong = {t: s for t, s in self._of.items() if self._doubted(s)}
        of = f"of {len(self._of)} tomograms"
        if wrong:
            sums = next(iter(wrong.values()))
            better = min((s.ratio, name) for name, s in sums.items())
            hint = "see that the angles, their order and the axis are those of the data"
            if better[1] and better[0] < sums[""].ratio / 2:
                hint = f"with {better[1]} it would be {100 * better[0]:.2g} %"
            yield (
                "where the missing wedge says that nothing was sampled there is"
                f" {100 * sums[''].ratio:.2g} % of the power elsewhere, in"
                f" {len(wrong)} {of}{_such_as(wrong)}; {hint}."
            )
        rest = {t: s[""] for t, s in self._of.items() if t not in wrong}
        empty = {
            t: s for t, s in rest.items() if s.seen and s.empty > MUCH_EMPTY * s.seen
        }
        if empty:
            one = next(iter(empty.values()))
            yield (
                f"{100 * one.empty / one.seen:.2g} % of what the list says was sampled"
                f" has no power, in {len(empty)} {of}{_such_as(empty)}; see that no"
                " missing wedge is left out, and that it is as wide as that of the"
                " data."
            )

    @staticmethod
    def _doubted(sums: Mapping[str, _Sums]) -> bool:
        given = sums[""].ratio
        least = min(one.ratio for one in sums.values())
        return given > LEAK or (given > DOUBTFUL and least < BETTER * given)


def _such_as(names: Mapping[str, Any]) -> str:
    first = next((name for name in names if name), None)
    return f", such as {first}" if first else ""


class Checked(NamedTuple):
    """Subtomograms of which the table and all headers can be used.

    Attributes
    ----------
    table : Subtomograms
    mask : ndarray, shape (size, size, size)
    told : dict
        What a run depends on, as in ``import.json``: ``n``, ``box``, ``pixel_size``
        [A].
    """

    table: Subtomograms
    mask: NDArray[np.floating]
    told: dict[str, Any]


def read_checked(
    particles: Path, options: SubtomogramOptions, other: Path | None = None
) -> Checked:
    """Read a table of subtomograms; of the volumes only the headers.

    Parameters
    ----------
    particles : Path
    options : SubtomogramOptions
        Of the run, complete.
    other : Path, optional
        The ``import.json`` of the run whose list the particles are.

    Raises
    ------
    InputError
        If the run cannot start from them.
    """
    angles = options.wedge["angles"] if options.wedge else None
    if other is None:
        size, tomograms = options.pixel_size, options.tomograms
        table = read_subtomograms(particles, None, size, angles, tomograms)
    else:
        info = read_json(other)
        table = load(
            particles.with_suffix(""),
            info["box"],
            options.pixel_size or info["pixel_size"],
            info.get("weight_scale", 1.0),
            options.tomograms or info.get("tomograms", ""),
        ).with_wedges(angles)
    check_rules(particles, table, options.compat)
    options = options.scaled(table.box, table.pixel_size)
    check_band(options, binned_size(table.box, options.binning))
    mask = make_mask(options.mask, table.box, options.binning)
    narrowest_mask(options, table.box)
    check_number(particles, len(table), Findings(), options.nclass)
    told = {"n": len(table), "box": table.box, "pixel_size": table.pixel_size}
    return Checked(table, mask, told)


def check_band(options: SubtomogramOptions, size: int) -> None:
    """Raise `InputError` for a band that a box of some voxels has not."""
    limit = f"lowpass = {options.lowpass:g} Fourier pixels"
    if options.lowpass > size // 2:
        raise InputError(
            f"{limit} is beyond half the box of {size} voxels (allowed: up to"
            f" {size // 2}); lower it in the config, or raise lowpass_A."
        )
    if options.highpass >= options.lowpass:
        raise InputError(
            f"{limit} leaves nothing above highpass = {options.highpass:g}; lower"
            " highpass, or raise highpass_A, in the config."
        )


def check_rules(
    source: str | os.PathLike[str], particles: Subtomograms, compat: str
) -> None:
    """Raise `InputError` where rules are asked for that know no such particles."""
    if particles.tomograms and compat == "pytom":
        raise InputError(
            f"{source}: holds stacks of tilt images, which PyTom's rules know nothing"
            " of; give 3D subtomograms, or leave 'compat' out of the config."
        )


def check_number(
    particles: str | os.PathLike[str], n: int, found: Findings, nclass: int
) -> None:
    """Raise `InputError` where n usable particles are too few for the classes."""
    without = f" (without {len(found.excluded)} left out)" if found.excluded else ""
    if n < 2:
        raise InputError(
            f"{particles}: {n} usable particle{'s' * (n != 1)}{without} cannot be"
            " classified; give a list of at least 2."
        )
    if n < nclass:
        raise InputError(
            f"{particles}: {n} usable particles{without} are too few for nclass ="
            f" {nclass} classes; lower nclass in the config."
        )
