"""Layout in pieces: Graphviz's ``dot`` places one time step at a time, and steps that are alike only once.

Laid out as one graph, a network over twenty steps would take ``dot`` minutes, and its columns would look as
if they had nothing in common. So each time step is a piece, and what stands outside of all is one. Pieces are
put together like type: steps side by side make a loop, and the loop is one box in the piece around it.

What passes from one piece to another leaves through a port at the bottom and comes in through one at the top;
between steps of one loop it runs in the gutter between the columns.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from .layout import TITLE_ROOM
from .metrics import TITLE, node_size, text_width
from .rendering import lay_out
from .view import Edge, Node, Point, View

PAD, LANE, RIBBON = 8.0, 6.0, 14.0
CHANNEL = 10.0
"""Room above and below the columns of a loop, for what comes in and goes out."""

Container = int | None
"""A time step, as a position in `View.clusters`; None for what stands outside of all."""

Item = Hashable
"""What a piece consists of: a node's key, a loop ``("loop", cluster)``, a port ``("in" or "out", key)``."""


Wire = tuple[str, int, int, str]
"""A tail, the columns that the wire leaves and enters, and the state it leads to, empty for other heads."""


@dataclass(slots=True)
class Piece:
    """The graph of one container, and once `dot` has seen it, its places from the upper left corner on."""

    depth: int
    nodes: list[Node] = field(default_factory=list)
    ribbons: list[Node] = field(default_factory=list)
    clusters: list[int] = field(default_factory=list)
    loops: dict[int | None, None] = field(default_factory=dict)
    tops: dict[Item, None] = field(default_factory=dict)
    bottoms: dict[Item, None] = field(default_factory=dict)
    arrows: dict[tuple[Item, Item, int], None] = field(default_factory=dict)
    width: float = 0.0
    height: float = 0.0
    at: dict[Item, Point] = field(default_factory=dict)
    courses: dict[tuple[Item, Item, int], list[Point]] = field(default_factory=dict)
    borders: list[tuple[float, float, float, float]] = field(default_factory=list)

    def arrow(self, tail: Item, head: Item) -> tuple[Item, Item, int]:
        count = 0
        # A node may be read twice by another, which is two arrows; what goes to a loop or a port is one.
        while isinstance(tail, str) and isinstance(head, str) and (tail, head, count) in self.arrows:
            count += 1
        self.arrows[tail, head, count] = None
        return tail, head, count


@dataclass(slots=True)
class Loop:
    """Columns, and the wires between them with their lanes."""

    columns: list[int]
    wires: dict[Wire, int] = field(default_factory=dict)
    lanes: int = 0
    ribbons: int = 0
    lefts: dict[int, float] = field(default_factory=dict)
    width: float = 0.0
    height: float = 0.0

    def gutter(self, tail: int, head: int) -> int:
        """The gutter beside the column that a wire enters, on the side that it comes from: the position of
        the column to its right."""
        at = self.columns.index(head)
        return at if self.columns.index(tail) < at else at + 1


@dataclass(slots=True)
class Way:
    """How an edge runs: out of pieces and into others, both from the inside out, and in between by an arrow
    of the piece around them; none if it runs in a gutter."""

    arrow: tuple[Item, Item, int] | None
    around: Container = None
    out_of: list[int] = field(default_factory=list)
    into: list[int] = field(default_factory=list)


class Pieces:
    """The pieces of a view."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.step_of = view.steps()
        self.home = {n.key: self.container(n.cluster) for n in view.nodes}
        self.nodes = {n.key: n for n in view.nodes}
        self.sizes: dict[Item, tuple[float, float]] = {n.key: node_size(n) for n in view.nodes}
        states = [n.key for n in view.nodes if n.kind == "state"]
        widest = max((self.sizes[key][0] for key in states), default=0.0)
        self.sizes.update({key: (widest, self.sizes[key][1]) for key in states})
        self.pieces: dict[Container, Piece] = {None: Piece(0)}
        self.loops: dict[int | None, Loop] = {}
        for k, cluster in enumerate(view.clusters):
            around = self.pieces[self.container(cluster.parent)]
            if cluster.step is None:
                around.clusters.append(k)
                continue
            self.pieces[k] = Piece(around.depth + 1)
            around.loops[cluster.parent] = None
            self.loops.setdefault(cluster.parent, Loop([])).columns.append(k)
        for loop in self.loops.values():
            loop.columns.sort(key=lambda k: view.clusters[k].step or 0)
        for node in view.nodes:
            piece = self.pieces[self.home[node.key]]
            (piece.ribbons if node.kind == "ribbon" else piece.nodes).append(node)
        self.ways = [self._enter(edge) for edge in view.edges]

    def container(self, cluster: int | None) -> Container:
        """The container of what stands in a cluster."""
        return None if cluster is None else self.step_of[cluster]

    def around(self, step: int) -> Container:
        """The container around a time step."""
        return self.container(self.view.clusters[step].parent)

    def _outwards(self, container: Container) -> list[Container]:
        path = [container]
        while container is not None:
            container = self.around(container)
            path.append(container)
        return path

    def _enter(self, edge: Edge) -> Way:
        """Enter an edge into the pieces that it goes through."""
        if self.home[edge.tail] == self.home[edge.head]:
            home = self.home[edge.tail]
            return Way(self.pieces[home].arrow(edge.tail, edge.head), home)
        inner, outer = self._outwards(self.home[edge.tail]), self._outwards(self.home[edge.head])
        common: Container = None
        while inner and outer and inner[-1] == outer[-1]:
            common = inner.pop()
            outer.pop()
        way = Way(None, common, [c for c in inner if c is not None], [c for c in outer if c is not None])
        start: Item = edge.tail
        for step in way.out_of:
            self.pieces[step].bottoms["out", edge.tail] = None
            self.pieces[step].arrow(start, ("out", edge.tail))
            start = ("loop", self.view.clusters[step].parent)
        end: Item = edge.head
        for step in way.into:
            if end != edge.head or self.nodes[edge.head].kind != "state":  # which stands at the top itself
                self.pieces[step].tops["in", edge.tail] = None
                self.pieces[step].arrow(("in", edge.tail), end)
            end = ("loop", self.view.clusters[step].parent)
        if start == end:
            self.loops[self.view.clusters[way.into[-1]].parent].wires[self.wire(edge, way)] = 0
        else:
            way.arrow = self.pieces[common].arrow(start, end)
        return way

    def wire(self, edge: Edge, way: Way) -> Wire:
        """The wire that carries an edge between two columns: one, however many there read an array."""
        head = edge.head if self.nodes[edge.head].kind == "state" else ""
        return edge.tail, way.out_of[-1], way.into[-1], head

    def _align(self, loop: Loop) -> None:
        """Let columns of like nodes have like ports, used or not, in the order of the states they lead to."""
        groups: dict[object, list[Piece]] = {}
        for step in loop.columns:
            piece = self.pieces[step]
            kinds = tuple((n.kind, n.cluster == step, self.sizes[n.key]) for n in piece.nodes)
            groups.setdefault(kinds, []).append(piece)
        states = {n.key: k for piece in self.pieces.values() for k, n in enumerate(piece.nodes)}
        order = {tail: states.get(head, 0) for tail, _, _, head in loop.wires}
        for pieces in groups.values():
            used: dict[int, int] = {}
            for piece in pieces:
                for k, node in enumerate(piece.nodes):
                    if ("out", node.key) in piece.bottoms:
                        used[k] = max(used.get(k, 0), order.get(node.key, 0))
            for piece in pieces:
                own = {node.key for node in piece.nodes}
                piece.bottoms = {item: None for item in piece.bottoms if item[1] not in own}  # type: ignore[index]
                for k in sorted(used, key=lambda k: used[k]):
                    key = piece.nodes[k].key
                    piece.bottoms["out", key] = None
                    piece.arrows.setdefault((key, ("out", key), 0))

    # ---- from the inside out

    def lay_out(self) -> None:
        from .asking import Answer, source

        deepest = max(piece.depth for piece in self.pieces.values())
        for loop in self.loops.values():
            gutters = [loop.gutter(tail, head) for _, tail, head, _ in loop.wires]
            loop.lanes = max(map(gutters.count, set(gutters)), default=0)
            self._align(loop)
        for depth in range(deepest, -1, -1):
            alike: dict[str, list[Piece]] = {}
            for container, piece in self.pieces.items():
                if piece.depth == depth:
                    for cluster in piece.loops:
                        self._set(cluster, self.loops[cluster])
                    alike.setdefault(source(self, container, piece), []).append(piece)
            for graph, same in zip(lay_out(list(alike)), alike.values(), strict=True):
                found = Answer(graph)
                for piece in same:
                    found.give(piece)
                    self._widen(piece)

    def _widen(self, piece: Piece) -> None:
        """Make room for ribbons, which are as wide as their column."""
        piece.width = max([piece.width, *(self.sizes[node.key][0] for node in piece.ribbons)])
        for node in piece.ribbons:
            self.sizes[node.key] = piece.width, RIBBON

    def column_size(self, step: int, loop: Loop) -> tuple[float, float]:
        """The size of a column with its frame, and room for the lanes above and below its nodes."""
        piece, cluster = self.pieces[step], self.view.clusters[step]
        width = max(piece.width + 2 * PAD, text_width(cluster.title, TITLE) + 2 * PAD)
        return width, piece.height + TITLE_ROOM + 2 * (LANE * loop.lanes + PAD) + RIBBON * loop.ribbons

    def _set(self, cluster: int | None, loop: Loop) -> None:
        """Set the columns of a loop side by side."""
        x = gutter = LANE * (loop.lanes + 1.5)
        loop.ribbons = max(len(self.pieces[step].ribbons) for step in loop.columns)
        for step in loop.columns:
            loop.lefts[step] = x
            x += self.column_size(step, loop)[0] + gutter
        loop.width = x
        loop.height = max(self.column_size(step, loop)[1] for step in loop.columns)
        bottom = loop.height - PAD / 2 - (TITLE_ROOM + LANE * loop.lanes + PAD)
        for piece in (self.pieces[step] for step in loop.columns):
            for k, node in enumerate(reversed(piece.ribbons)):
                piece.at[node.key] = piece.width / 2, bottom - RIBBON * (k + 0.5)
        self.sizes["loop", cluster] = loop.width, loop.height + 2 * CHANNEL
