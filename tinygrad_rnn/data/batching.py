"""Batches of arrays, shuffled or in order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..random import default_generator


def batches(
    *arrays: np.ndarray,
    batch_size: int,
    shuffle: bool = True,
    rng: np.random.Generator | int | None = None,
    drop_last: bool = False,
    limit: int | None = None,
) -> Iterator[tuple[np.ndarray, ...]]:
    """Go once through arrays of examples, in batches.

    Parameters
    ----------
    *arrays : array, (N, ...)
        Inputs, targets, and whatever else belongs together, one example per row of the first axis.
    batch_size : int
        At least 1. The last batch is smaller where the count does not divide.
    shuffle : bool
        Visit the examples in a random order, else in their own.
    rng : Generator or int, optional
        For the order; the default generator for None.
    drop_last : bool
        Leave out a last batch that would be smaller.
    limit : int, optional
        Visit this many examples at most: with shuffling, a random part of a large set, a new one each time.

    Yields
    ------
    tuple of array, (B, ...)
        One per argument, copied.

    Raises
    ------
    ValueError
        At the call, for arrays of different lengths, none at all, or sizes below 1.
    """
    if not arrays:
        raise ValueError("batches needs at least one array")
    counts = [len(a) for a in arrays]
    if len(set(counts)) != 1:
        raise ValueError(f"batches needs arrays of one length, got {counts}")
    if batch_size < 1 or (limit is not None and limit < 1):
        raise ValueError(f"batch_size and limit must be at least 1, got {batch_size} and {limit}")
    # Drawn here and not in the generator function, so that the order depends on the call, not on iteration.
    order = default_generator(rng).permutation(counts[0]) if shuffle else np.arange(counts[0])
    return _slices(arrays, order[:limit], batch_size, drop_last)


def _slices(
    arrays: tuple[np.ndarray, ...], order: np.ndarray, batch_size: int, drop_last: bool
) -> Iterator[tuple[np.ndarray, ...]]:
    end = len(order) - len(order) % batch_size if drop_last else len(order)
    for start in range(0, end, batch_size):
        chosen = order[start : min(start + batch_size, end)]
        yield tuple(a[chosen] for a in arrays)
