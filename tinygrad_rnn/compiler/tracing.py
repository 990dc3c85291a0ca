"""One step of a cell, forward and backward, as a list of instructions that hold for any number of rows.

The step is recorded several times, with other numbers of rows and other values; what differs between the
recordings tells what depends on them. The backward half is what the gradient rules do when they are applied
to tensors, which records them like anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from .. import ops
from ..nn.states import refilled, tensors_of
from ..observing import Observer
from ..ops.index import Piece
from ..ops.registry import Primitive, Spec
from ..random import default_generator
from ..state import State, context
from ..tape import Entry, Leaf, Output, Place, fit
from ..tensors import Tensor, _make
from .surroundings import Surroundings


class Unsupported(Exception):  # noqa: N818 (a verdict, not an accident)
    """The cell cannot be compiled; the text says why, and names the entry."""


class _Rows:
    """Stands in shapes, and in static arguments, for the number of rows."""

    def __repr__(self) -> str:
        return "B"

    def __deepcopy__(self, memo: dict[int, Any]) -> _Rows:
        return self


ROWS = _Rows()
Shape = tuple[Any, ...]


def resolve(value: Any, rows: int) -> Any:
    """A shape or static argument for a given number of rows."""
    if value is ROWS:
        return rows
    if isinstance(value, (tuple, list)):
        return type(value)([resolve(v, rows) for v in value])
    if isinstance(value, slice):
        return slice(*[resolve(v, rows) for v in (value.start, value.stop, value.step)])
    return value


@final
@dataclass(eq=False, slots=True)
class Value:
    """An array of the step: an input, or the result of an instruction.

    Attributes
    ----------
    number : int
    shape : tuple
        With `ROWS` in the place of the number of rows.
    dtype : numpy.dtype
    role : str
        ``"input"``, ``"state"``, ``"parameter"``, ``"cotangent"`` or ``"result"``.
    name : str
    """

    number: int
    shape: Shape
    dtype: np.dtype[Any]
    role: str = "result"
    name: str = ""

    def __repr__(self) -> str:
        return f"%{self.number}"

    @property
    def rowwise(self) -> bool:
        """Whether there is one of it for each row, along the first axis."""
        return bool(self.shape) and self.shape[0] is ROWS

    @property
    def features(self) -> Shape:
        """The shape of one row."""
        return self.shape[1:]


@final
@dataclass(eq=False, slots=True)
class Constant:
    """A number, or an array, that is the same at every step; ``rowwise`` if each row has its own copy."""

    array: Any
    rowwise: bool = False

    def value(self, rows: int) -> Any:
        return np.broadcast_to(self.array, (rows, *self.array.shape[1:])) if self.rowwise else self.array

    def __repr__(self) -> str:
        if isinstance(self.array, np.ndarray) and self.array.ndim:
            return f"const{self.array.shape}"
        return repr(self.array.item() if isinstance(self.array, (np.ndarray, np.generic)) else self.array)


Operand = Value | Constant


class Pullback:
    """A gradient rule applied to arrays as one operation, where what it does depends on the arrays' values.

    Its operands are the cotangents, outputs and inputs that the rule reads, in this order.
    """

    def __init__(self, primitive: Primitive, k: int, template: tuple[Any, ...]) -> None:
        self.primitive, self.k, self.template = primitive, k, template
        self.name = f"{primitive.name}'{k if primitive.arity > 1 else ''}"
        self.multiple = False

    def call(self, arrays: Sequence[Any], static: dict[str, Any], rows: int) -> Any:
        """Fill the operands into the places that the template left for them, and apply the rule."""
        given = iter(arrays)

        def fill(part: Any) -> Any:
            if part is _OPERAND:
                return next(given)
            if type(part) is Spec:
                return Spec(resolve(part.shape, rows), part.dtype)
            return tuple([fill(p) for p in part]) if type(part) is tuple else part

        g, out, *args = [fill(part) for part in self.template]
        rule: Any = self.primitive.joint
        if rule is not None:
            return rule(g, out, *args, **static)[self.k]
        return self.primitive.vjps[self.k](g, out, *args, **static)  # type: ignore[misc]


_OPERAND = object()


@dataclass(eq=False, slots=True)
class Instruction:
    """One operation of the step.

    Attributes
    ----------
    op : Primitive or Pullback
    inputs : tuple of Value or Constant
    static : dict
        Static arguments, with `ROWS` for the number of rows.
    outputs : tuple of Value
    scope : str
        Where the cell recorded it.
    """

    op: Primitive | Pullback
    inputs: tuple[Operand, ...]
    static: dict[str, Any]
    outputs: tuple[Value, ...]
    scope: str = ""

    @property
    def name(self) -> str:
        return self.op.name

    @property
    def read(self) -> tuple[Value, ...]:
        return tuple([i for i in self.inputs if type(i) is Value])

    def run(self, arrays: Sequence[Any], rows: int) -> tuple[Any, ...]:
        """The outputs, for arrays in the place of the inputs."""
        static = {name: resolve(v, rows) for name, v in self.static.items()}
        if isinstance(self.op, Pullback):
            out = self.op.call(arrays, static, rows)
        else:
            out = self.op.forward(*arrays, **static)
        return tuple(out) if self.op.multiple else (out,)


@dataclass(eq=False, slots=True)
class Step:
    """A cell's step: what goes in, what is done, what comes out.

    Attributes
    ----------
    x, states, parameters
        The inputs; ``names`` are the names of the parameters.
    y, new_states
        The outputs.
    forward : list of Instruction
    gy, gstates
        Cotangents of y and of the new states.
    gx, gold, gparameters
        Cotangents of x, of the states that went in, and of the parameters; None where there is none.
    backward : list of Instruction
    """

    x: Value
    states: tuple[Value, ...]
    parameters: tuple[Value, ...]
    names: tuple[str, ...]
    y: Value
    new_states: tuple[Value, ...]
    forward: list[Instruction]
    gy: Value
    gstates: tuple[Value, ...]
    gx: Value | None
    gold: tuple[Value | None, ...]
    gparameters: tuple[Value | None, ...]
    backward: list[Instruction]


@dataclass(frozen=True)
class Signature:
    """What a step is traced for.

    Attributes
    ----------
    x : (features, dtype)
    states : tuple of (features, dtype)
    like : State
        A state of the same structure; only its structure is used.
    """

    x: tuple[Shape, Any]
    states: tuple[tuple[Shape, Any], ...]
    like: Any = field(compare=False)


# ------------------------------------------------------------------------------------ closed-over tensors


@contextmanager
def _on_tape(tensors: Sequence[Tensor]) -> Iterator[None]:
    """All of them leaves for a while, frozen ones too, so that what is made of them is recorded."""
    frozen = [t for t in tensors if t.place is None and t.dtype.kind == "f"]
    for t in frozen:
        t.requires_grad = True
    try:
        yield
    finally:
        for t in frozen:
            t.requires_grad = False


# -------------------------------------------------------------------------------------------- recording


Key = Any
"""What a value is found by while recording: its place; for one of several outputs, entry and number."""


def _key(place: Place | None) -> Key:
    return (place.entry, place.index) if isinstance(place, Output) else place


@dataclass(eq=False)
class _Raw:
    """An instruction of one recording."""

    op: Any
    inputs: list[tuple[str, Any]]
    """("value", key) or ("constant", array)."""
    static: dict[str, Any]
    outputs: list[tuple[Key, tuple[int, ...], np.dtype[Any]]]
    scope: str
    rule_of: tuple[int, int] | None
    """The forward instruction, and its input, whose gradient rule did it."""


class _Recording(Observer):
    """One recording of a step, forward and backward, with given numbers."""

    def __init__(
        self, cell: Callable[..., Any], tensors: Sequence[Tensor], opaque: set[tuple[int, int]]
    ) -> None:
        super().__init__()
        self.cell, self.tensors, self.opaque = cell, tensors, opaque
        self.raws: list[_Raw] = []
        self.entries: list[Entry] = []
        self.rule_of: tuple[int, int] | None = None
        self.lookers: set[tuple[int, int]] = set()
        """Gradient rules that brought arrays of their own, such as ``y > 0``: they have looked at values."""
        self._constants: set[int] = set()
        self._by_array: dict[int, tuple[str, Any]] = {}
        self._alive: list[Any] = []

    def recorded(self, entry: Entry, arrays: Any, out: Any) -> None:
        # A detached tensor has the array of the tensor that it was detached from.
        inputs = [
            self._by_array.get(id(a), ("constant", a)) if p is None else ("value", _key(p))
            for p, a in zip(entry.parents, arrays, strict=True)
        ]
        constants = {id(a) for kind, a in inputs if kind == "constant" and np.ndim(a)}
        if self.rule_of is None:
            self._constants |= constants
        elif not constants <= self._constants:
            self.lookers.add(self.rule_of)
        several = entry.primitive.multiple
        outs = [((entry, k), np.shape(o), o.dtype) for k, o in enumerate(out)] if several else [
            (entry, np.shape(out), np.asarray(out).dtype)
        ]  # fmt: skip
        if self.rule_of is None:
            self._know([(o[0], array) for o, array in zip(outs, out if several else (out,), strict=True)])
        self.raws.append(
            _Raw(entry.primitive, inputs, dict(entry.static), outs, str(entry.scope or ""), self.rule_of)
        )
        self.entries.append(entry)

    def run(self, x: np.ndarray, states: Sequence[np.ndarray], like: Any, rng: np.random.Generator) -> None:
        """Record the step, then its pullback for random cotangents."""
        leaves = [_make(a, Leaf(a.shape, a.dtype)) for a in (x, *states)]
        self._know([(_key(t.place), t.numpy()) for t in leaves])
        with self._recording(None):
            result = self.cell(leaves[0], refilled(like, leaves[1:]))
        y, new = _checked(result, states)
        self.arrays = [t.numpy() for t in (y, *new)]
        for name, t in zip(("output", *["new state"] * len(new)), (y, *new), strict=True):
            if t.place is None:
                raise Unsupported(f"its {name} depends on nothing that is on the tape")
        self.sources = [_key(t.place) for t in leaves]
        self.leaf_shapes = [(t.shape, t.dtype) for t in leaves]
        self.outputs = [_key(t.place) for t in (y, *new)]
        self.forward_count = len(self.raws)
        gs = [_make(rng.standard_normal(t.shape).astype(t.dtype), Leaf(t.shape, t.dtype)) for t in (y, *new)]
        self.cotangents = [_key(g.place) for g in gs]
        self.cotangent_shapes = [(g.shape, g.dtype) for g in gs]
        self.found = self._pull(list(zip((y, *new), gs, strict=True)))

    def _know(self, values: Sequence[tuple[Key, Any]]) -> None:
        self._by_array.update({id(array): ("value", key) for key, array in values})
        self._alive += [array for _, array in values]  # so that no other array gets its identity

    @contextmanager
    def _recording(self, scope: Any) -> Iterator[None]:
        token = context.set(State(True, scope, self))
        try:
            yield
        finally:
            context.reset(token)

    def _pull(self, roots: Sequence[tuple[Tensor, Tensor]]) -> dict[Key, Tensor]:
        """Carry the cotangents through the recorded entries, as `tape.backward` does, rule by rule."""
        table: dict[Key, list[Any]] = {}
        for root, seed in roots:
            table.setdefault(_key(root.place), []).append(seed)
        for index in reversed(range(self.forward_count)):
            entry = self.entries[index]
            with self._recording(entry.scope):
                if entry.primitive.multiple:
                    specs = [
                        Output(entry, k, s, d)
                        for k, (s, d) in enumerate(zip(entry.shape, entry.dtype, strict=True))
                    ]
                    g: Any = [self._finish(table.pop((entry, k), None), p) for k, p in enumerate(specs)]
                    arrived = any(one is not None for one in g)
                else:
                    g = self._finish(table.pop(entry, None), entry)
                    arrived = g is not None
                if not arrived:
                    continue
                for k, place in enumerate(entry.parents):
                    if place is None:
                        continue
                    self.rule_of = (index, k)
                    gk = self._apply_rule(entry, index, k, g)
                    self.rule_of = None
                    if type(gk) is not list and type(gk) is not Piece:
                        gk = fit(gk, place)
                    table.setdefault(_key(place), []).extend(gk if type(gk) is list else [gk])
        found = {}
        for key, gs in table.items():
            with self._recording(None):
                found[key] = self._finish(gs, key if isinstance(key, Place) else None)
        return found

    def _apply_rule(self, entry: Entry, index: int, k: int, g: Any) -> Any:
        """The cotangent of input k of an entry."""
        rule: Any = entry.primitive.joint
        several = entry.primitive.multiple
        if (index, k) in self.opaque:
            return self._apply_opaque(entry, index, k, g)
        args = [
            a if p is None or isinstance(a, Place) else _make(a, p)
            for a, p in zip(entry.args or (), entry.parents, strict=True)
        ]
        out: Any = entry.out
        if out is not None:
            out = (
                [_make(o, Output(entry, j, o.shape, o.dtype)) for j, o in enumerate(out)]
                if several
                else _make(out, entry)
            )
        if rule is not None:
            return rule(g, out, *args, **entry.static)[k]
        return entry.primitive.vjps[k](g, out, *args, **entry.static)  # type: ignore[misc]

    def _apply_opaque(self, entry: Entry, index: int, k: int, g: Any) -> Any:
        """The same, as one instruction: the rule looks at values (``y > 0``), which no tape shows."""
        primitive, operands, arrays = entry.primitive, [], []
        reads = [False, *(False,) * len(entry.parents)]
        if primitive.joint is None:
            reads = primitive._reads(primitive.vjps[k])
        elif primitive.keeps_all:
            reads = [False, *(True,) * len(entry.parents)]

        def value(array: Any, key: Key) -> Any:
            operands.append(("value", key))
            arrays.append(array)
            return _OPERAND

        def spec(shape: Any, dtype: Any) -> Any:
            return Spec(tuple(shape), dtype)

        if primitive.multiple:
            several: Any = tuple([None if one is None else value(one.numpy(), _key(one.place)) for one in g])
            out: Any = tuple([value(o, (entry, j)) for j, o in enumerate(entry.out)]) if reads[0] else None
        else:
            several = value(g.numpy(), _key(g.place))
            out = value(entry.out, entry) if reads[0] else None
        template: list[Any] = [several, out]
        for a, p, read in zip(entry.args or (), entry.parents, reads[1:], strict=True):
            if not read:
                template.append(spec(a.shape, a.dtype) if hasattr(a, "shape") else a)
            elif p is None:
                operands.append(("constant", a))
                arrays.append(a)
                template.append(_OPERAND)
            else:
                template.append(value(a, _key(p)))
        op = Pullback(primitive, k, tuple(template))
        array = op.call(arrays, entry.static, 0)
        if not isinstance(array, (np.ndarray, np.generic)):
            raise Unsupported(
                f"the gradient of {primitive.name} depends on values in a way that is not followed"
            )
        array = np.asarray(array)
        result = _make(array, Leaf(array.shape, array.dtype))
        assert result.place is not None
        self.raws.append(
            _Raw(op, operands, dict(entry.static), [(_key(result.place), array.shape, array.dtype)],
                 str(entry.scope or ""), (index, k))
        )  # fmt: skip
        return result

    def _finish(self, gs: list[Any] | None, place: Place | None) -> Any:
        """The sum of what has arrived at a place: arrays, and pieces of an array that is 0 elsewhere."""
        if gs is None:
            return None
        pieces = [g for g in gs if type(g) is Piece]
        total: Any = None
        for g in gs:
            if type(g) is not Piece:
                total = g if total is None else total + g
        if pieces:
            assert place is not None
            placed = ops.scatter(
                [p.g for p in pieces], indices=tuple(p.index for p in pieces), shape=place.shape
            )
            placed = fit(placed, place)
            total = placed if total is None else total + placed
        return total if isinstance(total, Tensor) else _make(total, None)


def _checked(result: Any, states: Sequence[np.ndarray]) -> tuple[Tensor, list[Tensor]]:
    """A cell's result, provided that it has the form (y, state) and leaves the state's form as it was."""
    if not (isinstance(result, tuple) and len(result) == 2):
        raise Unsupported("it does not return a pair (y, state)")
    y, new = result[0], tensors_of(result[1])
    if len(new) != len(states) or not all(isinstance(p, Tensor) for p in (y, *new)):
        raise Unsupported("its output and state are not tensors, as many as went in")
    for p, old in zip(new, states, strict=True):
        if p.shape != old.shape or p.dtype != old.dtype:
            raise Unsupported(f"a state {old.dtype}{old.shape} becomes {p.dtype}{p.shape}")
    return y, new


# --------------------------------------------------------------------------------------------- unifying


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


def twin(cell: Any) -> Any:
    """A copy of a cell to try things on, so that neither its generators nor anything else in it moves on."""
    try:
        return deepcopy(cell)
    except (TypeError, RuntimeError):
        return cell  # what cannot be copied is used as it is


_SEED = 20
_ROWS = (6, 9)
"""Rows of the recordings. A length is the number of rows if it is the one here and the other there."""


def trace(cell: Any, signature: Signature, names: Sequence[str]) -> Step:
    """Record one step of a cell.

    Parameters
    ----------
    cell : callable
        ``cell(x_t, state) -> (y_t, state)``.
    signature : Signature
    names : sequence of str
        Of the tensors that the cell uses besides its arguments (see `Surroundings`).

    Raises
    ------
    Unsupported
        With the reason, and the entry, if the step differs from call to call in more than its numbers, or
        if its rows are not independent.
    """
    cell = twin(cell)
    tensors = Surroundings(cell).tensors()
    function = cell.forward if hasattr(cell, "forward") else cell
    generator = default_generator()
    before = generator.bit_generator.state
    opaque: set[tuple[int, int]] = set()
    try:
        with _on_tape(tensors), np.errstate(all="ignore"):
            while True:
                recordings = [_record(function, tensors, signature, k, opaque) for k in range(5)]
                news = {at for r in recordings[1:] for at in _looks_at_values(recordings[0], r)} - opaque
                if not news:
                    break
                opaque |= news
            step = _step(recordings, tensors, names)
            _check_rows(function, signature, recordings[0])
    finally:
        generator.bit_generator.state = before
    return step


def _example(signature: Signature, k: int) -> tuple[int, list[np.ndarray], np.random.Generator]:
    """Inputs for recording number k: ordinary numbers twice, positive, negative, and of all magnitudes."""
    rng = np.random.default_rng(_SEED + k)
    rows = _ROWS[k == 2]
    changes: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda a: a,
        lambda a: 0.5 * a,
        np.abs,
        lambda a: -3 * np.abs(a),
        lambda a: a * 10 ** rng.uniform(-3, 3, a.shape),
    ]
    arrays = [
        changes[k](rng.standard_normal((rows, *f))).astype(d) for f, d in (signature.x, *signature.states)
    ]
    return rows, arrays, rng


def _record(
    function: Any, tensors: Sequence[Tensor], signature: Signature, k: int, opaque: set[tuple[int, int]]
) -> _Recording:
    _, (x, *states), rng = _example(signature, k)
    recording = _Recording(function, tensors, opaque)
    try:
        recording.run(x, states, signature.like, rng)
    except Unsupported:
        raise
    except Exception as error:
        raise Unsupported(f"recording it gave {type(error).__name__}: {error}") from error
    return recording


def _looks_at_values(one: _Recording, other: _Recording) -> list[tuple[int, int]]:
    """The gradient rules whose instructions differ between two recordings."""
    if one.forward_count != other.forward_count:
        return []
    found = list(one.lookers | other.lookers)
    rules: list[dict[tuple[int, int], list[_Raw]]] = [{}, {}]
    for recording, table in zip((one, other), rules, strict=True):
        for raw in recording.raws[recording.forward_count :]:
            if raw.rule_of is not None:
                table.setdefault(raw.rule_of, []).append(raw)
    rows = (one.leaf_shapes[0][0][0], other.leaf_shapes[0][0][0])
    for at, raws in rules[0].items():
        others = rules[1].get(at, [])
        try:
            for a, b in zip(raws, others, strict=True):
                _same(a, b, rows)
        except (_Differs, ValueError):
            found.append(at)
    return found


def _same(a: _Raw, b: _Raw, rows: tuple[int, int]) -> tuple[list[Any], dict[str, Any], list[Shape]]:
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
        _unify(_specs(a.op.template), _specs(b.op.template), rows)
    return inputs, static, shapes


def _specs(template: Any) -> Any:
    return tuple([_specs(t) if type(t) is tuple else t for t in template])


def _check_rows(function: Any, signature: Signature, recording: _Recording) -> None:
    """Raise if changing one row of the inputs changes another row of the outputs."""
    rows, arrays, rng = _example(signature, 0)
    for k, array in enumerate(recording.arrays):
        if not array.ndim or len(array) != rows:
            what = "output" if not k else "new state"
            raise Unsupported(f"its {what} has shape {array.shape}, with another first axis than x")
    for a in arrays:
        a[0] = 4 * rng.standard_normal(a.shape[1:])
    tensors = [_make(a, None) for a in arrays]
    y, new = function(tensors[0], refilled(signature.like, tensors[1:]))
    for old, t in zip(recording.arrays, (y, *tensors_of(new)), strict=True):
        tolerance = 100 * np.finfo(old.dtype).eps
        if not np.allclose(old[1:], t.numpy()[1:], rtol=tolerance, atol=tolerance, equal_nan=True):
            raise Unsupported(
                "its rows are not independent: a change in one row of x or of the state changes others"
            )


def _step(recordings: Sequence[_Recording], tensors: Sequence[Tensor], names: Sequence[str]) -> Step:
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
        new(_key(t.place) if t.place is not None else ("frozen", k), t.shape, t.dtype, "parameter", name)
        for k, (t, name) in enumerate(zip(tensors, names, strict=True))
    ]
    instructions: list[Instruction] = []
    cotangents: list[Value] = []
    for k, raw in enumerate(first.raws):
        if k == first.forward_count:
            cotangents = [
                new(key, (ROWS, *shape[1:]), dtype, "cotangent", f"gstate{j - 1}" if j else "gy")
                for j, (key, (shape, dtype)) in enumerate(
                    zip(first.cotangents, first.cotangent_shapes, strict=True)
                )
            ]
        instructions.append(_instruction(k, raw, recordings, values, new))
    if not cotangents:
        cotangents = [
            new(key, (ROWS, *shape[1:]), dtype, "cotangent", f"gstate{j - 1}" if j else "gy")
            for j, (key, (shape, dtype)) in enumerate(
                zip(first.cotangents, first.cotangent_shapes, strict=True)
            )
        ]
    return _assembled(first, inputs, parameters, names, cotangents, instructions, values)


def _instruction(
    k: int, raw: _Raw, recordings: Sequence[_Recording], values: dict[Key, Value], new: Any
) -> Instruction:
    """Instruction number k, with its operands, as all recordings agree on it."""
    first = recordings[0]
    where = f"entry {k + 1}, {raw.op.name}" + (f" in scope {raw.scope}" if raw.scope else "")
    inputs, static, shapes = [], raw.static, []
    for other in recordings[1:]:
        if len(other.raws) != len(first.raws) and k >= min(len(other.raws), len(first.raws)):
            raise Unsupported(f"it takes another path for other values, from {where} on (a branch in Python)")
        rows = (first.leaf_shapes[0][0][0], other.leaf_shapes[0][0][0])
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
        other = recordings[2].raws[k].op
        rows = (first.leaf_shapes[0][0][0], recordings[2].leaf_shapes[0][0][0])
        op = Pullback(op.primitive, op.k, _unify_template(op.template, other.template, rows))
    return Instruction(op, tuple(operands), static, outputs, raw.scope)


def _unify_template(a: Any, b: Any, rows: tuple[int, int]) -> Any:
    return tuple(
        [
            x if x is _OPERAND else _unify_template(x, y, rows) if type(x) is tuple else _unify(x, y, rows)
            for x, y in zip(a, b, strict=True)
        ]
    )


def _assembled(
    first: _Recording,
    inputs: Any,
    parameters: Any,
    names: Any,
    cotangents: Any,
    instructions: Any,
    values: dict[Key, Value],
) -> Step:
    def cotangent(key: Key) -> Value | None:
        g = first.found.get(key)
        if g is None:
            return None
        if g.place is None:
            if not g.numpy().any():
                return None
            raise Unsupported("a cotangent is a constant")
        return values[_key(g.place)]

    by_number = {v.number: key for key, v in values.items()}
    gs = [cotangent(by_number[v.number]) for v in (*inputs, *parameters)]
    y, *new = [values[key] for key in first.outputs]
    n = first.forward_count
    return Step(
        x=inputs[0], states=tuple(inputs[1:]), parameters=tuple(parameters), names=tuple(names),
        y=y, new_states=tuple(new), forward=instructions[:n],
        gy=cotangents[0], gstates=tuple(cotangents[1:]),
        gx=gs[0], gold=tuple(gs[1 : len(inputs)]), gparameters=tuple(gs[len(inputs) :]),
        backward=instructions[n:],
    )  # fmt: skip
