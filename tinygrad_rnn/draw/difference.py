"""`diff`: what is different between two diagrams, as a diagram."""

from __future__ import annotations

from dataclasses import replace
from difflib import SequenceMatcher
from typing import Any

from .diagram import Diagram
from .view import Edge, Node, View
from .views import graph


def diff(a: Any, b: Any, **options: Any) -> Diagram:
    """Draw two programs in one diagram, and mark in which they differ.

    What only the second has is marked ``+`` and drawn bold, what only the first has ``−`` and dotted,
    and what both have with other shapes (or whatever else is shown) ``~``. The notes of the diagram's
    view, and its `Diagram.text`, list them.

    Parameters
    ----------
    a, b : Diagram or Tensor
        Before and after.
    **options
        For `graph`, where tensors are given.

    Returns
    -------
    Diagram
    """
    before, after = (x if isinstance(x, Diagram) else graph(x, **options) for x in (a, b))
    view = _Difference(before.view, after.view).view
    return Diagram(view, after.tape, after.theme)


class _Difference:
    """The view in the making: the second one, with what was removed put in."""

    def __init__(self, before: View, after: View) -> None:
        self.before, self.after = before, after
        self.view = View(title="What changed", stands=dict(after.stands), unit=after.unit)
        self.view.clusters = list(after.clusters)
        self.clusters = self._clusters()
        self.same = self._aligned()
        self.keys = dict(self.same)
        self._nodes()
        self._edges()
        self._notes()

    def _clusters(self) -> dict[int, int]:
        """For each cluster of the first view its place in the new one."""
        known = {cluster.key: k for k, cluster in enumerate(self.after.clusters)}
        found: dict[int, int] = {}
        for k, cluster in enumerate(self.before.clusters):
            if cluster.key not in known:
                parent = None if cluster.parent is None else found[cluster.parent]
                known[cluster.key] = len(self.view.clusters)
                self.view.clusters.append(replace(cluster, parent=parent))
            found[k] = known[cluster.key]
        return found

    def _aligned(self) -> dict[str, str]:
        """Which node of the second view is which of the first: frame by frame, in their order."""

        def by_frame(view: View) -> dict[str, list[Node]]:
            found: dict[str, list[Node]] = {}
            for node in view.nodes:
                at = "" if node.cluster is None else view.clusters[node.cluster].key
                found.setdefault(at, []).append(node)
            return found

        same: dict[str, str] = {}
        there = by_frame(self.after)
        for at, nodes in by_frame(self.before).items():
            others = there.get(at, [])
            old, new = ([self._word(node) for node in side] for side in (nodes, others))
            for block in SequenceMatcher(a=old, b=new, autojunk=False).get_matching_blocks():
                for k in range(block.size):
                    same[nodes[block.a + k].key] = others[block.b + k].key
        return same

    def _word(self, node: Node) -> tuple[str, str, str]:
        # On a grid keys say which step it is; elsewhere they count what is alike, and additions shift them.
        return node.kind, node.title, node.key if self.after.on_grid else ""

    def _nodes(self) -> None:
        before = {self.same[n.key]: n for n in self.before.nodes if n.key in self.same}
        for node in self.after.nodes:
            old = before.get(node.key)
            if old is None:
                node = replace(node, mark="added")
            elif old.detail != node.detail:
                detail = f"{old.detail or 'nothing'} → {node.detail or 'nothing'}".replace("\n", ", ")
                node = replace(node, mark="changed", detail=detail)
            self.view.nodes.append(node)
        taken = {node.key for node in self.after.nodes}
        for node in self.before.nodes:
            if node.key not in self.same:
                key = node.key
                while key in taken:
                    key += ".removed"
                taken.add(key)
                self.keys[node.key] = key
                at = None if node.cluster is None else self.clusters[node.cluster]
                self.view.nodes.append(
                    replace(node, key=key, cluster=at, mark="removed", entry=0, result=False)
                )

    def _edges(self) -> None:
        def name(edge: Edge, keys: dict[str, str]) -> tuple[str, str, str]:
            return keys.get(edge.tail, edge.tail), keys.get(edge.head, edge.head), edge.label

        before = [name(edge, self.keys) for edge in self.before.edges]
        left = list(before)
        for edge in self.after.edges:
            if name(edge, {}) in left:
                left.remove(name(edge, {}))
                self.view.edges.append(replace(edge))
            else:
                self.view.edges.append(replace(edge, mark="added"))
        for edge, named in zip(self.before.edges, before, strict=True):
            if named in left:
                left.remove(named)
                self.view.edges.append(replace(edge, tail=named[0], head=named[1], mark="removed", entry=0))

    def _notes(self) -> None:
        for mark, sign in ("removed", "-"), ("added", "+"), ("changed", "~"):
            self.view.notes += [
                f"{sign} {n.key}: {n.title} {n.detail}".rstrip() for n in self.view.nodes if n.mark == mark
            ]
        arrows = [e for e in self.view.edges if e.mark in ("added", "removed")]
        if not self.view.notes and not arrows:
            self.view.notes.append("nothing changed")
        self.view.notes += [f"{'+' if e.mark == 'added' else '-'} {e.tail} -> {e.head}" for e in arrows]
