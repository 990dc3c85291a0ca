"""The values along a tape: those that it keeps, those that follow from them, and all of them where asked for.

The tape keeps an array only where a gradient rule reads it, and `backward` releases that. `keep_values` keeps
every value of what is recorded inside it, for as long as it lives itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..listing import Tape
from ..observing import Observer
from ..ops.operations import Spec
from ..tape import NEVER, Entry, Leaf, Output, Place

Slot = Place | tuple[Entry, int]
"""A place, or an entry and the number of one of its several outputs."""


def slot_of(place: Place) -> Slot:
    """The slot of a place: the same for all that stand for one."""
    return (place.entry, place.index) if isinstance(place, Output) else place


class keep_values(Observer):  # noqa: N801 (it is used as the other context managers are)
    """Inside ``with draw.keep_values() as kept:`` every value that is recorded is kept, to be seen later.

    Hand it to `explore` or `check`, also after ``backward()``. It holds all arrays of the forward pass, so
    let go of it when they have been seen.

    Examples
    --------
    >>> with draw.keep_values() as kept:
    ...     loss = nn.mse(nn.Linear(3, 1, rng=0)(np.ones((2, 3))), np.zeros((2, 1)))
    >>> page = draw.explore(loss, "tape.html", kept=kept)
    """

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[Slot, np.ndarray] = {}
        self.constants: dict[tuple[Entry, int], Any] = {}

    def recorded(self, entry: Entry, arrays: Any, out: Any) -> None:
        for k, (place, array) in enumerate(zip(entry.parents, arrays, strict=True)):
            if place is None:
                self.constants[entry, k] = array
            elif isinstance(place, Leaf):
                self.values[place] = array
        self.values.update(_outputs(entry, out))


def _outputs(entry: Entry, out: Any) -> dict[Slot, np.ndarray]:
    if entry.primitive.multiple:
        return {(entry, k): np.asarray(array) for k, array in enumerate(out)}
    return {entry: np.asarray(out)}


class Values:
    """Every value along a tape that can be told.

    Parameters
    ----------
    tape : Tape
    kept : keep_values, optional
        What was kept while it was recorded. Without it: what the tape keeps for its rules, leaves that have
        not been changed since, and what can be computed from these again.
    """

    def __init__(self, tape: Tape, kept: keep_values | None = None) -> None:
        self._values: dict[Slot, np.ndarray] = dict(kept.values) if kept else {}
        self._constants: dict[tuple[Entry, int], Any] = dict(kept.constants) if kept else {}
        for entry in tape.entries:
            self._take(entry)
        began = min((entry.number for entry in tape.entries), default=NEVER)
        for leaf in tape.leaves:
            tensor = leaf.tensor()
            if tensor is not None and leaf.changed < began:
                self._values.setdefault(leaf, tensor.numpy())
        with np.errstate(all="ignore"):
            for entry in tape.entries:
                self._compute(entry)

    def of(self, place: Place) -> np.ndarray | None:
        """The value at a place; None if it is not known."""
        return self._values.get(slot_of(place))

    def outputs(self, entry: Entry) -> list[np.ndarray | None]:
        """The outputs of an entry, or the only one; None in the place of one that is not known."""
        if entry.primitive.multiple:
            return [self._values.get((entry, k)) for k in range(len(entry.shape))]
        return [self._values.get(entry)]

    def inputs(self, entry: Entry) -> list[Any]:
        """The inputs of an entry, constants too; None in the place of one that is not known."""
        return [
            self._constants.get((entry, k)) if place is None else self.of(place)
            for k, place in enumerate(entry.parents)
        ]

    def _take(self, entry: Entry) -> None:
        """What an entry still holds."""
        # Numbers outlive backward among the constants, arrays do not.
        for k, (place, a) in enumerate(zip(entry.parents, entry.known, strict=True)):
            if a is None or isinstance(a, (Spec, Place)):
                continue
            if place is None:
                self._constants.setdefault((entry, k), a)
            else:
                self._values.setdefault(slot_of(place), a)
        if entry.out is not None:
            for computed, array in _outputs(entry, entry.out).items():
                self._values.setdefault(computed, array)

    def _compute(self, entry: Entry) -> None:
        if all(a is not None for a in self.outputs(entry)):
            return
        inputs = self.inputs(entry)
        if any(a is None for a in inputs):
            return
        try:
            out = entry.primitive.forward(*inputs, **entry.static)
        except Exception:  # a checkpoint's entry has nothing to compute with: its value stays unknown
            return
        self._values.update(_outputs(entry, out))
