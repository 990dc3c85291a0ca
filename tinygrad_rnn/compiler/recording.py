"""One recording of a cell's step, forward and backward, for given numbers.

The backward half is what the gradient rules do when they are applied to tensors, which records them like
anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .. import ops
from ..backpropagation import fit
from ..nn.states import refilled, tensors_of
from ..nn.steps import form, structure
from ..observing import Observer
from ..ops.index import Piece
from ..ops.operations import Spec
from ..sources import Line, describe, user_line
from ..state import State, context
from ..tape import Entry, Leaf, Output, Place
from ..tensors import Tensor, _make, as_tensor
from .instructions import OPERAND, Pullback, Unsupported

Key = Any
"""What a value is found by while recording: its place; for one of several outputs, entry and number."""


def key_of(place: Place | None) -> Key:
    """The key of the value that a place is for."""
    return (place.entry, place.index) if isinstance(place, Output) else place


@dataclass(eq=False)
class Raw:
    """An instruction of one recording."""

    op: Any
    inputs: list[tuple[str, Any]]
    """("value", key) or ("constant", array)."""
    static: dict[str, Any]
    outputs: list[tuple[Key, tuple[int, ...], np.dtype[Any]]]
    scope: str
    rule_of: tuple[int, int] | None
    """The forward instruction, and its input, whose gradient rule did it."""
    line: Line | None = None
    """The line of the cell, where it is not this package's."""


class Recording(Observer):
    """One recording of a step, forward and backward, with given numbers.

    Parameters
    ----------
    cell : callable
    tensors : sequence of Tensor
        That the cell uses besides its arguments: their arrays stand for them, as those of the inputs do.
    opaque : set of (int, int)
        Gradient rules, by forward instruction and input, that are one instruction each.
    """

    def __init__(
        self, cell: Callable[..., Any], tensors: Sequence[Tensor], opaque: set[tuple[int, int]]
    ) -> None:
        super().__init__()
        self.cell, self.tensors, self.opaque = cell, tensors, opaque
        self.refused: Unsupported | None = None
        self.forward_count = -1
        self.raws: list[Raw] = []
        self.entries: list[Entry] = []
        self.rule_of: tuple[int, int] | None = None
        self.lookers: set[tuple[int, int]] = set()
        """Gradient rules that brought arrays of their own, such as ``y > 0``: they have looked at values."""
        self._constants: set[int] = set()
        self.cotangents: list[Key] = []
        self._by_array: dict[int, tuple[str, Any]] = {}
        self._alive: list[Any] = []
        self.results: list[tuple[int, Any]] = []
        """Of the forward instructions: the number of each, and an output."""

    def recorded(self, entry: Entry, arrays: Any, out: Any) -> None:
        # A detached tensor has the array of the tensor that it was detached from.
        inputs = [
            self._by_array.get(id(a), ("constant", a)) if p is None else ("value", key_of(p))
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
            self.results += [(len(self.raws), array) for array in (out if several else (out,))]
            self._know([(o[0], array) for o, array in zip(outs, out if several else (out,), strict=True)])
        line = user_line(_FORWARD) if self.rule_of is None else None
        self.raws.append(
            Raw(entry.primitive, inputs, dict(entry.static), outs, str(entry.scope or ""), self.rule_of, line)
        )
        self.entries.append(entry)

    def read(self, tensor: Tensor, how: str) -> None:
        if self.forward_count >= 0:
            return
        # Kept, too: the cell might catch what is raised here.
        line = describe(user_line(_FORWARD))
        self.refused = Unsupported(
            f"it reads a tensor's values as Python numbers or text, by {how}"
            + (f", at {line}" if line else "")
        )
        raise self.refused

    def forward(self, x: np.ndarray, states: Sequence[np.ndarray], like: Any) -> None:
        """Record the step."""
        leaves = [_make(a, Leaf(a.shape, a.dtype)) for a in (x, *states)]
        self._know([(key_of(t.place), t.numpy()) for t in (*leaves, *self.tensors)])
        with self._recording(None):
            result = self.cell(leaves[0], refilled(like, leaves[1:]))
        if self.refused is not None:
            raise self.refused
        y, new = _checked(result, states, like, partial(self._other_dtype, x.dtype))
        self.arrays = [t.numpy() for t in (y, *new)]
        for name, t in zip(("output", *["new state"] * len(new)), (y, *new), strict=True):
            if t.place is None:
                raise Unsupported(f"its {name} depends on nothing that is on the tape")
        self.sources = [key_of(t.place) for t in leaves]
        self.leaf_shapes = [(t.shape, t.dtype) for t in leaves]
        self.outputs = [key_of(t.place) for t in (y, *new)]
        self.forward_count = len(self.raws)
        self._results: tuple[Tensor, ...] = (y, *new)

    def _other_dtype(self, x: Any, old: Any, new: Any) -> str:
        """Where it comes from that a state has another dtype than the one before."""
        text = f"a state of {old} comes back as {new}"
        first = next((raw for raw in self.raws if raw.outputs[0][2] == new), None)
        if first is not None:
            line = describe(first.line)
            text += f", first given by {first.op.name}" + (f" ({line})" if line else "")
        if x == new:
            text += f"; x is {x}, and should have the dtype of the state and the parameters"
        return text

    def backward(self, rng: np.random.Generator) -> None:
        """Record the pullback of the step, for random cotangents."""
        y, *new = self._results
        gs = [_make(rng.standard_normal(t.shape).astype(t.dtype), Leaf(t.shape, t.dtype)) for t in (y, *new)]
        self.cotangents = [key_of(g.place) for g in gs]
        self.cotangent_shapes = [(g.shape, g.dtype) for g in gs]
        pulled = self._pull(list(zip((y, *new), gs, strict=True)))
        self.found = {key: _end(g) for key, g in pulled.items()}

    def let_go(self) -> None:
        """Forget the arrays that were recorded, weights and their gradients above all."""
        for entry in self.entries:
            entry.release()
        for kept in (self._by_array, self._alive, self.results, self.arrays):
            kept.clear()
        self._results = ()

    def numbers(self) -> dict[Key, Any]:
        """By key, which input, cotangent or instruction a value comes from: the same in every recording."""
        found: dict[Key, Any] = {key: ("input", k) for k, key in enumerate(self.sources)}
        found |= {key: ("cotangent", k) for k, key in enumerate(self.cotangents)}
        found |= {o[0]: (i, k) for i, raw in enumerate(self.raws) for k, o in enumerate(raw.outputs)}
        return found

    @property
    def rows(self) -> int:
        """The number of rows that it was made with."""
        return self.leaf_shapes[0][0][0]

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
        """Carry the cotangents through the recorded entries, as `backward` does, rule by rule."""
        table: dict[Key, list[Any]] = {}
        for root, seed in roots:
            table.setdefault(key_of(root.place), []).append(seed)
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
                    if place is None or place.dtype.kind not in "fc":  # integers, which have no gradient
                        continue
                    self.rule_of = (index, k)
                    gk = self._apply_rule(entry, index, k, g)
                    self.rule_of = None
                    if type(gk) is not list and type(gk) is not Piece:
                        gk = fit(gk, place)
                    table.setdefault(key_of(place), []).extend(gk if type(gk) is list else [gk])
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
            a if isinstance(a, Place) else self._as_operand(a, p)
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

    def _as_operand(self, a: Any, place: Place | None) -> Any:
        """An input as a rule gets it: a tensor if it is on the tape, or detached from something that is."""
        if place is None:
            kind, key = self._by_array.get(id(a), ("constant", None))
            if kind == "constant":
                return a
            place = key if isinstance(key, Place) else Output(key[0], key[1], a.shape, a.dtype)
        return _make(a, place)

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
            return OPERAND

        def spec(shape: Any, dtype: Any) -> Any:
            return Spec(tuple(shape), dtype)

        if primitive.multiple:
            several: Any = tuple(
                [None if one is None else value(one.numpy(), key_of(one.place)) for one in g]
            )
            out: Any = tuple([value(o, (entry, j)) for j, o in enumerate(entry.out)]) if reads[0] else None
        else:
            several = value(g.numpy(), key_of(g.place))
            out = value(entry.out, entry) if reads[0] else None
        template: list[Any] = [several, out]
        for a, p, read in zip(entry.args or (), entry.parents, reads[1:], strict=True):
            if not read:
                template.append(spec(a.shape, a.dtype) if hasattr(a, "shape") else a)
            elif p is None:
                operands.append(self._by_array.get(id(a), ("constant", a)))
                arrays.append(a)
                template.append(OPERAND)
            else:
                template.append(value(a, key_of(p)))
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
            Raw(op, operands, dict(entry.static), [(key_of(result.place), array.shape, array.dtype)],
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


_FORWARD = Recording.forward.__code__
ROW_BY_ROW = "; what has a row for each sequence of a batch belongs into x or into the state"


def _end(g: Tensor) -> Key | None:
    """The key of the gradient that a pullback ends with; None, if it is 0 everywhere."""
    if g.place is None and g.numpy().any():
        raise Unsupported("a gradient comes out as the same numbers for all cotangents")
    return key_of(g.place)


def _checked(
    result: Any, states: Sequence[np.ndarray], like: Any, other_dtype: Callable[[Any, Any], str]
) -> tuple[Tensor, list[Tensor]]:
    """A cell's result, provided that it has the form (y, state) and leaves the state's form as it was."""
    if not (isinstance(result, (tuple, list)) and len(result) == 2):
        raise Unsupported("it does not return a pair (y, state)")
    y, new = result[0], tensors_of(result[1])
    if isinstance(y, np.ndarray):
        y = as_tensor(y)
    if len(new) != len(states) or not all(isinstance(p, Tensor) for p in (y, *new)):
        raise Unsupported("its output and state are not tensors, as many as went in")
    for p, old in zip(new, states, strict=True):
        if p.shape[:1] != old.shape[:1]:
            raise Unsupported(f"a state of {len(old)} rows becomes one of shape {p.shape}{ROW_BY_ROW}")
        if p.shape != old.shape:
            raise Unsupported(f"a state of shape {old.shape[1:]} in each row becomes one of {p.shape[1:]}")
        if p.dtype != old.dtype:
            raise Unsupported(other_dtype(old.dtype, p.dtype))
    if structure(result[1]) != structure(like):
        raise Unsupported(
            f"a state of the structure {form(like, shapes=False)} becomes one of the structure "
            f"{form(result[1], shapes=False)}"
        )
    return y, new
