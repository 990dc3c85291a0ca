"""What layers make of a cell for one pass over time."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any

import numpy as np

from ..tensors import Tensor, tensor
from .module import Module
from .packing import Packing
from .states import State, refilled, tensors_of


class Bare:
    """A cell whose call opens no scope of its own: it would repeat the layer's in each step."""

    __slots__ = ("_cell",)

    def __init__(self, cell: Any) -> None:
        self._cell = cell

    @property
    def _call(self) -> Any:
        """Looked up at every step: a notebook may have defined another one meanwhile."""
        cell = self._cell
        return cell.forward if isinstance(cell, Module) and type(cell).__call__ is Module.__call__ else cell

    def __call__(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self._call(x, state)

    def __getattr__(self, name: str) -> Any:
        if name in Bare.__slots__:  # asked for before they are set, where a copy is being made
            raise AttributeError(name)
        return getattr(self._cell, name)


def innermost(cell: Any) -> Any:
    """The cell itself, whatever has been made of it."""
    while isinstance(cell, Bare):
        cell = cell._cell
    return cell


def name_of(cell: Any) -> str:
    """How messages call a cell: as it, or its class, is called."""
    cell = innermost(cell)
    return getattr(cell, "__name__", type(cell).__name__)


class Masked(Bare):
    """A cell with one more part in its state, in front: a mask, that of h, which stays as it is."""

    __slots__ = ()

    def __call__(self, x: Tensor, state: tuple[Any, State]) -> tuple[Tensor, tuple[Any, State]]:
        (mask, own), call = state, self._call
        if "recurrent_mask" in _parameters(call):
            y, new = call(x, own, recurrent_mask=mask)
        else:
            h, *others = tensors_of(own)
            y, new = call(x, refilled(own, [h * mask, *others]))
        return y, (mask, new)


def _parameters(function: Any) -> Collection[str]:
    """Names of what a function takes."""
    code = getattr(function, "__code__", None)
    if code is None or hasattr(function, "__wrapped__"):
        return inspect.signature(function).parameters
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


class Dropped(Bare):
    """A cell that sees h multiplied by a mask, whose rows go with the sorted sequences."""

    __slots__ = ("_mask", "_masked")

    def __init__(self, cell: Any, mask: np.ndarray) -> None:
        super().__init__(cell)
        self._mask, self._masked = mask, Masked(cell)

    def __call__(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        y, (_, new) = self._masked(x, (self._mask[: len(x)], state))
        return y, new

    def scan_packed(
        self, sequence: Tensor, state: State, packing: Packing, reverse: bool, all_states: bool
    ) -> tuple[Tensor, State] | None:
        """See `scan.run`: a cell that can take the loop over does so with the mask in its state."""
        derived = getattr(self._cell, "_tg_derived", None)
        if derived is None:
            return None
        start = (tensor(self._mask[: packing.counts[0]]), state)
        taken = derived(Masked).scan_packed(sequence, start, packing, reverse, all_states)
        return None if taken is None else (taken[0], taken[1][1])
