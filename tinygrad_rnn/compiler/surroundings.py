"""What a step can read besides its arguments: tensors, and all else that it may depend on.

Code is not run to find out, but read: the functions that a cell reaches say by name what they take from
their globals, from classes and from modules. Attributes and what is in containers is looked at in any case.
"""

from __future__ import annotations

import builtins
import hashlib
import io
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from operator import is_
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

import numpy as np

from ..nn.module import Module
from ..nn.steps import Bare
from ..ops.operations import Operation
from ..tensors import Tensor
from .drawing import EVERYWHERE, is_generator
from .reading import INERT, PACKAGE, is_library, is_operator, names_in, slots

_PLAIN = {bool, int, float, complex, str, bytes, type(None), type(Ellipsis), slice, range}
_NOTHING = object()
_LOOKING = {"getattr", "vars", "__dict__", "__getattribute__", "attrgetter"}
"""Names in code that reads attributes by names which it makes."""

_OWN = ("_parameters", "_children", "_parent", "_key", "_name", "_tg_engine")
"""Attributes that say where a module stands, or are looked at by themselves."""


class Surroundings:
    """What a cell uses besides its arguments, and a quick look whether that is still so.

    Attributes
    ----------
    names : list of str
        Of the floating-point tensors: dotted paths from the cell.
    generators : list of (str, generator)
        Of random numbers, with their paths.
    options : tuple
        What a step is compiled for: plain values by type and value, of arrays their bytes, everything else
        by identity.
    """

    def __init__(self, cell: Any) -> None:
        self.cell = cell
        self.names: list[str] = []
        self.generators: list[tuple[str, Any]] = []
        self._tensors: list[tuple[Any, Any]] = []
        self._options: list[Any] = []
        # What is compared, each with its name; values are held, so that no other object gets their identity.
        self._tables: list[tuple[str, dict[Any, Any], list[Any], tuple[Any, ...]]] = []
        self._lists: list[tuple[str, Any, tuple[Any, ...]]] = []
        self._sets: list[tuple[str, set[Any], set[Any]]] = []
        self._single: list[tuple[str, Any, Any, Any]] = []
        self._arrays: list[tuple[str, np.ndarray, tuple[int, ...], bytes]] = []
        self._fixed: list[tuple[str, Tensor, np.ndarray]] = []
        self._hidden: list[tuple[str, Any]] = []
        self._spaces: list[tuple[str, Any]] = []
        self._classes: dict[type, Any] = {}
        self._sizes: list[tuple[str, Any, int]] = []
        self._read: dict[str, None] = dict.fromkeys(("forward", "__call__", "_cell"))
        self._seen: dict[int, Any] = {}
        self._visit("", cell)
        self._visit_spaces()
        if "random" in self._read:  # np.random
            self.generators += [(m.__name__, m) for m in EVERYWHERE]
        self._arrays = [a for a in self._arrays if self._named(a[0])]
        self._seen.clear()
        self.options = tuple(self._options)
        self._filled = [(t, len(keys), values, keys[-1]) for _, t, keys, values in self._tables if keys]
        self._empty = [t for _, t, keys, _ in self._tables if not keys]
        self._more = any((self._lists, self._sets, self._single, self._sizes, self._fixed, self._arrays))

    def hidden(self) -> str | None:
        """What code that it reaches can read, and nobody compare from call to call, if there is any."""
        return next((f"{name}, of {type(o).__name__}" for name, o in self._hidden if self._named(name)), None)

    def _named(self, path: str) -> bool:
        """Whether the code names what lies at a path, or looks attributes up by names that it makes."""
        names = [name for name in path.split(".") if name.isidentifier()]
        return not self._read.keys().isdisjoint(_LOOKING) or self._read.keys() >= {*names[:1], *names[-1:]}

    def tensors(self) -> list[Tensor]:
        """The tensors as they are now."""
        return [owner[key] for owner, key in self._tensors]

    def changed(self) -> bool:
        """Whether something has been added, removed, or set to something else."""
        if self._more:
            return self.difference() is not None
        # Attributes alone, as in most cells: the same answer in less time, as every step of a stream asks.
        try:
            for table, size, values, last in self._filled:
                if len(table) != size or not all(map(is_, table.values(), values)):
                    return True
                if next(reversed(table)) != last:  # a new name is the last
                    return True
        except RuntimeError:  # another thread adds to a dictionary just now
            return True
        return any(self._empty)

    def difference(self) -> str | None:
        """The name of something that has been added, removed, or set to something else, if there is any."""
        try:
            for name, table, keys, values in self._tables:
                if (
                    len(table) != len(values)
                    or not all(map(is_, table.values(), values))
                    or list(table) != keys
                ):
                    return name + _first_difference(table, keys, values)
            for name, items, values in self._lists:
                if len(items) != len(values) or not all(map(is_, items, values)):
                    return name
            for name, members, copy in self._sets:
                if members != copy:
                    return name
            for name, owner, key, value in self._single:
                if owner.get(key, _NOTHING) is not value:
                    return name
            for name, space, size in self._sizes:
                if len(space) != size:
                    return name
            for name, tensor, array in self._fixed:
                if tensor._data is not array:
                    return name
            for name, array, shape, data in self._arrays:
                if array.shape != shape or array.tobytes() != data:
                    return name
        except RuntimeError:  # another thread adds to a dictionary just now
            return "a dictionary"
        return None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Put everything back at the end: attributes, containers, variables and arrays."""
        try:
            yield
        finally:
            if self.changed():
                self._put_back()

    def _put_back(self) -> None:
        for _, table, keys, values in self._tables:
            before = dict(zip(keys, values, strict=True))
            for key in [k for k in table if k not in before]:
                del table[key]
            table.update(before)
        for _, items, values in self._lists:
            if len(items) != len(values) or not all(map(is_, items, values)):
                items.clear()
                items.extend(values)
        for _, members, copy in self._sets:
            if members != copy:
                members.clear()
                members.update(copy)
        for _, owner, key, value in self._single:
            if owner.get(key, _NOTHING) is not value:
                if isinstance(owner, MappingProxyType):
                    setattr(next(c for c, space in self._classes.items() if space is owner), key, value)
                elif value is _NOTHING:
                    del owner[key]
                else:
                    owner[key] = value
        for _, tensor, array in self._fixed:
            tensor._data = array
        for _, array, shape, data in self._arrays:
            if array.tobytes() != data and array.flags.writeable and not array.dtype.hasobject:
                array[...] = np.frombuffer(data, array.dtype).reshape(shape)

    # ---- what there is

    def _visit(self, prefix: str, owner: Any) -> None:
        if id(owner) in self._seen or isinstance(owner, (np.ndarray, Tensor)):
            return
        self._seen[id(owner)] = owner
        if isinstance(owner, Operation) and is_library(owner.forward.__module__):
            return
        kind = type(owner)
        if is_generator(owner):
            self.generators.append((prefix.rstrip("."), owner))
        elif isinstance(owner, type):
            self._read["__init__"] = None
            self._visit_class(prefix, owner)
        elif isinstance(owner, ModuleType):
            self._visit_module(prefix, owner)
        elif kind is MethodType:
            self._visit(prefix, owner.__self__)
            self._visit(prefix, owner.__func__)
        elif kind is BuiltinFunctionType:
            self._visit(prefix, owner.__self__)
        elif kind is FunctionType:
            self._visit_function(prefix, owner)
        elif isinstance(owner, Bare):
            self._visit(prefix, owner._cell)
        elif isinstance(owner, (staticmethod, classmethod, property)):
            parts = (owner.fget,) if isinstance(owner, property) else (owner.__func__,)
            self._look(prefix, parts)
        else:
            self._visit_object(prefix, owner)

    def _visit_object(self, prefix: str, owner: Any) -> None:
        """Its class, what is in it, if it is a container, and its attributes."""
        if isinstance(owner, (io.IOBase, weakref.ReferenceType)):
            self._hidden.append((prefix.rstrip("."), owner))
        if not isinstance(owner, (dict, list, tuple, set, frozenset, deque)) and not _attributes(owner):
            if not (isinstance(owner, INERT) or callable(owner) or not is_library(type(owner).__module__)):
                self._hidden.append((prefix.rstrip("."), owner))
            return
        self._visit_class(prefix, type(owner))
        if isinstance(owner, Module):
            self._look(prefix, owner._parameters)
            self._look(prefix, owner._children)
        if isinstance(owner, (dict, list, tuple, deque)):
            self._look(prefix, owner)
        elif isinstance(owner, (set, frozenset)):
            # What comes in no order is named by identity: so tensors in it are not taken for those of a copy.
            self._options.append(
                (prefix, frozenset([(type(e), repr(e)) for e in owner if type(e) in _PLAIN]))
            )
            self._look(prefix, {id(e): e for e in owner if type(e) not in _PLAIN})
            if isinstance(owner, set):
                self._sets.append((prefix.rstrip("."), owner, set(owner)))
        if type(owner).__module__.split(".")[0] in ("logging", "threading"):
            return
        if hasattr(owner, "__dict__"):
            self._look(prefix, vars(owner), _OWN if isinstance(owner, Module) else ("_tg_engine",))
        if isinstance(owner, partial):
            self._look(prefix, (owner.func, *owner.args))
            self._look(prefix, owner.keywords)
        for name in slots(owner):
            self._alone(prefix + name, _Attributes(owner), name)

    def _visit_function(self, prefix: str, function: Any) -> None:
        code = function.__code__
        self._read.update(dict.fromkeys((*names_in(code), *code.co_freevars)))
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            self._alone(prefix + name, _Variable(cell), "cell_contents")
        for name in ("__code__", "__defaults__", "__kwdefaults__"):
            if getattr(function, name):
                self._alone(prefix + name, _Attributes(function), name)
        if vars(function):
            self._look(prefix, vars(function))
        if not is_library(function.__module__):
            known = function.__globals__
            for name in names_in(code):
                if name in known or hasattr(builtins, name):  # a built-in name may be given to something else
                    self._alone(name, known, name)

    def _visit_class(self, prefix: str, kind: type) -> None:
        """Look at what the code reads by name, also the methods that are this package's; not at libraries."""
        bases = [base for base in kind.__mro__ if not is_library(base.__module__)]
        if type(kind) is not type:
            self._visit_class(prefix + "__class__.", type(kind))
        if bases:
            bases += [base for base in kind.__mro__ if base.__module__.startswith(PACKAGE)]
        for base in bases:
            if base not in self._classes:
                self._classes[base] = space = vars(base)
                self._spaces.append((prefix, space))
                if not is_library(base.__module__):
                    self._sizes.append((prefix + "__class__", space, len(space)))

    def _visit_module(self, prefix: str, module: ModuleType) -> None:
        if module in EVERYWHERE:
            self.generators.append((module.__name__, module))
        elif not is_library(module.__name__):
            self._spaces.append((prefix, vars(module)))

    def _visit_spaces(self) -> None:
        """What the functions found read of the classes and modules found; of what that finds, the same."""
        done: set[tuple[int, str]] = set()
        while True:
            new = [
                (prefix, space, name)
                for prefix, space in self._spaces
                for name in space
                if (name in self._read or is_operator(space, name)) and (id(space), name) not in done
            ]
            if not new:
                break
            for prefix, space, name in new:
                done.add((id(space), name))
                if isinstance(space, MappingProxyType) and is_library(space["__module__"]):
                    self._visit(prefix + name, space[name])
                else:
                    self._alone(prefix + name, space, name)

    def _alone(self, name: str, owner: Any, key: Any) -> None:
        value = owner.get(key, _NOTHING)
        self._single.append((name, owner, key, value))
        if value is not _NOTHING and value is not None:
            self._one(name, owner, key)

    def _look(self, prefix: str, owner: Any, skip: tuple[str, ...] = ()) -> None:
        """All values of a dictionary, a list or a tuple."""
        if isinstance(owner, dict):
            self._tables.append((prefix, owner, list(owner), tuple(owner.values())))
        elif not isinstance(owner, tuple):
            self._lists.append((prefix.rstrip("."), owner, tuple(owner)))
        for key in list(owner) if isinstance(owner, dict) else range(len(owner)):
            if key not in skip:
                self._one(f"{prefix}{key}", owner, key)

    def _one(self, name: str, owner: Any, key: Any) -> None:
        value = owner[key]
        kind = type(value)
        if isinstance(value, Tensor):
            if value.dtype.kind != "f":
                self._fixed.append((name, value, value._data))
                self._array(name, value._data)
            elif not any(o[k] is value for o, k in self._tensors):
                self.names.append(name)
                self._tensors.append((owner, key))
        elif kind in _PLAIN or isinstance(value, (np.generic, np.dtype)):
            self._options.append((name, kind, repr(value)))
            if kind is str and value.isidentifier():
                self._read[value] = None  # getattr(self, self.activation)
        elif isinstance(value, np.ndarray):
            self._array(name, value)
            if value.dtype.hasobject:
                self._hidden.append((name, value))
        else:
            if kind in (dict, list, tuple, set, frozenset, deque):
                keys = tuple(map(repr, value)) if kind is dict else len(value)
                self._options.append((name, kind, keys))
            elif not is_generator(value):
                self._options.append((name, _Same(value)))
            self._visit(name + ".", value)

    def _array(self, name: str, array: np.ndarray) -> None:
        data = array.tobytes()
        self._options.append((name, array.shape, array.dtype.str, hashlib.sha256(data).digest()))
        self._arrays.append((name, array, array.shape, data))


class _Same:
    """Equal to what holds the very same object."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


class _Attributes:
    """Attributes of an object as a dictionary has its values: for those that no dictionary holds."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner

    def get(self, key: Any, default: Any = None) -> Any:
        return getattr(self.owner, key, default)

    def __getitem__(self, key: Any) -> Any:
        return getattr(self.owner, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        setattr(self.owner, key, value)

    def __delitem__(self, key: Any) -> None:
        delattr(self.owner, key)


class _Variable(_Attributes):
    """A closed-over variable, which may have no value yet."""

    def get(self, key: Any, default: Any = None) -> Any:
        try:
            return self.owner.cell_contents
        except ValueError:
            return default


def _first_difference(table: Mapping[Any, Any], keys: list[Any], values: tuple[Any, ...]) -> str:
    before = dict(zip(keys, values, strict=True))
    different = [k for k in [*table, *before] if table.get(k, _NOTHING) is not before.get(k, _NOTHING)]
    return str(different[0]) if different else "order"


def _attributes(owner: Any) -> bool:
    return hasattr(owner, "__dict__") or bool(slots(owner))
