"""What Python code says of itself: the names that a function reads, whose a class or a module is."""

from __future__ import annotations

import dis
import inspect
import io
import re
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from importlib.util import resolve_name
from itertools import accumulate
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np

from ..nn.module import Module

PACKAGE = __name__.split(".")[0]


def slots(owner: Any) -> list[str]:
    """The attributes of an object that are in slots."""
    found: list[str] = []
    kind = type(owner)
    for base in kind.__mro__:
        names = vars(base).get("__slots__", ())
        private = f"_{base.__name__.lstrip('_')}"
        names = (names,) if isinstance(names, str) else names
        found += [private + name if name[:2] == "__" != name[-2:] else name for name in names]
    return [n for n in found if inspect.ismemberdescriptor(inspect.getattr_static(kind, n, None))]


LOOKING = frozenset(
    (
        "getattr", "vars", "__dict__", "__getattribute__", "attrgetter", "methodcaller", "asdict", "astuple",
        "getmembers", "eval", "exec",
    )
)  # fmt: skip
"""Names in code that reads attributes by names which it makes, or all of them."""


def _within(code: CodeType) -> Iterator[CodeType]:
    """A function's code, and that of the functions in it."""
    yield code
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _within(part)


@cache
def globals_in(code: CodeType) -> tuple[str, ...]:
    """The global and built-in names that a function reads, also in the functions in it."""
    found = [i.argval for part in _within(code) for i in dis.get_instructions(part) if i.opname in _GLOBAL]
    return tuple(dict.fromkeys(found))


_GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME")


@cache
def imports_in(code: CodeType, package: str | None) -> tuple[str, ...]:
    """The modules that a function imports when it runs, and those that they are in."""
    found = []
    for part in _within(code):
        before: deque[Any] = deque(maxlen=2)
        for i in dis.get_instructions(part):
            if i.opname == "IMPORT_NAME":
                full = "." * before[0] + i.argval if isinstance(before[0], int) else i.argval
                with suppress(ImportError, ValueError):
                    full = resolve_name(full, package)
                found += list(accumulate(full.split("."), "{}.{}".format))
            before.append(i.argval)
    return tuple([name for name in dict.fromkeys(found) if not is_library(name)])


def _texts(constants: Iterable[Any]) -> Iterator[str]:
    for constant in constants:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, (tuple, frozenset)):
            yield from _texts(constant)


@cache
def names_in(code: CodeType) -> tuple[str, ...]:
    """What a function reads by name, also in the functions in it, or may read with getattr."""
    found = [name for part in _within(code) for name in (*part.co_names, *_texts(part.co_consts))]
    return tuple([name for name in dict.fromkeys(found) if name.isidentifier()])


@cache
def fragments_in(code: CodeType) -> tuple[str, ...]:
    """What a function may make names of: ``"_step_"`` where it reads ``getattr(self, f"_step_{mode}")``."""
    texts = [text for part in _within(code) for text in _texts(part.co_consts)]
    found = [word for text in texts if len(text.split()) == 1 for word in re.findall(r"\w\w+", text)]
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
    if isinstance(value, (io.IOBase, np.void)):
        return True
    kind: Any = type(value)
    if not is_library(kind.__module__):
        return _is_made_of_opaque(kind)
    return hasattr(value, "__array__") or (
        not has_attributes(value) and any(hasattr(value, name) for name in _CHANGING)
    )


@cache
def _is_made_of_opaque(kind: Any) -> bool:
    """Whether a class of a user's is one of C's, such as an iterator, whose content is in no attribute."""
    known = (dict, list, set, frozenset, tuple, deque, defaultdict, OrderedDict, np.ndarray)
    others = [base for base in kind.__mro__ if is_library(base.__module__) and base not in known]
    of_c = [base for base in others if not any(map(inspect.isfunction, vars(base).values()))]
    return any(b.__module__ == "_ctypes" or name in vars(b) for b in of_c for name in _CHANGING)


@cache
def reads_itself(kind: Any) -> bool:
    """Whether a library's methods, which nobody looks at, may read the attributes of a class's objects."""
    return any(
        is_library(base.__module__)
        and base not in (Module, deque, defaultdict, OrderedDict)
        and str(base.__module__) not in ("builtins", "types", "typing", "abc")
        and not str(base.__module__).startswith(f"{PACKAGE}.compiler.")
        for base in kind.__mro__
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
