"""Which arrays have been written into: what a tape saved before is no longer what it was."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import numpy as np


class Write(NamedTuple):
    """When an array was last written into, and for whom: the leaf whose array it is, if it is one's."""

    array: Any
    """A weak reference; it takes the record out when the array goes."""
    date: int
    leaf: Any


_writes: dict[int, Write] = {}
"""By the identity of the array that owns the memory."""


def _owner(array: Any) -> Any:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def note(array: np.ndarray, date: int, leaf: Any) -> None:
    """Remember that an array has been written into."""
    owner = _owner(array)
    key = id(owner)
    _writes[key] = Write(weakref.ref(owner, lambda _: _writes.pop(key, None)), date, leaf)


def since(array: Any, date: int) -> Write | None:
    """The last write into an array, or into one that it shares memory with, if that came after a date."""
    write = _writes.get(id(_owner(array))) if isinstance(array, np.ndarray) else None
    return write if write is not None and write.date > date else None
