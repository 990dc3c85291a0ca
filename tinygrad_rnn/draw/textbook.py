"""The textbook's cells: their equations, as patterns, and their figures.

Each figure is filled with what plays the roles of its equations; see `anatomy`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..tape import Entry, Leaf, Output
from .describing import Describe
from .patterns import Either, Found, Given, Number, Op, Parameter, Part, Pattern, Step, added, affine, times
from .view import Cluster, Edge, Kind, Node, Point, View

_UNIT = 50.0, 36.0
_SIGNS = {"sigmoid": "\N{GREEK SMALL LETTER SIGMA}", "multiply": "\N{MULTIPLICATION SIGN}", "add": "+"}

# ---- equations


def _gate(name: str, *terms: Pattern) -> Op:
    """An activation of a sum."""
    total = terms[0]
    for k, term in enumerate(terms[1:]):
        total = added(f"{name}.add{k or ''}", total, term)
    return Op(name, "activation", (total,))


_X, _H = affine("x", "ih"), affine("h", "hh")
_SUM = added("sum", _X, _H)


def _lstm(peephole: bool) -> tuple[Pattern, Pattern]:
    def peek(gate: str, k: int, c: Pattern) -> tuple[Pattern, ...]:
        weight = Part(k, Parameter("peephole"), "peephole.split")
        return (times(f"{gate}.peek", c, weight),) if peephole else ()

    i = _gate("i", Part(0, _SUM), *peek("i", 0, Given("c")))
    f = _gate("f", Part(1, _SUM), *peek("f", 1, Given("c")))
    g = _gate("g", Part(2, _SUM))
    c = added("c", times("f*c", f, Given("c")), times("i*g", i, g))
    o = _gate("o", Part(3, _SUM), *peek("o", 2, c))
    return times("h", o, Op("tanh_c", "activation", (c,))), c


def _gru(replaces: bool, reset_after: bool = True) -> tuple[Pattern]:
    def x(k: int) -> Pattern:
        return Part(k, _X, "split_x")

    def h(k: int) -> Pattern:
        return Part(k, _H, "split_h")

    def before(gate: str, k: int, state: Pattern) -> Op:
        """A gate whose share of weight_hh meets the state by itself."""
        weight = Part(k, Parameter("weight_hh"), "split_w")
        bias = Either((Part(k, Parameter("bias_hh"), "split_b"), Number(0)))
        total = added(f"{gate}.add", x(k), Op(f"{gate}.linear", "linear", (state, weight)))
        return Op(gate, "activation", (added(f"{gate}.bias", total, bias),))

    if reset_after:
        r, z = _gate("r", x(0), h(0)), _gate("z", x(1), h(1))
        n = _gate("n", x(2), times("r*n", r, h(2)))
    else:
        r, z = before("r", 0, Given("h")), before("z", 1, Given("h"))
        n = before("n", 2, times("r*h", r, Given("h")))
    keep, new = (Op("1-z", "subtract", (Number(1), z)), z)
    if not replaces:
        keep, new = z, keep
    return (added("h", times("new", new, n), times("old", keep, Given("h"))),)


# ---- figures


@dataclass
class Canvas:
    """A figure in the making: nodes by the roles that they play."""

    name: str
    figure: str
    step: Step
    found: Found

    def __post_init__(self) -> None:
        self.view = View(title=f"{self.name}, one time step", unit=_UNIT)
        self.view.clusters.append(Cluster("cell", self.name, kind="cell"))
        self.describe = Describe()

    def entry(self, role: str) -> Entry:
        place = self.found[role]
        assert isinstance(place, Entry)
        return place

    def operation(self, role: str, at: Point, kind: Kind = "gate") -> None:
        """A circle for an operation, or a box for an activation that computes a gate."""
        entry = self.entry(role)
        name = entry.primitive.name
        number = self.step.tape.numbers[entry]
        title = _SIGNS.get(name, name)
        told = f"{role} = {name}, entry %{number}, {self.describe(entry)}"
        result = any(entry is (p.entry if isinstance(p, Output) else p) for p in self.step.tape.places)
        node = Node(
            role, kind, title, tooltip=told, cluster=0, entry=number, result=result and role != "c", at=at
        )
        self.view.nodes.append(node)
        self.view.stands[number] = [role]

    def bar(self, key: str, title: str, roles: Sequence[str], at: Point, span: float = 0.0) -> None:
        """A box for several operations: an affine map, and the split into gates after it."""
        entries = [self.entry(role) for role in roles if role in self.found]
        told = ", ".join(f"%{self.step.tape.numbers[e]} {e.primitive.name}" for e in entries)
        detail = self.describe(entries[-1]) if entries else ""
        node = Node(key, "module", title, detail, told, 0, at=at, span=span)
        self.view.nodes.append(node)
        for entry in entries:
            self.view.stands.setdefault(self.step.tape.numbers[entry], []).append(key)

    def piece(self, key: str, title: str, roles: Sequence[str], at: Point) -> None:
        """A box for what one gate has of several operations, the last of which may be a split."""
        self.bar(key, title, roles, at)
        last = self.entry(roles[-1])
        if last.primitive.multiple:
            self.view.nodes[-1].detail = self.describe(Output(last, 0, last.shape[0], last.dtype[0]))

    def word(self, key: str, title: str, at: Point, inside: bool = False) -> None:
        """An input or an output."""
        self.view.nodes.append(Node(key, "text", title, cluster=0 if inside else None, at=at))

    def point(self, key: str, at: Point) -> None:
        """Where a line branches."""
        self.view.nodes.append(Node(key, "point", "", cluster=0, at=at))

    def line(self, *keys: str, label: str = "", via: tuple[Point, ...] = (), kind: Any = "data") -> None:
        """Arrows from each to the next, the first on the given way; none points at a branching."""
        for tail, head in itertools.pairwise(keys):
            bare = next(node for node in self.view.nodes if node.key == head).kind == "point"
            self.view.edges.append(Edge(tail, head, label, kind=kind, arrow=not bare, via=via))
            via = ()

    def lines_to(
        self, tail: str, *heads: str, y: float, via: tuple[Point, ...] = (), kind: Any = "data"
    ) -> None:
        """A line at a height, from which an arrow goes to each of several that read one and the same."""
        across = {node.key: node.at[0] for node in self.view.nodes if node.at is not None}
        for head in heads[:-1]:
            branch = f"{tail}.{head}"
            self.point(branch, (across[head], y))
            self.line(tail, branch, via=via, kind=kind)
            self.line(branch, head, kind=kind)
            tail, via = branch, ()
        self.line(tail, heads[-1], via=(*via, (across[heads[-1]], y)), kind=kind)

    def sum(self, *kinds: tuple[str, str]) -> str:
        """An affine map in the names of its parameters."""
        terms = []
        for kind, of in kinds:
            terms.append(f"{self.leaf(f'weight_{kind}')} {of}")
            terms += [self.leaf(f"bias_{kind}")] if f"bias_{kind}" in self.found else []
        return " + ".join(terms)

    def leaf(self, role: str) -> str:
        place = self.found[role]
        name = self.step.tape.leaves[place] if isinstance(place, Leaf) else role
        return name.rpartition(".")[2]


_AFFINE = ("ih.linear", "ih.add", "hh.linear", "hh.add", "sum")


def _draw_rnn(canvas: Canvas) -> Canvas:
    canvas.bar("affine", canvas.sum(("ih", "xₜ"), ("hh", "hₜ₋₁")), _AFFINE, (2, 0))
    canvas.operation("h", (2, 1.4), "operation")
    canvas.word("x", "xₜ", (2, -1.7))
    canvas.word("h.before", "hₜ₋₁", (-1.8, 0))
    canvas.word("h.after", "hₜ", (5.8, 2.3))
    canvas.word("y", "yₜ = hₜ", (2, 3.8))
    canvas.point("out", (2, 2.3))
    canvas.line("x", "affine")
    canvas.line("h.before", "affine", kind="state")
    canvas.line("affine", "h", "out")
    canvas.line("out", "y")
    canvas.line("out", "h.after", kind="state")
    return canvas


def _draw_lstm(canvas: Canvas) -> Canvas:
    peephole = canvas.figure == "peephole"
    gates = {"f": 1.0, "i": 2.4, "g": 3.8, "o": 5.6}
    canvas.bar("affine", canvas.sum(("ih", "xₜ"), ("hh", "hₜ₋₁")), (*_AFFINE, "split"), (3.3, 0), 5.6)
    for gate, x in gates.items():
        canvas.operation(gate, (x, 2.4 if peephole else 1.6), "operation")
        if peephole and gate != "g":
            canvas.operation(f"{gate}.add", (x, 1.4))
            canvas.operation(f"{gate}.peek", (x - 0.62, 2.9 if gate == "o" else 3.3))
            canvas.line("affine", f"{gate}.add", label=gate)
            canvas.line(f"{gate}.add", gate)
        else:
            canvas.line("affine", gate, label=gate)
    top, mid = (5.4, 4.2) if peephole else (4.4, 3.0)
    canvas.operation("f*c", (1.0, top))
    canvas.operation("i*g", (3.8, mid))
    canvas.operation("c", (3.8, top))
    canvas.operation("tanh_c", (7.0, top - 0.9), "operation")
    canvas.operation("h", (7.0, mid - 0.6 if not peephole else 3.2))
    row = mid - 0.6 if not peephole else 3.2
    canvas.word("c.before", "cₜ₋₁", (-1.6, top))
    canvas.word("h.before", "hₜ₋₁", (-1.6, 0))
    canvas.word("x", "xₜ", (3.3, -1.6))
    canvas.word("c.after", "cₜ", (9.4, top))
    canvas.word("h.after", "hₜ", (9.4, 0))
    canvas.word("y", "yₜ = hₜ", (8.2, top + 1.6))
    canvas.point("c.out", (7.0, top))
    if peephole:
        canvas.point("c.mid", (gates["o"] - 0.62, top))
    canvas.point("h.out", (8.2, 0))
    canvas.line("x", "affine")
    canvas.line("h.before", "affine", kind="state")
    canvas.line("f", "f*c")
    canvas.line("i", "i*g", via=((gates["i"], mid),))
    canvas.line("g", "i*g", "c")
    canvas.line("o", "h", via=((gates["o"], row),))
    canvas.line("f*c", "c", *(["c.mid"] if peephole else []), "c.out", "c.after", kind="state")
    canvas.line("c.out", "tanh_c", "h")
    canvas.line("h", "h.out", via=((7.0, 0),), kind="state")
    canvas.line("h.out", "h.after", kind="state")
    canvas.line("h.out", "y")
    if peephole:
        _draw_peepholes(canvas, gates, top)
    else:
        canvas.line("c.before", "f*c", kind="state")
    return canvas


def _draw_peepholes(canvas: Canvas, gates: dict[str, float], top: float) -> None:
    canvas.point("c.in", (0.38, top))
    canvas.line("c.before", "c.in", kind="state")
    canvas.line("c.in", "f*c", kind="state")
    x = gates["i"] - 0.62
    canvas.point("c.in2", (0.38, 4.2))
    canvas.line("c.in", "c.in2", "f.peek")
    canvas.line("c.in2", "i.peek", via=((x, 4.2),))
    canvas.line("c.mid", "o.peek")
    for gate in "f", "i", "o":
        x, y = gates[gate] - 0.62, 1.4
        canvas.line(f"{gate}.peek", f"{gate}.add", via=((x, y),))
        canvas.word(f"{gate}.p", f"p_{gate}", (x + 0.37, 2.9 if gate == "o" else 3.3), inside=True)
    split = canvas.step.tape.numbers[canvas.entry("peephole.split")]
    canvas.view.stands[split] = [f"{gate}.p" for gate in "ifo"]


def _draw_gru(canvas: Canvas) -> Canvas:
    """Both affine maps fall into three pieces; those of the state stand above those of the input."""
    if "r*h" in canvas.found:
        return _draw_gru_before(canvas)
    xs = {"z": 1.2, "r": 3.0, "n": 4.8}
    for gate, x in xs.items():
        canvas.piece(f"{gate}.hh", f"{gate} of h", ("hh.linear", "hh.add", "split_h"), (x, 1.6))
        at = (6.6 if gate == "n" else x - 0.9, 0.0)
        canvas.piece(f"{gate}.ih", f"{gate} of x", ("ih.linear", "ih.add", "split_x"), at)
        if gate != "n":
            canvas.operation(f"{gate}.add", (x, 2.7))
            canvas.operation(gate, (x, 3.6), "operation")
            canvas.line(f"{gate}.hh", f"{gate}.add", gate)
            canvas.line(f"{gate}.ih", f"{gate}.add", via=((x - 0.9, 2.7),))
    top = 6.3
    canvas.operation("r*n", (4.8, 3.6))
    canvas.operation("n.add", (6.6, 3.6))
    canvas.operation("n", (6.6, 4.5), "operation")
    canvas.operation("new", (6.6, 5.4))
    canvas.operation("old", (1.2, top))
    canvas.operation("h", (6.6, top))
    canvas.line("r", "r*n", "n.add", "n", "new", "h")
    canvas.line("n.hh", "r*n")
    canvas.line("n.ih", "n.add")
    _draw_update(canvas, top)
    canvas.word("h.before", "hₜ₋₁", (-3.4, top))
    canvas.word("h.after", "hₜ", (9.2, top))
    canvas.word("y", "yₜ = hₜ", (7.9, top + 1.4))
    _draw_gru_inputs(canvas, top, right=7.9)
    canvas.lines_to("h.in", "z.hh", "r.hh", "n.hh", y=0.85, via=((-0.6, 0.85),), kind="state")
    return canvas


def _draw_gru_inputs(canvas: Canvas, top: float, right: float) -> None:
    """The input, the line of the state, and the affine maps in words."""
    canvas.word("x", "xₜ", (0.3, -1.8))
    canvas.word("hh", canvas.sum(("hh", "hₜ₋₁")), (-2.8, 1.6))
    canvas.word("ih", canvas.sum(("ih", "xₜ")), (-2.8, 0))
    canvas.point("h.in", (-0.6, top))
    canvas.point("h.out", (right, top))
    canvas.line("h.before", "h.in", "old", "h", "h.out", "h.after", kind="state")
    canvas.line("h.out", "y")
    canvas.lines_to("x", "z.ih", "r.ih", "n.ih", y=-0.8)


def _draw_gru_before(canvas: Canvas) -> Canvas:
    """The reset gate meets the state before the matrix product, so each gate has a product of its own."""
    top = 7.5
    for gate, x, of in ("z", 1.2, "h"), ("r", 3.0, "h"), ("n", 8.4, "r \N{MULTIPLICATION SIGN} h"):
        new = gate == "n"
        y = 4.2 if new else 2.6
        canvas.piece(
            f"{gate}.hh", f"{gate} of {of}", ("split_w", f"{gate}.linear"), (6.6, y) if new else (x, 1.6)
        )
        canvas.piece(
            f"{gate}.ih", f"{gate} of x", ("ih.linear", "ih.add", "split_x"), (x if new else x - 0.9, 0)
        )
        canvas.operation(f"{gate}.add", (x, y))
        canvas.operation(f"{gate}.bias", (x, y + 0.8))
        canvas.operation(gate, (x, y + 1.6), "operation")
        name = f"b_{gate}" if "bias_hh" in canvas.found else "0"
        canvas.word(f"{gate}.b", name, (x + 0.75, y + 0.8), inside=True)
        canvas.line(f"{gate}.hh", f"{gate}.add", f"{gate}.bias", gate)
        canvas.line(f"{gate}.b", f"{gate}.bias")
        canvas.line(f"{gate}.ih", f"{gate}.add", via=() if new else ((x - 0.9, y),))
    if "split_b" in canvas.found:
        split = canvas.step.tape.numbers[canvas.entry("split_b")]
        canvas.view.stands[split] = [f"{gate}.b" for gate in "rzn"]
    canvas.operation("r*h", (4.8, 4.2))
    canvas.operation("new", (8.4, top - 0.9))
    canvas.operation("old", (1.2, top))
    canvas.operation("h", (8.4, top))
    canvas.line("r", "r*h", "n.hh")
    canvas.line("n", "new", "h")
    _draw_update(canvas, top)
    canvas.word("h.before", "hₜ₋₁", (-3.4, top))
    canvas.word("h.after", "hₜ", (11.0, top))
    canvas.word("y", "yₜ = hₜ", (9.7, top + 1.4))
    _draw_gru_inputs(canvas, top, right=9.7)
    canvas.lines_to("h.in", "z.hh", "r.hh", "r*h", y=0.85, via=((-0.6, 0.85),), kind="state")
    return canvas


def _draw_update(canvas: Canvas, top: float) -> None:
    """z and 1 - z: which of them meets the old state is a matter of convention."""
    number = canvas.step.tape.numbers[canvas.entry("1-z")]
    replaces = canvas.found["1-z"] in canvas.entry("old").parents
    row, branch = top - 0.9, top - 1.7
    at = (1.2, row) if replaces else (3.0, row)
    canvas.view.nodes.append(
        Node(
            "1-z",
            "gate",
            "1\N{MINUS SIGN}",
            tooltip=f"1 - z, entry %{number}",
            cluster=0,
            entry=number,
            at=at,
        )
    )
    canvas.view.stands[number] = ["1-z"]
    canvas.point("z.out", (1.2, branch if replaces else row))
    canvas.line("z", "z.out")
    if replaces:
        canvas.line("z.out", "1-z", "old")
        canvas.line("z.out", "new", via=((4.8, branch), (4.8, row)))
    else:
        canvas.line("z.out", "old")
        canvas.line("z.out", "1-z", "new")


FIGURES: dict[str, tuple[int, tuple[tuple[Pattern, ...], ...], Callable[[Canvas], Canvas]]] = {
    "rnn": (1, ((Op("h", "activation", (_SUM,)),),), _draw_rnn),
    "lstm": (2, (_lstm(False),), _draw_lstm),
    "peephole": (2, (_lstm(True),), _draw_lstm),
    "gru": (1, tuple(_gru(u, a) for a in (True, False) for u in (False, True)), _draw_gru),
}
"""The parts of the state, the equations (of each, in their order) in their variants, and the drawing."""
