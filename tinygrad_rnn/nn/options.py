"""Options of layers and cells: a look at what is given, and the printed form of what is not the default."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

INTEGERS = (
    "pass np.array(ids), or tg.tensor(ids, dtype=int): of a list tg.tensor makes floating-point numbers"
)
"""What to do about ids that are no integers."""


def choice(option: str, given: Any, known: tuple[Any, ...]) -> Any:
    """An option's value, after a look whether it exists."""
    if not any(given is value or (isinstance(given, str) and given == value) for value in known):
        raise ValueError(f"{option} must be one of {', '.join(map(repr, known))}, got {given!r}")
    return given


def checked_size(kind: str, name: str, given: Any, least: int = 1) -> int:
    """A size as an int, after a look whether it is a whole number, and not too small."""
    number: Any = None if isinstance(given, bool) else given  # True would be 1
    try:
        size = operator.index(number)
    except TypeError:
        raise TypeError(f"{kind} needs a whole number for {name}, got {given!r}") from None
    if size < least:
        raise ValueError(f"{kind} needs {name} >= {least}, got {size}")
    return size


def checked_flag(kind: str, name: str, given: Any) -> bool:
    """A flag, after a look whether it is one."""
    if not isinstance(given, (bool, np.bool_)):
        raise TypeError(f"{kind} needs True or False for {name}, got {given!r}")
    return bool(given)


def features_of(size: Any) -> tuple[int, ...]:
    """The axes that features take, of a cell's input_size or output_size: one axis, or several or none."""
    return (int(size),) if isinstance(size, (int, np.integer)) else tuple(size)


def changed(make: Callable[..., Any], values: dict[str, Any]) -> list[str]:
    """Those of an object's options that are not the defaults of what made it, as ``name=value``.

    Without the generator: its printed form is an address, which says nothing and differs from run to run.
    """
    shown = []
    for name, parameter in inspect.signature(make).parameters.items():
        value = values.get(name, parameter.default)
        if name != "rng" and parameter.default is not parameter.empty and value != parameter.default:
            shown.append(f"{name}={value.__name__ if inspect.isroutine(value) else repr(value)}")
    return shown
