"""Batches of arrays, shuffled or in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..ops.operations import by_position
from ..random import default_generator


def batches(
    *arrays: Any,
    batch_size: int,
    shuffle: bool = True,
    rng: np.random.Generator | int | None = None,
    drop_last: bool = False,
    limit: int | None = None,
) -> Iterator[tuple[Any, ...]]:
    """Go once through arrays of examples, in batches.

    Parameters
    ----------
    *arrays : array or Tensor, (N, ...), or list of N arrays
        Inputs, targets, and whatever else belongs together, one example per row of the first axis. Columns of
        tables (pandas) and lists of numbers count as arrays. A list of arrays, such as sequences (T_k, F) of
        different lengths, gives lists.
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
    tuple of array or Tensor, (B, ...), or list of B arrays
        One per argument, copied.

    Raises
    ------
    ValueError
        At the call, for arrays of different lengths, none at all, or sizes below 1.
    """
    if not arrays:
        raise ValueError("batches needs at least one array")
    examples = [_examples(a) for a in arrays]
    counts = [len(a) for a in examples]
    if len(set(counts)) != 1:
        raise ValueError(f"batches needs arrays of one length, got {counts}")
    if batch_size < 1 or (limit is not None and limit < 1):
        raise ValueError(f"batch_size and limit must be at least 1, got {batch_size} and {limit}")
    # Drawn here and not in the generator function, so that the order depends on the call, not on iteration.
    order = default_generator(rng).permutation(counts[0]) if shuffle else np.arange(counts[0])
    return _slices(examples, order[:limit], batch_size, drop_last)


def _examples(a: Any) -> Any:
    """What was passed, as an array that is indexed by position, or as a list of arrays."""
    if not isinstance(a, (list, tuple)):
        return by_position(a)
    if any(getattr(item, "ndim", 0) for item in a):
        return list(a)
    try:
        return np.asarray(a)
    except ValueError as error:
        raise ValueError(
            f"batches got lists of different lengths; pass each sequence as an array, np.array(s): {error}"
        ) from error


def _slices(
    examples: list[Any], order: np.ndarray, batch_size: int, drop_last: bool
) -> Iterator[tuple[Any, ...]]:
    end = len(order) - len(order) % batch_size if drop_last else len(order)
    for start in range(0, end, batch_size):
        chosen = order[start : min(start + batch_size, end)]
        yield tuple([a[k] for k in chosen] if isinstance(a, list) else a[chosen] for a in examples)
