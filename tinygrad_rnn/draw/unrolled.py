"""From a tape to a view: every operation is drawn, every time step is a frame.

Two things are drawn otherwise than they were recorded, or a loop over time would drown in long arrows from a
few nodes to every step. A parameter is drawn once in each step that uses it. So is a short computation on
parameters alone that was made before the loop and is used in several steps, such as the transpose of a
weight: it looks like a parameter whose name is the computation.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from ..listing import Tape, describe_static
from ..state import Scope
from ..tape import Entry, Leaf, Output, Place
from ..tensors import Tensor
from .diagram import Diagram
from .view import Cluster, Edge, Node, View

_TIMES, _MINUS = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}"
_LONGEST_NAME = 40
"""A computation on parameters whose text is longer than this many characters is drawn as it was recorded."""


def graph(*tensors: Any) -> Diagram:
    """Draw all operations that tensors depend on, unrolled over time.

    Time steps stand side by side from left to right, modules in frames. Operations are rounded boxes with
    the shape of what they compute, parameters (whatever gets gradients) ellipses, arrays without gradients
    angular boxes; what goes from one step to the next is drawn thicker. A parameter appears in each step
    that uses it, with a dashed outline when there are several. The tensors asked for have a double outline.

    Parameters
    ----------
    *tensors : Tensor
        One or more results.

    Returns
    -------
    Diagram
        The same before and after ``backward()``.

    Raises
    ------
    TypeError
        Without a tensor, or for something else than a tensor.
    ValueError
        For a tensor that is not on the tape.
    """
    if not tensors:
        raise TypeError("draw.graph needs a tensor to draw the graph of, got nothing")
    for k, t in enumerate(tensors, 1):
        which = "its argument" if len(tensors) == 1 else f"argument {k}"
        if not isinstance(t, Tensor):
            raise TypeError(f"draw.graph draws the graph of tensors, got {which} of type {type(t).__name__}")
        if t.place is None:
            raise ValueError(
                f"draw.graph got {which} of shape {t.shape} off the tape: nothing it depends on has "
                f"requires_grad=True, it was detached, or it was computed under no_grad()"
            )
    return Diagram(unrolled(Tape(*tensors)))


def unrolled(tape: Tape) -> View:
    """The view of everything that a tape holds.

    Parameters
    ----------
    tape : Tape

    Returns
    -------
    View
        The same before and after ``backward()``.
    """
    return _Unrolled(tape).view


class _Unrolled:
    """The view in the making, and what must be known of the whole tape before the first node is drawn.

    Attributes
    ----------
    clusters : dict of Scope to int
        The frame of each scope.
    steps : list of (int or None)
        The innermost time step of each frame.
    names : dict of Place to str
        What a place is called that may be drawn in several copies: leaves, and computations on leaves alone.
    sites : dict of Place to (dict of (int or None) to (int or None))
        The places drawn in copies. For each time step that uses one, or None for outside of all, the frame
        that its copy stands in; no frame for what appears only within the name of another.
    """

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.view = View()
        self.results = {p if isinstance(p, Leaf) else _entry(p) for p in tape.places}
        self.clusters: dict[Scope, int] = {}
        self.entered: dict[tuple[int | None, str, int | None], int] = {}
        for entry in tape.entries:
            self._enter(entry.scope)
        self.steps = self.view.steps()
        self.names = self._names()
        self.sites = self._sites()
        self.outputs_used = self._outputs_used()
        self.leaves = {leaf: k for k, leaf in enumerate(tape.leaves)}
        self.copies: dict[tuple[Place, int | None], str] = {}
        for entry in tape.entries:
            if entry not in self.sites:
                self._draw(entry)
        for place in tape.places:
            if isinstance(place, Leaf):
                self._copy(place, None)

    # ---- what must be known first

    def _enter(self, scope: Scope | None) -> None:
        if scope is None or scope in self.clusters:
            return
        parent = None
        for s in scope.path():
            if s not in self.clusters:
                # A step entered twice in one place is one step; a module called twice is two calls.
                step = (parent, s.name, s.step)
                if s.step is None or step not in self.entered:
                    self.entered[step] = len(self.view.clusters)
                    self.view.clusters.append(Cluster(s.name, parent, s.step))
                self.clusters[s] = self.entered[step]
            parent = self.clusters[s]

    def _cluster(self, entry: Entry) -> int | None:
        return None if entry.scope is None else self.clusters[entry.scope]

    def _step(self, entry: Entry) -> int | None:
        return None if entry.scope is None else self.steps[self.clusters[entry.scope]]

    def _names(self) -> dict[Place, str]:
        names: dict[Place, str] = dict(self.tape.leaves.items())
        for entry in self.tape.entries:
            if self._step(entry) is not None or entry.primitive.multiple or entry in self.results:
                continue
            inputs = [
                names.get(place, "") if place is not None else _number(constant)
                for place, constant in zip(entry.parents, _constants(entry), strict=True)
            ]
            if all(inputs):
                text = _expression(entry, inputs)
                if len(text) <= _LONGEST_NAME:
                    names[entry] = text
        return names

    def _sites(self) -> dict[Place, dict[int | None, int | None]]:
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
            step, cluster = self._step(entry), self._cluster(entry)
            for parent in entry.parents:
                if parent is not None and parent in self.names:
                    found = sites.setdefault(parent, {})
                    found[step] = self._common(found[step], cluster) if step in found else cluster
        return sites

    def _common(self, a: int | None, b: int | None) -> int | None:
        """The innermost frame around both: as parents come first, the later of two is never the outer one."""
        while a != b:
            if a is None or b is None:
                return None
            if a > b:
                a = self.view.clusters[a].parent
            else:
                b = self.view.clusters[b].parent
        return a

    def _outputs_used(self) -> dict[Entry, set[int]]:
        used: dict[Entry, set[int]] = {}
        for place in [p for entry in self.tape.entries for p in entry.parents] + self.tape.places:
            if isinstance(place, Output):
                used.setdefault(place.entry, set()).add(place.index)
        return used

    # ---- drawing

    def _key(self, place: Place) -> str:
        if isinstance(place, Leaf):
            return f"p{self.leaves[place]}"
        return f"e{self.tape.numbers[_entry(place)]}"

    def _draw(self, entry: Entry) -> None:
        key = self._key(entry)
        step, cluster = self._step(entry), self._cluster(entry)
        arguments = []
        for k, (place, constant) in enumerate(zip(entry.parents, _constants(entry), strict=True)):
            text = self._text(place, constant)
            arguments.append(text)
            if place is None:
                tail = f"{key}_{k}"
                self._draw_constant(tail, text, constant, cluster)
            elif place in self.sites:
                tail = self._copy(place, step)
            else:
                tail = self._key(place)
            label = str(place.index) if isinstance(place, Output) else ""
            reader = f"{entry.primitive.name}, input {k + 1} of {len(entry.parents)}"
            self.view.edges.append(Edge(tail, key, label, f"{text} to {reader}"))
        arguments += [f"{name}={_static(value)}" for name, value in sorted(entry.static.items())]
        call = f"%{self.tape.numbers[entry]} = {entry.primitive.name}({', '.join(arguments)})"
        title = entry.primitive.name
        if title == "getitem":
            title = _shortened(f"getitem[{_static(entry.static['index'])}]")
        self.view.nodes.append(
            Node(
                key,
                "operation",
                title,
                self._outcome(entry),
                f"{call}, {entry.scope or 'no scope'}",
                cluster,
                result=entry in self.results,
            )
        )

    def _outcome(self, entry: Entry) -> str:
        if not entry.primitive.multiple:
            return str(entry.shape)
        shapes = [str(shape) for shape in entry.shape]
        several = (
            f"{len(shapes)} {_TIMES} {shapes[0]}" if len(set(shapes)) == 1 else _shortened(", ".join(shapes))
        )
        used = len(self.outputs_used[entry])
        return several if used == len(shapes) else f"{several}, {used} used"

    def _text(self, place: Place | None, constant: Any) -> str:
        if place is None:
            return _number(constant) or f"data{_shape(constant)}"
        return self.names[place] if place in self.sites else self.tape.label(place)

    def _draw_constant(self, key: str, text: str, constant: Any, cluster: int | None) -> None:
        if _number(constant):
            self.view.nodes.append(Node(key, "number", text, cluster=cluster))
        else:
            shape, dtype = _shape(constant), getattr(constant, "dtype", "")
            tooltip = f"an array without gradients {shape} {dtype}".rstrip()
            self.view.nodes.append(Node(key, "data", "data", shape, tooltip, cluster))

    def _copy(self, place: Place, step: int | None) -> str:
        """The key of the drawing of a place in a time step, made when it is first asked for."""
        if (place, step) not in self.copies:
            sites, name = self.sites[place], self.names[place]
            what = "parameter" if isinstance(place, Leaf) else "computed once from parameters"
            key = self._key(place) if step is None else f"{self._key(place)}_c{step}"
            tooltip = f"{name} {place.shape} {place.dtype}, {what}"
            if len(sites) > 1:
                tooltip += f"; one array, drawn in {len(sites)} places"
            self.copies[place, step] = key
            self.view.nodes.append(
                Node(
                    key,
                    "parameter",
                    name,
                    str(place.shape),
                    tooltip,
                    sites[step],
                    shared=len(sites) > 1,
                    result=place in self.results,
                )
            )
        return self.copies[place, step]


def _entry(place: Place) -> Entry:
    """The entry that computed a place, as its only output or as one of several."""
    if isinstance(place, Output):
        return place.entry
    assert isinstance(place, Entry)
    return place


def _constants(entry: Entry) -> tuple[Any, ...]:
    """What is known of each input that is a constant, before and after the release of the saved arrays."""
    return entry.args or entry.constants or (None,) * len(entry.parents)


def _number(constant: Any) -> str:
    """A plain number in a few characters; empty for arrays, whose values diagrams do not show."""
    if isinstance(constant, (bool, np.bool_)):
        return str(constant)
    if isinstance(constant, (int, float, np.integer, np.floating)):
        return f"{constant:.4g}"
    return str(constant) if isinstance(constant, (complex, np.complexfloating)) else ""


def _shape(constant: Any) -> str:
    shape = getattr(constant, "shape", None)
    return "" if shape is None else str(tuple(shape))


def _static(value: Any) -> str:
    """A static argument in a few characters, without the addresses that Python puts into some texts."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", describe_static(value))


def _shortened(text: str) -> str:
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
