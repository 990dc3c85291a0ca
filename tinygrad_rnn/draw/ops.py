"""Every operation of a tape, one column per time step.

Two things are drawn otherwise than they were recorded, or a loop over time would drown in long arrows from a
few nodes to every step. A parameter is drawn once in each step that uses it. So is a short computation on
parameters alone that was made before the loop and is used in several steps, such as the transpose of a
weight: it looks like a parameter whose name is the computation.

And a state that a step reads from another stands at the top of its column, as a node of its own. The first
step has the initial state there, a constant or not, so that all columns are alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ..listing import describe_static
from ..tape import Entry, Leaf, Output, Place, source_of
from .loops import Loop
from .selection import Selection
from .states import loops
from .unrolled import COMPILED, counted, identifier, subscripted
from .view import Cluster, Edge, Node, View

_TIMES, _MINUS = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}"
_LONGEST_NAME = 40
"""A computation on parameters whose text is longer than this many characters is drawn as it was recorded."""

_MOST_ARGUMENTS = 12

Describe = Callable[[Any], str]
"""The lines under a title, for an entry, a leaf or an array."""


def ops(selection: Selection, describe: Describe) -> View:
    """The view of all that is open in a selection.

    Parameters
    ----------
    selection : Selection
    describe : callable
        Gives the lines under the titles of entries, leaves and constants.

    Returns
    -------
    View
    """
    return _Ops(selection, describe).view


class _Ops:
    """The view in the making.

    Attributes
    ----------
    clusters : dict of int to int
        The cluster of each frame that is drawn.
    names : dict of Place to str
        What a place is called that may be drawn in several copies: leaves, and computations on leaves alone.
    sites : dict of Place to (dict of (int or None) to (int or None))
        The places drawn in copies. For each time step that uses one, or None for outside of all, the frame
        that its copy stands in; no frame for what appears only within the name of another.
    keys : dict of Place to str
        The nodes of entries.
    """

    def __init__(self, selection: Selection, describe: Describe) -> None:
        self.selection, self.describe = selection, describe
        self.unrolled = selection.unrolled
        self.tape = self.unrolled.tape
        self.view = View()
        self.clusters: dict[int, int] = {}
        self.keys: dict[Entry, str] = {}
        self.inputs: dict[tuple[int, str, Place | None], str] = {}
        self.taken: dict[str, int] = {}
        self.drawn: set[tuple[str, str, str]] = set()
        self.loops = loops(self.unrolled)
        self.copies: dict[tuple[Place, int | None], str] = {}
        self._frames()
        self.names = self._names()
        self.sites = self._sites()
        self.outputs_used = self._outputs_used()
        for entry in self.tape.entries:
            closed = selection.shape(entry)
            if closed is not None:
                self._draw_closed(entry)
                key = f"{closed}.gap" if closed in selection.gaps else closed
                self.view.stands[self.tape.numbers[entry]] = [key]
            elif entry not in self.sites:
                self._draw(entry)
                self.view.stands[self.tape.numbers[entry]] = [self._key(entry)]
        for place in self.tape.places:
            if isinstance(place, Leaf):
                self._copy(place, None)
        leaves = {leaf: -k for k, leaf in enumerate(self.tape.leaves, 1)}
        for (place, _), key in self.copies.items():
            number = leaves[place] if isinstance(place, Leaf) else self.tape.numbers[source_of(place)]
            self.view.stands.setdefault(number, []).append(key)

    # ---- frames

    def _frames(self) -> None:
        padded = {k for loop in self.loops.values() for k in loop.padded()}
        gaps = {first: (key, count) for key, (_, first, _, count) in self.selection.gaps.items()}
        for k, frame in enumerate(self.unrolled.frames):
            outer = None if frame.parent is None else self.clusters.get(frame.parent)
            closed = self.selection.closed[k]
            if closed is None:
                kind = "module" if frame.step is None else "padded" if k in padded else "step"
                cluster = Cluster(frame.key, frame.title, outer, frame.step, kind)  # type: ignore[arg-type]
            elif k in gaps and gaps[k][0] == closed:
                cluster = Cluster(closed, "", outer, frame.step, "gap")
                self.view.nodes.append(
                    Node(
                        f"{closed}.gap",
                        "gap",
                        "⋯",
                        counted(gaps[k][1], "step"),
                        cluster=len(self.view.clusters),
                    )
                )
            else:
                continue
            self.clusters[k] = len(self.view.clusters)
            self.view.clusters.append(cluster)
        for key, k in self.selection.modules.items():
            frame = self.unrolled.frames[k]
            if frame.parent is not None and self.selection.closed[frame.parent] is not None:
                continue
            kind = "" if frame.owner is None else type(frame.owner).__name__
            detail = kind if kind.lower() != frame.title.lower() else ""
            at = self._visible(frame.parent)
            self.view.nodes.append(Node(key, "module", frame.title, detail, frame.key, at))

    def _visible(self, frame: int | None) -> int | None:
        return None if frame is None else self.clusters[frame]

    # ---- what is drawn in copies

    def _names(self) -> dict[Place, str]:
        names: dict[Place, str] = dict(self.tape.leaves.items())
        for entry in self.tape.entries:
            if entry.primitive.multiple or self.unrolled.step(entry) is not None:
                continue
            if entry in self.unrolled.results or self.selection.shape(entry) is not None:
                continue
            inputs = [
                names.get(place, "") if place is not None else plain_number(constant)
                for place, constant in zip(entry.parents, entry.known, strict=True)
            ]
            if all(inputs):
                text = _expression(entry, inputs)
                if len(text) <= _LONGEST_NAME:
                    names[entry] = text
        return names

    def _sites(self) -> dict[Place, dict[int | None, int | None]]:
        unrolled = self.unrolled
        sites: dict[Place, dict[int | None, int | None]] = {}
        for place in self.tape.places:
            if isinstance(place, Leaf):
                sites[place] = {None: None}
        for entry in reversed(self.tape.entries):
            if entry in self.names:
                if len(sites.get(entry, ())) != 1:
                    # Drawn in copies, or not at all: then it is part of the names of such copies only.
                    sites.setdefault(entry, {})
                    continue
                # Used in one place alone, it can be drawn as what it is without arrows to all steps.
                del sites[entry]
            if self.selection.shape(entry) is not None:
                continue
            step, frame = unrolled.step(entry), unrolled.at(entry)
            for parent in entry.parents:
                if parent is not None and parent in self.names:
                    found = sites.setdefault(parent, {})
                    found[step] = unrolled.common(found[step], frame) if step in found else frame
        return sites

    def _outputs_used(self) -> dict[Entry, set[int]]:
        used: dict[Entry, set[int]] = {}
        for entry in self.tape.entries:
            for place in entry.parents:
                if type(place) is Output:
                    used.setdefault(place.entry, set()).add(place.index)
        for place in self.tape.places:
            if type(place) is Output:
                used.setdefault(place.entry, set()).add(place.index)
        return used

    # ---- drawing

    def _new(self, key: str) -> str:
        base = key
        while key in self.taken:
            self.taken[base] += 1
            key = f"{base}.{self.taken[base]}"
        self.taken[key] = 1
        return key

    def _key(self, entry: Entry) -> str:
        if entry not in self.keys:
            gate = self.unrolled.gates.get(entry)
            name = entry.primitive.name if gate is None else f"{gate}.{entry.primitive.name}"
            self.keys[entry] = self._new(self.unrolled.prefix(self.unrolled.at(entry)) + name)
        return self.keys[entry]

    def _shape(self, place: Place) -> str:
        """The node that stands for a place that is not drawn in copies."""
        entry = source_of(place)
        closed = self.selection.shape(entry)
        if closed is None:
            return self._key(entry)
        return f"{closed}.gap" if closed in self.selection.gaps else closed

    def _edge(
        self,
        tail: str,
        head: str,
        label: str = "",
        tooltip: str = "",
        kind: Any = "data",
        carries: Place | None = None,
    ) -> None:
        number = 0 if carries is None else self.tape.numbers[source_of(carries)]
        self.view.edges.append(Edge(tail, head, label, tooltip, kind, entry=number))

    def _edge_once(self, tail: str, head: str, label: str = "", tooltip: str = "") -> None:
        """An arrow at a shape that stands for many entries: one, however many of them there are."""
        if tail != head and (tail, head, label) not in self.drawn:
            self.drawn.add((tail, head, label))
            self._edge(tail, head, label, tooltip)

    def _draw_closed(self, entry: Entry) -> None:
        scope = entry.scope
        for place in entry.parents:
            # What is closed keeps its parameters to itself.
            if place is None or type(place) is Leaf or place in self.sites:
                continue
            closed = self.selection.shape(entry)
            if source_of(place).scope is scope or self.selection.shape(source_of(place)) == closed:
                continue
            head, step = self._shape(entry), self.unrolled.step(entry)
            loop = None if step is None else self.loops[self.unrolled.frames[step].parent]
            if loop is not None and loop.crosses(place, loop.time[entry]):
                title = self._state_title(loop, place)
                if (self._shape(place), head, title) not in self.drawn:
                    self.drawn.add((self._shape(place), head, title))
                    told = f"{title} to the steps left out"
                    self._edge(self._shape(place), head, title, told, "state", place)
            else:
                self._edge_once(self._shape(place), head, "", self.tape.label(place))

    def _draw(self, entry: Entry) -> None:
        key = self._key(entry)
        step, frame = self.unrolled.step(entry), self.unrolled.at(entry)
        gate = self.unrolled.gates.get(entry)
        arguments = []
        for k, (place, constant) in enumerate(zip(entry.parents, entry.known, strict=True)):
            if entry.primitive.name == COMPILED and k == len(entry.parents) - 1:
                break  # its workspace
            text = self._text(place, constant)
            arguments.append(text)
            reader = f"{text} to {entry.primitive.name}, input {k + 1} of {len(entry.parents)}"
            if place is not None and place in self.sites:
                self._edge(self._copy(place, step), key, "", reader)
                continue
            tail = self._state(entry, k, place, constant)
            if tail is None and place is None:
                tail = self._constant(f"{key}.{k + 1}", text, constant, frame)
            if tail is None:
                assert place is not None
                if self.selection.shape(source_of(place)) is not None:
                    self._edge_once(self._shape(place), key, "", reader)
                    continue
                tail = self._shape(place)
            label = self._output(place, step, frame) if isinstance(place, Output) else ""
            label = "" if label == gate and len(entry.parents) == 1 else label
            self._edge(tail, key, label, reader)
        arguments += [f"{name}={static(value)}" for name, value in sorted(entry.static.items())]
        if len(arguments) > _MOST_ARGUMENTS:
            left = len(arguments) - _MOST_ARGUMENTS
            arguments = [*arguments[: _MOST_ARGUMENTS - 1], f"⋯ {left} more", arguments[-1]]
        call = f"%{self.tape.numbers[entry]} = {entry.primitive.name}({', '.join(arguments)})"
        title = entry.primitive.name
        if title == "getitem":
            title = shortened(f"getitem[{static(entry.static['index'])}]")
        if gate is not None and len(entry.parents) == 1:
            title = f"{gate} = {title}"
        self.view.nodes.append(
            Node(
                key,
                "operation",
                title,
                self._detail(entry),
                f"{call}, {entry.scope or 'no scope'}",
                None if frame is None else self.clusters[frame],
                result=entry in self.unrolled.results,
                entry=self.tape.numbers[entry],
            )
        )

    def _output(self, place: Output, step: int | None, frame: int | None) -> str:
        """Which of several outputs one is, in a step and frame that read it: the gate, if they are gates."""
        if step is not None and step not in self.unrolled.steps(place.entry):
            # Of a sequence taken apart; most often at the time that the column has in its title.
            return "" if place.index == self.unrolled.time(step) else str(place.index)
        names = self.unrolled.owner(frame, "gate_names") or ()
        return str(place.index) if len(names) != len(place.entry.shape) else names[place.index]

    def _detail(self, entry: Entry) -> str:
        lines = self.describe(entry)
        if entry.primitive.multiple and len(used := self.outputs_used.get(entry, ())) < len(entry.shape):
            lines += f"{', ' if lines else ''}{len(used)} used"
        return lines

    # ---- what comes from other steps

    def _state(self, entry: Entry, k: int, place: Place | None, constant: Any) -> str | None:
        """The node at the top of a column that holds the state an entry reads; None if it reads none."""
        step = self.unrolled.step(entry)
        loop = None if step is None else self.loops[self.unrolled.frames[step].parent]
        name = None if loop is None else loop.state(entry, k)
        if step is None or loop is None or name is None:
            return None
        port = step, name, place
        if port in self.inputs:
            return self.inputs[port]
        t = loop.time[entry]
        number, earlier = loop.before(t)
        crosses = place is not None and loop.crosses(place, t)
        title = self._state_title(loop, place) if place is not None and crosses else subscripted(name, number)
        key = self.inputs[port] = self._new(f"{self.unrolled.frames[step].key}.{identifier(name)}.before")
        if place is not None:
            tooltip = f"{title}: {self.tape.label(place)} {place.shape} {place.dtype}, a state"
            kind = "state" if crosses else "data"
            self._edge(self._shape(place), key, "", tooltip, kind, place)
        elif earlier is None:
            tooltip = f"{title}: the initial state, a constant {array_shape(constant)}"
        else:
            tooltip = (
                f"{title}: a state that was detached, {array_shape(constant)}: no gradient goes further back"
            )
            computed = loop.states.get(name, {}).get(earlier)
            if computed is not None:
                self._edge(self._shape(computed), key, "", tooltip, "cut")
        self.view.nodes.append(Node(key, "state", title, "", tooltip, self.clusters[step]))
        return key

    def _state_title(self, loop: Loop, place: Place) -> str:
        return subscripted(loop.name(place), loop.time[source_of(place)])

    def _text(self, place: Place | None, constant: Any) -> str:
        if place is None:
            return plain_number(constant) or f"data{array_shape(constant)}"
        return self.names[place] if place in self.sites else self.tape.label(place)

    def _constant(self, key: str, text: str, constant: Any, frame: int | None) -> str:
        key = self._new(key)
        cluster = None if frame is None else self.clusters[frame]
        if plain_number(constant):
            self.view.nodes.append(Node(key, "number", text, cluster=cluster))
        else:
            tooltip = f"an array without gradients {array_shape(constant)} {getattr(constant, 'dtype', '')}"
            self.view.nodes.append(
                Node(key, "data", "data", self.describe(constant), tooltip.rstrip(), cluster)
            )
        return key

    def _in_module(self, frame: int | None) -> bool:
        return any(self.unrolled.frames[k].owner is not None for k in self.unrolled.path(frame))

    def _copy(self, place: Place, step: int | None) -> str:
        """The key of the drawing of a place in a time step, made when it is first asked for."""
        if (place, step) not in self.copies:
            sites, name = self.sites[place], self.names[place]
            what = "parameter" if isinstance(place, Leaf) else "computed once from parameters"
            at = sites[step]
            base = self.unrolled.prefix(at) + identifier(name.rpartition(".")[2])
            key = self.copies[place, step] = self._new(base)
            tooltip = f"{name} {place.shape} {place.dtype}, {what}"
            if len(sites) > 1:
                tooltip += f"; one array, drawn in {len(sites)} places"
            self.view.nodes.append(
                Node(
                    key,
                    "parameter",
                    name if " " in name or not self._in_module(at) else name.rpartition(".")[2],
                    self.describe(place),
                    tooltip,
                    None if at is None else self.clusters[at],
                    shared=len(sites) > 1,
                    result=place in self.unrolled.results,
                    entry=0 if isinstance(place, Leaf) else self.tape.numbers[source_of(place)],
                )
            )
        return self.copies[place, step]


def plain_number(constant: Any) -> str:
    """A plain number in a few characters; empty for arrays, whose values diagrams do not show."""
    if isinstance(constant, (bool, np.bool_)):
        return str(constant)
    if isinstance(constant, (int, float, np.integer, np.floating)):
        return f"{constant:.4g}"
    return str(constant) if isinstance(constant, (complex, np.complexfloating)) else ""


def array_shape(constant: Any) -> str:
    """The shape of a constant, as it is printed."""
    shape = getattr(constant, "shape", None)
    return "" if shape is None else str(tuple(shape))


def static(value: Any) -> str:
    """A static argument in a few characters."""
    return without_addresses(describe_static(value))


def without_addresses(text: str) -> str:
    """The text without the addresses that Python puts into some: one program, one diagram."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def shortened(text: str) -> str:
    """A text of at most a few words."""
    return text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 1] + "…"


def _expression(entry: Entry, inputs: list[str]) -> str:
    """A computation as a name: ``weight_hh_l0ᵀ``, ``b_ih + b_hh``, ``reshape(b)``."""
    name = entry.primitive.name
    sign = {"add": "+", "subtract": _MINUS, "multiply": _TIMES, "divide": "÷"}.get(name)
    if sign is not None:
        return f" {sign} ".join(f"({text})" if " " in text else text for text in inputs)
    if name in ("transpose", "swapaxes") and len(entry.shape) == 2:
        return f"({inputs[0]})ᵀ" if " " in inputs[0] else f"{inputs[0]}ᵀ"
    return f"{name}({', '.join(inputs)})"
