"""From a drawing to SVG.

The text is written here and not by Graphviz, so that a picture needs no fonts and no program, has ids that
can be read, a title and a description for screen readers, and colours that follow the reader's light or dark
mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from .layout import MARGIN, Border, Drawing, Line, Shape
from .looks import DARK, FORMS, PALETTES, SIGNS, Ink, Palette, Theme, dashed, thickness
from .metrics import DETAIL, HEADING, SUBSCRIPTED, TITLE, index, lines
from .text import printable
from .view import Point

_FONT = "Helvetica,Arial,sans-serif"
_CAPTION, _MOST_NOTES = 12.0, 3
_DASHES = {"dashed": "4 2.5", "dotted": "1 2.5"}


def svg(drawing: Drawing, prefix: str = "tg", theme: Theme = "auto") -> str:
    """The SVG text of a drawing.

    Parameters
    ----------
    drawing : Drawing
    prefix : str
        What all ids begin with, so that several diagrams can stand on one page: the node ``lstm.t000.h`` has
        the id ``prefix.lstm.t000.h``.
    theme : {"auto", "light", "dark", "paper"}
        auto is light, and dark where the reader prefers it; paper is black and white.

    Returns
    -------
    str
    """
    view = drawing.view
    captions = view.notes[:_MOST_NOTES]
    top = _number(drawing.top)
    width, height = _number(drawing.width), _number(drawing.height - drawing.top + _CAPTION * len(captions))
    described = "; ".join([*view.notes, _counted(drawing)])
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" id="{_attribute(prefix)}" '
        f'viewBox="0 {top} {width} {height}" width="{width}pt" height="{height}pt" role="img" '
        f'aria-labelledby="{_attribute(prefix)}.title {_attribute(prefix)}.desc">',
        f'<title id="{_attribute(prefix)}.title">{_text(view.title or "Computational graph")}</title>',
        f'<desc id="{_attribute(prefix)}.desc">{_text(described)}</desc>',
        f"<style>{_style(prefix, theme)}</style>",
        f'<rect class="paper" y="{top}" width="{width}" height="{height}"/>',
    ]
    out += [_border(border, prefix) for border in drawing.borders if border.cluster.kind != "gap"]
    out += [part for line in drawing.lines for part in _line(line)]
    out += [_shape(shape, prefix) for shape in drawing.shapes.values()]
    out += [_title(border) for border in drawing.borders if border.cluster.title]
    if view.heading:
        out.append(_heading(drawing))
    for k, note in enumerate(captions, 1):
        words = _words(note, MARGIN, drawing.height + _CAPTION * k - 6, DETAIL)
        out.append(f'<g class="caption">{words}</g>')
    return "\n".join([*out, "</svg>", ""])


def _counted(drawing: Drawing) -> str:
    counts: dict[str, int] = {}
    for node in drawing.view.nodes:
        if node.kind not in ("point", "text", "number"):
            counts[node.kind] = counts.get(node.kind, 0) + 1
    plural = {"data": "arrays without gradients", "row": "lines"}
    return ", ".join(
        f"{n} {plural.get(kind, kind + 's' if n != 1 else kind)}" for kind, n in sorted(counts.items())
    )


# ---- looks


def _style(prefix: str, theme: Theme) -> str:
    scope = "#" + "".join(c if c.isalnum() or c in "-_" else f"\\{c}" for c in prefix)
    rules = _rules(scope, PALETTES[theme])
    if theme == "auto":
        rules += f"@media (prefers-color-scheme:dark){{{_rules(scope, DARK)}}}"
    return (
        f"{scope} text{{font-family:{_FONT};text-anchor:middle}}"
        f"{scope} .title text,{scope} .caption text{{text-anchor:start}}{scope} .row text{{text-anchor:start;"
        f"font-family:DejaVu Sans Mono,Menlo,Consolas,monospace}}"
        f"{scope} .edge path{{fill:none}}{scope} .faded{{opacity:.25}}{scope} .i{{font-style:italic}}{rules}"
    )


def _rules(scope: str, palette: Palette) -> str:
    rules = [f"{scope} .paper{{fill:{palette.paper}}}{scope} .caption text{{fill:{palette.faint}}}"]
    rules.append(f"{scope} .heading text{{fill:{palette.text}}}")

    def inked(selector: str, ink: Ink) -> None:
        rules.append(f"{scope} {selector}>.f{{fill:{ink.fill};stroke:{ink.stroke}}}")
        rules.append(f"{scope} {selector}>text{{fill:{ink.text}}}")

    for kind, colours in palette.kinds.items():
        inked(f".{kind}", colours)
    for kind, colours in palette.frames.items():
        inked(f".border.{kind}", colours)
        rules.append(f"{scope} .title.{kind} text{{fill:{colours.text}}}")
    inked(".result", palette.result)
    rules += [f"{scope} .l{k}>.f{{fill:{colour}}}" for k, colour in enumerate(palette.levels)]
    for kind, colour in palette.edges.items():
        rules.append(f"{scope} .edge.{kind} path{{stroke:{colour}}}")
        rules.append(
            f"{scope} .edge.{kind} path.a{{fill:{colour}}}{scope} .edge.{kind} text{{fill:{colour}}}"
        )
    grey = palette.frames["padded"]
    rules.append(f"{scope} .cell.padded>.f{{fill:{grey.fill};stroke:{grey.stroke}}}")
    rules.append(f"{scope} .highlighted>.f,{scope} .edge.highlighted path{{stroke:{palette.highlight}}}")
    rules.append(
        f"{scope} .title text,{scope} .edge text{{stroke:{palette.paper};stroke-width:2.5;"
        f"stroke-linejoin:round;paint-order:stroke}}"
    )
    return "".join(rules)


# ---- parts


def _border(border: Border, prefix: str) -> str:
    cluster = border.cluster
    width, height = border.right - border.left, border.bottom - border.top
    return (
        f'<g id="{_attribute(prefix)}.{_attribute(cluster.key)}" class="border {cluster.kind}">'
        f'<rect class="f" x="{_number(border.left)}" y="{_number(border.top)}" width="{_number(width)}" '
        f'height="{_number(height)}" rx="5"{_strokes(thickness(cluster), dashed(cluster))}/></g>'
    )


def _heading(drawing: Drawing) -> str:
    x, middle = drawing.heading_at
    written = drawing.view.heading.split("\n")
    first = middle + HEADING * (0.95 - 0.6 * len(written))
    words = [_words(line, x, first + HEADING * 1.2 * k, HEADING) for k, line in enumerate(written)]
    return f'<g class="heading">{"".join(words)}</g>'


def _title(border: Border) -> str:
    """The title of a frame, drawn late: an arrow may have to pass there."""
    words = _words(border.cluster.title, border.title_left, border.top + 11.5, TITLE)
    return f'<g class="title {border.cluster.kind}">{words}</g>'


def _shape(shape: Shape, prefix: str) -> str:
    node = shape.node
    classes = [node.kind, node.mark, "result" if node.result else "", "shared" if node.shared else ""]
    classes += [f"l{node.level}"] if node.level is not None else []
    told = f"<title>{_text(node.tooltip)}</title>" if node.tooltip else ""
    data = f' data-entry="{node.entry}"' if node.entry else ""
    names = " ".join(filter(None, classes))
    return (
        f'<g id="{_attribute(prefix)}.{_attribute(node.key)}" class="{names}"{data}>'
        f"{told}{_outline(shape)}{_inscription(shape)}</g>"
    )


def _outline(shape: Shape) -> str:
    node = shape.node
    form = FORMS[node.kind]
    if form == "none":
        return '<path class="f" d="M0 0"/>'
    strokes = _strokes(thickness(node), dashed(node))
    found = _form(form, shape, 0.0, f'class="f"{strokes}')
    if node.result:
        found = _form(form, shape, 2.5, f'class="f"{strokes}') + found
    return found


def _form(form: str, shape: Shape, grown: float, attributes: str) -> str:
    width, height = shape.width + 2 * grown, shape.height + 2 * grown
    if form == "ellipse":
        return (
            f'<ellipse {attributes} cx="{_number(shape.x)}" cy="{_number(shape.y)}" '
            f'rx="{_number(width / 2)}" ry="{_number(height / 2)}"/>'
        )
    radius = {"box": 0.0, "pill": height / 2}.get(form, 4.0) + (grown if form != "box" else 0)
    return (
        f'<rect {attributes} x="{_number(shape.x - width / 2)}" y="{_number(shape.y - height / 2)}" '
        f'width="{_number(width)}" height="{_number(height)}" rx="{_number(radius)}"/>'
    )


def _inscription(shape: Shape) -> str:
    node = shape.node
    written = lines(node)
    y = shape.y - sum(size * 1.2 for _, size in written) / 2
    x = shape.x - shape.width / 2 + 4 if node.kind == "row" else shape.x
    out = []
    for k, (line, size) in enumerate(written):
        out.append(_words((SIGNS.get(node.mark, "") if not k else "") + line, x, y + size * 0.95, size))
        y += size * 1.2
    return "".join(out)


def _line(line: Line) -> Iterable[str]:
    edge = line.edge
    points = line.points
    told = f"<title>{_text(edge.tooltip)}</title>" if edge.tooltip else ""
    classes = " ".join(filter(None, ["edge", edge.kind, edge.mark]))
    strokes = _strokes(thickness(edge), dashed(edge))
    yield f'<g class="{classes}">{told}<path d="{path(points)}"{strokes}/>'
    if edge.arrow:
        yield f'<path class="a" d="{_arrowhead(points)}"/>'
    if edge.kind == "cut":
        yield f'<path d="{_scissors(points)}"{_strokes(1.6, "")}/>'
    if edge.label and line.label_at is not None:
        x, y = line.label_at
        yield _words(edge.label, x, y + DETAIL * 0.35, DETAIL)
    yield "</g>"


def path(points: Sequence[Point]) -> str:
    """A Bézier curve in SVG's notation; straight pieces as such."""
    out = [f"M{_number(points[0][0])} {_number(points[0][1])}"]
    for k in range(1, len(points) - 2, 3):
        a, b, c, d = points[k - 1 : k + 3]
        if _is_straight(a, b, c, d):
            out.append(f"L{_number(d[0])} {_number(d[1])}")
        else:
            out.append("C" + " ".join(f"{_number(x)} {_number(y)}" for x, y in (b, c, d)))
    return "".join(out)


def _is_straight(a: Point, b: Point, c: Point, d: Point) -> bool:
    def off(p: Point) -> float:
        return abs((d[0] - a[0]) * (p[1] - a[1]) - (d[1] - a[1]) * (p[0] - a[0]))

    return max(off(b), off(c)) < 0.5


def direction(points: Sequence[Point]) -> Point:
    """Where a curve points to at its end, with length 1."""
    x, y = points[-1]
    for a, b in reversed(points[:-1]):
        length = ((x - a) ** 2 + (y - b) ** 2) ** 0.5
        if length > 0.5:
            return (x - a) / length, (y - b) / length
    return 0.0, 1.0


def _arrowhead(points: Sequence[Point]) -> str:
    (x, y), (u, v) = points[-1], direction(points)
    long, wide = 6.0, 2.3
    left = x - long * u - wide * v, y - long * v + wide * u
    right = x - long * u + wide * v, y - long * v - wide * u
    return (
        f"M{_number(x)} {_number(y)}" + "".join(f"L{_number(a)} {_number(b)}" for a, b in (left, right)) + "Z"
    )


def _scissors(points: Sequence[Point]) -> str:
    """Two strokes across a line: nothing goes back here."""
    k = (len(points) - 1) // 3 // 2 * 3
    (x, y), (u, v) = points[k], direction(points[: k + 4])
    strokes = []
    for along in (-2.0, 2.0):
        cx, cy = x + along * u, y + along * v
        strokes.append(
            f"M{_number(cx - 5 * v)} {_number(cy + 5 * u)}L{_number(cx + 5 * v)} {_number(cy - 5 * u)}"
        )
    return "".join(strokes)


def _strokes(width: float, broken: str) -> str:
    dash = f' stroke-dasharray="{_DASHES[broken]}"' if broken else ""
    return f' stroke-width="{_number(width)}"{dash}'


def _words(text: str, x: float, y: float, size: float) -> str:
    if not text:
        return ""
    made = _marked_up(text, size)
    # Otherwise spaces in a row become one, and those at the ends of parts none.
    keep = ' xml:space="preserve"' if "  " in text or "</tspan>" in made else ""
    return f'<text x="{_number(x)}" y="{_number(y)}" font-size="{_number(size)}"{keep}>{made}</text>'


def _marked_up(text: str, size: float) -> str:
    """Letters with indices in italics and set low; everything else as it is."""
    out, at, lowered = [], 0, False
    small, drop = _number(size * 0.72), _number(size * 0.22)

    def plain(words: str) -> None:
        # A shift needs characters to carry it.
        out.append(f'<tspan dy="-{drop}">{_text(words)}</tspan>' if lowered and words else _text(words))

    for match in SUBSCRIPTED.finditer(text):
        plain(text[at : match.start()])
        letter, low = match.groups()
        shift = f' dy="-{drop}"' if lowered and at == match.start() else ""
        out.append(f'<tspan class="i"{shift}>{_text(letter)}</tspan>')
        low = index(low).replace("-", "\N{MINUS SIGN}")
        out.append(f'<tspan dy="{drop}" font-size="{small}">{_text(low)}</tspan>')
        at, lowered = match.end(), True
    plain(text[at:])
    return "".join(out)


def _number(value: float) -> str:
    text = f"{value:.1f}"
    return "0" if text == "-0.0" else text.removesuffix(".0")


def _text(text: str) -> str:
    return escape(printable(text), quote=False)


def _attribute(text: str) -> str:
    return escape(printable(text), quote=True)
