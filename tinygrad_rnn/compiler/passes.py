"""Passes: functions from lists of instructions to lists of instructions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .forms import elementwise, is_view, joins_features
from .instructions import Instruction, Instructions, Operand, Shape, Value


def replaced(instructions: Iterable[Instruction], names: dict[Value, Value]) -> Instructions:
    """The instructions with some values replaced by others wherever they are read."""
    return [
        Instruction(
            i.op,
            tuple([names.get(v, v) if type(v) is Value else v for v in i.inputs]),
            i.static,
            i.outputs,
            i.scope,
        )
        for i in instructions
    ]


def live(instructions: Sequence[Instruction], wanted: Iterable[Value | None]) -> Instructions:
    """Dead code taken out: only what the wanted values need."""
    needed = set(wanted)
    kept = []
    for i in reversed(instructions):
        if not needed.isdisjoint(i.outputs):
            kept.append(i)
            needed.update(i.read)
    return kept[::-1]


def depending(instructions: Sequence[Instruction], sources: Iterable[Value]) -> set[Value]:
    """All values that depend on the sources, these among them."""
    found = set(sources)
    for i in instructions:
        if not found.isdisjoint(i.read):
            found.update(i.outputs)
    return found


def simplified(instructions: Sequence[Instruction]) -> tuple[Instructions, dict[Value, Value]]:
    """Without what changes nothing, or has been done before; and which values stand for the others."""
    same: dict[Value, Value] = {}
    known: dict[Any, Instruction] = {}
    kept: Instructions = []
    for i in instructions:
        (i,) = replaced([i], same)
        if _changes_nothing(i):
            same[i.outputs[0]] = i.read[0]
            continue
        key = (i.op, tuple([_identity(v) for v in i.inputs]), repr(sorted(i.static.items())))
        before = known.setdefault(key, i)
        if before is i:
            kept.append(i)
        else:
            same.update(zip(i.outputs, before.outputs, strict=True))
    return kept, same


def _changes_nothing(i: Instruction) -> bool:
    if i.name not in ("reshape", "positive", "broadcast_to", "astype") or not i.read:
        return False
    return i.read[0].shape == i.outputs[0].shape and i.read[0].dtype == i.outputs[0].dtype


def _identity(v: Operand) -> Any:
    if type(v) is Value:
        return v.number
    array = v.array
    return id(array) if isinstance(array, np.ndarray) else (type(array), array)


def reassociated(
    instructions: Sequence[Instruction],
    wanted: Sequence[Value],
    levels: dict[Any, int],
    numbers: Iterator[int],
) -> Instructions:
    """Sums of several terms in another order: what varies least is added up first, and leaves the loop.

    ``(W x + b) + (U h + c)`` becomes ``((b + c) + W x) + U h``; new values get the next ``numbers``.
    """
    made_by: dict[Any, Instruction] = {o: i for i in instructions for o in i.outputs}
    uses: Counter[Any] = Counter([*[v for i in instructions for v in i.read], *wanted])
    inner: set[Instruction] = set()
    terms: dict[Instruction, list[Operand]] = {}
    for i in instructions:
        if i.name == "add" and all(_dtype(v) == i.outputs[0].dtype for v in i.inputs):
            terms[i] = []
            for v in i.inputs:
                part = made_by.get(v)
                if part in terms and uses[v] == 1:
                    terms[i] += terms[part]
                    inner.add(part)
                else:
                    terms[i].append(v)
    result: Instructions = []
    for i in instructions:
        if i in inner:
            continue
        if len(terms.get(i, ())) < 3:
            result.append(i)
            continue
        total, *rest = sorted(terms[i], key=lambda v: levels.get(v, 0))
        for k, v in enumerate(rest, 2):
            out = i.outputs[0]
            if k < len(terms[i]):
                out = Value(next(numbers), broadcast(_shape(total), _shape(v)), out.dtype)
            result.append(Instruction(i.op, (total, v), {}, (out,), i.scope))
            total = out
    return _in_order(result)


def _in_order(instructions: Instructions) -> Instructions:
    """Each instruction after those that it reads from; else as they stand."""
    made = {o for i in instructions for o in i.outputs}
    done: set[Value] = set()
    result: Instructions = []
    waiting = list(instructions)
    while waiting:
        later = []
        for i in waiting:
            if all(v in done or v not in made for v in i.read):
                result.append(i)
                done.update(i.outputs)
            else:
                later.append(i)
        waiting = later
    return result


def _shape(v: Operand) -> Shape:
    return v.shape if type(v) is Value else np.shape(v.array)


def _dtype(v: Operand) -> Any:
    return v.dtype if type(v) is Value else getattr(v.array, "dtype", None)


def broadcast(a: Shape, b: Shape) -> Shape:
    """The shape that two broadcast to."""
    short, long = sorted((a, b), key=len)
    short = (1,) * (len(long) - len(short)) + short
    return tuple([m if n == 1 else n for m, n in zip(short, long, strict=True)])


def with_views_again(
    backward: Sequence[Instruction], forward: Sequence[Instruction], numbers: Iterator[int]
) -> Instructions:
    """The backward half taking views of forward results itself, so that their sources are what is saved.

    But where it reads only some parts of what it does not need as a whole, these are what is saved.
    """
    made_by = {o: i for i in forward for o in i.outputs}
    read = {v for i in backward for v in i.read}
    parts: Counter[Value] = Counter()
    for v in read.intersection(made_by):
        if is_view(made_by[v]):
            parts[made_by[v].read[0]] += v.size
    again: dict[Value, Value] = {}
    clones: Instructions = []

    def stored(v: Value) -> bool:
        """Whether a value, or what it is a view of, can be kept for all steps."""
        i = made_by.get(v)
        return v.rowwise or i is None or (is_view(i) and stored(i.read[0]))

    def small_part(source: Value) -> bool:
        """Whether to save what is read of a result's views takes less than the result."""
        return source in made_by and source not in read and parts[source] < source.size

    def clone(v: Value) -> None:
        i = made_by.get(v)
        if (
            v in again
            or i is None
            or not is_view(i)
            or not stored(i.read[0])
            or (v.rowwise and small_part(i.read[0]))
        ):
            return
        for source in i.read:
            clone(source)
        outputs = tuple([Value(next(numbers), o.shape, o.dtype) for o in i.outputs])
        clones.extend(replaced([Instruction(i.op, i.inputs, i.static, outputs, i.scope)], again))
        again.update(zip(i.outputs, outputs, strict=True))

    for i in backward:
        for v in i.read:
            clone(v)
    return [*clones, *replaced(backward, again)]


CHEAP = ("add", "subtract", "multiply", "negative")


def with_arithmetic_again(
    backward: Sequence[Instruction],
    forward: Sequence[Instruction],
    stored: set[Value],
    numbers: Iterator[int],
) -> Instructions:
    """The backward half adding and multiplying again what is at hand, instead of having more saved for it."""
    made = {o for i in forward for o in i.outputs}
    read = {v for i in backward for v in i.read}
    again: dict[Value, Value] = {}
    clones: Instructions = []
    for i in forward:
        out = i.outputs[0]
        saved = i.name in CHEAP and out.rowwise and out in read - stored
        if saved and all(v in read or v not in made for v in i.read):
            again[out] = Value(next(numbers), out.shape, out.dtype)
            clones += replaced([Instruction(i.op, i.inputs, i.static, (again[out],), i.scope)], again)
    return [*clones, *replaced(backward, again)]


def with_joins(sunk: Instructions, loop: Instructions) -> tuple[Instructions, Instructions]:
    """What is left sunk, and the loop joining its own results: their parts are written where they stay."""
    made = {o for i in loop for o in i.outputs}
    joins = [i for i in sunk if joins_features(i) and made.issuperset(i.inputs)]
    return [i for i in sunk if i not in joins], loop + joins


def demoted(
    outside: Instructions, loop: Instructions, wanted: set[Value]
) -> tuple[Instructions, Instructions]:
    """Elementwise instructions that only a loop reads moved into it: there they cost no memory traffic."""
    read_outside = Counter(v for i in outside for v in i.read)
    kept, moved = [], []
    for i in reversed(outside):
        if elementwise(i) and not any(read_outside[o] or o in wanted for o in i.outputs):
            moved.append(i)
            read_outside.subtract(i.read)
        else:
            kept.append(i)
    return kept[::-1], moved[::-1] + loop
