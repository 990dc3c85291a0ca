"""The tape: what was applied to what.

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
import weakref
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from .ops.operations import Primitive, spec
from .sources import Line, describe, user_line
from .state import Scope

Shape = tuple[int, ...]

clock: Iterator[int] = itertools.count()
"""Numbers entries, and dates changes to leaves, on one scale. Drawing a number is atomic."""

NEVER = next(clock)
"""What is older than all entries and changes."""


class Place:
    """Where on the tape a tensor stands."""

    __slots__ = ("dtype", "shape")
    shape: Shape
    dtype: np.dtype[Any]


def _nobody() -> None:
    """The tensor of a leaf that belongs to none."""


class Leaf(Place):
    """A place where gradients end and accumulate.

    Attributes
    ----------
    grad : Tensor or None
    changed : int
        The clock when the leaf's values were last replaced, to be compared with entries' numbers, or NEVER.
    version : int
        How often they have been replaced.
    name : str or None
        How printed tapes, diagrams and errors call it.
    used : tuple of (int, Line or None) or None
        The first use of the present version since the last backward pass that came here: a clock's number
        from before it, and the user's line.
    tensor : callable
        Gives the tensor whose leaf it is, or None if there is none (any more): it has values that no entry
        keeps.
    """

    __slots__ = ("_changes", "_uses", "changed", "grad", "name", "tensor", "used", "version")
    latest: ClassVar[int] = NEVER
    """The clock when any leaf or array was last changed: a later tape cannot hold a changed one."""
    _kept: ClassVar[int] = 64
    """How many past changes and uses are remembered."""

    def __init__(self, shape: Shape, dtype: np.dtype[Any], name: str | None = None) -> None:
        self.shape = shape
        self.dtype = dtype
        self.grad: Any = None
        self.changed = NEVER
        self.version = 0
        self.name = name
        self.used: tuple[int, Line | None] | None = None
        self.tensor: Callable[[], Any] = _nobody
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
        uses = reversed(self._all_uses())
        line = next((describe(line) for number, line in uses if number <= entry.number), None)
        return f"{self._version(entry)} (first used at {line or 'an unknown line'})"

    def last_use(self) -> Line | None:
        """The line that was the first to use the latest version of those that were used."""
        uses = self._all_uses()
        return uses[-1][1] if uses else None

    def _all_uses(self) -> list[tuple[int, Line | None]]:
        return [*self._uses, *([] if self.used is None else [self.used])]

    def _before(self, entry: Entry) -> list[int]:
        """The changes, of those that are remembered, before an entry was made."""
        return self._changes[: bisect(self._changes, entry.number)]

    def _version(self, entry: Entry) -> str:
        later = len(self._changes) - len(self._before(entry))
        if later == self._kept:
            return f"a version of more than {self._kept - 1} changes ago"
        return f"version {self.version - later}"


class Buffer(Leaf):
    """A tensor off the tape that has been changed: it has versions, as a leaf has, but stands nowhere.

    Its tensor notes the first use of its present version itself.
    """

    __slots__ = ()

    def __init__(self, tensor: Any) -> None:
        super().__init__(tensor.shape, tensor.dtype)
        self.tensor = weakref.ref(tensor)

    def turn(self) -> None:
        """The present version has come to its end."""
        if self.used is not None:
            self._uses = [*self._uses, self.used][-self._kept :]
            self.used = None

    def used_by(self, entry: Entry) -> str:
        """As a leaf's; but what uses a view of it is not noted, and may be the only use of a version."""
        made = max(self._before(entry), default=NEVER)
        line = next((line for number, line in self._uses if number in range(made, entry.number)), None)
        return (
            f"{self._version(entry)} "
            f"(first used at {describe(line) or 'a line that tg.detect_anomaly() would name'})"
        )

    def called(self, entry: Entry) -> str:
        """By the attribute of a module that was being called, if it is one."""
        tensor = self.tensor()
        for scope in reversed(entry.scope.path() if entry.scope else ()):
            for name, value in vars(scope.owner).items() if hasattr(scope.owner, "__dict__") else ():
                if value is tensor is not None:
                    return f"the buffer {'.'.join([s.name for s in scope.path()] + [name])}"
        return "the buffer (unnamed)"


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
        new = [place for place in parents if type(place) is Leaf and place.used is None]
        if new:
            use = (next(clock), user_line())
            for leaf in new:
                leaf.used = use
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


def reachable(places: Sequence[Place], since: int = NEVER) -> list[Entry]:
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


def earlier(places: Sequence[Place], since: int) -> Iterator[Place]:
    """The leaves, and the entries from before number ``since``, that the given places depend on.

    But not the variables of transformations that have begun since.
    """
    met: set[Any] = {None}
    stack: list[Any] = list(map(source_of, places))
    while stack:
        place = stack.pop()
        if place in met:
            continue
        met.add(place)
        if isinstance(place, Entry) and place.number >= since:
            stack += map(source_of, place.parents)
        elif type(place) is not Leaf or place.version or place.changed < since:
            yield place
