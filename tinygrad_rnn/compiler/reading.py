"""What Python code says of itself: the names that a function reads, whose a class or a module is."""

from __future__ import annotations

import dis
import inspect
import io
import os
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib.util import resolve_name
from itertools import accumulate
from pathlib import Path
from types import CodeType
from typing import Any
from weakref import WeakKeyDictionary

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
def methods_in(code: CodeType) -> tuple[str, ...]:
    """The methods that Python calls where a function makes text, or makes an object of another's class."""
    names = {name for part in _within(code) for name in part.co_names}
    operations = [i for part in _within(code) for i in dis.get_instructions(part)]
    formats = any(i.opname.startswith(("FORMAT_", "BINARY_MODULO")) or i.argrepr == "%" for i in operations)
    text = ("__str__", "__repr__") if formats or not names.isdisjoint(("str", "repr", "format")) else ()
    return (*text, *MAKERS) if not names.isdisjoint(("type", "__class__")) else text


MAKERS = ("__init__", "__new__")
"""The methods that Python calls where a class is called."""


_LOOKING = (
    "vars", "__dict__", "__getattribute__", "attrgetter", "methodcaller", "asdict", "astuple", "getmembers",
    "eval", "exec", "format", "format_map",
)  # fmt: skip
"""Names in code that reads attributes by names which it makes, or all of them; beside ``getattr``."""


@cache
def computes_names(code: CodeType) -> bool:
    """Whether a function reads attributes by names that it makes, ``getattr(self, f"_{mode}")``, or all."""
    for part in _within(code):
        if not set(part.co_names).isdisjoint(_LOOKING):
            return True
        if "getattr" in part.co_names:
            found = list(dis.get_instructions(part))
            reads = [k for k, i in enumerate(found, 1) if i.opname in _GLOBAL and i.argval == "getattr"]
            if not reads or not all(_is_of_one_name(found[k:]) for k in reads):
                return True
    return False


def _is_of_one_name(rest: Sequence[dis.Instruction]) -> bool:
    """Whether what follows ``getattr`` are its arguments, and the second of them is written out."""
    depth, named = 0, False
    for i in rest:
        if i.opcode in dis.hasjrel or i.opcode in dis.hasjabs or depth < 0:
            return False
        if i.opname == _CALL and i.arg == depth:
            return named
        before = depth
        depth += dis.stack_effect(i.opcode, i.arg)
        if depth <= 2:  # in what is deeper, the third one is made
            named = before == 1 and depth == 2 and i.opname == "LOAD_CONST"
    return False


_CALL = next(name for name in ("PRECALL", "CALL", "CALL_FUNCTION") if name in dis.opmap)

MAKING = {
    "__init__", "__new__", "__init_subclass__", "__doc__", "__module__", "__dict__", "__weakref__",
    "__slots__", "__slotnames__", "__annotations__", "__qualname__", "__repr__", "__str__", "__reduce__",
    "__reduce_ex__",
    "__getstate__", "__setstate__", "__deepcopy__", "__copy__", "__del__", "__dir__", "__set_name__",
    "__abstractmethods__",
    "__parameters__", "__orig_bases__", "__static_attributes__", "__firstlineno__",
}  # fmt: skip
"""What a class has that is not for its objects' use in a step, unless a step names it."""


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
    if isinstance(value, (io.IOBase, np.void, BaseException)):
        return True
    if isinstance(value, np.ufunc):
        return {*"".join(value.types)} <= {*"O->"}  # of a function of Python's
    kind: Any = type(value)
    if not is_library(kind.__module__):
        return _is_made_of_opaque(kind)
    return hasattr(value, "__array__") or (
        not has_attributes(value) and any(hasattr(value, name) for name in _CHANGING)
    )


def _of_a_class(function: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """What a function says of a class, which is asked once for each, and does not keep it alive."""
    known: WeakKeyDictionary[type, bool] = WeakKeyDictionary()

    def remembered(kind: type) -> bool:
        if kind not in known:
            known[kind] = function(kind)
        return known[kind]

    return remembered


@_of_a_class
def _is_made_of_opaque(kind: Any) -> bool:
    """Whether a class of a user's is one of C's, such as an iterator, whose content is in no attribute."""
    known = (dict, list, set, frozenset, tuple, deque, defaultdict, OrderedDict, np.ndarray)
    others = [base for base in kind.__mro__ if is_library(base.__module__) and base not in known]
    of_c = [base for base in others if not any(map(inspect.isfunction, vars(base).values()))]
    return any(b.__module__ == "_ctypes" or name in vars(b) for b in of_c for name in _CHANGING)


@_of_a_class
def reads_itself(kind: Any) -> bool:
    """Whether a library's methods, which nobody looks at, may read the attributes of a class's objects."""
    return any(
        base not in (Module, deque, defaultdict, OrderedDict)
        and _is_of_library(base)
        and not str(base.__module__).startswith(f"{PACKAGE}.compiler.")
        for base in kind.__mro__
    )


@_of_a_class
def is_called_back(kind: Any) -> bool:
    """Whether another library's methods, which nobody looks at, may call those of a class."""
    return any(_is_of_library(base) and not str(base.__module__).startswith(PACKAGE) for base in kind.__mro__)


def _is_of_library(kind: type) -> bool:
    """Whether a class has methods that are a library's, not what Python's own classes have."""
    own = kind.__module__ in ("builtins", "typing", "abc")
    return not own and is_library(kind.__module__)


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
    file = getattr(sys.modules.get(name), "__file__", None) or ""
    # A user's own code.py is called like one of the standard library.
    standard = not file.endswith(".py") or Path(file).is_relative_to(Path(os.__file__).parent)
    if top == PACKAGE or (standard and top in sys.stdlib_module_names):
        return True
    return top != "__main__" and not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)


def is_special(name: str) -> bool:
    """Whether Python calls a method of this name for an operator, a lookup or a loop."""
    return name[:2] == "__" == name[-2:]
