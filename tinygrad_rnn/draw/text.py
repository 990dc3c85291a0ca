"""Diagrams as plain text, for terminals, diffs and screen readers; and text that every format can hold."""

from __future__ import annotations

import unicodedata

from .looks import SIGNS
from .view import Node, View


def plain_text(view: View) -> str:
    """A view in words: each node with its frame, and what it reads.

    Parameters
    ----------
    view : View

    Returns
    -------
    str
    """
    nodes = {node.key: node for node in view.nodes}
    reads: dict[str, list[str]] = {}
    for edge in view.edges:
        label = f"{edge.label} of " if edge.label else ""
        cut = " (cut)" if edge.kind == "cut" else ""
        reads.setdefault(edge.head, []).append(f"{label}{_name(nodes[edge.tail])}{cut}")
    out = [*filter(None, [view.title]), *view.notes]
    depths: list[int] = []
    for cluster in view.clusters:
        depths.append(0 if cluster.parent is None else depths[cluster.parent] + 1)
    at: int | None = None
    for node in sorted(view.nodes, key=lambda node: -1 if node.cluster is None else node.cluster):
        if node.kind == "point":
            continue
        if node.cluster is not None and node.cluster != at:
            at = node.cluster
            out.append(f"{'  ' * depths[at]}{view.clusters[at].key}:")
        indent = "  " * (0 if node.cluster is None else depths[node.cluster] + 1)
        words = " ".join([_name(node), *node.detail.split("\n")]).strip()
        from_ = f"  <- {', '.join(reads[node.key])}" if node.key in reads else ""
        out.append(f"{indent}{words}{from_}{'  [result]' if node.result else ''}")
    return "\n".join([*map(printable, out), ""])


def _name(node: Node) -> str:
    if node.kind == "row":
        return node.title
    number = f"%{node.entry} " if node.entry else ""
    return SIGNS.get(node.mark, "") + number + node.title.replace("\n", " ")


def printable(text: str) -> str:
    """The text without what ends a C string, is no UTF-8 or makes an SVG invalid."""
    if text.isprintable():
        return text
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") and c != "\n" else c for c in text)
