"""Temperatures of the rounds of annealing; quick to import, for the workflow."""

from __future__ import annotations

import math

from cryokin.errors import InputError


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
