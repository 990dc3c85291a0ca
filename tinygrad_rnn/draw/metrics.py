"""How much room text takes.

Layout must not depend on which fonts a machine has, or one program would give two diagrams. So widths are
those of Helvetica, whose metrics every system has under one name or another (Arial, Liberation Sans, Nimbus).
"""

from __future__ import annotations

import math
import re
import unicodedata

from .view import Node

HEADING, TITLE, DETAIL = 13.0, 10.0, 8.0
"""Sizes of type, in points."""

INDICES = "₀₁₂₃₄₅₆₇₈₉₊₋ₜ"
"""The characters of an index."""

SUBSCRIPTED = re.compile(f"([^\\W\\d_][0-9]*\N{PRIME}*)([{INDICES}]+)")
"""A letter, perhaps with a number, with an index, as `view` describes it."""

_PLAIN = str.maketrans(INDICES, "0123456789+-t")

# In thousandths of the type size, from the space to the tilde.
_WIDTHS = (
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556,
    556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278,
    500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469,
    556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500,
    278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
)  # fmt: skip
_OTHER, _WIDE, _SMALL = 600, 1000, 390


def text_width(text: str, size: float) -> float:
    """The width of a line of text, in points."""
    return sum(map(_width, text)) * size / 1000


def index(subscript: str) -> str:
    """Subscript characters as plain ones."""
    return subscript.translate(_PLAIN)


def _width(character: str) -> int:
    code = ord(character)
    if 32 <= code < 127:
        return _WIDTHS[code - 32]
    if 0x2080 <= code <= 0x209C:
        return _SMALL
    if unicodedata.combining(character):
        return 0
    return _WIDE if unicodedata.east_asian_width(character) in "WF" else _OTHER


def lines(node: Node) -> list[tuple[str, float]]:
    """What is written in a node: lines, and their type sizes."""
    size = DETAIL if node.kind == "ribbon" else TITLE
    title = [(line, size) for line in node.title.split("\n")]
    return title + [(line, DETAIL) for line in node.detail.split("\n") if line]


def node_size(node: Node) -> tuple[float, float]:
    """The width and height that a node needs, in points."""
    written = lines(node)
    width = max(text_width(text, size) for text, size in written)
    height = sum(size * 1.2 for _, size in written)
    if node.kind == "point":
        return 0.0, 0.0
    if node.kind in ("number", "text"):
        return width + 4, height + 2
    if node.kind == "gate":
        side = max(18.0, width + 8)
        return side, 18.0
    if node.kind == "parameter":
        return _ellipse(written, width, height)
    if node.kind == "state":
        return max(22.0, width + 12), 20.0
    if node.kind == "cell":
        return max(64.0, width + 20), max(38.0, height + 14)
    if node.kind == "module":
        return max(54.0, width + 20), max(26.0, height + 12)
    if node.kind == "ribbon":
        return width + 6, 14.0
    if node.kind == "row":
        return len(node.title) * TITLE * 0.603 + 8, height
    return max(24.0, width + 12), height + 7


def _ellipse(written: list[tuple[str, float]], width: float, height: float) -> tuple[float, float]:
    """The width and height of an ellipse around lines, each of which ends within it."""
    across, down, top = (width + 8) * 1.16, (height + 4) * 1.2, -height / 2
    for text, size in written:
        # Letters reach from three quarters of their size above the line they stand on to a fifth below it.
        furthest = max(abs(top + 0.2 * size), abs(top + 1.15 * size))
        across = max(across, (text_width(text, size) + 4) / math.sqrt(1 - (2 * furthest / down) ** 2))
        top += size * 1.2
    return across, down
