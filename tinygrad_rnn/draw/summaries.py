"""Arrays in a few bytes, for a page that shows thousands: numbers where they are few, else thumbnails."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np

_NAN, _HIGH, _LOW = 255, 254, 253
"""Levels of what is not finite; the finite values take 0 to 250."""


class Summaries:
    """A pool of summaries; arrays are referred to by their number in it.

    A summary is a list, short because there are many: ``[rows, columns, values]`` with up to ``few`` values
    row by row, or ``[rows, columns, shown rows, shown columns, lowest, highest, norm, NaNs, infinities,
    levels]``. The levels, in base64, are those of every so-many-th row and column: 0 to 250 from the lowest
    to the highest finite value.

    Parameters
    ----------
    few : int
        Arrays of up to so many values are kept in numbers.
    shown : (int, int)
        Rows and columns of a thumbnail, at most.
    """

    def __init__(self, few: int, shown: tuple[int, int]) -> None:
        self.few, self.shown = few, shown
        self.pool: list[list[Any]] = []
        self._seen: dict[int, tuple[Any, int]] = {}

    def add(self, array: Any) -> int:
        """The number of an array's summary. One and the same array is summed up once."""
        known = self._seen.get(id(array))
        if known is None:
            self.pool.append(self._summary(np.asarray(array)))
            # Kept with the number: an address may be given to another array otherwise.
            self._seen[id(array)] = known = (array, len(self.pool) - 1)
        return known[1]

    def add_once(self, array: Any) -> int:
        """The number of the summary of an array that will not come again."""
        self.pool.append(self._summary(np.asarray(array)))
        return len(self.pool) - 1

    def _summary(self, array: np.ndarray) -> list[Any]:
        a = array.astype(np.float64)
        if a.ndim != 2:
            a = a.reshape(1, -1) if a.ndim < 2 else a.reshape(math.prod(a.shape[:-1]), a.shape[-1])
        rows, columns = a.shape
        if a.size <= self.few:
            return [rows, columns, [number(v) for v in a.ravel().tolist()]]
        down, across = (-(-n // most) for n, most in zip(a.shape, self.shown, strict=True))
        low, high = float(a.min()), float(a.max())
        nans = infinities = 0
        finite = a
        if not (math.isfinite(low) and math.isfinite(high)):
            finite = a[np.isfinite(a)]
            nans = int(np.isnan(a).sum())
            infinities = a.size - finite.size - nans
            low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        norm = _norm(finite, max(abs(low), abs(high)))
        sample = a[::down, ::across]
        levels = base64.b64encode(_levels(sample, low, high, bool(nans or infinities))).decode()
        return [
            rows,
            columns,
            *sample.shape,
            number(low),
            number(high),
            number(norm),
            nans,
            infinities,
            levels,
        ]


def _norm(a: np.ndarray, largest: float) -> float:
    # Not by dot: its threads wait for each other longer than so short a product takes.
    scale = largest if largest > 1e150 else 1.0  # squares must not overflow
    a = a / scale if scale != 1.0 else a
    return scale * math.sqrt(np.add.reduce(a * a, axis=None))


def _levels(sample: np.ndarray, low: float, high: float, special: bool) -> bytes:
    # By halves: the width of the range may be too large for a number.
    half = 0.5 * high - 0.5 * low
    if not half:
        levels = np.zeros(sample.shape, np.uint8)
    elif not special:
        levels = ((0.5 * sample - 0.5 * low) * (250 / half)).astype(np.uint8)
    else:
        finite = np.where(np.isfinite(sample), sample, low)
        levels = ((0.5 * finite - 0.5 * low) * (250 / half)).astype(np.uint8)
    if special:
        levels[np.isnan(sample)] = _NAN
        levels[sample == np.inf] = _HIGH
        levels[sample == -np.inf] = _LOW
    return levels.tobytes()


def number(value: float) -> float | str:
    """Four digits of a number; text for what JSON has no numbers for."""
    if math.isfinite(value):
        return float(f"{value:.4g}")
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
