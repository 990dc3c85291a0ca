"""Where the rows of each step lie in the arrays that hold all steps, and buffers that are used again."""

from __future__ import annotations

import functools
import threading
from typing import Any

import numpy as np


class Layout:
    """The rows of all steps one after another: those of step 0, those of step 1, and so on.

    Step k runs on the first ``counts[k]`` rows of the state; counts never grow, as sequences that have ended
    drop out at the end. A *history* of a state has ``batch`` rows more, the initial ones, in front: there,
    what a step reads is what the step before has written.

    Parameters
    ----------
    counts : sequence of int
        One for each step, falling.
    batch : int
        Rows of the state.
    """

    new: Any = staticmethod(np.empty)
    """How a program makes the arrays that it gives away: ``new(shape, dtype)``."""

    def __init__(self, counts: Any, batch: int) -> None:
        self.counts = np.asarray(counts, np.int64)
        self.batch, self.steps_count = batch, len(self.counts)
        ends = np.cumsum(self.counts)
        self.rows = int(ends[-1]) if len(ends) else 0
        self.starts = ends - self.counts
        self.before = np.concatenate([[0], batch + self.starts[:-1]])[: self.steps_count].astype(np.int64)
        """Where, in a history, the rows that each step reads begin."""
        self.full = self.rows == batch * self.steps_count
        """Whether all steps run on all rows."""

    @functools.cached_property
    def lengths(self) -> list[int]:
        """The numbers of steps that there are sequences of."""
        return [*(np.flatnonzero(np.diff(self.counts)) + 1).tolist(), self.steps_count]

    @functools.cached_property
    def last(self) -> np.ndarray:
        """Where, in a history, each row's own last state is."""
        lengths = (self.counts[:, None] > np.arange(self.batch)).sum(0)
        return np.where(
            lengths > 0, self.batch + self.starts[lengths - 1] + np.arange(self.batch), np.arange(self.batch)
        )

    def steps(self, a: np.ndarray) -> list[np.ndarray]:
        """Views of each step's rows."""
        if self.full:
            return list(a.reshape(self.steps_count, self.batch, *a.shape[1:]))
        return [a[s : s + n] for s, n in zip(self.starts.tolist(), self.counts.tolist(), strict=True)]

    def reads(self, history: np.ndarray) -> list[np.ndarray]:
        """Views of what each step reads of a history."""
        if self.full:
            return self.steps(history[: self.rows])
        return [history[s : s + n] for s, n in zip(self.before.tolist(), self.counts.tolist(), strict=True)]

    def writes(self, history: np.ndarray) -> list[np.ndarray]:
        """Views of what each step writes of a history."""
        return self.steps(history[self.batch :])

    def finals(self, history: np.ndarray) -> np.ndarray:
        """Each row's own last state, in an array of its own."""
        return history[len(history) - self.batch :].copy() if self.full else history[self.last]

    def heads(self, a: np.ndarray) -> list[np.ndarray]:
        """Views of the rows at work in a buffer for one step."""
        return [a] * self.steps_count if self.full else [a[:n] for n in self.counts.tolist()]

    def borders(self, shares: int) -> list[int]:
        """Where to cut the batch so that each share of it has about as many rows of all steps."""
        if self.full:
            return [self.batch * k // shares for k in range(shares + 1)]
        done = np.cumsum((self.counts[:, None] > np.arange(self.batch)).sum(0))
        inner = np.searchsorted(done, done[-1] * np.arange(1, shares) / shares).tolist()
        return [0, *inner, self.batch]

    def turned(self, rows: np.ndarray) -> np.ndarray:
        """Rows of all steps with each sequence's own steps in the opposite order."""
        if self.full:
            return rows.reshape(self.steps_count, self.batch, *rows.shape[1:])[::-1].reshape(rows.shape)
        lengths = (self.counts[:, None] > np.arange(self.batch)).sum(0)
        k = np.repeat(np.arange(self.steps_count), self.counts)
        row = np.arange(self.rows) - self.starts[k]
        return rows[self.starts[lengths[row] - 1 - k] + row]

    def read_rows(self, history: np.ndarray) -> np.ndarray:
        """What all steps have read of a history, in rows."""
        if self.full:
            return history[: self.rows]
        return history[
            np.concatenate([np.arange(s, s + n) for s, n in zip(self.before, self.counts, strict=True)])
        ]


class Pool:
    """Arrays that are lent and given back, so that the next call finds its memory mapped and warm.

    Only arrays that nobody else has a view of may be given back. It can be used from several threads.
    """

    def __init__(self) -> None:
        self._free: dict[tuple[Any, ...], list[np.ndarray]] = {}
        # The garbage collector may let go of a `Lease` at any line, also of this thread within `give`.
        self._lock = threading.RLock()
        self._held = 0

    def take(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array with anything in it."""
        key = (shape, dtype.num)
        with self._lock:
            free = self._free.get(key)
            if free:
                array = free.pop()
                self._held -= array.nbytes
                return array
        return np.empty(shape, dtype)

    def give(self, arrays: Any) -> None:
        """Give arrays back."""
        with self._lock:
            for a in arrays:
                # Batches of ever other sizes must not fill the memory with what was fit for one.
                if self._held > _LIMIT:
                    self._free.clear()
                    self._held = 0
                self._free.setdefault((a.shape, a.dtype.num), []).append(a)
                self._held += a.nbytes


_LIMIT = 1 << 28
"""Bytes that may lie idle."""


class Lease:
    """Arrays taken from a pool that go back together, when this object is let go of at the latest."""

    __slots__ = ("_pool", "_taken")
    dtype = np.dtype(np.uint8)
    ndim = 1

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._taken: dict[int, np.ndarray] = {}

    @property
    def shape(self) -> tuple[int]:
        """One number, of bytes: so it looks to a tape like an array that an entry holds."""
        return (sum(a.nbytes for a in self._taken.values()),)

    def take(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        array = self._pool.take(shape, dtype)
        self._taken[id(array)] = array
        return array

    def kept(self, array: np.ndarray) -> np.ndarray:
        """The array, or a copy if its memory will go back."""
        if array.flags.owndata:
            mine = id(array) in self._taken
        else:  # whose ``base`` may be anything that has memory
            mine = any(np.may_share_memory(array, a) for a in self._taken.values())
        return array.copy() if mine else array

    def close(self) -> None:
        taken, self._taken = self._taken, {}
        self._pool.give(taken.values())

    def __del__(self) -> None:
        self.close()
