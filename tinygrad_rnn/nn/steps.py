"""What layers make of a cell for one pass over time."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any

import numpy as np

from ..tensors import Tensor, as_tensor, tensor
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
        # Copying asks for the slot before it is set, and for __getstate__, which would be the cell's.
        if name in Bare.__slots__ or name.startswith("__"):
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


def result_of(cell: Any, result: Any, x: Tensor, state: State) -> tuple[Tensor, State]:
    """What a cell returned for a step from x and a state, provided that it is an output and a state.

    Raises
    ------
    TypeError
        For what is no pair of an output and a state of the structure of the one given.
    ValueError
        For an output with another number of rows than x, or a state of other shapes.
    """
    if isinstance(result, (tuple, list)) and len(result) == 2:
        y, new = result
        if isinstance(y, (Tensor, np.ndarray)) and y.shape[:1] == x.shape[:1] and _alike(new, state):
            return as_tensor(y), new
    structured = form(result, shapes=False) == form((x, state), shapes=False)
    raise (ValueError if structured else TypeError)(
        f"{name_of(cell)} returned {form(result)} from a step; expected a pair (output, state): a tensor "
        f"with a row for each one of x_t {x.shape}, and a state in the form of the one before, {form(state)}"
    )


def _alike(new: Any, old: State) -> bool:
    """Whether a state has the structure and the shapes of another."""
    if not isinstance(old, tuple):
        return isinstance(new, Tensor) and new.shape == old.shape
    if not isinstance(new, tuple) or len(new) != len(old):
        return False
    for one, other in zip(new, old):  # noqa: B905, SIM110 (looked at in every step, and each word takes time)
        if not _alike(one, other):
            return False
    return True


def form(value: Any, shapes: bool = True) -> str:
    """In words, how tuples are nested, and the shapes of the tensors in them."""
    if isinstance(value, (tuple, list)):
        inside = ", ".join([form(part, shapes) for part in value])
        if isinstance(value, list):
            return f"[{inside}]"
        if type(value) is tuple:
            return f"({inside}{',' * (len(value) == 1)})"
        return f"{type(value).__name__}({inside})"
    if isinstance(value, (Tensor, np.ndarray)):
        kind = "tensor" if isinstance(value, Tensor) else "array"
        return f"{kind} {value.shape}" if shapes else kind
    return "None" if value is None else type(value).__name__


def structure(state: State) -> Any:
    """How tuples are nested in a state, and of which types they are: equal for states of one form."""
    return (type(state), *map(structure, state)) if isinstance(state, tuple) else None


class Masked(Bare):
    """A cell with one more part in its state, in front: a mask, that of h, which stays as it is."""

    __slots__ = ()

    def __call__(self, x: Tensor, state: tuple[Any, State]) -> tuple[Tensor, tuple[Any, State]]:
        (mask, own), call = state, self._call
        if "recurrent_mask" in _parameters(call):
            result = call(x, own, recurrent_mask=mask)
        else:
            h, *others = tensors_of(own)
            result = call(x, refilled(own, [h * mask, *others]))
        y, new = result_of(self, result, x, own)
        return y, (mask, new)


def _parameters(function: Any) -> Collection[str]:
    """Names of what a function takes, or hands on to the one that it wraps."""
    code = getattr(function, "__code__", None)
    if code is None:
        return inspect.signature(function).parameters
    if code.co_flags & inspect.CO_VARKEYWORDS and hasattr(function, "__wrapped__"):
        return _parameters(function.__wrapped__)
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
