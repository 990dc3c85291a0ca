"""`detect_anomaly`: stop at the first value that is not finite, and say which line of whose code made it."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np

from .locks import Locks
from .observing import innermost, plain, together
from .ops.index import Piece
from .ops.operations import Primitive
from .sources import describe, user_line
from .state import Replaced, State, context
from .tape import Entry, Leaf, Nary, Place, held


class detect_anomaly(Replaced):  # noqa: N801 (the field's name for it)
    """Inside ``with tg.detect_anomaly():`` the tape is watched; for finding errors, as it costs time.

    * The first NaN or infinity in the result of an operation on tensors, or in a cotangent, raises
      `FloatingPointError`. It names the primitive, the scope (module path and time step), statistics of the
      inputs, and the line of the user's code that called it.
      An infinity that only passes through is none: one that an operation got as a constant, such as the -inf
      of a mask, stays one in what is computed of it; off the tape, neither is NaN, such as a missing value.
      An infinite leaf is found where it is used.
      A sum of cotangents that are finite, and is not itself, is named too: with the place that it is for.
      What is computed on plain arrays, and by compiled kernels, is not seen.
    * Arrays that the tape has saved, indices and bounds among them, cannot be written into until backward()
      has released them, or the block ends: ``w.data[...] = 0`` between forward and backward raises
      `ValueError` where it stands. It is NumPy that raises it, as "assignment destination is read-only", and
      it knows nothing of this block.

    Examples
    --------
    >>> w = tg.tensor([2.0, 0.0], requires_grad=True)
    >>> with tg.detect_anomaly():
    ...     loss = np.log(w).sum()
    Traceback (most recent call last):
    FloatingPointError: forward: log, in scope (none), gave inf in 1 of 2 elements, ...
    """

    def _next(self, now: State) -> State:
        return State(now.recording, now.scope, together(now.watch, Watch()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        watch = innermost(context.get().watch)
        super().__exit__(kind, error, trace)
        watch.locks.open()


class Origin(str):
    """The user's line that made an entry, with a line on each input of which the entry kept no array.

    Attributes
    ----------
    inputs : dict of int to str
    locks : tuple of Locks
        Of all blocks inside which it was made: they hold its arrays.
    """

    inputs: dict[int, str]
    locks: tuple[Locks, ...] = ()


class Watch:
    """What looks at the entries and cotangents of one `detect_anomaly` block."""

    def __init__(self) -> None:
        self.locks = Locks()

    def recorded(self, entry: Entry, arrays: Any, out: Any) -> None:
        """Look at a new entry: note where it was made, check its output, lock what it saved."""
        others = entry.source.locks if hasattr(entry, "source") else ()
        _look(entry, arrays, out)
        self.locks.add(held(entry))
        entry.source.locks = (*others, self.locks)

    def _computed(self, primitive: Primitive, arrays: Any, out: Any) -> None:
        """Look at a result off the tape."""
        nowhere = (None,) * len(arrays)
        scope = context.get().scope
        _look(Nary(primitive, nowhere, tuple(arrays), None, {}, None, None, scope), arrays, out)

    def read(self, tensor: Any, how: str) -> None:
        """Numbers that leave the tape are no business of this watch."""

    def _within(self, entry: Entry) -> Any:
        """Looks at what a rule of an entry records, where the pass is recorded itself."""
        return _Within(entry)

    def carried(self, entry: Entry, k: int, g: Any, gk: Any) -> None:
        """Look at the cotangent, or the pieces of it, that an entry's rules gave for its input number k."""
        for part in gk if type(gk) is list else (gk,):
            array = plain(part.g if type(part) is Piece else part)
            dtype: Any = entry.parents[k].dtype  # type: ignore[union-attr]
            with np.errstate(over="ignore"):
                arriving = np.abs(array).astype(dtype)
            if not np.isfinite(arriving).all():
                text = f"gave {_statistics(array)} as the cotangent of input {k}"
                if np.isfinite(array).all():
                    text += f", which is {dtype} and does not hold that"
                raise FloatingPointError(_report("backward", entry, text, entry.known))

    def accumulated(self, place: Place, g: Any) -> None:
        """Look at a cotangent that has been added up."""
        for part in g if type(g) is list else (g,):
            if part is not None and not np.isfinite(array := plain(part)).all():
                raise FloatingPointError(_unsound_sum(place, array))


class _Within:
    """Says of what a rule records that it was made where the entry was whose rule it is."""

    def __init__(self, entry: Entry) -> None:
        self.origin = getattr(entry, "source", None)

    def recorded(self, entry: Entry, arrays: Any, out: Any) -> None:
        if self.origin is not None:
            entry.source = Origin(f"{self.origin} (in its backward pass)")
            entry.source.inputs = {}

    def _computed(self, *_: Any) -> None:
        pass

    def carried(self, entry: Entry, k: int, g: Any, gk: Any) -> None:
        pass

    def accumulated(self, place: Place, g: Any) -> None:
        pass

    def read(self, tensor: Any, how: str) -> None:
        pass

    def _within(self, entry: Entry) -> Any:
        return self


def _look(entry: Entry, arrays: Any, out: Any) -> None:
    """Note where an entry was made, and raise if its output is not sound."""
    entry.source = Origin(describe(user_line()))
    kept = entry.known
    entry.source.inputs = {
        k: _described(a) for k, a in enumerate(arrays) if not isinstance(kept[k], np.ndarray)
    }
    several = entry.primitive.multiple
    recorded = any([p is not None for p in entry.parents])
    for k, array in enumerate(out if several else (out,)):
        # Of what is off the tape, NaN may be a user's: missing values, or padding.
        nan = np.isnan(array).any() if recorded else _is_new(np.isnan, entry, arrays, array)
        if nan or _is_new(np.isinf, entry, arrays, array):
            which = f" (output {k})" if several else ""
            raise FloatingPointError(_report("forward", entry, f"gave{which} {_statistics(array)}", arrays))


def _is_new(bad: Any, entry: Entry, arrays: Any, out: Any) -> bool:
    """Whether there is a bad value in an output that was in no input, or in no input but leaves."""
    new = bad(out)
    if not new.any():
        return False
    given = [(bad(a), p) for a, p in zip(arrays, entry.parents, strict=True) if not isinstance(a, Place)]
    if any([type(place) is Leaf and found.any() for found, place in given]):
        return True
    if entry.primitive.view:  # it shows what was there; what a checkpoint computes inside was looked at
        return False
    for found, _ in given:
        new = new & ~(found if entry.primitive.elementwise else found.any())
    return bool(new.any())


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


def _unsound_sum(place: Any, array: np.ndarray) -> str:
    if isinstance(place, Entry):
        made = getattr(place, "source", None) or "(a line that was not watched)"
        what = f"{place.primitive.name}, in scope {place.scope or '(none)'}, made at {made}"
    else:
        used = describe(place.last_use())
        what = f"the leaf {place.name or '(unnamed)'}" + (f", first used at {used}" if used else "")
    return (
        f"backward: accumulating gave {_statistics(array)} as the cotangent of {what}; what arrived there "
        f"is finite and has a sum that {array.dtype} does not hold, or backward() was given this cotangent"
    )


def _described(array: Any) -> str:
    return (
        f"{array.dtype}{array.shape}, {_statistics(array)}" if isinstance(array, np.ndarray) else repr(array)
    )


def _report(direction: str, entry: Entry, what: str, arrays: Any) -> str:
    lines = [f"{direction}: {entry.primitive.name}, in scope {entry.scope or '(none)'}, {what}"]
    origin = getattr(entry, "source", None)
    noted = origin.inputs if origin is not None else {}
    for k, array in enumerate(arrays):
        kept = isinstance(array, np.ndarray) or not hasattr(array, "shape")
        text = _described(array) if kept else noted.get(k) or f"{array.dtype}{array.shape}, not kept"
        if entry.parents[k] is None and isinstance(array, np.ndarray) and not np.isfinite(array).all():
            text += "; it is not on the tape, so what made it was not watched"
        lines.append(f"  input {k}: {text}")
    lines.append(f"  made at {origin or '(a line that was not watched)'}")
    return "\n".join(lines)
