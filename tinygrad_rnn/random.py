"""Where random numbers come from when the caller passes no generator."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

_asked: ContextVar[Callable[[np.random.Generator], np.random.Generator] | None] = ContextVar(
    "tinygrad_rnn_asked", default=None
)
"""Told of the generator that somebody asked for, and says which one is handed out."""

# Made when first wanted: NumPy imports numpy.random only then, which is a sixth of its own import time.
_generator: np.random.Generator | None = None


def manual_seed(seed: int | None) -> np.random.Generator:
    """Restart the default generator from a seed (None: from the system's entropy), and return it.

    Everything that draws random numbers (initial weights, dropout, shuffling) takes ``rng=``; without it
    the default generator is used. It is one for the whole process: threads that need reproducible numbers
    pass generators of their own.
    """
    global _generator
    _generator = _seeded("manual_seed", seed)
    return _generator


def _seeded(what: str, seed: int | None) -> np.random.Generator:
    if seed is not None and (not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or seed < 0):
        kind = ValueError if isinstance(seed, (int, np.integer)) and seed < 0 else TypeError
        raise kind(
            f"{what}: a seed is a whole number from 0 on, or None for another every time; got {seed!r}"
        )
    return np.random.default_rng(seed)


def default_generator(rng: np.random.Generator | int | None = None) -> np.random.Generator:
    """The given generator, one made from the given seed, or the default one for None."""
    if rng is None:
        rng = manual_seed(None) if _generator is None else _generator
    elif isinstance(rng, (int, np.integer)):
        return _seeded("default_generator", rng)
    elif not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator, a seed or None, got {type(rng).__name__}")
    asked = _asked.get()
    return rng if asked is None else asked(rng)


@contextmanager
def apart(tell: Callable[[np.random.Generator], object]) -> Iterator[None]:
    """Hand out copies, one of each generator asked for, and tell of each: the generators do not move on."""
    outer = _asked.get()
    copies: dict[np.random.BitGenerator, np.random.Generator] = {}

    def hand(rng: np.random.Generator) -> np.random.Generator:
        rng = rng if outer is None else outer(rng)
        if rng.bit_generator not in copies:
            copies[rng.bit_generator] = made = copy.deepcopy(rng)
            tell(made)
        return copies[rng.bit_generator]

    token = _asked.set(hand)
    try:
        yield
    finally:
        _asked.reset(token)


class Draws:
    """The generators that some code asked `default_generator` for: lets it draw the same numbers again.

    The code runs inside ``with draws.noted():`` first, then inside ``with draws.repeated():`` as often as
    wanted. There it gets copies: the generators themselves go on as if nothing had happened.
    """

    def __init__(self) -> None:
        # By what gives the numbers: several generators may share it.
        self._first: dict[np.random.BitGenerator, np.random.Generator] = {}

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Keep a copy of each generator as it is when first asked for."""
        outer = _asked.get()

        def note(rng: np.random.Generator) -> np.random.Generator:
            handed = rng if outer is None else outer(rng)
            if rng.bit_generator not in self._first:
                self._first[rng.bit_generator] = copy.deepcopy(handed)
            return handed

        token = _asked.set(note)
        try:
            yield
        finally:
            _asked.reset(token)

    @contextmanager
    def repeated(self) -> Iterator[None]:
        """Hand out those copies; what was not asked for then, as it is."""
        copies = {bits: copy.deepcopy(rng) for bits, rng in self._first.items()}
        token = _asked.set(lambda rng: copies.get(rng.bit_generator, rng))
        try:
            yield
        finally:
            _asked.reset(token)
