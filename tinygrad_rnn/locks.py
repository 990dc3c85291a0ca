"""Arrays that nobody may write into for now, however many hold the same array."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any
from weakref import WeakSet, ref

import numpy as np


class _Lock:
    """One array that was writable, how often each holds it, and the locked views of it."""

    __slots__ = ("__weakref__", "array", "holders", "views")

    def __init__(self, array: np.ndarray) -> None:
        key = id(array)
        self.array = ref(array, lambda _: _locked.pop(key, None))
        self.holders: Counter[Locks] = Counter()
        self.views: WeakSet[_Lock] = WeakSet()

    def let_go(self) -> None:
        """Make the array writable again if nobody holds it, and then its views."""
        array: Any = self.array()
        if array is None or self.holders:
            return
        base = array.base
        # A view of what somebody else still holds has to wait for that.
        if not isinstance(base, np.ndarray) or base.flags.writeable:
            array.flags.writeable = True
            _locked.pop(id(array), None)
            for view in list(self.views):
                view.let_go()


_locked: dict[int, _Lock] = {}
"""By the array's identity; an array that goes takes its lock out."""
_mutex = threading.RLock()


class Locks:
    """What one holder has locked. Weakly: what nobody else needs goes, however long it is held."""

    def __init__(self) -> None:
        self._once = Counter([self])

    def add(self, arrays: Iterable[np.ndarray]) -> None:
        """Lock arrays, and those whose memory they show: they can be written into through them, too."""
        with _mutex:
            for array in _with_owners(arrays):
                if id(array) not in _locked and array.flags.writeable:
                    array.flags.writeable = False
                    _locked[id(array)] = lock = _Lock(array)
                    if id(array.base) in _locked:
                        _locked[id(array.base)].views.add(lock)
                if id(array) in _locked:
                    _locked[id(array)].holders += self._once

    def free(self, arrays: Iterable[np.ndarray]) -> None:
        """Let go of arrays that were locked together."""
        with _mutex:
            for array in _with_owners(arrays):
                lock = _locked.get(id(array))
                if lock is not None:
                    lock.holders -= self._once
                    lock.let_go()

    def open(self) -> None:
        """Let go of everything."""
        with _mutex:
            for lock in _locked.copy().values():
                del lock.holders[self]
                lock.let_go()


def _with_owners(arrays: Iterable[np.ndarray]) -> list[Any]:
    """Each array once, after those whose memory it shows."""
    found: dict[int, Any] = {}
    for array in arrays:
        chain: list[Any] = []
        while isinstance(array, np.ndarray):
            chain.append(array)
            array = array.base  # type: ignore[assignment]
        found.update((id(array), array) for array in reversed(chain))
    return list(found.values())
