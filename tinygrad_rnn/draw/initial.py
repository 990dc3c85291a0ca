"""The initial state of a loop of one step.

What a step reads where later ones read each other's states is its initial state. Of a single step only its
cell can tell.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ..nn.states import tensors_of
from ..state import no_grad
from ..tape import Entry, Leaf, source_of


def initial_names(cell: Any) -> list[str]:
    """The names of a cell's states; none where it has no ``initial_state(batch)``.

    Which one of two is h can only be said of cells with a ``weight_hh``, like those of `nn`.
    """
    count = len(_shapes(cell))
    if count == 1 or (count == 2 and hasattr(cell, "weight_hh")):
        return ["h", "c"][:count]
    return [f"s{k}" for k in range(1, count + 1)]


def initial_inputs(cell: Any, step: list[Entry]) -> dict[tuple[Entry, int], str]:
    """Which inputs of a step's entries are initial states, by name.

    What a cell with a ``weight_hh`` multiplies by it is h. Its input x goes through another matrix, so an
    array like a state that is read elementwise is one: the only state, or c if it alone is read like that.
    """
    shapes, names = _shapes(cell), initial_names(cell)
    weight = getattr(getattr(cell, "weight_hh", None), "place", None)
    if weight is None or not names:
        return {}
    products: list[tuple[Entry, int]] = []
    elementwise: list[tuple[Entry, int]] = []
    inside = set(step)
    for entry in step:
        for k, (place, known) in enumerate(zip(entry.parents, entry.known, strict=True)):
            shape = getattr(known if place is None else place, "shape", ())
            if not shape or shape[1:] not in shapes or isinstance(place, Leaf) or source_of(place) in inside:
                continue
            if entry.primitive.elementwise:
                elementwise.append((entry, k))
            elif any(weight in (p, *getattr(source_of(p), "parents", ())) for p in entry.parents):
                products.append((entry, k))
    found = dict.fromkeys(products, names[0])
    if len(names) == 1 or len(elementwise) == 1:
        found.update(dict.fromkeys(elementwise, names[-1]))
    return found


def _shapes(cell: Any) -> list[tuple[int, ...]]:
    """The shapes of a cell's states without the batch axis."""
    # Of no sequences: so nothing is drawn at random. A cell that cannot begin with none does not tell.
    with suppress(Exception), no_grad():
        return [part.shape[1:] for part in tensors_of(cell.initial_state(0))]
    return []
