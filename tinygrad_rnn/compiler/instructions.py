"""The words of the compiler: values, instructions and the step of a cell, for any number of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from ..ops.operations import Primitive, Spec


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
    def size(self) -> int:
        """Numbers in one row; all of them, if it has no rows."""
        return math.prod([n for n in self.shape if n is not ROWS])

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


OPERAND = object()
"""Stands in a `Pullback`'s template for what it is given."""


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
            if part is OPERAND:
                return next(given)
            if type(part) is Spec:
                return Spec(resolve(part.shape, rows), part.dtype)
            return tuple([fill(p) for p in part]) if type(part) is tuple else part

        g, out, *args = [fill(part) for part in self.template]
        rule: Any = self.primitive.joint
        if rule is not None:
            return rule(g, out, *args, **static)[self.k]
        return self.primitive.vjps[self.k](g, out, *args, **static)  # type: ignore[misc]


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


Instructions = list[Instruction]


@dataclass(eq=False, slots=True)
class Ends:
    """What goes into a cell's step, and what comes out.

    Attributes
    ----------
    x, states, parameters
        The inputs; ``names`` are the names of the parameters.
    y, new_states
        The outputs.
    gy, gstates
        Cotangents of y and of the new states.
    gx, gold, gparameters
        Cotangents of x, of the states that went in, and of the parameters; None where there is none.
    """

    x: Value
    states: tuple[Value, ...]
    parameters: tuple[Value, ...]
    names: tuple[str, ...]
    y: Value
    new_states: tuple[Value, ...]
    gy: Value
    gstates: tuple[Value, ...]
    gx: Value | None
    gold: tuple[Value | None, ...]
    gparameters: tuple[Value | None, ...]


@dataclass(eq=False, slots=True)
class Step(Ends):
    """A cell's step: its ends, and what is done between them."""

    forward: Instructions
    backward: Instructions
