"""States: tensors and tuples of tensors that know their layers, directions and layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..tensors import Tensor, as_tensor

State = Any
"""A tensor, or a tuple of states."""


class HiddenState(Tensor):
    """One part of the state of stacked layers, such as h: a tensor that knows which of its axes is which.

    Operations on it give plain tensors. Its shape is (B, L * D, ...) in layers with ``batch_first``, else (L
    * D, B, ...), for L layers of D directions, forward before backward within each layer; with the states of
    all steps (``return_state="all"``) it is (B, T, L * D, ...) or (T, L * D, B, ...).

    Attributes
    ----------
    layer_axis, batch_axis : int
    num_directions : int
        D: 1 or 2.
    """

    __slots__ = ("batch_axis", "layer_axis", "num_directions")
    layer_axis: int
    batch_axis: int
    num_directions: int

    @property
    def num_layers(self) -> int:
        """L."""
        return self.shape[self.layer_axis] // self.num_directions

    def layer(self, k: int) -> HiddenState:
        """The state of one layer, counted from the end if negative; its axis stays, with length D."""
        if not -self.num_layers <= k < self.num_layers:
            raise IndexError(f"the state has {self.num_layers} layers, so there is no layer {k}")
        start = k % self.num_layers * self.num_directions
        return self._part(slice(start, start + self.num_directions), self.num_directions)

    def direction(self, name: str) -> HiddenState:
        """The states of one direction, ``"forward"`` or ``"backward"``, of all layers."""
        return self._part(slice(_direction(name, self.num_directions), None, self.num_directions), 1)

    def index(self, batch_ids: Any) -> HiddenState:
        """The states of some sequences: integers, in any order and with repeats, or a boolean (B,)."""
        ids = np.asarray(batch_ids)
        if ids.ndim != 1 or ids.dtype.kind not in "iub":
            raise ValueError(f"index expected a list of integers or booleans, got {ids.dtype}{ids.shape}")
        return self._like(self[(slice(None),) * self.batch_axis + (ids,)], self.num_directions)

    def detach(self) -> HiddenState:
        """The same state off the tape."""
        return self._like(super().detach(), self.num_directions)

    def _part(self, part: slice, num_directions: int) -> HiddenState:
        return self._like(self[(slice(None),) * self.layer_axis + (part,)], num_directions)

    def _like(self, values: Tensor, num_directions: int) -> HiddenState:
        return hidden_state(values, self.layer_axis, self.batch_axis, num_directions)


def hidden_state(values: Tensor, layer_axis: int, batch_axis: int, num_directions: int) -> HiddenState:
    """A tensor, at the same place on the tape, as a `HiddenState`."""
    state: HiddenState = object.__new__(HiddenState)
    state._data, state._place = values._data, values._place
    state.layer_axis, state.batch_axis, state.num_directions = layer_axis, batch_axis, num_directions
    return state


def _direction(name: str, count: int) -> int:
    names = ("forward", "backward")[:count]
    if name not in names:
        raise ValueError(f"the state has the directions {', '.join(names)}, not {name!r}")
    return names.index(name)


class StateTuple(tuple[Any, ...]):
    """The state of layers whose cell has a tuple for a state, part by part; methods act on all parts."""

    __slots__ = ()

    def _each(self, method: str, *args: Any) -> Any:
        """The same of each part; of the tensors in a part that is an ordinary tuple."""

        def apply(part: Any) -> Any:
            if isinstance(part, (StateTuple, Tensor)):
                return getattr(part, method)(*args)
            return map_state(apply, part)

        return rebuilt(self, [apply(part) for part in self])

    def layer(self, k: int) -> Any:
        """The state of one layer, counted from the end if negative."""
        return self._each("layer", k)

    def direction(self, name: str) -> Any:
        """The states of one direction, ``"forward"`` or ``"backward"``."""
        return self._each("direction", name)

    def index(self, batch_ids: Any) -> Any:  # type: ignore[override]
        """The states of some sequences: integers, in any order and with repeats, or a boolean (B,)."""
        return self._each("index", batch_ids)

    def detach(self) -> Any:
        """The same states off the tape: gradients end here."""
        return self._each("detach")


class _HC(NamedTuple):
    h: Any
    c: Any


class LSTMState(StateTuple, _HC):
    """The state of LSTM layers: ``h, c = state``, or ``state.h`` and ``state.c``, each a `HiddenState`."""

    __slots__ = ()


class LayerStates(StateTuple):
    """States of layers of different kinds or sizes: a tuple with one state per layer."""

    __slots__ = ()

    def layer(self, k: int) -> Any:
        """The state of one layer, counted from the end if negative."""
        return self[k]


class _Directions(NamedTuple):
    forward: Any
    backward: Any


class DirectionStates(StateTuple, _Directions):
    """The states of the two layers of a `Bidirectional`: ``state.forward`` and ``state.backward``."""

    __slots__ = ()

    def direction(self, name: str) -> Any:
        """The state of one layer, ``"forward"`` or ``"backward"``."""
        return self[_direction(name, 2)]


# ---------------------------------------------------------------------------------- nested tuples of tensors


def rebuilt(like: Any, parts: Sequence[Any]) -> Any:
    """A tuple of the same type with other parts."""
    if type(like) is tuple:
        return tuple(parts)
    make = getattr(like, "_make", type(like))  # named tuples do not take their parts as one argument
    return make(parts)


def map_state(f: Callable[..., Any], *states: State) -> State:
    """Apply a function to each tensor of a state, or to the tensors in the same place of several."""
    first = states[0]
    if isinstance(first, Tensor):
        return f(*states)
    if isinstance(first, tuple):
        return rebuilt(first, [map_state(f, *parts) for parts in zip(*states, strict=True)])
    raise TypeError(f"a cell's state must be a tensor or a tuple of tensors, got {type(first).__name__}")


def as_state(state: Any) -> State:
    """A state of tensors and tuples, given one of tensors or arrays, tuples and lists."""
    if isinstance(state, (tuple, list)):
        parts = list(map(as_state, state))
        return rebuilt(state, parts) if isinstance(state, tuple) else tuple(parts)
    if isinstance(state, (Tensor, np.ndarray)):
        return as_tensor(state)
    raise TypeError(f"a cell's state must be a tensor or a tuple of tensors, got {type(state).__name__}")


def tensors_of(state: State) -> list[Any]:
    """The tensors of a state, from left to right."""
    if isinstance(state, (tuple, list)):
        return [leaf for part in state for leaf in tensors_of(part)]
    return [state]


def refilled(like: State, tensors: Sequence[Tensor]) -> State:
    """A state of the same structure, of other tensors from left to right."""
    left = iter(tensors)
    return map_state(lambda _: next(left), like)
