"""Layers around layers: `Stacked` and `Bidirectional`; and `tbptt`, long sequences in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..ops import swapaxes
from ..random import default_generator
from ..tensors import Tensor, as_tensor
from .layers import Dropout
from .module import Module
from .options import changed
from .packing import Packing, as_batch, pack, valid_lengths
from .recurrent import MERGES, Recurrent, fresh_copy, merged_size, warn_if_idle
from .states import DirectionStates, LayerStates, map_state, rebuilt

Rng = np.random.Generator | int | None


class Stacked(Module):
    """Recurrent layers one after another, each given the lengths or the mask: layers of any kinds and sizes.

    Parameters
    ----------
    layers : sequence of layers or cells
        Called as ``layer(x, state, lengths=..., mask=...)``; a cell is run by a `Recurrent` of its own. All
        but the last must return sequences, and all or none states.
    dropout : float
        Applied to the outputs of every layer but the last, while training; of a single one, it warns.
    rng : Generator or int, optional
        For dropout's masks.
    """

    def __init__(self, layers: Sequence[Any], *, dropout: float = 0.0, rng: Rng = None) -> None:
        made = [_layer(one) for one in layers]
        if not made:
            raise ValueError("Stacked needs at least one layer")
        last = made[-1]
        for k, layer in enumerate(made):
            if not layer.return_sequences and layer is not last:
                raise ValueError(f"Stacked: layer {k} must have return_sequences=True: another one reads it")
            if _gives_pairs(layer) and layer is not last:
                raise ValueError(f"Stacked: layer {k} must not have merge=None: another one reads one output")
            for flag in ("return_state", "batch_first"):
                if getattr(layer, flag) != getattr(last, flag):
                    raise ValueError(f"Stacked: layers {k} and {len(made) - 1} differ in {flag}")
            setattr(self, str(k), layer)
        self.return_sequences, self.return_state = last.return_sequences, last.return_state
        self.batch_first = last.batch_first
        self.bidirectional = any(layer.bidirectional for layer in made)
        self.go_backwards = any(layer.go_backwards for layer in made)
        self.num_layers = len(made)
        self.output_size = last.output_size
        self.dropout = Dropout(dropout, rng=rng)
        warn_if_idle(self.dropout, self)

    def forward(self, x: Any, state: Any = None, *, lengths: Any = None, mask: Any = None) -> Any:
        """As one layer's; the state is a tuple with one for each layer, or None."""
        x, lengths = as_batch(x, lengths, mask, self.batch_first)
        states = [None] * self.num_layers if state is None else state
        if not isinstance(states, (tuple, list)) or len(states) != self.num_layers:
            raise ValueError(
                f"Stacked expected a tuple of {self.num_layers} states, one per layer, got "
                f"{type(state).__name__}"
            )
        after = []
        for k, before in enumerate(states):
            layer: Any = self._children[str(k)]
            if k:
                x = self.dropout(x)
            x = layer(x, before, lengths=lengths, mask=mask)
            if self.return_state:
                x, final = x
                after.append(final)
        return (x, LayerStates(after)) if self.return_state else x


class Bidirectional(Module):
    """Two layers, one of which reads each sequence backwards.

    Parameters
    ----------
    layer : layer or cell
        Called as ``layer(x, state, lengths=..., mask=...)``: RNN, LSTM, GRU, or another with their flags; a
        cell is run by a `Recurrent` of its own.
    backward_layer : layer or cell, optional
        Is given the sequences turned around, and so reads backwards without ``go_backwards`` (which Keras
        demands of it). By default a copy of ``layer`` with parameters of its own.
    merge : {"concat", "sum", "mul", "ave", None}
        How the two outputs become one; None gives a pair.
    rng : Generator or int, optional
        For the copy's parameters.
    """

    bidirectional = True
    go_backwards = False

    def __init__(
        self,
        layer: Any,
        backward_layer: Any = None,
        *,
        merge: str | None = "concat",
        rng: Rng = None,
    ) -> None:
        if merge not in MERGES:
            raise ValueError(f"merge must be one of {', '.join(map(repr, MERGES))}, got {merge!r}")
        if layer is backward_layer:
            raise ValueError("Bidirectional: the two layers are one; leave backward_layer out for a copy")
        layer = _layer(layer)
        self.forward_layer = layer
        self.backward_layer = (
            fresh_copy(layer, default_generator(rng)) if backward_layer is None else _layer(backward_layer)
        )
        for one in (layer, self.backward_layer):
            if getattr(one, "go_backwards", False):
                raise ValueError(
                    "Bidirectional turns the sequences around itself, and go_backwards=True would turn them "
                    "back: leave it out of both layers"
                )
            if _gives_pairs(one):
                raise ValueError("Bidirectional: a layer with merge=None gives two outputs, not one")
        for flag in ("return_sequences", "return_state", "batch_first"):
            if getattr(layer, flag, None) != getattr(self.backward_layer, flag, None):
                raise ValueError(f"Bidirectional: the two layers differ in {flag}")
        if layer.return_state == "all":
            raise ValueError(
                "Bidirectional turns outputs around, not states: for those of all steps use a layer with "
                "bidirectional=True"
            )
        self.return_sequences, self.return_state = layer.return_sequences, layer.return_state
        self.batch_first = layer.batch_first
        self.merge = merge
        self.output_size = merged_size(merge, [getattr(one, "output_size", None) for one in self.children()])

    def forward(self, x: Any, state: Any = None, *, lengths: Any = None, mask: Any = None) -> Any:
        """As the layer's, with a pair (forward, backward) for the state."""
        x, lengths = as_batch(x, lengths, mask, self.batch_first)
        if state is not None and (not isinstance(state, (tuple, list)) or len(state) != 2):
            raise ValueError(
                f"Bidirectional expected a pair of states (forward, backward), got {type(state).__name__}"
            )
        ahead, behind = (None, None) if state is None else state
        one = self.forward_layer(x, ahead, lengths=lengths, mask=mask)  # first: it says what is wrong with x
        batch, steps = x.shape[:2] if self.batch_first else x.shape[1::-1]
        packing = pack(
            batch, steps, lengths, mask if mask is None or self.batch_first else np.asarray(mask).T
        )
        two = self.backward_layer(self._turned(x, packing), behind, lengths=lengths, mask=mask)
        if self.return_state:
            (one, ahead), (two, behind) = one, two
        if self.return_sequences:
            two = self._turned(two, packing)
        output = MERGES[self.merge]([one, two])
        return (output, DirectionStates(ahead, behind)) if self.return_state else output

    def _describe(self) -> str:
        return ", ".join(changed(Bidirectional, {"merge": self.merge}))

    def _turned(self, x: Tensor, packing: Packing) -> Tensor:
        """Each sequence with its own steps in reverse order, in place."""
        if self.batch_first:
            return packing.leave(packing.backwards(packing.enter(x)))
        return swapaxes(packing.leave(packing.backwards(packing.enter(swapaxes(x, 0, 1)))), 0, 1)


def _layer(one: Any) -> Any:
    """A layer; a cell as a layer."""
    return one if hasattr(one, "return_state") else Recurrent(one)


def _gives_pairs(layer: Any) -> bool:
    return getattr(layer, "bidirectional", False) and getattr(layer, "merge", "concat") is None


def tbptt(
    layer: Any, x: Any, k: int, state: Any = None, *, lengths: Any = None, mask: Any = None
) -> Iterator[tuple[slice, Any, Any]]:
    """Truncated backpropagation through time: long sequences, k steps at a time.

    The state goes on from chunk to chunk, and gradients do not: outputs are those of one call, bit for bit
    (with a mask with gaps, up to rounding), while a ``backward()`` on a chunk's output reaches back to the
    chunk's first step only (Williams and Peng 1990). ::

        for steps, y, state in nn.tbptt(lstm, x, 20):
            loss = nn.mse(head(y), target[:, steps])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    Parameters
    ----------
    layer : a recurrent layer
        That reads forwards and returns sequences and states.
    x : Tensor or array, (B, T, F); (T, B, F) for a layer without batch_first
        Or a list of arrays (T_k, F) of different lengths.
    k : int
        Steps in a chunk; the last one may have fewer.
    state, lengths, mask
        As for the layer.

    Yields
    ------
    steps : slice
        The chunk's steps in x.
    output : as the layer's
    state
        The detached state after the chunk.
    """
    if not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(f"tbptt needs chunks of at least 1 step, got k={k}")
    if not hasattr(layer, "go_backwards"):
        raise TypeError(
            f"tbptt needs a recurrent layer, got {type(layer).__name__}; nn.Recurrent(cell) makes one of "
            f"a cell"
        )
    if layer.bidirectional or layer.go_backwards:
        raise ValueError(
            "tbptt reads forwards: a layer that reads backwards needs the whole sequence at once"
        )
    if layer.return_state is not True or not layer.return_sequences:
        raise ValueError("tbptt needs a layer with return_state=True and return_sequences=True")
    x, lengths = as_batch(x, lengths, mask, layer.batch_first)
    batch, time = (0, 1) if layer.batch_first else (1, 0)
    total = x.shape[time]
    mask = None if mask is None else np.asarray(mask)
    order = None
    if lengths is not None:
        # Sorted as the whole would be: products of the same rows in the same order have the same rounding.
        lengths = valid_lengths(lengths, x.shape[batch], total)
        order = np.argsort(-lengths, kind="stable")
        lengths, x = lengths[order], _reordered(x, order, batch)
    for start in range(0, total, k):
        steps = slice(start, min(start + k, total))
        index = (slice(None),) * time + (steps,)
        y, state = layer(
            x[index],
            state if order is None or state is None else _reordered(state, order, batch),
            lengths=None if lengths is None else np.clip(lengths - start, 0, steps.stop - start),
            mask=None if mask is None else mask[index],
        )
        state = map_state(lambda part: part.detach(), state)
        if order is not None:
            back = np.argsort(order)
            y = _reordered(y, back, batch)
            state = map_state(lambda part, back=back: part.index(back), state)
        yield steps, y, state


def _reordered(state: Any, order: np.ndarray, batch: int) -> Any:
    """A tensor, or the parts of a state, with the sequences along axis ``batch`` in another order."""
    if isinstance(state, (tuple, list)):
        return rebuilt(state, [_reordered(part, order, batch) for part in state])
    return as_tensor(state)[(slice(None),) * batch + (order,)]
