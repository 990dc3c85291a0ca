"""Calls of operations with random values, made from their declared samples."""

import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from tinygrad_rnn.ops import REGISTRY
from tinygrad_rnn.ops.operations import Domain, Operation, Primitive, Sample


class Slot(NamedTuple):
    """Where in a call an array goes: its number, its shape, and the number of the operand it is (part of)."""

    number: int
    shape: tuple[int, ...]
    operand: int


class Call(NamedTuple):
    """A sample with slots in place of shapes. ``inputs`` may hold lists of slots, and lists of lists."""

    operation: Operation
    inputs: tuple[Any, ...]
    static: dict[str, Any]
    slots: list[Slot]

    def operands(self, arrays: list[Any]) -> list[Any]:
        """The operands with given arrays or tensors in the slots."""
        return list(_filled(list(self.inputs), arrays))

    def __call__(self, arrays: list[Any], function: Any = None, static: Any = None) -> Any:
        """Apply the operation, or another function that takes the same operands."""
        operands = self.operands(arrays)
        static = self.static if static is None else static
        listed = isinstance(self.operation, Primitive) and self.operation.variadic
        return (function or self.operation)(*([operands] if listed else operands), **static)

    def draw(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Random arrays for all slots, from the operation's domain."""
        return [drawn(self.operation, rng, slot.operand, slot.shape) for slot in self.slots]


def _filled(part: Any, arrays: list[Any]) -> Any:
    if isinstance(part, Slot):
        return arrays[part.number]
    return [_filled(p, arrays) for p in part] if isinstance(part, list) else part


def drawn(p: Operation, rng: np.random.Generator, operand: int, shape: tuple[int, ...]) -> np.ndarray:
    return drawn_from(p.domain[operand if len(p.domain) > 1 else 0], rng, shape)


def drawn_from(domain: Domain, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(domain(rng, shape) if callable(domain) else rng.uniform(*domain, shape))


def call(p: Operation, s: Sample) -> Call:
    """Number the shapes in a sample; arrays, strings and the like stay what they are."""
    slots: list[Slot] = []

    def numbered(part: Any, operand: int) -> Any:
        if isinstance(part, list):
            return [numbered(q, operand) for q in part]
        if not isinstance(part, tuple):
            return part
        slots.append(Slot(len(slots), part, operand))
        return slots[-1]

    inputs = tuple(numbered(part, k) for k, part in enumerate(s.inputs))
    return Call(p, inputs, s.static, slots)


def samples(p: Operation, shapes: Callable[[int], Any] | None = None) -> Iterator[Sample]:
    """The declared samples; for an elementwise operation in two sets of shapes, or those given."""
    if not p.elementwise:
        yield from p.samples
        return
    for s in p.samples or [Sample((), {})]:
        if shapes is not None:
            yield Sample(tuple(shapes(p.arity)), s.static)
        else:
            yield Sample(((2, 3), (3,), (2, 1))[: p.arity], s.static)
            yield Sample(((),) * p.arity, s.static)


def distance(made: Call, arrays: list[np.ndarray]) -> float:
    """How far drawn arrays are from the nearest point without a derivative."""
    p = made.operation
    if p.kinks is None or not all(a.size for a in arrays):
        return np.inf
    return float(np.min(p.kinks(*made.operands(arrays), **made.static), initial=np.inf))


AWAY = 1e-2
"""How far from kinks derivatives are checked."""


def small(made: Call) -> Iterator[Call]:
    """The same call with 0 in place of each of its lengths, and with numbers in place of its arrays."""

    def shaped(change: Callable[[int], tuple[int, ...]]) -> Call:
        slots = [s._replace(shape=tuple(m for n in s.shape for m in change(n))) for s in made.slots]
        return made._replace(inputs=tuple(made.operands(slots)), slots=slots)

    for length in sorted({n for s in made.slots for n in s.shape} - {0}):
        yield shaped(lambda n, length=length: (0,) if n == length else (n,))
    yield shaped(lambda n: ())


@functools.cache
def taken(p: Operation) -> list[list[Call]]:
    """Of each declared sample the small calls that the operation takes, and has derivatives at."""

    def takes(made: Call) -> bool:
        rng = np.random.default_rng(0)
        try:
            draws = [made.draw(rng) for _ in range(20)]
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # the mean of nothing
                outputs = made(draws[0])
        except (ArithmeticError, ValueError, IndexError, TypeError, RuntimeWarning):
            return False
        some = not isinstance(outputs, tuple) or len(outputs)
        return bool(some) and any(distance(made, arrays) > AWAY for arrays in draws)

    return [[v for v in small(call(p, s)) if takes(v)] for s in p.samples]


def listed(outputs: Any) -> list[Any]:
    """The outputs of a call, of which there may be one or several."""
    return list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]


CALLS = [
    pytest.param(call(p, s), id=f"{name}-{k}")
    for name, p in REGISTRY.items()
    for k, s in enumerate(samples(p))
]
"""Each declared sample of each operation, as parameters of a test."""
