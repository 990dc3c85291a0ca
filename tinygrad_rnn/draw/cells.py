"""One box per cell and time step: layers as rows, time as columns, states as arrows between them.

What stands between loops is either a module, and drawn as a bar over the steps that it reads, or wiring that
takes sequences apart and puts them together again. Wiring is not drawn: an arrow goes from the step that
computed something to the step that reads it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..tape import Place, source_of
from .lanes import Lane, Lanes, Source
from .metrics import node_size
from .selection import Selection
from .states import WIRING
from .unrolled import counted
from .view import Edge, Node, Point, View

_BETWEEN = 0.14
"""Half the distance between the arrows of two states, in rows."""

_GAPS = 30.0, 32.0
"""What arrows need between boxes, in points."""


def cells(selection: Selection, describe: Callable[[Any], str]) -> View:
    """The view with a box for each step of each loop; see `ops.ops` for the arguments."""
    return _Cells(selection, describe, rolled=False).view


def rolled(selection: Selection, describe: Callable[[Any], str]) -> View:
    """The view with a box for each loop, whose states go back into it; see `ops.ops` for the arguments."""
    return _Cells(selection, describe, rolled=True).view


class _Cells(Lanes):
    """The view in the making."""

    def __init__(self, selection: Selection, describe: Callable[[Any], str], rolled: bool) -> None:
        super().__init__(selection, rolled)
        self.describe = describe
        self.tape = self.unrolled.tape
        self.view = View()
        self.x_keys: set[str] = set()
        self.risen: set[tuple[str, str]] = set()
        self.drawn: set[tuple[str, str, str, str]] = set()
        for box, entries in self.boxes.items():
            self.view.stands.update((self.tape.numbers[entry], [self._key(box)]) for entry in entries)
        self._draw()
        boxes = [node_size(node) for node in self.view.nodes if node.kind != "text"]
        narrow = [node_size(node)[0] for node in self.view.nodes if node.kind == "cell"]
        width = max([136.0 if self.joints else 104.0, *(w + _GAPS[0] for w in narrow)])
        self.view.unit = width, max([78.0, *(height + _GAPS[1] for _, height in boxes)])

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
                return f"{self.unrolled.prefix(lane.around)}cell"
            closed = self.selection.closed[box[1]]
            return self.unrolled.frames[box[1]].key if closed is None else f"{closed}.gap"
        return self.unrolled.frames[box[1]].key if box[0] == "module" else "outside"

    def _title(self, lane: Lane) -> str:
        step = lane.steps[0]
        owner = self.unrolled.frames[step].owner
        if owner is not None:
            return type(owner).__name__.removesuffix("Cell") or type(owner).__name__
        return "step" if lane.around is None else self.unrolled.frames[lane.around].title

    def _draw_lane(self, lane: Lane) -> None:
        row, title = self.row[id(lane)], self._title(lane)
        padded = lane.loop.padded()
        for step, column in lane.columns.items():
            if self.rolled:
                step = lane.steps[0]
            key = self._key(("step", step))
            entries = self.boxes.get(("step", step), [])
            closed = self.selection.closed[step]
            if closed is not None and not self.rolled:
                count = self.selection.gaps[closed][3]
                node = Node(key, "gap", "⋯", counted(count, "step"), at=(column, row))
            else:
                t = "t" if self.rolled else str(self.unrolled.time(step))
                last = entries[-1]
                told = f"{title}, step {t}: {len(entries)} operations"
                detail = f"t = {t}" if not self.rolled else counted(len(lane.steps), "step")
                node = Node(key, "cell", title, detail, told, at=(column, row))
                node.detail = "\n".join(filter(None, [node.detail, self.describe(last)]))
                node.result = any(e in self.unrolled.results for e in entries)
                node.entry = self.tape.numbers[last]
                node.mark = "padded" if step in padded and not self.rolled else ""
            self.view.nodes.append(node)
        name = "" if lane.around is None else self.unrolled.frames[lane.around].key
        if name:
            left = min(lane.columns.values()) - 0.62
            at = (left - 0.75 if lane.after is None else left, row + (0.0 if lane.after is None else 0.62))
            title = ".".join(name.split(".")[-2:])
            self.view.nodes.append(Node(f"{name}.label", "text", title, tooltip=name, at=at))
        if id(lane) in self.x_row:
            self._draw_given(lane)

    def _draw_given(self, lane: Lane) -> None:
        row = self.x_row[id(lane)]
        for step, column in lane.columns.items():
            step = lane.steps[0] if self.rolled else step
            if step not in self.given or (self.selection.closed[step] is not None and not self.rolled):
                continue
            t = "t" if self.rolled else self.unrolled.time(step)
            parent = None if lane.around is None else self.unrolled.frames[lane.around].parent
            around = self.unrolled.prefix(lane.around if parent is None else parent)
            key = f"{around}x.{t if self.rolled else f't{t:03d}'}"
            if key not in self.x_keys:
                self.x_keys.add(key)
                node = Node(
                    key, "data", lane.named("x", t), tooltip=f"the input of step {t}", at=(column, row)
                )
                self.view.nodes.append(node)
            self._up(key, (column, row), self._key(("step", step)), (column, self.row[id(lane)]), "")

    def _draw_box(self, box: Source) -> None:
        entries = self.boxes[box]
        left, right = self.spans[box]
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

    def _connect(self, lane: Lane) -> None:
        """What the steps of a lane read."""
        states = lane.loop.begins
        for step in lane.steps if self.rolled else lane.columns:
            head, column, row = self._key(("step", step)), self.column(lane, step), self.row[id(lane)]
            if self.selection.closed[step] is not None and not self.rolled:
                self._connect_gap(lane, step)
                continue
            together = self._joined(("step", step), head, (column, row))
            for (what, place), is_state in self.reads.get(("step", step), {}).items():
                tail = self._key(what)
                if what in together:
                    continue
                if what[0] == "step" and self.of_step[what[1]] is lane:
                    name = lane.loop.name(place)
                    self._carry(lane, name, states, what[1], step, place)
                elif what[0] == "step" and is_state:
                    self._hand_over(lane, what[1], step, place)
                elif what[0] == "step":
                    other = self.of_step[what[1]]
                    start = self.column(other, what[1]), self.row[id(other)]
                    self._up(tail, start, head, (column, row), self._output_label(other, what[1], place))
                else:
                    self._up(tail, (column, self.row[what]), head, (column, row), "")
            if step == next(iter(lane.loop.frames.values())) or (self.rolled and step == lane.steps[0]):
                self._begin(lane, step, states)

    def _connect_gap(self, lane: Lane, first: int) -> None:
        """Into the steps left out: the states of the step before them, in order of running."""
        closed = self.selection.closed
        run = [k for k in self.unrolled.loops[lane.around] if closed[k] == closed[first]]
        states = lane.loop.begins
        for step in run[0], run[-1]:
            for what, place in self.reads.get(("step", step), {}):
                if what[0] == "step" and self.of_step[what[1]] is lane and closed[what[1]] != closed[first]:
                    self._carry(lane, lane.loop.name(place), states, what[1], step, place)

    def _height(self, name: str, states: list[str]) -> float:
        at = states.index(name) if name in states else 0
        return _BETWEEN * (2 * at - len(states) + 1)

    def _part(self, states: list[str]) -> float:
        """Of the room that a rolled cell has beside it for one state, half the height."""
        return _BETWEEN * (0.57 if len(states) > 1 else 1)

    def _carry(self, lane: Lane, name: str, states: list[str], tail: int, head: int, place: Place) -> None:
        """A state from one step of a lane to another; h runs below c."""
        row = self.row[id(lane)]
        # c, the first of them in the alphabet, runs at the top.
        y = row - self._height(name, states)
        a, b = self.column(lane, tail), self.column(lane, head)
        tooltip = f"{self.tape.label(place)} {place.shape}"
        if self.rolled:
            forward = self.unrolled.time(tail) < self.unrolled.time(head)
            title = lane.named(name, "t-1" if forward else "t+1")
            out, part = 0.72, self._part(states)
            low = y if any(other.after is lane for other in self.lanes) else y - part
            via: tuple[Point, ...] = ((a + out, y + part), (a + out, low))
            self._edge(
                self._key(("step", tail)), self._key(("step", head)), title, tooltip, "state", via, place
            )
            return
        title = lane.named(name, self.unrolled.time(tail))
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

    def _hand_over(self, lane: Lane, tail: int, head: int, place: Place) -> None:
        """The initial state of a lane, from a step of another."""
        other = self.of_step[tail]
        states = lane.loop.begins
        name = other.loop.name(place)
        a, b = self.column(other, tail), self.column(lane, head)
        y = self.row[id(lane)] - self._height(name, states)
        # Below the loop in which the state goes back into its own box.
        y -= self._part(states) if self.rolled else 0
        label = other.named(name, "t" if self.rolled else self.unrolled.time(tail))
        via: tuple[Point, ...] = (((a + b) / 2, y),) if lane.after is other else ()
        self._edge(
            self._key(("step", tail)), self._key(("step", head)), label, self.tape.label(place), "state", via
        )

    def _begin(self, lane: Lane, step: int, states: list[str]) -> None:
        """Initial states, where they do not come from elsewhere."""
        if any(
            is_state and self.item(w) != id(lane) for (w, _), is_state in self.reads[("step", step)].items()
        ):
            return
        t = self.unrolled.time(step)
        before, _ = lane.loop.before(t)
        backwards = before > t
        column, row = self.column(lane, step), self.row[id(lane)]
        if self.rolled:
            return
        for name in states:
            y = row - self._height(name, states)
            key = f"{self._key(('step', step))}.{name}.before"
            x = column + (0.78 if backwards else -0.78)
            title = lane.named(name, before)
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
        columns: dict[tuple[float, bool], list[tuple[Source, Place]]] = {}
        for (what, place), is_state in self.reads.get(box, {}).items():
            if what[0] == "step" and self.item(what) != self.item(box):
                column = self.column(self.of_step[what[1]], what[1])
                columns.setdefault((column, is_state), []).append((what, place))
        found: set[Source] = set()
        for (column, _), sources in columns.items():
            joint = tuple(sorted({id(self.of_step[what[1]]) for what, _ in sources}))
            if joint not in self.joint_rows:
                continue
            row, name = self.joint_rows[joint], self.joints[joint]
            first = sources[0][0][1]
            t = "t" if self.rolled else f"t{self.unrolled.time(first):03d}"
            key = f"{self.unrolled.prefix(self.of_step[first].around)}{name}.{t}"
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

    def _output_label(self, lane: Lane, step: int, place: Place) -> str:
        if self.selection.closed[step] is not None and not self.rolled:
            return ""
        return lane.named(lane.loop.name(place, "y"), "t" if self.rolled else self.unrolled.time(step))

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
                x = self.column(lane, what[1])
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
        elif abs(end[0] - start[0]) > 1.01:
            # From below, as from the sides come states.
            via = ((end[0] + math.copysign(0.2, start[0] - end[0]), end[1] - 0.45),)
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
            number = 0 if carries is None else self.tape.numbers[source_of(carries)]
            self.view.edges.append(Edge(tail, head, label, tooltip, kind, entry=number, via=via))
