"""The options of ISAC, from the configuration to the steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from cryokin.isac.sac import SacOptions
from cryokin.isac.within_group import Refinement
from cryokin.options import Isac


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


def isac_options(options: Isac, box: int) -> IsacOptions:
    """Return the options of a run of the configuration, complete.

    Parameters
    ----------
    options : Isac
        What only the matching needs may be missing where nothing is matched.
    box : int
        Box of the working stack [pixel].
    """
    refinement = Refinement(
        xr=options.xr,
        yr=options.yr,
        ts=options.ts,
        maxit=options.maxit,
        dst=options.dst,
        FH=options.FH,
        FF=options.FF,
        # A particle's disc stays inside its image.
        max_shift=box // 2 - 1 - options.target_radius,
    )
    sac = SacOptions(
        refinement, options.FL, options.stab_ali, options.iter_reali, options.thld_err
    )
    own = [each.name for each in fields(IsacOptions) if each.name != "sac"]
    rest: dict[str, Any] = {key: getattr(options, key, None) for key in own}
    return IsacOptions(sac, **rest)
