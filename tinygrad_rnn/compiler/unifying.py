"""What several recordings of a step have in common: the step, for any number of rows and any values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..ops.operations import Spec
from ..sources import describe
from ..tensors import Tensor
from .instructions import ROWS, Constant, Instruction, Pullback, Shape, Step, Unsupported, Value
from .recording import Key, Raw, Recording, key_of


class _Differs(Exception):  # noqa: N818
    """Two recordings do not agree."""


def _unify(a: Any, b: Any, rows: tuple[int, int]) -> Any:
    """What two recordings have in common, with `ROWS` where one has its number of rows and one its own."""
    if isinstance(a, (bool, str, type(None), np.dtype, type(Ellipsis))) or callable(a):
        if a is b or (not callable(a) and type(a) is type(b) and a == b):
            return a
    elif isinstance(a, (int, np.integer)) and isinstance(b, (int, np.integer)):
        if a == b:
            return a
        if (a, b) == rows:
            return ROWS
    elif isinstance(a, (float, complex, np.generic)) and type(a) is type(b):
        if a == b or (a != a and b != b):
            return a
    elif isinstance(a, Spec) and isinstance(b, Spec):
        return Spec(_unify(a.shape, b.shape, rows), _unify(a.dtype, b.dtype, rows))
    elif isinstance(a, (tuple, list)) and type(a) is type(b) and len(a) == len(b):
        return type(a)([_unify(x, y, rows) for x, y in zip(a, b, strict=True)])
    elif isinstance(a, slice) and isinstance(b, slice):
        return slice(*[_unify(getattr(a, n), getattr(b, n), rows) for n in ("start", "stop", "step")])
    elif isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.dtype == b.dtype:
        if a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            return a
    elif a is b:
        return a
    raise _Differs


def _unify_constant(a: Any, b: Any, rows: tuple[int, int]) -> Constant:
    """An operand that is off the tape, in two recordings of other values."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.shape != b.shape and a.ndim:
        same_rows = a.shape[:1] + b.shape[:1] == rows and a.shape[1:] == b.shape[1:]
        # Truth values for each row are the answer to a question about values, be it the same this time.
        if same_rows and a.dtype != bool and (a == a[:1]).all() and (b == a[:1]).all():
            return Constant(a[:1].copy(), rowwise=True)
        raise _Differs
    same = _unify(a, b, rows)
    if same is ROWS:  # a number computed from the number of rows
        raise _Differs
    return Constant(np.array(same) if isinstance(same, np.ndarray) else same)


def looks_at_values(one: Recording, other: Recording) -> list[tuple[int, int]]:
    """The gradient rules whose instructions differ between two recordings."""
    if one.forward_count != other.forward_count:
        return []
    found = list(one.lookers | other.lookers)
    rules: list[dict[tuple[int, int], list[Raw]]] = [{}, {}]
    for recording, table in zip((one, other), rules, strict=True):
        for raw in recording.raws[recording.forward_count :]:
            if raw.rule_of is not None:
                table.setdefault(raw.rule_of, []).append(raw)
    rows = (one.rows, other.rows)
    for at, raws in rules[0].items():
        others = rules[1].get(at, [])
        try:
            for a, b in zip(raws, others, strict=True):
                _same(a, b, rows)
        except (_Differs, ValueError):
            found.append(at)
    return found


class _Shared(NamedTuple):
    """What two raw instructions share."""

    inputs: list[Any]
    """Of values their keys; constants."""
    static: dict[str, Any]
    shapes: list[Shape]
    """Of the outputs."""
    template: Any
    """Of a `Pullback`."""

    def forms(self) -> list[Any]:
        """What must be the same for all numbers of rows; values are compared elsewhere."""
        constants = [[i.rowwise, i.array] if isinstance(i, Constant) else None for i in self.inputs]
        return [constants, list(self.static.values()), self.shapes]


def _same(a: Raw, b: Raw, rows: tuple[int, int]) -> _Shared:
    """What two raw instructions share, which must be of one operation."""
    if a.op.name != b.op.name or len(a.inputs) != len(b.inputs) or a.static.keys() != b.static.keys():
        raise _Differs
    inputs = []
    for (kind, x), (other, y) in zip(a.inputs, b.inputs, strict=True):
        if kind != other:
            raise _Differs
        inputs.append(_unify_constant(x, y, rows) if kind == "constant" else x)
    static = {name: _unify(a.static[name], b.static[name], rows) for name in a.static}
    shapes = [_unify(s, t, rows) for (_, s, _), (_, t, _) in zip(a.outputs, b.outputs, strict=True)]
    template = _unify(a.op.template, b.op.template, rows) if isinstance(a.op, Pullback) else None
    return _Shared(inputs, static, shapes, template)


def unified(recordings: Sequence[Recording], tensors: Sequence[Tensor], names: Sequence[str]) -> Step:
    """The step that all recordings agree on; some of them may have a forward half alone."""
    first, *others = recordings
    for other in others:
        check_path(first, other)
    step = _Assembly(first)
    x, *states = [
        step.new(key, (ROWS, *shape[1:]), dtype, "state" if k else "input", f"state{k - 1}" if k else "x")
        for k, (key, (shape, dtype)) in enumerate(zip(first.sources, first.leaf_shapes, strict=True))
    ]
    parameters = [
        step.new(key_of(t.place), t.shape, t.dtype, "parameter", name)
        for t, name in zip(tensors, names, strict=True)
    ]
    numbered = [(r, r.numbers()) for r in others]
    n = first.forward_count
    forward = [step.instruction(k, numbered) for k in range(n)]
    gy, *gstates = [
        step.new(key, (ROWS, *shape[1:]), dtype, "cotangent", f"gstate{k - 1}" if k else "gy")
        for k, (key, (shape, dtype)) in enumerate(zip(first.cotangents, first.cotangent_shapes, strict=True))
    ]
    ends = [[numbers.get(key, key) for key in r.outputs] for r, numbers in [(first, step.numbers), *numbered]]
    if any(e != ends[0] for e in ends):
        raise Unsupported("what it returns is another result for other values (a branch in Python)")
    whole = [(r, numbers) for r, numbers in numbered if r.cotangents]
    backward = [step.instruction(k, whole) for k in range(n, len(first.raws))]
    y, *new_states = [step.values[key] for key in first.outputs]
    gx, *gs = step.gradients((x, *states, *parameters))
    return Step(
        x=x, states=tuple(states), parameters=tuple(parameters), names=tuple(names),
        y=y, new_states=tuple(new_states), gy=gy, gstates=tuple(gstates),
        gx=gx, gold=tuple(gs[: len(states)]), gparameters=tuple(gs[len(states) :]),
        forward=forward, backward=backward,
    )  # fmt: skip


def check_path(first: Recording, other: Recording) -> None:
    """Raise if another recording has other operations in its forward half."""
    n, m = first.forward_count, other.forward_count
    for k in range(min(n, m)):
        if first.raws[k].op.name != other.raws[k].op.name:
            break
    else:
        if n == m:
            return
        k = min(n, m) - 1
    raise Unsupported(
        f"it takes another path for other values or another number of rows, from {where(first, k)} on (a "
        f"branch in Python)"
    )


def where(recording: Recording, k: int) -> str:
    """What instruction number k is, in the words of the cell."""
    raw = recording.raws[k]
    if k >= recording.forward_count:
        if raw.rule_of is None:
            return f"a sum of gradients, {raw.op.name}"
        return f"{raw.op.name}, in the gradient of {where(recording, raw.rule_of[0])}"
    line = describe(raw.line)
    text = f"entry {k + 1}, {raw.op.name}" + (f" in scope {raw.scope}" if raw.scope else "")
    return text + (f" ({line})" if line else "")


Numbered = tuple[Recording, dict[Key, Any]]
"""A recording, and what its values come from (see `Recording.numbers`)."""


class _Assembly:
    """A step while it is put together from what other recordings share with the first.

    Attributes
    ----------
    first : Recording
    numbers : dict
        Its own.
    values : dict of Key to Value
        The values so far, by the keys of the first recording.
    """

    def __init__(self, first: Recording) -> None:
        self.first, self.numbers = first, first.numbers()
        self.values: dict[Key, Value] = {}

    def new(self, key: Key, shape: Any, dtype: Any, role: str = "result", name: str = "") -> Value:
        """A value with the next number."""
        self.values[key] = value = Value(len(self.values) + 1, tuple(shape), dtype, role, name)
        return value

    def instruction(self, k: int, others: Sequence[Numbered]) -> Instruction:
        """Instruction number k, with its operands, as all recordings agree on it."""
        raw = self.first.raws[k]
        if any(kind == "value" and key not in self.values for kind, key in raw.inputs):
            raise Unsupported(
                f"{where(self.first, k)}, uses a tensor that is neither an input nor a parameter nor an "
                f"attribute"
            )
        try:
            shared = self._shared(k, others)
        except _Differs:
            raise Unsupported(
                f"{where(self.first, k)}, differs from call to call by more than its operands' values: a "
                f"value that is computed off the tape (np.floor, comparisons, .numpy()), or from the number "
                f"of rows, or a branch in Python"
            ) from None
        operands = tuple([i if isinstance(i, Constant) else self.values[i] for i in shared.inputs])
        outputs = tuple(
            [self.new(key, shape, d) for (key, _, d), shape in zip(raw.outputs, shared.shapes, strict=True)]
        )
        op = raw.op
        if isinstance(op, Pullback):
            op = Pullback(op.primitive, op.k, shared.template)
        return Instruction(op, operands, shared.static, outputs, raw.scope)

    def _shared(self, k: int, others: Sequence[Numbered]) -> _Shared:
        """What the first recording shares with all others, one with another number of rows among them."""
        raw = self.first.raws[k]
        known: _Shared | None = None
        for other, numbers in others:
            if len(other.raws) <= k:
                raise _Differs
            rows = (self.first.rows, other.rows)
            found = _same(raw, other.raws[k], rows)
            for (kind, a), (_, b) in zip(raw.inputs, other.raws[k].inputs, strict=True):
                if kind == "value" and self.numbers.get(a, a) != numbers.get(b, b):
                    raise _Differs
            if rows[0] == rows[1]:
                continue
            if known is None:
                known = found
            else:  # min(len(x), 6) is the number of rows here, and not there
                _unify(known.forms(), found.forms(), (-1, -1))
        assert known is not None
        return known

    def gradients(self, inputs: Sequence[Value]) -> list[Value | None]:
        """What the pullback found for some inputs."""
        keys = {v: key for key, v in self.values.items()}
        found = [self.first.found.get(keys[v]) for v in inputs]
        return [None if key is None else self.values[key] for key in found]
