"""Places for what a view shows: positions of nodes, courses of arrows, borders of frames.

Coordinates are in points, x to the right and y downwards. Every writer reads these, so that all formats show
one and the same picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from .metrics import DETAIL, HEADING, text_width
from .view import Cluster, Edge, Node, Point, View

TITLE_ROOM = 16.0
"""What the title of a frame needs at its top."""

MARGIN = 8.0

_TURN = 5.0
"""The radius with which lines turn."""


@dataclass(slots=True)
class Shape:
    """A node with its place: the centre, the width and the height."""

    node: Node
    x: float
    y: float
    width: float
    height: float


@dataclass(slots=True)
class Line:
    """An edge with its course: the points of a Bézier curve, one and three for each further piece."""

    edge: Edge
    points: list[Point]
    label_at: Point | None = None


@dataclass(slots=True)
class Border:
    """A cluster with its place: the left, upper, right and lower end, and where its title begins."""

    cluster: Cluster
    left: float
    top: float
    right: float
    bottom: float
    title_left: float = 0.0


@dataclass(slots=True)
class Drawing:
    """A view with places. Borders come from the outside in, and are None for clusters without one.

    A heading stands above the picture, whose height begins at 0: `top` is negative then.
    """

    view: View
    width: float = 0.0
    height: float = 0.0
    top: float = 0.0
    heading_at: Point = (0.0, 0.0)
    shapes: dict[str, Shape] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    borders: list[Border] = field(default_factory=list)


def place(view: View) -> Drawing:
    """Find places for all that a view shows.

    Parameters
    ----------
    view : View

    Returns
    -------
    Drawing

    Raises
    ------
    RenderError
        If the view has no grid and Graphviz is missing, fails or takes too long.
    """
    from .assembly import place_in_pieces
    from .grid import place_on_grid
    from .labels import settle

    drawing = place_on_grid(view) if view.on_grid else place_in_pieces(view)
    for border in drawing.borders:
        border.title_left = border.left + 6
    settle(drawing)
    if view.heading:
        _head(drawing)
    return drawing


def _head(drawing: Drawing) -> None:
    """Make room for the heading, in the middle above the picture, and as wide as it needs."""
    written = drawing.view.heading.split("\n")
    needed = max(text_width(line, HEADING) for line in written) + 2 * MARGIN
    drawing.top = -(len(written) * HEADING * 1.2 + MARGIN)
    drawing.heading_at = max(drawing.width, needed) / 2, (drawing.top + MARGIN) / 2
    drawing.width = max(drawing.width, needed)


# ---- courses


def polyline(points: Sequence[Point]) -> list[Point]:
    """The Bézier curve along straight lines from point to point, with rounded corners."""
    points = [p for k, p in enumerate(points) if not k or math.dist(p, points[k - 1]) > 0.01]
    if len(points) < 2:
        points = [*points, *points][:2]
    found = [points[0]]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        radius = min(_TURN, math.dist(before, corner) / 2, math.dist(corner, after) / 2)
        begin, end = _towards(corner, before, radius), _towards(corner, after, radius)
        found += [*_straight(found[-1], begin), corner, corner, end]
    return [*found, *_straight(found[-1], points[-1])]


def swing(start: Point, end: Point) -> list[Point]:
    """A curve that leaves and arrives vertically."""
    middle = (start[1] + end[1]) / 2
    return [start, (start[0], middle), (end[0], middle), end]


def joined(*courses: Sequence[Point]) -> list[Point]:
    """Courses one after another as one."""
    found: list[Point] = []
    for course in courses:
        if found and course:
            found += [*_straight(found[-1], course[0])] if math.dist(found[-1], course[0]) > 0.01 else []
            found += course[1:]
        else:
            found += course
    return found


def middle(course: Sequence[Point]) -> Point:
    """A point half-way on a course, or nearly."""
    k = (len(course) - 1) // 3 // 2 * 3
    a, b, c, d = course[k : k + 4]
    return (a[0] + 3 * b[0] + 3 * c[0] + d[0]) / 8, (a[1] + 3 * b[1] + 3 * c[1] + d[1]) / 8


def label_place(edge: Edge, course: Sequence[Point]) -> Point | None:
    """Where an edge's label stands: beside the middle, on the outer side of a falling line."""
    if not edge.label:
        return None
    if len(edge.via) > 2 and edge.tail != edge.head:
        return None  # beside boxes there are other lines, and no room for words
    (x, y), aside = middle(course), 2 + text_width(edge.label, DETAIL) / 2
    (a, b), (c, d) = course[0], course[-1]
    if edge.tail == edge.head:
        return max(x for x, _ in course) + aside, (b + d) / 2
    if abs(c - a) > abs(d - b) * 2:
        return x, y - 6
    return x + (aside if c >= a else -aside), y - 2


def edge_of(shape: Shape, towards: Point) -> Point:
    """Where the straight line from a shape's centre to a point leaves the shape."""
    dx, dy = towards[0] - shape.x, towards[1] - shape.y
    if not dx and not dy:
        return shape.x, shape.y
    if shape.node.kind in ("parameter", "gate") and shape.width and shape.height:
        scale = 1 / math.hypot(dx / (shape.width / 2), dy / (shape.height / 2))
    else:
        across = abs(dx) / (shape.width / 2) if shape.width else math.inf * bool(dx)
        down = abs(dy) / (shape.height / 2) if shape.height else math.inf * bool(dy)
        scale = 1 / max(across, down)
    scale = min(scale, 1.0)
    return shape.x + dx * scale, shape.y + dy * scale


def _straight(a: Point, b: Point) -> tuple[Point, Point, Point]:
    """What follows the point `a` on a Bézier curve that goes straight to `b`."""
    third = (b[0] - a[0]) / 3, (b[1] - a[1]) / 3
    return (a[0] + third[0], a[1] + third[1]), (b[0] - third[0], b[1] - third[1]), b


def _towards(a: Point, b: Point, length: float) -> Point:
    whole = math.dist(a, b) or 1.0
    return a[0] + (b[0] - a[0]) * length / whole, a[1] + (b[1] - a[1]) * length / whole
