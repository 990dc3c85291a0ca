"""What a diagram shows, as plain data: nodes, edges and nested clusters.

A view knows nothing of the tape that it was made from, nor of any output format. Whoever makes a new kind of
diagram makes a view; whoever adds a new output format reads one, and the places that `layout` finds for it.

In titles and labels, a letter before subscript characters is mathematics: ``"h₁₂"`` is h with the index 12,
and each format sets it as well as it can.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal[
    "operation",
    "parameter",
    "data",
    "number",
    "state",
    "cell",
    "module",
    "gap",
    "gate",
    "point",
    "text",
    "row",
    "ribbon",
]
"""What a node stands for.

An operation; an array that gets gradients; an array that gets none; a plain number such as 1 in 1 - z; a
state as it enters a time step; a cell, one time step of it; a module's call; what folding has left out; an
operation of a textbook figure, in a circle; the bare meeting of lines; a word; a line of a table; a strip
under a time step that tells a number of it by its shade.
"""

Mark = Literal["", "highlighted", "faded", "added", "removed", "changed", "padded"]

Point = tuple[float, float]


@dataclass(slots=True)
class Node:
    """Something that is drawn as one shape.

    Attributes
    ----------
    key : str
        Unique in its view and readable: ``lstm.l0.t017.f.sigmoid``.
    kind : str
        One of `Kind`.
    title : str
        The first line: the operation, the name, the value.
    detail : str
        Further lines, often a shape; empty for none.
    tooltip : str
        What a pointer resting on the node is told.
    cluster : int or None
        Position in `View.clusters`.
    shared : bool
        Whether it is one of several drawings of one and the same array.
    result : bool
        Whether it is what the diagram was asked for.
    entry : int
        The number that the tape's listing gives to the entry that the node stands for; 0 for none.
    mark : str
        One of `Mark`.
    level : int or None
        Degree of something to be seen at a glance, such as an error, from 0 to 4.
    at : (float, float) or None
        The place of its centre, in columns to the right and rows upwards, in views that have a grid.
    span : float
        How many columns of the grid it covers; 0 for what its text needs.
    """

    key: str
    kind: Kind
    title: str
    detail: str = ""
    tooltip: str = ""
    cluster: int | None = None
    shared: bool = False
    result: bool = False
    entry: int = 0
    mark: Mark = ""
    level: int | None = None
    at: Point | None = None
    span: float = 0.0


@dataclass(slots=True)
class Edge:
    """An arrow from the node that computes or holds an array to the node that reads it.

    Attributes
    ----------
    tail, head : str
        Keys of nodes.
    label : str
        Which of the tail's outputs it is, where there are several; which state.
    tooltip : str
    kind : {"data", "state", "cut"}
        Within a step; from step to step; from step to step, but no gradient goes back.
    arrow : bool
        Whether the line ends in an arrowhead.
    mark : str
        One of `Mark`.
    weight : float
        Of the line, where it tells something: 1 for the usual one.
    entry : int
        The number that the tape's listing gives to the entry that computed what a state arrow carries; 0 for
        other arrows.
    via : tuple of points
        Where the line turns, in columns and rows of the grid.
    """

    tail: str
    head: str
    label: str = ""
    tooltip: str = ""
    kind: Literal["data", "state", "cut"] = "data"
    arrow: bool = True
    mark: Mark = ""
    weight: float = 1.0
    entry: int = 0
    via: tuple[Point, ...] = ()


@dataclass(slots=True)
class Cluster:
    """A frame around nodes and other clusters.

    Attributes
    ----------
    key : str
    title : str
    parent : int or None
        Position in `View.clusters` of the frame around this one, which comes earlier in the list.
    step : int or None
        The time step, if the frame is one. Steps with one parent stand in a row, in their order.
    kind : {"module", "step", "padded", "gap", "cell"}
        A padded step is one that not all sequences of the batch have; a gap stands for steps left out; a
        cell is the frame of a textbook figure.
    """

    key: str
    title: str
    parent: int | None = None
    step: int | None = None
    kind: Literal["module", "step", "padded", "gap", "cell"] = "module"


@dataclass(slots=True)
class View:
    """A diagram without its looks. The order of the lists is the order of recording.

    Attributes
    ----------
    nodes, edges, clusters
    title : str
        What is drawn, in a line, for those who do not see it.
    heading : str
        What is written above the picture.
    notes : list of str
        What the reader must be told, such as what was left out.
    stands : dict of int to list of str
        Which nodes stand for what is on the tape: for entries by the numbers that the tape's listing gives
        them, for its leaves by -1, -2, ... in their order there.
    unit : (float, float) or None
        The size of a column and of a row of its grid, in points; None for what the nodes need.
    """

    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    clusters: list[Cluster] = field(default_factory=list)
    title: str = ""
    heading: str = ""
    notes: list[str] = field(default_factory=list)
    stands: dict[int, list[str]] = field(default_factory=dict)
    unit: Point | None = None

    @property
    def on_grid(self) -> bool:
        """Whether every node has its place on a grid."""
        return bool(self.nodes) and all(node.at is not None for node in self.nodes)

    def steps(self) -> list[int | None]:
        """For each cluster the innermost time step that it is or lies in, as a position in `clusters`."""
        found: list[int | None] = []
        for k, cluster in enumerate(self.clusters):
            outer = None if cluster.parent is None else found[cluster.parent]
            found.append(outer if cluster.step is None else k)
        return found
