"""`anatomy`: the textbook figures of cells, filled from the tape of a real step and checked against it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import nn
from ..listing import Tape
from ..nn.options import features_of
from ..state import enable_grad, scope
from ..tape import Leaf, Place
from ..tensors import Tensor, tensor
from .diagram import Diagram
from .looks import Theme
from .patterns import Step, difference
from .textbook import FIGURES, Canvas

_BATCH = 2


def anatomy(
    cell: Any, *, figure: str | None = None, theme: Theme = "auto", prefix: str | None = None
) -> Diagram:
    """Draw what happens inside a cell, as textbooks do.

    The gates stand in their usual places and the cell state runs along the top. Every circle and box is an
    operation of a step that was run for the figure: one that differs from the published equations by a single
    operation is refused, never drawn wrong.

    Parameters
    ----------
    cell : str or Module
        "rnn", "lstm", "peephole" or "gru"; or a cell ``cell(x_t, state) -> (y_t, state)``, or a layer, whose
        first cell is drawn.
    figure : str, optional
        Which of the figures it is to be; by default the one that fits.
    theme, prefix
        See `Diagram`.

    Returns
    -------
    Diagram

    Raises
    ------
    TypeError
        For what is no cell, or has no ``initial_state(batch)`` and ``input_size`` to run a step with.
    ValueError
        If the operations of the cell are not those of the figure, or of any.
    """
    if isinstance(cell, str):
        figure, cell = cell, _standard(cell)
    cell = getattr(cell, "l0", cell)
    if figure is not None and figure not in FIGURES:
        raise ValueError(f"draw.anatomy has the figures {', '.join(FIGURES)}, got {figure!r}")
    step, outputs = _run(cell)
    tried = {name: FIGURES[name] for name in ([figure] if figure else FIGURES)}
    for name, (states, equations, make) in tried.items():
        if len(outputs) != states:
            continue
        for variant in equations:
            found = step.match(list(zip(outputs, variant, strict=True)))
            if found is not None:
                view = make(Canvas(type(cell).__name__, name, step, found)).view
                return Diagram(view, step.tape, theme, prefix)
    reasons = [
        f"beside the figure {name!r} {difference(step.tape, equations[0])}"
        for name, (states, equations, _) in tried.items()
        if len(outputs) == states
    ]
    kind = type(cell).__name__
    raise ValueError(
        f"draw.anatomy: {kind} is none of the textbook's cells: "
        + ("; ".join(reasons) or f"a state of {len(outputs)} parts is in no figure asked for")
        + '. draw.graph(y, view="ops") draws any cell'
    )


def _standard(name: str) -> Any:
    cells: dict[str, Callable[[], Any]] = {
        "rnn": lambda: nn.RNNCell(3, 4, rng=0),
        "lstm": lambda: nn.LSTMCell(3, 4, rng=0),
        "peephole": lambda: nn.LSTMCell(3, 4, peephole="diagonal", rng=0),
        "gru": lambda: nn.GRUCell(3, 4, rng=0),
    }
    if name not in cells:
        raise ValueError(f"draw.anatomy has the figures {', '.join(cells)}, got {name!r}")
    return cells[name]()


def _run(cell: Any) -> tuple[Step, list[Place]]:
    """One step on the tape, and what it gives: the state's parts, h first."""
    if not callable(cell) or not hasattr(cell, "initial_state") or not hasattr(cell, "input_size"):
        raise TypeError(
            f"draw.anatomy draws a cell with initial_state(batch) and input_size, or a layer of cells, got "
            f"{type(cell).__name__}"
        )
    with enable_grad(), scope("cell", owner=cell):
        start = cell.initial_state(_BATCH)
        several = isinstance(start, (tuple, list))
        parts = list(start) if several else [start]
        dtype = parts[0].dtype
        inputs = {"x": tensor(np.zeros((_BATCH, *features_of(cell.input_size)), dtype), requires_grad=True)}
        for name, part in zip(["h", "c", "s", "s\N{PRIME}"], parts, strict=False):
            inputs[name] = tensor(part.numpy(), requires_grad=True)
        for name, leaf in inputs.items():
            leaf.name = name
        states = [inputs[name] for name in list(inputs)[1:]]
        y, after = getattr(cell, "forward", cell)(inputs["x"], tuple(states) if several else states[0])
    results: Sequence[Tensor] = list(after) if isinstance(after, (tuple, list)) else [after]
    leaves = {name: t.place for name, t in inputs.items() if isinstance(t.place, Leaf)}
    places = [t.place for t in results if t.place is not None]
    # An output that is computed from the state is a part of the step, and in no figure.
    return Step(Tape(y, *results), leaves), places
