"""The tape as a table: the Wengert list, a line for each entry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .ops import without_addresses
from .selection import BUDGET, Selection
from .view import Node, View

_LINE = 13.0
"""The height of a line, in points."""


def table(selection: Selection, describe: Callable[[Any], str]) -> View:
    """The view with a line for each leaf and each entry; of more than `BUDGET` the middle is left out.

    Folding, closed modules and `describe` have no meaning here: a table is what it is.
    """
    tape = selection.unrolled.tape
    lines = without_addresses(str(tape)).splitlines()
    leaves = len(tape.leaves)
    numbers = [*(-k for k in range(1, leaves + 1)), 0, *range(1, len(tape) + 1)]
    view = View(unit=(1.0, _LINE))
    kept = range(len(lines))
    if len(lines) > BUDGET:
        head, tail = leaves + 1 + 40, len(lines) - 40
        view.notes.append(f"{tail - head:,} lines in the middle left out")
        kept = [*range(head), *range(tail, len(lines))]  # type: ignore[assignment]
    row = 0
    for before, k in zip([-1, *kept], kept, strict=False):
        if k != before + 1:
            view.nodes.append(Node("gap", "row", f"⋯ {k - before - 1:,} lines", at=(0, -row)))
            row += 1
        number = numbers[k]
        key = f"entry{number}" if number > 0 else f"leaf{-number}" if number else "head"
        result = number > 0 and tape.entries[number - 1] in selection.unrolled.results
        view.nodes.append(Node(key, "row", lines[k], entry=max(number, 0), at=(0, -row), result=result))
        if number:
            view.stands[number] = [key]
        row += 1
    return view
