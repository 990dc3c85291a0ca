"""Loops over time for NumPy alone: its calls one by one, with results in buffers that are there already."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from .forms import feature_parts, joined_parts, joins_features, may_share, product_kind
from .instructions import Constant, Instruction, Instructions, Value
from .writing import Copies, Location, Writer


class NumpyWriter(Writer):
    """A writer of loops of NumPy calls."""

    def write_loop(
        self, body: Instructions, locations: dict[Value, Location], copies: Copies, back: bool
    ) -> None:
        _Loop(self, body, locations, copies).write(back)


class _Loop:
    """Writes one loop. Values without a location get a buffer for one step, or a part of one.

    Attributes
    ----------
    views : dict of Location to str
        Names for the step's views, bound at the head of the loop.
    buffers : dict of Location to Value
        Arrays for one step, and a value that says their size.
    held : Counter
        How many values that are still to be read lie in each buffer, or are views of it.
    shared : dict of Value to set of Location
        Where the memory of a value without a location may be.
    free : dict of (shape, dtype) to list of Location
        Buffers whose values nobody will read.
    """

    def __init__(
        self, writer: Writer, body: Instructions, locations: dict[Value, Location], copies: Copies
    ) -> None:
        self.writer, self.body, self.locations, self.copies = writer, body, locations, copies
        self.last = {v: k for k, i in enumerate(body) for v in i.read}
        self.last.update({v: len(body) for v, _ in copies if v is not None})
        self.statements: list[str] = []
        self.views: dict[Location, str] = {}
        self.buffers: dict[Location, Value] = {}
        self.held: Counter[Location] = Counter()
        self.shared: dict[Value, set[Location]] = {}
        self.free: dict[Any, list[Location]] = {}
        self.counts_rows = False

    def write(self, back: bool) -> None:
        self.place_parts()
        for k, i in enumerate(self.body):
            self.writer.names.update({v: self.view(self.locations[v]) for v in i.read if v in self.locations})
            self.instruction(k, i)
        self.copy()
        for at, v in self.buffers.items():
            self.writer.allocate(at.array, v, "L.batch", "take" if back else "scratch")
        if not self.statements:
            return
        heads = {name: at.views() for at, name in self.views.items()}
        if self.counts_rows:
            heads["n"] = "L.counts.tolist()"
        turned = "[::-1]" if back else ""
        steps = ", ".join([f"{v}{turned}" for v in heads.values()])
        with self.writer.block(f"for {', '.join(heads)}, in zip({steps}):"):
            for s in self.statements:
                self.writer.write(s)

    # ---- places

    def view(self, at: Location) -> str:
        """The name of a step's view."""
        return self.views.setdefault(at, f"v{len(self.views)}")

    def place_parts(self) -> None:
        """Give what is only joined to others a place inside the whole, where it is written at once."""
        made = {v for i in self.body for v in i.outputs}
        uses = Counter([v for i in self.body for v in i.read])
        for i in reversed(self.body):
            o = i.outputs[0]
            if not (joins_features(i) and o.rowwise and o in self.locations):
                continue
            for v, start, stop in joined_parts(i):
                if type(v) is Value and v in made and uses[v] == 1 and v not in self.locations:
                    self.locations[v] = self.locations[o].inside(start, stop)

    def place(self, v: Value) -> None:
        """Give a value without a location a buffer: one that has become free, or a new one."""
        if v not in self.locations:
            free = self.free.get((v.features, v.dtype))
            at = self.locations[v] = free.pop() if free else Location("heads", f"s{len(self.buffers)}")
            self.buffers.setdefault(at, v)
            self.hold(v)

    def memory(self, v: Value) -> set[Location]:
        """The arrays, and their rows, that a value lies in or may be a view of."""
        at = self.locations.get(v)
        return {replace(at, part=None)} if at else self.shared.get(v, set())

    def hold(self, v: Value) -> None:
        """Keep the buffers that a value needs until it has been read for the last time."""
        if v in self.last:
            self.held.update(self.memory(v) & self.buffers.keys())

    def release(self, k: int) -> None:
        """Let go of the buffers of what instruction k is the last to read."""
        for v in dict.fromkeys(self.body[k].read):
            if self.last[v] > k:
                continue
            for at, size in self.buffers.items():
                if at in self.memory(v):
                    self.held[at] -= 1
                    if not self.held[at]:
                        self.free.setdefault((size.features, size.dtype), []).append(at)

    # ---- statements

    def instruction(self, k: int, i: Instruction) -> None:
        o = i.outputs[0]
        self.counts_rows |= any(type(v) is Constant and v.rowwise for v in i.inputs)
        if self.cut(i):
            self.release(k)
        elif joins_features(i) and o.rowwise:
            self.join(i)
            self.release(k)
        elif not i.op.multiple and o.rowwise and self.writer.into(i, "", "n"):
            product = product_kind(i)
            if not product:  # then the result may be written over what is read here for the last time
                self.release(k)
            self.place(o)
            target = self.view(self.locations[o])
            if product and not self.locations[o].whole:
                self.statements.append(f"{target}[...] = {self.writer.call(i, 'n')}")
            else:
                self.statements.append(self.writer.into(i, target, "n") or "")
            if product:
                self.release(k)
        else:
            self.call(i)
            self.release(k)

    def cut(self, i: Instruction) -> bool:
        """Make the outputs parts of what the input lies in, if that can be."""
        parts, source = feature_parts(i), i.inputs[0]
        if parts is None or source not in self.locations or any(v in self.locations for v in i.outputs):
            return False
        assert isinstance(source, Value)
        for v, (start, stop) in zip(i.outputs, parts, strict=True):
            self.locations[v] = self.locations[source].inside(start, stop)
            self.hold(v)
        return True

    def join(self, i: Instruction) -> None:
        """Write the inputs into parts of the output, but for those that lie there already."""
        self.place(i.outputs[0])
        for v, start, stop in joined_parts(i):
            at = self.locations[i.outputs[0]].inside(start, stop)
            if type(v) is Value and self.locations.get(v) == at:
                continue
            self.statements.append(f"{self.view(at)}[...] = {self.writer.name(v, 'n')}")

    def call(self, i: Instruction) -> None:
        """Take the results as they come, and copy those that have a location."""
        self.counts_rows = True
        fresh = {v: f"w{v.number}" for v in i.outputs}
        expression = self.writer.call(i, "n")
        o = i.outputs[0]
        if not i.op.multiple and o in self.locations:
            self.statements.append(f"{self.view(self.locations[o])}[...] = {expression}")
            return
        self.statements.append(f"{', '.join(fresh.values())}{',' if i.op.multiple else ''} = {expression}")
        for v, name in fresh.items():
            if v in self.locations:
                self.statements.append(f"{self.view(self.locations[v])}[...] = {name}")
            else:
                self.writer.names[v] = name
                if may_share(i):
                    self.shared[v] = {at for read in i.read for at in self.memory(read)}
                    self.hold(v)

    def copy(self) -> None:
        """Bring values to where the next step reads them."""
        targets = {at for _, at in self.copies}
        then = []
        for k, (v, at) in enumerate(self.copies):
            found = self.locations.get(v) if v is not None else None
            if found == at:
                continue
            target = self.view(at)
            source = "0" if v is None else self.view(found) if found else self.writer.names[v]
            if v is not None and self.memory(v) & targets:  # which may be overwritten before it is copied
                self.statements.append(f"m{k} = {source}.copy()")
                source = f"m{k}"
            then.append(f"{target}[...] = {source}")
        self.statements += then
