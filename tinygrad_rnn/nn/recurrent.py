"""Cells over time: `scan`, the one loop, and the layers RNN, LSTM and GRU that stack what it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..ops import concatenate, flip, stack, swapaxes, unstack, where
from ..random import default_generator
from ..state import scope
from ..tensors import Tensor, as_tensor, tensor
from .cells import GRUCell, LSTMCell, RNNCell
from .layers import Dropout
from .module import Module

Rng = np.random.Generator | int | None
State = Any
"""A tensor, or a tuple of tensors, with the batch as first axis."""


def scan(
    cell: Any,
    x: Tensor,
    state: State = None,
    *,
    lengths: Any = None,
    reverse: bool = False,
    return_sequences: bool = True,
) -> tuple[Tensor, State]:
    """Run a cell over time.

    Parameters
    ----------
    cell : callable
        ``cell(x_t, state) -> (y_t, state)`` for one step, with ``cell.initial_state(batch)`` and, for
        sequences of no steps, ``cell.output_size``. The state is a tensor or a tuple of tensors (B, ...).
    x : Tensor, (B, T, I)
    state : optional
        The state before the first step; ``cell.initial_state(B)`` for None.
    lengths : integers, (B,), optional
        How many of the T steps each sequence has, 0 to T. Steps beyond are padding: they give outputs of 0,
        leave the state alone and receive no gradient, whatever they hold.
    reverse : bool
        Go from the last step (of each sequence) to the first. Outputs stay at their steps.
    return_sequences : bool
        Give the outputs of all steps, else only the last that was computed for each sequence.

    Returns
    -------
    output : Tensor, (B, T, F), or (B, F) without return_sequences
    state
        After each sequence's own last step.
    """
    if x.ndim < 2:
        raise ValueError(f"scan expected x of shape (batch, time, ...), got {x.shape}")
    batch, steps = x.shape[:2]
    if state is None:
        if not hasattr(cell, "initial_state"):
            raise TypeError(
                f"scan: {type(cell).__name__} has no initial_state(batch): define it, or pass a state"
            )
        state = cell.initial_state(batch)
    padded = None if lengths is None else _valid_lengths(lengths, batch, steps)
    outputs: list[Any] = [None] * steps
    last: Any = None
    inputs = unstack(x, axis=1) if steps else ()
    for t in reversed(range(steps)) if reverse else range(steps):
        active = None if padded is None else (t < padded)[:, None]
        if active is not None and not active.any():
            continue
        with scope(f"t={t}", step=t, owner=getattr(cell, "_cell", cell)):
            if active is None or active.all():
                last, state = cell(inputs[t], state)
                outputs[t] = last
            else:
                # Padding becomes 0 first: a NaN in it would meet a cotangent of 0, and 0 * NaN is NaN.
                y, new = cell(where(active, inputs[t], 0), state)
                state = _choose(active, new, state)
                outputs[t] = where(active, y, 0)
                last = outputs[t] if last is None else where(active, y, last)
    if last is None:
        last = tensor(np.zeros((batch, cell.output_size), x.dtype))
    if not return_sequences:
        return last, state
    if not steps:
        return tensor(np.zeros((batch, 0, cell.output_size), x.dtype)), state
    nothing = tensor(np.zeros(last.shape, last.dtype))
    return stack([nothing if y is None else y for y in outputs], axis=1), state


def _valid_lengths(lengths: Any, batch: int, steps: int) -> np.ndarray:
    lengths = np.asarray(lengths)
    if lengths.shape != (batch,) or lengths.dtype.kind not in "iu":
        raise ValueError(
            f"lengths must be {batch} integers, one per sequence, got {lengths.dtype}{lengths.shape}"
        )
    if batch and (lengths.min() < 0 or lengths.max() > steps):
        raise ValueError(f"lengths must be between 0 and the {steps} steps of x, got {lengths.tolist()}")
    return lengths


def _choose(active: np.ndarray, new: State, old: State) -> State:
    """The new state of sequences that are still running, the old one of those that have ended."""
    if not isinstance(new, (tuple, Tensor)):
        raise TypeError(f"a cell's state must be a tensor or a tuple of tensors, got {type(new).__name__}")
    if isinstance(new, tuple):
        return tuple(_choose(active, n, o) for n, o in zip(new, old, strict=True))
    return where(active.reshape(-1, *(1,) * (new.ndim - 1)), new, old)


_OPTIONS = (
    "bias", "dropout", "bidirectional", "return_sequences", "return_state", "batch_first", "rng", "dtype",
)  # fmt: skip


class _Recurrent(Module):
    """What RNN, LSTM and GRU share: cells in layers and directions, run by `scan`."""

    cell: Callable[..., Any]
    parts: int
    """How many tensors a state has: 1, a tensor alone, or 2, a tuple."""
    cell_options: tuple[str, ...] = ()
    """Options that are the cell's alone."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        return_sequences: bool = True,
        return_state: bool = True,
        batch_first: bool = True,
        rng: Rng = None,
        dtype: Any = None,
        **cell_options: Any,
    ) -> None:
        for name in cell_options:
            if name not in self.cell_options:
                raise TypeError(
                    f"{type(self).__name__} has no option {name!r}; it takes {', '.join(_OPTIONS)}"
                    + "".join(f", {option}" for option in self.cell_options)
                )
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, got {num_layers}")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bidirectional = bidirectional
        self.return_sequences, self.return_state = return_sequences, return_state
        self.batch_first = batch_first
        rng = default_generator(rng)
        size = input_size
        for k in range(num_layers):
            for suffix in self._suffixes():
                cell = self.cell(size, hidden_size, bias, rng=rng, dtype=dtype, **cell_options)
                setattr(self, f"l{k}{suffix}", cell)
            size = hidden_size * len(self._suffixes())
        self.output_size = size
        self.dropout = Dropout(dropout, rng=rng)

    def _suffixes(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.bidirectional else ("",)

    def _join(self, child: str, name: str) -> str:
        # PyTorch's flat names: the cell l0_reverse's weight_ih is this layer's weight_ih_l0_reverse.
        return f"{name}_{child}"

    def __getattr__(self, name: str) -> Any:
        cell, own = self._find(name)
        return super().__getattr__(name) if cell is None else getattr(cell, own)

    def __setattr__(self, name: str, value: Any) -> None:
        cell, own = self._find(name)
        if cell is None:
            super().__setattr__(name, value)
        else:
            setattr(cell, own, value)

    def _find(self, name: str) -> tuple[Module | None, str]:
        """The cell, and the parameter's name there, that a flat name such as weight_ih_l0 stands for."""
        own, _, child = name.rpartition("_l")
        cell = vars(self).get("_children", {}).get(f"l{child}") if own else None
        return cell, own

    def forward(self, x: Any, state: State = None, *, lengths: Any = None) -> Any:
        """Run over a batch of sequences.

        Parameters
        ----------
        x : Tensor or array, (B, T, input_size); (T, B, input_size) without batch_first
        state : optional
            h, or (h, c) for an LSTM, each (num_layers * directions, B, H) as in PyTorch, whatever
            batch_first; zeros for None.
        lengths : integers, (B,), optional
            The sequences' own lengths, in any order, 0 to T; what lies beyond is padding (see `scan`).

        Returns
        -------
        output : Tensor, (B, T, directions * H)
            With ``return_sequences=False`` (B, directions * H): each direction's own final output, which
            for the backward one is at the first step. Without batch_first, (T, B, ...).
        state
            As the argument: only with ``return_state``.
        """
        x = as_tensor(x)
        self._check_input(x)
        if not self.batch_first:
            x = swapaxes(x, 0, 1)
        suffixes = self._suffixes()
        before = self._unpack(state, x.shape[0])
        after = []
        for k in range(self.num_layers):
            top = k == self.num_layers - 1
            outputs = []
            for suffix in suffixes:
                with scope(f"l{k}{suffix}"):
                    output, final = scan(
                        # forward, not the module's call: the scope would repeat the layer's in each step
                        _Step(self._children[f"l{k}{suffix}"]),
                        x,
                        next(before),
                        lengths=lengths,
                        reverse=bool(suffix),
                        return_sequences=self.return_sequences or not top,
                    )
                outputs.append(output)
                after.append(final)
            x = outputs[0] if len(outputs) == 1 else concatenate(outputs, axis=-1)
            if not top:
                x = self.dropout(x)
        if self.return_sequences and not self.batch_first:
            x = swapaxes(x, 0, 1)
        return (x, self._pack(after)) if self.return_state else x

    def _check_input(self, x: Tensor) -> None:
        layout = "(batch, time, features)" if self.batch_first else "(time, batch, features)"
        kind = type(self).__name__
        if x.ndim != 3:
            raise ValueError(f"{kind} expected x of shape {layout}, got {x.shape}")
        if x.shape[2] != self.input_size:
            raise ValueError(
                f"{kind} expected features of size {self.input_size} in the last axis of x, got {x.shape}; "
                f"input_size was {self.input_size}"
            )

    def _unpack(self, state: State, batch: int) -> Iterator[State]:
        """The states of the single cells, layer by layer, forward before backward."""
        count = self.num_layers * len(self._suffixes())
        if state is None:
            return iter([None] * count)
        parts = (state,) if self.parts == 1 else state
        wanted = (count, batch, self.hidden_size)
        alone = self.parts == 1 and isinstance(state, (tuple, list))
        if alone or not isinstance(parts, (tuple, list)) or len(parts) != self.parts:
            form = "(h, c), a state of 2 tensors" if self.parts == 2 else "h, a state of 1 tensor"
            raise ValueError(
                f"{type(self).__name__} expected {form} {wanted}, got {type(state).__name__}"
                + (f" of {len(state)}" if isinstance(state, (tuple, list)) else "")
            )
        parts = [as_tensor(p) for p in parts]
        for p in parts:
            if p.shape != wanted:
                raise ValueError(
                    f"{type(self).__name__} expected a state of shape {wanted}, (num_layers * directions, "
                    f"batch, hidden_size), got {p.shape}"
                )
        rows = zip(*(unstack(p, axis=0) for p in parts), strict=True)
        return iter([row[0] if self.parts == 1 else row for row in rows])

    def _pack(self, states: Sequence[State]) -> State:
        if self.parts == 1:
            return stack(states, axis=0)
        return tuple(stack(part, axis=0) for part in zip(*states, strict=True))

    def _describe(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"


class _Step:
    """A cell whose call opens no scope of its own."""

    __slots__ = ("_cell",)

    def __init__(self, cell: Any) -> None:
        self._cell = cell

    def __call__(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self._cell.forward(x, state)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cell, name)


class RNN(_Recurrent):
    """Vanilla recurrent layers; see `RNNCell` for the equation and `_Recurrent.forward` for the call.

    Parameters
    ----------
    input_size, hidden_size : int
    num_layers : int
        Layers stacked, each reading the outputs of the one below.
    nonlinearity : {"tanh", "relu"}
    bias : bool
    dropout : float
        Applied to the outputs of every layer but the last, while training.
    bidirectional : bool
        Add a second set of cells that read backwards; outputs are concatenated, forward first.
    return_sequences : bool
        Give the outputs of all steps, or only each direction's final one.
    return_state : bool
        Give the final state too.
    batch_first : bool
        x and output are (batch, time, features), else (time, batch, features).
    rng, dtype
        Of the initial parameters (and of dropout's masks).

    Attributes
    ----------
    weight_ih_l0 : (H, I), weight_hh_l0 : (H, H), bias_ih_l0, bias_hh_l0 : (H,)
        And so on for l1, l2, ...; with the suffix _reverse for the backward direction.
    """

    cell = RNNCell
    parts = 1
    cell_options = ("nonlinearity",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        **options: Any,
    ) -> None:
        super().__init__(input_size, hidden_size, num_layers, nonlinearity=nonlinearity, **options)


class LSTM(_Recurrent):
    """LSTM layers; see `LSTMCell` for the equations, and `RNN` for the parameters.

    Attributes
    ----------
    weight_ih_l0 : (4H, I), weight_hh_l0 : (4H, H), bias_ih_l0, bias_hh_l0 : (4H,)
        Gates in the order i, f, g, o.
    """

    cell = LSTMCell
    parts = 2


class GRU(_Recurrent):
    """GRU layers; see `GRUCell` for the equations, and `RNN` for the parameters.

    Attributes
    ----------
    weight_ih_l0 : (3H, I), weight_hh_l0 : (3H, H), bias_ih_l0, bias_hh_l0 : (3H,)
        Gates in the order r, z, n.
    """

    cell = GRUCell
    parts = 1


class Bidirectional(Module):
    """Two layers, one of which reads each sequence backwards; outputs are concatenated.

    Parameters
    ----------
    layer : Module
        Called as ``layer(x, state, lengths=...)``: RNN, LSTM, GRU, or another with their flags.
    backward_layer : Module, optional
        Reads backwards. By default a copy of ``layer`` with parameters of its own.
    rng : Generator or int, optional
        For the copy's parameters.
    """

    def __init__(self, layer: Module, backward_layer: Module | None = None, *, rng: Rng = None) -> None:
        self.forward_layer = layer
        self.backward_layer = (
            _fresh_copy(layer, default_generator(rng)) if backward_layer is None else backward_layer
        )
        for flag in ("return_sequences", "return_state", "batch_first"):
            if getattr(layer, flag, None) != getattr(self.backward_layer, flag, None):
                raise ValueError(f"Bidirectional: the two layers differ in {flag}")

    def forward(self, x: Any, state: Any = None, *, lengths: Any = None) -> Any:
        """As the layer's, with a pair (forward, backward) for the state and doubled output features."""
        x = as_tensor(x)
        flags: Any = self.forward_layer
        ahead, behind = (None, None) if state is None else state
        time = 1 if flags.batch_first else 0
        one = self.forward_layer(x, ahead, lengths=lengths)
        two = self.backward_layer(_reversed_in_time(x, time, lengths), behind, lengths=lengths)
        if flags.return_state:
            (one, ahead), (two, behind) = one, two
        if flags.return_sequences:
            two = _reversed_in_time(two, time, lengths)
        output = concatenate([one, two], axis=-1)
        return (output, (ahead, behind)) if flags.return_state else output


def _fresh_copy(layer: Module, rng: np.random.Generator) -> Module:
    """A copy of a layer with newly drawn parameters: each uniform over the range of the original's."""
    from copy import deepcopy

    copy = deepcopy(layer)
    for p in copy.parameters():
        bound = np.abs(p.numpy()).max(initial=0)
        p.assign_(rng.uniform(-bound, bound, p.shape).astype(p.dtype))
    return copy


def _reversed_in_time(x: Tensor, time: int, lengths: Any) -> Tensor:
    """Each sequence backwards; with lengths, only its own steps, and padding stays at the end."""
    if lengths is None:
        return flip(x, axis=time)
    if time == 0:
        return swapaxes(_reversed_in_time(swapaxes(x, 0, 1), 1, lengths), 0, 1)
    batch, steps = x.shape[:2]
    own = _valid_lengths(lengths, batch, steps)[:, None]
    t = np.arange(steps)
    return x[np.arange(batch)[:, None], np.where(t < own, own - 1 - t, t)]
