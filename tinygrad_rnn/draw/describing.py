"""The lines under a title: shapes, dtypes, values, gradients, memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from ..tape import Entry, Leaf, Place

SHOWN = ("shapes", "dtypes", "values", "gradients", "memory")

_TIMES = "\N{MULTIPLICATION SIGN}"


class Describe:
    """Describes what stands on a tape, and constants.

    Parameters
    ----------
    show : collection of str
        What is told, of `SHOWN`.
    gradients : mapping of Place to array, optional
        Gradients with respect to what entries computed, for those that have been looked at in a backward pass.
    """

    def __init__(
        self, show: str | Collection[str] = ("shapes",), gradients: Mapping[Place, Any] | None = None
    ) -> None:
        self.show = (show,) if isinstance(show, str) else tuple(show)
        self.gradients = gradients or {}
        for name in self.show:
            if name not in SHOWN:
                raise ValueError(f"show takes any of {', '.join(SHOWN)}, got {name!r}")

    def __call__(self, thing: Any) -> str:
        """The lines for an entry, a leaf, or a constant array."""
        told = {
            "shapes": _shape,
            "dtypes": _dtype,
            "values": _values,
            "gradients": self._gradient,
            "memory": _memory,
        }
        found = [told[name](thing) for name in SHOWN if name in self.show]
        return "\n".join(line for line in found if line)

    def _gradient(self, thing: Any) -> str:
        if not isinstance(thing, Place):
            return ""
        found = (
            thing.grad if isinstance(thing, Leaf) and thing.grad is not None else self.gradients.get(thing)
        )
        return "grad: not computed" if found is None else f"grad: {summary(np.asarray(_plain(found)))}"


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


def _plain(value: Any) -> Any:
    return value.numpy() if hasattr(value, "numpy") else value


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


def _values(thing: Any) -> str:
    if isinstance(thing, Leaf):
        return ""
    out = thing.out if isinstance(thing, Entry) else thing
    if out is None:
        return "value: not kept"
    if _several(thing):
        return ""
    return summary(out) if isinstance(out, np.ndarray) else ""


def _memory(thing: Any) -> str:
    if not isinstance(thing, Entry):
        return f"{thing.nbytes:,} B" if isinstance(thing, np.ndarray) else ""
    outs = thing.out if isinstance(thing.out, tuple) else (thing.out,)
    held = {id(a): a.nbytes for a in (*(thing.args or ()), *outs) if isinstance(a, np.ndarray)}
    return f"{sum(held.values()):,} B"
