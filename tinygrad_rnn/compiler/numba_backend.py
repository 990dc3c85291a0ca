"""One numba kernel for each loop of a plan: products with packed weights, and all between them fused."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..ops.registry import Primitive
from . import numpy_backend
from .instructions import ROWS, Constant, Instruction, Operand, Pullback, Value
from .numpy_backend import Location, feature_parts, joins_features, product_kind
from .planning import Instructions, Plan, elementwise


class NotFused(Exception):  # noqa: N818
    """A loop holds something that has no form here: the NumPy backend writes it."""


Expression = Callable[..., str]

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
_PULLBACKS = {
    ("relu", 0): "({0} if {1} > zero else zero)",
    ("maximum", 0): "({0} if {1} > {2} else ({0} * half if {1} == {2} else zero))",
    ("maximum", 1): "({0} if {2} > {1} else ({0} * half if {1} == {2} else zero))",
    ("minimum", 0): "({0} if {2} > {1} else ({0} * half if {1} == {2} else zero))",
    ("minimum", 1): "({0} if {1} > {2} else ({0} * half if {1} == {2} else zero))",
    ("hard_sigmoid", 0): "({0} / six if abs({1}) < three else zero)",
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
            return f"({{0}} if {' and '.join(tests) or 'True'} else zero)"
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
            return f"({{0}} if {{1}} > {low} and {{1}} < {high} else zero)"
        return f"smaller(larger({{0}}, {low}), {high})"
    if name == "elu":
        alpha = number(static.get("alpha", 1.0))
        if isinstance(i.op, Pullback):
            return f"({{0}} if {{1}} > zero else {{0}} * ({alpha} * exp(smaller({{1}}, zero))))"
        return f"({{0}} if {{0}} > zero else {alpha} * np.expm1(smaller({{0}}, zero)))"
    return None


class _Kernel:
    """Writes the kernel of one loop."""

    def __init__(
        self,
        body: Instructions,
        locations: dict[Value, Location],
        names: dict[Value, str],
        copies: Any,
        back: bool,
    ) -> None:
        self.body, self.locations, self.names, self.back = list(body), dict(locations), names, back
        self.copies = copies
        self.made_by = {o: i for i in body for o in i.outputs}
        self.dtype = _one_dtype(body)
        self.stages: dict[Value, tuple[int, int]] = {}
        self.scratch: dict[str, Value] = {}
        self.arrays: dict[str, str] = {}
        self.weights: dict[str, str] = {}
        self.counter = itertools.count()
        self.free = self.find_free()
        self.find_stages()
        self.spare_carried()
        self.find_memory()

    # ---- where and when

    def alias(self, v: Value) -> tuple[Value, int] | None:
        """The value, and the feature in it, that a view begins at."""
        i = self.made_by.get(v)
        if i is None or not isinstance(i.op, Primitive):
            return None
        source = i.inputs[0]
        if type(source) is not Value:
            return None
        parts = feature_parts(i)
        if parts is not None:
            return source, parts[i.outputs.index(v)][0]
        kept = i.name in ("reshape", "expand_dims", "squeeze", "broadcast_to", "positive")
        if kept and source.rowwise and v.rowwise and width(source) in (1, width(v)):
            return source, 0
        return None

    def find_free(self) -> set[Value]:
        """Values that can be computed at any stage: of what no step overwrites, element by element."""
        free: set[Value] = set()
        for i in self.body:
            if (
                (elementwise(i) or self.alias(i.outputs[0]))
                and not any(o in self.locations for o in i.outputs)
                and all(v in free or (v not in self.made_by and not self.overwritten(v)) for v in i.read)
            ):
                free.update(i.outputs)
        return free

    def overwritten(self, v: Value) -> bool:
        return v in self.locations and self.locations[v].kind == "heads"

    def find_stages(self) -> None:
        """When each value can be had: after how many products, and after how many reductions since."""
        for i in self.body:
            ready = max([self.available(v, i) for v in i.read], default=(0, 0))
            if _is_product(i, self.made_by):
                ready = (ready[0] + 1, 0)
            elif i.name in ("sum", "mean", "var", "scatter"):
                ready = (ready[0], ready[1] + 1)
            for o in i.outputs:
                if not o.rowwise:
                    raise NotFused(f"{i.name} gives {o.shape}")
                self.stages[o] = ready
                width(o)

    def available(self, v: Value, reader: Instruction) -> tuple[int, int]:
        """The earliest stage at which an instruction can read a value."""
        p, q = self.stages.get(v, (0, 0))
        joined = v in self.made_by and self.made_by[v].name == "concatenate"
        cut = v in self.made_by and v in self.locations and _cuts(reader)
        # What is joined, or cut, is read by passes of another width than those that write it.
        return (p, q + 1) if joined or cut else (p, q)

    def spare_carried(self) -> None:
        """Give results elsewhere to go where writing them at once would spoil what is still to be read."""
        for v, at in self.copies:
            if v in self.made_by and self.locations.get(v) == at:
                for i in self.body:
                    for read in i.read:
                        root, start = self.root(read)
                        if self.locations.get(root) != at or root is v:
                            continue
                        same_pass = elementwise(i) and start == 0 and width(i.outputs[0]) == width(v)
                        late = self.at(i) > self.stages[v] or (self.at(i) == self.stages[v] and not same_pass)
                        if late and v in self.locations:
                            del self.locations[v]

    def find_memory(self) -> None:
        """Which values have to lie in an array: what is read at another stage or width."""
        for i in reversed(self.body):
            if i.name == "concatenate":
                if not joins_features(i):
                    raise NotFused("a concatenation of rows")
                self.place(i.outputs[0])
                start = 0
                for v in i.inputs:
                    if type(v) is not Value:
                        raise NotFused("a concatenation with constants")
                    if (
                        v in self.made_by
                        and v not in self.locations
                        and self.alias(v) is None
                        and self.stages[v] == self.stages[i.outputs[0]]
                    ):
                        self.locations[v] = self.locations[i.outputs[0]].inside(start, start + width(v))
                    start += width(v)
        for i in self.body:
            for v in i.read:
                root, _ = self.root(v)
                if root not in self.made_by or root in self.locations:
                    continue
                if root in self.free and not (_is_product(i, self.made_by) or i.name == "scatter"):
                    continue
                if _is_product(i, self.made_by) or i.name == "scatter" or self.stages[root] != self.at(i):
                    self.place(root)
            if _is_product(i, self.made_by) or i.name == "scatter":
                self.place(i.outputs[0])
        for v, _ in self.copies:
            if v is not None and v in self.made_by and v not in self.locations:
                root, _ = self.root(v)
                if root in self.made_by:
                    self.place(root)

    def at(self, i: Instruction) -> tuple[int, int]:
        """The stage at which an instruction runs."""
        stage = self.stages[i.outputs[0]]
        return (stage[0] - 1, 99) if _is_product(i, self.made_by) else stage

    def root(self, v: Value) -> tuple[Value, int]:
        """The value that a view, or a view of a view, shows, and from which feature on."""
        start = 0
        while v not in self.locations and (found := self.alias(v)) is not None:
            v, offset = found
            start += offset
        return v, start

    def place(self, v: Value) -> None:
        if v not in self.locations:
            name = f"s{len(self.scratch)}"
            self.scratch[name] = v
            self.locations[v] = Location("heads", name)

    # ---- text

    def array(self, name: str) -> str:
        """The kernel's name for an array of the caller, and its number."""
        return self.arrays.setdefault(name, f"A{len(self.arrays)}")

    def number(self, name: str) -> int:
        self.array(name)
        return list(self.arrays).index(name)

    def store(self, at: Location, name: str, index: str) -> str:
        """A statement that writes a value."""
        return f"store({self.array(at.array)}, {self.start(at, 'r')}{index}, {name}, {self.number(at.array)})"

    def start(self, at: Location, row: str) -> str:
        """The element at which a row begins."""
        first = {"steps": "start", "writes": "batch + start", "reads": "before", "heads": "0"}[at.kind]
        offset = at.part[0] if at.part else 0
        return f"({first} + {row}) * {self.widths[at.array]} + {offset}"

    def write(self) -> str:
        """The kernel's source."""
        self.widths = self.array_widths()
        lines: list[str] = []
        last = max([p for p, _ in self.stages.values()], default=0)
        for p in range(last + 1):
            if p:
                lines += [
                    self.product_line(i)
                    for i in self.body
                    if _is_product(i, self.made_by) and self.stages[i.outputs[0]] == (p, 0)
                ]
            lines += self.rows(p, p == last)
        head = ", ".join(
            [
                "lo",
                "hi",
                "counts",
                "starts",
                "befores",
                "batch",
                *self.arrays.values(),
                *self.weights.values(),
            ]
        )
        order = "range(len(counts) - 1, -1, -1)" if self.back else "range(len(counts))"
        source = [
            f"def kernel({head}):",
            f"    for k in {order}:",
            "        start, before, end = starts[k], befores[k], min(hi, counts[k])",
            *["        " + line for line in lines],
        ]
        return "\n".join(source) + "\n"

    def array_widths(self) -> dict[str, int]:
        widths: dict[str, int] = {}
        for v, at in self.locations.items():
            if at.part is None:
                widths[at.array] = width(v)
        return widths

    def product_line(self, i: Instruction) -> str:
        kind = _is_product(i, self.made_by)
        a, w = i.inputs
        assert type(a) is Value
        assert type(w) is Value
        root, offset = self.root(a)
        if root not in self.locations:
            raise NotFused("a product of something that is not in memory")
        source, target = self.locations[root].inside(offset, offset + width(a)), self.locations[i.outputs[0]]
        name = self.names[w] + (".T" if kind == "linear" else "")
        weights = self.weights.setdefault(name, f"W{len(self.weights)}")
        inner, columns = width(a), width(i.outputs[0])
        return (
            f"product({self.array(source.array)}, {self.start(source, 'lo')}, "
            f"{self.widths[source.array]}, {weights}, "
            f"{self.array(target.array)}, {self.start(target, 'lo')}, {self.widths[target.array]}, end - lo, "
            f"{inner}, {columns})"
        )

    # ---- everything between products: row by row

    def rows(self, p: int, final: bool) -> list[str]:
        lines: list[str] = []
        depth = max([q for pp, q in self.stages.values() if pp == p], default=0)
        for q in range(depth + 1):
            here = [
                i
                for i in self.body
                if self.stages[i.outputs[0]] == (p, q) and not _is_product(i, self.made_by)
            ]
            lines += self.stage(here)
        if final:
            lines += self.copy_lines()
        return ["for r in range(lo, end):", *["    " + line for line in lines]] if lines else []

    def stage(self, here: Instructions) -> list[str]:
        lines: list[str] = []
        for i in here:
            if i.name in ("sum", "mean", "var"):
                lines += self.reduction(i)
            elif i.name == "scatter":
                lines += self.scatter(i)
        loops: dict[int, list[tuple[Value, Location]]] = defaultdict(list)
        for i in here:
            if i.name in ("sum", "mean", "var", "scatter"):
                continue
            if i.name == "concatenate":
                start = 0
                for v in i.inputs:
                    assert type(v) is Value
                    part = self.locations[i.outputs[0]].inside(start, start + width(v))
                    if self.locations.get(v) != part:
                        loops[width(v)].append((v, part))
                    start += width(v)
                continue
            for o in i.outputs:
                if o in self.locations:
                    loops[width(o)].append((o, self.locations[o]))
        for size, roots in loops.items():
            lines += self.loop(size, roots)
        return lines

    def loop(self, size: int, roots: Sequence[tuple[Value, Location]]) -> list[str]:
        """One pass over the features: everything is read, then computed, then written."""
        text = _Text(self, size, {v for v, _ in roots if v in self.made_by and not self.overtaken(v)})
        results = [(text.value(v, 0), at) for v, at in roots]
        stores = [self.store(at, name, " + j") for name, at in results]
        lines = [*text.lines, *stores]
        if size == 1:
            return [*text.before, *[line.replace(" + j", "") for line in lines]]
        return [*text.before, f"for j in range({size}):", *["    " + line for line in lines]]

    def overtaken(self, v: Value) -> bool:
        """Whether a value to be stored lies in memory already."""
        i = self.made_by[v]
        return bool(_is_product(i, self.made_by)) or i.name in ("scatter", "concatenate")

    def reduction(self, i: Instruction) -> list[str]:
        """A sum, mean or variance of a row; what comes of it is a local variable."""
        source, out = i.inputs[0], i.outputs[0]
        assert type(source) is Value
        axis = i.static.get("axis")
        if len(source.shape) != 2 or axis not in (-1, 1, (1,), (-1,)):
            raise NotFused(f"{i.name} over {axis}")
        n = width(source)
        text = _Text(self, n)
        value = text.value(source, 0)
        name = f"r{out.number}".replace("-", "_")

        def added(term: str) -> list[str]:
            return [
                f"{name} = zero", *text.before, f"for j in range({n}):",
                *["    " + line for line in text.lines],
                f"    {name} += {term}",
            ]  # fmt: skip

        lines = added(value)
        if i.name != "sum":
            lines.append(f"{name} /= number({n})")
        if i.name == "var":
            mean = f"m{out.number}".replace("-", "_")
            lines.append(f"{mean} = {name}")
            lines += added(f"({value} - {mean}) * ({value} - {mean})")
            lines.append(f"{name} /= number({n - i.static.get('ddof', 0)})")
        if out in self.locations:
            at = self.locations[out]
            lines.append(self.store(at, name, ""))
        return lines

    def scatter(self, i: Instruction) -> list[str]:
        """Zeros, with the pieces added in."""
        out = i.outputs[0]
        at = self.locations[out]
        array, number, start = self.array(at.array), self.number(at.array), self.start(at, "r")
        lines = [f"for j in range({width(out)}):", f"    store({array}, {start} + j, zero, {number})"]
        for v, index in zip(i.inputs, i.static["indices"], strict=True):
            if type(v) is not Value or len(out.shape) != 2:
                raise NotFused("scattered constants")
            index = index if isinstance(index, tuple) else (index,)
            last = index[-1]
            whole = len(index) == 2 and (index[0] is Ellipsis or index[0] == slice(None))
            if not whole or not isinstance(last, slice) or last.step not in (None, 1):
                raise NotFused("scattered at indices")
            begin = last.indices(width(out))[0]
            text = _Text(self, width(v))
            value = text.value(v, 0)
            target = f"{start} + {begin} + j"
            lines += [
                *text.before, f"for j in range({width(v)}):", *["    " + line for line in text.lines],
                f"    store({array}, {target}, load({array}, {target}, {number}) + {value}, {number})",
            ]  # fmt: skip
        return lines

    def copy_lines(self) -> list[str]:
        """Bring values to where the next step reads them."""
        moves = [(v, at) for v, at in self.copies if v is None or self.locations.get(v) != at]
        loops: dict[int, list[tuple[Value | None, Location]]] = defaultdict(list)
        for v, at in moves:
            loops[self.widths[at.array]].append((v, at))
        if len(loops) > 1 and any(
            v is not None and v in self.locations and v not in self.made_by for v, _ in moves
        ):
            raise NotFused("states that move to others of different widths")
        lines: list[str] = []
        for size, pairs in loops.items():
            text = _Text(self, size)
            named = [("zero" if v is None else text.value(v, 0), at) for v, at in pairs]
            stores = [self.store(at, name, " + j") for name, at in named]
            lines += [
                *text.before,
                f"for j in range({size}):",
                *["    " + line for line in (*text.lines, *stores)],
            ]
        return lines


class _Text:
    """The expressions of one pass over a row's features, each written once."""

    def __init__(self, kernel: _Kernel, size: int, computed: Iterable[Value] = ()) -> None:
        self.kernel, self.size, self.computed = kernel, size, set(computed)
        self.before: list[str] = []
        self.lines: list[str] = []
        self.known: dict[Any, str] = {}

    def value(self, v: Operand, offset: int, fixed: bool = False) -> str:
        """The name of a value's element j, counted from feature ``offset`` on; of that feature if fixed."""
        kernel = self.kernel
        if type(v) is Constant:
            return self.constant(v)
        fixed = fixed or (v.rowwise and width(v) == 1 and self.size != 1)
        offset = 0 if v.rowwise and width(v) == 1 else offset
        key = (v, offset, fixed)
        if key in self.known:
            return self.known[key]
        index = "" if fixed or self.size == 1 else " + j"
        if not v.rowwise:
            text = self.parameter(v, offset, index)
        elif v in self.computed or v not in kernel.locations:
            found = kernel.alias(v)
            if found is not None:
                return self.value(found[0], offset + found[1], fixed)
            i = kernel.made_by[v]
            if i.name in ("sum", "mean", "var"):
                return f"r{v.number}".replace("-", "_")
            text = self.expression(i, offset, fixed)
        else:
            at = kernel.locations[v]
            text = (
                f"load({kernel.array(at.array)}, {kernel.start(at, 'r')} + {offset}{index}, "
                f"{kernel.number(at.array)})"
            )
        name = f"t{next(kernel.counter)}"
        self.known[key] = name
        # What is the same for all features is computed before the loop over them.
        (self.before if fixed else self.lines).append(f"{name} = {text}")
        return name

    def parameter(self, v: Value, offset: int, index: str) -> str:
        kernel = self.kernel
        name = kernel.names[v]
        shape = [n for n in v.shape if n != 1]
        if len(shape) > 1 or ROWS in v.shape:
            raise NotFused(f"a parameter of shape {v.shape} among features")
        array, number = kernel.array(name), kernel.number(name)
        return f"load({array}, {offset}{index}, {number})" if shape else f"load({array}, 0, {number})"

    def constant(self, v: Constant) -> str:
        if isinstance(v.array, (bool, np.bool_)) or not isinstance(
            v.array, (int, float, np.ndarray, np.generic)
        ):
            raise NotFused("a constant that is no number")
        array = np.asarray(v.array)
        if array.size == 1:
            return f"number({float(array.reshape(()))!r})"
        raise NotFused("an array of constants")

    def expression(self, i: Instruction, offset: int, fixed: bool) -> str:
        pattern = _with_static(i, lambda n: f"number({float(n)!r})")
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
                pattern = " * ".join(["{0}"] * exponent.array)
        return pattern.format(*[self.value(v, offset, fixed) for v in i.inputs])


def width(v: Value) -> int:
    """Features of a row."""
    if not v.rowwise or len(v.shape) > 2 or any(n is ROWS for n in v.features):
        raise NotFused(f"an array of shape {v.shape}")
    return v.shape[1] if len(v.shape) == 2 else 1


def _cuts(i: Instruction) -> bool:
    return feature_parts(i) is not None


def _is_product(i: Instruction, made_by: dict[Value, Instruction]) -> str | None:
    """Whether an instruction multiplies rows by a matrix that is the same at all steps."""
    kind = product_kind(i)
    if kind is None:
        return None
    a, w = i.inputs
    if type(a) is Value and type(w) is Value and a.rowwise and not w.rowwise and w not in made_by:
        return kind
    return None


def _one_dtype(body: Instructions) -> np.dtype[Any]:
    dtypes = {v.dtype for i in body for v in (*i.read, *i.outputs)}
    if len(dtypes) != 1 or next(iter(dtypes)).char not in "fd":
        raise NotFused("several dtypes in one loop")
    return next(iter(dtypes))


class Writer(numpy_backend.Writer):
    """The NumPy backend's writer, with each loop a kernel."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        from . import building

        self.build = building.build
        self.namespace.update(building.names())

    def into(self, i: Instruction, out: str, rows: str) -> list[str] | None:
        kind = product_kind(i)
        a = i.inputs[0]
        if rows == "L.rows" and kind and type(a) is Value and a.rowwise and not i.read[-1].rowwise:
            names = [self.name(v, rows) for v in i.inputs]
            return [f"multiply({names[0]}, {names[1]}{'.T' if kind == 'linear' else ''}, {out})"]
        return super().into(i, out, rows)

    def call(self, i: Instruction, rows: str) -> str:
        if rows == "L.rows" and i.name == "matmul" and product_kind(i):
            turned = next((j for j in self.plan.sunk if i.inputs[0] in j.outputs), None)
            if (
                turned is not None
                and turned.name == "transpose"
                and turned.read[0].rowwise
                and i.read[1].rowwise
            ):
                return f"multiply_columns({self.names[turned.read[0]]}, {self.name(i.inputs[1], rows)})"
        if rows == "L.rows" and i.name == "sum" and i.static == {"axis": 0} and len(i.read[0].shape) == 2:
            return f"column_sums({self.name(i.inputs[0], rows)})"
        return super().call(i, rows)

    def loop(self, body: Instructions, locations: dict[Value, Location], copies: Any, back: bool) -> None:
        if not body and all(v is None or locations.get(v) == at for v, at in copies):
            super().loop(body, locations, copies, back)
            return
        try:
            kernel = _Kernel(body, locations, self.names, copies, back)
            source = kernel.write()
        except NotFused as reason:
            self.notes.append(str(reason))
            super().loop(body, locations, copies, back)
            return
        name = "kernel_back" if back else "kernel"
        self.namespace[name] = self.build(source, kernel.dtype)
        self.kernels.append(source)
        for buffer, v in kernel.scratch.items():
            self.allocate(buffer, v, "L.batch", "take" if back else "scratch")
        stored = {at.array for at in kernel.locations.values()}
        arrays = [
            f"rows({a})" if a in ("x", "gy") else a if a in stored else f"flat({a})" for a in kernel.arrays
        ]
        weights = [f"pack({w})" for w in kernel.weights]
        flops = sum(
            2 * width(i.outputs[0]) * width(i.read[0]) for i in body if _is_product(i, kernel.made_by)
        )
        flops += 10 * sum(width(o) for i in body for o in i.outputs)
        if self.prepared is None:
            self.write(f"spread({name}, L, {flops}, {', '.join([*arrays, *weights])})")
            return
        arguments = [self.prepare(a) if a.startswith(("flat(", "pack(")) else a for a in (*arrays, *weights)]
        self.write(f"{name}(0, L.batch, L.counts, L.starts, L.before, L.batch, {', '.join(arguments)})")
