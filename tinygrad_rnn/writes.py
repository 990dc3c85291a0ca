"""Which arrays have been written into, or replaced: what a tape saved of them before is out of date."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import numpy as np


class Write(NamedTuple):
    """The last change of an array."""

    array: Any
    """A weak reference; it takes the record out when the array goes."""
    date: int
    changes: Any
    """What knows of all changes: the leaf, or the buffer, whose array it is or was."""


_written: dict[int, Write] = {}
"""By the identity of the array that owns the memory: its views have changed with it."""
_replaced: dict[int, Write] = {}
"""By the identity of the array that stood in a tensor, or stands there now: its values are what they were."""


def _owner(array: Any) -> Any:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _put(table: dict[int, Write], array: Any, date: int, changes: Any) -> None:
    key = id(array)
    table[key] = Write(weakref.ref(array, lambda _: table.pop(key, None)), date, changes)


def note(array: np.ndarray, date: int, changes: Any) -> None:
    """Remember that an array has been written into."""
    _put(_written, _owner(array), date, changes)


def note_replaced(old: np.ndarray, new: np.ndarray, date: int, changes: Any) -> None:
    """Remember that an array has taken the place of another."""
    _put(_replaced, old, date, changes)
    _put(_replaced, new, 0, changes)


def of(array: np.ndarray) -> list[Write]:
    """What is known of an array: that it has been replaced, or that its memory has been written into."""
    found = (_replaced.get(id(array)), _written.get(id(_owner(array))))
    return [write for write in found if write is not None]


def since(array: np.ndarray, date: int) -> Write | None:
    """A change of an array after a date."""
    return next((write for write in of(array) if write.date > date), None)
