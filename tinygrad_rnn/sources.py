"""Which line of the user's code is running."""

from __future__ import annotations

import os
import sys
from types import CodeType

_PACKAGE = os.path.dirname(__file__) + os.sep  # noqa: PTH120 (pathlib would be imported for this alone)

Line = tuple[CodeType, int]
"""A function's code and a line number: nothing that would keep its variables alive."""


def user_line(inside: CodeType | None = None) -> Line | None:
    """The innermost line of the call stack that is not this package's; inside a function's call, if given."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        if frame.f_code is inside:
            return None
        frame = frame.f_back  # type: ignore[assignment]
    return None if frame is None else (frame.f_code, frame.f_lineno)


def user_level() -> int:
    """The ``stacklevel`` at which `warnings.warn`, called where this is, names the user's line."""
    frame, level = sys._getframe(1), 1
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1  # type: ignore[assignment]
    return level


def describe(line: Line | None) -> str | None:
    """In words: ``file.py:12 in f: y = x @ w``."""
    import linecache

    if line is None:
        return None
    code, number = line
    text = linecache.getline(code.co_filename, number).strip()
    return f"{code.co_filename}:{number} in {code.co_name}" + (f": {text}" if text else "")
