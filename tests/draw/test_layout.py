"""What a picture must have, read from what Graphviz draws of it."""

import itertools
import math
import re
import shlex
import time

import numpy as np
import pytest
from measured import along, shape_box
from models_to_draw import loss
from models_to_draw import x as data
from nets_to_draw import RECURRENT, leaf, lstm, needs_graphviz, steps

import tinygrad_rnn as tg
from tinygrad_rnn import draw, nn
from tinygrad_rnn.draw import rendering
from tinygrad_rnn.draw.layout import joined, polyline

pytestmark = needs_graphviz


def plain(diagram):
    """Nodes (x, y, width, height) and the ends of arrows, as Graphviz draws them; inches, y upwards.

    Graphviz shifts a picture as a whole, which is undone here.
    """
    nodes, ends = {}, []
    for line in rendering.render(diagram.source, "plain").decode().splitlines():
        kind, *words = shlex.split(line)
        if kind == "node":
            nodes[words[0]] = [float(n) for n in words[1:5]]
        elif kind == "edge":
            count = int(words[2])
            points = [float(n) for n in words[3 : 3 + 2 * count]]
            ends.append((words[0], words[1], points[:2], points[-2:]))
    drawing = diagram.drawing
    shifts = [
        (shape.x / 72 - nodes[key][0], (drawing.height - shape.y) / 72 - nodes[key][1])
        for key, shape in drawing.shapes.items()
    ]
    dx, dy = shifts[0]
    assert all(abs(x - dx) < 2e-3 and abs(y - dy) < 2e-3 for x, y in shifts)
    for place in (*nodes.values(), *(point for end in ends for point in end[2:])):
        place[0], place[1] = place[0] + dx, place[1] + dy
    return nodes, ends


def frames(diagram):
    """The borders of clusters, in inches, from the text that Graphviz is given."""
    found = re.findall(r'subgraph "cluster_([^"]+)" \{\ngraph \[.*?bb="([^"]+)"', diagram.source)
    return {key: [float(n) / 72 for n in box.split(",")] for key, box in found}


def columns(diagram):
    """For each loop its time steps, in order, as the keys of their frames."""
    loops = {}
    for cluster in sorted(diagram.view.clusters, key=lambda c: c.step or 0):
        if cluster.step is not None:
            loops.setdefault(cluster.parent, []).append(cluster.key)
    return loops.values()


@pytest.fixture(scope="module", params=RECURRENT)
def pictured(request):
    net, length = RECURRENT[request.param]
    diagram = draw.graph(net(length))
    return diagram, *plain(diagram), length


def test_columns_stand_in_time_order_at_identical_distances(pictured):
    diagram, _, _, length = pictured
    at = frames(diagram)
    assert columns(diagram)
    for loop in columns(diagram):
        assert len(loop) == length
        pitches = {round(at[b][0] - at[a][0], 3) for a, b in itertools.pairwise(loop)}
        assert len(pitches) == 1
        assert all(at[a][2] < at[b][0] for a, b in itertools.pairwise(loop))
        assert len({(at[k][1], at[k][3]) for k in loop}) == 1


def test_columns_are_identical(pictured):
    diagram, nodes, _, _ = pictured
    at = frames(diagram)
    for loop in columns(diagram):
        shapes = []
        for key in loop:
            left = at[key][0]
            inside = [name for name in nodes if name.startswith(f"{key}.")]
            shapes.append([(nodes[n][0] - left, *nodes[n][1:]) for n in inside])
        for other in shapes[1:]:
            np.testing.assert_allclose(other, shapes[0], atol=5e-3)


def test_every_node_is_inside_its_frame_and_outside_of_others(pictured):
    diagram, nodes, _, _ = pictured
    at = frames(diagram)
    for node in diagram.view.nodes:
        x, y, width, height = nodes[node.key]
        around = set()
        k = node.cluster
        while k is not None:
            around.add(diagram.view.clusters[k].key)
            k = diagram.view.clusters[k].parent
        for key, (left, low, right, high) in at.items():
            inside = left <= x - width / 2 and x + width / 2 <= right
            inside = inside and low <= y - height / 2 and y + height / 2 <= high
            apart = x + width / 2 <= left or right <= x - width / 2
            apart = apart or y + height / 2 <= low or high <= y - height / 2
            assert inside if key in around else apart, (node.key, key)


def test_nodes_do_not_overlap(pictured):
    _, nodes, _, _ = pictured
    for (a, one), (b, other) in itertools.combinations(nodes.items(), 2):
        across = abs(one[0] - other[0]) >= (one[2] + other[2]) / 2 - 1e-3
        assert across or abs(one[1] - other[1]) >= (one[3] + other[3]) / 2 - 1e-3, (a, b)


def test_no_arrow_without_an_end(pictured):
    diagram, nodes, ends, _ = pictured
    assert len(ends) == len(diagram.view.edges)
    for tail, head, start, end in ends:
        for key, (px, py) in (tail, start), (head, end):
            x, y, width, height = nodes[key]
            # An arrowhead of 5 points is drawn beyond the curve.
            near = 8 / 72
            assert abs(px - x) <= width / 2 + near, (tail, head)
            assert abs(py - y) <= height / 2 + near, (tail, head)


def assert_lines_run_past(drawing):
    """No line runs through a node that is not at its end, nor through a time step that has neither."""
    clusters = {cluster.key: k for k, cluster in enumerate(drawing.view.clusters)}
    steps = drawing.view.steps()
    boxes = {key: (shape_box(shape), {key}) for key, shape in drawing.shapes.items() if shape.width}
    for border in drawing.borders:
        k = clusters[border.cluster.key]
        if steps[k] == k and border.cluster.kind != "gap":
            box = border.left, border.top, border.right, border.bottom
            boxes[border.cluster.key] = (
                box,
                {key for key in drawing.shapes if key.startswith(f"{border.cluster.key}.")},
            )
    for line in drawing.lines:
        x, y = along(line).T
        for key, ((left, top, right, low), own) in boxes.items():
            if not own & {line.edge.tail, line.edge.head}:
                inside = (left + 1 < x) & (x < right - 1) & (top + 1 < y) & (y < low - 1)
                assert not inside.any(), (line.edge, key)


def test_no_line_runs_through_what_it_has_nothing_to_do_with(pictured):
    assert_lines_run_past(pictured[0].drawing)


@pytest.fixture(scope="module", params=itertools.product((1, 2, 3), (True, False), (True, False)))
def both_directions(request):
    layers, sequences, summed = request.param
    layer = nn.LSTM(3, 4, layers, bidirectional=True, return_sequences=sequences, return_state=False, rng=0)
    y = layer(data(4))
    return draw.graph(y.sum() if summed else y, view="ops").drawing


def test_no_line_of_one_direction_runs_through_another(both_directions):
    assert_lines_run_past(both_directions)


def test_what_puts_directions_together_stands_below_them(both_directions):
    shapes, borders = both_directions.shapes, {b.cluster.key: b for b in both_directions.borders}
    together = [shape for shape in shapes.values() if shape.node.title == "concatenate"]
    assert together
    for k, shape in enumerate(sorted(together, key=lambda shape: shape.y)):
        loop = borders[f"lstm.l{k}_reverse"]
        third = (loop.right - loop.left) / 3
        assert loop.left + third < shape.x < loop.right - third
        assert loop.bottom < shape.y - shape.height / 2 < loop.bottom + 30


def test_computation_runs_downwards(pictured):
    diagram, nodes, _, _ = pictured
    for edge in diagram.view.edges:
        if edge.kind == "data":
            # Data may stand beside its reader.
            assert nodes[edge.tail][1] >= nodes[edge.head][1] - 1e-6


def test_loops_in_modules_stand_below_each_other():
    net, _ = RECURRENT["bidirectional-3"]
    at = frames(draw.graph(net(3)))
    names = ["rnn.l0", "rnn.l0_reverse", "rnn.l1", "rnn.l1_reverse"]
    for upper, lower in itertools.pairwise(names):
        assert at[upper][1] > at[lower][3]


def test_loops_within_steps_are_laid_out_too():
    h = leaf("x", 2)
    for t in range(3):
        with tg.scope(f"t={t}", step=t):
            for k in range(2):
                with tg.scope(f"k={k}", step=k):
                    h = tg.tanh(h)
    diagram = draw.graph(h)
    nodes, _ = plain(diagram)
    x = [nodes[f"t{t:03d}.t{k:03d}.tanh"][0] for t in range(3) for k in range(2)]
    assert x == sorted(x)


def test_padded_steps_are_marked():
    layer = nn.GRU(2, 3, rng=0)
    x = np.random.default_rng(0).standard_normal((3, 4, 2)).astype(np.float32)
    for view in "ops", "cells":
        made = draw.graph(layer(x, lengths=[4, 2, 1])[0], view=view).view
        if view == "ops":
            grey = [cluster.step for cluster in made.clusters if cluster.kind == "padded"]
        else:
            grey = [int(node.key[-3:]) for node in made.nodes if node.mark == "padded"]
        assert grey == [1, 2, 3]


def test_long_loops_are_laid_out_once_for_all_steps(monkeypatch):
    """Pieces that are alike have one text, so 40 steps cost Graphviz what 4 do."""
    from tinygrad_rnn.draw import pieces

    asked = []
    monkeypatch.setattr(pieces, "lay_out", lambda texts: asked.append(len(texts)) or rendering.lay_out(texts))
    drawing = draw.graph(lstm(40), view="ops").drawing
    assert len(drawing.shapes) > 800
    assert sum(asked) == 2


def test_ten_thousand_steps_fold_themselves_without_recursion():
    diagram = draw.graph(steps(range(10_000)), view="ops")
    assert len(diagram.view.nodes) < 60
    assert "more than the budget" in diagram.view.notes[0]
    assert "9,996 steps" in diagram.svg() or "9996 steps" in diagram.svg()


def test_a_slow_layout_says_how_to_draw_less(monkeypatch, tmp_path):
    monkeypatch.setattr(rendering, "SECONDS", 0.0001)
    with pytest.warns(UserWarning, match=r"stopped after .* fold=True"):
        path = draw.graph(lstm(3)).save(tmp_path / "x.svg")
    assert path.suffix == ".dot"
    assert "subgraph" in path.read_text(encoding="utf-8")


def test_lines_turn_in_rounded_corners():
    course = polyline([(0, 0), (0, 100), (50, 100)])
    assert len(course) % 3 == 1
    assert course[0] == (0, 0)
    assert course[-1] == (50, 100)
    assert (0, 100) not in course[::3]
    assert all(math.dist(p, (0, 100)) < 6 for p in course[3:7:3])


def test_courses_are_joined_without_a_gap():
    one, other = polyline([(0, 0), (3, 0)]), polyline([(3, 1), (3, 9)])
    whole = joined(one, other)
    assert len(whole) % 3 == 1
    assert whole[::3] == [(0, 0), (3, 0), (3, 1), (3, 9)]


@pytest.mark.parametrize("t", [1, 2])
def test_few_steps(t):
    began = time.perf_counter()
    assert len(draw.graph(lstm(t)).drawing.borders) >= t
    assert time.perf_counter() - began < 20


@pytest.mark.parametrize("name", ["gru", "gru, reset before", "lstm", "bidirectional", "attention"])
def test_numbers_stand_right_beside_their_operation(name):
    drawing = draw.graph(loss(name)).drawing
    numbers = [line for line in drawing.lines if drawing.shapes[line.edge.tail].node.kind == "number"]
    assert len(numbers) >= 2
    for line in numbers:
        tail, head = drawing.shapes[line.edge.tail], drawing.shapes[line.edge.head]
        gap = abs(tail.x - head.x) - (tail.width + head.width) / 2
        assert 0 < gap < 12, line.edge
        assert abs(tail.y - head.y) < 1, line.edge


@pytest.mark.parametrize("name", ["gru, reset before", "mgu", "peephole"])
def test_nothing_begins_above_a_state(name):
    """Where wires come down to it."""
    diagram = draw.graph(loss(name))
    shapes = diagram.drawing.shapes.values()
    for k, cluster in enumerate(diagram.view.clusters):
        if cluster.step is not None:
            inside = [shape for shape in shapes if shape.node.cluster == k]
            first = min(shape.y for shape in inside)
            assert all(shape.y < first + 5 for shape in inside if shape.node.kind == "state")


@pytest.mark.parametrize("depth", [1, 2])
def test_a_state_from_outside_that_a_closed_module_reads_too(depth):
    diagram = draw.graph(loss("attention"), depth=depth)
    nodes, ends = plain(diagram)
    assert len(ends) == len(diagram.view.edges)
    (first,) = [(tail, *at) for tail, head, _, at in ends if head == "attending.t000.s1.before"]
    tail, x, y = first
    assert tail == "attending.getitem"
    assert abs(x - nodes["attending.t000.s1.before"][0]) < 0.1
    assert abs(y - nodes["attending.t000.s1.before"][1]) < 0.3


def test_ribbons_are_below_the_lines_of_states():
    diagram = draw.graph(loss("lstm"), show="gradients")
    ribbons = [shape for shape in diagram.drawing.shapes.values() if shape.node.kind == "ribbon"]
    assert len(ribbons) == 6
    borders = {border.cluster.key: border for border in diagram.drawing.borders}
    for ribbon in ribbons:
        top, left, right = ribbon.y - ribbon.height / 2, *(ribbon.x + s * ribbon.width / 2 for s in (-1, 1))
        frame = borders[diagram.view.clusters[ribbon.node.cluster].key]
        assert frame.left < left < right < frame.right
        assert ribbon.y + ribbon.height / 2 < frame.bottom
        for line in diagram.drawing.lines:
            if line.edge.kind == "state":
                assert all(y < top for x, y in line.points if left < x < right), line.edge


def test_what_comes_from_afar_comes_from_below():
    """At the sides of a cell are its states."""
    lines = draw.graph(loss("attention"), view="cells").drawing.lines
    states = [line.points for line in lines if line.edge.kind == "state"]
    others = [line.points[-1] for line in lines if line.edge.kind == "data"]
    near = min(math.dist(end, point) for end in others for points in states for point in points[::3])
    assert near > 6
