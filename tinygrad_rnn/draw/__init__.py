"""Diagrams of tapes.

    from tinygrad_rnn import draw

    draw.graph(loss).save("loss.svg")

From the tape comes a view (plain nodes, edges and clusters), from the view a drawing (places for all of
them), and from the drawing a text or a picture; see README.md beside this file.
"""

from __future__ import annotations

from .activations import gate_values, gates, hidden
from .anatomy import anatomy
from .checking import EntryCheck, TapeCheck, check
from .curves import loss_curves
from .diagram import Diagram
from .difference import diff
from .exploring import explore
from .flows import StateFlow, flow, step_gradients
from .gradients import contributions, gradient_flow, influence, influence_map
from .kept import keep_values
from .saved import network
from .views import VIEWS, graph

__all__ = [
    "VIEWS",
    "Diagram",
    "EntryCheck",
    "StateFlow",
    "TapeCheck",
    "anatomy",
    "check",
    "contributions",
    "diff",
    "explore",
    "flow",
    "gate_values",
    "gates",
    "gradient_flow",
    "graph",
    "hidden",
    "influence",
    "influence_map",
    "keep_values",
    "loss_curves",
    "network",
    "step_gradients",
]
