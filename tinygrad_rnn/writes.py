"""Which arrays have been written into, or replaced: what a tape saved of them before is out of date."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import numpy as np

from .tape import NEVER, Buffer, Entry, Leaf, held


class Write(NamedTuple):
    """The last change of an array."""

    array: Any
    """A weak reference; it takes the record out when the array goes."""
    date: int
    changes: Any
    """What knows of all changes: the leaf, or the buffer, whose array it is or was."""
    used: int
    """The clock before that buffer's values were used first: another that shares the array may be older."""


_written: dict[int, Write] = {}
"""By the identity of the array that owns the memory: its views have changed with it."""
_replaced: dict[int, Write] = {}
"""By the identity of the array that stood in a tensor, or stands there now: its values are what they were."""


def _owner(array: Any) -> Any:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _put(table: dict[int, Write], array: Any, date: int, changes: Any, used: int = NEVER) -> None:
    key = id(array)
    table[key] = Write(weakref.ref(array, lambda _: table.pop(key, None)), date, changes, used)


def note(array: np.ndarray, date: int, changes: Any) -> None:
    """Remember that an array has been written into."""
    _put(_written, _owner(array), date, changes)


def note_replaced(old: np.ndarray, new: np.ndarray, changes: Buffer, used: int | None) -> None:
    """Remember that an array has taken the place of another, and when that was first used, if it was."""
    if used is not None:
        _put(_replaced, old, changes.changed, changes, used)
    _put(_replaced, new, NEVER, changes)


def of(array: np.ndarray) -> list[Write]:
    """What is known of an array: that it has been replaced, or that its memory has been written into."""
    found = (_replaced.get(id(array)), _written.get(id(_owner(array))))
    return [write for write in found if write is not None]


def since(array: np.ndarray, date: int) -> Write | None:
    """A change of an array after a date, at which it may have been in use."""
    return next((write for write in of(array) if write.used < date < write.date), None)


def note_changed(tensor: Any, new: np.ndarray) -> None:
    """Note that an array is to take the place of a tensor's, or is that one and has been written into."""
    old, place = tensor.numpy(), tensor.place
    if type(place) is not Leaf:
        known = (w.changes for w in of(old) if type(w.changes) is Buffer and w.changes.tensor() is tensor)
        place = next(known, None) or Buffer(tensor)
        place.used = tensor._take_use()
    used = place.used
    place.change()
    if new is old:
        note(old, place.changed, place)
    elif type(place) is Buffer:
        note_replaced(old, new, place, used and used[0])


def refuse_changed(entry: Entry) -> None:
    """Raise if the values of a leaf, or of another array, have been changed since an entry saved them."""
    args = entry.args or entry.parents  # released: that will be said
    for place, arg in zip(entry.parents, args, strict=True):
        # What views of the leaf were used for is not known here: they may show the new values now.
        saved = type(arg) is not Leaf or entry.primitive.view
        if type(place) is Leaf and place.changed > entry.number and saved:
            raise RuntimeError(_changed(place, entry))
    for array in held(entry):
        write = since(array, entry.number)
        if write is not None:
            raise RuntimeError(_changed(write.changes, entry))


def _changed(place: Leaf, entry: Entry) -> str:
    source = getattr(entry, "source", None)  # known under tg.detect_anomaly()
    return (
        f"{place.called(entry)} of shape {place.shape} was changed in place before backward(): entry "
        f"{entry.number} ({entry.primitive.name}, in scope {entry.scope or '(none)'}"
        + (f", at {source}" if source else "")
        + f") used {place.used_by(entry)}, and now it has version {place.version}. The gradient would be "
        f"wrong. Change it (optimiser step, assign_) after backward(), or use a copy"
    )
