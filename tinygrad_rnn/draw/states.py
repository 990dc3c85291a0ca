"""The loops over time on a tape, and the states that go from step to step in them.

The tape knows scopes, not states. A state is what one step computes and another computes with; in the last
step, which nothing follows, it is what stands where the state stood in a step like it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from ..tape import Entry, Output, Place, source_of
from .loops import Loop, spot
from .unrolled import Unrolled

WIRING = frozenset(
    {"broadcast_to", "concatenate", "expand_dims", "flip", "getitem", "moveaxis", "reshape", "scatter"}
    | {"split", "squeeze", "stack", "swapaxes", "take", "transpose", "unstack", "where"}
)
"""Primitives that hand values on as they are."""


def loops(unrolled: Unrolled) -> dict[int | None, Loop]:
    """The loops of a tape, by the frames around them, in order of recording; of nested ones the outer first.

    Parameters
    ----------
    unrolled : Unrolled

    Returns
    -------
    dict of (int or None) to Loop
    """
    return _Finder(unrolled).loops


class _Finder:
    """Loops in the making.

    Attributes
    ----------
    readers : dict of Entry to list of Entry
        Who reads what is wiring.
    crossing : dict of Loop to (dict of Place to list of Entry)
        What other steps of a loop read, and who there does.
    outside : dict of Loop to (dict of int to (dict of Place to None))
        What of each step is read from outside of the loop.
    """

    def __init__(self, unrolled: Unrolled) -> None:
        self.unrolled = unrolled
        frames = unrolled.frames
        self.loops = {}
        for around, steps in unrolled.loops.items():
            path = "" if around is None else frames[around].path
            by_time = {unrolled.time(k): k for k in sorted(steps)}
            self.loops[around] = Loop(path, by_time, frames[steps[0]].owner)
        for entry in unrolled.tape.entries:
            for step in unrolled.steps(entry):
                loop, t = self.loops[frames[step].parent], unrolled.time(step)
                loop.entries.setdefault(t, []).append(entry)
                loop.time[entry] = t
        self.readers: dict[Entry, list[Entry]] = {}
        self.crossing: dict[Loop, dict[Place, list[Entry]]] = {loop: {} for loop in self.loops.values()}
        self.outside: dict[Loop, dict[int, dict[Place, None]]] = {loop: {} for loop in self.loops.values()}
        for reader, place in self._reads():
            self._sort(reader, place)
        for loop in self.loops.values():
            self._find_moved(loop)
            # What is only moved on is no state: rows of the last output, kept for sequences that have ended.
            ways = {place: set().union(*map(self._ways, who)) for place, who in self.crossing[loop].items()}
            _name_states(loop, {place: found for place, found in ways.items() if found})
            self._find_last(loop)

    def _reads(self) -> Iterator[tuple[Entry | None, Place]]:
        """Who reads what; None reads what the tape is the tape of."""
        for entry in self.unrolled.tape.entries:
            for place in entry.parents:
                if isinstance(place, (Entry, Output)):
                    yield entry, place
        for place in self.unrolled.tape.places:
            if isinstance(place, (Entry, Output)):
                yield None, place

    def _sort(self, reader: Entry | None, place: Place) -> None:
        """Find the loop, if there is one, in which a place is read from another step, or out of which."""
        unrolled, made = self.unrolled, source_of(place)
        if reader is not None and made.primitive.name in WIRING:
            self.readers.setdefault(made, []).append(reader)
        here, there = unrolled.steps(made), () if reader is None else unrolled.steps(reader)
        if here == there[: len(here)]:
            return
        left = next(k for k, step in enumerate(here) if there[k : k + 1] != (step,))
        around = unrolled.frames[here[left]].parent
        loop = self.loops[around]
        if reader is not None and left < len(there) and unrolled.frames[there[left]].parent == around:
            self.crossing[loop].setdefault(place, []).append(reader)
        else:
            self.outside[loop].setdefault(loop.time[made], {})[place] = None

    def _ways(self, reader: Entry) -> set[str]:
        """How an entry of another step reads a state: elementwise, mixed with others, or not at all."""
        found = set()
        steps, stack = self.unrolled.steps(reader), [reader]
        while stack:
            entry = stack.pop()
            if entry.primitive.name in WIRING:
                stack += [e for e in self.readers.get(entry, ()) if self.unrolled.steps(e) == steps]
            else:
                found.add("elementwise" if entry.primitive.elementwise else "mixed")
        return found

    def _find_moved(self, loop: Loop) -> None:
        for t, entries in loop.entries.items():
            leading = list(itertools.takewhile(lambda entry: entry.primitive.name in WIRING, entries))
            for entry in leading:
                for place in entry.parents:
                    state = loop.moved.get(place, place)  # type: ignore[arg-type]
                    if state is not None and loop.crosses(state, t) and entry.shape[1:] == state.shape[1:]:
                        loop.moved[entry] = state
            for entry in reversed(leading):
                # Rows of the initial state, for sequences that begin.
                who = self.readers.get(entry, ())
                if who and all(reader in loop.moved for reader in who):
                    loop.moved.setdefault(entry, loop.moved[who[0]])

    def _find_last(self, loop: Loop) -> None:
        """The states of steps that no other step reads: the last one, above all."""
        for by_step in loop.states.values():
            known = {}
            for place in by_step.values():
                entry, index = spot(place)
                if entry in loop.positions:
                    layout, k = loop.positions[entry]
                    known[layout] = k, index
            for t, core in loop.cores.items():
                if t not in by_step and loop.layouts[t] in known:
                    k, index = known[loop.layouts[t]]
                    by_step[t] = _output(core[k], index)
        # Of the last step, and of steps that detach their state: what is read of them, if it is one place.
        if "h" in loop.states or not loop.states:
            for t, places in self.outside[loop].items():
                if len(places) == 1:
                    loop.states.setdefault("h", {}).setdefault(t, *places)


def _name_states(loop: Loop, ways: dict[Place, set[str]]) -> None:
    by_step: dict[int, list[Place]] = {t: [] for t in loop.entries}
    for place in sorted(ways, key=lambda place: (source_of(place).number, spot(place)[1])):
        by_step[loop.time[source_of(place)]].append(place)
    count = max(map(len, by_step.values()), default=0)
    full = [
        ["mixed" in ways[place] for place in places] for places in by_step.values() if len(places) == count
    ]
    told_apart = count == 2 and all(sum(mixed) == 1 for mixed in full)
    for t, places in by_step.items():
        if count == 1:
            names = ["h"]
        elif told_apart:
            names = ["h" if "mixed" in ways[place] else "c" for place in places]
        elif len(places) == count:
            names = [f"s{k}" for k in range(1, count + 1)]
        else:
            continue  # which of them are missing cannot be said
        for name, place in zip(names, places, strict=False):
            loop.states.setdefault(name, {})[t] = place


def _output(entry: Entry, index: int) -> Place:
    if not entry.primitive.multiple:
        return entry
    return Output(entry, index, entry.shape[index], entry.dtype[index])
