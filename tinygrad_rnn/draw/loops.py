"""The loops over time on a tape, and the states that go from step to step in them.

The tape knows scopes, not states. A state is what the scope of one step computes and that of another reads;
in the last step, which nothing follows, it is what stands where the state stood in a step like it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..listing import Tape
from ..state import Scope
from ..tape import Entry, Leaf, Output, Place


@dataclass
class Loop:
    """Steps in one scope: one layer, in one direction.

    Attributes
    ----------
    path : str
        The scope around the steps, ``lstm/l0``; the second call of a module is ``lstm#2/l0``.
    entries : dict of int to list of Entry
        What was recorded in each time step, inner scopes and loops included; steps in order of recording.
    states : dict of str to (dict of int to Place)
        By name and time step. The only state is ``h``. Of two, ``h`` is the one that goes through something
        else than elementwise operations in the next step, such as a matrix product, and ``c`` the other. What
        cannot be told apart like this is ``s1``, ``s2``, ... in order of recording.
    """

    path: str
    entries: dict[int, list[Entry]] = field(default_factory=dict)
    states: dict[str, dict[int, Place]] = field(default_factory=dict)


def loops(tape: Tape) -> list[Loop]:
    """The loops of a tape, in order of recording; of nested loops the outer one first.

    Parameters
    ----------
    tape : Tape

    Returns
    -------
    list of Loop
    """
    return _Finder(tape).loops


def source(place: Place | None) -> Entry | None:
    """The entry that computed a place, alone or as one of several outputs; None for leaves and constants."""
    if isinstance(place, Output):
        return place.entry
    return place if isinstance(place, Entry) else None


Step = tuple[int, int]
"""A loop's position in `_Finder.loops`, and a time step."""


class _Finder:
    """Loops in the making.

    Attributes
    ----------
    steps : dict of (Scope or None) to tuple of Step
        The steps, of nested loops, that a scope is or lies in, from the outermost.
    readers : dict of Entry to list of Entry
        Who reads what only moves elements.
    """

    def __init__(self, tape: Tape) -> None:
        self.loops: list[Loop] = []
        self.steps: dict[Scope | None, tuple[Step, ...]] = {None: ()}
        self.names: dict[Scope | None, str] = {None: ""}
        self.called: Counter[tuple[Scope | None, str]] = Counter()
        self.numbers: dict[Scope | None, int] = {}
        self.readers: dict[Entry, list[Entry]] = {}
        # A step may be entered twice: the two scopes are one step, and what stands in them has one parent.
        self.same: dict[tuple[Scope | None, int], Scope] = {}
        for entry in tape.entries:
            for number, t in self._enter(entry.scope):
                self.loops[number].entries.setdefault(t, []).append(entry)
        self._find_states(tape)

    def _enter(self, scope: Scope | None) -> tuple[Step, ...]:
        if scope not in self.steps:
            assert scope is not None
            for s in scope.path():
                if s in self.steps:
                    continue
                parent = self._canonical(s.parent)
                around = self.steps[parent]
                if s.step is None:
                    self.called[parent, s.name] += 1
                    count = self.called[parent, s.name]
                    name = s.name if count == 1 else f"{s.name}#{count}"
                    self.steps[s] = around
                else:
                    name = s.name
                    self.same.setdefault((parent, s.step), s)
                    if parent not in self.numbers:
                        self.numbers[parent] = len(self.loops)
                        self.loops.append(Loop(self.names[parent]))
                    self.steps[s] = (*around, (self.numbers[parent], s.step))
                self.names[s] = f"{self.names[parent]}/{name}" if self.names[parent] else name
        return self.steps[scope]

    def _canonical(self, scope: Scope | None) -> Scope | None:
        if scope is None or scope.step is None:
            return scope
        return self.same[self._canonical(scope.parent), scope.step]

    def _find_states(self, tape: Tape) -> None:
        crossing: list[dict[Place, list[Entry]]] = [{} for _ in self.loops]
        outside: list[dict[Place, None]] = [{} for _ in self.loops]
        for entry, place in self._reads(tape):
            made = source(place)
            if made is None:
                continue
            if entry is not None and made.primitive.name in _MOVING:
                self.readers.setdefault(made, []).append(entry)
            there = self.steps[entry.scope] if entry is not None else ()
            for depth, (number, t) in enumerate(self.steps[made.scope]):
                step = there[depth] if depth < len(there) else None
                if step == (number, t):
                    continue
                if entry is not None and step is not None and step[0] == number:
                    crossing[number].setdefault(place, []).append(entry)
                else:
                    outside[number].setdefault(place)
                break
        for loop, across, read in zip(self.loops, crossing, outside, strict=True):
            ways = {place: set().union(*map(self._ways, entries)) for place, entries in across.items()}
            _States(loop, ways, read).name()

    def _ways(self, reader: Entry) -> set[str]:
        """How an entry of another step reads a state: elementwise, mixed with others, or not at all."""
        found = set()
        step, stack = self.steps[reader.scope], [reader]
        while stack:
            entry = stack.pop()
            if entry.primitive.name in _MOVING:
                stack += [e for e in self.readers.get(entry, ()) if self.steps[e.scope] == step]
            else:
                found.add("elementwise" if entry.primitive.elementwise else "mixed")
        return found

    def _reads(self, tape: Tape) -> Iterator[tuple[Entry | None, Place]]:
        """Who reads what; None reads what the tape is the tape of."""
        for entry in tape.entries:
            for place in entry.parents:
                if place is not None and not isinstance(place, Leaf):
                    yield entry, place
        for place in tape.places:
            yield None, place


_MOVING = {"concatenate", "getitem", "split", "stack", "take", "unstack", "where"}
"""Operations that move a state's rows: for sequences that end or begin, or beside an input."""


class _States:
    """The states of one loop, to be named.

    Parameters
    ----------
    loop : Loop
    crossing : dict of Place to set of str
        Each place that another step reads, and how; not at all, if it is only moved on.
    outside : dict of Place to None
        What is read from outside of the loop.
    """

    def __init__(self, loop: Loop, crossing: dict[Place, set[str]], outside: dict[Place, None]) -> None:
        self.loop = loop
        # What is only moved on is no state: rows of the last output, kept for sequences that have ended.
        self.crossing = {place: ways for place, ways in crossing.items() if ways}
        self.outside = outside
        self.step = {entry: t for t, entries in loop.entries.items() for entry in entries}

    def name(self) -> None:
        by_step: dict[int, list[Place]] = {}
        for place in self.crossing:
            by_step.setdefault(self.step[_made(place)], []).append(place)
        count = max((len(places) for places in by_step.values()), default=0)
        for t in self.loop.entries:
            places = sorted(by_step.get(t, ()), key=_order)
            for name, place in self._named(places, count):
                self.loop.states.setdefault(name, {})[t] = place
        self._find_last()

    def _named(self, places: list[Place], count: int) -> list[tuple[str, Place]]:
        if count == 1:
            return [("h", place) for place in places]
        mixed = [place for place in places if "mixed" in self.crossing[place]]
        if count == 2 and len(mixed) == 1:
            return [("h" if place is mixed[0] else "c", place) for place in places]
        if len(places) < count:
            return []  # which of them are missing cannot be said
        return [(f"s{k}", place) for k, place in enumerate(places, 1)]

    def _find_last(self) -> None:
        """The states of steps that no other step reads: the last one, above all."""
        cores = {t: _core(entries) for t, entries in self.loop.entries.items()}
        layouts = {t: tuple(entry.primitive.name for entry in core) for t, core in cores.items()}
        for name in list(self.loop.states) or ["h"]:
            by_step = self.loop.states.setdefault(name, {})
            known = {layouts[t]: _position(cores[t], place) for t, place in by_step.items()}
            for t, core in cores.items():
                if t not in by_step:
                    place = _at(core, known.get(layouts[t]))
                    if place is None and name == "h":
                        place = self._only_output(t)
                    if place is not None:
                        by_step[t] = place
        self.loop.states = {name: by_step for name, by_step in self.loop.states.items() if by_step}

    def _only_output(self, t: int) -> Place | None:
        read = [place for place in self.outside if self.step[_made(place)] == t]
        return read[0] if len(read) == 1 else None


def _made(place: Place) -> Entry:
    entry = source(place)
    assert entry is not None
    return entry


def _order(place: Place) -> tuple[int, int]:
    return _made(place).number, place.index if isinstance(place, Output) else 0


def _core(entries: list[Entry]) -> list[Entry]:
    """A step's entries from the first on that does more than move rows, which like steps need not all do."""
    moving = itertools.takewhile(lambda entry: entry.primitive.name in _MOVING, entries)
    return entries[sum(1 for _ in moving) :]


def _position(core: list[Entry], place: Place) -> tuple[int, int | None] | None:
    """Where a state stands among a step's entries, and which output it is of several."""
    made = _made(place)
    return (core.index(made), place.index if isinstance(place, Output) else None) if made in core else None


def _at(core: list[Entry], position: tuple[int, int | None] | None) -> Place | None:
    if position is None:
        return None
    entry, index = core[position[0]], position[1]
    return entry if index is None else Output(entry, index, entry.shape[index], entry.dtype[index])
