"""What several recordings of a step have in common: the step, for any number of rows and any values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ops.operations import Spec
from ..tensors import Tensor
from .instructions import ROWS, Constant, Instruction, Operand, Pullback, Shape, Step, Unsupported, Value
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


def _same(a: Raw, b: Raw, rows: tuple[int, int]) -> tuple[list[Any], dict[str, Any], list[Shape]]:
    """Inputs (constants unified), static arguments and output shapes that two raw instructions share."""
    if a.op.name != b.op.name or len(a.inputs) != len(b.inputs) or a.static.keys() != b.static.keys():
        raise _Differs
    inputs = []
    for (kind, x), (other, y) in zip(a.inputs, b.inputs, strict=True):
        if kind != other:
            raise _Differs
        inputs.append(_unify_constant(x, y, rows) if kind == "constant" else x)
    static = {name: _unify(a.static[name], b.static[name], rows) for name in a.static}
    shapes = [_unify(s, t, rows) for (_, s, _), (_, t, _) in zip(a.outputs, b.outputs, strict=True)]
    if isinstance(a.op, Pullback):
        _unify(a.op.template, b.op.template, rows)
    return inputs, static, shapes


def unified(recordings: Sequence[Recording], tensors: Sequence[Tensor], names: Sequence[str]) -> Step:
    """The step that all recordings agree on."""
    first = recordings[0]
    values: dict[Key, Value] = {}

    def new(key: Key, shape: Any, dtype: Any, role: str = "result", name: str = "") -> Value:
        values[key] = value = Value(len(values) + 1, tuple(shape), dtype, role, name)
        return value

    inputs = [
        new(key, (ROWS, *shape[1:]), dtype, "state" if k else "input", f"state{k - 1}" if k else "x")
        for k, (key, (shape, dtype)) in enumerate(zip(first.sources, first.leaf_shapes, strict=True))
    ]
    parameters = [
        new(key_of(t.place) if t.place is not None else ("frozen", k), t.shape, t.dtype, "parameter", name)
        for k, (t, name) in enumerate(zip(tensors, names, strict=True))
    ]
    instructions: list[Instruction] = []
    for k, raw in enumerate(first.raws[: first.forward_count]):
        instructions.append(_instruction(k, raw, recordings, values, new))
    cotangents = [
        new(key, (ROWS, *shape[1:]), dtype, "cotangent", f"gstate{k - 1}" if k else "gy")
        for k, (key, (shape, dtype)) in enumerate(zip(first.cotangents, first.cotangent_shapes, strict=True))
    ]
    for k, raw in enumerate(first.raws[first.forward_count :], first.forward_count):
        instructions.append(_instruction(k, raw, recordings, values, new))
    return _assembled(first, inputs, parameters, names, cotangents, instructions, values)


def _instruction(
    k: int, raw: Raw, recordings: Sequence[Recording], values: dict[Key, Value], new: Any
) -> Instruction:
    """Instruction number k, with its operands, as all recordings agree on it."""
    first = recordings[0]
    where = f"entry {k + 1}, {raw.op.name}" + (f" in scope {raw.scope}" if raw.scope else "")
    inputs, static, shapes = [], raw.static, []
    for other in recordings[1:]:
        if len(other.raws) != len(first.raws) and k >= min(len(other.raws), len(first.raws)):
            raise Unsupported(f"it takes another path for other values, from {where} on (a branch in Python)")
        rows = (first.rows, other.rows)
        try:
            same_inputs, same_static, same_shapes = _same(raw, other.raws[k], rows)
        except _Differs:
            raise Unsupported(
                f"{where}, differs from call to call by more than its operands' values: a constant or a "
                f"branch that depends on values or on random numbers, or on the number of rows"
            ) from None
        if rows[0] != rows[1]:
            inputs, static, shapes = same_inputs, same_static, same_shapes
    operands: list[Operand] = []
    for operand in inputs:
        if isinstance(operand, Constant):
            operands.append(operand)
        elif operand in values:
            operands.append(values[operand])
        else:
            raise Unsupported(
                f"{where}, uses a tensor that is neither an input nor a parameter nor an attribute"
            )
    outputs = tuple(
        [new(key, shape, dtype) for (key, _, dtype), shape in zip(raw.outputs, shapes, strict=True)]
    )
    op = raw.op
    if isinstance(op, Pullback):
        other = next(r for r in recordings if r.rows != first.rows)
        template = _unify(op.template, other.raws[k].op.template, (first.rows, other.rows))
        op = Pullback(op.primitive, op.k, template)
    return Instruction(op, tuple(operands), static, outputs, raw.scope)


def _assembled(
    first: Recording, inputs: list[Value], parameters: list[Value], names: Sequence[str],
    cotangents: list[Value], instructions: list[Instruction], values: dict[Key, Value],
) -> Step:  # fmt: skip
    """The step, with what the pullback found for each of its inputs."""
    keys = {v: key for key, v in values.items()}

    def cotangent(v: Value) -> Value | None:
        g = first.found.get(keys[v])
        if g is None or (g.place is None and not g.numpy().any()):
            return None
        if g.place is None:
            raise Unsupported("a cotangent is a constant")
        return values[key_of(g.place)]

    gs = [cotangent(v) for v in (*inputs, *parameters)]
    y, *new = [values[key] for key in first.outputs]
    n = first.forward_count
    return Step(
        x=inputs[0], states=tuple(inputs[1:]), parameters=tuple(parameters), names=tuple(names),
        y=y, new_states=tuple(new), forward=instructions[:n],
        gy=cotangents[0], gstates=tuple(cotangents[1:]),
        gx=gs[0], gold=tuple(gs[1 : len(inputs)]), gparameters=tuple(gs[len(inputs) :]),
        backward=instructions[n:],
    )  # fmt: skip
