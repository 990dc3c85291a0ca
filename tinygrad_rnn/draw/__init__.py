"""Diagrams of tapes.

    from tinygrad_rnn import draw

    draw.graph(loss).save("loss.svg")

From the tape comes a view (plain nodes, edges and clusters), from the view DOT text, from the DOT text a
picture; a module for each.
"""

from __future__ import annotations

from .diagram import Diagram
from .unrolled import graph

__all__ = ["Diagram", "graph"]
