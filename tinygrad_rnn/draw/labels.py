"""Room for words in a drawing: labels beside their arrows and titles of frames, clear of everything else.

Each has a few places where it may stand, the usual one first, and gets the one that meets least.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .layout import TITLE_ROOM, Border, Drawing, Line
from .metrics import DETAIL, TITLE, text_width

Array = NDArray[np.float64]

_SPACING = 2.0
"""Distance of the points by which lines are known, in points."""

_GAP, _CLEAR = 1.5, 3.0
"""How far a label is from its own line, and at least should be from others, which it would seem to name."""

_ALONG = np.array([0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74, 0.18, 0.82])


def settle(drawing: Drawing) -> None:
    """Move the titles and labels of a drawing to where they meet nothing, or as little as can be."""
    titled = [border for border in drawing.borders if border.cluster.title]
    labelled = [k for k, line in enumerate(drawing.lines) if line.label_at is not None]
    if titled or labelled:
        room = _Room(drawing, len(titled) + len(labelled))
        for border in titled:
            _settle_title(border, room)
        for k in labelled:
            _settle_label(drawing.lines[k], k, room)


class _Room:
    """What is taken in a drawing.

    Attributes
    ----------
    boxes : array, (N, 4)
        Left, top, right and lower ends of shapes and of words settled so far; NaN for words to come.
    points, groups : arrays, (P, 2) and (P,)
        Points on all lines, from left to right, and for each the number of its line; lines that carry one
        and the same thing have one number.
    """

    def __init__(self, drawing: Drawing, words: int) -> None:
        shapes = drawing.shapes.values()
        boxes = [
            (s.x - s.width / 2, s.y - s.height / 2, s.x + s.width / 2, s.y + s.height / 2) for s in shapes
        ]
        self.size = drawing.width, drawing.height
        self.taken = len(boxes)
        self.boxes = np.array([*boxes, *[(np.nan,) * 4] * words])
        numbers: dict[object, int] = {}
        of_line = [
            numbers.setdefault((line.edge.tail, line.edge.label) if line.edge.label else k, len(numbers))
            for k, line in enumerate(drawing.lines)
        ]
        points, owners = _points_on(drawing.lines)
        self.first = np.searchsorted(owners, np.arange(len(drawing.lines) + 1))
        self.on_lines = points
        self.of_line = of_line
        order = np.argsort(points[:, 0], kind="stable")
        self.points, self.groups = points[order], np.array(of_line, int)[owners[order]]

    def course(self, k: int) -> Array:
        """The points on a line in its own order, (P, 2)."""
        return self.on_lines[self.first[k] : self.first[k + 1]]

    def take_best(self, places: Array, group: int = -1) -> int:
        """Take the first of those boxes, (N, 4), that meet least, for words of a line or of none."""
        left, top = places[:, :2].min(0) - _CLEAR
        right, low = places[:, 2:].max(0) + _CLEAR
        begin, end = np.searchsorted(self.points[:, 0], (left, right))
        points, groups = self.points[begin:end], self.groups[begin:end]
        near = (points[:, 1] > top) & (points[:, 1] < low)
        points, groups = points[near], groups[near]
        boxes = self.boxes[: self.taken]
        boxes = boxes[
            (boxes[:, 0] < right) & (boxes[:, 2] > left) & (boxes[:, 1] < low) & (boxes[:, 3] > top)
        ]
        through = _inside(places, points, _GAP / 2).sum(1)
        beside = _inside(places, points[groups != group], _CLEAR).sum(1)
        covered = (
            (places[:, None, :2] < boxes[None, :, 2:]) & (places[:, None, 2:] > boxes[None, :, :2])
        ).all(-1)
        outside = (places[:, :2] < 0).any(1) | (places[:, 2:] > self.size).any(1)
        cost = beside + 5 * through + 50 * covered.sum(1) + 50 * outside
        best = int(cost.argmin())
        self.boxes[self.taken] = places[best]
        self.taken += 1
        return best


def _inside(boxes: Array, points: Array, grown: float) -> Any:
    """Which points are in which boxes, (N, P), the boxes grown on all sides."""
    low, high = boxes[:, None, :2] - grown, boxes[:, None, 2:] + grown
    return np.all((points > low) & (points < high), axis=-1)


def _points_on(lines: list[Line]) -> tuple[Array, NDArray[np.int64]]:
    """Points on lines at small distances, (P, 2), and the position of the line that each is on."""
    pieces = [line.points[k : k + 4] for line in lines for k in range(0, len(line.points) - 1, 3)]
    owners = np.repeat(np.arange(len(lines)), [(len(line.points) - 1) // 3 for line in lines])
    curves = np.array(pieces, float).reshape(-1, 4, 2)
    lengths = np.hypot(*np.moveaxis(np.diff(curves, axis=1), -1, 0)).sum(1)
    counts = np.ceil(lengths / _SPACING).astype(int) + 1
    starts = np.cumsum(counts) - counts
    at = np.repeat(np.arange(len(counts)), counts)
    t = ((np.arange(len(at)) - starts[at] + 0.5) / counts[at])[:, None]
    a, b, c, d = (curves[at, k] for k in range(4))
    u = 1 - t
    return u * u * u * a + 3 * u * u * t * b + 3 * u * t * t * c + t * t * t * d, owners[at]


def _settle_title(border: Border, room: _Room) -> None:
    """The title begins at the left, and if something runs there, as near to it as nothing does."""
    width = text_width(border.cluster.title, TITLE)
    last = max(border.right - 6 - width, border.title_left)
    lefts = np.arange(border.title_left, last + 0.1, 4.0)
    tops = np.full_like(lefts, border.top + 3)
    places = np.stack([lefts, tops, lefts + width, tops + TITLE_ROOM - 5], 1)
    border.title_left = float(lefts[room.take_best(places)])


def _settle_label(line: Line, k: int, room: _Room) -> None:
    """The label stands near the middle of its line, on one side or the other."""
    assert line.label_at is not None
    course = room.course(k)
    half = np.array([text_width(line.edge.label, DETAIL) / 2, DETAIL / 2])
    at = np.clip((_ALONG * len(course)).astype(int), 1, len(course) - 2)
    ahead = course[at + 1] - course[at - 1]
    across = np.stack([-ahead[:, 1], ahead[:, 0]], 1) / np.maximum(np.hypot(*ahead.T), 1e-9)[:, None]
    aside = across * ((np.abs(across) * half).sum(1) + _GAP)[:, None]
    beside = np.stack([course[at] - aside, course[at] + aside], 1).reshape(-1, 2)
    centres = np.concatenate([[line.label_at], beside])
    best = room.take_best(np.concatenate([centres - half, centres + half], 1), room.of_line[k])
    line.label_at = float(centres[best, 0]), float(centres[best, 1])
