"""The walk backward over the tape: cotangents from results to leaves, one entry after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Any

import numpy as np

from .ops.index import Piece, scatter
from .ops.messages import again, brief
from .state import State, context
from .tape import NEVER, Entry, Leaf, Nary, Output, Place, Unary, held, source_of
from .writes import refuse_changed


def fit(g: Any, place: Place) -> Any:
    """Give a cotangent the shape and dtype of the place it belongs to, summing over broadcast axes."""
    shape = place.shape
    if g.shape != shape:
        extra = g.ndim - len(shape)
        summed = [k for k, n in enumerate(g.shape) if k < extra or n != shape[k - extra]]
        if extra < 0 or any([k >= extra and shape[k - extra] != 1 for k in summed]):
            raise ValueError(
                f"a cotangent of shape {g.shape} came out, which does not broadcast from the input's shape "
                f"{shape}"
            )
        if g.size != math.prod(shape):
            # The ufunc's reduce takes half the time of g.sum for small arrays, and tensors answer to both.
            g = np.add.reduce(g, axis=tuple(summed))
        if g.shape != shape:
            g = g.reshape(shape)
    if g.dtype.kind == "c" and place.dtype.kind != "c":
        raise TypeError(
            "the gradient of a real input came out complex: complex numbers on the way are not "
            "differentiated; compute with their real and imaginary parts, as two real tensors"
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
        gs, indices = [piece.g for piece in self.pieces], [piece.index for piece in self.pieces]
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
            try:
                fits = g.shape == place.shape and g.dtype is place.dtype
            except AttributeError:
                raise TypeError(_no_array(g, place)) from None
            if not fits:
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
        if kind is not list:
            self._add(place, g)
            return
        if not all([type(item) is Piece for item in g]):
            raise TypeError(_no_array(g, place))
        for item in g:
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


def _no_array(g: Any, place: Place) -> str:
    return f"the rule returned {brief(g)}, and not an array of the input's shape {place.shape}"


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
    since: int = NEVER,
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
                refuse_changed(entry)
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
                if now.watch is not None:
                    _unlock(entry)
                entry.release()
        arrived = {place: _finished(g, place) for place, g in table.items()}
    except Exception as error:
        if entry is None:
            raise
        where = f"{entry.primitive.name}, entry {entry.number}, in scope {entry.scope or '(none)'}"
        if isinstance(error, (TypeError, ValueError)):
            raise again(error, f"{error} (in the backward rule of {where}){_unkept(entry, error)}") from error
        if hasattr(error, "add_note"):  # from Python 3.11 on
            error.add_note(f"in the backward pass over {where}")
        raise
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


def _unlock(entry: Entry) -> None:
    """Let what an entry holds be written into again, for it is about to be released."""
    for locks in entry.source.locks if hasattr(entry, "source") else ():
        locks.free(held(entry))


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
        if gk is None and joint is not None:
            continue  # a joint rule may say so of what the output does not depend on
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
        (rule,) = vjps
        arrive(entry.parent, rule(g, entry.out, arg, **entry.static))
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
