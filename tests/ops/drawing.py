"""Calls of operations with random values, made from their declared samples."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn.ops.registry import Operation, Primitive, Sample


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
    domain: Any = p.domain[operand if len(p.domain) > 1 else 0]
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
