"""Sequences of different lengths: packed into rows that are all computed, and put back into their places.

A batch with lengths, or with a mask, is packed: sequences are sorted by their number of steps, longest first,
and step k holds one row for each sequence that has a step k. So the rows of a step are the first ones of the
step before, a step computes on just these, and padding is never read. All steps' rows stand one after
another, in order of steps: that is the packed form, (N, ...) for N steps of all sequences together.

A batch without padding needs none of that: its packed form is the batch (B, T, ...) itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ops import concatenate, flip, reshape, scatter, split, stack, swapaxes, unstack
from ..ops.messages import OUTPUT_AND_STATE, is_output_and_state
from ..tensors import Tensor, as_tensor, tensor


class Packing:
    """Which row of which step belongs to which place of a batch (B, T, ...).

    Made by `pack`.

    Attributes
    ----------
    batch, steps : int
        B and T.
    even : bool
        Whether all sequences have all T steps.
    counts : list of int
        How many sequences take step 0, 1, ...: never rising, and as many as the longest sequence has steps.
    order : integers, (B,)
        The number in the batch of each sequence as sorted.
    """

    def __init__(self, batch: int, steps: int, valid: np.ndarray | None = None) -> None:
        self.batch, self.steps = batch, steps
        self.even = valid is None or bool(valid.all())
        if valid is None or self.even:
            self.counts = [batch] * steps
            self.order = self._rank = np.arange(batch)
            self._sorted = True
            return
        self._valid = valid
        lengths = valid.sum(axis=1)
        self.order = np.argsort(-lengths, kind="stable")
        self._rank = np.argsort(self.order)
        self._sorted = bool((self._rank == np.arange(batch)).all())
        self._lengths = lengths = lengths[self.order]
        # Each sorted sequence's own steps come first in its row of `own`.
        own = np.argsort(~valid[self.order], axis=1, kind="stable")[:, : lengths[0]]
        running = np.arange(lengths[0])[:, None] < lengths
        self.counts = running.sum(axis=1).tolist()
        self._rows = (self.order * steps + own.T)[running]
        self._starts = np.cumsum([0, *self.counts])

    # ---- sequences: a batch (B, T, ...), and its packed form

    def enter(self, x: Tensor) -> Tensor:
        """A batch (B, T, ...) in its packed form."""
        return x if self.even else reshape(x, (self.batch * self.steps, *x.shape[2:]))[self._rows]

    def leave(self, sequence: Tensor) -> Tensor:
        """The packed form as a batch (B, T, ...), with zeros for padding."""
        if self.even:
            return sequence
        flat = (self.batch * self.steps, *sequence.shape[1:])
        placed = scatter([sequence], indices=[self._rows], shape=flat)
        return placed.reshape(self.batch, self.steps, *sequence.shape[1:])

    def take_apart(self, sequence: Tensor) -> Sequence[Tensor]:
        """The packed form as a list of steps, (counts[k], ...) each."""
        if not self.counts:
            return ()
        return (
            unstack(sequence, axis=1) if self.even else split(sequence, self._starts[1:-1].tolist(), axis=0)
        )

    def put_together(self, steps: Sequence[Tensor]) -> Tensor:
        """The packed form of a list of steps."""
        return stack(steps, axis=1) if self.even else concatenate(steps, axis=0)

    def to_rows(self, sequence: Tensor) -> Tensor:
        """The packed form as rows (N, ...) in order of steps, also without padding."""
        flat = (self.steps * self.batch, *sequence.shape[2:])
        return reshape(swapaxes(sequence, 0, 1), flat) if self.even else sequence

    def from_rows(self, rows: Tensor) -> Tensor:
        """The packed form of rows (N, ...) in order of steps."""
        if not self.even:
            return rows
        return swapaxes(reshape(rows, (self.steps, self.batch, *rows.shape[1:])), 0, 1)

    def empty(self, features: tuple[int, ...], dtype: Any) -> Tensor:
        """The packed form of sequences of which none has a step."""
        return tensor(np.zeros(((self.batch, 0) if self.even else (0,)) + features, dtype))

    def backwards(self, sequence: Tensor) -> Tensor:
        """Each sequence of a packed form with its own steps in reverse order."""
        if self.even:
            return flip(sequence, axis=1)
        steps = np.repeat(np.arange(len(self.counts)), self.counts)
        row = np.arange(len(steps)) - self._starts[steps]
        return sequence[self._starts[self._lengths[row] - 1 - steps] + row]

    def last(self, outputs: Sequence[Tensor], reverse: bool) -> Tensor:
        """Of a list of steps, what was computed last for each sequence (B, ...); zeros where nothing was."""
        if self.even:
            return outputs[0 if reverse else -1]
        some = self.counts[0]
        rows = np.arange(some) + (0 if reverse else self._starts[self._lengths[:some] - 1])
        final = concatenate(outputs, axis=0)[rows]
        return scatter([final], indices=[self.order[:some]], shape=(self.batch, *final.shape[1:]))

    # ---- states: (B, ...) in the order of the batch, or sorted

    def sort(self, part: Tensor) -> Tensor:
        """Rows (B, ...) in the order of sorted sequences."""
        return part if self._sorted else part[self.order]

    def unsort(self, part: Tensor) -> Tensor:
        """Rows (B, ...) back in the order of the batch."""
        return part if self._sorted else part[self._rank]

    def trace(self, start: Tensor, sequence: Tensor | None, reverse: bool) -> Tensor:
        """The states after every step, (B, T, ...): at padding, the state that was carried over it.

        Parameters
        ----------
        start : (B, ...), sorted
        sequence : packed form, or None
            The states after those steps that were taken, if any.
        reverse : bool
            Whether steps were taken from the last to the first.
        """
        if self.even:
            return start[:, None][:, :0] if sequence is None else sequence
        # At each place, the number of the latest step taken by then, counted from 1 on; 0 for none.
        latest = np.cumsum(self._valid, axis=1)
        if reverse:
            latest = latest - self._valid + 1
            latest[latest > self._lengths[self._rank][:, None]] = 0
        starts = np.concatenate([[0], self.batch + self._starts])
        rows = start if sequence is None else concatenate([start, sequence], axis=0)
        return rows[starts[latest] + self._rank[:, None]]


def pack(batch: int, steps: int, lengths: Any = None, mask: Any = None) -> Packing:
    """How to pack a batch of B sequences of T steps.

    Parameters
    ----------
    batch, steps : int
    lengths : integers, (B,), optional
        0 to T, in any order; what lies beyond is padding.
    mask : booleans, (B, T), optional
        True for steps, False for padding, with gaps anywhere. Either lengths or a mask, not both.
    """
    if lengths is not None and mask is not None:
        raise ValueError("give lengths or a mask, not both: they say the same thing")
    if mask is not None:
        mask = np.asarray(mask)
        if mask.shape != (batch, steps) or mask.dtype != bool:
            raise ValueError(
                f"the mask must be booleans, one per step {(batch, steps)}, True where it is no padding, got "
                f"{mask.dtype}{mask.shape}"
            )
        return Packing(batch, steps, mask)
    if lengths is None:
        return Packing(batch, steps)
    return Packing(batch, steps, np.arange(steps) < valid_lengths(lengths, batch, steps)[:, None])


def valid_lengths(lengths: Any, batch: int, steps: int, name: str = "lengths") -> np.ndarray:
    """Lengths as an array of integers, after a look at them; errors speak of them by the name."""
    lengths = np.asarray(lengths)
    if not lengths.size and not batch:
        return np.zeros(0, int)
    if lengths.shape != (batch,) or lengths.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be {batch} integers, one per sequence, got {lengths.dtype}{lengths.shape}"
        )
    if batch and (lengths.min() < 0 or lengths.max() > steps):
        raise ValueError(f"{name} must be between 0 and {steps}, the padded length, got {lengths.tolist()}")
    return lengths.astype(np.intp)  # differences of unsigned ones would wrap around


def pad(sequences: Sequence[Any], *, batch_first: bool = True) -> tuple[Tensor, np.ndarray]:
    """One batch of sequences of different lengths.

    Parameters
    ----------
    sequences : sequence of arrays or tensors, (T_k, ...)
        Of one dtype, and of one shape but for their first axes.
    batch_first : bool
        Give (B, T, ...), else (T, B, ...).

    Returns
    -------
    x : Tensor, (B, T, ...) with T the greatest T_k
        Zeros beyond each sequence's end.
    lengths : integers, (B,)

    See Also
    --------
    unpad : The way back.
    """
    parts = [as_tensor(s) for s in sequences]
    if not parts:
        raise ValueError("pad needs at least one sequence")
    for k, part in enumerate(parts):
        if not part.ndim or part.shape[1:] != parts[0].shape[1:] or part.dtype != parts[0].dtype:
            raise ValueError(
                f"pad expected sequences (time, ...) that are alike but for their lengths: the first is "
                f"{parts[0].dtype}{parts[0].shape}, number {k} is {part.dtype}{part.shape}"
            )
    lengths = np.array([len(part) for part in parts])
    batch, steps = len(parts), int(lengths.max())
    rows = np.flatnonzero(np.arange(steps) < lengths[:, None])
    shape = parts[0].shape[1:]
    x = scatter([concatenate(parts, axis=0)], indices=[rows], shape=(batch * steps, *shape))
    x = x.reshape(batch, steps, *shape)
    return (x if batch_first else swapaxes(x, 0, 1)), lengths


def as_batch(x: Any, lengths: Any, mask: Any, batch_first: bool) -> tuple[Tensor, Any]:
    """What a layer was given, as a batch and its lengths: a list of sequences (T_k, ...) is padded."""
    if is_output_and_state(x):
        raise TypeError(OUTPUT_AND_STATE)
    if not isinstance(x, (list, tuple)) or not any(getattr(s, "ndim", 0) for s in x):
        return as_tensor(x), lengths
    if lengths is not None or mask is not None:
        raise ValueError("a list of sequences says their lengths: give neither lengths nor a mask with it")
    return pad(x, batch_first=batch_first)


def unpad(x: Any, lengths: Any, *, batch_first: bool = True) -> list[Tensor]:
    """The sequences of a batch, each without its padding: the way back from `pad`.

    Parameters
    ----------
    x : Tensor or array, (B, T, ...); (T, B, ...) without batch_first
    lengths : integers, (B,)

    Returns
    -------
    list of Tensor, (T_k, ...)
    """
    x = as_tensor(x)
    if x.ndim < 2:
        raise ValueError(f"unpad expected x of shape (batch, time, ...), got {x.shape}")
    x = x if batch_first else swapaxes(x, 0, 1)
    own = valid_lengths(lengths, *x.shape[:2])
    return [x[k, :length] for k, length in enumerate(own.tolist())]
