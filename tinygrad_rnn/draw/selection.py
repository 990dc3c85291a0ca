"""What of a tape a view draws by itself, and what it draws as one shape: steps left out, modules closed.

Every view is a drawing of the same tape with some entries put together. A frame of the tape is open, and what
stands in it is drawn; or it is closed, and one shape stands for all of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from ..tape import Entry
from .unrolled import Unrolled

HEAD = TAIL = 2
"""How many steps folding leaves at the beginning and at the end of a loop."""

LONGEST = 6
"""Loops of more steps are folded where the view may choose."""

BUDGET = 6000
"""How many shapes a diagram has at most before it folds itself."""

Fold = bool | int | tuple[int, int] | None


class Selection:
    """Which frames are open.

    Parameters
    ----------
    unrolled : Unrolled
    fold : bool, int, (int, int) or None
        Leave out the middle of loops: True leaves `HEAD` steps before it and `TAIL` behind, a number that
        many, a pair the two. None folds nothing.
    steps : collection of int, optional
        Draw these time steps alone, of every loop that has them.
    depth : int, optional
        Close modules within more than so many others.
    group : names, optional
        Close the modules of these names, or of these paths.

    Attributes
    ----------
    closed : list of (str or None)
        For each frame the key of the shape that stands for it; None for open ones.
    gaps : dict of str to tuple
        For each gap its loop, and the first and the last of the steps left out, as frames, and their number.
    """

    def __init__(
        self,
        unrolled: Unrolled,
        fold: Fold = None,
        steps: Collection[int] | None = None,
        depth: int | None = None,
        group: Collection[str] = (),
    ) -> None:
        self.unrolled = unrolled
        self._check(fold, steps, depth)
        self.closed: list[str | None] = []
        self.gaps: dict[str, tuple[int | None, int, int, int]] = {}
        self.modules: dict[str, int] = {}
        own: dict[int, str] = {}
        for loop, frames in unrolled.loops.items():
            for run in self._left_out(frames, fold, steps):
                gap = f"{unrolled.prefix(loop)}t{unrolled.time(run[0]):03d}-t{unrolled.time(run[-1]):03d}"
                self.gaps[gap] = (loop, run[0], run[-1], len(run))
                own.update(dict.fromkeys(run, gap))
        depths: list[int] = []
        wanted = {name.replace("/", ".") for name in group}
        for k, frame in enumerate(unrolled.frames):
            level = (unrolled.around(k, depths) or 0) + (frame.step is None)
            depths.append(level)
            outside: str | None = unrolled.around(k, self.closed)
            key = own.get(k) if outside is None else outside
            if key is None and frame.step is None:
                named = frame.title in wanted or frame.key in wanted
                if named or (depth is not None and level > depth):
                    key = frame.key
                    self.modules[key] = k
            self.closed.append(key)
        self._shapes = {
            scope: None if at is None else self.closed[at] for scope, at in unrolled.frame_of.items()
        }
        known = {name for f in unrolled.frames if f.step is None for name in (f.title, f.key)}
        for name in sorted(wanted - known):
            raise ValueError(f"group={name!r} names no module of this tape; it has {_some(known)}")

    def _check(self, fold: Fold, steps: Collection[int] | None, depth: int | None) -> None:
        if fold is not None and fold is not False:
            _ends(fold)
        if depth is not None and depth < 0:
            raise ValueError(f"depth must not be negative, got {depth!r}")
        if steps is None:
            return
        known = {self.unrolled.time(k) for frames in self.unrolled.loops.values() for k in frames}
        if known.isdisjoint(steps):
            there = f"has steps {min(known)} to {max(known)}" if known else "has no time steps"
            raise ValueError(f"steps={steps!r}: none of these is on the tape, which {there}")

    def _left_out(
        self, frames: list[int], fold: Fold, steps: Collection[int] | None
    ) -> Iterable[Sequence[int]]:
        time = self.unrolled.time
        if steps is not None:
            kept = [k for k, frame in enumerate(frames) if time(frame) in steps]
            if not kept:
                return []
        elif fold is None or fold is False:
            return []
        else:
            head, tail = _ends(fold)
            kept = [k for k in range(len(frames)) if k < head or k >= len(frames) - tail]
        ends = [-1, *kept, len(frames)]
        runs = [frames[a + 1 : b] for a, b in itertools.pairwise(ends)]
        # A gap for one step would take as much place as the step.
        return [run for run in runs if len(run) > (steps is None)]

    def shape(self, entry: Entry) -> str | None:
        """The key of the shape that stands for an entry; None if it is drawn by itself."""
        return self._shapes[entry.scope]

    def open_steps(self, loop: int | None) -> list[int]:
        """The steps of a loop that are drawn."""
        return [k for k in self.unrolled.loops[loop] if self.closed[k] is None]

    def size(self, view: str) -> int:
        """About how many shapes a view of this selection has."""
        if view == "rolled":
            return len(self.unrolled.loops)
        if view == "cells":
            return 2 * sum(len(self.open_steps(loop)) for loop in self.unrolled.loops)
        frames = zip(self.unrolled.frames, self.closed, strict=True)
        inside = sum(len(frame.entries) for frame, closed in frames if closed is None)
        # An operation has its share of parameters, data and states beside it.
        return (inside + len(self.unrolled.outside)) * 4 // 3


def _ends(fold: Any) -> tuple[int, int]:
    if fold is True:
        return HEAD, TAIL
    ends = (fold, fold) if isinstance(fold, int) else fold
    if not isinstance(ends, (tuple, list)) or [type(end) for end in ends] != [int, int]:
        raise TypeError(f"fold is True, False, a number of steps or a pair of them, got {fold!r}")
    head, tail = ends
    if head < 1 or tail < 1:
        raise ValueError(f"fold leaves at least one step at either end of a loop, got {fold!r}")
    return head, tail


def _some(names: Collection[str]) -> str:
    few = sorted(names)[:12]
    return ", ".join(few) + (f" and {len(names) - len(few)} more" if len(names) > len(few) else "")
