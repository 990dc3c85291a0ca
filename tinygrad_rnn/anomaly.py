"""`detect_anomaly`: stop at the first value that is not finite, and say which line of whose code made it."""

from __future__ import annotations

from types import TracebackType
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from .listing import held
from .observing import innermost, plain, together
from .ops.index import Piece
from .sources import describe, user_line
from .state import Replaced, State, context
from .tape import Entry, Place


class detect_anomaly(Replaced):  # noqa: N801 (the field's name for it)
    """Inside ``with tg.detect_anomaly():`` the tape is watched; for finding errors, as it costs time.

    * The first NaN or infinity in a recorded result, or in a cotangent, raises `FloatingPointError`. It names
      the primitive, the scope (module path and time step), statistics of the inputs, and the line of the
      user's code that made the entry.
      A sum of cotangents that are finite, and is not itself, is named too: with the place that it is for.
    * Arrays that the tape has saved, indices and bounds among them, cannot be written into until the block
      ends: ``w.data[...] = 0`` between forward and backward raises `ValueError` where it stands.
    """

    def _next(self, now: State) -> State:
        return State(now.recording, now.scope, together(now.watch, Watch()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        watch = innermost(context.get().watch)
        super().__exit__(kind, error, trace)
        watch.unlock()


class Watch:
    """What looks at the entries and cotangents of one `detect_anomaly` block."""

    def __init__(self) -> None:
        # Weakly: what nobody else needs goes, however long the block.
        self._locked: WeakValueDictionary[int, np.ndarray] = WeakValueDictionary()

    def recorded(self, entry: Entry, arrays: Any, out: Any) -> None:
        """Look at a new entry: note where it was made, check its output, lock what it saved."""
        entry.source = describe(user_line())
        for k, array in enumerate(out if entry.primitive.multiple else (out,)):
            if not np.isfinite(array).all():
                which = f" (output {k})" if entry.primitive.multiple else ""
                raise FloatingPointError(
                    _report("forward", entry, f"gave{which} {_statistics(array)}", arrays)
                )
        for array in held(entry):
            self._lock(array)

    def carried(self, entry: Entry, k: int, g: Any, gk: Any) -> None:
        """Look at the cotangent, or the pieces of it, that an entry's rules gave for its input number k."""
        for part in gk if type(gk) is list else (gk,):
            array = plain(part.g if type(part) is Piece else part)
            if not np.isfinite(array).all():
                text = f"gave {_statistics(array)} as the cotangent of input {k}"
                raise FloatingPointError(_report("backward", entry, text, entry.args))

    def accumulated(self, place: Place, g: Any) -> None:
        """Look at a cotangent that has been added up."""
        for part in g if type(g) is list else (g,):
            if part is not None and not np.isfinite(array := plain(part)).all():
                raise FloatingPointError(_unsound_sum(place, array))

    def _lock(self, array: np.ndarray) -> None:
        # An array that owns no memory can be written to through the one that does.
        base: Any = array
        while isinstance(base, np.ndarray):
            if base.flags.writeable:
                self._locked[id(base)] = base
                base.flags.writeable = False
            base = base.base

    def unlock(self) -> None:
        """Make writable again what this watch has locked; owners of memory before their views."""
        for array in sorted(self._locked.values(), key=_depth):
            array.flags.writeable = True
        self._locked.clear()


def _depth(array: Any) -> int:
    depth = 0
    while isinstance(array.base, np.ndarray):
        array, depth = array.base, depth + 1
    return depth


def _statistics(array: Any) -> str:
    """How many elements are not finite, and the range of the others."""
    array = np.asarray(array)
    finite = array[np.isfinite(array)]
    parts = [
        f"{kind} in {n}" for kind, n in (("NaN", np.isnan(array).sum()), ("inf", np.isinf(array).sum())) if n
    ]
    head = f"{' and '.join(parts)} of {array.size} elements" if parts else "finite"
    return head + (", the others" if parts and finite.size else "") + (
        f" from {finite.min():.3g} to {finite.max():.3g}" if finite.size else ""
    )  # fmt: skip


def _unsound_sum(place: Place, array: np.ndarray) -> str:
    what = f"the leaf {getattr(place, 'name', None) or '(unnamed)'}"
    if isinstance(place, Entry):
        made = getattr(place, "source", None) or "(a line that was not watched)"
        what = f"{place.primitive.name}, in scope {place.scope or '(none)'}, made at {made}"
    return (
        f"backward: accumulating gave {_statistics(array)} as the cotangent of {what}; what arrived there "
        f"is finite and has a sum that {array.dtype} does not hold, or backward() was given this cotangent"
    )


def _report(direction: str, entry: Entry, what: str, arrays: Any) -> str:
    lines = [f"{direction}: {entry.primitive.name}, in scope {entry.scope or '(none)'}, {what}"]
    for k, array in enumerate(arrays or ()):
        if isinstance(array, np.ndarray):
            lines.append(f"  input {k}: {array.dtype}{array.shape}, {_statistics(array)}")
        elif hasattr(array, "shape"):
            lines.append(f"  input {k}: {array.dtype}{array.shape}, not kept")
        else:
            lines.append(f"  input {k}: {array!r}")
    lines.append(f"  made at {getattr(entry, 'source', None) or '(a line that was not watched)'}")
    return "\n".join(lines)
