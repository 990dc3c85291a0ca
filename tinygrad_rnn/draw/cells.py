"""One box per cell and time step: layers as rows, time as columns, states as arrows between them.

What stands between loops is either a module, and drawn as a bar over the steps that it reads, or wiring that
takes sequences apart and puts them together again. Wiring is not drawn: an arrow goes from the step that
computed something to the step that reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..tape import Entry, Leaf, Output, Place
from .ops import constants, plain_number
from .selection import Selection
from .unrolled import WIRING, Carried, source, subscripted
from .view import Edge, Node, Point, View

_BETWEEN = 0.14
"""Half the distance between the arrows of two states, in rows."""


def cells(selection: Selection, describe: Callable[[Any], str]) -> View:
    """The view with a box for each step of each loop; see `ops.ops` for the arguments."""
    return _Cells(selection, describe, rolled=False).view


def rolled(selection: Selection, describe: Callable[[Any], str]) -> View:
    """The view with a box for each loop, whose states go back into it; see `ops.ops` for the arguments."""
    return _Cells(selection, describe, rolled=True).view


Source = tuple[str, int]
"""Where something comes from: a step ``("step", frame)``, a module ``("module", frame)``, or the entries that
lie in no module, ``("rest", 0)``."""


Item = int | Source
"""A lane, by its identity, or a box."""


@dataclass(slots=True, eq=False)
class _Lane:
    """A loop in its row."""

    loop: int | None
    steps: list[int]
    carried: Carried
    columns: dict[int, float] = field(default_factory=dict)
    after: _Lane | None = None


class _Cells:
    """The view in the making."""

    def __init__(self, selection: Selection, describe: Callable[[Any], str], rolled: bool) -> None:
        self.selection, self.describe, self.rolled = selection, describe, rolled
        self.unrolled = selection.unrolled
        self.tape = self.unrolled.tape
        self.view = View()
        self.positions: dict[int, dict[Entry, int]] = {}
        self.given: set[int] = set()
        self.joints: dict[tuple[int, ...], str] = {}
        self.joint_rows: dict[tuple[int, ...], float] = {}
        self.spans: dict[Source, Point] = {}
        self.x_keys: set[str] = set()
        self.risen: set[tuple[str, str]] = set()
        self.drawn: set[tuple[str, str, str, str]] = set()
        self.top: list[int | None] = []
        for k, frame in enumerate(self.unrolled.frames):
            outer = self.unrolled.around(k, self.top)
            self.top.append(outer if outer is not None or frame.step is None else k)
        self.lanes = self._lanes()
        self.of_step = {step: lane for lane in self.lanes for step in self.unrolled.loops[lane.loop]}
        self.looped = {k for lane in self.lanes for k in self.unrolled.path(lane.loop)}
        self.boxes: dict[Source, list[Entry]] = {}
        self.reads: dict[Source, dict[tuple[Source, Place], bool]] = {}
        self._read()
        self._levels()
        self._rows()
        self._draw()
        self.view.unit = 136.0 if self.joints else 104.0, 78.0

    # ---- what there is

    def _lanes(self) -> list[_Lane]:
        found = []
        for loop, steps in self.unrolled.loops.items():
            if loop is not None and self.top[loop] is not None:
                continue  # a loop within a step is part of that step's box
            shown = self.selection.open_steps(loop)
            if shown:
                found.append(_Lane(loop, steps if self.rolled else shown, self.unrolled.carried(loop, shown)))
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
        for entry in self.tape.entries:
            home = self._home(entry)
            if home is None:
                continue
            self.boxes.setdefault(home, []).append(entry)
            self.view.stands[self.tape.numbers[entry]] = [self._key(home)]
            read = self.reads.setdefault(home, {})
            scope = entry.scope
            for k, place in enumerate(entry.parents):
                if type(place) is Leaf:
                    continue
                if place is not None and scope is not None and source(place).scope is scope:
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
        return not plain_number(constants(entry)[k]) and not self._is_state(entry, k)

    def _is_state(self, entry: Entry, k: int) -> bool:
        """Whether an input is where the steps of a loop read a state."""
        step = self.unrolled.step(entry)
        if step not in self.of_step:
            return False
        position = self.positions.get(step)
        if position is None:
            own = self.unrolled.own[step]
            position = self.positions[step] = {e: n for n, e in enumerate(own)}
        slots = self.of_step[step].carried.slots
        return (self.unrolled.sequence(step), position[entry], k) in slots

    def _trace(self, place: Place) -> frozenset[tuple[Source, Place]]:
        """The boxes that a place comes from through wiring, and what they give.

        Wiring that takes a sequence apart and wiring that had put one together are followed along one step.
        """
        found: dict[tuple[Source, Place], None] = {}
        stack: list[tuple[Place, tuple[int, int] | None]] = [(place, None)]
        seen = set()
        joint = ""
        while stack:
            at, part = stack.pop()
            if isinstance(at, Leaf) or (at, part) in seen:
                continue
            seen.add((at, part))
            entry = source(at)
            home = self._home(entry)
            if home is not None:
                found[home, at] = None
                continue
            if isinstance(at, Output):
                part = (at.index, len(entry.shape))
            parents = entry.parents
            if part is not None and len(parents) == part[1] > 1:
                parents, part = (parents[part[0]],), None
            elif len(parents) > 1:
                joint = joint or entry.primitive.name
            stack += [(p, part) for p in reversed(parents) if p is not None]
        lanes = {id(self.of_step[box[1]]): None for (box, _) in found if box[0] == "step"}
        if len(lanes) > 1:
            self.joints.setdefault(tuple(sorted(lanes)), joint)
        return frozenset(found)

    # ---- where it goes

    def _levels(self) -> None:
        """How many boxes stand below each one, at least."""
        self.level: dict[Item, int] = {}
        for box in self.boxes:
            item = self._item(box)
            below = [
                self.level.get(self._item(what), -1)
                for (what, _), is_state in self.reads[box].items()
                if not is_state and self._item(what) != item
            ]
            self.level[item] = max(self.level.get(item, 0), max(below, default=-1) + 1)
        for lane in self.lanes:
            sources = {
                (other, is_state)
                for step in lane.steps
                for (what, _), is_state in self.reads.get(("step", step), {}).items()
                if what[0] == "step" and (other := self._item(what)) != id(lane)
            }
            states = {other for other, is_state in sources if is_state}
            others = {other for other, is_state in sources if not is_state}
            if len(states) == 1 and not states & others:
                lane.after = next(x for x in self.lanes if id(x) in states)

    def _item(self, box: Source) -> Item:
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
                if lane is not None and self.given & set(self.unrolled.loops[lane.loop]):
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
                if self.given & set(self.unrolled.loops[lane.loop]):
                    self.x_row[id(lane)] = self.row[id(before)] - 1
                start = max(before.columns.values()) + 1.4
            shown = [None] if self.rolled else self._shown(lane)
            lane.columns = {k: start + n for n, k in enumerate(shown)}  # type: ignore[misc]
        self._lower()

    def _lower(self) -> None:
        """Modules that begin stand right below what reads them, beside each other where they can."""
        for box in self.boxes:
            if box[0] == "step" or self.reads[box]:
                continue
            readers = [b for b, read in self.reads.items() if any(what == box for what, _ in read)]
            rows = [self.row[self._item(b)] for b in readers]
            self._draw_box(box, only_span=True)
            row, span = min(rows, default=1.0) - 1, self.spans[box]
            others = [self.spans[b] for b in self.spans if b != box and self.row[b] == row and b in self.row]
            taken = any(span[0] <= right and left <= span[1] for left, right in others)
            if not taken and row not in self.x_row.values() and row not in self.joint_rows.values():
                self.row[box] = row

    def _give(self, lane: _Lane, groups: dict[int | None, float], row: float) -> float:
        """Lanes side by side in one module are given the same sequence, and have one row for it."""
        parent = None if lane.loop is None else self.unrolled.frames[lane.loop].parent
        if parent in groups and parent is not None:
            self.x_row[id(lane)] = groups[parent]
            return row
        self.x_row[id(lane)] = groups[parent] = row
        return row + 1

    def _shown(self, lane: _Lane) -> list[int]:
        """The steps that are drawn, and for each gap the first of those left out."""
        closed = self.selection.closed
        found: list[int] = []
        for step in self.unrolled.loops[lane.loop]:
            if closed[step] is None or not found or closed[step] != closed[found[-1]]:
                found.append(step)
        return found

    def _column(self, lane: _Lane, step: int) -> float:
        if self.rolled:
            return min(lane.columns.values())
        closed = self.selection.closed[step]
        if closed is None:
            return lane.columns[step]
        return next(column for k, column in lane.columns.items() if self.selection.closed[k] == closed)

    # ---- drawing

    def _draw(self) -> None:
        for lane in self.lanes:
            self._draw_lane(lane)
        for box in self.boxes:
            if box[0] != "step":
                self._draw_box(box)
        for lane in self.lanes:
            self._connect(lane)
        for box in self.boxes:
            if box[0] != "step":
                self._rise(box)

    def _key(self, box: Source) -> str:
        if box[0] == "step":
            lane = self.of_step[box[1]]
            if self.rolled:
                return f"{self.unrolled.prefix(lane.loop)}cell"
            closed = self.selection.closed[box[1]]
            return self.unrolled.frames[box[1]].key if closed is None else f"{closed}.gap"
        return self.unrolled.frames[box[1]].key if box[0] == "module" else "outside"

    def _title(self, lane: _Lane) -> str:
        step = lane.steps[0]
        owner = self.unrolled.frames[step].owner
        if owner is not None:
            return type(owner).__name__.removesuffix("Cell") or type(owner).__name__
        return "step" if lane.loop is None else self.unrolled.frames[lane.loop].title

    def _draw_lane(self, lane: _Lane) -> None:
        row, title = self.row[id(lane)], self._title(lane)
        padded = self.unrolled.padded(lane.loop)
        for step, column in lane.columns.items():
            if self.rolled:
                step = lane.steps[0]
            key = self._key(("step", step))
            entries = self.boxes.get(("step", step), [])
            closed = self.selection.closed[step]
            if closed is not None and not self.rolled:
                count = self.selection.gaps[closed][3]
                node = Node(key, "gap", "⋯", f"{count} steps", at=(column, row))
            else:
                t = "t" if self.rolled else str(self.unrolled.time(step))
                last = entries[-1]
                told = f"{title}, step {t}: {len(entries)} operations"
                detail = f"t = {t}" if not self.rolled else f"{len(lane.steps)} steps"
                node = Node(key, "cell", title, detail, told, at=(column, row))
                node.detail = "\n".join(filter(None, [node.detail, self.describe(last)]))
                node.result = any(e in self.unrolled.results for e in entries)
                node.entry = self.tape.numbers[last]
                node.mark = "padded" if step in padded and not self.rolled else ""
            self.view.nodes.append(node)
        name = "" if lane.loop is None else self.unrolled.frames[lane.loop].key
        if name:
            left = min(lane.columns.values()) - 0.62
            at = (left - 0.75 if lane.after is None else left, row + (0.0 if lane.after is None else 0.62))
            title = ".".join(name.split(".")[-2:])
            self.view.nodes.append(Node(f"{name}.label", "text", title, tooltip=name, at=at))
        if id(lane) in self.x_row:
            self._draw_given(lane)

    def _draw_given(self, lane: _Lane) -> None:
        row = self.x_row[id(lane)]
        for step, column in lane.columns.items():
            step = lane.steps[0] if self.rolled else step
            if step not in self.given or (self.selection.closed[step] is not None and not self.rolled):
                continue
            t = "t" if self.rolled else self.unrolled.time(step)
            parent = None if lane.loop is None else self.unrolled.frames[lane.loop].parent
            around = self.unrolled.prefix(lane.loop if parent is None else parent)
            key = f"{around}x.{t if self.rolled else f't{t:03d}'}"
            if key not in self.x_keys:
                self.x_keys.add(key)
                node = Node(
                    key, "data", subscripted("x", t), tooltip=f"the input of step {t}", at=(column, row)
                )
                self.view.nodes.append(node)
            self._up(key, (column, row), self._key(("step", step)), (column, self.row[id(lane)]), "")

    def _draw_box(self, box: Source, only_span: bool = False) -> None:
        entries = self.boxes[box]
        columns = [
            self._column(self.of_step[what[1]], what[1]) for what, _ in self.reads[box] if what[0] == "step"
        ]
        if not columns:
            readers = [b for b, read in self.reads.items() if any(what == box for what, _ in read)]
            columns = [self._column(self.of_step[b[1]], b[1]) for b in readers if b[0] == "step"]
        if not columns:
            below = [what for what, _ in self.reads[box]]
            columns = [c for b in below for c in self.spans.get(b, ())]
        left, right = min(columns, default=0.0), max(columns, default=0.0)
        self.spans[box] = left, right
        if only_span:
            return
        if box[0] == "module":
            frame = self.unrolled.frames[box[1]]
            title, told = frame.title, frame.key
        else:
            passed_on = all(e.primitive.name in WIRING for e in entries)
            title = "output" if passed_on else entries[-1].primitive.name
            told = " → ".join(e.primitive.name for e in entries[:12])
        last = entries[-1]
        node = Node(self._key(box), "module", title, self.describe(last), told)
        node.at, node.span = ((left + right) / 2, self.row[box]), right - left + 1
        node.result = any(e in self.unrolled.results for e in entries)
        node.entry = self.tape.numbers[last]
        self.view.nodes.append(node)

    # ---- arrows

    def _connect(self, lane: _Lane) -> None:
        """What the steps of a lane read."""
        states = sorted(lane.carried.names.values())
        for step in lane.steps if self.rolled else lane.columns:
            head, column, row = self._key(("step", step)), self._column(lane, step), self.row[id(lane)]
            if self.selection.closed[step] is not None and not self.rolled:
                self._connect_gap(lane, step)
                continue
            together = self._joined(("step", step), head, (column, row))
            for (what, place), is_state in self.reads.get(("step", step), {}).items():
                tail = self._key(what)
                if what in together:
                    continue
                if what[0] == "step" and self.of_step[what[1]] is lane:
                    name = self._state_name(lane, what[1], place)
                    self._carry(lane, name, states, what[1], step, place)
                elif what[0] == "step" and is_state:
                    self._hand_over(lane, what[1], step, place)
                elif what[0] == "step":
                    other = self.of_step[what[1]]
                    start = self._column(other, what[1]), self.row[id(other)]
                    self._up(tail, start, head, (column, row), self._output_label(other, what[1], place))
                else:
                    self._up(tail, (column, self.row[what]), head, (column, row), "")
            if step == lane.carried.first or (self.rolled and step == lane.steps[0]):
                self._begin(lane, step, states)

    def _connect_gap(self, lane: _Lane, first: int) -> None:
        """Into the steps left out: the states of the step before them, in order of running."""
        closed = self.selection.closed
        run = [k for k in self.unrolled.loops[lane.loop] if closed[k] == closed[first]]
        states = sorted(lane.carried.names.values())
        for step in run[0], run[-1]:
            for what, place in self.reads.get(("step", step), {}):
                if what[0] == "step" and self.of_step[what[1]] is lane and closed[what[1]] != closed[first]:
                    self._carry(lane, self._state_name(lane, what[1], place), states, what[1], step, place)

    def _state_name(self, lane: _Lane, step: int, place: Place) -> str:
        own = self.unrolled.own.get(step, [])
        entry = source(place)
        return next((n for k, n in lane.carried.names.items() if -k <= len(own) and own[k] is entry), "s")

    def _height(self, name: str, states: list[str]) -> float:
        at = states.index(name) if name in states else 0
        return _BETWEEN * (2 * at - len(states) + 1)

    def _carry(self, lane: _Lane, name: str, states: list[str], tail: int, head: int, place: Place) -> None:
        """A state from one step of a lane to another; h runs below c."""
        row = self.row[id(lane)]
        # c, the first of them in the alphabet, runs at the top.
        y = row - self._height(name, states)
        a, b = self._column(lane, tail), self._column(lane, head)
        tooltip = f"{self.tape.label(place)} {place.shape}"
        if self.rolled:
            forward = self.unrolled.time(tail) < self.unrolled.time(head)
            title = subscripted(name, "t-1" if forward else "t+1")
            out, half = 0.72, _BETWEEN * (0.5 if len(states) > 1 else 1)
            via: tuple[Point, ...] = ((a + out, y + half), (a + out, y - half))
            self._edge(
                self._key(("step", tail)), self._key(("step", head)), title, tooltip, "state", via, place
            )
            return
        title = subscripted(name, self.unrolled.time(tail))
        middle = (a + b) / 2
        self._edge(
            self._key(("step", tail)),
            self._key(("step", head)),
            title,
            tooltip,
            "state",
            ((middle, y),),
            place,
        )

    def _hand_over(self, lane: _Lane, tail: int, head: int, place: Place) -> None:
        """The initial state of a lane, from a step of another."""
        other = self.of_step[tail]
        states = sorted(lane.carried.names.values())
        name = self._state_name(other, tail, place)
        a, b = self._column(other, tail), self._column(lane, head)
        y = self.row[id(lane)] - self._height(name, states)
        label = subscripted(name, "t" if self.rolled else self.unrolled.time(tail))
        via: tuple[Point, ...] = (((a + b) / 2, y),) if lane.after is other else ()
        self._edge(
            self._key(("step", tail)), self._key(("step", head)), label, self.tape.label(place), "state", via
        )

    def _begin(self, lane: _Lane, step: int, states: list[str]) -> None:
        """Initial states, where they do not come from elsewhere."""
        if any(
            is_state and self._item(w) != id(lane) for (w, _), is_state in self.reads[("step", step)].items()
        ):
            return
        backwards = self.unrolled.before(step)[0] > self.unrolled.time(step)
        column, row = self._column(lane, step), self.row[id(lane)]
        if self.rolled:
            return
        for name in states:
            y = row - self._height(name, states)
            key = f"{self._key(('step', step))}.{name}.before"
            x = column + (0.78 if backwards else -0.78)
            title = subscripted(name, self.unrolled.before(step)[0])
            self.view.nodes.append(Node(key, "text", title, tooltip=f"{title}: the initial state", at=(x, y)))
            self._edge(
                key,
                self._key(("step", step)),
                "",
                f"{title}: the initial state",
                "state",
                ((x + (column - x) * 0.3, y),),
            )

    def _joined(self, box: Source, head: str, at: Point | None) -> set[Source]:
        """Draw what a box reads from several lanes put together, and say which steps that are."""
        columns: dict[float, list[tuple[Source, Place]]] = {}
        for (what, place), is_state in self.reads.get(box, {}).items():
            if what[0] == "step" and not is_state and self._item(what) != self._item(box):
                columns.setdefault(self._column(self.of_step[what[1]], what[1]), []).append((what, place))
        found: set[Source] = set()
        for column, sources in columns.items():
            joint = tuple(sorted({id(self.of_step[what[1]]) for what, _ in sources}))
            if joint not in self.joint_rows:
                continue
            row, name = self.joint_rows[joint], self.joints[joint]
            first = sources[0][0][1]
            t = "t" if self.rolled else f"t{self.unrolled.time(first):03d}"
            key = f"{self.unrolled.prefix(self.of_step[first].loop)}{name}.{t}"
            if key not in self.x_keys:
                self.x_keys.add(key)
                node = Node(key, "operation", name, tooltip="the outputs of both, together", at=(column, row))
                self.view.nodes.append(node)
                for what, place in sources:
                    lane = self.of_step[what[1]]
                    label = self._output_label(lane, what[1], place)
                    self._up(self._key(what), (column, self.row[id(lane)]), key, (column, row), label)
            end = at or (column, self.row[box])
            self._up(key, (column, row), head, end, "")
            found |= {what for what, _ in sources}
        return found

    def _output_label(self, lane: _Lane, step: int, place: Place) -> str:
        if self.selection.closed[step] is not None and not self.rolled:
            return ""
        name = self._state_name(lane, step, place)
        t = "t" if self.rolled else self.unrolled.time(step)
        return subscripted("y" if name == "s" else name, t)

    def _rise(self, box: Source) -> None:
        """What a module reads."""
        node_row = self.row[box]
        left, right = self.spans[box]
        together = self._joined(box, self._key(box), None)
        for what, place in self.reads[box]:
            if what in together:
                continue
            if what[0] == "step":
                lane = self.of_step[what[1]]
                x = self._column(lane, what[1])
                self._up(
                    self._key(what),
                    (x, self.row[id(lane)]),
                    self._key(box),
                    (x, node_row),
                    self._output_label(lane, what[1], place),
                )
            else:
                x = min(max((left + right) / 2, self.spans[what][0]), self.spans[what][1])
                self._up(self._key(what), (x, self.row[what]), self._key(box), (x, node_row), "")

    def _up(self, tail: str, start: Point, head: str, end: Point, label: str) -> None:
        """An arrow upwards; past boxes in between, at their side."""
        if (tail, head) in self.risen:
            return
        self.risen.add((tail, head))
        via: tuple[Point, ...] = ()
        if abs(end[1] - start[1]) > 1.01 and self._blocked(start, end):
            # Inputs pass on the left, outputs on the right.
            way = -1 if tail in self.x_keys else 1
            side, out, into = start[0] + 0.43 * way, start[0] + 0.12 * way, end[0] + 0.12 * way
            low, high = start[1] + 0.5, end[1] - 0.5
            via = ((out, low), (side, low), (side, high), (into, high))
        elif start[0] == end[0]:
            via = ((start[0], (start[1] + end[1]) / 2),)
        self._edge(tail, head, label, "", "data", via)

    def _blocked(self, start: Point, end: Point) -> bool:
        """Whether something stands on the straight way up."""
        rows = [*self.joint_rows.values(), *(self.row[id(lane)] for lane in self.lanes)]
        return any(start[1] < row < end[1] for row in rows)

    def _edge(
        self,
        tail: str,
        head: str,
        label: str,
        tooltip: str,
        kind: Any,
        via: tuple[Point, ...],
        carries: Place | None = None,
    ) -> None:
        if (tail, head, label, kind) not in self.drawn:
            self.drawn.add((tail, head, label, kind))
            number = 0 if carries is None else self.tape.numbers[source(carries)]
            self.view.edges.append(Edge(tail, head, label, tooltip, kind, entry=number, via=via))
