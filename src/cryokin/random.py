"""Random streams that belong to a piece of work, never to a rank or to call order."""

from __future__ import annotations

import numpy as np


def stream(seed: int, *address: int) -> np.random.Generator:
    """Return the generator of one piece of work.

    Parameters
    ----------
    seed : int
        The user's ``rand_seed``, at least 0.
    *address : int
        What the stream is for, e.g. generation, round, run, class; at least 0 each.

    Returns
    -------
    numpy.random.Generator
        Independent of every stream with another seed or address, and the same
        wherever and whenever it is asked for.

    Examples
    --------
    >>> stream(7, 1, 2).integers(100) == stream(7, 1, 2).integers(100)
    True
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=address))
