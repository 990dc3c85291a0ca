"""What Python code says of itself: the names that a function reads, whose a class or a module is."""

from __future__ import annotations

import datetime
import inspect
import numbers
import re
import sys
import threading
from functools import cache
from pathlib import Path
from types import CodeType, GetSetDescriptorType, MemberDescriptorType
from typing import Any

INERT = (
    numbers.Number, datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, re.Pattern, CodeType,
    MemberDescriptorType, GetSetDescriptorType, type(NotImplemented), type(threading.Lock()),
    type(threading.RLock()),
)  # fmt: skip
"""What has no attributes, and nothing else in it that anybody could change."""

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


@cache
def is_library(name: str | None) -> bool:
    """Whether a module is one that nobody changes between two calls: all but the user's own."""
    top = (name or "").split(".")[0]
    if top in sys.stdlib_module_names or top == PACKAGE:
        return True
    file = getattr(sys.modules.get(name or ""), "__file__", None) or ""
    return top != "__main__" and not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)


def is_operator(owner: Any, name: str) -> bool:
    """Whether Python calls a method of this name, of a user's class, for an operator, a lookup or a loop."""
    if not (name[:2] == "__" == name[-2:] and isinstance(owner, type)):
        return False
    return name not in _MAKING and not is_library(owner.__module__)
