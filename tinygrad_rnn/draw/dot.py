"""From a view to DOT, the language of Graphviz; with places, if there is a drawing.

With places, any of Graphviz's programs draws the text just as it is laid out here. Without, for want of
Graphviz, they can be tried on the text elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

from .layout import Border, Drawing, Line, Shape
from .looks import FORMS, PALETTES, SIGNS, Ink, Palette, Theme, dashed, ink, thickness
from .metrics import DETAIL, HEADING, TITLE, lines, text_width
from .text import printable
from .view import Cluster, Edge, Node, Point, View

_FONT = "Helvetica,Arial,sans-serif"
_MONOSPACED = "DejaVu Sans Mono,Courier,monospace"
_SHAPES = {
    "round": "box",
    "ellipse": "ellipse",
    "box": "box",
    "pill": "box",
    "none": "plaintext",
}


def dot_source(
    view: View, drawing: Drawing | None = None, theme: Theme = "light", sized: bool = False
) -> str:
    """The DOT text of a view, the same on every run.

    Parameters
    ----------
    view : View
    drawing : Drawing, optional
        Its places.
    theme : str
        One of `looks.THEMES`; auto is light.
    sized : bool
        Whether each line of a label has its own size, as in pictures. Otherwise all have one, and the text is
        easier to read and to edit.

    Returns
    -------
    str
    """
    return _Writer(view, drawing, PALETTES[theme], sized).source()


class _Writer:
    """The text in the making."""

    def __init__(self, view: View, drawing: Drawing | None, palette: Palette, sized: bool) -> None:
        self.view, self.drawing, self.palette, self.sized = view, drawing, palette, sized
        self.borders = {b.cluster.key: b for b in drawing.borders} if drawing else {}
        self.height = drawing.height if drawing else 0.0

    def source(self) -> str:
        out = ["digraph {"]
        graph = {
            "bgcolor": self.palette.paper,
            "fontname": _FONT,
            "fontsize": f"{TITLE:g}",
            "outputorder": "edgesfirst",
        }
        if self.drawing is not None:
            # Which all of Graphviz's programs obey, whatever their own way of layout: the places stand below.
            graph["layout"] = "nop2"
            graph["bb"] = f"0,0,{_points(self.drawing.width)},{_points(self.height - self.drawing.top)}"
        else:
            graph |= {"newrank": "true", "nodesep": "0.12", "ranksep": "0.25"}
        if self.view.title:
            graph["tooltip"] = _label(self.view.title)
        out.append(f"graph{_attributes(graph)}")
        out.append(f"node{_attributes({'fontname': _FONT, 'fontsize': f'{TITLE:g}', 'fixedsize': 'true'})}")
        out.append(f"edge{_attributes({'fontname': _FONT, 'fontsize': f'{DETAIL:g}', 'arrowsize': '0.6'})}")
        inside: dict[int | None, list[Node]] = {}
        for node in self.view.nodes:
            inside.setdefault(node.cluster, []).append(node)
        out += self._clusters(inside)
        out += [self._node(node) for node in inside.get(None, ())]
        if self.drawing is not None:
            out += [self._edge(line.edge, line) for line in self.drawing.lines]
        else:
            out += [self._edge(edge, None) for edge in self.view.edges]
        if self.view.heading:
            # At the end, as frames would inherit it.
            heading = {"label": _label(self.view.heading), "labelloc": "t", "fontsize": f"{HEADING:g}"}
            if self.drawing is not None:
                heading["lp"] = self._point(self.drawing.heading_at)
            out += [f"{name}={quoted(value)}" for name, value in heading.items()]
            out.append(f"fontcolor={quoted(self.palette.text)}")
        return "\n".join([*out, "}", ""])

    def _clusters(self, inside: dict[int | None, list[Node]]) -> list[str]:
        """Clusters with what is in them; without recursion, as they may be nested deeply."""
        children: dict[int | None, list[int]] = {}
        for k, cluster in enumerate(self.view.clusters):
            children.setdefault(cluster.parent, []).append(k)
        for group in children.values():
            group.sort(key=lambda k: self.view.clusters[k].step or 0)
        out = []
        stack = [(False, k) for k in reversed(children.get(None, []))]
        while stack:
            closing, k = stack.pop()
            if closing:
                out.append("}")
                continue
            cluster = self.view.clusters[k]
            out.append(f"subgraph {quoted(f'cluster_{cluster.key}')} {{")
            out.append(f"graph{_attributes(self._frame(cluster))}")
            out += [self._node(node) for node in inside.get(k, ())]
            stack.append((True, k))
            stack += [(False, child) for child in reversed(children.get(k, []))]
        return out

    def _frame(self, cluster: Cluster) -> Mapping[str, str]:
        ink = self.palette.frames[cluster.kind]
        style = "rounded,filled" + (",dashed" if dashed(cluster) else "")
        found = {"id": cluster.key, "label": _label(cluster.title), "labeljust": "l", **_inked(ink)}
        found |= {"fontcolor": ink.text, "penwidth": f"{thickness(cluster):g}"}
        found["style"] = "invis" if cluster.kind == "gap" else style
        border: Border | None = self.borders.get(cluster.key)
        if border is not None:
            low, high = self.height - border.bottom, self.height - border.top
            corners = (border.left, low, border.right, high)
            found["bb"] = ",".join(_points(value) for value in corners)
            # The label is centred at lp, and its text begins at the left of its own width.
            found["lp"] = f"{_points(border.title_left + 2 + len(cluster.title) * 2.6)},{_points(high - 9)}"
        return found

    def _node(self, node: Node) -> str:
        shape: Shape | None = self.drawing.shapes[node.key] if self.drawing else None
        form = FORMS[node.kind]
        # Graphviz takes \N and others for names within its HTML, and has no escape.
        sized = self.sized and "\\" not in node.title + node.detail
        colours = ink(node, self.palette)
        styles = [] if form == "none" else ["filled", *(["rounded"] if form in ("round", "pill") else [])]
        styles += [dashed(node)] if dashed(node) else []
        found = {
            "id": node.key,
            "label": _sized(node) if sized else _inscription(node),
            "shape": _SHAPES[form],
            "style": ",".join(styles),
        }
        if form != "none":
            found |= _inked(colours)
        found |= {"fontcolor": colours.text}
        if node.mark == "faded":
            found |= {
                name: _faded(found[name]) for name in ("color", "fillcolor", "fontcolor") if name in found
            }
        found |= {"penwidth": f"{thickness(node):g}"}
        if node.result and form != "none":
            found["peripheries"] = "2"
        if node.tooltip:
            found["tooltip"] = _label(node.tooltip)
        if node.kind == "row":
            found["fontname"] = _MONOSPACED
        if node.kind == "point":
            found |= {"shape": "point", "width": "0.01", "height": "0.01"}
        elif shape is not None:
            if not sized and _overflows(node, shape):
                found["fontsize"] = f"{DETAIL:g}"
            found |= {"width": f"{shape.width / 72:.4f}", "height": f"{shape.height / 72:.4f}"}
        else:
            found["fixedsize"] = "false"
        if shape is not None:
            found["pos"] = self._point((shape.x, shape.y))
        return f"{quoted(node.key)}{_attributes(found)}"

    def _edge(self, edge: Edge, line: Line | None) -> str:
        colour = self.palette.highlight if edge.mark == "highlighted" else self.palette.edges[edge.kind]
        colour = _faded(colour) if edge.mark == "faded" else colour
        found = {"color": colour, "penwidth": f"{thickness(edge):.3g}", "tooltip": _label(edge.tooltip)}
        if dashed(edge):
            found["style"] = dashed(edge)
        if not edge.arrow:
            found["dir"] = "none"
        if edge.kind == "cut":
            found["arrowtail"], found["dir"] = "tee", "both"
        if edge.label and (line is None or line.label_at is not None):
            found |= {"label": _label(edge.label), "fontcolor": colour}
        if line is not None:
            if edge.label and line.label_at is not None:
                found["lp"] = self._point(line.label_at)
            found["pos"] = self._course(line.points, edge.arrow)
        return f"{quoted(edge.tail)} -> {quoted(edge.head)}{_attributes(found)}"

    def _course(self, points: list[Point], arrow: bool) -> str:
        if not arrow:
            return " ".join(map(self._point, points))
        # Graphviz draws its arrowhead from the end of the curve to the point e. A curve that turned back at
        # its end would not be drawn.
        *rest, (a, b), (x, y) = points
        length = ((x - a) ** 2 + (y - b) ** 2) ** 0.5 or 1.0
        u, v = 5 * (x - a) / length, 5 * (y - b) / length
        return f"e,{self._point((x, y))} " + " ".join(
            map(self._point, [*rest, (a - u, b - v), (x - u, y - v)])
        )

    def _point(self, point: Point) -> str:
        return f"{_points(point[0])},{_points(self.height - point[1])}"


def _inked(ink: Ink) -> dict[str, str]:
    return {
        "color": "transparent" if ink.stroke == "none" else ink.stroke,
        "fillcolor": "transparent" if ink.fill == "none" else ink.fill,
    }


def _faded(colour: str) -> str:
    """A quarter of the colour, and three of what is behind it."""
    return f"{colour}40" if colour.startswith("#") else colour


class _Html(str):
    """A label in Graphviz's HTML, which stands between angles in place of quotation marks."""


def _written(node: Node) -> list[tuple[str, float]]:
    (title, size), *details = lines(node)
    return [(SIGNS.get(node.mark, "") + title, size), *details]


def _inscription(node: Node) -> str:
    return _label("\n".join(text for text, _ in _written(node)))


def _sized(node: Node) -> _Html:
    # Rows of a table have the height that they are given. Lines with breaks between them run into each other.
    rows = "".join(
        f'<TR><TD HEIGHT="{math.ceil(size * 1.2)}"><FONT POINT-SIZE="{size:g}">'
        f"{escape(printable(text)) or ' '}</FONT></TD></TR>"
        for text, size in _written(node)
    )
    return _Html(f'<TABLE BORDER="0" CELLBORDER="0" CELLPADDING="0" CELLSPACING="0">{rows}</TABLE>')


def _overflows(node: Node, shape: Shape) -> bool:
    """Whether the lines are too long or too many for the title's size: Graphviz has one size for all."""
    texts = [text for text, _ in lines(node)]
    width = max(text_width(text, TITLE) for text in texts)
    return node.kind != "row" and (
        width > shape.width - 2 or (len(texts) * TITLE * 1.2 > shape.height - 2 and len(texts) > 2)
    )


def _label(text: str) -> str:
    """A text as Graphviz will show it, whatever characters are in it."""
    # An ampersand would begin an entity such as &lt;.
    return printable(text).replace("\\", "\\\\").replace("&", "&amp;").replace("\n", "\\n")


def quoted(text: str) -> str:
    """A text between DOT's quotation marks, its backslashes left alone."""
    return '"' + text.replace('"', '\\"') + '"'


def _attributes(found: Mapping[str, str]) -> str:
    values = {name: f"<{v}>" if isinstance(v, _Html) else quoted(v) for name, v in found.items()}
    return " [" + " ".join(f"{name}={value}" for name, value in values.items()) + "]"


def _points(value: float) -> str:
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
