"""The tape: what was applied to what, and the walk backward over it.

Applying a primitive to tensors appends an `Entry`. Entries are not kept in a list: each refers to the
places that its inputs came from, so a result keeps alive just the part of the tape that it needs, and a
dropped result drops its part. A tensor is an array with a `Place`:

* `Leaf`: somebody asked for gradients here; they accumulate in ``leaf.grad``.
* `Entry`: the (only) output of an entry.
* `Output`: one of several outputs of an entry.

Entries carry a running number. Numbers grow in order of recording, so walking reachable entries by falling
number meets every entry after all entries that used it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from operator import attrgetter
from types import TracebackType
from typing import Any

import numpy as np

from .ops.index import Piece, scatter
from .ops.registry import Primitive

Shape = tuple[int, ...]

clock: Iterator[int] = itertools.count(1)
"""Numbers entries, and dates changes to leaves, on one scale. Drawing a number is atomic."""


class Place:
    """Where on the tape a tensor stands."""

    __slots__ = ("dtype", "shape")
    shape: Shape
    dtype: np.dtype[Any]


class Leaf(Place):
    """A place where gradients end and accumulate.

    Attributes
    ----------
    grad : Tensor or None
    changed : int
        The clock when the leaf's values were last replaced, to be compared with entries' numbers.
    name : str or None
        How printed tapes, diagrams and errors call it.
    """

    __slots__ = ("changed", "grad", "name")

    def __init__(self, shape: Shape, dtype: np.dtype[Any], name: str | None = None) -> None:
        self.shape = shape
        self.dtype = dtype
        self.grad: Any = None
        self.changed = 0
        self.name = name


class Entry(Place):
    """One application of a primitive.

    Attributes
    ----------
    number : int
    primitive : Primitive
    parents : tuple of (Place or None)
        Where each array input came from; None for a constant.
    args : tuple or None
        Each input: its array if a rule will read it, else something with its shape and dtype.
        None once backward has released them.
    out : array, tuple of arrays or None
        The output, if a rule will read it.
    static : dict
        Static arguments (axes, shapes, indices).
    shape, dtype
        Of the output; for several outputs, tuples with one of each.
    scope : Scope or None
        The named scope that was open.
    """

    __slots__ = ("args", "number", "out", "parents", "primitive", "scope", "static")
    shape: Any
    dtype: Any

    def __init__(
        self,
        primitive: Primitive,
        parents: tuple[Place | None, ...],
        args: tuple[Any, ...],
        out: Any,
        static: dict[str, Any],
        shape: Any,
        dtype: Any,
        scope: Scope | None,
    ) -> None:
        self.number = next(clock)
        self.primitive = primitive
        self.parents = parents
        self.args: tuple[Any, ...] | None = args
        self.out = out
        self.static = static
        self.shape = shape
        self.dtype = dtype
        self.scope = scope


class Output(Place):
    """Output number ``index`` of an entry that has several."""

    __slots__ = ("entry", "index")

    def __init__(self, entry: Entry, index: int, shape: Shape, dtype: np.dtype[Any]) -> None:
        self.entry = entry
        self.index = index
        self.shape = shape
        self.dtype = dtype


# ---------------------------------------------------------------------------------------------- state


class State:
    """What recording depends on: whether it is on, and the open scope. Never changed, only replaced."""

    __slots__ = ("recording", "scope")

    def __init__(self, recording: bool, scope: Scope | None) -> None:
        self.recording = recording
        self.scope = scope


_state: ContextVar[State] = ContextVar("tinygrad_rnn_state", default=State(True, None))  # noqa: B039 (never mutated)
current_state: Callable[[], State] = _state.get
"""The state of this thread or asyncio task; others do not see it."""


class _Replaced:
    """A context manager (and decorator) inside which the state is another one; re-entrant."""

    __slots__ = ("_tokens",)

    def __init__(self) -> None:
        self._tokens: list[Any] = []

    def _next(self, now: State) -> State:
        raise AssertionError("subclasses say which state is next")

    def __enter__(self) -> Any:
        self._tokens.append(_state.set(self._next(_state.get())))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _state.reset(self._tokens.pop())


class no_grad(_Replaced):  # noqa: N801 (the field's name for it)
    """Inside ``with tg.no_grad():`` nothing is recorded, and results do not require gradients."""

    __slots__ = ()

    def _next(self, now: State) -> State:
        return State(False, now.scope)


class enable_grad(_Replaced):  # noqa: N801
    """Record again inside a ``no_grad`` block."""

    __slots__ = ()

    def _next(self, now: State) -> State:
        return State(True, now.scope)


class Scope:
    """A named region of the tape: a module's call, or one time step of a loop.

    Attributes
    ----------
    name : str
    parent : Scope or None
    step : int or None
        The time step, where the scope is one.
    """

    __slots__ = ("name", "parent", "step")

    def __init__(self, name: str, parent: Scope | None, step: int | None) -> None:
        self.name = name
        self.parent = parent
        self.step = step

    def path(self) -> tuple[Scope, ...]:
        """From the outermost scope to this one."""
        found: list[Scope] = []
        at: Scope | None = self
        while at is not None:
            found.append(at)
            at = at.parent
        return tuple(reversed(found))

    def __str__(self) -> str:
        return "/".join(s.name for s in self.path())


class scope(_Replaced):  # noqa: N801
    """``with tg.scope("encoder"):`` names what is recorded inside, in printed tapes and in diagrams.

    Parameters
    ----------
    name : str
    step : int, optional
        Marks the scope as time step number ``step`` of a loop; diagrams draw steps in their order.
    """

    __slots__ = ("_name", "_step")

    def __init__(self, name: str, step: int | None = None) -> None:
        super().__init__()
        self._name = str(name)
        self._step = step

    def _next(self, now: State) -> State:
        return State(now.recording, Scope(self._name, now.scope, self._step))


# ------------------------------------------------------------------------------------------- backward


def reachable(places: Sequence[Place]) -> list[Entry]:
    """All entries that the given places depend on, newest first. Iterative: depth costs no stack."""
    found: set[Entry] = set()
    stack: list[Any] = list(places)
    while stack:
        place = stack.pop()
        if type(place) is Output:
            place = place.entry
        if type(place) is Entry and place not in found:
            found.add(place)
            stack.extend(place.parents)
    return sorted(found, key=attrgetter("number"), reverse=True)


def fit(g: Any, place: Place) -> Any:
    """Give a cotangent the shape and dtype of the place it belongs to, summing over broadcast axes."""
    shape = place.shape
    if g.shape != shape:
        if g.size != math.prod(shape):
            extra = g.ndim - len(shape)
            summed = [k for k, n in enumerate(g.shape) if k < extra or n != shape[k - extra]]
            g = g.sum(axis=tuple(summed))
        g = g.reshape(shape)
    return g if g.dtype == place.dtype else g.astype(place.dtype)


class Sum:
    """A cotangent in the making, where a place has received more than one array, or a piece.

    Arrays that arrive may be shared (``a + b`` hands one array to both), so only what this object has
    itself added up is added to in place. Pieces wait, and are added up once.
    """

    __slots__ = ("array", "owned", "pieces")

    def __init__(self, first: Any) -> None:
        self.array: Any = None
        self.owned = False
        self.pieces: list[Piece] = []
        self.add(first)

    def add(self, g: Any) -> None:
        if type(g) is Piece:
            self.pieces.append(g)
        elif self.array is None:
            self.array = g
        elif self.owned:
            np.add(self.array, g, out=self.array)
        else:
            self.array = self.array + g
            self.owned = type(self.array) is np.ndarray

    def finish(self, place: Place) -> Any:
        if not self.pieces:
            return self.array
        gs, indices = zip(*self.pieces, strict=True)
        placed = fit(scatter(gs, indices=indices, shape=place.shape), place)
        return placed if self.array is None else self.array + placed


Table = dict[Place, Any]
Lift = Callable[[Any, Place], Any]


def _arrive(table: Table, place: Place, g: Any) -> None:
    """Add a cotangent to the table. An entry with several outputs has a list there, one slot for each."""
    slots: Any = table
    key: Any = place
    if type(place) is Output:
        key = place.index
        slots = table.get(place.entry)
        if slots is None:
            slots = table[place.entry] = [None] * len(place.entry.shape)
        old = slots[key]
    else:
        old = table.get(place)
    if type(old) is Sum:
        old.add(g)
    elif old is None and type(g) is not Piece:
        slots[key] = g
    else:
        slots[key] = total = Sum(g if old is None else old)
        if old is not None:
            total.add(g)


def backward(
    roots: Sequence[tuple[Place, Any]], *, retain_graph: bool = False, lift: Lift | None = None
) -> dict[Leaf, Any]:
    """Carry cotangents from the roots to the leaves.

    Parameters
    ----------
    roots : sequence of (place, cotangent)
    retain_graph : bool
        Keep the arrays that entries saved, so that another backward pass can run.
    lift : callable, optional
        ``lift(array, place) -> tensor``. Given, saved arrays are handed to the rules as tensors on the
        tape, so that the pass is itself recorded (``create_graph=True``).

    Returns
    -------
    dict
        Cotangents of the leaves that were reached, in arrays that nobody else holds. Storing them into
        ``leaf.grad`` is the caller's business, so an error half-way leaves no half result there.
    """
    entries = reachable([place for place, _ in roots])
    for entry in entries:
        if entry.args is None:
            raise RuntimeError(_RELEASED.format(entry.number, entry.primitive.name))
    table: Table = {}
    for place, g in roots:
        _arrive(table, place, g)
    for entry in entries:
        g = table.pop(entry, None)
        if g is not None:
            if type(g) is Sum:
                g = g.finish(entry)
            elif type(g) is list:
                for k, value in enumerate(g):
                    if type(value) is Sum:
                        g[k] = value.finish(Output(entry, k, entry.shape[k], entry.dtype[k]))
            if lift is None:
                _through(entry, g, entry.out, entry.args, table)
            else:
                _through_recorded(entry, g, table, lift)
        if not retain_graph:
            entry.args = entry.out = None
    return {
        leaf: value.finish(leaf) if type(value) is Sum else value if lift else np.array(value)
        for leaf, value in table.items()
        if type(leaf) is Leaf
    }


_RELEASED = (
    "backward() needs the arrays saved by entry {} ({}), but an earlier backward() released them. "
    "Pass retain_graph=True to the earlier call, or run the forward computation again"
)


def _through(entry: Entry, g: Any, out: Any, args: Any, table: Table) -> None:
    """Carry a cotangent over one entry, from its output to its inputs."""
    static = entry.static
    joint = entry.primitive.joint
    rules: Any = joint(g, out, *args, **static) if joint is not None else entry.primitive.vjps
    for k, place in enumerate(entry.parents):
        if place is None:
            continue
        if type(place) is Leaf and place.changed > entry.number and type(args[k]) is not Leaf:
            raise RuntimeError(_changed(place, entry))
        gk = rules[k] if joint is not None else rules[k](g, out, *args, **static)
        kind = type(gk)
        if kind is list:
            for piece in gk:
                _arrive(table, place, piece)
            continue
        if kind is not Piece and (gk.shape != place.shape or gk.dtype is not place.dtype):
            gk = fit(gk, place)
        _arrive(table, place, gk)


def _through_recorded(entry: Entry, g: Any, table: Table, lift: Lift) -> None:
    """The same, with the rules applied to tensors, and what they do recorded in the entry's scope."""
    args = [
        a if p is None or isinstance(a, Place) else lift(a, p)
        for a, p in zip(entry.args or (), entry.parents, strict=True)
    ]
    out = None if entry.out is None else lift(entry.out, entry)
    token = _state.set(State(True, entry.scope))
    try:
        _through(entry, g, out, args, table)
    finally:
        _state.reset(token)


def _changed(leaf: Leaf, entry: Entry) -> str:
    return (
        f"the leaf {leaf.name or '(unnamed)'} of shape {leaf.shape} was changed in place after entry "
        f"{entry.number} ({entry.primitive.name}, in scope {entry.scope or 'none'}) used it and before "
        f"backward(): its gradient would be wrong. Change it (optimiser step, assign_) after backward(), or "
        f"use a copy"
    )


# ------------------------------------------------------------------------------------------- printing


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
            args = entry.args or (None,) * len(entry.parents)
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
    return repr(value)
