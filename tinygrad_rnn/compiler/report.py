"""A plan in print."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..listing import describe_static
from ..ops.operations import Primitive
from .forms import product_kind
from .instructions import ROWS, Instruction, Operand, Pullback, Value
from .passes import depending
from .programs import Program


def flops(i: Instruction) -> int:
    """Floating-point operations for each row; a function such as tanh counts as one."""
    out = sum(_features(o) for o in i.outputs)
    if i.name in ("linear", "matmul"):
        inner = _shape(i.inputs[0])[-1]
        return 2 * out * (1 if inner is ROWS else inner)  # a sum over rows has one term for each
    if isinstance(i.op, Pullback) and i.op.primitive.name in ("linear", "matmul"):
        # (M, N) by (N, K), whichever two of the three are given: M N K squared is the product of their sizes.
        return 2 * math.isqrt(out * math.prod([_features(v) for v in i.read]))
    if i.name == "contract":
        terms = i.static["subscripts"].split("->")[0].split(",")
        pairs = [
            pair
            for term, v in zip(terms, i.inputs, strict=True)
            for pair in zip(term, _shape(v), strict=True)
        ]
        return len(terms) * math.prod([1 if n is ROWS else n for n in dict(pairs).values()])
    if i.name in ("sum", "mean", "var"):
        return sum(_features(v) for v in i.read)
    return 0 if (isinstance(i.op, Primitive) and i.op.view) or i.name in ("concatenate", "scatter") else out


def _shape(v: Operand) -> Any:
    return v.shape if type(v) is Value else np.shape(v.array)


def _features(v: Value) -> int:
    return math.prod([n for n in v.shape if n is not ROWS])


def _when(program: Program) -> Iterator[tuple[str, Instruction]]:
    """All instructions of a plan, and when each runs."""
    plan = program.plan
    carried = depending(plan.back, plan.ends.gstates)
    yield from (("once", i) for i in plan.once)
    yield from (("hoisted", i) for i in plan.hoisted)
    for i in plan.loop:
        yield _looped(i, "kernel" in program.kernels), i
    yield from (("after", i) for i in plan.after)
    yield from (("local", i) for i in plan.local)
    for i in plan.back:
        how = _looped(i, "kernel_back" in program.kernels)
        yield f"local {how}" if carried.isdisjoint(i.outputs) else f"{how} back", i
    yield from (("sunk", i) for i in plan.sunk)


def _looped(i: Instruction, kernel: bool) -> str:
    return "fused" if kernel and not product_kind(i) else "looped"


class Report:
    """A plan in print: for each entry when it runs, on how many rows, and what it costs.

    ========================= =======================================================================
    once                      before all else, as it depends on parameters alone
    hoisted                   for all steps at once, before the forward loop
    looped, fused             at each step of the forward loop: by a call, or with others in a kernel
    after                     for all steps at once, after the forward loop: what no state needs
    local                     a derivative without cotangents of states: at once, before the backward loop
    local looped, local fused the same inside the backward loop, where it is read from no memory
    looped back, fused back   at each step of the backward loop
    sunk                      for all steps at once, after the backward loop
    ========================= =======================================================================

    Attributes
    ----------
    rows : list of tuple
        When, text of the entry, rows, bytes of its outputs and floating-point operations, each time it runs.
    forward_flops, backward_flops : int
        Of a call, all steps together.
    kept : dict of str to int
        What is kept for the backward half, besides the inputs: bytes by name.
    """

    def __init__(self, name: str, program: Program, batch: int, steps: int) -> None:
        plan = program.plan
        self.name, self.batch, self.steps = name, batch, steps
        how = "each loop one kernel of numba" if len(program.kernels) == 2 else "loops of NumPy calls"
        self.remarks = [how, *program.notes]
        names = dict(zip(plan.ends.parameters, plan.ends.names, strict=True))
        rows = {"once": 1, **dict.fromkeys(("hoisted", "after", "local", "sunk"), batch * steps)}
        self.rows: list[tuple[str, str, int, int, int]] = []
        for when, i in _when(program):
            with_rows = any(ROWS in _shape(v) for v in (*i.inputs, *i.outputs))
            n = rows.get(when, batch) if with_rows else 1
            size = sum(o.dtype.itemsize * _features(o) * (n if o.rowwise else 1) for o in i.outputs)
            self.rows.append((when, _text(i, names), n, size, n * flops(i)))
        self.forward_flops, self.backward_flops = 0, 0
        for when, _, _, _, work in self.rows:
            if when in ("once", "hoisted", "looped", "fused", "after"):
                self.forward_flops += work * (steps if when in ("looped", "fused") else 1)
            else:
                self.backward_flops += work * (1 if when in ("local", "sunk") else steps)
        self.kept = _kept(program, batch, steps)

    def count(self, *when: str) -> int:
        """How many entries run then."""
        return sum(row[0] in when for row in self.rows)

    def __str__(self) -> str:
        table = [("when", "entry", "rows", "bytes", "flops")]
        table += [
            (phase, text, f"{n:,}", f"{size:,}", f"{work:,}") for phase, text, n, size, work in self.rows
        ]
        widths = [max(len(row[k]) for row in table) for k in range(5)]
        lines = [
            "  ".join(
                c.rjust(w) if k > 1 else c.ljust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in table
        ]
        head = f"{self.name}: {self.batch} sequences of {self.steps} steps; " + ", ".join(self.remarks)
        kept = f"{sum(self.kept.values()):,} bytes kept ({', '.join(self.kept) or 'nothing'})"
        total = f"in all {self.forward_flops:,} flops forward, {self.backward_flops:,} back, {kept}"
        return "\n".join([head, *lines, total])

    __repr__ = __str__


def _kept(program: Program, batch: int, steps: int) -> dict[str, int]:
    """Bytes of what the backward half reads of the forward one: of states, before and after each step."""
    plan, ends = program.plan, program.plan.ends
    read = {v for i in (*plan.local, *plan.back, *plan.sunk) for v in i.read}
    states = {
        v: s.name for s, *both in zip(ends.states, ends.states, ends.new_states, strict=True) for v in both
    }
    found = {}
    for v in read & {*plan.saved, *states}:
        rows = batch * (steps + (v in states)) if v.rowwise else 1
        found[states.get(v) or repr(v)] = rows * _features(v) * v.dtype.itemsize
    return dict(sorted(found.items()))


def _text(i: Instruction, names: dict[Value, str]) -> str:
    def operand(v: Operand) -> str:
        if type(v) is Value:
            return names.get(v) or v.name or repr(v)
        return repr(v)

    outputs = ", ".join([f"{o!r}{_shape_text(o)}" for o in i.outputs])
    static = [f"{n}={describe_static(s)}" for n, s in i.static.items()]
    return f"{outputs} = {i.name}({', '.join([*map(operand, i.inputs), *static])})"


def _shape_text(v: Value) -> str:
    return f":{v.dtype}({', '.join(map(str, v.shape))})"
