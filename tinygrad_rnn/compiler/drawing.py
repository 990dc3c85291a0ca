"""Random numbers: whether a step draws some, which then are others in every call."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..random import apart

EVERYWHERE = (np.random, random)
"""Modules with generators that all code can draw from."""


def is_generator(value: Any) -> bool:
    """Whether random numbers are drawn from it."""
    return isinstance(value, (np.random.Generator, np.random.RandomState, random.Random))


class Randomness:
    """What a step can draw from while it is tried: some generators, and this package's default one.

    Parameters
    ----------
    generators : sequence of (str, generator)
        With their names.
    """

    def __init__(self, generators: Sequence[tuple[str, Any]]) -> None:
        self._states = [(name, g, _state_of(g)) for name, g in generators]
        self._handed: list[tuple[Any, Any]] = []

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Put all generators back at the end; who asks for this package's default one gets a copy."""
        with apart(lambda rng: self._handed.append((rng, _state_of(rng)))):
            try:
                yield
            finally:
                for _, generator, state in self._states:
                    if not _same(_state_of(generator), state):  # other threads may share it
                        _set_state(generator, state)

    def drawn_from(self) -> str | None:
        """The name of a generator that has moved on meanwhile, if one has."""
        known = [*self._states, *[("tg.default_generator()", g, state) for g, state in self._handed]]
        return next((name for name, g, state in known if not _same(_state_of(g), state)), None)


def _state_of(generator: Any) -> Any:
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.get_state() if hasattr(generator, "get_state") else generator.getstate()


def _set_state(generator: Any, state: Any) -> None:
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif hasattr(generator, "set_state"):
        generator.set_state(state)
    else:
        generator.setstate(state)


def _same(a: Any, b: Any) -> bool:
    """Whether two states of a generator are equal, arrays in them too."""
    if isinstance(a, dict):
        return all(_same(a[key], b[key]) for key in a)
    if isinstance(a, tuple):
        return all(map(_same, a, b))
    return bool(np.array_equal(a, b))
