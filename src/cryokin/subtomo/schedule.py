"""Rounds and starts of a run of MCO; quick to import, for the workflow."""

from __future__ import annotations

import math

from cryokin.errors import InputError
from cryokin.options import Mco


def schedule(temperature: float, step: float) -> list[float]:
    """Return the temperatures of the rounds: T, T - step, ... while above 0.

    Raises
    ------
    InputError
        If either number is not positive.
    """
    if temperature <= 0 or step <= 0:
        raise InputError(
            f"temperature = {temperature} and temperature_step = {step}: both must be"
            " above 0; correct them in the config."
        )
    # Whole steps, so that rounding adds no round.
    rounds = math.ceil(temperature / step * (1 - 1e-9))
    return [temperature - step * r for r in range(rounds)]


def number_of_starts(options: Mco) -> int:
    """Return from how many classifications a run of MCO starts."""
    if options.start_from == "labels":
        return 1
    return options.starts + int(options.start_from == "cpca")
