"""What Graphviz is asked about a piece, and what it answers."""

from __future__ import annotations

import itertools
from typing import Any

from .layout import TITLE_ROOM
from .metrics import TITLE, text_width
from .pieces import PAD, Container, Item, Piece, Pieces
from .view import Point


def source(pieces: Pieces, container: Container, piece: Piece) -> str:
    """The DOT text of a piece. It names nothing, so that pieces that are alike have one text."""
    return "\n".join(["digraph {", *_Question(pieces, container, piece).lines(), "}"])


class _Question:
    """The text in the making.

    Attributes
    ----------
    number : dict of Item to int
        The names of items in the text.
    """

    def __init__(self, pieces: Pieces, container: Container, piece: Piece) -> None:
        self.pieces, self.container, self.piece = pieces, container, piece
        self.nodes, self.clusters = pieces.nodes, pieces.view.clusters
        self.loops: list[Item] = [("loop", loop) for loop in piece.loops]
        self.items: list[Item] = [*(node.key for node in piece.nodes), *self.loops]
        self.number = {item: k for k, item in enumerate([*self.items, *piece.tops, *piece.bottoms])}

    def lines(self) -> list[str]:
        piece, number = self.piece, self.number
        out = ["graph [newrank=true nodesep=0.14 ranksep=0.22 fontsize=10 margin=0]"]
        out.append('node [shape=box fixedsize=true label="" width=0.01 height=0.01]')
        out.append("edge [dir=none]")
        for item in self.items:
            width, height = self.pieces.sizes[item]
            out.append(f"{number[item]} [width={width / 72:.4f} height={height / 72:.4f}]")
        beside = self._beside()
        out += self._frames(self._inside(beside))
        states: list[Item] = [node.key for node in piece.nodes if node.kind == "state"]
        for rank, row in ("source", [*states, *piece.tops]), ("sink", [*piece.bottoms]):
            if row:
                out.append(f"{{rank={rank}; {'; '.join(str(number[item]) for item in row)}}}")
        for row, weight in (states, 1), ([*piece.bottoms], 1), (self.loops, 20):
            pairs = itertools.pairwise(row)
            out += [f"{number[a]} -> {number[b]} [style=invis weight={weight}]" for a, b in pairs]
        out += self._topmost(states)
        stacked = self._stacked()
        out += [f"{above} -> {below} [style=invis weight=0]" for above, below in stacked]
        out += [f"{{rank=same; {number[tail]}; {number[head]}}}" for tail, head in beside]
        firm = {node.key for node in piece.nodes if node.kind == "operation"} | set(self.loops)
        past = self._past(stacked)
        for k, (tail, head, _) in enumerate(piece.arrows):
            # What goes round a loop is not to draw its reader to the side.
            weight = 4 if tail in firm and head in firm and (number[tail], number[head]) not in past else 1
            # From the side of a loop, an arrow would come out of its columns all across the others.
            ports = " tailport=s" if tail in self.loops else ""
            ports += " headport=n" if head in self.loops else ""
            out.append(f'{number[tail]} -> {number[head]} [id="{k}" weight={weight}{ports}]')
        return out

    def _past(self, stacked: list[tuple[int, int]]) -> set[tuple[int, int]]:
        """The arrows that have to pass a loop, as it stands between their ends."""
        arrows = [(self.number[tail], self.number[head]) for tail, head, _ in self.piece.arrows]
        below: dict[int, list[int]] = {}
        above: dict[int, list[int]] = {}
        for tail, head in (*arrows, *stacked):
            below.setdefault(tail, []).append(head)
            above.setdefault(head, []).append(tail)
        found: set[tuple[int, int]] = set()
        for loop in self.loops:
            before, after = (_reached(self.number[loop], ways) for ways in (above, below))
            found |= {(tail, head) for tail, head in arrows if tail in before and head in after}
        return found

    def _inside(self, beside: list[tuple[str, str]]) -> dict[int | None, list[str]]:
        """What stands in each frame. Numbers are in one cluster with their operation: it stays together."""
        close: dict[str, list[str]] = {}
        for tail, head in beside:
            if self.nodes[tail].kind == "number":
                close.setdefault(head, []).append(tail)
        found: dict[int | None, list[str]] = {}
        for node in self.piece.nodes:
            name = str(self.number[node.key])
            if node.key in close:
                others = "; ".join(str(self.number[key]) for key in close[node.key])
                name = f"subgraph cluster_beside{name} {{margin=0; {others}; {name}}}"
            found.setdefault(node.cluster, []).append(name)
        for loop in self.piece.loops:
            found.setdefault(loop, []).append(str(self.number["loop", loop]))
        return found

    def _topmost(self, states: list[Item]) -> list[str]:
        """Invisible arrows that keep what begins from standing above the states, where wires come down.

        Dot takes the rank of the states for a wish. Most often it comes true, as nothing is further from the
        end than they are, and the arrows would only disturb the order of what stands side by side.
        """
        depth: dict[Item, int] = {}
        for tail, head, _ in reversed(self.piece.arrows):
            depth[tail] = max(depth.get(tail, 0), depth.get(head, 0) + 1)
        if not states or max(depth.get(item, 0) for item in states) == max(depth.values()):
            return []
        read = {head for _, head, _ in self.piece.arrows}
        others = [item for item in self.items if item not in read and item not in states]
        arrows = [f"top -> {self.number[other]} [style=invis minlen=0 weight=0]" for other in others]
        return [f"{{rank=same; top; {self.number[states[0]]}}}", *arrows]

    def _beside(self) -> list[tuple[str, str]]:
        """Numbers beside their operation, as they are written; and data whose reader is entered from other
        frames, as above it they would lengthen a frame that is left there."""
        readers: dict[Item, list[Item]] = {}
        read: dict[Item, list[Item]] = {}
        for tail, head, _ in self.piece.arrows:
            readers.setdefault(tail, []).append(head)
            read.setdefault(head, []).append(tail)
        found = []
        for node in self.piece.nodes:
            heads = readers.get(node.key, [])
            head = self.nodes.get(heads[0]) if len(heads) == 1 and isinstance(heads[0], str) else None
            if node.kind == "number" and head is not None:
                found.append((node.key, head.key))
            if head is None or node.kind != "data" or head.cluster != node.cluster:
                continue
            others = [
                self.nodes[key].cluster for key in read[head.key] if key != node.key and key in self.nodes
            ]
            if node.key not in read and any(cluster != node.cluster for cluster in others):
                found.append((node.key, head.key))
        return found

    def _stacked(self) -> list[tuple[int, int]]:
        """Invisible arrows that put modules with loops in them, and their neighbours, below each other."""
        around: dict[Item, list[int]] = {}
        looped: set[int] = set()
        for item in self.number:
            if isinstance(item, str):
                at = self.nodes[item].cluster
            elif isinstance(item, tuple) and item[0] == "loop":
                at = item[1]
            else:
                continue
            path = around[item] = []
            while at is not None and self.clusters[at].step is None:
                path.append(at)
                at = self.clusters[at].parent
            looped |= set(path) if not isinstance(item, str) else set()
        last: dict[int | None, int] = {}
        above: dict[int, int] = {}
        for k in self.piece.clusters:
            before = last.get(self.clusters[k].parent)
            if before is not None and (k in looped or before in looped):
                above[k] = before
            last[self.clusters[k].parent] = k
        left: set[tuple[Item, int]] = set()
        entered: set[tuple[Item, int]] = set()
        for tail, head, _ in self.piece.arrows:
            shared = set(around.get(tail, ())) & set(around.get(head, ()))
            left |= {(tail, k) for k in shared}
            entered |= {(head, k) for k in shared}
        out = []
        pins = {k: len(self.number) + n for n, k in enumerate(above)}
        for item, path in around.items():
            for k in path:
                if k in pins and (item, k) not in entered:
                    out.append((pins[k], self.number[item]))
                for later, before in above.items():
                    if before == k and (item, k) not in left:
                        out.append((self.number[item], pins[later]))
        return out

    def _frames(self, inside: dict[int | None, list[str]]) -> list[str]:
        """The frames within a piece, as DOT's clusters; without recursion, as they may be nested deeply."""
        children: dict[int | None, list[int]] = {}
        for k in self.piece.clusters:
            children.setdefault(self.clusters[k].parent, []).append(k)
        out, number = [*inside.get(self.container, ())], {k: n for n, k in enumerate(self.piece.clusters)}
        stack = [(False, k) for k in reversed(children.get(self.container, []))]
        while stack:
            closing, k = stack.pop()
            if closing:
                out.append("}")
                continue
            # A table has the size that it is given, whatever the fonts.
            width = text_width(self.clusters[k].title, TITLE)
            room = f'<TABLE BORDER="0" FIXEDSIZE="TRUE" WIDTH="{width:.0f}" HEIGHT="{TITLE_ROOM - 6:.0f}">'
            out.append(f"subgraph cluster_{number[k]} {{ margin={PAD:g}")
            out.append(f"label=<{room}<TR><TD></TD></TR></TABLE>>; {'; '.join(inside.get(k, ()))}")
            stack.append((True, k))
            stack += [(False, child) for child in reversed(children.get(k, []))]
        return out


def _reached(start: int, ways: dict[int, list[int]]) -> set[int]:
    """What can be reached on ways from a start, without it."""
    found: set[int] = set()
    stack = [start]
    while stack:
        new = [to for to in ways.get(stack.pop(), ()) if to not in found]
        found.update(new)
        stack += new
    return found


class Answer:
    """What `dot` answered about a piece."""

    def __init__(self, graph: dict[str, Any]) -> None:
        _, _, self.width, self.height = map(float, graph.get("bb", "0,0,0,0").split(","))
        self.at: dict[int, Point] = {}
        self.borders: dict[int, tuple[float, float, float, float]] = {}
        for thing in graph.get("objects", ()):
            name = thing["name"].removeprefix("cluster_")
            if name.isdigit() and "bb" in thing:
                left, low, right, high = map(float, thing["bb"].split(","))
                self.borders[int(name)] = (left, self.height - high, right, self.height - low)
            elif name.isdigit():
                self.at[int(name)] = self._point(thing["pos"])
        self.courses = {
            int(edge["id"]): [self._point(p) for p in edge["pos"].split()]
            for edge in graph.get("edges", ())
            if edge.get("id", "").isdigit() and "pos" in edge
        }

    def _point(self, text: str) -> Point:
        x, y = map(float, text.split(","))
        return x, self.height - y

    def give(self, piece: Piece) -> None:
        items = [*(n.key for n in piece.nodes), *(("loop", k) for k in piece.loops)]
        piece.width, piece.height = self.width, self.height
        piece.at = {item: self.at[k] for k, item in enumerate([*items, *piece.tops, *piece.bottoms])}
        piece.courses = {arrow: self.courses[k] for k, arrow in enumerate(piece.arrows)}
        piece.borders = [self.borders[k] for k in range(len(piece.clusters))]
