"""From a view to Mermaid, which GitHub, GitLab and many wikis draw from text.

Mermaid makes its own layout, and refuses large graphs: fold before.
"""

from __future__ import annotations

from .looks import SIGNS
from .metrics import lines
from .text import printable
from .view import Node, View

MOST_EDGES = 500
"""What Mermaid draws at most, unless it is configured otherwise."""

_SHAPES = {
    "parameter": ("([", "])"), "data": ("[", "]"), "state": ("((", "))"), "gate": ("((", "))"),
    "number": ("[", "]"), "module": ("[[", "]]"),
}  # fmt: skip
_ARROWS = {"data": "-->", "state": "==>", "cut": "-.-x"}


def mermaid(view: View) -> str:
    """The Mermaid text of a view.

    Parameters
    ----------
    view : View

    Returns
    -------
    str

    Raises
    ------
    ValueError
        For more arrows than Mermaid draws.
    """
    if len(view.edges) > MOST_EDGES:
        raise ValueError(
            f"Mermaid draws at most {MOST_EDGES} arrows, this diagram has {len(view.edges):,}: draw less "
            f'of it, with view="cells", fold=True, steps=, depth= or group='
        )
    keys = {node.key: f"n{k}" for k, node in enumerate(view.nodes)}
    inside: dict[int | None, list[Node]] = {}
    for node in view.nodes:
        inside.setdefault(node.cluster, []).append(node)
    across = view.on_grid or any(cluster.step is not None for cluster in view.clusters)
    out = [f"flowchart {'LR' if across else 'TB'}"]
    if view.title:
        out[:0] = ["---", f"title: {_quoted(view.title)}", "---"]
    out += [f"    %% {' '.join(note.split())}" for note in view.notes]
    children: dict[int | None, list[int]] = {}
    for k, cluster in enumerate(view.clusters):
        children.setdefault(cluster.parent, []).append(k)
    stack = [(False, k) for k in reversed(children.get(None, []))]
    while stack:
        closing, k = stack.pop()
        if closing:
            out.append("    end")
            continue
        out.append(f"    subgraph c{k}[{_quoted(view.clusters[k].title or ' ')}]")
        out += [_node(node, keys) for node in inside.get(k, ())]
        stack.append((True, k))
        stack += [(False, child) for child in reversed(children.get(k, []))]
    out += [_node(node, keys) for node in inside.get(None, ())]
    for edge in view.edges:
        label = f"|{_quoted(edge.label)}|" if edge.label else ""
        arrow = _ARROWS[edge.kind] if edge.arrow else "---"
        out.append(f"    {keys[edge.tail]} {arrow}{label} {keys[edge.head]}")
    results = [keys[node.key] for node in view.nodes if node.result]
    if results:
        out += [
            "    classDef result stroke-width:3px",
            f"    class {','.join(results)} result",
        ]
    return "\n".join([*out, ""])


def _node(node: Node, keys: dict[str, str]) -> str:
    left, right = _SHAPES.get(node.kind, ("(", ")"))
    text = "\n".join(line for line, _ in lines(node))
    return f"        {keys[node.key]}{left}{_quoted(SIGNS.get(node.mark, '') + text)}{right}"


def _quoted(text: str) -> str:
    """A text between quotation marks; Mermaid reads HTML there, and numbers after # as characters."""
    escaped = "".join(f"#{ord(c)};" if c in '"#<>&`\\|{}' else c for c in printable(text))
    return '"' + (escaped.replace("\n", "<br/>") or " ") + '"'
