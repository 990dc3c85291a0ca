"""The expressions of a kernel: elementwise operations, constants, and memory read and written."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .instructions import ROWS, Constant, Instruction, Operand, Pullback, Value
from .stages import REDUCTIONS, NotFused, Stages, width
from .writing import Location

_UNARY = {
    "negative": "-{0}", "positive": "{0}", "square": "{0} * {0}", "abs": "abs({0})", "fabs": "abs({0})",
    "reciprocal": "one / {0}", "tanh": "tanh({0})", "sigmoid": "sigmoid({0})", "exp": "exp({0})",
    "relu": "larger({0}, zero)", "silu": "{0} * sigmoid({0})",
    "softplus": "larger({0}, zero) + np.log1p(exp(-abs({0})))",
    "hard_sigmoid": "smaller(larger({0} + three, zero), six) / six",
    "sign": "(one if {0} > zero else (-one if {0} < zero else {0}))",
}  # fmt: skip
_BINARY = {
    "add": "{0} + {1}", "subtract": "{0} - {1}", "multiply": "{0} * {1}", "divide": "{0} / {1}",
    "maximum": "larger({0}, {1})", "minimum": "smaller({0}, {1})",
}  # fmt: skip
# What does not pass is times 0, as in the rules themselves: so what is not a number stays what it is.
_PULLBACKS = {
    ("relu", 0): "{0} * (one if {1} > zero else zero)",
    ("maximum", 0): "({0} if {1} > {2} else ({0} * half if {1} == {2} else zero))",
    ("maximum", 1): "({0} if {2} > {1} else ({0} * half if {1} == {2} else zero))",
    ("minimum", 0): "({0} if {2} > {1} else ({0} * half if {1} == {2} else zero))",
    ("minimum", 1): "({0} if {1} > {2} else ({0} * half if {1} == {2} else zero))",
    ("hard_sigmoid", 0): "{0} * (one if abs({1}) < three else zero) / six",
}
_LIBRARY = {
    "sin", "cos", "tan", "arcsin", "arccos", "arctan", "arctan2", "sinh", "cosh", "arcsinh", "arccosh",
    "arctanh",
    "expm1", "log", "log1p", "log2", "log10", "exp2", "sqrt", "power", "hypot",
}  # fmt: skip


def _with_static(i: Instruction, number: Callable[[Any], str]) -> str | None:
    """The expression of an operation with static arguments."""
    name = i.op.primitive.name if isinstance(i.op, Pullback) else i.name
    static = i.static
    if name == "clip":
        low, high = static.get("min"), static.get("max")
        if not all(b is None or isinstance(b, (int, float)) for b in (low, high)):
            return None
        if isinstance(i.op, Pullback):
            tests = [f"{{1}} >= {number(low)}"] * (low is not None) + [f"{{1}} <= {number(high)}"] * (
                high is not None
            )
            return f"{{0}} * (one if {' and '.join(tests) or 'True'} else zero)"
        text = "{0}" if low is None else f"larger({{0}}, {number(low)})"
        return text if high is None else f"smaller({text}, {number(high)})"
    if name == "leaky_relu":
        slope = number(static.get("negative_slope", 0.01))
        if isinstance(i.op, Pullback):
            return f"({{0}} if {{1}} > zero else {{0}} * {slope})"
        return f"({{0}} if {{0}} > zero else {{0}} * {slope})"
    if name == "hard_tanh":
        low, high = number(static.get("min_val", -1.0)), number(static.get("max_val", 1.0))
        if isinstance(i.op, Pullback):
            return f"{{0}} * (one if {{1}} > {low} and {{1}} < {high} else zero)"
        return f"smaller(larger({{0}}, {low}), {high})"
    if name == "elu":
        alpha = number(static.get("alpha", 1.0))
        if isinstance(i.op, Pullback):
            return f"({{0}} if {{1}} > zero else {{0}} * ({alpha} * exp(smaller({{1}}, zero))))"
        return f"({{0}} if {{0}} > zero else {alpha} * np.expm1(smaller({{0}}, zero)))"
    return None


def _formula(i: Instruction) -> str:
    """An operation on numbers as text with places for its operands."""
    pattern = _with_static(i, lambda n: _literal(float(n)))
    if pattern is None and isinstance(i.op, Pullback):
        pattern = _PULLBACKS.get((i.op.primitive.name, i.op.k))
    elif pattern is None and not i.static:
        pattern = _UNARY.get(i.name) or _BINARY.get(i.name)
        if pattern is None and i.name in _LIBRARY:
            pattern = f"np.{i.name}({', '.join(['{0}', '{1}'][: len(i.inputs)])})"
    if pattern is None:
        raise NotFused(f"{i.name} has no form in a kernel")
    if i.name == "power":
        exponent = i.inputs[1]
        if type(exponent) is Constant and isinstance(exponent.array, int) and 0 < exponent.array <= 4:
            return " * ".join(["{0}"] * exponent.array)
    return pattern


def local(v: Value) -> str:
    """The local variable that holds the result of a reduction."""
    return f"r{v.number}"


class Memory:
    """The arrays of a kernel, as they are read and written in it.

    Attributes
    ----------
    names : dict of Value to str
        Of what is no result in the loop: what the caller calls it.
    arrays : dict of str to str
        The caller's names for arrays, and the kernel's.
    widths : dict of str to int
        Features of a row of those that have rows.
    """

    def __init__(self, stages: Stages, names: dict[Value, str]) -> None:
        self.names, self.arrays = names, dict[str, str]()
        self.widths = {at.array: width(v) for v, at in stages.copies if v is not None}
        self.widths.update({at.array: width(v) for v, at in stages.locations.items() if at.whole})
        self._fresh = itertools.count()

    def array(self, name: str) -> str:
        """The kernel's name for an array of the caller."""
        return self.arrays.setdefault(name, f"A{len(self.arrays)}")

    def number(self, name: str) -> int:
        """An array's number; see `kernels.load`."""
        self.array(name)
        return list(self.arrays).index(name)

    def fresh(self) -> str:
        """A name for a local variable."""
        return f"t{next(self._fresh)}"

    def start(self, at: Location, row: str) -> str:
        """The element at which a row begins."""
        first = {"steps": "start", "writes": "batch + start", "reads": "before", "heads": "0"}[at.kind]
        offset = at.part[0] if at.part else 0
        return f"({first} + {row}) * {self.widths[at.array]} + {offset}"

    def rows(self, at: Location) -> str:
        """Arguments of a product: an array, where its rows begin, and how far apart they are."""
        return f"{self.array(at.array)}, {self.start(at, 'lo')}, {self.widths[at.array]}"

    def load(self, at: Location, index: str) -> str:
        """An element of a row."""
        return f"load({self.array(at.array)}, {self.start(at, 'r')}{index}, {self.number(at.array)})"

    def store(self, at: Location, value: str, index: str) -> str:
        """A statement that writes an element of a row."""
        return (
            f"store({self.array(at.array)}, {self.start(at, 'r')}{index}, {value}, {self.number(at.array)})"
        )

    def parameter(self, v: Value, index: str) -> str:
        """An element of what is the same for all rows."""
        shape = [n for n in v.shape if n != 1]
        if len(shape) > 1 or ROWS in v.shape:
            raise NotFused(f"a parameter of shape {v.shape} among features")
        name = self.names[v]
        return f"load({self.array(name)}, {index if shape else 0}, {self.number(name)})"


class Pass:
    """The expressions of one pass over a row's features, each written once.

    Attributes
    ----------
    before : list of str
        Statements for what is the same for all features.
    lines : list of str
        Statements for feature j.
    loaded : set of Value
        What is read from memory.
    """

    def __init__(self, stages: Stages, memory: Memory, size: int, computed: Iterable[Value] = ()) -> None:
        self.stages, self.memory, self.size, self.computed = stages, memory, size, set(computed)
        self.before: list[str] = []
        self.lines: list[str] = []
        self.loaded: set[Value] = set()
        self._known: dict[Any, str] = {}

    def value(self, v: Operand, offset: int = 0, fixed: bool = False) -> str:
        """The name of a value's element j, counted from feature ``offset`` on; of that feature if fixed."""
        if type(v) is Constant:
            return _number(v)
        fixed = fixed or (v.rowwise and width(v) == 1 and self.size != 1)
        offset = 0 if v.rowwise and width(v) == 1 else offset
        key = (v, offset, fixed)
        if key in self._known:
            return self._known[key]
        index = f"{offset}{'' if fixed or self.size == 1 else ' + j'}"
        if not v.rowwise:
            text = self.memory.parameter(v, index)
        elif v in self.computed or v not in self.stages.locations:
            found = self.stages.alias(v)
            if found is not None:
                return self.value(found[0], offset + found[1], fixed)
            i = self.stages.made_by[v]
            if i.name in REDUCTIONS:
                return local(v)
            text = _formula(i).format(*[self.value(operand, offset, fixed) for operand in i.inputs])
        else:
            text = self.memory.load(self.stages.locations[v], f" + {index}")
            self.loaded.add(v)
        name = self._known[key] = self.memory.fresh()
        # What is the same for all features is computed before the loop over them.
        (self.before if fixed else self.lines).append(f"{name} = {text}")
        return name

    def loop(self, statements: Sequence[str]) -> list[str]:
        """The pass, with statements for feature j at its end."""
        inner = ["    " + line for line in (*self.lines, *statements)]
        return [*self.before, f"for j in range({self.size}):", *inner]


def _number(v: Constant) -> str:
    if isinstance(v.array, (bool, np.bool_)) or not isinstance(v.array, (int, float, np.ndarray, np.generic)):
        raise NotFused("a constant that is no number")
    array = np.asarray(v.array)
    if array.size != 1:
        raise NotFused("an array of constants")
    return _literal(float(array.reshape(())))


def _literal(value: float) -> str:
    """A number as it is written in a kernel, where infinity and NaN are NumPy's."""
    return f"number({value!r})" if math.isfinite(value) else f"number({'-' * (value < 0)}np.{abs(value)!r})"
