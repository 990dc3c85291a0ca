"""From a drawing to TikZ, for papers: a ``tikzpicture`` to ``\\input`` where the package tikz is loaded.

It needs nothing but tikz itself, and compiles with pdfLaTeX; letters that pdfLaTeX does not have, such as
Korean ones, need XeLaTeX or LuaLaTeX and a font with them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .layout import Border, Drawing, Line, Shape
from .looks import FORMS, PALETTES, SIGNS, Ink, Palette, Theme, dashed, ink, thickness
from .metrics import DETAIL, HEADING, SUBSCRIPTED, TITLE, index, lines
from .text import printable
from .view import Edge, Node, Point

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": "$<$", ">": "$>$", "|": "$|$",
    "\N{MULTIPLICATION SIGN}": r"$\times$", "÷": r"$\div$", "\N{MINUS SIGN}": "$-$", "ᵀ": r"$^{\mathsf{T}}$",
    "…": r"\dots{}", "⋯": r"$\cdots$", "→": r"$\to$", "·": r"$\cdot$", "\N{PRIME}": "$'$", '"': "''",
    "\N{GREEK SMALL LETTER SIGMA}": r"$\sigma$", "∂": r"$\partial$",
}  # fmt: skip
_PRIME = "\N{PRIME}"
_DASHES = {"dashed": ",dash pattern=on 4pt off 2.5pt", "dotted": ",dash pattern=on 1pt off 2.5pt", "": ""}


def tikz(drawing: Drawing, theme: Theme = "light") -> str:
    """The TikZ text of a drawing.

    Parameters
    ----------
    drawing : Drawing
    theme : str
        One of `looks.THEMES`; auto is light.

    Returns
    -------
    str
    """
    palette = PALETTES[theme]
    colours = _Colours()
    body = [_border(border, palette, colours) for border in drawing.borders if border.cluster.kind != "gap"]
    body += [part for line in drawing.lines for part in _line(line, palette, colours)]
    body += [part for shape in drawing.shapes.values() for part in _shape(shape, palette, colours)]
    body += [_title(border, palette, colours) for border in drawing.borders if border.cluster.title]
    body += _heading(drawing, palette, colours)
    head = [
        f"% {line}" for line in (_one_line(drawing.view.title), *map(_one_line, drawing.view.notes)) if line
    ]
    return "\n".join(
        [
            *head,
            r"% In the preamble: \usepackage{tikz}",
            r"\begin{tikzpicture}[x=1pt,y=-1pt,inner sep=0pt,outer sep=0pt,every node/.style={align=center}]",
            *colours.definitions(),
            *body,
            r"\end{tikzpicture}",
            "",
        ]
    )


class _Colours:
    """The colours that were used, each with a name: TikZ takes no hexadecimal numbers."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def name(self, colour: str) -> str:
        if colour == "none":
            return "none"
        return self.names.setdefault(colour, "rnn" + chr(ord("A") + len(self.names)))

    def definitions(self) -> list[str]:
        return [
            rf"\definecolor{{{name}}}{{HTML}}{{{colour.lstrip('#').upper()}}}"
            for colour, name in self.names.items()
        ]


def _border(border: Border, palette: Palette, colours: _Colours) -> str:
    look = palette.frames[border.cluster.kind]
    return (
        rf"\path[{_filled(look, colours)},line width={thickness(border.cluster):g}pt,rounded corners=5pt"
        rf"{_DASHES[dashed(border.cluster)]}] ({border.left:.1f},{border.top:.1f}) rectangle "
        rf"({border.right:.1f},{border.bottom:.1f});"
    )


def _title(border: Border, palette: Palette, colours: _Colours) -> str:
    colour = colours.name(palette.frames[border.cluster.kind].text)
    words = _words(border.cluster.title, TITLE)
    return rf"\node[anchor=west,text={colour}] at ({border.title_left:.1f},{border.top + 8:.1f}) {{{words}}};"


def _heading(drawing: Drawing, palette: Palette, colours: _Colours) -> list[str]:
    if not drawing.view.heading:
        return []
    x, y = drawing.heading_at
    words = r"\\".join(_words(line, HEADING) for line in drawing.view.heading.split("\n"))
    return [rf"\node[text={colours.name(palette.text)}] at ({x:.1f},{y:.1f}) {{{words}}};"]


def _shape(shape: Shape, palette: Palette, colours: _Colours) -> list[str]:
    node = shape.node
    look = ink(node, palette)
    form = FORMS[node.kind]
    outline: list[str] = []
    if form != "none":
        style = f"{_filled(look, colours)},line width={thickness(node):g}pt"
        style += f"{_DASHES[dashed(node)]}{_opacity(node)}"
        grown = (2.5, 0.0) if node.result else (0.0,)
        outline = [rf"\path[{style}{_form(form, shape, g)};" for g in grown]
    if node.kind == "point":
        return outline
    words = r"\\".join(
        _words((SIGNS.get(node.mark, "") if not k else "") + line, size, node.kind == "row")
        for k, (line, size) in enumerate(lines(node))
    )
    anchor, x = ("anchor=west,", shape.x - shape.width / 2 + 4) if node.kind == "row" else ("", shape.x)
    style = f"{anchor}text={colours.name(look.text)}{_opacity(node)}"
    text = rf"\node[{style}] at ({x:.1f},{shape.y:.1f}) {{{words}}};"
    return [*outline, text]


def _form(form: str, shape: Shape, grown: float) -> str:
    width, height = shape.width / 2 + grown, shape.height / 2 + grown
    if form == "ellipse":
        return f"] ({shape.x:.1f},{shape.y:.1f}) ellipse [x radius={width:.1f},y radius={height:.1f}]"
    corners = {"box": 0.0, "pill": height}.get(form, 4.0)
    return (
        f",rounded corners={corners:.1f}pt] ({shape.x - width:.1f},{shape.y - height:.1f}) rectangle "
        f"({shape.x + width:.1f},{shape.y + height:.1f})"
    )


def _line(line: Line, palette: Palette, colours: _Colours) -> list[str]:
    edge = line.edge
    colour = palette.highlight if edge.mark == "highlighted" else palette.edges[edge.kind]
    arrow = ",-stealth" if edge.arrow else ""
    style = f"draw={colours.name(colour)},line width={thickness(edge):.2g}pt"
    style += f"{arrow}{_DASHES[dashed(edge)]}{_opacity(edge)}"
    found = [rf"\path[{style}] {_course(line.points)};"]
    if edge.kind == "cut":
        x, y = line.points[(len(line.points) - 1) // 3 // 2 * 3]
        found.append(rf"\node[text={colours.name(colour)}] at ({x:.1f},{y:.1f}) {{\bfseries $/\!/$}};")
    if edge.label and line.label_at is not None:
        x, y = line.label_at
        words = _words(edge.label, DETAIL)
        paper = colours.name(palette.paper)
        found.append(
            rf"\node[fill={paper},fill opacity=.8,text opacity=1,text={colours.name(colour)}] "
            rf"at ({x:.1f},{y:.1f}) {{{words}}};"
        )
    return found


def _opacity(thing: Node | Edge) -> str:
    return ",opacity=.25" if thing.mark == "faded" else ""


def _course(points: Sequence[Point]) -> str:
    out = [f"({points[0][0]:.1f},{points[0][1]:.1f})"]
    for k in range(1, len(points) - 2, 3):
        b, c, d = (f"({x:.1f},{y:.1f})" for x, y in points[k : k + 3])
        out.append(f".. controls {b} and {c} .. {d}")
    return " ".join(out)


def _filled(look: Ink, colours: _Colours) -> str:
    return f"fill={colours.name(look.fill)},draw={colours.name(look.stroke)}"


def _words(text: str, size: float, monospaced: bool = False) -> str:
    family = r"\ttfamily" if monospaced else r"\sffamily"
    # Computer Modern's sans serif is as wide as Helvetica at nine tenths of the size.
    return rf"{family}\fontsize{{{size * 0.9:g}}}{{{size * 1.1:g}}}\selectfont {latex(text)}"


def latex(text: str) -> str:
    """A text as LaTeX shows it, whatever characters are in it; letters with indices as mathematics."""
    out, at = [], 0
    for match in SUBSCRIPTED.finditer(text):
        letter, low = match.groups()
        out += [_escaped(text[at : match.start()]), f"${letter.replace(_PRIME, chr(39))}_{{{index(low)}}}$"]
        at = match.end()
    return "".join([*out, _escaped(text[at:])])


def _escaped(text: str) -> str:
    text = re.sub(r"[₀-₉₊₋ₜ]+", lambda match: index(match.group()), printable(text))
    escaped = "".join(_SPECIAL.get(c, c) for c in text)
    return escaped.replace("\n", r"\\").replace("  ", r"~~")


def _one_line(text: str) -> str:
    return " ".join(printable(text).split())
