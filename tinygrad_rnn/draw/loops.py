"""The loops over time on a tape, and the states that go from step to step in them.

The tape knows scopes, not states. A state is what the scope of one step computes and that of another reads;
in the last step, which nothing follows, it is what stands where the state stood in a step like it.
"""

from __future__ import annotations

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
    """

    def __init__(self, tape: Tape) -> None:
        self.loops: list[Loop] = []
        self.steps: dict[Scope | None, tuple[Step, ...]] = {None: ()}
        self.names: dict[Scope | None, str] = {None: ""}
        self.called: Counter[tuple[Scope | None, str]] = Counter()
        self.numbers: dict[Scope | None, int] = {}
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
        crossing: list[dict[Place, set[str]]] = [{} for _ in self.loops]
        outside: list[dict[Place, None]] = [{} for _ in self.loops]
        for entry, place in self._reads(tape):
            made = source(place)
            if made is None:
                continue
            there = self.steps[entry.scope] if entry is not None else ()
            for depth, (number, t) in enumerate(self.steps[made.scope]):
                step = there[depth] if depth < len(there) else None
                if step == (number, t):
                    continue
                if entry is not None and step is not None and step[0] == number:
                    crossing[number].setdefault(place, set()).add(_way(entry))
                else:
                    outside[number].setdefault(place)
                break
        for loop, across, read in zip(self.loops, crossing, outside, strict=True):
            _States(loop, across, read).name()

    def _reads(self, tape: Tape) -> Iterator[tuple[Entry | None, Place]]:
        """Who reads what; None reads what the tape is the tape of."""
        for entry in tape.entries:
            for place in entry.parents:
                if place is not None and not isinstance(place, Leaf):
                    yield entry, place
        for place in tape.places:
            yield None, place


def _way(entry: Entry) -> str:
    """How an entry reads a state: masks choose between an old and a new one."""
    if entry.primitive.name == "where":
        return "chosen"
    return "elementwise" if entry.primitive.elementwise else "mixed"


class _States:
    """The states of one loop, to be named.

    Parameters
    ----------
    loop : Loop
    crossing : dict of Place to set of str
        Each place that another step reads, and how.
    outside : dict of Place to None
        What is read from outside of the loop.
    """

    def __init__(self, loop: Loop, crossing: dict[Place, set[str]], outside: dict[Place, None]) -> None:
        self.loop = loop
        # What only masks read across steps is the last output, carried along for the sequences that ended.
        self.crossing = {place: ways for place, ways in crossing.items() if ways != {"chosen"}}
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
        layouts: dict[tuple[str, ...], dict[str, tuple[int, int | None]]] = {}
        names = list(self.loop.states) or ["h"]
        for t, entries in self.loop.entries.items():
            layout = tuple(entry.primitive.name for entry in entries)
            missing = [name for name in names if t not in self.loop.states.get(name, ())]
            if not missing:
                if layout not in layouts:
                    layouts[layout] = self._positions(t, entries)
                continue
            for name in missing:
                place = _at(entries, layouts.get(layout, {}).get(name))
                if place is None and name == "h":
                    place = self._only_output(t)
                if place is not None:
                    self.loop.states.setdefault(name, {})[t] = place

    def _positions(self, t: int, entries: list[Entry]) -> dict[str, tuple[int, int | None]]:
        """Where each state stands among a step's entries, and which output it is of several."""
        where = {entry: k for k, entry in enumerate(entries)}
        found = {}
        for name, by_step in self.loop.states.items():
            place = by_step[t]
            found[name] = (where[_made(place)], place.index if isinstance(place, Output) else None)
        return found

    def _only_output(self, t: int) -> Place | None:
        read = [place for place in self.outside if self.step[_made(place)] == t]
        return read[0] if len(read) == 1 else None


def _made(place: Place) -> Entry:
    entry = source(place)
    assert entry is not None
    return entry


def _order(place: Place) -> tuple[int, int]:
    return _made(place).number, place.index if isinstance(place, Output) else 0


def _at(entries: list[Entry], position: tuple[int, int | None] | None) -> Place | None:
    if position is None:
        return None
    entry, index = entries[position[0]], position[1]
    return entry if index is None else Output(entry, index, entry.shape[index], entry.dtype[index])
