"""When the instructions of a loop's body run within a step's kernel, and which of their results need memory.

A kernel alternates between products, which read whole rows, and passes over a row's features, in which all
elementwise work is fused. A *stage* is a pair: after how many products, and after how many reductions since.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops.operations import Primitive
from .forms import elementwise, feature_parts, joined_parts, joins_features, product_kind
from .instructions import ROWS, Instruction, Instructions, Value
from .writing import Copies, Location

REDUCTIONS = ("sum", "mean", "var")
Stage = tuple[int, int]


class NotFused(Exception):  # noqa: N818
    """A loop holds something that has no form in a kernel: the NumPy backend writes it."""


def width(v: Value) -> int:
    """Features of a row."""
    if not v.rowwise or len(v.shape) > 2 or any(n is ROWS for n in v.features):
        raise NotFused(f"an array of shape {v.shape}")
    return v.shape[1] if len(v.shape) == 2 else 1


class Stages:
    """Where and when a loop's values are had.

    Attributes
    ----------
    body : list of Instruction
    copies : list of (Value or None, Location)
    dtype : numpy.dtype
        Of all that is in it.
    locations : dict of Value to Location
    scratch : dict of str to Value
        Arrays for one step that are needed besides, and a value that says their size.
    made_by : dict of Value to Instruction
    free : set of Value
        Those that can be computed at any stage: of what no step overwrites, element by element.

    Raises
    ------
    NotFused
    """

    def __init__(self, body: Instructions, locations: dict[Value, Location], copies: Copies) -> None:
        self.body, self.locations, self.copies = body, dict(locations), copies
        self.made_by = {o: i for i in body for o in i.outputs}
        self.dtype = _one_dtype(body)
        self.scratch: dict[str, Value] = {}
        self._stages: dict[Value, Stage] = {}
        self.free = self._find_free()
        self._find_stages()
        self._spare_carried()
        self._place_joined()
        self._place_read()

    # ---- what there is to ask

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

    def root(self, v: Value, in_rows: bool = False) -> tuple[Value, int]:
        """The value that a view, or a view of a view, shows, and from which feature on.

        With ``in_rows``, one whose features lie side by side, which those of a repeated feature do not.
        """
        start = 0
        while v not in self.locations and (found := self.alias(v)) is not None:
            if in_rows and width(found[0]) < width(v):
                break
            v, offset = found
            start += offset
        return v, start

    def product(self, i: Instruction) -> str | None:
        """The kind of product, if it is one of rows and a matrix that is the same at all steps."""
        kind = product_kind(i)
        if kind is None:
            return None
        a, w = i.read
        return kind if a.rowwise and not w.rowwise and w not in self.made_by else None

    def of(self, i: Instruction) -> Stage:
        """The stage after which there are an instruction's results."""
        return self._stages[i.outputs[0]]

    def at(self, i: Instruction) -> Stage:
        """The stage at which an instruction reads."""
        stage = self.of(i)
        return (stage[0] - 1, 99) if self.product(i) else stage

    @property
    def last(self) -> int:
        """How many products there are one after the other."""
        return max([p for p, _ in self._stages.values()], default=0)

    def depth(self, p: int) -> int:
        """How many reductions, one after the other, come after p products."""
        return max([q for pp, q in self._stages.values() if pp == p], default=0)

    # ---- stages

    def _find_free(self) -> set[Value]:
        free: set[Value] = set()
        for i in self.body:
            if (
                (elementwise(i) or self.alias(i.outputs[0]))
                and not any(o in self.locations for o in i.outputs)
                and all(v in free or (v not in self.made_by and not self._overwritten(v)) for v in i.read)
            ):
                free.update(i.outputs)
        return free

    def _overwritten(self, v: Value) -> bool:
        return v in self.locations and self.locations[v].kind == "heads"

    def _find_stages(self) -> None:
        for i in self.body:
            p, q = max([self._available(v, i) for v in i.read], default=(0, 0))
            if self.product(i):
                p, q = p + 1, 0
            elif i.name in (*REDUCTIONS, "scatter"):
                q += 1
            for o in i.outputs:
                if not o.rowwise:
                    raise NotFused(f"{i.name} gives {o.shape}")
                self._stages[o] = p, q
                width(o)

    def _available(self, v: Value, reader: Instruction) -> Stage:
        """The earliest stage at which an instruction can read a value."""
        p, q = self._stages.get(v, (0, 0))
        joined = v in self.made_by and self.made_by[v].name == "concatenate"
        cut = v in self.made_by and v in self.locations and feature_parts(reader) is not None
        # What is joined, or cut, is read by passes of another width than those that write it.
        return (p, q + 1) if joined or cut else (p, q)

    # ---- memory

    def _spare_carried(self) -> None:
        """Give results elsewhere to go where writing them at once would spoil what is still to be read."""
        for v, at in self.copies:
            if v is None or v not in self.made_by or self.locations.get(v) != at:
                continue
            if self._spoils(v, at):
                del self.locations[v]

    def _spoils(self, v: Value, at: Location) -> bool:
        """Whether what lies at a location is still read when v has been written there."""
        stage = self._stages[v]
        # Only one pass both reads the old elements and writes the new ones: that of v's width, at v's stage.
        # What it computes may be computed again in passes of other widths, by those that read it.
        reached: set[Value] = set()
        for i in self.body:
            old = any(self.locations.get(self.root(u)[0]) == at and self.root(u)[0] is not v for u in i.read)
            if self.at(i) < stage or not (old or not reached.isdisjoint(i.read)):
                continue
            if self.at(i) > stage:
                if old:
                    return True
            elif not elementwise(self.made_by[v]):
                return True
            elif i.name != "concatenate":  # which stores its operands in passes of their width
                if not elementwise(i) or width(i.outputs[0]) != width(v):
                    return True
                reached.update(i.outputs)
        return False

    def _place_joined(self) -> None:
        """What is joined lies in memory, and its parts inside it, if they are there in time."""
        for i in reversed(self.body):
            if i.name != "concatenate":
                continue
            if not joins_features(i):
                raise NotFused("a concatenation of rows")
            self._place(i.outputs[0])
            for v, start, stop in joined_parts(i):
                if type(v) is not Value:
                    raise NotFused("a concatenation with constants")
                fresh = v in self.made_by and v not in self.locations and self.alias(v) is None
                if fresh and self._stages[v] == self.of(i):
                    self.locations[v] = self.locations[i.outputs[0]].inside(start, stop)

    def _place_read(self) -> None:
        """So does what is read at another stage, or by rows."""
        for i in self.body:
            by_rows = self.product(i) or i.name == "scatter"
            for read in i.read:
                root, _ = self.root(read, in_rows=bool(self.product(i)) and read.rowwise)
                if root in self.made_by and (
                    by_rows or (root not in self.free and self._stages[root] != self.at(i))
                ):
                    self._place(root)
            if by_rows:
                self._place(i.outputs[0])
        for v, _ in self.copies:
            if v is not None and v in self.made_by:
                root, _ = self.root(v)
                if root in self.made_by:
                    self._place(root)

    def _place(self, v: Value) -> None:
        if v not in self.locations:
            name = f"s{len(self.scratch)}"
            self.scratch[name] = v
            self.locations[v] = Location("heads", name)


def _one_dtype(body: Instructions) -> np.dtype[Any]:
    dtypes = {v.dtype for i in body for v in (*i.read, *i.outputs)}
    if len(dtypes) != 1 or next(iter(dtypes)).char not in "fd":
        raise NotFused("several dtypes in one loop")
    return next(iter(dtypes))
