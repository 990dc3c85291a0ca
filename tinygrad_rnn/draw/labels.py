"""Room for words in a drawing: labels beside their arrows and titles of frames, clear of everything else.

Each has a few places where it may stand, the usual one first, and gets the one that meets least.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .layout import TITLE_ROOM, Border, Drawing, Line
from .metrics import DETAIL, TITLE, text_width
from .view import Point

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
        bands = [(border.top - _CLEAR, border.top + TITLE_ROOM + _CLEAR) for border in titled]
        for points in (drawing.lines[k].points for k in labelled):
            heights = [y for _, y in points]
            bands.append((min(heights) - DETAIL - _CLEAR, max(heights) + DETAIL + _CLEAR))
        room = _Room(drawing, bands)
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
        Points on lines, from left to right, and for each the number of its line; lines that carry one and the
        same thing have one number. Only of lines in the bands, from top to bottom, that the words may stand
        in: the longest lines are in none.
    """

    def __init__(self, drawing: Drawing, bands: list[Point]) -> None:
        shapes = drawing.shapes.values()
        boxes = [
            (s.x - s.width / 2, s.y - s.height / 2, s.x + s.width / 2, s.y + s.height / 2) for s in shapes
        ]
        self.size = drawing.width, drawing.height
        self.taken = len(boxes)
        self.boxes = np.array([*boxes, *[(np.nan,) * 4] * len(bands)])
        numbers: dict[object, int] = {}
        of_line = [
            numbers.setdefault((line.edge.tail, line.edge.label) if line.edge.label else k, len(numbers))
            for k, line in enumerate(drawing.lines)
        ]
        points, owners = _points_on(drawing.lines, bands)
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
        off = _apart(places, np.concatenate([points, points], 1))
        through, beside = (off < _GAP / 2).sum(1), ((off < _CLEAR) & (groups != group)).sum(1)
        covered = (_apart(places, boxes) < 0).sum(1)
        outside = (places[:, :2] < 0).any(1) | (places[:, 2:] > self.size).any(1)
        cost = beside + 5 * through + 50 * covered + 50 * outside
        best = int(cost.argmin())
        self.boxes[self.taken] = places[best]
        self.taken += 1
        return best


def _apart(boxes: Array, others: Array) -> Array:
    """How far boxes are from others, (N, M), across or down, whichever is more; negative if they overlap."""
    gaps = np.maximum(others[None, :, :2] - boxes[:, None, 2:], boxes[:, None, :2] - others[None, :, 2:])
    return np.maximum(gaps[..., 0], gaps[..., 1])


def _points_on(lines: list[Line], bands: list[Point]) -> tuple[Array, NDArray[np.int64]]:
    """Points on lines at small distances, (P, 2), and the position of the line that each is on."""
    pieces = [line.points[k : k + 4] for line in lines for k in range(0, len(line.points) - 1, 3)]
    owners = np.repeat(np.arange(len(lines)), [(len(line.points) - 1) // 3 for line in lines])
    curves = np.array(pieces, float).reshape(-1, 4, 2)
    tops, lows = curves[..., 1].min(1), curves[..., 1].max(1)
    near = np.zeros(len(curves), bool)
    for top, low in _merged(bands):
        near |= (tops < low) & (lows > top)
    curves, owners = curves[near], owners[near]
    lengths = np.hypot(*np.moveaxis(np.diff(curves, axis=1), -1, 0)).sum(1)
    counts = np.ceil(lengths / _SPACING).astype(int) + 3  # enough for a direction
    starts = np.cumsum(counts) - counts
    at = np.repeat(np.arange(len(counts)), counts)
    t = ((np.arange(len(at)) - starts[at] + 0.5) / counts[at])[:, None]
    a, b, c, d = (curves[at, k] for k in range(4))
    u = 1 - t
    return u * u * u * a + 3 * u * u * t * b + 3 * u * t * t * c + t * t * t * d, owners[at]


def _merged(bands: list[Point]) -> list[Point]:
    """Bands without those that overlap."""
    found: list[Point] = []
    for top, low in sorted(bands):
        if found and top <= found[-1][1]:
            found[-1] = found[-1][0], max(low, found[-1][1])
        else:
            found.append((top, low))
    return found


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
