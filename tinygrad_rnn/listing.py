"""The tape in print: a Wengert list that a person can read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .ops.messages import OUTPUT_AND_STATE, is_output_and_state
from .tape import Entry, Leaf, Output, Place, held, reachable


class Counts(Counter[Any]):
    """A `collections.Counter` that prints as a table, largest first, or in the order of its keys."""

    def __init__(self, what: str, unit: str, counts: Mapping[Any, int], ordered: bool = False) -> None:
        super().__init__(counts)
        self.what, self.unit, self.ordered = what, unit, ordered

    def __str__(self) -> str:
        counts = sorted(self.items()) if self.ordered else self.most_common()
        rows = [(self.what, self.unit), *((str(key), f"{n:,}") for key, n in counts)]
        width, digits = (max(len(row[k]) for row in rows) for k in (0, 1))
        return "\n".join(f"{name.ljust(width)}  {n.rjust(digits)}" for name, n in rows)


_SHOWN = 10
"""How many entries a report of memory prints."""


class Memory(NamedTuple):
    """Bytes held by a tape; see `Tape.memory`. An array that several entries hold counts for the first.

    Attributes
    ----------
    total : int
    by_entry, by_module, by_step : Counts
        Keys are entries as the tape prints them, module paths, and time steps. Printed are the ten largest
        entries, all modules, and the time steps in order.
    """

    total: int
    by_entry: Counts
    by_module: Counts
    by_step: Counts

    def __str__(self) -> str:
        largest = Counts("entry", "bytes", dict(self.by_entry.most_common(_SHOWN)))
        tables = [str(t) for t in (self.by_module, self.by_step, largest) if t]
        if rest := self.by_entry - largest:
            tables[-1] += f"\n... and {len(rest):,} entries more, {rest.total():,} bytes"
        return "\n\n".join([f"{self.total:,} bytes held for backward", *tables])


def _owner(array: np.ndarray) -> np.ndarray:
    """The array whose memory a view shows: that is what stays alive."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _first(array: np.ndarray, seen: set[int]) -> bool:
    new = id(array) not in seen
    seen.add(id(array))
    return new


def _new(name: str, named: Counter[str]) -> str:
    """The name, numbered from its second use on, and counted with the others."""
    label = name
    while named[label]:
        named[name] += 1
        label = f"{name}#{named[name]}"
    named[label] += 1
    return label


def _shapes(values: Sequence[Any]) -> str:
    """The shapes of several outputs: ``2 x (3,)`` if they are alike."""
    if len(set(values)) == 1:
        return f"{len(values)} x {values[0]}"
    return ", ".join(map(str, values))


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
    >>> w = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> print(tg.Tape((w * 3.0).sum()))
    leaf0: leaf (2,) float32
    entry  scope  operation             shape  dtype
    %1            multiply(leaf0, 3.0)  (2,)   float32
    %2            sum(%1)               ()     float32
    """

    def __init__(self, *tensors: Any) -> None:
        if not tensors:
            raise TypeError("tg.Tape needs a tensor whose tape to show: tg.Tape(loss)")
        places = []
        for t in tensors:
            if isinstance(t, (list, tuple)):
                raise TypeError(
                    f"tg.Tape takes tensors one by one, got a {type(t).__name__}: "
                    f"{OUTPUT_AND_STATE if is_output_and_state(t) else 'tg.Tape(*tensors)'}"
                )
            place = getattr(t, "place", None)
            if place is None:
                raise ValueError(
                    f"tg.Tape needs a tensor that is on the tape, one that requires gradients; got "
                    f"{type(t).__name__}"
                )
            places.append(place)
        self.places: list[Place] = places
        self.entries = reachable(places)[::-1]
        self.numbers = {entry: k for k, entry in enumerate(self.entries, 1)}
        self.leaves: dict[Leaf, str] = {}
        named: Counter[str] = Counter()
        for place in [p for e in self.entries for p in e.parents] + places:
            if isinstance(place, Leaf) and place not in self.leaves:
                self.leaves[place] = _new(place.name or f"leaf{len(self.leaves)}", named)

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
            inputs = [self.label(p, a) for p, a in zip(entry.parents, entry.known, strict=True)]
            static = [f"{k}={describe_static(v)}" for k, v in entry.static.items()]
            call = f"{entry.primitive.name}({', '.join(inputs + static)})"
            several = entry.primitive.multiple
            shape = _shapes(entry.shape) if several else str(entry.shape)
            dtype = ", ".join(map(str, dict.fromkeys(entry.dtype))) if several else str(entry.dtype)
            rows.append((f"%{self.numbers[entry]}", str(entry.scope or ""), call, shape, dtype))
        return rows

    def summary(self) -> Counts:
        """How many entries there are of each primitive.

        Examples
        --------
        >>> print(tg.Tape(nn.RNN(2, 3, return_state=False, rng=0)(np.ones((1, 50, 2)))).summary())
        primitive  entries
        add            150
        linear         100
        tanh            50
        stack            1
        """
        return Counts("primitive", "entries", Counter(e.primitive.name for e in self.entries))

    def memory(self) -> Memory:
        """Bytes that the tape holds for backward; what backward has released is gone from it.

        Arrays among the static arguments (indices, bounds) stay as long as the tape does.

        Examples
        --------
        >>> model = nn.Sequential(nn.Linear(3, 4, rng=0), np.tanh, nn.Linear(4, 1, rng=1))
        >>> print(tg.Tape(model(np.ones((8, 3), "float32"))).memory().by_module)
        module              bytes
        sequential            128
        sequential/linear0     96
        sequential/linear2     16
        """
        by_entry: Counter[str] = Counter()
        by_module: Counter[str] = Counter()
        by_step: Counter[int] = Counter()
        seen: set[int] = set()
        for entry in self.entries:
            size = sum(_owner(a).nbytes for a in held(entry) if _first(_owner(a), seen))
            if not size:
                continue
            path = entry.scope.path() if entry.scope else ()
            by_entry[f"%{self.numbers[entry]} {entry.primitive.name}"] += size
            by_module["/".join(s.name for s in path if s.step is None) or "(none)"] += size
            for s in path:
                if s.step is not None:
                    by_step[s.step] += size
        return Memory(
            sum(by_entry.values()),
            Counts("entry", "bytes", by_entry),
            Counts("module", "bytes", by_module),
            Counts("time step", "bytes", by_step, ordered=True),
        )

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
