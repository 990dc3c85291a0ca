"""`scan`, the one loop over time: any cell, forwards or backwards, over sequences of any lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ops import concatenate
from ..state import scope
from ..tensors import Tensor, as_tensor, tensor
from .options import features_of
from .packing import Packing, pack
from .states import State, as_state, map_state, tensors_of
from .steps import innermost, result_of


def scan(
    cell: Any,
    x: Any,
    state: State = None,
    *,
    lengths: Any = None,
    mask: Any = None,
    reverse: bool = False,
    return_sequences: bool = True,
    return_state: bool | str = True,
) -> Any:
    """Run a cell over time.

    Parameters
    ----------
    cell : callable
        ``cell(x_t, state) -> (y_t, state)`` for one step, with ``cell.initial_state(batch)`` and, for
        batches without any step, ``cell.output_size``. The state is a tensor (B, ...), or a tuple of states,
        and comes back in its own type and shapes. Rows must not depend on each other: a step is given only
        the sequences that take it.
    x : Tensor or array, (B, T, ...)
    state : optional
        The state before the first step; ``cell.initial_state(B)`` for None.
    lengths : integers, (B,), optional
        How many of the T steps each sequence has, 0 to T, in any order. Steps beyond are padding.
    mask : booleans, (B, T), optional
        In place of lengths: True for steps, False for padding, with gaps anywhere. Padding is not computed:
        it gives outputs of 0, leaves the state alone and receives no gradient, whatever it holds. (Keras
        repeats the output before the gap there, unless told ``zero_output_for_mask=True``.)
    reverse : bool
        Go from the last step (of each sequence) to the first. Outputs stay at their steps.
    return_sequences : bool
        Give the outputs of all steps, else only the last that was computed for each sequence; 0 for a
        sequence of no steps.
    return_state : bool or "all"
        Give the final state too; "all": the states after every step, (B, T, ...). At padding that is the
        state that was carried over it.

    Returns
    -------
    output : Tensor, (B, T, F), or (B, F) without return_sequences
    state
        With return_state: after each sequence's own last step. A sequence of no steps keeps its state.

    Raises
    ------
    TypeError, ValueError
        For a cell that returns something else than an output and a state like the one before.
    """
    x = as_tensor(x)
    if x.ndim < 2:
        raise ValueError(f"scan expected x of shape (batch, time, ...), got {x.shape}")
    packing = pack(x.shape[0], x.shape[1], lengths, mask)
    if state is None:
        if not hasattr(cell, "initial_state"):
            raise TypeError(
                f"scan: {type(cell).__name__} has no initial_state(batch): define it, or pass a state"
            )
        state = cell.initial_state(packing.batch)
    state = as_state(state)
    for part in tensors_of(state):
        if part.shape[:1] != (packing.batch,):
            raise ValueError(
                f"scan expected a state of {packing.batch} rows, one per sequence of x {x.shape}, got "
                f"{part.shape}"
            )
    sequence = packing.enter(x)
    output, state = run(cell, sequence, state, packing, reverse, return_sequences, return_state)
    output = packing.leave(output) if return_sequences else output
    return (output, state) if return_state else output


def run(
    cell: Any,
    sequence: Tensor,
    state: State,
    packing: Packing,
    reverse: bool = False,
    return_sequences: bool = True,
    return_state: bool | str = True,
) -> tuple[Tensor, State]:
    """`scan` over sequences in their packed form; without return_state the returned state is None.

    A cell that can take the whole loop over has a method ``scan_packed(sequence, state, packing, reverse,
    all_states) -> (sequence, state)``: inputs in their packed form, the states (packing.counts[0], ...)
    before the first step, whether to begin at the last step, and whether the states of all steps are wanted.
    It returns outputs in their packed form and each sequence's final state, or the states after every step in
    their packed form; or None, for a loop that it cannot take over.
    """
    start = state if packing.even else map_state(packing.sort, state)
    if not packing.counts:
        after = _traced(packing, start, None, reverse) if return_state == "all" else state
        return _nothing(cell, sequence, packing, return_sequences), after
    over = getattr(cell, "scan_packed", None)
    if over is not None:
        running = _rows(start, 0, packing.counts[0], packing)
        taken = over(sequence, running, packing, reverse, return_state == "all")
        if taken is not None:
            output, after = taken
            if not return_sequences:
                output = packing.last(packing.take_apart(output), reverse)
            if return_state == "all":
                return output, _traced(packing, start, after, reverse)
            if packing.counts[0] < packing.batch:
                idle = _rows(start, packing.counts[0], packing.batch, packing)
                after = map_state(_joined, after, idle)
            return output, after if packing.even else map_state(packing.unsort, after)
    loop = _backward if reverse else _forward
    history: list[State] | None = [] if return_state == "all" else None
    outputs, state, others = loop(cell, packing.take_apart(sequence), start, packing, history)
    output = packing.put_together(outputs) if return_sequences else packing.last(outputs, reverse)
    if history is not None:
        steps = map_state(lambda *parts: packing.put_together(parts), *history)
        return output, _traced(packing, start, steps, reverse)
    if not return_state:
        return output, None
    if others:
        state = map_state(_joined, state, *[_rows(s, a, b, packing) for s, a, b in others])
    return output, map_state(packing.unsort, state)


Others = list[tuple[State, int, int]]
"""States of sequences that are not in the last step computed: rows from one number to another of a state."""


def _forward(
    cell: Any, inputs: Sequence[Tensor], state: State, packing: Packing, history: list[State] | None
) -> tuple[list[Tensor], State, Others]:
    """From the first step to the last; the rows of sequences that have ended leave."""
    owner = innermost(cell)
    outputs = []
    ended: Others = []
    running = packing.batch
    for k, count in enumerate(packing.counts):
        with scope(f"t={k}", step=k, owner=owner):
            if count != running:
                ended.append((state, count, running))
                state = _rows(state, 0, count, packing)
                running = count
            y, state = result_of(cell, cell(inputs[k], state), inputs[k], state)
            outputs.append(y)
        if history is not None:
            history.append(state)
    return outputs, state, ended[::-1]


def _backward(
    cell: Any, inputs: Sequence[Tensor], start: State, packing: Packing, history: list[State] | None
) -> tuple[list[Tensor], State, Others]:
    """From the last step to the first; rows of shorter sequences join, with their initial states."""
    owner = innermost(cell)
    outputs = []
    running = packing.counts[-1]
    state = _rows(start, 0, running, packing)
    for k in reversed(range(len(packing.counts))):
        count = packing.counts[k]
        with scope(f"t={k}", step=k, owner=owner):
            if count != running:
                state = map_state(_joined, state, _rows(start, running, count, packing))
                running = count
            y, state = result_of(cell, cell(inputs[k], state), inputs[k], state)
            outputs.append(y)
        if history is not None:
            history.append(state)
    outputs.reverse()
    if history is not None:
        history.reverse()
    return outputs, state, [(start, running, packing.batch)] if running < packing.batch else []


def _rows(state: State, start: int, stop: int, packing: Packing) -> State:
    """The rows of some sorted sequences; a state of all of them as it is."""
    if stop - start == packing.batch:
        return state
    return map_state(lambda part: part[start:stop], state)


def _joined(*parts: Tensor) -> Tensor:
    return concatenate(parts, axis=0)


def _traced(packing: Packing, start: State, sequence: State, reverse: bool) -> State:
    """The states after every step, (B, T, ...), given those after the steps that were taken, if any were."""
    if sequence is None:
        return map_state(lambda first: packing.trace(first, None, reverse), start)
    return map_state(lambda first, steps: packing.trace(first, steps, reverse), start, sequence)


def _nothing(cell: Any, sequence: Tensor, packing: Packing, return_sequences: bool) -> Tensor:
    """The output where no sequence has a step."""
    size = getattr(cell, "output_size", None)
    if size is None:
        raise TypeError(
            f"scan: no sequence has a step, and {type(cell).__name__} has no output_size to tell the shape "
            f"of the output by"
        )
    features = features_of(size)
    if return_sequences:
        return packing.empty(features, sequence.dtype)
    return tensor(np.zeros((packing.batch, *features), sequence.dtype))
