"""`graph`: from tensors to a diagram, by one of several views of their tape."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..listing import Tape
from ..ops.messages import OUTPUT_AND_STATE, is_output_and_state
from ..tape import Entry
from ..tensors import Tensor
from . import marks
from .cells import cells, rolled
from .describing import Describe, gradient_norms
from .diagram import Diagram
from .kept import Values, keep_values
from .looks import Theme
from .loops import Loop
from .ops import ops
from .selection import BUDGET, LONGEST, Fold, Selection
from .states import loops
from .tables import table
from .unrolled import COMPILED, Unrolled, counted, off_the_tape
from .view import View

Make = Callable[[Selection, Describe], View]

VIEWS: dict[str, tuple[Make, str]] = {
    "ops": (ops, "every operation, one column per time step: to see what was computed"),
    "folded": (
        ops,
        "the same, the middle of each loop left out: for long sequences, and the default beyond 6 steps",
    ),
    "cells": (cells, "one box per cell and time step, states as arrows: for lectures and papers"),
    "rolled": (rolled, "one box per cell, its states go back into it: the loop of the textbooks"),
    "tape": (table, "the Wengert list as a table: to read along, and where there is no Graphviz"),
}
"""Each view of a tape, with a line on when to use it."""


_COMPILED_NOTE = (
    "a compiled loop over time is one operation, scan; "
    "computed within draw.keep_values() it has all its steps"
)


_RELEASED_NOTE = (
    "backward() has released the gradients of this tape; |.grad| is what all backward passes have left in "
    "a parameter"
)


def graph(
    *tensors: Any,
    view: str | None = None,
    fold: Fold = None,
    steps: Collection[int] | None = None,
    depth: int | None = None,
    group: str | Collection[str] = (),
    show: str | Collection[str] = ("shapes",),
    highlight: Any = None,
    kept: keep_values | None = None,
    errors: Mapping[Entry, float] | None = None,
    title: str | None = None,
    theme: Theme = "auto",
    prefix: str | None = None,
    budget: int | None = BUDGET,
) -> Diagram:
    """Draw what tensors were computed by, unrolled over time.

    Time steps stand side by side from left to right, modules in frames. Operations are rounded boxes,
    parameters (whatever gets gradients) ellipses, arrays without gradients angular boxes; states, and the
    arrows that carry them from step to step, are round and drawn thicker. A parameter appears in each step
    that uses it, with a dashed outline when there are several. The tensors asked for have a double outline, a
    detached state has a cut through its arrow, and steps that not all sequences have are grey.

    Parameters
    ----------
    *tensors : Tensor
        One or more results.
    view : {"ops", "folded", "cells", "rolled", "tape"}, optional
        See `VIEWS`. By default ops, and folded where a loop has more than 6 steps.
    fold : bool, int, (int, int), optional
        Leave the middle of loops out: all but 2 steps at either end, or but so many. By default the views
        folded and cells do, the latter beyond 6 steps; ``False`` draws them all.
    steps : collection of int, optional
        Draw these time steps only.
    depth : int, optional
        Draw modules within more than so many others as one box.
    group : str or collection of str, optional
        Draw these modules as one box, by their names or paths.
    show : str or collection of str
        What stands under titles, any of shapes, dtypes, values, gradients, memory. Gradients are norms of
        those of these tensors (of their sum), parameters' too, whatever is in ``grad``; states also have
        theirs in a ribbon under the steps and as the weight of their arrows, on a logarithmic scale of at
        least four powers of ten. After ``backward()`` they are gone, and parameters show their ``grad``.
    highlight : Tensor, str, or several, optional
        Show all routes from these leaves to the results, and fade everything else.
    kept : keep_values, optional
        In which the tape was recorded: the source of values that the tape itself has no need to keep.
    errors : mapping of Entry to float, optional
        Shade operations by the errors of their gradients: ``errors=draw.check(loss).errors``.
    title : str, optional
        What is written above the picture, and read to those who do not see it.
    theme : {"auto", "light", "dark", "paper"}
        auto follows the reader's light or dark mode; paper is black and white.
    prefix : str, optional
        See `Diagram`.
    budget : int or None
        Of more shapes than this the diagram folds itself, and its notes say so.

    Returns
    -------
    Diagram
        The same before and after ``backward()``, but for values and gradients that are gone by then.

    Raises
    ------
    TypeError
        Without a tensor, or for something else than a tensor.
    ValueError
        For a tensor that is not on the tape, and for options with an unknown value.
    """
    _check_tensors(tensors)
    unrolled = Unrolled(Tape(*tensors))
    tape = unrolled.tape
    longest = max(map(len, unrolled.loops.values()), default=0)
    if view is None:
        view = "ops" if longest <= LONGEST or fold is not None or steps is not None else "folded"
    if view not in VIEWS:
        raise ValueError(f"draw.graph has the views {', '.join(VIEWS)}, got {view!r}")
    if fold is None and steps is None:
        fold = True if view == "folded" or (view == "cells" and longest > LONGEST) else None
    options: dict[str, Any] = {"fold": fold, "steps": steps, "depth": depth}
    options["group"] = (group,) if isinstance(group, str) else group
    view, selection, notes = _within(budget, view, unrolled, options)
    shown = (show,) if isinstance(show, str) else tuple(show)
    norms = gradient_norms(tape) if "gradients" in shown else {}
    values = Values(tape, kept) if "values" in shown else None
    made = VIEWS[view][0](selection, Describe(shown, values, norms))
    made.notes += notes
    if any(entry.primitive.name == COMPILED for entry in tape.entries):
        made.notes.append(_COMPILED_NOTE)
    empty = next((entry for entry in tape.entries if 0 in entry.shape), None)
    if empty is not None and not unrolled.loops:
        made.notes.append(f"empty, as of a sequence without time steps: {empty.primitive.name} {empty.shape}")
    made.title, made.heading = title or _title(unrolled, longest), title or ""
    if errors is not None:
        marks.errors(made, tape, errors)
    if highlight is not None:
        marks.highlight(made, tape, highlight)
    if "gradients" in shown:
        marks.gradient_flow(made, tape, _loops_drawn(unrolled, made), norms)
        if not norms:
            made.notes.append(_RELEASED_NOTE)
    return Diagram(made, tape, theme, prefix)


def _loops_drawn(unrolled: Unrolled, made: View) -> list[Loop]:
    """The loops whose steps are drawn: among boxes, a loop within a step is part of that step's box."""
    inner = {k for steps in unrolled.steps_of for k in steps[1:]} if made.on_grid else set()
    return [loop for loop in loops(unrolled).values() if inner.isdisjoint(loop.frames.values())]


def _check_tensors(tensors: tuple[Any, ...]) -> None:
    if not tensors:
        raise TypeError("draw.graph needs a tensor to draw the graph of, got nothing")
    for k, t in enumerate(tensors, 1):
        which = "its argument" if len(tensors) == 1 else f"argument {k}"
        if not isinstance(t, Tensor):
            mend = f"; {OUTPUT_AND_STATE}" if is_output_and_state(t) else ""
            raise TypeError(
                f"draw.graph draws the graph of tensors, got {which} of type {type(t).__name__}{mend}"
            )
        if t.place is None:
            raise off_the_tape(f"draw.graph got {which}", t)


def _within(
    budget: int | None, view: str, unrolled: Unrolled, options: dict[str, Any]
) -> tuple[str, Selection, list[str]]:
    """The view and what it draws, within a budget of shapes, and what was done to stay within it."""
    selection = Selection(unrolled, **options)
    if budget is None or view == "tape" or selection.size(view) <= budget:
        return view, selection, []
    asked = selection.size(view)
    if options["fold"] in (None, False) and options["steps"] is None:
        options = {**options, "fold": True}
        selection = Selection(unrolled, **options)
        if selection.size(view) <= budget:
            return view, selection, [f"folded: about {asked:,} shapes are more than the budget of {budget:,}"]
    for depth in (3, 2, 1):
        closed = Selection(unrolled, **{**options, "depth": min(depth, options["depth"] or depth)})
        if closed.size(view) <= budget:
            told = f"folded, and modules closed at depth {depth}"
            return view, closed, [f"{told}: about {asked:,} shapes are more than the budget of {budget:,}"]
    return "tape", selection, [f"as a table: about {asked:,} shapes are more than the budget of {budget:,}"]


def _title(unrolled: Unrolled, longest: int) -> str:
    count = len(unrolled.tape)
    over = f", {counted(longest, 'time step')}" if longest else ""
    return f"{counted(count, 'operation')}{over}"
