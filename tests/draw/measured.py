"""Where things are in a drawing: boxes as (left, top, right, low), and points on lines."""

import numpy as np

from tinygrad_rnn.draw.metrics import DETAIL, TITLE, text_width


def label_box(line):
    (x, y), half = line.label_at, text_width(line.edge.label, DETAIL) / 2
    return x - half, y - 3.5, x + half, y + 3.5


def title_box(border):
    left = border.title_left
    return left, border.top + 4, left + text_width(border.cluster.title, TITLE), border.top + 13


def shape_box(shape):
    across, down = shape.width / 2, shape.height / 2
    return shape.x - across, shape.y - down, shape.x + across, shape.y + down


def along(line):
    """Points on a line, close to each other."""
    points = np.array(line.points)
    t = np.linspace(0, 1, 200)[:, None]
    pieces = [points[k : k + 4] for k in range(0, len(points) - 1, 3)]
    curves = [
        (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
        for a, b, c, d in pieces
    ]
    return np.concatenate(curves)


def overlap(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def distance(box, points):
    """From a box to the nearest of some points, 0 if it is inside."""
    low, high = np.array(box[:2]), np.array(box[2:])
    return np.hypot(*np.maximum(np.maximum(low - points, points - high), 0).T).min()
