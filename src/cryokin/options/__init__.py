"""The options of all methods: what the keys of ``config/config.yaml`` may be."""

from collections.abc import Mapping
from typing import Any

from cryokin.options.isac import Isac
from cryokin.options.option import Option, Options, options_of
from cryokin.options.subtomograms import Cpca, Mco, McoAc, McoExmx, SubtomogramOptions

#: The options of a run, by its method.
METHODS: dict[str, type[Options]] = {
    "isac": Isac,
    "cpca": Cpca,
    "mco_exmx": McoExmx,
    "mco_ac": McoAc,
}


def options_from(values: Mapping[str, Any]) -> Options:
    """Return the options of a run from a mapping, which may leave some out."""
    return METHODS[values["method"]].some(values)


__all__ = [
    "METHODS",
    "Cpca",
    "Isac",
    "Mco",
    "McoAc",
    "McoExmx",
    "Option",
    "Options",
    "SubtomogramOptions",
    "options_from",
    "options_of",
]
