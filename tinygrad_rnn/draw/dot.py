"""From a view to DOT, the language of Graphviz.

Time runs from left to right and computation from top to bottom: each step of a loop is a column, and columns
of like steps have like rows. Graphviz knows no columns. It orders rows strictly, but within a row it puts
things where few edges cross, so columns have to be made from what it does obey, all of it invisible:

* A row of pins stands above the columns of a loop and another below, each tied together from left to right,
  and each column hangs between its two pins. Pins and column share a ``group``, which makes an edge between
  them expensive to cross. One pin above the upper row holds that row's order from the first pass on.
* What goes from step to step would have to run upwards, from the end of one column to the start of the next,
  and Graphviz lays such edges around everything. It is drawn as a wire in three parts instead: out of its
  column, up a gutter between the columns (declared downwards), and into the next column.
* Modules with loops in them stand below each other in order of recording.

An edge is declared in the innermost cluster around both ends: those declared further out do not count when
the order within a cluster is chosen.
"""

from __future__ import annotations

import itertools
import unicodedata
from dataclasses import dataclass

import graphviz

from .view import Node, View

_FONT = "Helvetica,Arial,sans-serif"

# Colours of Okabe and Ito and tints of them, which the colour-blind tell apart. A shape or a line style says
# the same, so that a diagram printed in grey still speaks.
_BLUE, _ORANGE, _GREEN, _VERMILLION = "#0072B2", "#B87A00", "#00795A", "#D55E00"
_LOOKS = {
    "operation": {"shape": "box", "style": "rounded,filled", "color": _BLUE, "fillcolor": "#E5F1F8"},
    "parameter": {
        "shape": "ellipse",
        "style": "filled",
        "color": _ORANGE,
        "fillcolor": "#FDF1D9",
        "margin": "0.02",
    },
    "data": {"shape": "box", "style": "filled", "color": _GREEN, "fillcolor": "#E0F3ED"},
    "number": {"shape": "plaintext", "style": "", "width": "0.2", "height": "0.2"},
}
_RESULT = {"peripheries": "2", "color": "black", "penwidth": "1.5", "fillcolor": "#FFF3B0"}
_STEP = {"style": "rounded,filled", "fillcolor": "#F4F4F4"}
_MODULE = {"style": "rounded", "fillcolor": "white"}
_WIRE = {"color": _VERMILLION, "penwidth": "1.4"}
_BEND = {
    "shape": "point",
    "style": "filled",
    "width": "0.01",
    "height": "0.01",
    "label": "",
    "color": _VERMILLION,
}
_PIN = {"shape": "point", "width": "0", "height": "0", "label": "", "style": "invis"}


def dot_source(view: View) -> str:
    """The DOT text of a view, the same on every run.

    Parameters
    ----------
    view : View

    Returns
    -------
    str
    """
    return _Writer(view).source()


@dataclass(slots=True)
class _Reach:
    """The depth of the innermost cluster in which a node has something before it or after it; 0 for none."""

    before: int = 0
    operation: int = 0
    after: int = 0


class _Writer:
    """The DOT text in the making.

    The first of `frames` and `contents` is for the diagram itself, the others for its clusters, so that the
    cluster at position k in the view has place k + 1 here; `parents` and `depths` count likewise.
    """

    def __init__(self, view: View) -> None:
        self.view = view
        self.parents = [0] + [0 if c.parent is None else c.parent + 1 for c in view.clusters]
        self.depths = [0]
        for parent in self.parents[1:]:
            self.depths.append(self.depths[parent] + 1)
        self.time: list[int | None] = [None, *(c.step for c in view.clusters)]
        self.steps = [0] + [0 if step is None else step + 1 for step in view.steps()]
        self.nodes = {node.key: node for node in view.nodes}
        self.at = {n.key: 0 if n.cluster is None else n.cluster + 1 for n in view.nodes}
        self.frames = [graphviz.Digraph("tape")]
        self.frames += [graphviz.Digraph(f"cluster_{k}") for k in range(1, len(self.parents))]
        self.contents = [graphviz.Digraph() for _ in self.frames]
        self.loops: dict[int, list[int]] = {}
        for k, time in enumerate(self.time):
            if time is not None:
                self.loops.setdefault(self.parents[k], []).append(k)
        for columns in self.loops.values():
            columns.sort(key=self._time)
        self.gutters: dict[int, list[str]] = {}
        self.wires: dict[tuple[str, str, int], str] = {}
        self.reached: dict[str, _Reach] = {key: _Reach() for key in self.nodes}

    def source(self) -> str:
        self._style()
        for node in self.view.nodes:
            self._node(node)
        self._columns()
        self._edges()
        self._order()
        self._fasten()
        self._stack()
        return self._assembled()

    # ---- what is seen

    def _style(self) -> None:
        root = self.frames[0]
        root.attr(
            "graph",
            rankdir="TB",
            newrank="true",
            ranksep="0.25",
            nodesep="0.12",
            bgcolor="white",
            fontname=_FONT,
            fontsize="11",
        )
        root.attr("node", **_LOOKS["operation"])
        root.attr("node", fontname=_FONT, fontsize="10", width="0.3", height="0.3", margin="0.08,0.04")
        root.attr("edge", fontname=_FONT, fontsize="9", labelfontsize="8", color="#555555", arrowsize="0.6")
        for frame, cluster in zip(self.frames[1:], self.view.clusters, strict=True):
            looks = _MODULE if cluster.step is None else _STEP
            frame.attr("graph", label=_text(cluster.title), labeljust="l", color="#AAAAAA", **looks)

    def _node(self, node: Node) -> None:
        looks = {} if node.kind == "operation" else dict(_LOOKS[node.kind])
        if node.result:
            looks.update(_RESULT)
        if node.shared:
            looks["style"] += ",dashed"
        label = _text(node.title, node.detail)
        tooltip = _text(node.tooltip) if node.tooltip else None
        self.contents[self.at[node.key]].node(node.key, label, tooltip=tooltip, **looks)

    def _edges(self) -> None:
        before: dict[str, int] = {}
        for edge in self.view.edges:
            if self.nodes[edge.tail].kind == "operation":
                before[edge.head] = before.get(edge.head, 0) + 1
        for edge in self.view.edges:
            tail, head = edge.tail, edge.head
            common, left, right = self._meeting(self.at[tail], self.at[head])
            is_operation = self.nodes[tail].kind == "operation"
            self.reached[tail].after = max(self.reached[tail].after, self.depths[common])
            reach = self.reached[head]
            reach.before = max(reach.before, self.depths[common])
            if is_operation:
                reach.operation = max(reach.operation, self.depths[common])
            label = _text(edge.label) if edge.label else None
            looks = {"headlabel": label, "labeldistance": "1.5"} if label else {}
            looks["tooltip"] = _text(edge.tooltip)
            if self.time[left] is not None and self.time[right] is not None:
                wire = self._wire(tail, edge.label, common, left, right, looks["tooltip"])
                self.contents[common].edge(f"{wire}_top", head, tailclip="false", **looks, **_WIRE)
                continue
            if self.steps[common]:
                # Where a row of operations could stand higher or lower, all columns decide alike.
                looks["weight"] = "3" if is_operation and before[head] == 1 else "2"
            self.contents[common].edge(tail, head, **looks)
            if self.time[left] is not None:
                self._invisible(f"_s{left}_below", head)
            if self.time[right] is not None:
                self._invisible(tail, f"_s{right}_above")

    def _wire(self, tail: str, output: str, loop: int, left: int, right: int, tooltip: str) -> str:
        """The wire that carries an array from one column to another: one, however many there read it."""
        wire = self.wires.get((tail, output, right))
        if wire is None:
            wire = self.wires[tail, output, right] = f"_w{len(self.wires)}"
            later = max(left, right, key=self._time)
            self.gutters.setdefault(later, []).append(wire)
            for end in "top", "bottom":
                self.at[f"{wire}_{end}"] = loop
                self.frames[loop].node(f"{wire}_{end}", **_BEND)
            self._pin(f"{wire}_above", loop)
            self._pin(f"{wire}_below", loop)
            self._invisible(f"{wire}_above", f"{wire}_top", weight="2")
            self._invisible(f"{wire}_bottom", f"{wire}_below", weight="2")
            # Crossings are counted for each edge, so copies of the upright part keep it out of the columns.
            for _ in range(2):
                self._invisible(f"{wire}_top", f"{wire}_bottom", weight="0")
            looks = {"arrowhead": "none", "tooltip": tooltip, **_WIRE}
            self.contents[loop].edge(tail, f"{wire}_bottom", headclip="false", weight="2", **looks)
            self.contents[loop].edge(
                f"{wire}_top", f"{wire}_bottom", tailclip="false", headclip="false", weight="3", **looks
            )
        return wire

    # ---- what is not seen

    def _pin(self, key: str, cluster: int, group: str | None = None) -> None:
        self.at[key] = cluster
        self.frames[cluster].node(key, group=group, **_PIN)

    def _invisible(self, tail: str, head: str, **looks: str) -> None:
        common, _, _ = self._meeting(self.at[tail], self.at[head])
        self.contents[common].edge(tail, head, style="invis", **looks)

    def _columns(self) -> None:
        """Each column with a pin above and one below, and between them one at its own top and bottom."""
        for loop, columns in self.loops.items():
            self._pin(f"_l{loop}", loop)
            for k in columns:
                group = f"_s{k}"
                self._pin(f"_s{k}_above", loop, group)
                self._pin(f"_s{k}_below", loop, group)
                self._pin(f"_s{k}_top", k, group)
                self._pin(f"_s{k}_bottom", k, group)
                self._invisible(f"_s{k}_above", f"_s{k}_top", weight="100")
                self._invisible(f"_s{k}_bottom", f"_s{k}_below", weight="100")

    def _order(self) -> None:
        """The rows of pins above and below the columns of a loop, and loops with like steps in line."""
        earlier: list[int] = []
        for loop, columns in self.loops.items():
            for place in "above", "below":
                row = [key for k in columns for key in (*self.gutters.get(k, ()), f"_s{k}")]
                rank = graphviz.Digraph()
                rank.attr(rank="same")
                for key in row:
                    rank.node(f"{key}_{place}")
                for left, right in itertools.pairwise(row):
                    rank.edge(f"{left}_{place}", f"{right}_{place}", style="invis")
                self.frames[loop].subgraph(rank)
                if place == "above":
                    for key in row:
                        self._invisible(f"_l{loop}", f"{key}_above")
            for above, below in zip(earlier, columns, strict=False):
                self._invisible(f"_s{above}_below", f"_s{below}_above", weight="10")
            earlier = columns

    def _fasten(self) -> None:
        """Hang what begins in a column from the pin at its top, and the pin at its bottom from what ends."""
        for node in self.view.nodes:
            step = self.steps[self.at[node.key]]
            if not step:
                continue
            depth, reach = self.depths[step], self.reached[node.key]
            if node.kind == "operation" and reach.operation < depth:
                self._invisible(f"_s{step}_top", node.key, weight="100", minlen="2")
            elif reach.before < depth:
                self._invisible(f"_s{step}_top", node.key, weight="0")
            if reach.after < depth:
                self._invisible(node.key, f"_s{step}_bottom", weight="0")
        for loop, columns in self.loops.items():
            step = self.steps[loop]
            if step:
                self._invisible(f"_s{step}_top", f"_l{loop}")
                for k in columns:
                    self._invisible(f"_s{k}_below", f"_s{step}_bottom", weight="0")

    def _stack(self) -> None:
        """Modules with loops in them, each below the one before."""
        looped = {k for loop in self.loops for k in self._path(loop)}
        last: dict[int, int] = {}
        pairs = []
        for k in range(1, len(self.parents)):
            if self.time[k] is None:
                before = last.get(self.parents[k])
                if before is not None and (k in looped or before in looped):
                    pairs.append((before, k))
                last[self.parents[k]] = k
        ends, starts = {a for a, _ in pairs}, {b for _, b in pairs}
        for k in sorted(ends):
            self._pin(f"_m{k}_bottom", k)
        for k in sorted(starts):
            self._pin(f"_m{k}_top", k)
        for a, b in pairs:
            self._invisible(f"_m{a}_bottom", f"_m{b}_top", weight="200")
        for node in self.view.nodes:
            at, reach = self.at[node.key], self.reached[node.key]
            for k in () if self.steps[at] else self._path(at):
                if k in ends and reach.after < self.depths[k]:
                    self._invisible(node.key, f"_m{k}_bottom", weight="0")
                if k in starts and reach.before < self.depths[k]:
                    self._invisible(f"_m{k}_top", node.key, weight="0")
        for loop, columns in self.loops.items():
            for k in self._path(loop):
                if k in ends:
                    for column in columns:
                        self._invisible(f"_s{column}_below", f"_m{k}_bottom", weight="0")
                if k in starts:
                    self._invisible(f"_m{k}_top", f"_l{loop}", weight="0")

    # ---- finding one's way

    def _time(self, k: int) -> int:
        return self.time[k] or 0

    def _path(self, k: int) -> list[int]:
        """A cluster and those around it, without the diagram itself."""
        path = []
        while k:
            path.append(k)
            k = self.parents[k]
        return path

    def _meeting(self, a: int, b: int) -> tuple[int, int, int]:
        """The innermost cluster around both, and in it the clusters towards each; 0 where there is none."""
        left = right = 0
        while a != b:
            if self.depths[a] >= self.depths[b]:
                a, left = self.parents[a], a
            else:
                b, right = self.parents[b], b
        return a, left, right

    def _assembled(self) -> str:
        children: dict[int, list[int]] = {}
        for k, parent in enumerate(self.parents[1:], 1):
            children.setdefault(parent, []).append(k)
        # Inner clusters come later in the list, so each is complete when it is put into the one around it.
        for k in reversed(range(len(self.frames))):
            for child in sorted(children.get(k, ()), key=self._time):
                self.frames[k].subgraph(self.frames[child])
            self.frames[k].body += self.contents[k].body
        return str(self.frames[0].source)


def _text(*lines: str) -> str:
    """Lines as Graphviz will show them, whatever characters are in them."""
    text = "\n".join(line for line in lines if line)
    # An ampersand would begin an entity such as &lt;.
    escaped = [graphviz.escape(_printable(line).replace("&", "&amp;")) for line in text.split("\n")]
    shown: str = graphviz.nohtml("\\n".join(escaped))
    return shown


def _printable(line: str) -> str:
    # Control characters end a C string or make an SVG invalid; lone surrogates are not UTF-8.
    if line.isprintable():
        return line
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") else c for c in line)
