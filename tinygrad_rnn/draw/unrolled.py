"""The tape as a tree of frames: modules, loops, time steps, and the states that pass from step to step.

Every view is made from this. Nothing here is drawn yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..listing import Tape
from ..state import Scope
from ..tape import Entry, Leaf, Output, Place

_SUBSCRIPTS = str.maketrans("0123456789-+t", "₀₁₂₃₄₅₆₇₈₉₋₊ₜ")


WIRING = frozenset(
    {
        "split",
        "unstack",
        "stack",
        "concatenate",
        "getitem",
        "where",
        "reshape",
        "swapaxes",
        "transpose",
        "flip",
    }
    | {"scatter", "squeeze", "expand_dims", "broadcast_to", "moveaxis"}
)
"""Primitives that hand values on as they are."""


COMPILED = "scan"
"""The primitive of a whole loop over time, as a compiled layer records it."""


@dataclass(slots=True, eq=False)
class Frame:
    """A module's call, a time step, or another named scope.

    Attributes
    ----------
    key : str
        Unique and readable: ``lstm.l0.t017``.
    title : str
    parent : int or None
        The frame around it, as a position in `Unrolled.frames`; it comes earlier there.
    step : int or None
    owner : object or None
        The module or cell that was called, if the scope knows it.
    entries : list of Entry
        Those directly in it, in order of recording.
    """

    key: str
    title: str
    parent: int | None
    step: int | None
    owner: Any
    entries: list[Entry] = field(default_factory=list)


@dataclass(slots=True)
class Carried:
    """What the steps of a loop hand on to each other, read off the tape.

    Attributes
    ----------
    names : dict of int to str
        For each state, where in its step it is computed, counted from the step's end, and its name.
    slots : dict
        Which input reads which state: ``slots[steps' primitives, entry, input]``. Where a step has a constant
        in such a place, it is the initial state, or one that was detached.
    first : int
        The step that was run first, as a position in `Unrolled.frames`.
    """

    names: dict[int, str]
    slots: dict[tuple[int, int, int], int]
    first: int


class Unrolled:
    """A tape, arranged.

    Attributes
    ----------
    tape : Tape
    frames : list of Frame
    step_of : list of (int or None)
        For each frame the innermost time step that it is or lies in.
    loops : dict of (int or None) to list of int
        For each frame that has time steps directly in it (None: outside of all), those, in their order.
    frame_of : dict of (Scope or None) to (int or None)
        The frame of each scope.
    results : set of Place
        What the tape was asked for: leaves and entries.
    """

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.frames: list[Frame] = []
        self.frame_of: dict[Scope | None, int | None] = {None: None}
        self._keys: dict[str, int] = {}
        self._entered: dict[tuple[int | None, str, int], int] = {}
        self.outside: list[Entry] = []
        for entry in tape.entries:
            scope = entry.scope
            at = self.frame_of[scope] if scope in self.frame_of else self._enter(scope)
            (self.outside if at is None else self.frames[at].entries).append(entry)
        self.step_of: list[int | None] = []
        self.loops: dict[int | None, list[int]] = {}
        for k, frame in enumerate(self.frames):
            self.step_of.append(k if frame.step is not None else self.around(k, self.step_of))
            if frame.step is not None:
                self.loops.setdefault(frame.parent, []).append(k)
        for steps in self.loops.values():
            steps.sort(key=self.time)
        self.results = {p if isinstance(p, Leaf) else source(p) for p in tape.places}
        self._sequences: dict[tuple[str, ...], int] = {}
        self._sequence_of: dict[int, int] = {}

    def _enter(self, scope: Scope | None) -> int | None:
        assert scope is not None
        parent: int | None = None
        for s in scope.path():
            if s not in self.frame_of:
                # A step entered twice in one place is one step; a module called twice is two calls.
                known = None if s.step is None else self._entered.get((parent, s.name, s.step))
                self.frame_of[s] = len(self.frames) if known is None else known
                if known is None:
                    if s.step is not None:
                        self._entered[parent, s.name, s.step] = len(self.frames)
                    key = self.unique(self._frame_key(s, parent))
                    self.frames.append(Frame(key, s.name, parent, s.step, s.owner))
            parent = self.frame_of[s]
        return parent

    def _frame_key(self, scope: Scope, parent: int | None) -> str:
        name = scope.name if scope.step is None else f"t{scope.step:03d}"
        return f"{self.prefix(parent)}{identifier(name)}"

    def prefix(self, frame: int | None) -> str:
        """What the keys of all that stands directly in a frame begin with."""
        return "" if frame is None else f"{self.frames[frame].key}."

    def unique(self, key: str) -> str:
        """The key, numbered from its second use on."""
        base = key
        while key in self._keys:
            self._keys[base] += 1
            key = f"{base}.{self._keys[base]}"
        self._keys[key] = 1
        return key

    # ---- finding one's way

    def at(self, entry: Entry) -> int | None:
        """The frame that an entry stands in."""
        return self.frame_of[entry.scope]

    def step(self, entry: Entry) -> int | None:
        """The innermost time step that an entry lies in, as a frame."""
        at = self.frame_of[entry.scope]
        return None if at is None else self.step_of[at]

    def time(self, frame: int) -> int:
        """The number of a time step."""
        return self.frames[frame].step or 0

    def around(self, frame: int, values: list[Any]) -> Any:
        """What a list of one value per frame has for the frame around one."""
        parent = self.frames[frame].parent
        return None if parent is None else values[parent]

    def path(self, frame: int | None) -> Iterator[int]:
        """The frame and those around it, outwards."""
        while frame is not None:
            yield frame
            frame = self.frames[frame].parent

    def common(self, a: int | None, b: int | None) -> int | None:
        """The innermost frame around both: as parents come first, the later of two is never the outer one."""
        while a != b:
            if a is None or b is None:
                return None
            if a > b:
                a = self.frames[a].parent
            else:
                b = self.frames[b].parent
        return a

    def owner(self, frame: int | None, attribute: str) -> Any:
        """What the module or cell called in a frame, or the nearest around it, has as an attribute."""
        for k in self.path(frame):
            found = getattr(self.frames[k].owner, attribute, None)
            if found is not None:
                return found
        return None

    # ---- loops

    @cached_property
    def own(self) -> dict[int, list[Entry]]:
        """For each time step the entries that lie in it and in no step within it."""
        found: dict[int, list[Entry]] = {}
        for k, frame in enumerate(self.frames):
            step = self.step_of[k]
            if step is not None:
                found.setdefault(step, []).extend(frame.entries)
        for entries in found.values():
            entries.sort(key=_number)
        return found

    def sequence(self, step: int) -> int:
        """A number for the operations of a step: steps of the same operations have the same."""
        if step not in self._sequence_of:
            operations = tuple(entry.primitive.name for entry in self.own.get(step, ()))
            self._sequence_of[step] = self._sequences.setdefault(operations, len(self._sequences))
        return self._sequence_of[step]

    def carried(self, loop: int | None, steps: list[int]) -> Carried:
        """What the steps of a loop hand on, as seen in the given ones of them."""
        siblings = set(self.loops[loop])
        places: dict[int, dict[int, int]] = {}
        mixed = set()
        slots: dict[tuple[int, int, int], int] = {}
        for step in steps:
            sequence = self.sequence(step)
            for k, entry in enumerate(self.own.get(step, ())):
                for j, place in enumerate(entry.parents):
                    origin = None if place is None or isinstance(place, Leaf) else self.step(source(place))
                    if origin is None or origin == step or origin not in siblings or place is None:
                        continue
                    entries = self.own[origin]
                    if origin not in places:
                        places[origin] = {e.number: n for n, e in enumerate(entries, -len(entries))}
                    slots[sequence, k, j] = state = places[origin][source(place).number]
                    if not entry.primitive.elementwise and entry.primitive.name not in WIRING:
                        mixed.add(state)
        first = min(self.loops[loop], key=self._began)
        return Carried(_state_names(sorted(set(slots.values())), mixed), slots, first)

    def before(self, step: int) -> tuple[int, int | None]:
        """The number of the time step that was run before one, and its frame, if there was one."""
        steps = self.loops[self.frames[step].parent]
        backwards = len(steps) > 1 and self._began(steps[0]) > self._began(steps[-1])
        at = steps.index(step) + (1 if backwards else -1)
        number = self.time(step) + (1 if backwards else -1)
        return number, steps[at] if 0 <= at < len(steps) else None

    def _began(self, step: int) -> int:
        own = self.own.get(step)
        return own[0].number if own else 0

    def padded(self, loop: int | None) -> set[int]:
        """The steps of a loop that run on fewer sequences than others: some have ended there."""
        rows = {}
        for step in self.loops[loop]:
            own = self.own.get(step)
            shape = own[-1].shape if own and not own[-1].primitive.multiple else ()
            if shape:
                rows[step] = shape[0]
        most = max(rows.values(), default=0)
        return {step for step, count in rows.items() if count < most}

    # ---- gates

    @cached_property
    def gates(self) -> dict[Entry, str]:
        """The gate that an entry computes, where its cell names its gates.

        A cell names them by ``gate_names``, in the order in which it splits its pre-activations. An entry
        belongs to a gate if it reads that part of the split, or a sum of such parts, up to its activation.
        """
        found: dict[Entry, str] = {}
        before: dict[Entry, str] = {}
        named = {k: self.owner(k, "gate_names") for k in range(len(self.frames))}
        for entry in self.tape.entries:
            at = self.frame_of[entry.scope]
            if at is None or self.step_of[at] is None or not named[at] or entry.primitive.multiple:
                continue
            read = set()
            for place in entry.parents:
                if type(place) is Output:
                    names = named[at] if place.entry.scope is entry.scope else None
                    if names and len(names) == len(place.entry.shape):
                        read.add(names[place.index])
                elif place in before:
                    read.add(before[place])
            if len(read) == 1:
                found[entry] = gate = read.pop()
                if len(entry.parents) > 1:
                    before[entry] = gate
        return found


def _state_names(states: list[int], mixed: set[int]) -> dict[int, str]:
    """The only state is h; of two, h is the one that the next step does not use elementwise alone."""
    if len(states) == 1:
        return {states[0]: "h"}
    if len(states) == 2 and len(mixed) == 1:
        return {state: "h" if state in mixed else "c" for state in states}
    return {state: "s" + "\N{PRIME}" * k for k, state in enumerate(states)}


def source(place: Place) -> Entry:
    """The entry that computed a place, as its only output or as one of several."""
    if isinstance(place, Output):
        return place.entry
    assert isinstance(place, Entry)
    return place


def subscripted(name: str, index: object) -> str:
    """A letter with an index, as titles write it: h₁₂."""
    return name + str(index).translate(_SUBSCRIPTS)


def identifier(text: str) -> str:
    """A text as a part of a key."""
    return re.sub(r"[^\w-]+", "_", text) or "_"


def _number(entry: Entry) -> int:
    return entry.number
