"""What may change between two calls of a cell: one class for each kind of thing that is watched.

Things are compared by identity, and held, so that no other object gets the identity of one that is gone.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence
from functools import partial
from operator import is_
from typing import Any

import numpy as np

from ..tensors import Tensor

NOTHING = object()
"""The value of what has none."""


class Watched(ABC):
    """Something as it was when it was first looked at.

    Attributes
    ----------
    name : str
        Its path from the cell.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def changed(self) -> bool:
        """Whether it is not as it was."""

    def difference(self) -> str | None:
        """The name of what has changed in it, if something has."""
        return self.name if self.changed() else None

    @abstractmethod
    def put_back(self) -> None:
        """Make it as it was."""


class Table(Watched):
    """A dictionary, such as that of an object's attributes, and all its values."""

    __slots__ = ("keys", "table", "values")

    def __init__(self, prefix: str, table: dict[Any, Any]) -> None:
        super().__init__(prefix)
        self.table, self.keys, self.values = table, list(table), tuple(table.values())

    def changed(self) -> bool:
        return (
            len(self.table) != len(self.values)
            or not all(map(is_, self.table.values(), self.values))
            or list(self.table) != self.keys
        )

    def difference(self) -> str | None:
        if not self.changed():
            return None
        before = self._before()
        keys = [*self.table, *before]
        different = [k for k in keys if self.table.get(k, NOTHING) is not before.get(k, NOTHING)]
        return self.name + (str(different[0]) if different else "order")

    def put_back(self) -> None:
        before = self._before()
        for key in [k for k in self.table if k not in before]:
            del self.table[key]
        self.table.update(before)

    def _before(self) -> dict[Any, Any]:
        return dict(zip(self.keys, self.values, strict=True))


class Items(Watched):
    """What is in a list, or in a deque."""

    __slots__ = ("items", "values")

    def __init__(self, name: str, items: MutableSequence[Any]) -> None:
        super().__init__(name)
        self.items, self.values = items, tuple(items)

    def changed(self) -> bool:
        return len(self.items) != len(self.values) or not all(map(is_, self.items, self.values))

    def put_back(self) -> None:
        if self.changed():
            self.items.clear()
            self.items.extend(self.values)


class Members(Watched):
    """What is in a set."""

    __slots__ = ("before", "members")

    def __init__(self, name: str, members: set[Any]) -> None:
        super().__init__(name)
        self.members, self.before = members, set(members)

    def changed(self) -> bool:
        return self.members != self.before

    def put_back(self) -> None:
        if self.changed():
            self.members.clear()
            self.members.update(self.before)


class Entry(Watched):
    """One value of a dictionary, or of what has its values as one does; it may have none."""

    __slots__ = ("key", "owner", "value")

    def __init__(self, name: str, owner: MutableMapping[Any, Any] | Attributes, key: Any) -> None:
        super().__init__(name)
        self.owner, self.key, self.value = owner, key, owner.get(key, NOTHING)

    def changed(self) -> bool:
        return self.owner.get(self.key, NOTHING) is not self.value

    def put_back(self) -> None:
        if not self.changed():
            return
        if self.value is NOTHING:
            del self.owner[self.key]
        else:
            self.owner[self.key] = self.value


class Attributes:
    """Attributes of an object as a dictionary has its values: for those that no dictionary holds.

    Attributes
    ----------
    get : callable
        ``get(key, default)``: one of C's where there is one, as every step of a stream asks.
    """

    get: Callable[..., Any]

    def __init__(self, owner: Any) -> None:
        self.owner, self.get = owner, partial(getattr, owner)

    def __getitem__(self, key: Any) -> Any:
        return getattr(self.owner, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        setattr(self.owner, key, value)

    def __delitem__(self, key: Any) -> None:
        delattr(self.owner, key)


class ClassAttributes(Attributes):
    """Those of a class, as they stand in it: functions, not methods."""

    def __init__(self, owner: Any) -> None:
        self.owner, self.get = owner, vars(owner).get

    def __getitem__(self, key: Any) -> Any:
        return vars(self.owner)[key]


class Variable(Attributes):
    """A closed-over variable, which may have no value yet."""

    def __init__(self, owner: Any) -> None:
        self.owner, self.get = owner, self._value

    def _value(self, key: Any, default: Any) -> Any:
        try:
            return self.owner.cell_contents
        except ValueError:
            return default


class Size(Watched):
    """The number of values in what cannot be written into: a new class attribute may come before a base's."""

    __slots__ = ("length", "size", "space")

    def __init__(self, name: str, space: Mapping[Any, Any]) -> None:
        super().__init__(name)
        self.space, self.length, self.size = space, len(space), self._count(space)

    @staticmethod
    def _count(space: Mapping[Any, Any]) -> int:
        return len(space) - ("__slotnames__" in space)  # which copying an object leaves in its class

    def changed(self) -> bool:
        return len(self.space) != self.length and self._count(self.space) != self.size

    def put_back(self) -> None:
        """Nothing: what is new in a class stays there."""


class Class(Size):
    """The number of a class's attributes, and its bases, which may be replaced by others."""

    __slots__ = ("bases", "kind")

    def __init__(self, name: str, kind: type) -> None:
        super().__init__(name, vars(kind))
        self.kind, self.bases = kind, kind.__bases__

    def changed(self) -> bool:
        return self.kind.__bases__ is not self.bases or super().changed()

    def put_back(self) -> None:
        if self.kind.__bases__ is not self.bases:
            self.kind.__bases__ = self.bases


class ClassOf(Watched):
    """Of which class an object is, which may be given another one."""

    __slots__ = ("kind", "owner")

    def __init__(self, name: str, owner: Any) -> None:
        super().__init__(name)
        self.owner, self.kind = owner, type(owner)

    def changed(self) -> bool:
        return type(self.owner) is not self.kind

    def put_back(self) -> None:
        object.__setattr__(self.owner, "__class__", self.kind)


class Imported(Watched):
    """A module that code imports by its name; None before it does."""

    __slots__ = ("module",)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.module = sys.modules.get(name)

    def changed(self) -> bool:
        return sys.modules.get(self.name) is not self.module

    def put_back(self) -> None:
        """Nothing: what has been imported stays."""


class ArrayOf(Watched):
    """Which array a tensor has that stays out of gradients."""

    __slots__ = ("array", "tensor")

    def __init__(self, name: str, tensor: Tensor) -> None:
        super().__init__(name)
        self.tensor, self.array = tensor, tensor._data

    def changed(self) -> bool:
        return self.tensor._data is not self.array

    def put_back(self) -> None:
        self.tensor._data = self.array


class Numbers(Watched):
    """What is in an array, by its bytes."""

    __slots__ = ("array", "data", "shape")

    def __init__(self, name: str, array: np.ndarray) -> None:
        super().__init__(name)
        self.array, self.shape, self.data = array, array.shape, array.tobytes()

    def changed(self) -> bool:
        return self.array.shape != self.shape or self.array.tobytes() != self.data

    def put_back(self) -> None:
        a = self.array
        if a.tobytes() != self.data and a.flags.writeable and not a.dtype.hasobject:
            a[...] = np.frombuffer(self.data, a.dtype).reshape(self.shape)
