"""What a diagram shows, as plain data: nodes, edges and nested clusters.

A view knows nothing of the tape that it was made from, nor of Graphviz. Whoever makes a new kind of diagram
makes a view; whoever adds a new output format reads one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["operation", "parameter", "data", "number"]
"""An operation; an array that gets gradients; an array that gets none; a plain number such as 1 in 1 - z."""


@dataclass(slots=True)
class Node:
    """Something that is drawn as one shape.

    Attributes
    ----------
    key : str
        Unique in its view, and made of letters, digits and underscores.
    kind : {"operation", "parameter", "data", "number"}
    title : str
        The first line: the operation, the name, the value.
    detail : str
        The second line, often a shape; empty for none.
    tooltip : str
        What a pointer resting on the node is told.
    cluster : int or None
        Position in `View.clusters`.
    shared : bool
        Whether it is one of several drawings of one and the same array.
    result : bool
        Whether it is what the diagram was asked for.
    """

    key: str
    kind: Kind
    title: str
    detail: str = ""
    tooltip: str = ""
    cluster: int | None = None
    shared: bool = False
    result: bool = False


@dataclass(slots=True)
class Edge:
    """An arrow from the node that computes or holds an array to the node that reads it.

    Attributes
    ----------
    tail, head : str
        Keys of nodes.
    label : str
        Which of the tail's outputs it is, where there are several.
    tooltip : str
    """

    tail: str
    head: str
    label: str = ""
    tooltip: str = ""


@dataclass(slots=True)
class Cluster:
    """A frame around nodes and other clusters.

    Attributes
    ----------
    title : str
    parent : int or None
        Position in `View.clusters` of the frame around this one, which comes earlier in the list.
    step : int or None
        The time step, if the frame is one. Steps with one parent stand in a row, in their order.
    """

    title: str
    parent: int | None = None
    step: int | None = None


@dataclass(slots=True)
class View:
    """A diagram without its looks. The order of the lists is the order of recording."""

    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    clusters: list[Cluster] = field(default_factory=list)

    def steps(self) -> list[int | None]:
        """For each cluster the innermost time step that it is or lies in, as a position in `clusters`."""
        found: list[int | None] = []
        for k, cluster in enumerate(self.clusters):
            outer = None if cluster.parent is None else found[cluster.parent]
            found.append(outer if cluster.step is None else k)
        return found
