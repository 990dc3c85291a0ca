"""What a loop over time is: its steps, what they read from each other, and how that is called.

`states` finds the loops of a tape and the states in them.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..tape import Entry, Place, source_of
from .initial import initial_inputs, initial_names


def spot(place: Place) -> tuple[Any, int]:
    """Where a place is computed, an entry and which of its outputs: the same for all that stand for one."""
    return source_of(place), getattr(place, "index", 0)


@dataclass(eq=False)
class Loop:
    """Steps in one scope: one layer, in one direction.

    Attributes
    ----------
    path : str
        The scope around the steps, ``lstm/l0``; the second call of a module is ``lstm#2/l0``.
    frames : dict of int to int
        For each time step, in order of recording, its position in `Unrolled.frames`.
    cell : object or None
        What is called in each step, if the scopes know it.
    entries : dict of int to list of Entry
        What was recorded in each time step, inner scopes and loops included.
    time : dict of Entry to int
        The time step of each of them.
    moved : dict of Entry to Place
        Those that only move the rows of a state at the beginning of a step, for sequences that have ended or
        begin, and that state.
    states : dict of str to (dict of int to Place)
        By name and time step. The only state is ``h``. Of two, ``h`` is the one that goes through something
        else than elementwise operations in the next step, such as a matrix product, and ``c`` the other. What
        cannot be told apart like this is ``s1``, ``s2``, ... in order of recording.
    """

    path: str
    frames: dict[int, int]
    cell: Any = None
    entries: dict[int, list[Entry]] = field(default_factory=dict)
    time: dict[Entry, int] = field(default_factory=dict)
    moved: dict[Entry | None, Place] = field(default_factory=dict)
    states: dict[str, dict[int, Place]] = field(default_factory=dict)

    def name(self, place: Place, unknown: str = "s") -> str:
        """How what a step computes is called: as the state that it is, if that can be said."""
        return self.names.get(spot(place), unknown)

    def crosses(self, place: Place | None, t: int) -> bool:
        """Whether a place is computed in another step than t."""
        return place is not None and self.time.get(source_of(place), t) != t

    def state(self, entry: Entry, k: int) -> str | None:
        """The state that an input of an entry is.

        It comes from another step. Or it comes from elsewhere, to where a step like this one reads a state:
        then it is the initial state, or, if it is a constant, perhaps one that was detached.
        """
        place = entry.parents[k]
        if self.crosses(place, self.time[entry]):
            assert place is not None
            return self.name(place)
        if place is not None and source_of(place) in self.time:
            return None
        return self.slots.get((*self.positions[entry], k)) if entry in self.positions else None

    def before(self, t: int) -> tuple[int, int | None]:
        """The number of the step that is run before one, and the same if there is such a step, else None."""
        times = self._times
        way = 1 if self.frames[times[0]] > self.frames[times[-1]] else -1
        at = bisect_left(times, t) + way
        return t + way, times[at] if 0 <= at < len(times) else None

    def padded(self) -> set[int]:
        """The steps, as frames, that run on fewer sequences than others: some have ended there."""
        last = {t: entries[-1] for t, entries in self.entries.items()}
        rows = {t: e.shape[0] for t, e in last.items() if not e.primitive.multiple and e.shape}
        most = max(rows.values(), default=0)
        return {self.frames[t] for t, count in rows.items() if count < most}

    @cached_property
    def begins(self) -> list[str]:
        """The names of the states that the first step reads."""
        if len(self.frames) == 1:
            return sorted(initial_names(self.cell))
        first = self.layouts[next(iter(self.frames))]
        read = {name for (layout, _, _), name in self.slots.items() if layout == first}
        return sorted(read or set(self.slots.values()))

    # ---- what steps have in common

    @cached_property
    def cores(self) -> dict[int, list[Entry]]:
        """The entries of each step but those that move rows, which steps that are alike need not all do."""
        return {t: [e for e in entries if e not in self.moved] for t, entries in self.entries.items()}

    @cached_property
    def layouts(self) -> dict[int, int]:
        """A number for the operations of each step: alike steps have the same."""
        numbers: dict[tuple[str, ...], int] = {}
        operations = {t: tuple(entry.primitive.name for entry in core) for t, core in self.cores.items()}
        return {t: numbers.setdefault(names, len(numbers)) for t, names in operations.items()}

    @cached_property
    def slots(self) -> dict[tuple[int, int, int], str]:
        """Which input reads which state, in steps of a layout: ``slots[layout, entry, input]``."""
        found = {}
        if len(self.frames) == 1:
            (step,) = self.cores.values()
            given = initial_inputs(self.cell, step)
            return {(*self.positions[entry], k): name for (entry, k), name in given.items()}
        for entry, (layout, k) in self.positions.items():
            for j, place in enumerate(entry.parents):
                place = self.moved.get(place, place)  # type: ignore[arg-type]
                if self.crosses(place, self.time[entry]):
                    assert place is not None
                    found[layout, k, j] = self.name(place)
        return found

    @cached_property
    def names(self) -> dict[tuple[Any, int], str]:
        """The name of each state, by where it is computed."""
        return {spot(place): name for name, by_step in self.states.items() for place in by_step.values()}

    @cached_property
    def positions(self) -> dict[Entry, tuple[int, int]]:
        """For each entry of a core its layout, and its place there."""
        return {e: (self.layouts[t], k) for t, core in self.cores.items() for k, e in enumerate(core)}

    @cached_property
    def _times(self) -> list[int]:
        return sorted(self.frames)
