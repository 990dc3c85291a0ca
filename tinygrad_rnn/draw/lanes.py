"""What the views of cells are made of: loops as lanes of boxes, modules as bars, and who reads whom.

What stands between loops is either a module, or wiring that takes sequences apart and puts them together
again. Wiring is followed: what a step reads is what another step computed, however it got there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..tape import Entry, Leaf, Output, Place, source_of
from .loops import Loop
from .ops import plain_number
from .parts import Part, part_read
from .selection import Selection
from .states import WIRING, loops
from .unrolled import subscripted
from .view import Point

Source = tuple[str, int]
"""Where something comes from: a step ``("step", frame)``, a module ``("module", frame)``, or the entries that
lie in no module, ``("rest", 0)``."""


Item = int | Source
"""A lane, by its identity, or a box."""


@dataclass(slots=True, eq=False)
class Lane:
    """A loop in its row."""

    around: int | None
    steps: list[int]
    loop: Loop
    columns: dict[int, float] = field(default_factory=dict)
    after: Lane | None = None

    def named(self, name: str, index: object) -> str:
        """A letter with an index, and a prime for each lane before this one in its row: h′₀ in a decoder."""
        before = self.after
        while before is not None:
            name, before = name + "\N{PRIME}", before.after
        return subscripted(name, index)


class Lanes:
    """What a tape has in boxes, and where they go.

    Parameters
    ----------
    selection : Selection
    rolled : bool
        Whether all steps of a loop are one box.

    Attributes
    ----------
    lanes : list of Lane
    of_step : dict of int to Lane
    boxes : dict of Source to list of Entry
        What stands in each box.
    reads : dict of Source to (dict of (Source, Place) to bool)
        What each box reads, from which box and which place, and whether that is where it reads a state.
    given : set of int
        The steps that are given data.
    joints : dict of (tuple of int) to str
        Lanes whose outputs are put together, and the primitive that does it.
    row, x_row, joint_rows : dict
        The rows of lanes and other boxes, of data, and of what puts lanes together.
    spans : dict of Source to (float, float)
        The first and the last column of each box that is no step.
    """

    def __init__(self, selection: Selection, rolled: bool) -> None:
        self.selection, self.rolled = selection, rolled
        self.unrolled = selection.unrolled
        self.given: set[int] = set()
        self.joints: dict[tuple[int, ...], str] = {}
        self.joint_rows: dict[tuple[int, ...], float] = {}
        self.spans: dict[Source, Point] = {}
        self.top = [next(iter(steps), None) for steps in self.unrolled.steps_of]
        self.lanes = self._lanes()
        self.of_step = {step: lane for lane in self.lanes for step in self.unrolled.loops[lane.around]}
        self.looped = {k for lane in self.lanes for k in self.unrolled.path(lane.around)}
        self.boxes: dict[Source, list[Entry]] = {}
        self.reads: dict[Source, dict[tuple[Source, Place], bool]] = {}
        self._read()
        self._levels()
        self._rows()
        for box in self.boxes:
            if box[0] != "step":
                self.spans[box] = self._span(box)
        self._lower()

    # ---- what there is

    def _lanes(self) -> list[Lane]:
        found = []
        for around, loop in loops(self.unrolled).items():
            if around is not None and self.top[around] is not None:
                continue  # a loop within a step is part of that step's box
            shown = self.selection.open_steps(around)
            if shown:
                found.append(Lane(around, self.unrolled.loops[around] if self.rolled else shown, loop))
        return found

    def _home(self, entry: Entry) -> Source | None:
        """The box that an entry belongs to; None for wiring."""
        at = self.unrolled.at(entry)
        if at is not None and self.top[at] is not None and self.top[at] in self.of_step:
            return "step", self.top[at]  # type: ignore[return-value]
        path = [k for k in self.unrolled.path(at) if k not in self.looped]
        if path:
            return "module", path[-1]
        if entry in self.unrolled.results or not self._is_wiring(entry):
            return "rest", 0
        return None

    def _is_wiring(self, entry: Entry) -> bool:
        return entry.number < self.last_step or entry.primitive.name in WIRING

    def _read(self) -> None:
        unrolled = self.unrolled
        inside = (frame.entries for k, frame in enumerate(unrolled.frames) if self.top[k] in self.of_step)
        self.last_step = max((entries[-1].number for entries in inside if entries), default=0)
        for entry in self.unrolled.tape.entries:
            home = self._home(entry)
            if home is None:
                continue
            self.boxes.setdefault(home, []).append(entry)
            read = self.reads.setdefault(home, {})
            scope = entry.scope
            for k, place in enumerate(entry.parents):
                if type(place) is Leaf:
                    continue
                if place is not None and scope is not None and source_of(place).scope is scope:
                    continue
                if place is not None:
                    found = self._trace(place)
                    read.update(dict.fromkeys((what for what in found if what[0] != home), False))
                    if home[0] == "step" and not found and isinstance(place, Output):
                        self.given.add(home[1])
                elif home[0] == "step" and place is None and self._is_data(entry, k):
                    self.given.add(home[1])
                if home[0] == "step" and self._is_state(entry, k) and place is not None:
                    read.update(dict.fromkeys(self._trace(place), True))

    def _is_data(self, entry: Entry, k: int) -> bool:
        return not plain_number(entry.known[k]) and not self._is_state(entry, k)

    def _is_state(self, entry: Entry, k: int) -> bool:
        """Whether an input is where the steps of a loop read a state."""
        loop = self.of_step[self.unrolled.steps(entry)[0]].loop
        if entry in loop.moved and entry.primitive.name == "concatenate" and entry.parents[k] is None:
            return True  # the states of the sequences that begin in this step, below those of the others
        return loop.state(entry, k) is not None

    def _trace(self, place: Place) -> list[tuple[Source, Place]]:
        """The boxes that a place comes from through wiring, and what they give.

        Wiring that takes a sequence apart and wiring that had put one together are followed along the steps
        that were taken.
        """
        found: dict[tuple[Source, Place], None] = {}
        stack: list[tuple[Place, Part | None]] = [(place, None)]
        seen = set()
        joint = ""
        while stack:
            at, part = stack.pop()
            if isinstance(at, Leaf) or (at, part) in seen:
                continue
            seen.add((at, part))
            entry = source_of(at)
            home = self._home(entry)
            if home is not None:
                found[home, at] = None
                continue
            parents = entry.parents
            if part is not None and part.put_together_by(entry):
                parents, part = tuple(parents[k] for k in part.positions), None
            else:
                joint = joint or (entry.primitive.name if len(parents) > 1 else "")
                part = part_read(at, part)
            stack += [(p, part) for p in reversed(parents) if p is not None]
        lanes = {id(self.of_step[box[1]]): None for (box, _) in found if box[0] == "step"}
        if len(lanes) > 1:
            self.joints.setdefault(tuple(sorted(lanes)), joint)
        return list(found)

    # ---- where it goes

    def _levels(self) -> None:
        """How many boxes stand below each one, at least."""
        self.level: dict[Item, int] = {}
        for box in self.boxes:
            item = self.item(box)
            below = [
                self.level.get(self.item(what), -1)
                for (what, _), is_state in self.reads[box].items()
                if not is_state and self.item(what) != item
            ]
            self.level[item] = max(self.level.get(item, 0), max(below, default=-1) + 1)
        for lane in self.lanes:
            sources = {
                (other, is_state)
                for step in lane.steps
                for (what, _), is_state in self.reads.get(("step", step), {}).items()
                if what[0] == "step" and (other := self.item(what)) != id(lane)
            }
            states = {other for other, is_state in sources if is_state}
            others = {other for other, is_state in sources if not is_state}
            if len(states) == 1 and not states & others:
                lane.after = next(x for x in self.lanes if id(x) in states)

    def item(self, box: Source) -> Item:
        return id(self.of_step[box[1]]) if box[0] == "step" else box

    def _rows(self) -> None:
        """A row for each lane, each module, and what loops are given, from the bottom up."""
        self.row: dict[Item, float] = {}
        # Lanes one behind the other hand over states, they are not joined.
        follow = {id(lane) for lane in self.lanes if lane.after is not None}
        self.joints = {joint: name for joint, name in self.joints.items() if not follow & set(joint)}
        self.x_row: dict[int, float] = {}
        by_item = {id(lane): lane for lane in self.lanes}
        groups: dict[int | None, float] = {}
        row = 0.0
        for item in sorted(self.level, key=lambda item: self.level[item]):
            lane = by_item.get(item) if isinstance(item, int) else None
            if lane is None or lane.after is None:
                if lane is not None and self.given & set(self.unrolled.loops[lane.around]):
                    row = self._give(lane, groups, row)
                self.row[item] = row
                row += 1
                for joint in self.joints:
                    if joint not in self.joint_rows and all(k in self.row for k in joint):
                        self.joint_rows[joint] = row
                        row += 1
        for lane in self.lanes:
            start = 0.0
            if lane.after is not None:
                before = lane.after
                self.row[id(lane)] = self.row[id(before)]
                if self.given & set(self.unrolled.loops[lane.around]):
                    self.x_row[id(lane)] = self.row[id(before)] - 1
                start = max(before.columns.values()) + (1.9 if self.rolled else 1.4)
            shown = [None] if self.rolled else self._shown(lane)
            lane.columns = {k: start + n for n, k in enumerate(shown)}  # type: ignore[misc]

    def _lower(self) -> None:
        """Modules that begin stand right below what reads them, beside each other where they can."""
        for box in self.boxes:
            if box[0] == "step" or self.reads[box]:
                continue
            readers = [b for b, read in self.reads.items() if any(what == box for what, _ in read)]
            rows = [self.row[self.item(b)] for b in readers]
            row, span = min(rows, default=1.0) - 1, self.spans[box]
            others = [self.spans[b] for b in self.spans if b != box and self.row[b] == row]
            taken = any(span[0] <= right and left <= span[1] for left, right in others)
            if not taken and row not in self.x_row.values() and row not in self.joint_rows.values():
                self.row[box] = row

    def _give(self, lane: Lane, groups: dict[int | None, float], row: float) -> float:
        """Lanes side by side in one module are given the same sequence, and have one row for it."""
        parent = None if lane.around is None else self.unrolled.frames[lane.around].parent
        if parent in groups and parent is not None:
            self.x_row[id(lane)] = groups[parent]
            return row
        self.x_row[id(lane)] = groups[parent] = row
        return row + 1

    def _shown(self, lane: Lane) -> list[int]:
        """The steps that are drawn, and for each gap the first of those left out."""
        closed = self.selection.closed
        found: list[int] = []
        for step in self.unrolled.loops[lane.around]:
            if closed[step] is None or not found or closed[step] != closed[found[-1]]:
                found.append(step)
        return found

    def column(self, lane: Lane, step: int) -> float:
        if self.rolled:
            return min(lane.columns.values())
        closed = self.selection.closed[step]
        if closed is None:
            return lane.columns[step]
        return next(column for k, column in lane.columns.items() if self.selection.closed[k] == closed)

    def _span(self, box: Source) -> Point:
        """The columns of the steps that a box reads, or that read it, or of the boxes that it reads."""
        columns = [
            self.column(self.of_step[what[1]], what[1]) for what, _ in self.reads[box] if what[0] == "step"
        ]
        if not columns:
            readers = [b for b, read in self.reads.items() if any(what == box for what, _ in read)]
            columns = [self.column(self.of_step[b[1]], b[1]) for b in readers if b[0] == "step"]
        if not columns:
            columns = [column for what, _ in self.reads[box] for column in self.spans.get(what, ())]
        return min(columns, default=0.0), max(columns, default=0.0)
