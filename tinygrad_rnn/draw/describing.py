"""The lines under a title: shapes, dtypes, values, gradients, memory."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from ..backpropagation import backward
from ..listing import Tape
from ..observing import Observer
from ..tape import Entry, Leaf, Place
from .kept import Slot, Values

SHOWN = ("shapes", "dtypes", "values", "gradients", "memory")

_TIMES = "\N{MULTIPLICATION SIGN}"


class Describe:
    """Describes what stands on a tape, and constants.

    Parameters
    ----------
    show : str or collection of str
        What is told, of `SHOWN`.
    values : Values, optional
        The values along the tape; without it none are known.
    gradients : mapping of Slot to float, optional
        What `gradient_norms` found.
    """

    def __init__(
        self,
        show: str | Collection[str] = ("shapes",),
        values: Values | None = None,
        gradients: Mapping[Slot, float] | None = None,
    ) -> None:
        self.show = (show,) if isinstance(show, str) else tuple(show)
        self.values, self.gradients = values, gradients or {}
        for name in self.show:
            if name not in SHOWN:
                raise ValueError(f"show takes any of {', '.join(SHOWN)}, got {name!r}")

    def __call__(self, thing: Any) -> str:
        """The lines for an entry, a leaf, or a constant array."""
        told = {
            "shapes": _shape,
            "dtypes": _dtype,
            "values": self._value,
            "gradients": self._gradient,
            "memory": _memory,
        }
        found = [told[name](thing) for name in SHOWN if name in self.show]
        return "\n".join(line for line in found if line)

    def _value(self, thing: Any) -> str:
        if not isinstance(thing, Place):
            return summary(thing) if isinstance(thing, np.ndarray) else ""
        known = None if self.values is None else self.values.of(thing)
        if known is None and isinstance(thing, Entry) and thing.primitive.multiple:
            return ""
        return "value: not kept" if known is None else summary(known)

    def _gradient(self, thing: Any) -> str:
        if not isinstance(thing, Place):
            return ""
        if not self.gradients and isinstance(thing, Leaf) and thing.grad is not None:
            return f"|.grad| {_norm(thing.grad.numpy()):.3g}"
        norm = self.gradients.get(thing)
        return "grad: not computed" if norm is None else f"|grad| {norm:.3g}"


class _Norms(Observer):
    """Norms of the cotangents that arrive at entries, at each of several outputs, and at leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[Slot, float] = {}

    def accumulated(self, place: Place, g: Any) -> None:
        if isinstance(g, list):
            parts = {k: _norm(part) for k, part in enumerate(g) if part is not None}
            self.found |= {(place, k): norm for k, norm in parts.items()}
            self.found[place] = math.hypot(*parts.values())
        else:
            self.found[place] = _norm(g)


def _norm(array: Any) -> float:
    # Squares of float16 overflow early.
    return float(np.linalg.norm(array.astype(np.result_type(array, np.float64)).ravel()))


def gradient_norms(tape: Tape) -> dict[Slot, float]:
    """Norms of the gradients of a tape's results with respect to what is on it.

    By a backward pass of its own, which releases nothing and changes no ``grad``. Empty if an earlier
    ``backward()`` has released what it needs.
    """
    if any(entry.args is None for entry in tape.entries):
        return {}
    roots = [(place, np.ones(place.shape, place.dtype)) for place in tape.places]
    with _Norms() as norms:
        backward(roots, retain_graph=True)
    return norms.found


def summary(array: np.ndarray) -> str:
    """An array in a few characters: its number, or the range of its values."""
    if array.size == 0:
        return "empty"
    if array.dtype.kind not in "fiubc":
        return str(array.dtype)
    if array.size == 1:
        return f"{array.reshape(())[()]:.4g}"
    flat = array.ravel()
    bad = int(array.size - np.count_nonzero(np.isfinite(flat)))
    told = f", {bad} not finite" if bad else ""
    flat = flat[np.isfinite(flat)] if bad else flat
    if not flat.size:
        return f"none of {array.size} finite"
    if array.dtype.kind == "c":
        return f"|·| {np.abs(flat).min():.3g} … {np.abs(flat).max():.3g}{told}"
    return f"{flat.min():.3g} … {flat.max():.3g}{told}"


def _several(thing: Any) -> bool:
    return isinstance(thing, Entry) and thing.primitive.multiple


def _shape(thing: Any) -> str:
    if not _several(thing):
        shape = getattr(thing, "shape", None)
        return "" if shape is None else str(tuple(shape))
    shapes = [str(shape) for shape in thing.shape]
    if len(set(shapes)) == 1:
        return f"{len(shapes)} {_TIMES} {shapes[0]}"
    text = ", ".join(shapes)
    return text if len(text) <= 40 else text[:39] + "…"


def _dtype(thing: Any) -> str:
    found = getattr(thing, "dtype", "")
    return str(found[0]) if _several(thing) else str(found)


def _memory(thing: Any) -> str:
    if not isinstance(thing, Entry):
        return f"{thing.nbytes:,} B" if isinstance(thing, np.ndarray) else ""
    outs = thing.out if isinstance(thing.out, tuple) else (thing.out,)
    held = {id(a): a.nbytes for a in (*(thing.args or ()), *outs) if isinstance(a, np.ndarray)}
    return f"{sum(held.values()):,} B"
