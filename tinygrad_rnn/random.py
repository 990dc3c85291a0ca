"""Where random numbers come from when the caller passes no generator."""

from __future__ import annotations

import numpy as np

_generator = np.random.default_rng()


def manual_seed(seed: int) -> np.random.Generator:
    """Restart the default generator from a seed, and return it.

    Everything that draws random numbers (initial weights, dropout, shuffling) takes ``rng=``; without it
    the default generator is used. It is one for the whole process: threads that need reproducible numbers
    pass generators of their own.
    """
    global _generator
    _generator = np.random.default_rng(seed)
    return _generator


def default_generator(rng: np.random.Generator | int | None = None) -> np.random.Generator:
    """The given generator, one made from the given seed, or the default one for None."""
    if rng is None:
        return _generator
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, (int, np.integer)):
        return np.random.default_rng(int(rng))
    raise TypeError(f"rng must be a numpy.random.Generator, a seed or None, got {type(rng).__name__}")
