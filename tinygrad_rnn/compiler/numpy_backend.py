"""Python source from a plan, for NumPy alone: a loop's results go into buffers that are there already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ops.registry import Primitive
from .instructions import ROWS, Constant, Instruction, Operand, Value
from .layout import Layout, Lease
from .planning import Instructions, Plan, live


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
        offset = self.part[0] if self.part else 0
        return Location(self.kind, self.array, (offset + start, offset + stop))

    @property
    def whole(self) -> bool:
        return self.part is None

    def views(self) -> str:
        part = f"[..., {self.part[0]}:{self.part[1]}]" if self.part else ""
        return f"L.{self.kind}({self.array}{part})"


class Program:
    """The two halves of a plan as functions of arrays; see `forward` and `backward`.

    Attributes
    ----------
    source : str
        What was generated, for those who want to read it.
    """

    def __init__(self, plan: Plan, writer: Any = None) -> None:
        self.plan = plan
        writer = (writer or Writer)(plan)
        self.kernels, self.notes = writer.kernels, writer.notes
        self.source = writer.forward() + "\n\n" + writer.backward()
        scope = writer.namespace
        exec(compile(self.source, "<compiled cell>", "exec"), scope)
        self._forward, self._backward = scope["forward"], scope["backward"]

    def forward(
        self, layout: Layout, lease: Lease, x: Any, states: Sequence[Any], parameters: Sequence[Any]
    ) -> Any:
        """Run over time.

        Parameters
        ----------
        layout : Layout
        lease : Lease
            Where what backward will read comes from.
        x : array, (N, ...)
            Rows of all steps.
        states : sequence of array, (B, ...)
        parameters : sequence of array

        Returns
        -------
        y : array, (N, F)
        final states : list of array, (B, ...)
        saved : dict
            For `backward`.
        """
        scratch = Lease(lease._pool)
        y, finals, saved = self._forward(layout, lease.take, scratch.take, x, states, parameters)
        return lease.kept(scratch.kept(y)), finals, saved

    def backward(
        self, layout: Layout, lease: Lease, saved: Any, x: Any, parameters: Any, gy: Any, gstates: Any
    ) -> Any:
        """Carry cotangents of y and of the final states back to x, the first states and the parameters."""
        gx, first, gs = self._backward(layout, lease.take, saved, x, parameters, gy, gstates)
        return [g if g is None else lease.kept(g) for g in (gx, *first, *gs)]


def _sigmoid(x: Any, limit: Any, one: Any, out: Any) -> None:
    np.negative(x, out)
    np.minimum(out, limit, out=out)
    np.exp(out, out)
    np.add(out, one, out)
    np.reciprocal(out, out)


class Single:
    """A plan for one step, as functions of arrays.

    Attributes
    ----------
    prepare : callable
        ``prepare(parameters)`` gives what only they decide, such as packed weights.
    run : callable
        ``run(layout, scratch, prepared, x, states) -> (y, new states)``.
    """

    def __init__(self, plan: Plan, writer: Any = None) -> None:
        writer = (writer or Writer)(plan)
        self.source = writer.single()
        exec(compile(self.source, "<compiled step>", "exec"), writer.namespace)
        self.prepare, self.run = writer.namespace["prepare"], writer.namespace["single"]


class Writer:
    """Writes the source of one plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.step = plan, plan.step
        self.namespace: dict[str, Any] = {"np": np, "sigmoid": _sigmoid}
        self.names: dict[Value, str] = {}
        self.lines: list[str] = []
        self.kernels: list[str] = []
        self.notes: list[str] = []
        self.prepared: dict[str, str] | None = None
        """For a single step: what is made of the parameters beforehand, by name."""
        # A new state lives in its history; the same value in a second state is copied there.
        self.home: dict[Value, int] = {}
        made_in_loop = {o for i in plan.loop for o in i.outputs}
        for s, v in enumerate(self.step.new_states):
            if v in made_in_loop:
                self.home.setdefault(v, s)

    # ---- names

    def name(self, v: Operand, rows: str) -> str:
        """How an operand is called in the source."""
        if type(v) is Value:
            return self.names[v]
        key = f"k{id(v)}"
        self.namespace[key] = v if v.rowwise else v.array
        return f"{key}.value({rows})" if v.rowwise else key

    def typed(self, v: Operand, dtype: Any, rows: str) -> str:
        """An operand of a ufunc: a number becomes an array, which NumPy takes quicker."""
        if type(v) is Constant and isinstance(v.array, (int, float)) and dtype.kind == "f":
            key = f"k{id(v)}_{dtype.char}"
            self.namespace[key] = np.array(v.array, dtype)
            return key
        return self.name(v, rows)

    def all_rows(self, v: Value) -> str:
        """An expression for the rows of all steps of a value."""
        if v is self.step.x:
            return "x"
        if v in self.step.states:
            return f"L.read_rows(h{self.step.states.index(v)})"
        if v in self.home:
            return f"h{self.home[v]}[L.batch:]"
        return f"a{v.number}".replace("-", "_")

    def allocate(self, name: str, v: Value, rows: str, take: str) -> None:
        """An array for some rows of a value."""
        self.namespace[f"t{v.dtype.char}"] = v.dtype
        shape = ", ".join([rows, *map(str, v.features)])
        self.write(f"{name} = {take}(({shape},), t{v.dtype.char})")

    def write(self, line: str, indent: int = 1) -> None:
        self.lines.append("    " * indent + line)

    # ---- one instruction

    def call(self, i: Instruction, rows: str) -> str:
        """An expression that gives the outputs as fresh arrays: a tuple for several."""
        arrays = [self.name(v, rows) for v in i.inputs]
        key = f"f{id(i)}"
        fixed = not any(_mentions_rows(s) for s in i.static.values()) and isinstance(i.op, Primitive)
        if fixed:
            assert isinstance(i.op, Primitive)
            self.namespace[key] = i.op.forward
            statics = []
            for n, s in i.static.items():
                self.namespace[f"{key}_{n}"] = s
                statics.append(f"{n}={key}_{n}")
            return f"{key}({', '.join([*arrays, *statics])})"
        self.namespace[key] = i.run
        several = "" if i.op.multiple else "[0]"
        return f"{key}(({''.join(a + ', ' for a in arrays)}), {rows}){several}"

    def into(self, i: Instruction, out: str, rows: str) -> list[str] | None:
        """Statements that write the output into an array of the right shape; None if it has no such form."""
        o = i.outputs[0]
        if i.name == "sigmoid" and isinstance(i.op, Primitive) and o.dtype.char in "fd":
            limit, one = f"limit_{o.dtype.char}", f"one_{o.dtype.char}"
            self.namespace[limit] = np.array({"f": 88.0, "d": 709.0}[o.dtype.char], o.dtype)
            self.namespace[one] = np.array(1, o.dtype)
            return [f"sigmoid({self.name(i.inputs[0], rows)}, {limit}, {one}, {out})"]
        ufunc = _ufunc(i)
        if ufunc:
            arrays = [self.typed(v, o.dtype, rows) for v in i.inputs]
            return [f"np.{ufunc}({', '.join(arrays)}, out={out})"]
        product = product_kind(i)
        if product:
            a, b = [self.name(v, rows) for v in i.inputs]
            return [f"np.dot({a}, {b}{'.T' if product == 'linear' else ''}, {out})"]
        return None

    # ---- straight lines: for all steps at once

    def straight(self, instructions: Instructions, rows: str, take: str | None) -> None:
        for i in instructions:
            o = i.outputs[0]
            target = f"a{o.number}".replace("-", "_")
            if i.op.multiple:
                names = [f"a{v.number}".replace("-", "_") for v in i.outputs]
                self.write(f"{', '.join(names)}, = {self.call(i, rows)}")
                self.names.update(zip(i.outputs, names, strict=True))
                continue
            fresh = take or ("np.empty" if product_kind(i) else None)
            statements = self.into(i, target, rows) if fresh and o.rowwise else None
            if statements:
                shape = ", ".join(["L.rows", *map(str, o.features)])
                self.namespace[f"t{o.dtype.char}"] = o.dtype
                self.write(f"{target} = {fresh}(({shape},), t{o.dtype.char})")
                for s in statements:
                    self.write(s)
            else:
                self.write(f"{target} = {self.call(i, rows)}")
            self.names[o] = target

    def once(self, wanted: Iterable[Instruction]) -> None:
        needed = [v for i in wanted for v in i.read]
        self.straight(live(self.plan.once, needed), "1", None)

    def parameters(self) -> None:
        names = [f"p{k}" for k in range(len(self.step.parameters))]
        if names:
            self.write(f"{', '.join(names)}, = parameters")
        self.names.update(zip(self.step.parameters, names, strict=True))

    # ---- the two halves

    def forward(self) -> str:
        plan, step = self.plan, self.step
        self.lines = ["def forward(L, take, scratch, x, states, parameters):"]
        self.names = {step.x: "x"}
        self.parameters()
        made = {o for i in (*plan.hoisted, *plan.loop) for o in i.outputs}
        stored = {v for v in (*plan.saved, step.y) if v in made}
        self.once([*plan.hoisted, *plan.loop])
        for s, (v, new) in enumerate(zip(step.states, step.new_states, strict=True)):
            shape = ", ".join(["L.batch + L.rows", *map(str, v.features)])
            self.namespace[f"t{v.dtype.char}"] = v.dtype
            visible = new is step.y and self.home.get(new) == s
            kept = visible or any(
                u in (v, new) for i in (*plan.local, *plan.back, *plan.sunk) for u in i.read
            )
            take = "np.empty" if visible else "take" if kept else "scratch"
            self.write(f"h{s} = {take}(({shape},), t{v.dtype.char})")
            self.write(f"h{s}[:L.batch] = states[{s}]")
        for i in plan.hoisted:  # what backward does not read goes back at once
            self.straight([i], "L.rows", "take" if plan.saved.intersection(i.outputs) else "scratch")
        locations: dict[Value, Location] = {}
        for s, v in enumerate(step.states):
            locations[v] = Location("reads", f"h{s}")
        locations[step.x] = Location("steps", "x")
        for i in plan.hoisted:
            for o in i.outputs:
                locations[o] = Location("steps", self.names[o])
        for v, s in self.home.items():
            locations[v] = Location("writes", f"h{s}")
        for i in plan.loop:
            for v in i.outputs:
                if v in stored and v not in self.home:
                    name = f"a{v.number}"
                    self.namespace[f"t{v.dtype.char}"] = v.dtype
                    shape = ", ".join(["L.rows", *map(str, v.features)])
                    take = "np.empty" if v is step.y else "take"
                    self.write(f"{name} = {take}(({shape},), t{v.dtype.char})")
                    locations[v] = Location("steps", name)
        copies = [
            (v, Location("writes", f"h{s}")) for s, v in enumerate(step.new_states) if self.home.get(v) != s
        ]
        outer = dict(self.names)
        self.loop(plan.loop, locations, copies, back=False)
        self.names = outer
        y = self.all_rows(step.y)
        if step.y is step.x or step.y in step.states:
            y = f"np.array({y})"
        finals = ", ".join([f"L.finals(h{s})" for s in range(len(step.states))])
        kept_names = self.kept()
        self.write(f"return {y}, [{finals}], ({''.join(n + ', ' for n in kept_names)})")
        return "\n".join(self.lines)

    def prepare(self, expression: str) -> str:
        """A name for something that depends on the parameters alone."""
        assert self.prepared is not None
        return self.prepared.setdefault(expression, f"q{len(self.prepared)}")

    def single(self) -> str:
        """One step, and what can be made ready for it: the plan's hoisted part must be empty."""
        plan, step = self.plan, self.step
        self.prepared, self.names = {}, {step.x: "x"}
        self.lines = []
        self.parameters()
        self.once(plan.loop)
        before, self.lines = self.lines, []
        constants = [n for v, n in self.names.items() if v is not step.x]
        locations = {v: Location("heads", f"i{s}") for s, v in enumerate(step.states)}
        locations[step.x] = Location("heads", "x")
        made = {o for i in plan.loop for o in i.outputs}
        for s, v in enumerate(step.new_states):
            self.allocate(f"n{s}", v, "L.batch", "np.empty")
            if self.home.get(v) == s:
                locations[v] = Location("heads", f"n{s}")
        if step.y in made and step.y not in locations:
            self.allocate("y", step.y, "L.batch", "np.empty")
            locations[step.y] = Location("heads", "y")
        copies = [
            (v, Location("heads", f"n{s}")) for s, v in enumerate(step.new_states) if self.home.get(v) != s
        ]
        names = dict(self.names)
        self.loop(plan.loop, locations, copies, back=False)
        y = locations[step.y].array if step.y in locations else names[step.y]
        y = y if step.y in made else f"np.array({y})"
        states = "".join(f"i{s}, " for s in range(len(step.states)))
        news = ", ".join(f"n{s}" for s in range(len(step.states)))
        ready = "".join(n + ", " for n in [*constants, *self.prepared.values()])
        return "\n".join(
            [
                "def prepare(parameters):",
                *before,
                *[f"    {name} = {expression}" for expression, name in self.prepared.items()],
                f"    return ({ready})",
                "",
                "def single(L, scratch, ready, x, states):",
                *([f"    {ready[:-1]} = ready"] if ready else []),
                f"    {states[:-1]} = states",
                *self.lines,
                f"    return {y}, [{news}]",
            ]
        )

    def kept(self) -> list[str]:
        """The arrays that the backward half is given, by name."""
        plan, step = self.plan, self.step
        read = {v for i in (*plan.local, *plan.back, *plan.sunk) for v in i.read}
        read |= {v for v in (*step.gold, step.gx, *step.gparameters) if v is not None}
        names = [
            f"h{s}"
            for s, (old, new) in enumerate(zip(step.states, step.new_states, strict=True))
            if old in read or (new in read and self.home.get(new) == s)
        ]
        return names + sorted([f"a{v.number}" for v in plan.saved if v not in self.home and v in read])

    def backward(self) -> str:
        plan, step = self.plan, self.step
        self.lines = ["def backward(L, take, saved, x, parameters, gy, gstates):"]
        self.names = {step.x: "x", step.gy: "gy"}
        self.parameters()
        kept = self.kept()
        if kept:
            self.write(f"{', '.join(kept)}, = saved")
        made = {o for i in (*plan.hoisted, *plan.loop) for o in i.outputs}
        for v in plan.saved & made:
            self.names[v] = self.all_rows(v)
        for v in step.states:
            self.names[v] = self.all_rows(v)
        self.once([*plan.local, *plan.back, *plan.sunk])
        self.straight(plan.local, "L.rows", "take")
        locations = {step.x: Location("steps", "x"), step.gy: Location("steps", "gy")}
        for s, v in enumerate(step.states):
            locations[v] = Location("reads", f"h{s}")
        for v in plan.saved & made:
            locations[v] = (
                Location("writes", f"h{self.home[v]}") if v in self.home else Location("steps", self.names[v])
            )
        for i in plan.local:
            for o in i.outputs:
                locations[o] = Location("steps", self.names[o])
        for s, v in enumerate(step.gstates):
            self.namespace[f"t{v.dtype.char}"] = v.dtype
            shape = ", ".join(["L.batch", *map(str, v.features)])
            self.write(f"c{s} = np.empty(({shape},), t{v.dtype.char})")
            self.write(f"c{s}[...] = gstates[{s}]")
            locations[v] = Location("heads", f"c{s}")
        after = {v for i in plan.sunk for v in i.read} | {step.gx, *step.gparameters}
        for i in plan.back:
            for v in i.outputs:
                if v in after:
                    self.namespace[f"t{v.dtype.char}"] = v.dtype
                    name = f"a{v.number}".replace("-", "_")
                    shape = ", ".join(["L.rows", *map(str, v.features)])
                    self.write(f"{name} = take(({shape},), t{v.dtype.char})")
                    locations[v] = Location("steps", name)
        copies = [(v, Location("heads", f"c{s}")) for s, v in enumerate(step.gold)]
        for s, new in enumerate(step.gold):
            old = step.gstates[s]
            if new in locations or new is None or old in step.gold:
                continue
            if _last_to_touch(plan.back, old, new):
                locations[new] = Location("heads", f"c{s}")
        outer = dict(self.names)
        self.loop(plan.back, locations, copies, back=True)
        self.names = outer
        for i in plan.back:
            for v in i.outputs:
                if v in after:
                    self.names[v] = self.all_rows(v)
        self.straight(plan.sunk, "L.rows", None)
        gs = [self.names[v] if v is not None else "None" for v in (step.gx, *step.gparameters)]
        carries = ", ".join([f"c{s}" for s in range(len(step.states))])
        self.write(f"return {gs[0]}, [{carries}], [{', '.join(gs[1:])}]")
        return "\n".join(self.lines)

    # ---- a loop

    def loop(self, body: Instructions, locations: dict[Value, Location], copies: Any, back: bool) -> None:
        """The loop over time. Values without a location get a buffer for one step, or a part of one."""
        body = list(body)
        uses = Counter([v for i in body for v in i.read])
        last = {v: k for k, i in enumerate(body) for v in i.read}
        last.update({v: len(body) for v, _ in copies if v is not None})
        self.place_parts(body, locations, uses)
        bound: dict[Location, str] = {}
        counts_needed = False
        statements: list[str] = []
        free: dict[Any, list[str]] = {}
        buffers: list[tuple[str, Value]] = []
        held: Counter[str] = Counter()

        def var(v: Value) -> str:
            if v in self.names and v not in locations:
                return self.names[v]
            at = locations[v]
            if at not in bound:
                bound[at] = f"v{len(bound)}"
            return bound[at]

        def bind(i: Instruction) -> None:
            for v in i.read:
                if v in locations:
                    self.names[v] = var(v)

        def release(k: int, i: Instruction) -> None:
            for v in dict.fromkeys(i.read):
                at = locations.get(v)
                if last[v] == k and at is not None and at.array in held:
                    held[at.array] -= 1
                    if not held[at.array]:
                        del held[at.array]
                        shape = next(b for n, b in buffers if n == at.array)
                        free.setdefault((shape.features, shape.dtype), []).append(at.array)

        def scratch(v: Value) -> None:
            key = (v.features, v.dtype)
            if free.get(key):
                name = free[key].pop()
            else:
                name = f"s{len(buffers)}"
                buffers.append((name, v))
            locations[v] = Location("heads", name)
            held[name] += 1

        for k, i in enumerate(body):
            bind(i)
            o = i.outputs[0]
            parts = feature_parts(i)
            source = i.inputs[0]
            if (
                parts is not None
                and isinstance(source, Value)
                and source in locations
                and all(v not in locations for v in i.outputs)
            ):
                for v, (start, stop) in zip(i.outputs, parts, strict=True):
                    locations[v] = locations[source].inside(start, stop)
                    if locations[v].array in held and v in last:
                        held[locations[v].array] += 1
                release(k, i)
                continue
            statement_rows = "n"
            simple = not i.op.multiple and o.rowwise
            if simple and i.name == "concatenate" and isinstance(i.op, Primitive) and joins_features(i):
                if o not in locations:
                    scratch(o)
                start = 0
                for piece in i.inputs:
                    width = piece.shape[-1] if type(piece) is Value else np.shape(piece.array)[-1]
                    at = locations[o].inside(start, start + width)
                    start += width
                    if type(piece) is not Value or locations.get(piece) != at:
                        bound.setdefault(at, f"v{len(bound)}")
                        counts_needed |= isinstance(piece, Constant)
                        statements.append(f"{bound[at]}[...] = {self.name(piece, 'n')}")
                release(k, i)
                continue
            if simple and self.into(i, "", "n") is not None:
                product = product_kind(i)
                if not product:
                    release(k, i)
                if o not in locations:
                    scratch(o)
                if product and not locations[o].whole:
                    written = [f"{var(o)}[...] = {self.call(i, 'n')}"]
                else:
                    written = self.into(i, var(o), "n") or []
                statements.extend(written)
                if product:
                    release(k, i)
                continue
            expression = self.call(i, statement_rows)
            counts_needed = True
            if i.op.multiple:
                fresh = [f"w{v.number}".replace("-", "_") for v in i.outputs]
                statements.append(f"{', '.join(fresh)}, = {expression}")
                for v, name in zip(i.outputs, fresh, strict=True):
                    if v in locations:
                        statements.append(f"{var(v)}[...] = {name}")
                    else:
                        self.names[v] = name
            elif o in locations:
                statements.append(f"{var(o)}[...] = {expression}")
            else:
                self.names[o] = f"w{o.number}".replace("-", "_")
                statements.append(f"{self.names[o]} = {expression}")
            release(k, i)
        statements.extend(self.copied(copies, locations, bound))
        for name, v in buffers:
            self.namespace[f"t{v.dtype.char}"] = v.dtype
            shape = ", ".join(["L.batch", *map(str, v.features)])
            take = "take" if back else "scratch"
            self.write(f"{name} = {take}(({shape},), t{v.dtype.char})")
        self.write_loop(bound, statements, counts_needed, back)

    def place_parts(self, body: Instructions, locations: dict[Value, Location], uses: Counter[Value]) -> None:
        """Give what is only joined to others a place inside the whole, where it is written at once."""
        for i in reversed(body):
            o = i.outputs[0]
            if not (
                i.name == "concatenate" and isinstance(i.op, Primitive) and joins_features(i) and o.rowwise
            ):
                continue
            if o not in locations:
                continue
            start = 0
            for v in i.inputs:
                width = v.shape[-1] if type(v) is Value else v.array.shape[-1]
                if (
                    type(v) is Value
                    and uses[v] == 1
                    and v not in locations
                    and v in {p for j in body for p in j.outputs}
                ):
                    locations[v] = locations[o].inside(start, start + width)
                start += width

    def copied(self, copies: Any, locations: dict[Value, Location], bound: dict[Location, str]) -> list[str]:
        """Statements that bring values to where the next step reads them."""
        targets = [at for _, at in copies]
        first, then = [], []
        for k, (v, at) in enumerate(copies):
            if v is not None and locations.get(v) == at:
                continue
            target = bound.setdefault(at, f"v{len(bound)}")
            source = "0"
            if v is not None:
                source = bound.setdefault(locations[v], f"v{len(bound)}") if v in locations else self.names[v]
                if locations.get(v) in targets:
                    first.append(f"m{k} = {source}.copy()")
                    source = f"m{k}"
            then.append(f"{target}[...] = {source}")
        return first + then

    def write_loop(self, bound: dict[Location, str], statements: list[str], counts: bool, back: bool) -> None:
        names, views = list(bound.values()), [at.views() for at in bound]
        if counts:
            names.append("n")
            views.append("L.counts.tolist()")
        if not statements:
            return
        if back:
            views = [f"{v}[::-1]" for v in views]
        self.write(f"for {', '.join(names)}, in zip({', '.join(views)}):")
        for s in statements:
            self.write(s, 2)


# ------------------------------------------------------------------------------- what instructions are


def _mentions_rows(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(map(_mentions_rows, value))
    if isinstance(value, slice):
        return any(map(_mentions_rows, (value.start, value.stop, value.step)))
    return value is ROWS


def _ufunc(i: Instruction) -> str | None:
    """The name of the ufunc that an instruction is, if it is one."""
    if not (isinstance(i.op, Primitive) and i.op.elementwise and i.op.numpy and not i.static):
        return None
    ufunc = i.op.numpy[0]
    if not isinstance(ufunc, np.ufunc):
        return None
    o = i.outputs[0]
    if any(type(v) is Value and v.dtype != o.dtype for v in i.inputs):
        return None
    return ufunc.__name__


def _last_to_touch(body: Instructions, old: Value, new: Value) -> bool:
    """Whether a new value may be written over an old one: nobody reads that later, or by other elements."""
    for i in reversed(body):
        if new in i.outputs:
            return old not in i.read or bool(_ufunc(i))
        if old in i.read or feature_parts(i) is not None:
            return False
    return False


def product_kind(i: Instruction) -> str | None:
    """Whether an instruction is a product of two matrices of one dtype: "linear", "matmul" or None."""
    if i.name not in ("linear", "matmul") or not isinstance(i.op, Primitive):
        return None
    if any(type(v) is not Value or len(v.shape) != 2 or v.dtype != i.outputs[0].dtype for v in i.inputs):
        return None
    return i.name


def joins_features(i: Instruction) -> bool:
    """Whether a concatenation joins features."""
    axis = i.static.get("axis", 0)
    n = len(i.outputs[0].shape)
    return n > 1 and axis is not None and axis % n == n - 1


def feature_parts(i: Instruction) -> list[tuple[int, int]] | None:
    """The ranges of the last axis that a split, or a slice, takes; None if it is something else."""
    if not isinstance(i.op, Primitive) or type(i.inputs[0]) is not Value:
        return None
    shape = i.inputs[0].shape
    if len(shape) < 2 or not i.inputs[0].rowwise or not isinstance(shape[-1], int):
        return None
    if i.name == "split" and i.static.get("axis", 0) % len(shape) == len(shape) - 1:
        ends = np.cumsum([o.shape[-1] for o in i.outputs]).tolist()
        return [(e - o.shape[-1], e) for e, o in zip(ends, i.outputs, strict=True)]
    if i.name == "getitem":
        index = i.static["index"]
        index = index if isinstance(index, tuple) else (index,)
        *before, at = index if index else (None,)
        if (
            (
                (len(index) == len(shape) and all(p == slice(None) for p in before))
                or (len(index) == 2 and before[0] is Ellipsis)
            )
            and isinstance(at, slice)
            and at.step in (None, 1)
        ):
            start, stop, _ = at.indices(shape[-1])
            return [(start, max(start, stop))]
    return None
