"""The options of ISAC, from the configuration to the steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryokin.isac.sac import SacOptions
from cryokin.isac.within_group import Refinement


@dataclass(frozen=True)
class IsacOptions:
    """Options of a generation, under the manual's names.

    Attributes
    ----------
    sac : SacOptions
    img_per_grp : int
        Images per class in SAC.
    init_iter, main_iter : int
        Passes of the initial and of the main SAC.
    match_first : int
        Matchings of phase one.
    match_second : int
        Matchings of phase two.
    indep_run : int
        Independent runs.
    thld_grp : int
        Fewest members of a match and of a class.
    match_by : str
        What runs agree on: ``view`` or ``members``.
    thld_rep : float
        By view, the least share of the other runs that agree on a member; by members,
        the least share of the runs' classes that a class holds.
    last_assignment : bool
        Whether all particles are compared with the reproduced averages in the end.
    rand_seed : int
    """

    sac: SacOptions
    img_per_grp: int
    init_iter: int
    main_iter: int
    match_first: int
    match_second: int
    indep_run: int
    thld_grp: int
    match_by: str
    thld_rep: float
    last_assignment: bool
    rand_seed: int

    def others(self, share: float | None = None) -> int:
        """Return how many other runs a share of them is, at least one."""
        share = self.thld_rep if share is None else share
        return max(1, math.ceil(share * (self.indep_run - 1) - 1e-9))


def isac_options(options: Mapping[str, Any], box: int) -> IsacOptions:
    """Return the options of a run of the configuration, complete.

    Parameters
    ----------
    options : mapping
        The run, checked and with all defaults.
    box : int
        Box of the working stack [pixel].

    What only the matching needs may be missing where nothing is matched.
    """
    refinement = Refinement(
        xr=options["xr"],
        yr=options["yr"],
        ts=options["ts"],
        maxit=options["maxit"],
        dst=options["dst"],
        FH=options["FH"],
        FF=options["FF"],
        # A particle's disc stays inside its image.
        max_shift=box // 2 - 1 - options["target_radius"],
    )
    same = ("img_per_grp", "init_iter", "main_iter", "match_first", "match_second")
    also = ("indep_run", "thld_grp", "match_by", "thld_rep", "last_assignment")
    rest: dict[str, Any] = {key: options.get(key) for key in (*same, *also)}
    return IsacOptions(
        sac=SacOptions(
            refinement,
            *(options[k] for k in ("FL", "stab_ali", "iter_reali", "thld_err")),
        ),
        **rest,
        rand_seed=options["rand_seed"],
    )
