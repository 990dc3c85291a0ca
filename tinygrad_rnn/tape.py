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
import weakref
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from typing import Any, ClassVar

import numpy as np

from . import writes
from .ops.index import Piece, scatter
from .ops.registry import Primitive, again, spec
from .sources import Line, describe, user_line
from .state import Scope, State, context

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
        The clock when the leaf's values were last replaced, to be compared with entries' numbers; 0 before.
    version : int
        How often they have been replaced.
    name : str or None
        How printed tapes, diagrams and errors call it.
    used : tuple of (int, Line or None) or None
        The first use of the present version since the last backward pass that came here: a clock's number
        from before it, and the user's line.
    """

    __slots__ = ("_changes", "_uses", "changed", "grad", "name", "used", "version")
    latest: ClassVar[int] = 0
    """The clock when any leaf or array was last changed: a later tape cannot hold a changed one."""
    _kept: ClassVar[int] = 64
    """How many past changes and uses are remembered."""

    def __init__(self, shape: Shape, dtype: np.dtype[Any], name: str | None = None) -> None:
        self.shape = shape
        self.dtype = dtype
        self.grad: Any = None
        self.changed = 0
        self.version = 0
        self.name = name
        self.used: tuple[int, Line | None] | None = None
        self._changes: list[int] = []
        self._uses: list[tuple[int, Line | None]] = []

    def change(self) -> None:
        """Note that the values have been replaced, or written into."""
        self.changed = Leaf.latest = next(clock)
        self.version += 1
        self._changes = [*self._changes, self.changed][-self._kept :]
        self.turn()

    def use(self) -> None:
        """Note the line that is the first to use the present version."""
        self.used = (next(clock), user_line())

    def turn(self) -> None:
        """What uses the leaf from now on does so in a new tape, or in a new version: note its line again."""
        if self.used is not None:
            if not self._uses or self._uses[-1][1] != self.used[1]:
                self._uses = [*self._uses, self.used][-self._kept :]
            self.used = None

    def called(self, entry: Entry) -> str:
        """How an error about an entry that used it calls it."""
        return f"the leaf {self.name or '(unnamed)'}"

    def used_by(self, entry: Entry) -> str:
        """Which version an entry used, in words, and the line that used it first."""
        uses = [*self._uses, *([] if self.used is None else [self.used])]
        line = next((describe(line) for number, line in reversed(uses) if number <= entry.number), None)
        return f"{self._version(entry)} (first used at {line or 'an unknown line'})"

    def _version(self, entry: Entry) -> str:
        later = sum(1 for date in self._changes if date > entry.number)
        if later == self._kept:
            return f"a version of more than {self._kept - 1} changes ago"
        return f"version {self.version - later}"


class Buffer(Leaf):
    """A tensor off the tape that has been changed: it has versions, as a leaf has, but stands nowhere.

    Attributes
    ----------
    tensor : weak reference to Tensor
    """

    __slots__ = ("tensor",)

    def __init__(self, tensor: Any) -> None:
        super().__init__(tensor.shape, tensor.dtype)
        self.tensor = weakref.ref(tensor)

    def called(self, entry: Entry) -> str:
        """By the attribute of a module that was being called, if it is one."""
        tensor = self.tensor()
        for scope in reversed(entry.scope.path() if entry.scope else ()):
            for name, value in vars(scope.owner).items() if hasattr(scope.owner, "__dict__") else ():
                if value is tensor is not None:
                    return f"the buffer {'.'.join([s.name for s in scope.path()] + [name])}"
        return "the buffer (unnamed)"

    def used_by(self, entry: Entry) -> str:
        """Which version an entry used; what uses a tensor off the tape is not noted, as that takes time."""
        return f"{self._version(entry)} (inside tg.detect_anomaly() the line is known)"


class Entry(Place):
    """One application of a primitive.

    How its inputs are held is the business of `Unary`, `Binary` and `Nary`: fewer objects for each entry mean
    less for the garbage collector to visit, and a long tape costs no more per entry than a short one.

    Attributes
    ----------
    number : int
    primitive : Primitive
    parents : tuple of (Place or None)
        Where each array input came from; None for a constant.
    args : tuple or None
        Each input: its array if a rule will read it, else something with its shape and dtype.
        None once backward has released them.
    known : tuple
        ``args``, or what stays of them after their release: shape and dtype, or the number itself, of each
        constant, and None for every other input. So a tape prints and draws the same ever after.
    out : array, tuple of arrays or None
        The output, if a rule will read it.
    static : dict
        Static arguments (axes, shapes, indices).
    shape, dtype
        Of the output; for several outputs, tuples with one of each.
    scope : Scope or None
        The named scope that was open.
    source : Origin
        Where it was made, as a string; only there if made inside ``tg.detect_anomaly()``.
    """

    __slots__ = ("number", "out", "primitive", "scope", "source", "static")
    number: int
    primitive: Primitive
    out: Any
    static: dict[str, Any]
    shape: Any
    dtype: Any
    scope: Scope | None
    source: Any

    @property
    def parents(self) -> tuple[Place | None, ...]:
        raise NotImplementedError

    @property
    def args(self) -> tuple[Any, ...] | None:
        raise NotImplementedError

    @property
    def known(self) -> tuple[Any, ...]:
        raise NotImplementedError

    def release(self) -> None:
        """Forget the arrays that were saved for the rules."""
        raise NotImplementedError


class Unary(Entry):
    """An entry with one input, which is on the tape."""

    __slots__ = ("arg", "parent")
    parent: Place
    arg: Any

    @property
    def parents(self) -> tuple[Place | None, ...]:
        return (self.parent,)

    @property
    def args(self) -> tuple[Any, ...] | None:
        return None if self.arg is None else (self.arg,)

    @property
    def known(self) -> tuple[Any, ...]:
        return (self.arg,)

    def release(self) -> None:
        self.arg = self.out = None


class Binary(Entry):
    """An entry with two inputs, at least one on the tape, and no static argument."""

    __slots__ = ("left", "right", "x", "y")
    left: Place | None
    right: Place | None
    x: Any
    y: Any

    @property
    def parents(self) -> tuple[Place | None, ...]:
        return (self.left, self.right)

    @property
    def args(self) -> tuple[Any, ...] | None:
        return None if (self.y if self.left is None else self.x) is None else (self.x, self.y)

    @property
    def known(self) -> tuple[Any, ...]:
        return (self.x, self.y)

    def release(self) -> None:
        self.x = spec(self.x) if self.left is None else None
        self.y = spec(self.y) if self.right is None else None
        self.out = None


class Nary(Entry):
    """An entry with any number of inputs."""

    __slots__ = ("_args", "_constants", "_parents")

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
        for place in parents:
            if type(place) is Leaf and place.used is None:
                place.use()
        self.number = next(clock)
        self.primitive = primitive
        self._parents = parents
        self._args: tuple[Any, ...] | None = args
        self._constants: tuple[Any, ...] | None = None
        self.out = out
        self.static = static
        self.shape = shape
        self.dtype = dtype
        self.scope = scope

    @property
    def parents(self) -> tuple[Place | None, ...]:
        return self._parents

    @property
    def args(self) -> tuple[Any, ...] | None:
        return self._args

    @property
    def known(self) -> tuple[Any, ...]:
        return self._args or self._constants or (None,) * len(self._parents)

    def release(self) -> None:
        if None in self._parents:
            pairs = zip(self.known, self._parents, strict=True)
            self._constants = tuple([spec(a) if p is None else None for a, p in pairs])
        self._args = self.out = None


class Output(Place):
    """Output number ``index`` of an entry that has several."""

    __slots__ = ("entry", "index")

    def __init__(self, entry: Entry, index: int, shape: Shape, dtype: np.dtype[Any]) -> None:
        self.entry = entry
        self.index = index
        self.shape = shape
        self.dtype = dtype


def source_of(place: Any) -> Any:
    """The entry that a place is the output of, or the leaf that it is."""
    return place.entry if type(place) is Output else place


def held(entry: Entry) -> list[np.ndarray]:
    """The arrays that an entry holds for its rules: inputs, outputs, and static arguments such as indices."""
    found: list[np.ndarray] = []
    stack: list[Any] = [*entry.static.values(), entry.out, *(entry.args or ())]
    while stack:
        thing = stack.pop()
        if isinstance(thing, np.ndarray):
            found.append(thing)
        elif isinstance(thing, (tuple, list)):
            stack += thing
    return found


def reachable(places: Sequence[Place], since: int = 0) -> list[Entry]:
    """All entries from number ``since`` on that the given places depend on, newest first.

    Iterative: depth costs no stack.
    """
    found: dict[int, Entry] = {}
    stack: list[Any] = [source_of(place) for place in places]
    while stack:
        place = stack.pop()
        if isinstance(place, Entry) and place.number >= since and place.number not in found:
            found[place.number] = place
            stack += map(source_of, place.parents)
    return [found[number] for number in sorted(found, reverse=True)]


def fit(g: Any, place: Place) -> Any:
    """Give a cotangent the shape and dtype of the place it belongs to, summing over broadcast axes."""
    shape = place.shape
    if g.shape != shape:
        if [n for n in g.shape if n != 1] != [n for n in shape if n != 1]:
            extra = g.ndim - len(shape)
            summed = [k for k, n in enumerate(g.shape) if k < extra or n != shape[k - extra]]
            # The ufunc's reduce takes half the time of g.sum for small arrays, and tensors answer to both.
            g = np.add.reduce(g, axis=summed[0] if len(summed) == 1 else tuple(summed))
        if g.shape != shape:
            if g.size != math.prod(shape):
                raise ValueError(
                    f"a cotangent came out that does not broadcast from the input's shape {shape}"
                )
            g = g.reshape(shape)
    if g.dtype.kind == "c" and place.dtype.kind != "c":
        raise TypeError(
            "the gradient of a real input came out complex: gradients are of real functions only; make the "
            "result real before backward(), by abs() or .real"
        )
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


Lift = Callable[[Any, Place], Any]


class Cotangents:
    """What has arrived so far in a backward pass, and which entry comes next.

    Attributes
    ----------
    table : dict of Place to cotangent
        For an entry with several outputs a list, one slot for each.
    queue : heap of (-number, entry)
        The entries in the table. All that use an entry have larger numbers, so once it has the largest its
        cotangent is complete.
    """

    __slots__ = ("queue", "since", "table")

    def __init__(self, since: int) -> None:
        self.table: dict[Any, Any] = {}
        self.queue: list[tuple[int, Any]] = []
        self.since = since

    def arrive(self, place: Any, g: Any) -> None:
        """Add a cotangent, a piece, or a list of pieces to what a place has."""
        kind = type(g)
        if kind is not Piece and kind is not list:
            if g.shape != place.shape or g.dtype is not place.dtype:
                g = fit(g, place)
            if type(place) is not Output:
                old = self.table.get(place)
                if old is None:
                    self.table[place] = g
                    if type(place) is not Leaf and place.number >= self.since:
                        heappush(self.queue, (-place.number, place))
                    return
                if type(old) is Sum:
                    old.add(g)
                    return
        for item in g if kind is list else (g,):
            self._add(place, item)

    def _add(self, place: Any, g: Any) -> None:
        """The same for what is not the first or not the whole."""
        source = source_of(place)
        slots: Any = self.table
        key: Any = source
        if source not in self.table:
            self.table[source] = [None] * len(source.shape) if type(place) is Output else None
            if type(source) is not Leaf and source.number >= self.since:
                heappush(self.queue, (-source.number, source))
        if type(place) is Output:
            slots, key = self.table[source], place.index
        old = slots[key]
        if type(old) is Sum:
            old.add(g)
        elif old is None and type(g) is not Piece:
            slots[key] = g
        else:
            slots[key] = total = Sum(g if old is None else old)
            if old is not None:
                total.add(g)


def _finished(g: Any, place: Any) -> Any:
    """A cotangent from the table, added up where it was still in the making."""
    if type(g) is Sum:
        return g.finish(place)
    if type(g) is list:
        for k, value in enumerate(g):
            if type(value) is Sum:
                g[k] = value.finish(Output(place, k, place.shape[k], place.dtype[k]))
    return g


def backward(
    roots: Sequence[tuple[Place, Any]],
    *,
    retain_graph: bool = False,
    lift: Lift | None = None,
    since: int = 0,
) -> dict[Any, Any]:
    """Carry cotangents from the roots to the leaves.

    Parameters
    ----------
    roots : sequence of (place, cotangent)
    retain_graph : bool
        Keep the arrays that entries saved, so that another backward pass can run.
    lift : callable, optional
        ``lift(array, place) -> tensor``. Given, saved arrays are handed to the rules as tensors on the
        tape, so that the pass is itself recorded (``create_graph=True``).
    since : int
        Entries with smaller numbers count as leaves: the pass ends there.

    Returns
    -------
    dict
        Cotangents of the leaves that were reached, in arrays that nobody else holds; a list of them (None
        for those that nothing reached) for an entry with several outputs that counts as a leaf. Storing
        them into ``leaf.grad`` is the caller's business, so an error half-way leaves no half result there
        (but what the pass had gone over is released, unless the graph is retained).
    """
    now = context.get()
    # A recorded pass records also where the caller's code is not being recorded.
    token = None if lift is None else context.set(State(True, now.scope, now.watch))
    cotangents = Cotangents(since)
    queue, table = cotangents.queue, cotangents.table
    latest = Leaf.latest
    entry: Any = None
    try:
        for place, g in roots:
            cotangents.arrive(place, g)
        while queue:
            entry = heappop(queue)[1]
            g = table.pop(entry)
            if entry.number < latest:
                _refuse_changed(entry)
            if lift is not None:
                _through_recorded(entry, g, cotangents, lift)
            else:
                if type(g) is Sum or type(g) is list:
                    g = _finished(g, entry)
                if type(entry) is Nary or now.watch is not None:
                    _through(entry, g, entry.out, entry.args, cotangents, now.watch)
                else:
                    _through_quickly(entry, g, cotangents.arrive)
            if not retain_graph:
                entry.release()
        arrived = {place: _finished(g, place) for place, g in table.items()}
    except (TypeError, ValueError, AttributeError) as error:
        if entry is None:
            raise
        where = f"{entry.primitive.name}, entry {entry.number}, in scope {entry.scope or '(none)'}"
        if isinstance(error, AttributeError):
            error = TypeError(f"not an array of numbers: {error}")
        raise again(error, f"{error} (in the backward rule of {where}){_unkept(entry, error)}") from error
    finally:
        if token is not None:
            context.reset(token)
    for place, g in arrived.items():
        if type(place) is Leaf and not retain_graph:
            place.turn()
        if now.watch is not None:
            now.watch.accumulated(place, g)

    def own(g: Any) -> Any:
        """A copy: what arrived may be shared with another leaf, with the seed, or be a broadcast view."""
        if type(g) is list:
            return [own(item) for item in g]
        return g if g is None else np.array(g) if lift is None else lift(np.array(g.data), g.place)

    return {place: own(g) for place, g in arrived.items()}


def _through(entry: Entry, g: Any, out: Any, args: Any, cotangents: Cotangents, watch: Any = None) -> None:
    """Carry a cotangent over one entry, from its output to its inputs."""
    if args is None:
        raise _released(entry)
    if watch is not None:
        watch.accumulated(entry, g)
    static = entry.static
    joint = entry.primitive.joint
    rules: Any = joint(g, out, *args, **static) if joint is not None else entry.primitive.vjps
    for k, place in enumerate(entry.parents):
        if place is None:
            continue
        gk = rules[k] if joint is not None else rules[k](g, out, *args, **static)
        if watch is not None:
            watch.carried(entry, k, g, gk)
        cotangents.arrive(place, gk)


def _through_quickly(entry: Any, g: Any, arrive: Callable[[Any, Any], None]) -> None:
    """`_through` for one or two inputs, in an ordinary pass that nobody watches."""
    vjps: Any = entry.primitive.vjps
    if type(entry) is Unary:
        arg = entry.arg
        if arg is None:
            raise _released(entry)
        arrive(entry.parent, vjps[0](g, entry.out, arg, **entry.static))
        return
    x, y, out = entry.x, entry.y, entry.out
    left, right = entry.left, entry.right
    if (y if left is None else x) is None:
        raise _released(entry)
    if left is not None:
        arrive(left, vjps[0](g, out, x, y))
    if right is not None:
        arrive(right, vjps[1](g, out, x, y))


def _through_recorded(entry: Entry, g: Any, cotangents: Cotangents, lift: Lift) -> None:
    """The same, with the rules applied to tensors, and what they do recorded in the entry's scope."""
    if entry.args is None:
        raise _released(entry)
    args = [
        a if p is None or isinstance(a, Place) else lift(a, p)
        for a, p in zip(entry.args, entry.parents, strict=True)
    ]
    out = entry.out
    if out is not None and not entry.primitive.multiple:
        out = lift(out, entry)
    elif out is not None:
        out = [lift(o, Output(entry, k, o.shape, o.dtype)) for k, o in enumerate(out)]
    watch = context.get().watch
    # What the rules do is not watched itself: a bad value is laid to this entry, not to a part of its rule.
    token = context.set(State(True, entry.scope, watch and watch._within(entry)))
    try:
        _through(entry, _finished(g, entry), out, args, cotangents, watch)
    finally:
        context.reset(token)


def _unkept(entry: Entry, error: Exception) -> str:
    """What to do where a rule has read what it says that it does not read."""
    stand_ins = [a for a in (*(entry.args or ()), entry.out) if a is None or isinstance(a, Place)]
    if isinstance(error, TypeError) and any([type(a).__name__ in str(error) for a in stand_ins]):
        return (
            "; a parameter with a leading underscore stands for an array that is not kept, and has its shape "
            "and dtype at most: drop the underscore to read it"
        )
    return ""


def _released(entry: Entry) -> RuntimeError:
    return RuntimeError(
        f"backward() needs the arrays saved by entry {entry.number} ({entry.primitive.name}), but an earlier "
        f"backward() released them. Pass retain_graph=True to the earlier call, or run the forward "
        f"computation again"
    )


def note_changed(tensor: Any, new: np.ndarray) -> None:
    """Note that an array is to take the place of a tensor's, or is that one and has been written into."""
    old, place = tensor.numpy(), tensor.place
    if type(place) is not Leaf:
        known = [
            w.changes for w in writes.of(old) if type(w.changes) is Buffer and w.changes.tensor() is tensor
        ]
        place = known[0] if known else Buffer(tensor)
    place.change()
    if new is old:
        writes.note(old, place.changed, place)
    elif type(place) is Buffer:
        writes.note_replaced(old, new, place.changed, place)


def _refuse_changed(entry: Entry) -> None:
    """Raise if the values of a leaf, or of another array, have been changed since an entry saved them."""
    args = entry.args or entry.parents  # released: that will be said
    for place, arg in zip(entry.parents, args, strict=True):
        # What views of the leaf were used for is not known here: they may show the new values now.
        saved = type(arg) is not Leaf or entry.primitive.view
        if type(place) is Leaf and place.changed > entry.number and saved:
            raise RuntimeError(_changed(place, entry))
    for array in held(entry):
        write = writes.since(array, entry.number)
        if write is not None:
            raise RuntimeError(_changed(write.changes, entry))


def _changed(place: Leaf, entry: Entry) -> str:
    source = getattr(entry, "source", None)  # known under tg.detect_anomaly()
    return (
        f"{place.called(entry)} of shape {place.shape} was changed in place before backward(): entry "
        f"{entry.number} ({entry.primitive.name}, in scope {entry.scope or '(none)'}"
        + (f", at {source}" if source else "")
        + f") used {place.used_by(entry)}, and now it has version {place.version}. The gradient would be "
        f"wrong. Change it (optimiser step, assign_) after backward(), or use a copy"
    )
