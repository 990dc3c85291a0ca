"""How things look: colours, shapes and line styles.

Colours are those of Okabe and Ito and tints of them, which the colour-blind tell apart. A shape, a line style
or a word says the same, so that a diagram printed in grey, or drawn with ``theme="paper"``, still speaks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .view import Cluster, Edge, Node

Theme = Literal["auto", "light", "dark", "paper"]
THEMES = ("auto", "light", "dark", "paper")


@dataclass(frozen=True)
class Ink:
    """Fill, outline and text."""

    fill: str
    stroke: str
    text: str


@dataclass(frozen=True)
class Palette:
    """The colours of a theme: of each kind of node, arrow and frame."""

    paper: str
    text: str
    faint: str
    kinds: dict[str, Ink]
    edges: dict[str, str]
    frames: dict[str, Ink]
    result: Ink
    highlight: str
    levels: tuple[str, ...]


_BLUE, _ORANGE, _GREEN, _VERMILLION, _SKY = "#0072B2", "#B87A00", "#00795A", "#D55E00", "#56B4E9"

LIGHT = Palette(
    paper="#ffffff",
    text="#1a1a1a",
    faint="#666666",
    kinds={
        "operation": Ink("#e5f1f8", _BLUE, "#1a1a1a"),
        "parameter": Ink("#fdf1d9", _ORANGE, "#1a1a1a"),
        "data": Ink("#e0f3ed", _GREEN, "#1a1a1a"),
        "number": Ink("none", "none", "#1a1a1a"),
        "state": Ink("#fbe6d9", _VERMILLION, "#1a1a1a"),
        "cell": Ink("#e5f1f8", _BLUE, "#1a1a1a"),
        "module": Ink("#eeeaf6", "#6a51a3", "#1a1a1a"),
        "gap": Ink("none", "none", "#444444"),
        "gate": Ink("#fff3b0", "#8a6d00", "#1a1a1a"),
        "point": Ink("none", "none", "#1a1a1a"),
        "text": Ink("none", "none", "#1a1a1a"),
        "row": Ink("none", "none", "#1a1a1a"),
        "ribbon": Ink("none", "#777777", "#1a1a1a"),
    },
    edges={"data": "#555555", "state": _VERMILLION, "cut": _VERMILLION},
    frames={
        "module": Ink("#ffffff", "#aaaaaa", "#444444"),
        "step": Ink("#f5f5f5", "#bbbbbb", "#444444"),
        "padded": Ink("#dddddd", "#888888", "#444444"),
        "gap": Ink("none", "none", "#444444"),
        "cell": Ink("#f2f7ee", "#5b8a3c", "#444444"),
    },
    result=Ink("#fff3b0", "#1a1a1a", "#1a1a1a"),
    highlight=_VERMILLION,
    levels=("#f7fbff", "#c6dbef", "#6baed6", "#e69f00", "#d55e00"),
)

DARK = Palette(
    paper="#16181d",
    text="#eeeeee",
    faint="#aaaaaa",
    kinds={
        "operation": Ink("#12344a", _SKY, "#f2f2f2"),
        "parameter": Ink("#46340c", "#e69f00", "#f2f2f2"),
        "data": Ink("#0d3a2e", "#2bb58c", "#f2f2f2"),
        "number": Ink("none", "none", "#f2f2f2"),
        "state": Ink("#4d2a12", "#f08a4b", "#f2f2f2"),
        "cell": Ink("#12344a", _SKY, "#f2f2f2"),
        "module": Ink("#2d2640", "#b6a2e0", "#f2f2f2"),
        "gap": Ink("none", "none", "#cccccc"),
        "gate": Ink("#4a4213", "#f0e442", "#f2f2f2"),
        "point": Ink("none", "none", "#f2f2f2"),
        "text": Ink("none", "none", "#f2f2f2"),
        "row": Ink("none", "none", "#f2f2f2"),
        "ribbon": Ink("none", "#888888", "#f2f2f2"),
    },
    edges={"data": "#b0b0b0", "state": "#f08a4b", "cut": "#f08a4b"},
    frames={
        "module": Ink("#16181d", "#5c626e", "#c8c8c8"),
        "step": Ink("#1f232b", "#4b515c", "#c8c8c8"),
        "padded": Ink("#3a3d44", "#80858f", "#c8c8c8"),
        "gap": Ink("none", "none", "#c8c8c8"),
        "cell": Ink("#1c2619", "#8fbf6d", "#c8c8c8"),
    },
    result=Ink("#5a5013", "#f2f2f2", "#f2f2f2"),
    highlight="#f08a4b",
    levels=("#20262e", "#24445e", "#2f78a8", "#a86f00", "#d55e00"),
)

_BLACK = Ink("#ffffff", "#000000", "#000000")

PAPER = Palette(
    paper="#ffffff",
    text="#000000",
    faint="#000000",
    kinds={
        **dict.fromkeys(LIGHT.kinds, _BLACK),
        **{kind: Ink("none", "none", "#000000") for kind in ("number", "gap", "point", "text", "row")},
    },
    edges=dict.fromkeys(LIGHT.edges, "#000000"),
    frames={
        **{kind: Ink("#ffffff", "#000000", "#000000") for kind in LIGHT.frames},
        "padded": Ink("#dddddd", "#000000", "#000000"),
        "gap": Ink("none", "none", "#000000"),
    },
    result=_BLACK,
    highlight="#000000",
    levels=("#ffffff", "#e6e6e6", "#cccccc", "#a6a6a6", "#808080"),
)

PALETTES = {"auto": LIGHT, "light": LIGHT, "dark": DARK, "paper": PAPER}

FORMS = {
    "operation": "round", "parameter": "ellipse", "data": "box", "number": "none", "state": "pill",
    "cell": "round", "module": "round", "gap": "none", "gate": "ellipse", "point": "none", "text": "none",
    "row": "none", "ribbon": "box",
}  # fmt: skip
"""The shape of each kind of node; none has just its text."""

SIGNS = {"added": "+ ", "removed": "\N{MINUS SIGN} ", "changed": "~ "}
"""What stands before the titles of marked nodes, so that marks do not depend on colours."""


def dashed(thing: Node | Edge | Cluster) -> str:
    """How an outline or a line is broken: empty, ``dashed`` or ``dotted``."""
    if isinstance(thing, Cluster):
        return "dashed" if thing.kind == "padded" else ""
    if thing.mark == "padded":
        return "dashed"
    if thing.mark == "removed" or (isinstance(thing, Edge) and thing.kind == "cut"):
        return "dotted"
    return "dashed" if isinstance(thing, Node) and thing.shared else ""


def thickness(thing: Node | Edge | Cluster) -> float:
    """The width of an outline or a line, in points."""
    if isinstance(thing, Cluster):
        return 0.7
    width = 1.0
    if isinstance(thing, Edge):
        width = (1.4 if thing.kind in ("state", "cut") else 0.9) * thing.weight
        if thing.weight != 1:  # it tells something already
            return width
    return width * (2.2 if thing.mark in ("highlighted", "added", "changed") else 1.0)


def ink(node: Node, palette: Palette) -> Ink:
    """The colours of a node."""
    found = palette.result if node.result else palette.kinds[node.kind]
    if node.mark == "padded":
        return palette.frames["padded"]
    if node.level is not None:
        return Ink(palette.levels[node.level], found.stroke, found.text)
    return Ink(found.fill, palette.highlight, found.text) if node.mark == "highlighted" else found
