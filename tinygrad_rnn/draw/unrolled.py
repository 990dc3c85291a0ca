"""The tape as a tree of frames: modules, loops and time steps.

Every view is made from this. Nothing here is drawn yet.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..listing import Tape
from ..state import Scope
from ..tape import Entry, Output, source_of

_SUBSCRIPTS = str.maketrans("0123456789-+t", "₀₁₂₃₄₅₆₇₈₉₋₊ₜ")

COMPILED = "scan"
"""The primitive of a whole loop over time, as a compiled layer records it."""


@dataclass(slots=True, eq=False)
class Frame:
    """A module's call, a time step, or another named scope.

    Attributes
    ----------
    key : str
        Unique and readable: ``lstm.l0.t017``.
    path : str
        The scopes: ``lstm/l0/t=17``; the second call of a module is ``lstm#2``.
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
    path: str
    title: str
    parent: int | None
    step: int | None
    owner: Any
    entries: list[Entry] = field(default_factory=list)


def off_the_tape(what: str, tensor: Any) -> ValueError:
    """The error for a tensor that was not recorded, with what may have been the cause."""
    if 0 in tensor.shape:
        why = "it is empty, as of a sequence without time steps, of which nothing is recorded"
    else:
        why = (
            "nothing it depends on has requires_grad=True, it was detached, or it was computed under "
            "no_grad() or of a sequence without time steps"
        )
    return ValueError(f"{what} of shape {tensor.shape} off the tape: {why}")


class Unrolled:
    """A tape, arranged.

    Attributes
    ----------
    tape : Tape
    frames : list of Frame
    steps_of : list of tuple of int
        For each frame the time steps that it is or lies in, from the outermost.
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
        self.steps_of: list[tuple[int, ...]] = []
        self.loops: dict[int | None, list[int]] = {}
        self.frame_of: dict[Scope | None, int | None] = {None: None}
        self._keys: dict[str, int] = {}
        self._steps: dict[tuple[int | None, int], int] = {}
        self._calls: Counter[tuple[int | None, str]] = Counter()
        self.outside: list[Entry] = []
        for entry in tape.entries:
            scope = entry.scope
            at = self.frame_of[scope] if scope in self.frame_of else self._enter(scope)
            (self.outside if at is None else self.frames[at].entries).append(entry)
        for steps in self.loops.values():
            steps.sort(key=self.time)
        self.results = {source_of(place) for place in tape.places}

    def _enter(self, scope: Scope | None) -> int | None:
        assert scope is not None
        parent: int | None = None
        for s in scope.path():
            if s not in self.frame_of:
                # A step entered twice in one place is one step; a module called twice is two calls.
                known = None if s.step is None else self._steps.get((parent, s.step))
                self.frame_of[s] = self._add(s, parent) if known is None else known
                if known is not None and s.name not in self.frames[known].title:
                    self.frames[known].title += f", {s.name}"
            parent = self.frame_of[s]
        return parent

    def _add(self, scope: Scope, parent: int | None) -> int:
        k, name, path = len(self.frames), scope.name, scope.name
        around = () if parent is None else self.steps_of[parent]
        if scope.step is None:
            self._calls[parent, name] += 1
            count = self._calls[parent, name]
            path = name if count == 1 else f"{name}#{count}"
        else:
            self._steps[parent, scope.step] = k
            self.loops.setdefault(parent, []).append(k)
            name = f"t{scope.step:03d}"
        if parent is not None:
            path = f"{self.frames[parent].path}/{path}"
        self.steps_of.append(around if scope.step is None else (*around, k))
        key = self.unique(self.prefix(parent) + identifier(name))
        self.frames.append(Frame(key, path, scope.name, parent, scope.step, scope.owner))
        return k

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

    def steps(self, entry: Entry) -> tuple[int, ...]:
        """The time steps that an entry lies in, as frames, from the outermost."""
        at = self.frame_of[entry.scope]
        return () if at is None else self.steps_of[at]

    def step(self, entry: Entry) -> int | None:
        """The innermost time step that an entry lies in, as a frame."""
        steps = self.steps(entry)
        return steps[-1] if steps else None

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
            if at is None or not self.steps_of[at] or not named[at] or entry.primitive.multiple:
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


def subscripted(name: str, index: object) -> str:
    """A letter with an index, as titles write it: h₁₂."""
    return name + str(index).translate(_SUBSCRIPTS)


def counted(count: int, what: str) -> str:
    """A number of things in words: 1 step, 9,996 steps."""
    return f"{count:,} {what}{'s' if count != 1 else ''}"


def identifier(text: str) -> str:
    """A text as a part of a key."""
    return re.sub(r"[^\w-]+", "_", text) or "_"
