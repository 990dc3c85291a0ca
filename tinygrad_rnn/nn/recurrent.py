"""Layers: cells stacked and in both directions, run by `scan` over batches of sequences."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..ops import broadcast_to, concatenate, expand_dims, moveaxis, stack, swapaxes, unstack
from ..random import default_generator
from ..sources import user_level
from ..state import scope
from ..tensors import Tensor, as_tensor
from .layers import Dropout
from .module import Module, Parameter
from .options import changed, checked_flag, choice
from .packing import as_batch, pack
from .scan import run
from .states import (
    HiddenState,
    LayerStates,
    State,
    StateTuple,
    as_state,
    hidden_state,
    map_state,
    refilled,
    tensors_of,
)  # fmt: skip
from .steps import Bare, Dropped

Rng = np.random.Generator | int | None

MERGES: dict[str | None, Callable[[Sequence[Tensor]], Any]] = {
    "concat": lambda both: concatenate(both, axis=-1),
    "sum": lambda both: both[0] + both[1],
    "mul": lambda both: both[0] * both[1],
    "ave": lambda both: (both[0] + both[1]) / 2,
    None: tuple,
}
"""How the outputs of two directions become one."""


def merged_size(merge: str | None, sizes: Sequence[Any]) -> Any:
    """Features of the merged output of two directions; None where a cell does not say its own."""
    one, two = sizes
    if merge is None or one is None or two is None:
        return None if merge else (one, two)
    if merge != "concat" and one != two:
        raise ValueError(f"merge={merge!r} needs outputs of one size, got {one} and {two}")
    return one + two if merge == "concat" else one


class Recurrent(Module):
    """Layers of any cells, with lengths, masks, both directions and every flag. ::

        class Leaky:
            def initial_state(self, batch):
                return tg.tensor(np.zeros((batch, 8), "float32"))

            def __call__(self, x, h):
                h = 0.9 * h + 0.1 * x
                return h, h

        y, state = nn.Recurrent(Leaky(), bidirectional=True)(x, lengths=lengths)

    A cell with parameters is a `Module` that has a ``forward`` in place of ``__call__``.

    Parameters
    ----------
    cell : a cell, or a list of them
        ``cell(x_t, state) -> (y_t, state)`` with ``initial_state(batch)`` (see `scan`), such as `LSTMCell`;
        x_t is (batch, features), unless the cell's ``input_size`` is a tuple, such as (C, H, W) or (). A list
        stacks them: each reads the outputs of the one before. A pair of cells in a list's place gives the
        backward direction a cell of its own.
    bidirectional : bool
        Read each sequence backwards, too, with copies of the cells with parameters of their own.
    merge : {"concat", "sum", "mul", "ave", None}
        How the outputs of two directions become one, in every layer; None gives a pair of outputs, and
        concatenates between layers.
    dropout : float
        Applied to the outputs of every layer but the last, anew in every step, while training. With one layer
        there is nothing to apply it to, which gives a UserWarning, as in PyTorch.
    recurrent_dropout : float
        Applied, while training, to what a step sees of the state h before it (Gal and Ghahramani 2016): one
        mask for each sequence, drawn anew in every call and kept for all of its steps. It is handed to a cell
        as ``recurrent_mask=``; the state of a cell that takes none is multiplied by it (of a tuple, the first
        tensor).
    return_sequences : bool
        Give the outputs of all steps, or only each direction's own final one.
    return_state : bool or "all"
        Give the final state too; "all": the states after every step.
    go_backwards : bool
        Read each sequence (its own steps, if there are lengths or a mask) from its end, as in Keras: outputs
        come in the order in which they were computed, so the first one belongs to the last step. Padding
        stays where it is.
    learn_initial_state : bool
        Make the states before the first step parameters, ``h0_l0``, ``c0_l0``, ..., in place of zeros.
    batch_first : bool
        x, outputs and states begin with (batch, ...), else as in PyTorch: x (time, batch, features), states
        (num_layers * directions, batch, ...).
    rng : Generator or int, optional
        For copies' parameters, and for dropout's masks.
    """

    def __init__(
        self,
        cell: Any,
        *,
        bidirectional: bool = False,
        merge: str | None = "concat",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = True,
        return_state: bool | str = True,
        go_backwards: bool = False,
        learn_initial_state: bool = False,
        batch_first: bool = True,
        rng: Rng = None,
    ) -> None:
        if merge not in MERGES:
            raise ValueError(f"merge must be one of {', '.join(map(repr, MERGES))}, got {merge!r}")
        choice("return_state", return_state, (True, False, "all"))
        kind = type(self).__name__
        self.bidirectional = checked_flag(kind, "bidirectional", bidirectional)
        self.return_sequences = checked_flag(kind, "return_sequences", return_sequences)
        self.go_backwards = checked_flag(kind, "go_backwards", go_backwards)
        self.learn_initial_state = checked_flag(kind, "learn_initial_state", learn_initial_state)
        self.batch_first = checked_flag(kind, "batch_first", batch_first)
        if go_backwards and bidirectional:
            raise ValueError(
                "go_backwards has no meaning with bidirectional: both directions are read anyway"
            )
        rng = rng if rng is None else default_generator(rng)
        self.merge, self.return_state = merge, return_state
        cells = cell if isinstance(cell, list) else [cell]
        self._by_layer = isinstance(cell, list)
        self.num_layers = len(cells)
        if not cells:
            raise ValueError(f"{type(self).__name__} needs at least one cell")
        for k, one in enumerate(cells):
            pair = one if isinstance(one, tuple) else (one, fresh_copy(one, rng)) if bidirectional else (one,)
            if len(pair) != 1 + bidirectional:
                raise ValueError(
                    f"pairs of cells are for bidirectional=True: layer {k} has {len(pair)} cells"
                )
            for direction, suffix in zip(pair, self._suffixes(), strict=True):
                if not callable(direction) or not hasattr(direction, "initial_state"):
                    raise TypeError(
                        f"{type(self).__name__} runs cells, cell(x_t, state) -> (y_t, state) with "
                        f"initial_state(batch); {type(direction).__name__} is none"
                    )
                setattr(self, f"l{k}{suffix}", direction)
                if learn_initial_state:
                    self._learn_initial_state(f"l{k}{suffix}")
        sizes = [getattr(getattr(self, name), "output_size", None) for name in self._names()]
        self.output_size = merged_size(merge, sizes[-2:]) if bidirectional else sizes[-1]
        self.dropout = Dropout(dropout, rng=rng)
        warn_if_idle(self.dropout, self)
        self.recurrent_dropout = Dropout(recurrent_dropout, rng=rng)

    # ---- cells and their names

    def _suffixes(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.bidirectional else ("",)

    def _names(self) -> list[str]:
        """Names of the cells, layer by layer, forward before backward."""
        return [f"l{k}{suffix}" for k in range(self.num_layers) for suffix in self._suffixes()]

    def _join(self, child: str, name: str) -> str:
        # PyTorch's flat names: the cell l0_reverse's weight_ih is this layer's weight_ih_l0_reverse.
        return f"{child}.{name}" if "." in name else f"{name}_{child}"

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

    def _learn_initial_state(self, name: str) -> None:
        start = getattr(self, name).initial_state(1)
        for part, own in zip(tensors_of(start), _part_names(getattr(self, name), start), strict=True):
            setattr(self, f"{own}0_{name}", Parameter(part.numpy()[0]))

    # ---- the call

    def forward(self, x: Any, state: State = None, *, lengths: Any = None, mask: Any = None) -> Any:
        """Run over a batch of sequences.

        Parameters
        ----------
        x : Tensor or array, (B, T, F); (T, B, F) without batch_first
            Or a list of arrays (T_k, F) of different lengths. ``(B, T, *input_size)`` for a cell whose
            input_size is a tuple.
        state : optional
            What an earlier call returned, or tensors of the same shapes: h, or (h, c) for an LSTM, each
            (B, num_layers * directions, H), or (num_layers * directions, B, H) without batch_first; a tuple
            of these with one state for each layer, if the layer was made of a list. Zeros for None.
        lengths : integers, (B,), optional
            The sequences' own lengths, in any order, 0 to T; what lies beyond is padding (see `scan`).
        mask : booleans, as the first two axes of x, optional
            In place of lengths: False for padding, with gaps anywhere.

        Returns
        -------
        output : Tensor, (B, T, directions * H), or H features if directions are merged otherwise
            With ``return_sequences=False`` (B, directions * H): each direction's own final output, which
            for the backward one is at the first step. Without batch_first, (T, B, ...).
        state : HiddenState, LSTMState, StateTuple or LayerStates
            As the argument: only with ``return_state``. With "all", states after every step: h is
            (B, T, num_layers * directions, H), or (T, num_layers * directions, B, H) without batch_first.
        """
        x, lengths = as_batch(x, lengths, mask, self.batch_first)
        self._check_input(x)
        if not self.batch_first:
            x = swapaxes(x, 0, 1)
            mask = mask if mask is None else np.swapaxes(np.asarray(mask), 0, 1)
        packing = pack(x.shape[0], x.shape[1], lengths, mask)
        before = self._unpack(state, packing.batch)
        sequence = packing.enter(x)
        if self.go_backwards:
            sequence = packing.backwards(sequence)
        after: list[State] = []
        for k in range(self.num_layers):
            top = k == self.num_layers - 1
            outputs = []
            for suffix in self._suffixes():
                start = before[len(after)]
                with scope(f"l{k}{suffix}"):
                    output, final = run(
                        self._step(getattr(self, f"l{k}{suffix}"), start),
                        sequence,
                        start,
                        packing,
                        reverse=bool(suffix),
                        return_sequences=self.return_sequences or not top,
                        return_state=self.return_state,
                    )
                outputs.append(output)
                after.append(final)
            if not top:
                merge = MERGES[self.merge or "concat"]
                sequence = self.dropout(merge(outputs) if self.bidirectional else outputs[0])
        if self.return_sequences:
            outputs = [packing.leave(y) for y in outputs]
            outputs = outputs if self.batch_first else [swapaxes(y, 0, 1) for y in outputs]
        merged = MERGES[self.merge](outputs) if self.bidirectional else outputs[0]
        return (merged, self._packed(after)) if self.return_state else merged

    def _check_input(self, x: Tensor) -> None:
        kind, size = type(self).__name__, getattr(self.l0, "input_size", None)
        axes = ["batch", "time"] if self.batch_first else ["time", "batch"]
        axes += map(str, size) if isinstance(size, tuple) else ["features"]
        if x.ndim != len(axes) or (isinstance(size, tuple) and x.shape[2:] != size):
            mend = "; a cell whose x_t is not (batch, features) has a tuple for its input_size"
            raise ValueError(
                f"{kind} expected x of shape ({', '.join(axes)}), got {x.shape}{mend if size is None else ''}"
            )
        if isinstance(size, (int, np.integer)) and x.shape[2] != size:
            raise ValueError(
                f"{kind} expected features of size {size} in the last axis of x, got {x.shape}; "
                f"input_size was {size}"
            )

    def _describe(self) -> str:
        return ", ".join(self._changed())

    def _changed(self) -> list[str]:
        """The options that are not the defaults, but for those that cells and dropouts show themselves."""
        return changed(Recurrent, vars(self))

    def _step(self, cell: Any, start: State) -> Any:
        """A cell for one pass: its call opens no scope of its own, and drops parts of h if told to."""
        if not self.recurrent_dropout.p or not self.training:
            return Bare(cell)
        h = tensors_of(start)[0]
        return Dropped(cell, self.recurrent_dropout(np.ones(h.shape, h.dtype)).numpy())

    # ---- states

    def _unpack(self, state: State, batch: int) -> list[State]:
        """The states of the single cells, layer by layer, forward before backward."""
        names = self._names()
        fresh = [as_state(getattr(self, name).initial_state(batch)) for name in names]
        if state is None:
            if not self.learn_initial_state:
                return fresh
            return [self._learned(*pair) for pair in zip(names, fresh, strict=True)]
        if not self._by_layer:
            return self._unpacked(state, fresh)
        if not isinstance(state, (tuple, list)) or len(state) != self.num_layers:
            raise ValueError(
                f"{type(self).__name__} expected a tuple of {self.num_layers} states, one per layer, got "
                f"{_described(state)}"
            )
        n = len(self._suffixes())
        pairs = [fresh[k * n : (k + 1) * n] for k in range(self.num_layers)]
        return [s for layer, own in zip(state, pairs, strict=True) for s in self._unpacked(layer, own)]

    def _learned(self, name: str, start: State) -> State:
        parts = []
        for part, own in zip(tensors_of(start), _part_names(getattr(self, name), start), strict=True):
            parts.append(broadcast_to(getattr(self, f"{own}0_{name}"), part.shape))
        return refilled(start, parts)

    def _unpacked(self, state: State, fresh: list[State]) -> list[State]:
        """The states of cells that share one packed state, each in the form of its fresh one."""
        wanted = tensors_of(fresh[0])
        parts = tensors_of(state)
        if isinstance(state, (tuple, list)) != isinstance(fresh[0], tuple) or len(parts) != len(wanted):
            names = _part_names(self.l0, fresh[0])
            form = f"({', '.join(names)})" if isinstance(fresh[0], tuple) else names[0]
            raise ValueError(
                f"{type(self).__name__} expected {form}, a state of {len(wanted)} "
                f"tensor{'s' * (len(wanted) > 1)}, got {_described(state)}"
            )
        rows = []
        for part, own in zip(map(as_tensor, parts), wanted, strict=True):
            self._check_state(part, len(fresh), own.shape)
            rows.append(unstack(part, axis=1 if self.batch_first else 0))
        return [refilled(like, tensors) for like, tensors in zip(fresh, zip(*rows, strict=True), strict=True)]

    def _check_state(self, part: Tensor, count: int, own: tuple[int, ...]) -> None:
        batch, *size = own
        layouts = [
            ((batch, count, *size), "(batch, num_layers * directions, ...)"),
            ((count, batch, *size), "(num_layers * directions, batch, ...)"),
        ]
        (shape, axes), (other, other_axes) = layouts if self.batch_first else layouts[::-1]
        if part.shape == shape:
            return
        mend = ""
        if part.shape == other:
            mend = (
                f": that is {other_axes}, but with batch_first={self.batch_first} states have the layout of "
                f"x; swap its first two axes"
            )
        raise ValueError(
            f"{type(self).__name__} expected a state of shape {shape}, {axes}, got {part.shape}{mend}"
        )

    def _packed(self, states: list[State]) -> State:
        """The states of all cells as one, or as one for each layer."""
        if not self._by_layer:
            return self._stacked(states)
        n = len(self._suffixes())
        return LayerStates([self._stacked(states[k : k + n]) for k in range(0, len(states), n)])

    def _stacked(self, states: list[State]) -> State:
        """States (B, ...), or (B, T, ...) for all steps, with the cells along a new axis."""
        axis = 2 if self.return_state == "all" else 1
        directions = len(self._suffixes())

        def joined(*parts: Tensor) -> HiddenState:
            values = stack(parts, axis=axis) if len(parts) > 1 else expand_dims(parts[0], axis)
            if self.batch_first:
                return hidden_state(values, axis, 0, directions)
            # The batch moves behind the layers: (L * D, B, ...), or (T, L * D, B, ...).
            return hidden_state(moveaxis(values, 0, axis), axis - 1, axis, directions)

        packed = map_state(joined, *states)
        if type(packed) is not tuple:
            return packed
        kind = getattr(self.l0, "state_type", StateTuple)
        return getattr(kind, "_make", kind)(packed)


def warn_if_idle(dropout: Dropout, layers: Any) -> None:
    """Say that there is nothing to drop between layers, where there is but one."""
    if dropout.p and layers.num_layers == 1:
        warnings.warn(
            f"{type(layers).__name__}: dropout={dropout.p} has no effect on a single layer, as it is applied "
            f"to the outputs of all but the last; for one layer there are recurrent_dropout and nn.Dropout",
            UserWarning,
            stacklevel=user_level(),
        )


def _part_names(cell: Any, state: State) -> Sequence[str]:
    """What the tensors of a cell's state are called."""
    if not isinstance(state, tuple):
        return ("h",)
    fields: Sequence[str] = getattr(getattr(cell, "state_type", type(state)), "_fields", ())
    count = len(tensors_of(state))
    return fields if len(fields) == count else [chr(ord("a") + k) for k in range(count)]


def _described(state: Any) -> str:
    kind = type(state).__name__
    return f"{kind} of {len(state)}" if isinstance(state, (tuple, list)) else kind


def fresh_copy(cell: Any, rng: Rng) -> Any:
    """A copy of a cell or layer with new parameters: each uniform over the range of the original's.

    Where the original draws masks from a generator of its own, the copy draws other ones: from ``rng``.
    """
    from copy import deepcopy

    copy = deepcopy(cell)
    rng = default_generator(rng)
    for p in copy.parameters() if isinstance(copy, Module) else ():
        bound = np.abs(p.numpy()).max(initial=0)
        p.assign_(rng.uniform(-bound, bound, p.shape).astype(p.dtype))
    for part in copy.modules() if isinstance(copy, Module) else ():
        if getattr(part, "rng", None) is not None:
            part.rng = rng
    return copy
