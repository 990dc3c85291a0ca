"""Where random numbers come from when the caller passes no generator."""

from __future__ import annotations

import numpy as np

# Made when first wanted: NumPy imports numpy.random only then, which is a sixth of its own import time.
_generator: np.random.Generator | None = None


def manual_seed(seed: int | None) -> np.random.Generator:
    """Restart the default generator from a seed (None: from the system's entropy), and return it.

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
        return manual_seed(None) if _generator is None else _generator
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, (int, np.integer)):
        return np.random.default_rng(int(rng))
    raise TypeError(f"rng must be a numpy.random.Generator, a seed or None, got {type(rng).__name__}")
