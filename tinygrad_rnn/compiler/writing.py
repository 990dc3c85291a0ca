"""Source text for single instructions, and for all steps at once: what a program has besides its loops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ops.operations import Primitive
from .forms import product_kind, ufunc_name
from .instructions import ROWS, Constant, Instruction, Instructions, Operand, Value
from .passes import live
from .planning import Plan


@dataclass(frozen=True)
class Location:
    """Where a step's value lies: a part of an array, by features, for each step its own rows.

    Attributes
    ----------
    kind : str
        The method of `Layout` that gives the views: steps, reads, writes or heads.
    array : str
        The array's name.
    part : tuple of (int, int) or None
        Start and stop along the last axis.
    """

    kind: str
    array: str
    part: tuple[int, int] | None = None

    def inside(self, start: int, stop: int) -> Location:
        """Some features of what lies here."""
        offset = self.part[0] if self.part else 0
        return Location(self.kind, self.array, (offset + start, offset + stop))

    @property
    def whole(self) -> bool:
        return self.part is None

    def views(self) -> str:
        """An expression for the views of all steps."""
        part = f"[..., {self.part[0]}:{self.part[1]}]" if self.part else ""
        return f"L.{self.kind}({self.array}{part})"


Copies = list[tuple[Value | None, Location]]
"""What each step leaves for the next, and where it has to be; None for zeros."""


def array_name(v: Value) -> str:
    """The array that holds a value for all steps."""
    return f"a{v.number}"


class Writer:
    """Writes the source of one plan, line by line; how a loop is written is for backends to say.

    Attributes
    ----------
    namespace : dict
        What the source calls by name.
    names : dict of Value to str
        What values are called at this line.
    home : dict of Value to int
        New states that live in a state's history, and which one's.
    numbers : dict of Constant or Instruction to int
        What those are called by that the source takes from the namespace.
    prepared : dict of str to str, or None
        For a single step: what is made of the parameters beforehand, and its name.
    kernels : dict of str to str
        Source of its kernels: ``kernel`` of the forward loop, ``kernel_back`` of the backward loop.
    notes : list of str
        What was in the way of others.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.ends = plan, plan.ends
        self.namespace: dict[str, Any] = {"np": np, "sigmoid": _sigmoid}
        self.names: dict[Value, str] = {}
        self.numbers: dict[Constant | Instruction, int] = {}
        self.lines: list[str] = []
        self._depth = 0
        self.kernels: dict[str, str] = {}
        self.notes: list[str] = []
        self.prepared: dict[str, str] | None = None
        # The same value in a second state is copied there.
        self.home: dict[Value, int] = {}
        made_in_loop = {o for i in plan.loop for o in i.outputs}
        for s, v in enumerate(self.ends.new_states):
            if v in made_in_loop:
                self.home.setdefault(v, s)

    # ---- lines and names

    def begin(self, head: str, names: dict[Value, str]) -> None:
        """Start a function, which knows some values and the parameters."""
        self.lines, self._depth = [f"def {head}:"], 1
        parameters = [f"p{k}" for k in range(len(self.ends.parameters))]
        if parameters:
            self.write(f"{', '.join(parameters)}, = parameters")
        self.names = {**names, **dict(zip(self.ends.parameters, parameters, strict=True))}

    def write(self, line: str) -> None:
        self.lines.append("    " * self._depth + line)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """What is written meanwhile stands under a head."""
        self.write(head)
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def allocate(self, name: str, v: Value, rows: str, take: str) -> None:
        """Write that a name is an array for some rows of a value."""
        self.namespace[f"t{v.dtype.char}"] = v.dtype
        shape = ", ".join([rows, *map(str, v.features)])
        self.write(f"{name} = {take}(({shape},), t{v.dtype.char})")

    def name(self, v: Operand, rows: str) -> str:
        """How an operand is called in the source."""
        if type(v) is Value:
            return self.names[v]
        key = f"k{self.numbers.setdefault(v, len(self.numbers))}"
        self.namespace[key] = v if v.rowwise else v.array
        return f"{key}.value({rows})" if v.rowwise else key

    def typed(self, v: Operand, dtype: Any, rows: str) -> str:
        """An operand of a ufunc: a number becomes an array, which NumPy takes quicker."""
        if type(v) is Constant and isinstance(v.array, (int, float)) and dtype.kind == "f":
            key = f"{self.name(v, rows)}_{dtype.char}"
            self.namespace[key] = np.array(v.array, dtype)
            return key
        return self.name(v, rows)

    def all_rows(self, v: Value) -> str:
        """An expression for the rows of all steps of a value."""
        if v is self.ends.x:
            return "x"
        if v in self.ends.states:
            return f"L.read_rows(h{self.ends.states.index(v)})"
        if v in self.home:
            return f"h{self.home[v]}[L.batch:]"
        return array_name(v)

    def prepare(self, expression: str) -> str:
        """A name for something that depends on the parameters alone."""
        assert self.prepared is not None
        return self.prepared.setdefault(expression, f"q{len(self.prepared)}")

    # ---- one instruction

    def call(self, i: Instruction, rows: str) -> str:
        """An expression that gives the outputs as fresh arrays: a tuple for several."""
        arrays = [self.name(v, rows) for v in i.inputs]
        key = f"f{self.numbers.setdefault(i, len(self.numbers))}"
        if isinstance(i.op, Primitive) and not any(_mentions_rows(s) for s in i.static.values()):
            self.namespace[key] = i.op.forward
            self.namespace.update({f"{key}_{n}": s for n, s in i.static.items()})
            return f"{key}({', '.join([*arrays, *[f'{n}={key}_{n}' for n in i.static]])})"
        self.namespace[key] = i.run
        several = "" if i.op.multiple else "[0]"
        return f"{key}(({''.join(a + ', ' for a in arrays)}), {rows}){several}"

    def into(self, i: Instruction, out: str, rows: str) -> str | None:
        """A statement that writes the output into an array of the right shape; None if there is none."""
        o = i.outputs[0]
        if i.name == "sigmoid" and isinstance(i.op, Primitive) and o.dtype.char in "fd":
            limit, one = f"limit_{o.dtype.char}", f"one_{o.dtype.char}"
            self.namespace[limit] = np.array({"f": 88.0, "d": 709.0}[o.dtype.char], o.dtype)
            self.namespace[one] = np.array(1, o.dtype)
            return f"sigmoid({self.name(i.inputs[0], rows)}, {limit}, {one}, {out})"
        ufunc = ufunc_name(i)
        if ufunc:
            arrays = [self.typed(v, o.dtype, rows) for v in i.inputs]
            return f"np.{ufunc}({', '.join(arrays)}, out={out})"
        product = product_kind(i)
        if product:
            a, b = [self.name(v, rows) for v in i.inputs]
            return f"np.dot({a}, {b}{'.T' if product == 'linear' else ''}, {out})"
        return None

    # ---- all steps at once

    def straight(self, instructions: Instructions, take: str | None, rows: str = "L.rows") -> None:
        """Write instructions one after the other, results in arrays from ``take``, or in fresh ones."""
        for i in instructions:
            o = i.outputs[0]
            names = [array_name(v) for v in i.outputs]
            fresh = take or ("L.new" if product_kind(i) else None)
            statement = self.into(i, names[0], rows) if fresh and o.rowwise and not i.op.multiple else None
            if fresh and statement:
                self.allocate(names[0], o, rows, fresh)
                self.write(statement)
            else:
                self.write(f"{', '.join(names)}{',' if i.op.multiple else ''} = {self.call(i, rows)}")
            self.names.update(zip(i.outputs, names, strict=True))

    def once(self, readers: Iterable[Instruction]) -> None:
        """Write what some instructions need that depends on the parameters alone."""
        self.straight(live(self.plan.once, [v for i in readers for v in i.read]), None, "1")

    # ---- a loop

    def loop(self, body: Instructions, locations: dict[Value, Location], copies: Copies, back: bool) -> None:
        """Write the loop over time, and what memory it needs besides the locations that it is given."""
        outside = dict(self.names)
        self.write_loop(body, locations, copies, back)
        self.names = outside

    def write_loop(
        self, body: Instructions, locations: dict[Value, Location], copies: Copies, back: bool
    ) -> None:
        raise NotImplementedError


def _mentions_rows(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(map(_mentions_rows, value))
    if isinstance(value, slice):
        return any(map(_mentions_rows, (value.start, value.stop, value.step)))
    return value is ROWS


def _sigmoid(x: Any, limit: Any, one: Any, out: Any) -> None:
    np.negative(x, out)
    np.minimum(out, limit, out=out)
    np.exp(out, out)
    np.add(out, one, out)
    np.reciprocal(out, out)
