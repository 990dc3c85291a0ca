"""Layout of views that have a grid: places by arithmetic.

Columns and rows are as large as the largest node needs, unless the view says how large; rows count upwards.
"""

from __future__ import annotations

from collections.abc import Callable

from .layout import MARGIN, TITLE_ROOM, Border, Drawing, Line, Shape, edge_of, label_place, polyline
from .metrics import DETAIL, node_size, text_width
from .view import Edge, Point, View

_GAPS = 34.0, 30.0
_PAD = 10.0


def place_on_grid(view: View) -> Drawing:
    """The drawing of a view that has a grid; see `layout.place`."""
    sizes = {node.key: node_size(node) for node in view.nodes}
    unit = view.unit or (
        max((sizes[n.key][0] for n in view.nodes if n.span <= 1), default=0.0) + _GAPS[0],
        max(height for _, height in sizes.values()) + _GAPS[1],
    )

    def point(at: Point) -> Point:
        return at[0] * unit[0], -at[1] * unit[1]

    drawing = Drawing(view)
    for node in view.nodes:
        assert node.at is not None
        width, height = sizes[node.key]
        if node.span:
            width = max(width, (node.span - 1) * unit[0] + 64) if node.span > 1 else width
        x, y = point(node.at)
        # Lines of a table begin at their places.
        x += width / 2 if node.kind == "row" else 0
        drawing.shapes[node.key] = Shape(node, x, y, width, height)
    for edge in view.edges:
        course = polyline(_course(edge, drawing.shapes, point))
        drawing.lines.append(Line(edge, course, label_place(edge, course)))
    drawing.borders = _borders(view, drawing.shapes)
    _shift(drawing)
    return drawing


def _course(edge: Edge, shapes: dict[str, Shape], point: Callable[[Point], Point]) -> list[Point]:
    tail, head = shapes[edge.tail], shapes[edge.head]
    via = [point(at) for at in edge.via]
    first = via[0] if via else (head.x, head.y)
    last = via[-1] if via else (tail.x, tail.y)
    if not via and abs(first[0] - last[0]) > 0.1 and abs(first[1] - last[1]) > 0.1:
        # Between nodes that overlap in their extent, an upright or a level line.
        first, last = _facing(tail, head), _facing(head, tail)
    return [_attached(tail, first), *via, _attached(head, last)]


def _facing(shape: Shape, other: Shape) -> Point:
    """The point of another shape that a shape's line should go to: straight ahead, if that meets it."""
    x = min(max(other.x, shape.x - shape.width / 2 + 4), shape.x + shape.width / 2 - 4)
    y = min(max(other.y, shape.y - shape.height / 2 + 4), shape.y + shape.height / 2 - 4)
    narrow = other if other.width < shape.width else shape
    if abs(other.x - shape.x) < (other.width + shape.width) / 2 - 4:
        return (narrow.x if x == narrow.x or narrow is shape else x), other.y
    if abs(other.y - shape.y) < (other.height + shape.height) / 2 - 4:
        return other.x, y
    return other.x, other.y


def _attached(shape: Shape, towards: Point) -> Point:
    """Where a line that comes from a point ends at a shape: upright or level, if that meets it."""
    across = abs(towards[0] - shape.x) <= shape.width / 2
    along = abs(towards[1] - shape.y) <= shape.height / 2
    if shape.node.kind in ("parameter", "gate") or across == along:
        return edge_of(shape, towards)
    if across:
        return towards[0], shape.y + shape.height / 2 * (1 if towards[1] > shape.y else -1)
    return shape.x + shape.width / 2 * (1 if towards[0] > shape.x else -1), towards[1]


def _borders(view: View, shapes: dict[str, Shape]) -> list[Border]:
    """The frames around what stands in clusters."""
    found: dict[int, Border] = {}
    for k in reversed(range(len(view.clusters))):
        inside = [shapes[node.key] for node in view.nodes if node.cluster == k]
        boxes = [
            (s.x - s.width / 2, s.y - s.height / 2, s.x + s.width / 2, s.y + s.height / 2) for s in inside
        ]
        inner = [b for j, b in found.items() if view.clusters[j].parent == k]
        boxes += [(b.left, b.top, b.right, b.bottom) for b in inner]
        if boxes:
            left, top = min(b[0] for b in boxes), min(b[1] for b in boxes)
            right, bottom = max(b[2] for b in boxes), max(b[3] for b in boxes)
            room = TITLE_ROOM if view.clusters[k].title else _PAD
            found[k] = Border(view.clusters[k], left - _PAD, top - room, right + _PAD, bottom + _PAD)
    return [found[k] for k in sorted(found)]


def _shift(drawing: Drawing) -> None:
    """Move everything so that it begins at the margins."""
    shapes, borders = drawing.shapes.values(), drawing.borders
    xs = [x for s in shapes for x in (s.x - s.width / 2, s.x + s.width / 2)]
    ys = [y for s in shapes for y in (s.y - s.height / 2, s.y + s.height / 2)]
    xs += [x for line in drawing.lines for x, _ in line.points] + [
        x for b in borders for x in (b.left, b.right)
    ]
    ys += [y for line in drawing.lines for _, y in line.points] + [
        y for b in borders for y in (b.top, b.bottom)
    ]
    for line in drawing.lines:
        if line.label_at is not None:
            half = text_width(line.edge.label, DETAIL) / 2
            xs += [line.label_at[0] - half, line.label_at[0] + half]
            ys += [line.label_at[1] - DETAIL, line.label_at[1] + DETAIL]
    dx, dy = MARGIN - min(xs), MARGIN - min(ys)
    for shape in shapes:
        shape.x, shape.y = shape.x + dx, shape.y + dy
    for line in drawing.lines:
        line.points = [(x + dx, y + dy) for x, y in line.points]
        if line.label_at is not None:
            line.label_at = line.label_at[0] + dx, line.label_at[1] + dy
    for border in borders:
        border.left, border.right = border.left + dx, border.right + dx
        border.top, border.bottom = border.top + dy, border.bottom + dy
    drawing.width, drawing.height = max(xs) + dx + MARGIN, max(ys) + dy + MARGIN
