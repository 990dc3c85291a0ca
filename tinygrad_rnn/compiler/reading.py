"""What Python code says of itself: the names that a function reads, whose a class or a module is."""

from __future__ import annotations

import dis
import inspect
import io
import sys
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

PACKAGE = __name__.split(".")[0]


def slots(owner: Any) -> list[str]:
    """The attributes of an object that are in slots."""
    found: list[str] = []
    kind = type(owner)
    for base in kind.__mro__:
        names = vars(base).get("__slots__", ())
        found += (names,) if isinstance(names, str) else names
    return [n for n in found if inspect.ismemberdescriptor(inspect.getattr_static(kind, n, None))]


@cache
def globals_in(code: CodeType) -> tuple[str, ...]:
    """The global and built-in names that a function reads, also in the functions in it."""
    found = [i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")]
    for part in code.co_consts:
        if isinstance(part, CodeType):
            found += globals_in(part)
    return tuple(dict.fromkeys(found))


@cache
def names_in(code: CodeType) -> tuple[str, ...]:
    """What a function reads by name, also in the functions in it, or may read with getattr."""
    found = [*code.co_names]
    for part in code.co_consts:
        if isinstance(part, CodeType):
            found += names_in(part)
        elif isinstance(part, str) and part.isidentifier():
            found.append(part)
    return tuple(dict.fromkeys(found))


_MAKING = {
    "__init__", "__new__", "__init_subclass__", "__doc__", "__module__", "__dict__", "__weakref__",
    "__slots__", "__slotnames__", "__annotations__", "__qualname__", "__repr__", "__str__", "__reduce__",
    "__reduce_ex__",
    "__getstate__", "__setstate__", "__deepcopy__", "__copy__", "__del__", "__dir__", "__set_name__",
    "__abstractmethods__",
    "__parameters__", "__orig_bases__", "__static_attributes__", "__firstlineno__",
}  # fmt: skip


_CHANGING = (
    "__next__",
    "__setitem__",
    "__ctypes_from_outparam__",
    "write",
    "set",
    "put",
    "append",
    "add",
    "send",
)
"""What things have that are read or written without a trace: iterators, buffers, queues, C's values."""


def is_opaque(value: Any) -> bool:
    """Whether it holds what may change, and nobody can compare: a file, an iterator, another array."""
    if isinstance(value, io.IOBase) or not is_library(type(value).__module__):
        return isinstance(value, io.IOBase)
    return hasattr(value, "__array__") or (
        not has_attributes(value) and any(hasattr(value, name) for name in _CHANGING)
    )


def has_attributes(owner: Any) -> bool:
    """Whether it has any that can be looked at."""
    return hasattr(owner, "__dict__") or bool(slots(owner))


def is_library(name: Any) -> bool:
    """Whether a module is one that nobody changes between two calls: all but the user's own.

    Some of C's types have something else for their module's name: they are a library's.
    """
    return not isinstance(name, str) or _is_library(name)


@cache
def _is_library(name: str) -> bool:
    top = name.split(".")[0]
    if top in sys.stdlib_module_names or top == PACKAGE:
        return True
    file = getattr(sys.modules.get(name), "__file__", None) or ""
    return top != "__main__" and not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)


def is_operator(owner: Any, name: str) -> bool:
    """Whether Python calls a method of this name, of a user's class, for an operator, a lookup or a loop."""
    if not (name[:2] == "__" == name[-2:] and isinstance(owner, type)):
        return False
    return name not in _MAKING and not is_library(owner.__module__)
