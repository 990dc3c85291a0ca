"""Pictures can be read: words are clear of shapes, of each other and of lines, and lines of shapes."""

import itertools

import pytest
from measured import along, distance, label_box, overlap, shape_box, title_box
from models_to_draw import MODELS, loss
from nets_to_draw import needs_graphviz

from tinygrad_rnn import draw

pytestmark = needs_graphviz


@pytest.fixture(
    scope="module", params=[(name, view) for view in ("ops", "cells") for name in MODELS], ids="-".join
)
def drawing(request):
    name, view = request.param
    return draw.graph(loss(name), view=view).drawing


def test_words_overlap_neither_shapes_nor_each_other(drawing):
    words = {f"{n.edge.tail} {n.edge.label}": label_box(n) for n in drawing.lines if n.label_at is not None}
    words |= {b.cluster.key: title_box(b) for b in drawing.borders if b.cluster.title}
    assert words
    for (one, box), (other, there) in itertools.combinations(words.items(), 2):
        assert not overlap(box, there), (one, other)
    for (one, box), shape in itertools.product(words.items(), drawing.shapes.values()):
        assert not overlap(box, shape_box(shape)), (one, shape.node.key)


def test_no_line_runs_through_words_and_labels_are_nearest_to_their_own(drawing):
    courses = [(line.edge, along(line)) for line in drawing.lines]
    for line in drawing.lines:
        if line.label_at is None:
            continue
        edge, box = line.edge, label_box(line)
        own = distance(box, along(line))
        assert 0 < own < 8, edge
        for other, course in courses:
            if (other.tail, other.label) != (edge.tail, edge.label):
                assert distance(box, course) > own, (edge, other)
    for border in drawing.borders:
        for edge, course in courses if border.cluster.title else ():
            assert distance(title_box(border), course) > 0, (border.cluster.key, edge)


def test_no_line_runs_through_a_shape(drawing):
    boxes = {key: shape_box(shape) for key, shape in drawing.shapes.items() if shape.width}
    for line in drawing.lines:
        x, y = along(line).T
        for key, (left, top, right, low) in boxes.items():
            if key not in (line.edge.tail, line.edge.head):
                inside = (left + 1 < x) & (x < right - 1) & (top + 1 < y) & (y < low - 1)
                assert not inside.any(), (line.edge, key)


def test_lines_stay_in_the_frames_of_both_their_ends(drawing):
    clusters, shapes = drawing.view.clusters, drawing.shapes
    borders = {b.cluster.key: b for b in drawing.borders}

    def frames(key):
        k, found = shapes[key].node.cluster, set()
        while k is not None:
            found.add(clusters[k].key)
            k = clusters[k].parent
        return found

    for line in drawing.lines:
        x, _ = along(line).T
        for key in frames(line.edge.tail) & frames(line.edge.head):
            assert borders[key].left < x.min() <= x.max() < borders[key].right, (line.edge, key)
