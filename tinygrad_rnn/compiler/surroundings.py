"""What a step can read besides its arguments: tensors, and all else that it may depend on.

Code is not run to find out, but read: the functions that a cell reaches say by name what they take from
their globals, from classes and modules, and of the attributes of objects; where one makes names when it
runs, all of objects and their classes count as read. What is in containers is looked at in any case, and so
are the attributes of a library's objects, whose methods nobody reads.
"""

from __future__ import annotations

import hashlib
import random
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import attrgetter, is_, methodcaller
from types import (
    BuiltinFunctionType,
    FunctionType,
    MappingProxyType,
    MethodType,
    MethodWrapperType,
    ModuleType,
)
from typing import Any

import numpy as np

from ..nn.module import Module
from ..nn.steps import Bare
from ..ops.operations import Operation
from ..tensors import Tensor
from . import watching
from .drawing import EVERYWHERE, is_generator
from .reading import (
    MAKERS,
    MAKING,
    PACKAGE,
    computes_names,
    globals_in,
    has_attributes,
    imports_in,
    is_called_back,
    is_library,
    is_opaque,
    is_special,
    methods_in,
    names_in,
    reads_itself,
    slots,
)

_PLAIN = {bool, int, float, complex, str, bytes, type(None), type(Ellipsis), slice, range}
_VIEWS: tuple[Any, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_CONTAINERS = (dict, list, tuple, set, frozenset, deque)
_CALLED = ("forward", "__call__", "_cell", "initial_state", "state_type", "input_size", "output_size")
"""What this package reads of cells that run in a step, by name."""
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
    foreign : list
        Objects of other libraries, which a copy of the cell may share with it.
    shared : dict
        By identity, what it has to share: what code reaches past the cell, so that ``is`` holds; and what
        lies in attributes that no code names.
    options : tuple
        What a step is compiled for: plain values by type and value, of arrays their bytes, which tensor
        each name is, everything else by identity.
    """

    def __init__(self, cell: Any) -> None:
        self.cell = cell
        self.names: list[str] = []
        self.generators: list[tuple[str, Any]] = []
        self._tensors: list[tuple[Any, Any]] = []
        self._options: list[Any] = []
        self._tables: list[watching.Table] = []
        self._others: list[watching.Watched] = []
        self.foreign: list[Any] = []
        self.shared: dict[int, Any] = {}
        self._past = False  # whether what is looked at was reached past the cell, by code
        self._hidden: list[str] = []
        self._spaces: dict[type | ModuleType, str] = {}
        self._read: dict[str, None] = dict.fromkeys(_CALLED)
        self._computed = False  # whether code reads attributes by names that it makes
        self._waiting: list[tuple[str, str, Any, Any]] = []  # attributes that no code has named so far
        self._seen: dict[int, tuple[Any, int]] = {}
        self._done: set[tuple[Any, str]] = set()
        self._visit("", cell)
        while self._visit_spaces() or self._visit_attributes():
            pass
        if "random" in self._read:  # np.random
            self.generators += [(m.__name__, m) for m in EVERYWHERE]
        for _, _, owner, key in self._waiting:
            value = owner[key]
            if type(value) not in _PLAIN and id(value) not in self._seen:
                self.shared[id(value)] = value
        self._waiting.clear()
        self._seen.clear()
        self.options = tuple(self._options)
        tables = [t for t in self._tables if t.keys]
        self._filled = [(t.table, len(t.keys), t.values, t.keys[-1]) for t in tables]
        self._empty = [t.table for t in self._tables if not t.keys]
        entries = [w for w in self._others if isinstance(w, watching.Entry)]
        self._entries = [(w.owner.get, w.key, w.value) for w in entries]
        self._rest = [w for w in self._others if not isinstance(w, watching.Entry)]

    def hidden(self) -> str | None:
        """What code that it reaches can read, and nobody compare from call to call, if there is any."""
        return self._hidden[0] if self._hidden else None

    def tensors(self) -> list[Tensor]:
        """The tensors as they are now."""
        return [owner[key] for owner, key in self._tensors]

    def changed(self) -> bool:
        """Whether something has been added, removed, or set to something else."""
        try:
            # Attributes and single values, which are most of it, in less time: every step of a stream asks.
            for table, size, values, last in self._filled:
                if len(table) != size or not all(map(is_, table.values(), values)):
                    return True
                if next(reversed(table)) != last:  # a new name is the last
                    return True
            for table in self._empty:
                if table:
                    return True
            for get, key, value in self._entries:
                if get(key, watching.NOTHING) is not value:
                    return True
            for watched in self._rest:
                if watched.changed():
                    return True
        except RuntimeError:  # another thread adds to a dictionary just now
            return True
        return False

    def difference(self) -> str | None:
        """The name of something that has been added, removed, or set to something else, if there is any."""
        try:
            for watched in (*self._tables, *self._others):
                name = watched.difference()
                if name is not None:
                    return name
        except RuntimeError:  # another thread adds to a dictionary just now
            return "a dictionary"
        return None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Put everything back after an error: attributes, containers, variables and arrays."""
        try:
            yield
        except BaseException:
            if self.changed():
                for watched in (*self._tables, *self._others):
                    watched.put_back()
            raise

    # ---- what there is

    def _visit(self, prefix: str, owner: Any) -> None:
        if id(owner) in self._seen or isinstance(owner, Tensor):
            return
        self._seen[id(owner)] = owner, len(self._seen)
        if isinstance(owner, np.ndarray):
            self._watch_numbers(prefix.rstrip("."), owner)
            return
        if isinstance(owner, Operation) and is_library(owner.forward.__module__):
            return
        kind = type(owner)
        if isinstance(owner, (random.SystemRandom, threading.local)):
            self._hide(prefix, owner)
        elif is_generator(owner):
            self.generators.append((prefix.rstrip("."), owner))
        elif isinstance(owner, type):
            self._read.update(dict.fromkeys(MAKERS))
            self._visit_class(prefix, owner)
        elif isinstance(owner, ModuleType):
            self.foreign.append(owner)
            self._visit_module(prefix, owner)
        elif kind in (MethodType, BuiltinFunctionType, MethodWrapperType):
            self._one(prefix + "__self__", watching.Attributes(owner), "__self__")
            if kind is MethodType:
                self._visit(prefix, owner.__func__)
        elif kind is FunctionType:
            self._visit_function(prefix, owner)
        elif isinstance(owner, Bare):
            self._visit(prefix, owner._cell)
        elif isinstance(owner, (staticmethod, classmethod, property)):
            if isinstance(owner, classmethod):  # which may make an object
                self._read.update(dict.fromkeys(MAKERS))
            parts = (owner.fget,) if isinstance(owner, property) else (owner.__func__,)
            self._look(prefix, parts)
        else:
            self._visit_object(prefix, owner)

    def _visit_object(self, prefix: str, owner: Any) -> None:
        """What it stands for; or its class, what is in it, if it is a container, and its attributes."""
        if isinstance(owner, weakref.ReferenceType):
            self._visit(prefix, owner())
        elif type(owner) in weakref.ProxyTypes:
            self._visit(prefix, owner.__init__.__self__)
        elif isinstance(owner, _VIEWS):
            self.foreign.append(owner)
            self._visit(prefix, owner.mapping)
        elif isinstance(owner, MappingProxyType):
            self.foreign.append(owner)
            self._others.append(watching.Size(prefix.rstrip("."), owner))
            for key in owner:
                self._alone(f"{prefix}{key}", owner, key)
        elif isinstance(owner, (attrgetter, methodcaller)):
            self._look(prefix, tuple(owner.__reduce__()))  # the names that they read are in it
        elif isinstance(owner, _CONTAINERS):
            self._visit_kind(prefix, owner)
            self._visit_contents(prefix, owner)
            self._visit_own(prefix, owner)
        else:
            if is_opaque(owner):
                self._hide(prefix, owner)
            if is_library(type(owner).__module__) and not isinstance(owner, (Module, partial)):
                self.foreign.append(owner)
            self._visit_kind(prefix, owner)
            if has_attributes(owner):
                self._visit_own(prefix, owner)

    def _visit_contents(self, prefix: str, owner: Any) -> None:
        """What is in a container."""
        if not isinstance(owner, (set, frozenset)):
            self._look(prefix, owner)
            return
        # What comes in no order is named by identity: so tensors in it are not taken for those of a copy.
        self._options.append((prefix, frozenset([(type(e), repr(e)) for e in owner if type(e) in _PLAIN])))
        self._look(prefix, {id(e): e for e in owner if type(e) not in _PLAIN})
        if isinstance(owner, set):
            self._others.append(watching.Members(prefix.rstrip("."), owner))

    def _visit_own(self, prefix: str, owner: Any) -> None:
        """The attributes of an object."""
        kind: Any = type(owner)
        library = is_library(kind.__module__)
        if library and str(kind.__module__).split(".")[0] == "logging":  # its files are nobody's business
            return
        if isinstance(owner, Module):
            for table in (owner._parameters, owner._children):
                self._tables.append(watching.Table(prefix, table))
                self._all(prefix, table, table)
        named = not reads_itself(kind)
        if hasattr(owner, "__dict__"):
            own = _OWN if isinstance(owner, Module) else ("_tg_engine",)
            self._tables.append(watching.Table(prefix, vars(owner)))
            self._attributes(prefix, vars(owner), [k for k in vars(owner) if k not in own], named)
        if isinstance(owner, partial):
            self._look(prefix, (owner.func, *owner.args))
            self._look(prefix, owner.keywords)
        # Not what a path has worked out of itself, say.
        found = [name for name in slots(owner) if not (library and name.startswith("_"))]
        self._others += [watching.Entry(prefix + name, watching.Attributes(owner), name) for name in found]
        self._attributes(prefix, watching.Attributes(owner), found, named)

    def _hide(self, prefix: str, owner: Any) -> None:
        self._hidden.append(f"{prefix.rstrip('.')}, of {type(owner).__name__}")

    def _visit_function(self, prefix: str, function: Any) -> None:
        code = function.__code__
        names = names_in(code)
        self._read.update(dict.fromkeys((*names, *code.co_freevars)))
        self._computed = self._computed or computes_names(code)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            self._alone(prefix + name, watching.Variable(cell), "cell_contents")
        for name in ("__code__", "__defaults__", "__kwdefaults__"):
            if getattr(function, name):
                self._alone(prefix + name, watching.Attributes(function), name)
        own = not is_library(function.__module__)
        if own or vars(function):
            self._tables.append(watching.Table(prefix, vars(function)))
            self._attributes(prefix, vars(function), list(vars(function)), named=True)
        if own:
            self._read.update(dict.fromkeys(methods_in(code)))
            known = function.__globals__
            for name in imports_in(code, known.get("__package__")):
                module = watching.Imported(name)
                self._others.append(module)
                if module.module is not None:
                    self._visit(name + ".", module.module)
            for name in globals_in(code):  # also those that are only built in so far, or nowhere
                if (id(known), name) not in self._done:
                    self._done.add((id(known), name))
                    self._alone(name, known, name)

    def _visit_kind(self, prefix: str, owner: Any) -> None:
        """The class of an object, which may be given another one."""
        kind = type(owner)
        if not is_library(kind.__module__):
            self._others.append(watching.ClassOf(prefix + "__class__", owner))
            self._options.append((prefix + "__class__", _Same(kind)))
        self._visit_class(prefix, kind)

    def _visit_class(self, prefix: str, kind: type) -> None:
        """Look at what the code reads by name, also the methods that are this package's; not at libraries."""
        bases = [base for base in kind.__mro__ if not is_library(base.__module__)]
        if type(kind) is not type:
            self._visit_class(prefix + "__class__.", type(kind))
        if bases:
            bases += [base for base in kind.__mro__ if str(base.__module__).startswith(PACKAGE)]
        for base in bases:
            if base not in self._spaces:
                self._spaces[base] = prefix
                if not is_library(base.__module__):
                    self._others.append(watching.Class(prefix + "__class__", base))

    def _visit_module(self, prefix: str, module: ModuleType) -> None:
        if module in EVERYWHERE:
            self.generators.append((module.__name__, module))
        elif not is_library(module.__name__):
            self._spaces[module] = prefix
            self._others.append(watching.Size(prefix.rstrip("."), vars(module)))

    def _visit_spaces(self) -> bool:
        """What the functions found read of the classes and modules found, if that is anything new."""
        new = [
            (prefix, owner, name)
            for owner, prefix in self._spaces.items()
            for name in vars(owner)
            if (owner, name) not in self._done and self._reads(owner, name)
        ]
        for prefix, owner, name in new:
            self._done.add((owner, name))
            if not isinstance(owner, type):
                self._alone(prefix + name, vars(owner), name)
            elif is_library(owner.__module__):
                self._visit(prefix + name, vars(owner)[name])
            else:
                self._alone(prefix + name, watching.ClassAttributes(owner), name)
        return bool(new)

    def _reads(self, owner: type | ModuleType, name: str) -> bool:
        """Whether a name of a class or a module is read: by code that was found, Python, or a library."""
        if name in self._read:
            return True
        if not isinstance(owner, type):
            return name == "__getattr__"
        if name in MAKING or is_library(owner.__module__):
            return False
        return self._computed or is_special(name) or is_called_back(owner)

    def _visit_attributes(self) -> bool:
        """What the functions found read of the attributes of objects found, if that is anything new."""
        named = [w for w in self._waiting if self._computed or w[0] in self._read]
        self._waiting = [w for w in self._waiting if not (self._computed or w[0] in self._read)]
        for _, name, owner, key in named:
            self._within(False, name, owner, key)
        return bool(named)

    def _attributes(self, prefix: str, owner: Any, keys: Sequence[str], named: bool) -> None:
        """Attributes of an object: those that code names once it does so, or all of them."""
        for key in keys:
            value = owner.get(key, watching.NOTHING)
            if value is watching.NOTHING:
                continue
            if named:
                self._waiting.append((key, prefix + key, owner, key))
            else:
                self._within(False, prefix + key, owner, key)

    def _alone(self, name: str, owner: Any, key: Any) -> None:
        """One value that code reaches past the cell."""
        entry = watching.Entry(name, owner, key)
        self._others.append(entry)
        if entry.value is not watching.NOTHING and entry.value is not None:
            self._within(True, name, owner, key)

    def _look(self, prefix: str, owner: Any) -> None:
        """All values of a list, a tuple or a dictionary, whose keys may be functions and objects, too."""
        if isinstance(owner, dict):
            self._others.append(watching.Table(prefix, owner))
            self._look(prefix + "keys.", tuple([key for key in owner if type(key) not in _PLAIN]))
        elif not isinstance(owner, tuple):
            self._others.append(watching.Items(prefix.rstrip("."), owner))
        self._all(prefix, owner, list(owner) if isinstance(owner, dict) else range(len(owner)))

    def _all(self, prefix: str, owner: Any, keys: Iterable[Any]) -> None:
        for key in keys:
            self._one(f"{prefix}{key}", owner, key)

    def _within(self, past: bool, name: str, owner: Any, key: Any) -> None:
        """One value, and all that lies in it, reached past the cell or not."""
        outer, self._past = self._past, past
        self._one(name, owner, key)
        self._past = outer

    def _one(self, name: str, owner: Any, key: Any) -> None:
        value = owner[key]
        kind = type(value)
        if self._past and kind not in _PLAIN:
            self.shared[id(value)] = value
        if isinstance(value, Tensor):
            self._tensor(name, owner, key, value)
        elif kind in _PLAIN or (isinstance(value, (np.generic, np.dtype)) and kind is not np.void):
            self._options.append((name, kind, repr(value)))
            if kind is str:  # getattr(self, self.activation)
                self._read.update(dict.fromkeys([part for part in value.split(".") if part.isidentifier()]))
        elif isinstance(value, np.ndarray):
            self._watch_numbers(name, value)
            if value.dtype.hasobject:
                self._hide(name, value)
            if has_attributes(value):  # of a subclass
                self._visit_kind(name + ".", value)
                self._visit_own(name + ".", value)
        else:
            if kind in _CONTAINERS:
                keys = tuple(map(repr, value)) if kind is dict else len(value)
                _, number = self._seen.get(
                    id(value), (None, None)
                )  # what is in it, was said where it was seen
                self._options.append((name, kind, keys, number))
            elif not is_generator(value):
                self._options.append((name, _Same(value)))
            self._visit(name + ".", value)

    def _tensor(self, name: str, owner: Any, key: Any, value: Tensor) -> None:
        if value.dtype.kind != "f":
            self._others.append(watching.ArrayOf(name, value))
            self._watch_numbers(name, value._data)
            return
        held = [o[k] for o, k in self._tensors]
        number = next((k for k, tensor in enumerate(held) if tensor is value), len(held))
        self._options.append((name, number))  # which name is which tensor's, and which names are one's
        if number == len(held):
            self.names.append(name)
            self._tensors.append((owner, key))

    def _watch_numbers(self, name: str, array: np.ndarray) -> None:
        numbers = watching.Numbers(name, array)
        self._options.append((name, array.shape, array.dtype.str, hashlib.sha256(numbers.data).digest()))
        self._others.append(numbers)


class _Same:
    """Equal to what holds the very same object."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)
