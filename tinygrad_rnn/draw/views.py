"""`graph`: from tensors to a diagram, by one of several views of their tape."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..listing import Tape
from ..tape import Place
from ..tensors import Tensor
from .describing import Describe
from .diagram import Diagram
from .looks import Theme
from .ops import ops
from .selection import BUDGET, LONGEST, Fold, Selection
from .unrolled import Unrolled
from .view import View

VIEWS: dict[str, tuple[Callable[[Selection, Describe], View], str]] = {
    "ops": (ops, "every operation, one column per time step: to see what was computed"),
    "folded": (ops, "the same with the middle of long loops left out: the default beyond 6 steps"),
}
"""Each view with a line on when to use it."""


def graph(
    *tensors: Any,
    view: str | None = None,
    fold: Fold = None,
    steps: Collection[int] | None = None,
    depth: int | None = None,
    group: str | Collection[str] = (),
    show: str | Collection[str] = ("shapes",),
    gradients: Mapping[Place, Any] | None = None,
    theme: Theme = "auto",
    prefix: str | None = None,
    budget: int = BUDGET,
) -> Diagram:
    for k, t in enumerate(tensors, 1):
        which = "its argument" if len(tensors) == 1 else f"argument {k}"
        if not isinstance(t, Tensor):
            raise TypeError(f"draw.graph draws the graph of tensors, got {which} of type {type(t).__name__}")
    unrolled = Unrolled(Tape(*tensors))
    longest = max(map(len, unrolled.loops.values()), default=0)
    if view is None:
        view = "folded" if longest > LONGEST else "ops"
    if view == "folded" and fold is None:
        fold = True
    make, _ = VIEWS[view]
    names = (group,) if isinstance(group, str) else group
    selection = Selection(unrolled, fold, steps, depth, names)
    return Diagram(make(selection, Describe(show, gradients)), unrolled.tape, theme, prefix)
