"""Arrays that nobody may write into for now, however many threads want that of the same array."""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakValueDictionary, ref

import numpy as np


class _Lock:
    """One array that was writable, and how many hold it."""

    __slots__ = ("__weakref__", "array", "holders")

    def __init__(self, array: np.ndarray) -> None:
        key = id(array)
        self.array = ref(array, lambda _: _locked.pop(key, None))
        self.holders = 0


_locked: dict[int, _Lock] = {}
"""By the array's identity; an array that goes takes its lock out."""
_mutex = threading.RLock()


class Locks:
    """What one holder has locked. Weakly: what nobody else needs goes, however long it is held."""

    def __init__(self) -> None:
        self._mine: WeakValueDictionary[int, _Lock] = WeakValueDictionary()

    def add(self, array: np.ndarray) -> None:
        """Lock an array, and those whose memory it shows: it can be written into through them, too."""
        base: Any = array
        with _mutex:
            while isinstance(base, np.ndarray):
                key = id(base)
                if key not in _locked and base.flags.writeable:
                    _locked[key] = _Lock(base)
                    base.flags.writeable = False
                if key in _locked and self._mine.get(key) is not _locked[key]:
                    self._mine[key] = lock = _locked[key]
                    lock.holders += 1
                base = base.base

    def open(self) -> None:
        """Make writable again what nobody holds any more; owners of memory before their views."""
        with _mutex:
            for lock in self._mine.values():
                lock.holders -= 1
            self._mine.clear()
            free = [lock.array() for lock in _locked.copy().values() if not lock.holders]
            for array in sorted((a for a in free if a is not None), key=_depth):
                base: Any = array.base
                # A view of what somebody else still holds has to wait for that.
                if not isinstance(base, np.ndarray) or base.flags.writeable:
                    array.flags.writeable = True
                    del _locked[id(array)]


def _depth(array: Any) -> int:
    depth = 0
    while isinstance(array.base, np.ndarray):
        array, depth = array.base, depth + 1
    return depth
