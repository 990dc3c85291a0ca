"""Which part of a sequence is read: ``out[:, -1]`` of stacked outputs is the last of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..tape import Entry, Output, Place, source_of


class Part(NamedTuple):
    """Positions along an axis of some length; the axis is None where it is not followed."""

    positions: tuple[int, ...]
    length: int
    axis: int | None = None

    def put_together_by(self, entry: Entry) -> bool:
        """Whether the entry puts together, along this axis, as many arrays as it is long."""
        if len(entry.parents) != self.length or self.length == 1:
            return False
        along = entry.static.get("axis", 0) % len(entry.shape) if entry.shape else 0
        if entry.primitive.name == "stack":
            return self.axis in (None, along)
        # Steps of different batch sizes are put together one below the other.
        return entry.primitive.name == "concatenate" and self.axis is None and along == 0

    def kept_by(self, entry: Entry) -> bool:
        """Whether what the entry reads has the same positions along this axis as what it computes."""
        if self.axis is None:
            return True
        if entry.primitive.name == "concatenate":
            return entry.static.get("axis", 0) % len(entry.shape) != self.axis
        shapes = [place.shape for place in entry.parents if place is not None]
        return entry.primitive.elementwise and all(shape == entry.shape for shape in shapes)


def part_read(place: Place, part: Part | None) -> Part | None:
    """What part of its inputs an entry reads for a part of one of its outputs; None for all, or if not known.

    Parameters
    ----------
    place : Place
        The output.
    part : Part or None
    """
    entry = source_of(place)
    if isinstance(place, Output):
        return Part((place.index,), len(entry.shape))
    if entry.primitive.name == "getitem":
        taken = _taken(entry)
        if part is None or part.axis is not None or taken is None:
            return taken
        if len(taken.positions) != part.length:
            return part  # another axis
        return taken._replace(positions=tuple(taken.positions[k] for k in part.positions))
    if part is not None and part.axis is not None and entry.primitive.name == "swapaxes":
        one, other = (entry.static[name] % len(entry.shape) for name in ("axis1", "axis2"))
        return part._replace(axis={one: other, other: one}.get(part.axis, part.axis))
    return part if part is not None and part.kept_by(entry) else None


def _taken(entry: Entry) -> Part | None:
    """What a getitem takes, if that is a part of one axis."""
    (place, *_), index = entry.parents, entry.static["index"]
    assert place is not None
    index = index if isinstance(index, tuple) else (index,)
    dots = [k for k, one in enumerate(index) if one is Ellipsis]
    for k in dots:
        index = (*index[:k], *[slice(None)] * (len(place.shape) - len(index) + 1), *index[k + 1 :])
    found = []
    for axis, one in enumerate(index):
        if not isinstance(one, (int, slice)):
            return None
        length = place.shape[axis]
        positions = tuple(np.atleast_1d(np.arange(length)[one]).tolist())
        if positions != tuple(range(length)):
            found.append(Part(positions, length, axis))
    return found[0] if len(found) == 1 else None
