"""The options of all methods: what the keys of ``config/config.yaml`` may be."""

from cryokin.options.isac import Isac
from cryokin.options.option import Option, Options, options_of
from cryokin.options.subtomograms import Cpca, Mco, McoAc, McoExmx, Subtomograms

#: The options of a run, by its method.
METHODS: dict[str, type[Options]] = {
    "isac": Isac,
    "cpca": Cpca,
    "mco_exmx": McoExmx,
    "mco_ac": McoAc,
}

__all__ = [
    "METHODS",
    "Cpca",
    "Isac",
    "Mco",
    "McoAc",
    "McoExmx",
    "Option",
    "Options",
    "Subtomograms",
    "options_of",
]
