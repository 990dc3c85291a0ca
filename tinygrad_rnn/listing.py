"""The tape in print: a Wengert list that a person can read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .tape import Entry, Leaf, Output, Place, reachable


class Tape:
    """The part of the tape that a tensor depends on, as a readable Wengert list.

    Parameters
    ----------
    *tensors : Tensor
        One or more results.

    Attributes
    ----------
    entries : list of Entry
        In order of recording.

    Examples
    --------
    >>> print(tg.Tape(loss))
    """

    def __init__(self, *tensors: Any) -> None:
        places = []
        for t in tensors:
            place = getattr(t, "place", None)
            if place is None:
                raise ValueError("tg.Tape needs a tensor that is on the tape: one that requires gradients")
            places.append(place)
        self.places: list[Place] = places
        self.entries = reachable(places)[::-1]
        self.numbers = {entry: k for k, entry in enumerate(self.entries, 1)}
        self.leaves: dict[Leaf, str] = {}
        for place in [p for e in self.entries for p in e.parents] + places:
            if isinstance(place, Leaf) and place not in self.leaves:
                self.leaves[place] = place.name or f"leaf{len(self.leaves)}"

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def label(self, place: Place | None, arg: Any = None) -> str:
        """How an input is called: ``%4``, ``%4.1``, a leaf's name, or the constant itself."""
        if isinstance(place, Leaf):
            return self.leaves[place]
        if isinstance(place, Output):
            return f"%{self.numbers[place.entry]}.{place.index}"
        if isinstance(place, Entry):
            return f"%{self.numbers[place]}"
        shape = getattr(arg, "shape", None)
        return f"const{tuple(shape)}" if shape is not None else repr(arg) if arg is not None else "const"

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """One tuple per entry: number, scope, operation with its inputs, shape, dtype."""
        rows = []
        for entry in self.entries:
            args = entry.args or entry.constants or (None,) * len(entry.parents)
            inputs = [self.label(p, a) for p, a in zip(entry.parents, args, strict=True)]
            static = [f"{k}={describe_static(v)}" for k, v in entry.static.items()]
            call = f"{entry.primitive.name}({', '.join(inputs + static)})"
            several = entry.primitive.multiple
            shape = f"{len(entry.shape)} x {entry.shape[0]}" if several else str(entry.shape)
            dtype = entry.dtype[0] if several else entry.dtype
            rows.append((f"%{self.numbers[entry]}", str(entry.scope or ""), call, shape, str(dtype)))
        return rows

    def __str__(self) -> str:
        table = [("entry", "scope", "operation", "shape", "dtype"), *self.rows()]
        widths = [max(len(row[k]) for row in table) for k in range(5)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in table]
        leaves = [f"{name}: leaf {leaf.shape} {leaf.dtype}" for leaf, name in self.leaves.items()]
        return "\n".join([*leaves, *lines])

    def __repr__(self) -> str:
        return f"<Tape: {len(self.entries)} entries, {len(self.leaves)} leaves>"


def describe_static(value: Any) -> str:
    """A static argument in a few characters: slices as they are typed, arrays by their shape."""
    if isinstance(value, slice):
        text = ":".join("" if v is None else str(v) for v in (value.start, value.stop))
        return text + (f":{value.step}" if value.step is not None else "")
    if value is Ellipsis:
        return "..."
    if isinstance(value, tuple):
        inner = ", ".join(describe_static(v) for v in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, np.ndarray):
        return f"array{value.shape}"
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    return repr(value)
