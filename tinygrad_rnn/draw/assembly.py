"""Pieces that Graphviz has placed, put together: steps side by side, and arrows from one to another."""

from __future__ import annotations

from .layout import MARGIN, TITLE_ROOM, Border, Drawing, Line, Shape, joined, label_place, polyline, swing
from .pieces import LANE, PAD, RIBBON, Container, Item, Loop, Pieces, Way, Wire
from .view import Edge, Point, View


def place_in_pieces(view: View) -> Drawing:
    """The drawing of a view that has no grid; see `layout.place`."""
    pieces = Pieces(view)
    pieces.lay_out()
    return _Assembly(pieces).drawing


class _Assembly:
    """The pieces put together."""

    def __init__(self, pieces: Pieces) -> None:
        self.pieces, self.view = pieces, pieces.view
        root = pieces.pieces[None]
        self.drawing = Drawing(self.view, root.width + 2 * MARGIN, root.height + 2 * MARGIN)
        self.corners: dict[Container, Point] = {None: (MARGIN, MARGIN)}
        self.frames: dict[int, Border] = {}
        self._corners()
        for key, container in pieces.home.items():
            x, y = self._at(container, key)
            width, height = pieces.sizes[key]
            self.drawing.shapes[key] = Shape(pieces.nodes[key], x, y, width, height)
        self.drawing.borders = [self.frames[k] for k in range(len(self.view.clusters)) if k in self.frames]
        self._lanes()
        for edge, way in zip(self.view.edges, pieces.ways, strict=True):
            course = self._within_frame(edge, self._course(edge, way))
            # In a gutter there is no room for words, and the state that the wire leads to has its name.
            at = label_place(edge, course) if edge.kind == "data" else None
            self.drawing.lines.append(Line(edge, course, at))

    def _corners(self) -> None:
        clusters = self.view.clusters
        # Containers come after those around them.
        for container, piece in self.pieces.pieces.items():
            x, y = self.corners[container]
            for k, (left, top, right, bottom) in zip(piece.clusters, piece.borders, strict=True):
                self.frames[k] = Border(clusters[k], x + left, y + top, x + right, y + bottom)
            for cluster in piece.loops:
                loop = self.pieces.loops[cluster]
                centre = self._at(container, ("loop", cluster))
                left, top = centre[0] - loop.width / 2, centre[1] - loop.height / 2
                for step in loop.columns:
                    width, _ = self.pieces.column_size(step, loop)
                    begin = left + loop.lefts[step]
                    inner = self.pieces.pieces[step].width
                    above = TITLE_ROOM + LANE * loop.lanes + PAD
                    if self._is_gap(step):
                        above = (loop.height - self.pieces.pieces[step].height) / 2
                    self.corners[step] = begin + (width - inner) / 2, top + above
                    self.frames[step] = Border(clusters[step], begin, top, begin + width, top + loop.height)

    def _at(self, container: Container, item: Item) -> Point:
        corner, (x, y) = self.corners[container], self.pieces.pieces[container].at[item]
        return corner[0] + x, corner[1] + y

    def _lanes(self) -> None:
        """Give each wire a lane in its gutter, such that wires whose ports have one order do not cross."""
        for loop in self.pieces.loops.values():
            gutters: dict[int, list[tuple[float, Wire]]] = {}
            for wire in loop.wires:
                key, tail, head, _ = wire
                ahead = loop.columns.index(tail) < loop.columns.index(head)
                x, _ = self._at(tail, ("out", key))
                gutters.setdefault(loop.gutter(tail, head), []).append((-x if ahead else x, wire))
            for row in gutters.values():
                for lane, (_, wire) in enumerate(sorted(row)):
                    loop.wires[wire] = lane

    def _course(self, edge: Edge, way: Way) -> list[Point]:
        inner, outer = self._outwards(edge, way), self._inwards(edge, way)
        if way.arrow is None:
            # A wire at a gap ends at its side.
            loop = self.pieces.loops[self.view.clusters[way.into[-1]].parent]
            between = self._wire(loop, self.pieces.wire(edge, way), inner[-1], outer[0])
            inner = [] if self._is_gap(way.out_of[-1]) else inner
            outer = [] if self._is_gap(way.into[-1]) else outer
            return joined(inner, between, outer)
        x, y = self.corners[way.around]
        between = [(x + a, y + b) for a, b in self.pieces.pieces[way.around].courses[way.arrow]]
        if inner:
            bottom = inner[-1][0], self.frames[way.out_of[-1]].bottom
            inner = joined(inner, [bottom], swing(bottom, between[0]))
        if outer:
            top = outer[0][0], self.frames[way.into[-1]].top
            outer = joined(swing(between[-1], top), outer)
        return joined(inner, between, outer)

    def _within_frame(self, edge: Edge, course: list[Point]) -> list[Point]:
        """The course without what leaves the frame that both nodes are in: dot goes round frames in between,
        and knows no bounds on that way."""
        outer, inner = (self._around(self.pieces.nodes[key].cluster) for key in (edge.tail, edge.head))
        frame = next((self.frames[k] for k in outer if k in inner and k in self.frames), None)
        if frame is None:
            return course
        return [(min(max(x, frame.left + PAD / 2), frame.right - PAD / 2), y) for x, y in course]

    def _around(self, cluster: int | None) -> list[int]:
        found = []
        while cluster is not None:
            found.append(cluster)
            cluster = self.view.clusters[cluster].parent
        return found

    def _outwards(self, edge: Edge, way: Way) -> list[Point]:
        """The course from a node to the port at the bottom of the outermost step that the edge leaves."""
        found: list[Point] = []
        for step in way.out_of:
            port = self._at(step, ("out", edge.tail))
            if not found and self._is_gap(step):
                found = [
                    (port[0], self.drawing.shapes[edge.tail].y + self.drawing.shapes[edge.tail].height / 2)
                ]
            elif not found:
                found = self._inside(step, edge.tail, ("out", edge.tail))
            else:
                found = joined(found, swing(found[-1], port))
        return found

    def _inwards(self, edge: Edge, way: Way) -> list[Point]:
        """The course from the port at the top of the outermost step that the edge enters to its head."""
        port: Item = ("in", edge.tail)
        head = self.drawing.shapes[edge.head]
        found: list[Point] = []
        for step in way.into:
            # What a state at the top reads has no port, though others in the step may read the same.
            within = (port, edge.head, 0) in self.pieces.pieces[step].courses
            if not found and (self._is_gap(step) or not within):
                found = [(head.x, head.y - head.height / 2)]
            elif not found:
                found = self._inside(step, port, edge.head)
            else:
                found = joined(swing(self._at(step, port), found[0]), found)
        return found

    def _inside(self, step: int, tail: Item, head: Item) -> list[Point]:
        x, y = self.corners[step]
        return [(x + a, y + b) for a, b in self.pieces.pieces[step].courses[tail, head, 0]]

    def _wire(self, loop: Loop, wire: Wire, start: Point, end: Point) -> list[Point]:
        _, tail, head, _ = wire
        lane = loop.wires[wire]
        ahead = loop.columns.index(tail) < loop.columns.index(head)
        frame = self.frames[head]
        # Lane 0 is the uppermost both above and below the nodes, and the one nearest to where it comes from.
        aside = LANE * (loop.lanes + 0.75 - lane)
        upright = frame.left - aside if ahead else frame.right + aside
        low = frame.bottom - RIBBON * loop.ribbons - PAD / 2 - LANE * (loop.lanes - lane)
        high = frame.top + TITLE_ROOM + LANE * (lane + 0.5)
        height = (frame.top + frame.bottom) / 2 + LANE * (lane - (loop.lanes - 1) / 2)
        first = [start, (start[0], low), (upright, low)]
        last = [(upright, high), (end[0], high), end]
        if self._is_gap(tail):
            gap = self.frames[tail]
            first = [((gap.right if ahead else gap.left), height), (upright, height)]
        if self._is_gap(head):
            last = [(upright, height), ((frame.left if ahead else frame.right), height)]
        return polyline([*first, *last])

    def _is_gap(self, step: int) -> bool:
        return self.view.clusters[step].kind == "gap"
